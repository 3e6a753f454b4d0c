"""The diagonal Gaussian: densities, divergences, samples, and the precision in which they are computed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import within_standard_errors
from scipy import stats

from vae_jax.gaussian import DiagGaussian, kl_divergence, standard_normal_log_prob


def _gaussian(mean, logvar, dtype=None):
    return DiagGaussian(jnp.asarray([mean], dtype), jnp.asarray([logvar], dtype))


@pytest.mark.parametrize(("mean", "logvar", "expected"), [(0.05, -0.01, 1.274916874584e-3), (0.0, 0.01, 2.508354e-5)])
def test_a_small_kl_keeps_its_digits_in_float32(mean, logvar, expected):
    q = _gaussian(mean, logvar)
    assert q.kl().dtype == jnp.float32
    assert float(q.kl()[0]) == pytest.approx(expected, rel=1e-4)
    assert float(kl_divergence(q, q)[0]) == 0.0


def test_kl_is_the_textbook_formula_and_never_negative():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=2000) * 10.0 ** rng.uniform(-6, 0.5, 2000)
    logvar = rng.normal(size=2000) * 10.0 ** rng.uniform(-6, 0.5, 2000)
    kl = np.asarray(DiagGaussian(jnp.asarray(mean, jnp.float32), jnp.asarray(logvar, jnp.float32)).kl())
    expected = 0.5 * (mean**2 + np.exp(logvar) - 1.0 - logvar)
    assert np.all(kl >= 0.0)
    np.testing.assert_allclose(kl, expected, rtol=2e-6, atol=1e-6)


def test_kl_of_half_precision_inputs_is_computed_in_float32():
    q = _gaussian(0.05, -0.01, jnp.bfloat16)
    assert q.kl().dtype == jnp.float32
    assert float(q.kl()[0]) == pytest.approx(1.274916874584e-3, abs=1e-4)
    # Exactly the divergence of the rounded inputs.
    mean, logvar = float(q.mean[0]), float(q.logvar[0])
    assert float(q.kl()[0]) == pytest.approx(0.5 * (mean**2 + np.expm1(logvar) - logvar), rel=1e-4)
    # The published mistake: exp(lv) - 1 - lv in bfloat16 is zero or negative.
    lv = jnp.asarray(0.01, jnp.bfloat16)
    assert float(0.5 * (jnp.exp(lv) - lv - 1)) <= 0.0 < float(_gaussian(0.0, 0.01, jnp.bfloat16).kl()[0])


def test_every_density_and_divergence_widens_half_precision():
    q, p = _gaussian(0.5, -1.0, jnp.bfloat16), _gaussian(0.0, 0.25, jnp.bfloat16)
    z = jnp.asarray([1.3], jnp.bfloat16)
    wide = [DiagGaussian(*(jnp.asarray(field, jnp.float32) for field in g)) for g in (q, p)]
    for half, full in [
        (q.kl(), wide[0].kl()),
        (kl_divergence(q, p), kl_divergence(*wide)),
        (q.log_prob(z), wide[0].log_prob(z.astype(jnp.float32))),
        (standard_normal_log_prob(z), standard_normal_log_prob(z.astype(jnp.float32))),
    ]:
        assert half.dtype == jnp.float32
        np.testing.assert_array_equal(half, full)
    assert q.sample(jax.random.key(0), 2).dtype == jnp.float32


def test_log_prob_against_scipy(x64):
    rng = np.random.default_rng(1)
    mean, logvar, z = rng.normal(size=(3, 4, 5))
    q = DiagGaussian(jnp.asarray(mean), jnp.asarray(logvar))
    expected = stats.norm.logpdf(z, mean, np.exp(0.5 * logvar)).sum(-1)
    np.testing.assert_allclose(q.log_prob(jnp.asarray(z)), expected, rtol=1e-12)
    np.testing.assert_allclose(standard_normal_log_prob(jnp.asarray(z)), stats.norm.logpdf(z).sum(-1), rtol=1e-12)


def test_samples_have_the_stated_mean_and_standard_deviation():
    q = DiagGaussian(jnp.array([[0.5, -1.0, 3.0], [0.0, 0.0, 0.0]]), jnp.array([[-3.0, 0.0, 1.0], [-6.0, 2.0, 0.5]]))
    z = np.asarray(q.sample(jax.random.key(1), 50_000))
    assert z.shape == (50_000, 2, 3)
    square = np.square(z - np.asarray(q.mean))
    variance = np.exp(np.asarray(q.logvar))
    # 5 standard errors on twelve numbers: a false alarm in about 1 of 150,000 keys; the key is fixed besides.
    assert within_standard_errors(z, np.asarray(q.mean), 5)
    assert within_standard_errors(square, variance, 5)
    # Confusing standard deviation and variance is far outside.
    assert not within_standard_errors(square, variance**2, 5)
    # The coordinates are independent.
    correlation = np.corrcoef(z.reshape(len(z), -1).T) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(len(z))


def test_samples_are_reparametrised():
    def total(mean, logvar):
        return jnp.sum(DiagGaussian(mean, logvar).sample(jax.random.key(2), 7))

    mean, logvar = jnp.array([0.3, -2.0]), jnp.array([-1.0, 0.4])
    by_mean, by_logvar = jax.grad(total, (0, 1))(mean, logvar)
    z = DiagGaussian(mean, logvar).sample(jax.random.key(2), 7)
    np.testing.assert_allclose(by_mean, 7.0)
    np.testing.assert_allclose(by_logvar, 0.5 * jnp.sum(z - mean, 0), rtol=1e-5)


def test_gradients_at_the_prior_are_zero_and_elsewhere_exact():
    by_mean, by_logvar = jax.grad(lambda m, v: jnp.sum(DiagGaussian(m, v).kl()), (0, 1))(jnp.zeros(3), jnp.zeros(3))
    np.testing.assert_array_equal(by_mean, 0.0)
    np.testing.assert_array_equal(by_logvar, 0.0)
    mean, logvar = jnp.array([0.5, -2.0]), jnp.array([-8.0, 3.0])
    by_mean, by_logvar = jax.grad(lambda m, v: jnp.sum(DiagGaussian(m, v).kl()), (0, 1))(mean, logvar)
    np.testing.assert_allclose(by_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(by_logvar, 0.5 * np.expm1(np.asarray(logvar)), rtol=1e-6)
