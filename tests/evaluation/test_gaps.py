"""The inference gaps, on linear models whose posterior, likelihood and best diagonal q are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.linear_bed import bed_optimum

from experiments.claims.bed import LINEAR, bed_data, bed_log_likelihood
from vae_jax.evaluation import gaps
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import gaussian
from vae_jax.types import VAE

GOLDEN = 0.192831240406  # of a posterior of precision [[2, .8], [.8, 1]], and of any with these correlations
PRECISION = np.array([[4.0, 1.6], [1.6, 2.0]])  # the same doubled: a prior N(0, I) needs at least I
CORRELATED = VAE(
    init=lambda key: {},
    # Wrong by 3 and 5 tau in the mean and by factors of the width.
    encode=lambda params, x: DiagGaussian(params["shift"] + params["v"] @ x, params["logvar"]),
    decode=lambda params, z: params["w"] @ z,
)


@functools.cache
def correlated():
    """64 examples of the correlated model, its gaps and the exact log p(x)."""
    w = np.linalg.cholesky(PRECISION - np.eye(2)).T  # with sigma 1 the posterior precision is I + W'W
    v = np.linalg.inv(PRECISION) @ w.T
    exact = -np.log(np.diag(PRECISION))
    model = {"w": w, "v": v, "shift": np.array([1.5, -3.5]), "logvar": exact + np.array([2.0, -1.5])}
    params = {"model": jax.tree.map(jnp.float32, model), "likelihood": {"log_sigma": jnp.zeros(())}}
    cov = w @ w.T + np.eye(2)
    x = np.random.default_rng(0).multivariate_normal(np.zeros(2), cov, 64)
    estimate = gaps.make_gaps(CORRELATED, gaussian("fixed", sigma=1.0), batch_size=24, num_samples=990)
    square = np.einsum("bi,ij,bj->b", x, np.linalg.inv(cov), x)
    log_px = -0.5 * (square + np.linalg.slogdet(2 * np.pi * cov)[1])
    return params, jnp.float32(x), estimate(params, jnp.float32(x), jax.random.key(1)), log_px


def test_a_correlated_posterior_has_the_golden_approximation_gap():
    params, _, found, log_px = correlated()
    s = gaps.summarise_gaps(found)
    assert found.log_px.shape == (64,)
    assert abs(s["approximation_gap"] - GOLDEN) < 4 * s["approximation_gap_error"] + 5e-4
    assert s["approximation_gap_error"] < 0.01
    # 990 samples lose about var(w) / 2K of log p(x).
    assert np.all(np.abs(found.log_px - log_px) < 5 * found.log_px_error + 1e-3)
    # q* is narrower than the posterior, and here the weights have no variance: few samples may carry much.
    assert found.effective_samples.mean() > 300 and s["effective_samples"] == found.effective_samples.min() > 10
    # The encoder is wrong by mean and width: its whole gap is KL(q || posterior), in closed form.
    variance = np.exp(np.asarray(params["model"]["logvar"]))
    shift = np.array([1.5, -3.5])
    inference = 0.5 * (np.sum(np.diag(PRECISION) * variance) + shift @ PRECISION @ shift - 2)
    inference -= 0.5 * (np.linalg.slogdet(PRECISION)[1] + np.sum(np.log(variance)))
    assert abs(s["amortisation_gap"] - (inference - GOLDEN)) < 4 * s["amortisation_gap_error"]
    assert s["amortisation_gap_error"] < 0.02 * s["amortisation_gap"]
    assert s["inference_gap"] == pytest.approx(s["log_px"] - s["elbo"], abs=1e-4)
    # Trap: the encoder's own bound in place of log p(x) in the middle would give the whole gap to the family.
    assert abs(s["inference_gap"] - GOLDEN) > 1.0


def test_the_optimised_q_is_the_best_diagonal_one():
    params, x, _, _ = correlated()
    q = jax.jit(jax.vmap(lambda x, key: gaps.optimise(CORRELATED, gaussian("fixed", sigma=1.0), params, x, key)))(
        x[:8], jax.random.split(jax.random.key(0), 8)
    )
    # The best diagonal q of a Gaussian has its mean, and the diagonal of its precision (not of its covariance).
    mean = np.asarray(x[:8]) @ np.asarray(params["model"]["v"]).T
    np.testing.assert_allclose(q.mean, mean, atol=0.01)
    np.testing.assert_allclose(q.logvar, np.broadcast_to(-np.log(np.diag(PRECISION)), (8, 2)), atol=0.06)
    assert np.abs(np.diag(np.linalg.inv(PRECISION)) - 1 / np.diag(PRECISION)).min() > 0.1


def detuned(model, x):
    """The bed's encoder, wrong by ``shift`` tau in the mean and by ``width`` in the log variance."""
    q = LINEAR.encode(model, x)
    return DiagGaussian(q.mean + model["shift"] * jnp.exp(0.5 * q.logvar), q.logvar + model["width"])


@functools.cache
def bed():
    """The bed at its learned optimum in 32 bits, its data, and the estimator of its gaps."""
    likelihood, params, _ = bed_optimum()
    estimate = gaps.make_gaps(LINEAR._replace(encode=detuned), likelihood, num_samples=400)
    return jax.tree.map(jnp.float32, params), jnp.float32(bed_data()), estimate


def bed_gaps(mean_shift, log_width):
    params, x, estimate = bed()
    model = params["model"] | {"shift": jnp.float32(mean_shift), "width": jnp.float32(log_width)}
    return gaps.summarise_gaps(estimate(params | {"model": model}, x, jax.random.key(3))), params, x


def test_both_gaps_of_the_linear_optimum_are_zero():
    s, params, x = bed_gaps(0.0, 0.0)
    assert abs(s["approximation_gap"]) < 1e-3 and abs(s["amortisation_gap"]) < 1e-3
    exact = float(np.mean(bed_log_likelihood(params, x)))
    assert abs(s["log_px"] - exact) < 1e-3
    assert abs(exact + 9.473207627) < 1e-4
    assert s["effective_samples"] > 399


@pytest.mark.parametrize("mean_shift, log_width", [(2.0, 0.0), (0.5, -3.0)])
def test_a_detuned_encoder_shows_the_gap_that_it_has(mean_shift, log_width):
    s, params, x = bed_gaps(mean_shift, log_width)
    # The posterior of the bed is diagonal: all of KL(q || posterior) is amortisation.
    expected = 6 * 0.5 * (mean_shift**2 + np.expm1(log_width) - log_width)
    assert abs(s["approximation_gap"]) < 2e-3
    assert abs(s["amortisation_gap"] - expected) < 4 * s["amortisation_gap_error"] + 2e-3
    assert 0 < s["amortisation_gap_error"] < 0.05 * expected
    assert abs(s["log_px"] - float(np.mean(bed_log_likelihood(params, x)))) < 2e-3


def test_batches_and_chunks_change_nothing():
    params, x, whole, _ = correlated()
    few = gaps.make_gaps(CORRELATED, gaussian("fixed", sigma=1.0), batch_size=24, num_samples=990)
    other = few(params, x[:25], jax.random.key(1))
    np.testing.assert_allclose(other.amortisation, whole.amortisation[:25], rtol=1e-4)
    one = gaps.summarise_gaps(gaps.Gaps(*(v[:1] for v in whole)))
    assert one["amortisation_gap_error"] == pytest.approx(float(whole.amortisation_error[0]))
    with pytest.raises(ValueError, match="even"):
        gaps.optimise(CORRELATED, gaussian("fixed"), params, x[0], jax.random.key(0), gaps.Search(gradient_samples=3))
