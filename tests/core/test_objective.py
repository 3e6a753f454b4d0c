"""The bound: its terms, its identities, and its exact value on a linear VAE before and after training."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import BED_EIGENVALUES, BED_LATENTS, golden, within_standard_errors
from helpers.linear_bed import bed_optimum
from scipy import stats

from experiments.claims.bed import (
    DIM,
    FIXED,
    LINEAR,
    SIGMA2,
    batch_terms,
    bed_data,
    bed_log_likelihood,
    exact_terms,
    squared_error,
    sse_and_rate,
)
from vae_jax import objective
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import gaussian
from vae_jax.models import mlp
from vae_jax.types import Terms

# ---------------------------------------------------------------- shapes and identities


SAMPLES = 2000


@functools.cache
def _mlp_terms():
    """The terms of three examples of a small network, compiled once for all tests that only read them."""
    likelihood = gaussian("learned")
    vae = mlp((4, 2), likelihood.theta_shape((4, 2)), 3, (8,))
    params = {"model": jax.jit(vae.init)(jax.random.key(0)), "likelihood": likelihood.init((4, 2))}
    x = jax.random.uniform(jax.random.key(1), (3, 4, 2))
    return batch_terms(likelihood, params, x, jax.random.key(2), SAMPLES, vae), vae, likelihood, params, x


def test_shapes_of_the_terms():
    t, vae, likelihood, params, x = _mlp_terms()
    assert t.q.mean.shape == t.q.logvar.shape == (3, 3)
    assert t.z.shape == (3, SAMPLES, 3)
    for field in (t.log_px_z, t.log_pz, t.log_qz):
        assert field.shape == (3, SAMPLES) and field.dtype == jnp.float32
    assert objective.rate(t).shape == objective.distortion(t).shape == objective.iwae_per_example(t).shape == (3,)
    assert objective.elbo(t).shape == objective.iwae(t).shape == ()
    key = jax.random.split(jax.random.key(2), 3)[0]
    one = jax.eval_shape(lambda: objective.terms(vae, likelihood, params, x[0], key, 1))
    assert one.z.shape == (1, 3) and one.log_px_z.shape == (1,)


def test_each_term_is_what_it_says():
    t, vae, likelihood, params, x = _mlp_terms()
    for b in range(3):
        q = vae.encode(params["model"], x[b])
        for s in range(0, 5, 2):
            z = t.z[b, s]
            theta = vae.decode(params["model"], z)
            log_px_z = likelihood.log_prob(params["likelihood"], theta, x[b])
            assert float(t.log_px_z[b, s]) == pytest.approx(float(log_px_z), rel=1e-5)
            assert float(t.log_pz[b, s]) == pytest.approx(stats.norm.logpdf(z).sum(), rel=1e-5)
            std = np.exp(0.5 * np.asarray(q.logvar))
            assert float(t.log_qz[b, s]) == pytest.approx(stats.norm.logpdf(z, q.mean, std).sum(), rel=1e-4, abs=1e-4)
    # Every (example, sample) has its own z.
    assert len(np.unique(np.asarray(t.z)[:, :5, 0])) == 15


def test_elbo_is_the_mean_of_minus_distortion_minus_weighted_rate():
    t, *_ = _mlp_terms()
    rate, distortion = np.asarray(objective.rate(t)), np.asarray(objective.distortion(t))
    np.testing.assert_allclose(distortion, -np.asarray(t.log_px_z).mean(1), rtol=1e-6)
    np.testing.assert_allclose(rate, np.asarray(t.q.kl()).sum(1), rtol=1e-6)
    for weight in (0.0, 0.3, 1.0, 4.0):
        assert float(objective.elbo(t, weight)) == pytest.approx(-np.mean(distortion + weight * rate), rel=1e-6)
    assert float(objective.elbo(t)) == float(objective.elbo(t, 1.0))
    assert float(objective.elbo(t, 0.0)) == pytest.approx(-distortion.mean(), rel=1e-6)  # beta 0: the NLL alone
    for weight in (0.3, 4.0):  # not ignored, not applied twice, no hidden factor
        slope = jax.grad(lambda w: -objective.elbo(t, w))(weight)
        assert float(slope) == pytest.approx(rate.mean(), rel=1e-6)


def test_the_loss_of_a_doubled_batch_is_the_loss():
    t, *_ = _mlp_terms()
    twice = jax.tree.map(lambda a: jnp.concatenate([a, a]), t)
    for bound in (objective.elbo, objective.iwae):
        assert float(bound(twice, 2.0)) == pytest.approx(float(bound(t, 2.0)), rel=1e-6)
    # One term averaged and the other summed over the batch would not pass.
    mixed = lambda t: jnp.mean(objective.distortion(t)) + jnp.sum(objective.rate(t))  # noqa: E731
    excess = float(jnp.sum(objective.rate(t)))
    assert float(mixed(twice) - mixed(t)) == pytest.approx(excess, rel=1e-2) and excess > 0.05


def test_half_precision_networks_are_scored_in_float32():
    vae = LINEAR._replace(
        encode=lambda params, x: DiagGaussian(*(f.astype(jnp.bfloat16) for f in LINEAR.encode(params, x))),
        decode=lambda params, z: LINEAR.decode(params, z).astype(jnp.bfloat16),
    )
    likelihood = gaussian("learned")
    params = {"model": vae.init(jax.random.key(0)), "likelihood": likelihood.init((DIM,))}
    x = jnp.asarray(bed_data()[:2], jnp.float32)
    t = jax.eval_shape(lambda x: batch_terms(likelihood, params, x, jax.random.key(1), 4, vae), x)
    assert {f.dtype for f in (t.z, t.log_px_z, t.log_pz, t.log_qz)} == {jnp.dtype("float32")}
    for bound in (objective.elbo, objective.iwae, objective.rate):
        assert jax.eval_shape(bound, t).dtype == jnp.float32


def test_float32_terms_stay_float32_in_a_64_bit_program(x64):
    t = Terms(DiagGaussian(*2 * [jnp.zeros(2, jnp.float32)]), *(jnp.zeros(s, jnp.float32) for s in ((3, 2), 3, 3, 3)))
    assert objective.elbo(t, 0.5).dtype == objective.iwae(t, 0.5).dtype == jnp.float32


def test_analytic_rate_is_the_monte_carlo_rate():
    t, *_ = _mlp_terms()
    for b in range(3):
        assert within_standard_errors(t.log_qz[b] - t.log_pz[b], float(objective.rate(t)[b]), 4)
    monte_carlo = t.log_px_z + t.log_pz - t.log_qz
    assert within_standard_errors(np.asarray(monte_carlo).mean(0), float(objective.elbo(t)), 4)


def test_the_same_key_gives_the_same_terms_and_another_key_others():
    first, vae, likelihood, params, x = _mlp_terms()
    again, other = (batch_terms(likelihood, params, x, jax.random.key(k), SAMPLES, vae) for k in (2, 3))
    np.testing.assert_array_equal(first.z, again.z)
    assert not np.any(np.asarray(first.z) == np.asarray(other.z))


# ---------------------------------------------------------------- importance weights


def _weights(log_w):
    """Terms of a batch with these log weights ``[b, s]``."""
    log_w = jnp.asarray(log_w, float)
    q = DiagGaussian(jnp.zeros((len(log_w), 1)), jnp.zeros((len(log_w), 1)))
    return Terms(q, jnp.zeros((*log_w.shape, 1)), log_w, jnp.zeros_like(log_w), jnp.zeros_like(log_w))


def test_iwae_does_not_pool_examples(x64):
    log_w = np.array([[-100.0, -101.0, -105.0], [-3.0, -2.0, -7.0]])
    each = np.log(np.mean(np.exp(log_w - log_w.max(1, keepdims=True)), 1)) + log_w.max(1)
    assert float(objective.iwae(_weights(log_w))) == pytest.approx(each.mean(), rel=1e-12)
    pooled = np.log(np.mean(np.exp(log_w)))
    before_the_log = np.log(np.mean(np.exp(log_w.mean(0))))
    for wrong in (pooled, before_the_log, log_w.mean()):
        assert abs(float(objective.iwae(_weights(log_w))) - wrong) > 0.1


def test_iwae_weighs_prior_and_posterior_only(x64):
    t = _weights([[-5.0, -6.0]])._replace(log_pz=jnp.array([[-1.0, -2.0]]), log_qz=jnp.array([[-0.5, 0.5]]))
    for weight in (0.0, 1.0, 3.0):
        log_w = np.array([-5.0 + weight * -0.5, -6.0 + weight * -2.5])
        assert float(objective.iwae(t, weight)) == pytest.approx(np.log(np.mean(np.exp(log_w))), rel=1e-12)


def test_iwae_gradient_is_the_weighted_mean():
    log_w = jnp.array([[-1000.0, 0.0, -1.0]])
    gradient = jax.grad(lambda w: objective.iwae(_weights(w)))(log_w)
    np.testing.assert_allclose(gradient, jax.nn.softmax(log_w), rtol=1e-6)


# ---------------------------------------------------------------- exact on the linear bed


def test_bed_data_has_exactly_the_eigenvalues(x64):
    x = np.asarray(bed_data())
    np.testing.assert_allclose(x.mean(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(x.T @ x / len(x))[::-1], BED_EIGENVALUES, rtol=1e-10)


def test_at_the_optimum_every_bound_is_the_log_likelihood(x64):
    likelihood, params, _ = bed_optimum()
    x = bed_data()
    log_p = bed_log_likelihood(params, x)
    assert log_p.mean() == golden("-9.473207627")
    exact = exact_terms(likelihood, params, x)
    assert float(objective.elbo(exact)) == pytest.approx(log_p.mean(), abs=1e-9)
    each = -(objective.distortion(exact) + objective.rate(exact))
    np.testing.assert_allclose(each, log_p, atol=1e-9)
    # Whatever the number of samples, also when it is the batch's size, and whatever z: log w is constant in z.
    t = batch_terms(likelihood, params, x, jax.random.key(0), 50)
    assert np.std(t.log_px_z + t.log_pz - t.log_qz, axis=1).max() < 1e-11
    for k in (1, 20, 50):
        some = t._replace(**{name: getattr(t, name)[:, :k] for name in ("log_px_z", "log_pz", "log_qz")})
        np.testing.assert_allclose(objective.iwae_per_example(some), log_p, atol=1e-6)
    # The sampled ELBO is the same up to the noise of its distortion.
    noise = -np.asarray(t.log_px_z) + np.asarray(objective.rate(t))[:, None]
    assert within_standard_errors(noise.mean(0), -log_p.mean(), 4)


@pytest.mark.parametrize(("beta", "sigma2"), [(1.0, 0.1), (4.0, 0.1), (1.5, None), (0.25, None)])
def test_the_closed_form_is_stationary_and_the_slope_in_beta_is_the_rate(beta, sigma2, x64):
    likelihood, params, prediction = bed_optimum(beta, sigma2)
    x = bed_data()

    def loss(params, beta):
        return -objective.elbo(exact_terms(likelihood, params, x), beta)

    t = exact_terms(likelihood, params, x)
    assert float(jnp.mean(objective.rate(t))) == pytest.approx(prediction.rate, rel=1e-9)
    sse = squared_error(float(jnp.mean(objective.distortion(t))), prediction.sigma2)
    assert sse == pytest.approx(prediction.distortion, rel=1e-9)
    by_params, by_beta = jax.jit(jax.grad(loss, (0, 1)))(params, beta)
    for leaf in jax.tree.leaves(by_params["model"]):
        np.testing.assert_allclose(leaf, 0.0, atol=1e-9)
    assert float(by_beta) == pytest.approx(prediction.rate, rel=1e-9)
    calibrated = sigma2 is None
    assert (abs(float(by_params["likelihood"]["log_sigma"])) < 1e-8) == calibrated  # SSE = D sigma^2


def test_the_noise_free_terms_are_the_traces(x64):
    """The bed's loss as closed-form traces, at weights that are no optimum."""
    rng = np.random.default_rng(0)
    w, v, d = rng.normal(size=(DIM, BED_LATENTS)), rng.normal(size=(BED_LATENTS, DIM)), rng.uniform(0.1, 2, BED_LATENTS)
    x = np.asarray(bed_data())
    cov = x.T @ x / len(x)
    residual = np.eye(DIM) - w @ v
    sse = np.trace(residual @ cov @ residual.T) + np.trace(w * d @ w.T)
    kl = 0.5 * (np.trace(v @ cov @ v.T) + d.sum() - np.log(d).sum() - BED_LATENTS)
    model = {"w": jnp.asarray(w), "v": jnp.asarray(v), "log_d": jnp.log(d)}
    t = exact_terms(FIXED, {"model": model, "likelihood": {"log_sigma": 0.5 * jnp.log(SIGMA2)}}, jnp.asarray(x))
    assert sse_and_rate(t) == pytest.approx((sse, kl), rel=1e-12)


# ---------------------------------------------------------------- trained on the linear bed


def test_trained_on_sampled_z_in_float32():
    """From small random weights to the log-likelihood of probabilistic PCA, with the noise that training has."""
    likelihood, x = gaussian("learned", sigma=1.0), bed_data().astype(jnp.float32)
    steps = 3000
    optimizer = optax.adam(optax.schedules.cosine_decay_schedule(0.02, steps))

    def step(carry, key):
        params, state = carry
        gradient = jax.grad(lambda params: -objective.elbo(batch_terms(likelihood, params, x, key, 16)))(params)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def run():
        params = {"model": LINEAR.init(jax.random.key(4)), "likelihood": likelihood.init((DIM,))}
        keys = jax.random.split(jax.random.key(9), steps)
        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), keys)
        return objective.elbo(exact_terms(likelihood, params, x))

    # 320 draws a step leave some gradient noise in the weights: 0.004 nats here. No noise brings it above log p.
    gap = -9.473207627 - float(run())
    assert -1e-5 < gap < 0.01
