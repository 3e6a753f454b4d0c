"""The noise on held-out data: the closed form against the maximum of the density itself."""

import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import likelihoods
from vae_jax.evaluation.recalibration import recalibrate
from vae_jax.gaussian import LOG_2PI
from vae_jax.likelihoods.shared import AT_BOUND, softplus_above_inverse

EVENT, LOW = (6,), 0.05
RNG = np.random.default_rng(0)
ERRORS = RNG.standard_normal((40, 6)) * np.array([0.3, 0.5, 0.2, 0.4, 0.02, 0.01])
SIGMAS = np.array([0.2, 0.3, 0.15, 0.35, 0.052, 0.055])  # the last two at the bound of 0.05


def own_of(precision, sigmas):
    if precision == "optimal":
        return {"squared_error": jnp.float32(3.0 * sigmas**2), "weight": jnp.float32(3.0)}
    u = [softplus_above_inverse(float(np.log(s)), float(np.log(LOW))) for s in np.ravel(sigmas)]
    return {"u": jnp.asarray(np.reshape(u, np.shape(sigmas)), jnp.float32)}


def density(sigmas):
    """Mean log density of the errors, nats."""
    return float(np.mean(np.sum(-0.5 * ((ERRORS / sigmas) ** 2 + LOG_2PI) - np.log(sigmas) + 0 * ERRORS, axis=1)))


def summary_of(sigmas, rate=2.0):
    sigmas = np.broadcast_to(sigmas, EVENT)
    held = sigmas < AT_BOUND * LOW
    each = -0.5 * ((ERRORS / sigmas) ** 2 + LOG_2PI) - np.log(sigmas)
    return {
        "elbo": density(sigmas) - rate,
        "calibration": float(np.mean((ERRORS / sigmas) ** 2)),
        "sigma_at_bound": float(np.mean(held)),
        "nats_at_bound": float(np.mean(np.sum(np.where(held, each, 0.0), axis=1))),
    }


def sigmas_of(likelihood, own):
    return np.sqrt(np.asarray(likelihood.variance(own, jnp.zeros(EVENT)), np.float64))


@pytest.mark.parametrize(("precision", "sigmas"), [("learned", 0.1), ("optimal", 0.9), ("per_dimension", SIGMAS)])
def test_the_closed_form_is_the_maximum_over_the_factor(precision, sigmas):
    likelihood = likelihoods.gaussian(precision, sigma=0.5, min_sigma=LOW)
    found = recalibrate(likelihood, own_of(precision, sigmas), EVENT, summary_of(sigmas))
    after, before = sigmas_of(likelihood, found.own), np.broadcast_to(sigmas, EVENT)
    held = before < AT_BOUND * LOW
    np.testing.assert_allclose(after[~held], found.factor * before[~held], rtol=1e-5)
    np.testing.assert_allclose(after[held], before[held], rtol=1e-6)
    # The bound that it claims is that of the density, and no other factor is better.
    assert found.elbo == pytest.approx(density(after) - 2.0, abs=1e-4)
    for other in (0.9, 0.99, 1.01, 1.1):
        assert density(np.where(held, before, other * after)) < density(after)
    # The root of the whole split's error, dimensions at the bound counted, would be another factor where there are any.
    naive = np.sqrt(summary_of(sigmas)["calibration"])
    assert np.isclose(naive, found.factor) == (not held.any())


def test_no_dimension_is_brought_to_its_bound_and_the_gain_is_still_right():
    likelihood = likelihoods.gaussian("per_dimension", sigma=0.5, min_sigma=LOW)
    sigmas = np.array([3.0, 3.0, 3.0, 3.0, 3.0, 0.07])
    found = recalibrate(likelihood, own_of("per_dimension", sigmas), EVENT, summary_of(sigmas))
    after = sigmas_of(likelihood, found.own)
    assert after.min() == pytest.approx(AT_BOUND * LOW, rel=1e-4) and found.factor == pytest.approx(
        AT_BOUND * LOW / 0.07
    )
    assert found.elbo == pytest.approx(density(after) - 2.0, abs=1e-4) and found.elbo > summary_of(sigmas)["elbo"]


def test_what_has_no_one_noise_or_is_at_its_bound_stays():
    summary = summary_of(0.052)
    learned = likelihoods.gaussian("learned", sigma=0.5, min_sigma=LOW)
    for likelihood in (
        likelihoods.gaussian("fixed"),
        likelihoods.gaussian("predicted"),
        likelihoods.bernoulli(),
        learned,
    ):
        own = own_of("learned", 0.052)
        found = recalibrate(likelihood, own, EVENT, summary)
        assert found.own is own and found.factor == 1.0 and found.elbo == summary["elbo"]


def test_missing_values_are_not_counted():
    # Half of the values are there: as many counted dimensions, the same factor.
    likelihood = likelihoods.gaussian("learned", sigma=0.5, min_sigma=LOW)
    whole = recalibrate(likelihood, own_of("learned", 0.1), EVENT, summary_of(0.1))
    half = recalibrate(likelihood, own_of("learned", 0.1), EVENT, summary_of(0.1) | {"counted_dim": 3.0})
    assert half.factor == pytest.approx(whole.factor)
    gains = [found.elbo - summary_of(0.1)["elbo"] for found in (half, whole)]
    assert gains[0] == pytest.approx(gains[1] / 2)
