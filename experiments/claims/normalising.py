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
LOGITS = np.array([-30.0, -6.0, -1.5, -0.5, -0.02, 0.0, 0.01, 0.5, 2.0, 20.0])


def integral(density: Callable, low: float, high: float, pieces: int = 64, nodes: int = 40) -> np.ndarray:
    """The integral of ``density(x[n]) -> [..., n]`` over [low, high] by Gauss-Legendre on equal pieces."""
    t, w = np.polynomial.legendre.leggauss(nodes)
    edges = np.linspace(low, high, pieces + 1)
    half = 0.5 * np.diff(edges)[:, None]
    x = (edges[:-1, None] + half * (1.0 + t)).ravel()
    return np.asarray(density(jnp.asarray(x))) @ (half * w).ravel()


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


def gaussian_normalises(settings: Settings, family: Callable[..., Likelihood] = likelihoods.gaussian) -> Measured:
    """A Gaussian likelihood integrates to 1, all constants kept.

    Source: textbook
    Tolerance: Gauss-Legendre in pieces, exact to 64-bit rounding for a smooth density
    """
    x, w = _nodes(-12.0, 12.0)
    fixed = [_masses(family("fixed", sigma=sigma), np.array([[0.0], [0.7]]), x, w) for sigma in (0.1, 0.5, 1.0)]
    predicted = _masses(family("predicted", sigma=0.3), np.array([[[0.2], [-0.5]], [[0.0], [0.8]]]), x, w)
    return _worst(np.concatenate([*fixed, predicted]))


def laplace_normalises(settings: Settings, family: Callable[..., Likelihood] = likelihoods.laplace) -> Measured:
    """A Laplace likelihood integrates to 1.

    Source: textbook
    Tolerance: Gauss-Legendre in pieces, exact to 64-bit rounding for a smooth density
    """
    masses = []
    for scale in (0.1, 0.5):
        sides = [_masses(family(scale, learn_scale=False), np.zeros((1, 1)), *_nodes(*ends)) for ends in _SIDES]
        masses.append(sides[0] + sides[1])
    return _worst(np.concatenate(masses))


_SIDES = ((-25.0, 0.0), (0.0, 25.0))


def student_t_normalises(settings: Settings, family: Callable[..., Likelihood] = likelihoods.student_t) -> Measured:
    """A Student-t likelihood integrates to 1.

    Source: Takahashi 2018 (IJCAI)
    Tolerance: Gauss-Legendre in pieces, exact to 64-bit rounding for a smooth density
    """
    masses = []
    for df in (4.0, 7.0):
        t, w = _nodes(-math.asinh(2000.0), math.asinh(2000.0))  # x = S sinh(t) spreads the points over the tails
        scale = 0.1
        masses.append(
            _masses(family(df, scale, learn_scale=False), np.zeros((1, 1)), scale * jnp.sinh(t), scale * np.cosh(t) * w)
        )
    return _worst(np.concatenate(masses))


def continuous_bernoulli_normalises(
    settings: Settings, log_normalizer: Callable = likelihoods.continuous_bernoulli_log_normalizer
) -> Measured:
    """The continuous Bernoulli integrates to 1 over [0, 1] at every logit.

    The paper's point: without C it does not, and a loss without it is no likelihood. Expected 1; under a second.

    Source: Loaiza-Ganem and Cunningham 2019, 1907.06845, the normalising constant C
    Tolerance: Gauss-Legendre in pieces, exact to 64-bit rounding for a smooth density
    """
    x, w = _nodes(0.0, 1.0, 60)
    family = likelihoods.continuous_bernoulli()
    if log_normalizer is not likelihoods.continuous_bernoulli_log_normalizer:
        family = family._replace(
            log_prob=lambda own, theta, x: jnp.sum(cross_entropy_with_logits(x, theta) + log_normalizer(theta))
        )
    return _worst(_masses(family, LOGITS[:, None], x, w))


