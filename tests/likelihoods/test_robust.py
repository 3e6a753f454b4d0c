"""Huber and Charbonnier: densities by quadrature, their moments, what they are near and far, and local water levels."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from vae_jax.likelihoods import charbonnier, charbonnier_log_prob, huber, huber_log_prob, laplace_log_prob
from vae_jax.theory.penalties import level_of_absolute_errors, local_water_level

FAMILIES = {"huber": (huber, huber_log_prob), "charbonnier": (charbonnier, charbonnier_log_prob)}


@pytest.mark.parametrize("turn", [0.1, 1.345, 6.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_density_integrates_to_one(name, turn, x64):
    make, log_prob = FAMILIES[name]
    likelihood, scale = make(turn, 0.25, learn_scale=False), 0.25
    own = {"log_scale": jnp.log(jnp.asarray(scale))}
    half = np.geomspace(1e-9, max(60.0 / turn, 12.0), 40_001)
    x = scale * np.concatenate([-half[::-1], half])
    p = np.exp(np.asarray(log_prob(x, 0.0, jnp.log(scale), turn)))
    assert integrate.simpson(p, x=x) == pytest.approx(1.0, abs=1e-10)
    variance = integrate.simpson(p * x * x, x=x)
    zeros = jnp.zeros(len(x))
    assert float(likelihood.variance(own, zeros)[0]) == pytest.approx(variance, rel=1e-9)
    cdf = np.asarray(likelihood.cdf(own, zeros, jnp.asarray(x))[0])
    np.testing.assert_allclose(cdf, integrate.cumulative_simpson(p, x=x, initial=0), atol=1e-6)
    draws = np.asarray(likelihood.sample(own, jnp.zeros(100_000), jax.random.key(1)))
    assert np.var(draws) == pytest.approx(variance, rel=0.04)
    # Kolmogorov and Smirnov: 2.5 / sqrt(n) is exceeded once in 100,000 times.
    sorted_cdf = np.asarray(likelihood.cdf(own, jnp.zeros(len(draws)), jnp.sort(jnp.asarray(draws)))[0])
    assert np.abs(sorted_cdf - np.arange(1, len(draws) + 1) / len(draws)).max() < 2.5 / math.sqrt(len(draws))
    # The planted constants, of a Gaussian and of a Laplace with these tails: rejected.
    rho = float(log_prob(0.0, 0.0, 0.0, turn)) - np.asarray(log_prob(x, 0.0, jnp.log(scale), turn)) - math.log(scale)
    for wrong in (0.5 * math.log(2.0 * math.pi), math.log(2.0 / turn)):
        if turn == 1.345:
            assert abs(integrate.simpson(np.exp(-rho - wrong) / scale, x=x) - 1.0) > 0.02


def test_constants_in_closed_form(x64):
    for turn in (0.3, 1.0, 4.0):
        z = math.sqrt(2 * math.pi) * special.erf(turn / math.sqrt(2)) + 2 * math.exp(-0.5 * turn**2) / turn
        assert float(huber_log_prob(0.0, 0.0, 0.0, turn)) == pytest.approx(-math.log(z), rel=1e-12)
        z = 2 * turn * special.kve(1, turn**2)
        assert float(charbonnier_log_prob(0.0, 0.0, 0.0, turn)) == pytest.approx(-math.log(z), rel=1e-12)


def test_between_a_gaussian_and_a_laplace(x64):
    x = jnp.linspace(-3.0, 3.0, 13)
    gaussian = -0.5 * (x**2 + math.log(2 * math.pi))
    for _, log_prob in FAMILIES.values():
        np.testing.assert_allclose(log_prob(x, 0.0, 0.0, 100.0), gaussian, atol=3e-3)
        # With scale / turn = b the tails are a Laplace's of scale b.
        turn, b = 1e-3, 0.7
        np.testing.assert_allclose(
            log_prob(x, 0.0, math.log(b * turn), turn), laplace_log_prob(x, 0.0, math.log(b)), atol=2e-3
        )
    for bad in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="positive distance"):
            huber(bad)
        with pytest.raises(ValueError, match="positive distance"):
            charbonnier(bad)


# ---------------------------------------------------------------- local water levels

T, WIDTH = 0.03, 0.2
PENALTIES = {
    "squared_error": lambda e: e**2,
    "absolute_error": abs,
    "huber": lambda e: e**2 / 2 if abs(e) < WIDTH else WIDTH * (abs(e) - WIDTH / 2),
    "charbonnier": lambda e: math.hypot(e, WIDTH),
}


@pytest.mark.parametrize("kind", PENALTIES)
def test_a_local_water_level_is_the_quadratic_that_touches(kind):
    rho = PENALTIES[kind]
    for error in (0.05, 0.5):
        s, h = local_water_level(kind, T, error, WIDTH), 1e-6
        slope = (rho(error + h) - rho(error - h)) / (2 * h) / T
        assert error / s == pytest.approx(slope, rel=1e-6)  # of e^2 / (2 s)
        for other in np.linspace(-1, 1, 41):  # and it lies above the penalty everywhere
            assert (rho(other) - rho(error)) / T <= (other**2 - error**2) / (2 * s) + 1e-9
    with pytest.raises(ValueError, match="no local water level"):
        local_water_level("bce", T, 0.1)


@pytest.mark.parametrize("shape", ["laplace", "gaussian"])
def test_the_level_of_many_absolute_errors(shape):
    """The curvature of E|r + d| in a common shift d, by quadrature."""
    m = 0.4
    r = np.linspace(-12.0, 12.0, 240_001)
    p = np.exp(-np.abs(r) / m) / (2 * m)
    if shape == "gaussian":
        std = m * math.sqrt(math.pi / 2)
        p = np.exp(-0.5 * (r / std) ** 2) / (std * math.sqrt(2 * math.pi))
    mean = [integrate.simpson(p * np.abs(r + d), x=r) for d in (-0.02, 0.0, 0.02)]
    assert mean[1] == pytest.approx(m, rel=1e-6)
    curvature = (mean[0] - 2 * mean[1] + mean[2]) / 0.02**2 / T
    assert 1 / curvature == pytest.approx(level_of_absolute_errors(T, m, shape), rel=0.02)
