"""The rate taken apart: parts whose values are known, and the wrong estimators that others have published."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import BED_EIGENVALUES, BED_LATENTS, within_standard_errors
from scipy.special import logsumexp, ndtri
from scipy.stats import qmc

from vae_jax.evaluation import rate


def normal_points(power, dim):
    """``2 ** power`` points of a standard normal, more even than chance."""
    return ndtri(qmc.Sobol(dim, seed=0).random_base2(power))


def test_samples_find_the_same_and_their_errors_are_honest():
    mean, logvar = np.array([[1.0], [-1.0]]), np.full((2, 1), np.log(0.25))
    runs = [rate.decompose(mean, logvar, jax.random.key(i), 1000) for i in range(40)]
    found = np.array([run.mutual_information for run in runs])  # [run, (value, error)]
    assert within_standard_errors(found[:, 0], 0.632720193737, 3.5)
    assert 0.7 < found[:, 0].std() / found[:, 1].mean() < 1.3
    assert within_standard_errors([run.dimension_wise_kl.value for run in runs], 0.185426986823, 3.5)
    # Trap: the posterior mean in place of a sample. At z = mu there is more information than there is.
    parts = rate.sampled_parts(mean, *rate.log_densities(mean, logvar, [0, 1], mean))
    assert abs(parts[1].mean() - 0.632720193737) > 0.05


def test_information_lies_between_its_limits():
    generator = np.random.default_rng(0)
    one = rate.decompose(generator.normal(size=(1, 3)), generator.normal(size=(1, 3)), jax.random.key(0), 50)
    assert one.mutual_information == (0.0, 0.0) and one.cap == 0.0
    same = rate.decompose(np.ones((100, 3)), np.full((100, 3), -1.0), jax.random.key(0), 50)
    np.testing.assert_allclose(same.mutual_information, 0.0, atol=1e-5)
    # Disjoint, and 300 is not a multiple of the block: log N, from every single sample and never above.
    far = rate.decompose(100.0 * np.arange(300.0)[:, None] - 15000, np.zeros((300, 1)), jax.random.key(0), 50)
    assert far.cap == pytest.approx(np.log(300), rel=1e-12)
    np.testing.assert_allclose(far.mutual_information, (np.log(300), 0.0), rtol=1e-12, atol=1e-12)
    assert far.mutual_information.value <= far.cap + 1e-12


def test_the_parts_sum_to_the_rate_and_agree_with_a_direct_sum():
    generator = np.random.default_rng(1)
    mean, logvar = generator.normal(size=(700, 5)), generator.normal(size=(700, 5)) - 2
    d = rate.decompose(mean, logvar, jax.random.key(2), 1500)
    parts = (d.mutual_information, d.total_correlation, d.dimension_wise_kl)
    assert sum(part.value for part in parts) == pytest.approx(d.sampled_rate.value, abs=1e-9)
    assert np.sum(d.kl_per_latent.value) == pytest.approx(d.dimension_wise_kl.value, abs=1e-9)
    assert abs(d.sampled_rate.value - d.rate) < 4 * d.sampled_rate.error
    # Posterior widths over three orders of magnitude, against scipy's logsumexp in 64 bits.
    index = np.arange(0, 700, 7)
    z = np.asarray(mean[index] + np.exp(0.5 * logvar[index]), np.float32)
    each = -0.5 * ((z[:, None] - mean) ** 2 * np.exp(-logvar) + logvar + np.log(2 * np.pi))
    log_q, joint, marginal = rate.log_densities(mean, logvar, index, z)
    np.testing.assert_allclose(joint, logsumexp(each.sum(-1), axis=1) - np.log(700), atol=2e-4)
    np.testing.assert_allclose(marginal, logsumexp(each, axis=1) - np.log(700), atol=2e-4)
    np.testing.assert_allclose(log_q, each[np.arange(100), index], atol=2e-4)


def test_linear_optimum_is_all_mutual_information():
    # The aggregate posterior of a linear VAE at its optimum is the prior. With 16,384 points of data it is within
    # E_n int q_n^2 / (2 N p) = prod(lambda / s) / 2N = .008 nats of it.
    level, n = 0.7, 14
    head = BED_EIGENVALUES[:BED_LATENTS]
    mean = normal_points(n, BED_LATENTS) * np.sqrt(np.maximum(1 - level / head, 0))
    logvar = np.broadcast_to(np.log(np.minimum(level / head, 1)), mean.shape)
    d = rate.decompose(mean, logvar, jax.random.key(0), 3000)
    assert abs(d.rate - 2.792791430) < 2e-3
    assert abs(d.mutual_information.value - d.rate) < 4 * d.mutual_information.error + 0.008
    assert abs(d.total_correlation.value) < 4 * d.total_correlation.error + 0.008
    assert abs(d.dimension_wise_kl.value) < 4 * d.dimension_wise_kl.error + 0.001
    assert max(d.mutual_information.error, d.total_correlation.error, d.dimension_wise_kl.error) < 0.05
    assert rate.active_units(mean).tolist() == [True] * 4 + [False] * 2
    np.testing.assert_allclose(rate.second_moments(mean, logvar), 1.0, atol=1e-3)


def test_total_correlation_of_a_gaussian_aggregate():
    # q(z) = N(0, S) up to the number of points: TC = -1/2 log det R, and KL(q_j || p_j) in closed form.
    cov, tau2 = np.array([[2.0, 0.8], [0.8, 1.0]]), 0.3
    mean = normal_points(12, 2) @ np.linalg.cholesky(cov - tau2 * np.eye(2)).T + np.array([0.5, 0.0])
    logvar = np.full_like(mean, np.log(tau2))
    d = rate.decompose(mean, logvar, jax.random.key(3), 20000)
    expected = -0.5 * np.log(np.linalg.det(cov) / 2.0)
    assert abs(d.total_correlation.value - expected) < 4 * d.total_correlation.error < 0.05
    per_latent = 0.5 * (np.array([0.25, 0.0]) + np.diag(cov) - 1 - np.log(np.diag(cov)))
    assert np.all(np.abs(d.kl_per_latent.value - per_latent) < 4 * d.kl_per_latent.error + 1e-3)


def test_the_whole_data_set_has_no_log_batch_cap():
    # q_n = N(mu_n, I/4), mu_n ~ N(0, 3/4 I): I = 5 log 4 = 6.931 nats, TC = 0. Of them 8,000 points show 6.3, and a
    # batch of 64 at most log 64 = 4.16.
    generator = np.random.default_rng(0)
    mean = np.sqrt(0.75) * generator.normal(size=(8_000, 10))
    d = rate.decompose(mean, np.full_like(mean, np.log(0.25)), jax.random.key(0), 300)
    assert np.log(64) + 1.5 < d.mutual_information.value < 6.931 + 4 * d.mutual_information.error
    # Trap 63: the analytic entropy with one sampled term, where all posteriors are the same and I = 0.
    same = np.zeros((50, 10)), np.zeros((50, 10))
    index = np.arange(50)
    z = np.asarray(jax.random.normal(jax.random.key(1), (50, 10)))
    log_q, joint, _ = rate.log_densities(*same, index, z)
    mixed = -0.5 * 10 * (1 + np.log(2 * np.pi)) - joint
    assert np.abs(log_q.sum(-1) - joint).max() < 1e-5 and mixed.min() < -1


def test_what_cannot_be_taken_apart_is_refused():
    with pytest.raises(ValueError, match=r"\[n, d\]"):
        rate.decompose(jnp.zeros(3), jnp.zeros(3), jax.random.key(0))
    with pytest.raises(ValueError, match="num_samples"):
        rate.decompose(jnp.zeros((3, 1)), jnp.zeros((3, 1)), jax.random.key(0), 1)
