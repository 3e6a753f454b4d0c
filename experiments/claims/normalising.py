"""Every family is a probability: its densities integrate to 1, its probabilities sum to 1."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import likelihoods
from vae_jax.likelihoods.bernoulli import cross_entropy_with_logits
from vae_jax.types import Likelihood

from .figures import normalizer_figure
from .ledger import Measured, Settings, claim_of

_QUADRATURE = "Gauss-Legendre in pieces, exact to 64-bit rounding for a smooth density"
_SUM = "a sum in 64 bits"
_COUNTS = (likelihoods.poisson(), likelihoods.negative_binomial(2.0))
LOGITS = np.array([-30.0, -6.0, -1.5, -0.5, -0.02, 0.0, 0.01, 0.5, 2.0, 20.0])


def _masses(likelihood: Likelihood, thetas, x, weights=None) -> np.ndarray:
    """The sum of exp(log_prob) over the points ``x [n]`` of one dimension, for each theta ``[k, ...]``: ``[k]``."""
    own = jax.tree.map(lambda v: v.astype(jnp.float64), likelihood.init((1,)))
    of_point = jax.vmap(lambda theta, x: likelihood.log_prob(own, theta, x[None]), in_axes=(None, 0))
    each = jax.jit(jax.vmap(of_point, in_axes=(0, None)))(jnp.asarray(thetas), x)
    return np.exp(np.asarray(each)) @ (np.ones(len(x)) if weights is None else weights)


def _nodes(low: float, high: float, pieces: int = 400):
    """Points and weights of an integral over [low, high]."""
    t, w = np.polynomial.legendre.leggauss(20)
    half = 0.5 * (high - low) / pieces
    centers = low + half * (2 * np.arange(pieces) + 1)
    return jnp.asarray((centers[:, None] + half * t).ravel()), np.tile(half * w, pieces)


def _worst(masses) -> Measured:
    worst = masses[np.argmax(np.abs(masses - 1.0))]
    return Measured(float(worst), detail=f"the farthest from 1 of {len(masses)} settings")


def gaussian_normalises(settings: Settings) -> Measured:
    """A Gaussian likelihood integrates to 1, all constants kept.

    Source: textbook
    """
    x, w = _nodes(-12.0, 12.0)
    fixed = [
        _masses(likelihoods.gaussian("fixed", sigma=sigma), np.array([[0.0], [0.7]]), x, w) for sigma in (0.1, 0.5, 1.0)
    ]
    predicted = _masses(likelihoods.gaussian("predicted", sigma=0.3), np.array([[[0.2], [-0.5]], [[0.0], [0.8]]]), x, w)
    return _worst(np.concatenate([*fixed, predicted]))


def laplace_normalises(settings: Settings) -> Measured:
    """A Laplace likelihood integrates to 1.

    Source: textbook
    """
    masses = []
    for scale in (0.1, 0.5):
        family = likelihoods.laplace(scale, learn_scale=False)
        sides = [_masses(family, np.zeros((1, 1)), *_nodes(*ends)) for ends in ((-25.0, 0.0), (0.0, 25.0))]
        masses.append(sides[0] + sides[1])
    return _worst(np.concatenate(masses))


def student_t_normalises(settings: Settings) -> Measured:
    """A Student-t likelihood integrates to 1.

    Source: Takahashi 2018 (IJCAI)
    """
    masses = []
    for df in (4.0, 7.0):
        t, w = _nodes(-math.asinh(2000.0), math.asinh(2000.0))  # x = S sinh(t) spreads the points over the tails
        scale = 0.1
        family = likelihoods.student_t(df, scale, learn_scale=False)
        masses.append(_masses(family, np.zeros((1, 1)), scale * jnp.sinh(t), scale * np.cosh(t) * w))
    return _worst(np.concatenate(masses))


def continuous_bernoulli_normalises(
    settings: Settings, log_normalizer: Callable = likelihoods.continuous_bernoulli_log_normalizer
) -> Measured:
    """The continuous Bernoulli integrates to 1 over [0, 1] at every logit.

    The paper's point: without C it does not, and a loss without it is no likelihood. Expected 1; under a second.

    Source: Loaiza-Ganem and Cunningham 2019, 1907.06845, the normalising constant C
    """
    x, w = _nodes(0.0, 1.0, 60)
    family = likelihoods.continuous_bernoulli()
    if log_normalizer is not likelihoods.continuous_bernoulli_log_normalizer:
        family = family._replace(
            log_prob=lambda own, theta, x: jnp.sum(cross_entropy_with_logits(x, theta) + log_normalizer(theta))
        )
    return _worst(_masses(family, LOGITS[:, None], x, w))


def beta_normalises(settings: Settings) -> Measured:
    """A Beta likelihood of squeezed pixels integrates to 1.

    Source: textbook; the squeeze is ours
    """
    squeeze = 1 / 512
    low, high = -squeeze / (1 - 2 * squeeze), 1 + squeeze / (1 - 2 * squeeze)
    x, w = _nodes(low, high)
    thetas = np.array([[[0.0], [0.0]], [[0.9], [1.7]], [[2.1], [1.2]]])  # a and b at least 1: no pole at an end
    return _worst(_masses(likelihoods.beta(squeeze), thetas, x, w))


def bernoulli_normalises(settings: Settings) -> Measured:
    """A Bernoulli likelihood sums to 1.

    Source: textbook
    """
    return _worst(
        _masses(likelihoods.bernoulli(), np.array([[-80.0], [-2.0], [0.0], [3.0], [80.0]]), jnp.array([0.0, 1.0]))
    )


def categorical_normalises(settings: Settings) -> Measured:
    """A categorical likelihood of grey levels sums to 1.

    Source: textbook
    """
    thetas = np.random.default_rng(0).normal(size=(3, 1, 256)) * np.array([0.0, 1.0, 10.0])[:, None, None]
    return _worst(_masses(likelihoods.categorical(256), thetas, jnp.arange(256) / 255.0))


def discretized_logistic_normalises(settings: Settings) -> Measured:
    """A mixture of discretised logistics sums to 1 over its levels.

    Source: Salimans 2017, 1701.05517, section 2.1
    """
    rng = np.random.default_rng(0)
    one = _masses(likelihoods.discretized_logistic(256, 1), rng.normal(size=(4, 2, 1, 1)), jnp.arange(256) / 255.0)
    five = _masses(likelihoods.discretized_logistic(17, 5), 2.0 * rng.normal(size=(4, 3, 5, 1)), jnp.arange(17) / 16.0)
    return _worst(np.concatenate([one, five]))


def counts_normalise(settings: Settings) -> Measured:
    """Poisson and negative binomial probabilities sum to 1 over all counts.

    Source: Loader 2000; Lopez 2018 (Nature Methods 15) for the negative binomial
    """
    thetas = np.array([[-30.0], [0.0], [1.5], [3.5]])  # means of 1e-7, 1, 4 and 31
    return _worst(np.concatenate([_masses(f, thetas, jnp.arange(4000.0)) for f in _COUNTS]))


def log_normal_normalises(settings: Settings) -> Measured:
    """A log-normal likelihood integrates to 1 over the values above 0.

    Source: textbook
    """
    t, w = _nodes(-15.0, 15.0)  # x = e^t
    return _worst(_masses(likelihoods.log_normal(0.7), np.array([[-1.0], [0.0], [2.0]]), jnp.exp(t), np.exp(t) * w))


def cross_entropy_is_no_density(settings: Settings) -> Measured:
    """The unmodified cross-entropy on grey pixels is no density: its integral is 1 / C, at most 1/2.

    Expected: the integral times C(l) is 1 at every logit. At l = 0 the integral is 1/2, so each grey pixel is charged
    at least log 2 too much. Under a second.

    Source: Loaiza-Ganem and Cunningham 2019, 1907.06845, section 3
    """

    x, w = _nodes(0.0, 1.0, 8)

    def integrals(logits):
        return np.asarray(jnp.exp(cross_entropy_with_logits(x, jnp.asarray(logits)[:, None]))) @ w

    def log_c(logits):
        return np.asarray(likelihoods.continuous_bernoulli_log_normalizer(jnp.asarray(logits)))

    found = integrals(LOGITS) * np.exp(log_c(LOGITS))
    drawn = np.linspace(-15.0, 15.0, 121)
    plate = normalizer_figure(drawn, -np.log(integrals(drawn)), log_c(drawn))
    return _worst(found)._replace(plate=plate)


_INTEGRALS = (gaussian_normalises, laplace_normalises, student_t_normalises, continuous_bernoulli_normalises)
_INTEGRALS = (*_INTEGRALS, log_normal_normalises)
_SUMS = (bernoulli_normalises, categorical_normalises, discretized_logistic_normalises, counts_normalise)
_ALL = (*_INTEGRALS, beta_normalises, *_SUMS, cross_entropy_is_no_density)
CLAIMS = [
    claim_of(run, "exact", 1.0, tolerance=1e-09, seconds=1.0, why=_SUM if run in _SUMS else _QUADRATURE) for run in _ALL
]