def beta_normalises(settings: Settings, family: Callable[..., Likelihood] = likelihoods.beta) -> Measured:
    """A Beta likelihood of squeezed pixels integrates to 1.

    Source: textbook; the squeeze is ours
    Tolerance: Gauss-Legendre in pieces, exact to 64-bit rounding for a smooth density
    """
    squeeze = 1 / 512
    low, high = -squeeze / (1 - 2 * squeeze), 1 + squeeze / (1 - 2 * squeeze)
    x, w = _nodes(low, high)
    thetas = np.array([[[0.0], [0.0]], [[0.9], [1.7]], [[2.1], [1.2]]])  # a and b at least 1: no pole at an end
    return _worst(_masses(family(squeeze), thetas, x, w))


def bernoulli_normalises(settings: Settings, family: Callable[..., Likelihood] = likelihoods.bernoulli) -> Measured:
    """A Bernoulli likelihood sums to 1.

    Source: textbook
    Tolerance: a sum in 64 bits
    """
    return _worst(_masses(family(), np.array([[-80.0], [-2.0], [0.0], [3.0], [80.0]]), jnp.array([0.0, 1.0])))


def categorical_normalises(settings: Settings, family: Callable[..., Likelihood] = likelihoods.categorical) -> Measured:
    """A categorical likelihood of grey levels sums to 1.

    Source: textbook
    Tolerance: a sum in 64 bits
    """
    thetas = np.random.default_rng(0).normal(size=(3, 1, 256)) * np.array([0.0, 1.0, 10.0])[:, None, None]
    return _worst(_masses(family(256), thetas, jnp.arange(256) / 255.0))


def discretized_logistic_normalises(
    settings: Settings, family: Callable[..., Likelihood] = likelihoods.discretized_logistic
) -> Measured:
    """A mixture of discretised logistics sums to 1 over its levels.

    Source: Salimans 2017, 1701.05517, section 2.1
    Tolerance: a sum in 64 bits
    """
    rng = np.random.default_rng(0)
    one = _masses(family(256, 1), rng.normal(size=(4, 2, 1, 1)), jnp.arange(256) / 255.0)
    five = _masses(family(17, 5), 2.0 * rng.normal(size=(4, 3, 5, 1)), jnp.arange(17) / 16.0)
    return _worst(np.concatenate([one, five]))


def cross_entropy_is_no_density(
    settings: Settings, log_normalizer: Callable = likelihoods.continuous_bernoulli_log_normalizer
) -> Measured:
    """The unmodified cross-entropy on grey pixels is no density: its integral is 1 / C, at most 1/2.

    Expected: the integral times C(l) is 1 at every logit. At l = 0 the integral is 1/2, so each grey pixel is charged
    at least log 2 too much. Under a second.

    Source: Loaiza-Ganem and Cunningham 2019, 1907.06845, section 3
    Tolerance: Gauss-Legendre in pieces, exact to 64-bit rounding for a smooth density
    """

    def integrals(logits):
        return integral(lambda x: jnp.exp(cross_entropy_with_logits(x, jnp.asarray(logits)[:, None])), 0.0, 1.0, 4)

    found = integrals(LOGITS) * np.exp(np.asarray(log_normalizer(jnp.asarray(LOGITS))))
    drawn = np.linspace(-15.0, 15.0, 121)
    plate = normalizer_figure(drawn, -np.log(integrals(drawn)), np.asarray(log_normalizer(jnp.asarray(drawn))))
    return _worst(found)._replace(plate=plate)


CLAIMS = [
    claim_of(gaussian_normalises, "exact", 1.0, tolerance=1e-09, seconds=1.0),
    claim_of(laplace_normalises, "exact", 1.0, tolerance=1e-09, seconds=1.0),
    claim_of(student_t_normalises, "exact", 1.0, tolerance=1e-09, seconds=1.0),
    claim_of(continuous_bernoulli_normalises, "exact", 1.0, tolerance=1e-09, seconds=1.0),
    claim_of(beta_normalises, "exact", 1.0, tolerance=1e-09, seconds=1.0),
    claim_of(bernoulli_normalises, "exact", 1.0, tolerance=1e-09, seconds=1.0),
    claim_of(categorical_normalises, "exact", 1.0, tolerance=1e-09, seconds=1.0),
    claim_of(discretized_logistic_normalises, "exact", 1.0, tolerance=1e-09, seconds=1.0),
    claim_of(cross_entropy_is_no_density, "exact", 1.0, tolerance=1e-09, seconds=1.0),
]
