"""The Charbonnier density: a smooth Huber, exp(-sqrt(e^2 + eps^2)), normalised (a symmetric hyperbolic law)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.likelihoods.location_scale import location_scale
from vae_jax.types import Likelihood

_NODES = 4001  # of the table of its distribution function, which has no closed form


def _bessel(order: int, a: float) -> float:
    """Returns e^a K_order(a), the integral over t of exp(-a (cosh t - 1)) cosh(order t) from 0.

    By the trapezoidal rule, which converges geometrically for an integrand that falls like exp(-exp t).
    """
    end = math.acosh(1.0 + 750.0 / a)
    t = np.linspace(0.0, end, 2001)
    # In one exponential: for a small a the cosh alone would overflow.
    log_cosh = np.logaddexp(order * t, -order * t) - math.log(2.0)
    values = np.exp(log_cosh - 2.0 * a * np.sinh(0.5 * t) ** 2)
    return float((values.sum() - 0.5 * values[0]) * (t[1] - t[0]))


def charbonnier_std(turn: float) -> float:
    """Returns the standard deviation at scale 1: sqrt(K_2(turn^2) / K_1(turn^2)), Bessel functions."""
    return math.sqrt(_bessel(2, turn * turn) / _bessel(1, turn * turn))


def charbonnier_log_prob(x, location, log_scale, turn: float):
    """Returns log of the Charbonnier density, -rho((x - location) / scale) - log Z - log scale, elementwise, nats.

    rho(t) = turn^2 (sqrt(1 + (t / turn)^2) - 1) is t^2 / 2 near 0 and turn |t| far from it (Charbonnier 1994; Barron
    2019, 1701.03077, alpha = 1); Z, its normalising constant, is 2 turn e^(turn^2) K_1(turn^2), K_1 a Bessel function
    (Barndorff-Nielsen 1977).
    """
    square = jnp.square((x - location) * jnp.exp(-log_scale))
    rho = square / (1.0 + jnp.sqrt(1.0 + square / turn**2))  # without the cancellation of a root less 1
    return -rho - log_scale - math.log(2.0 * turn * _bessel(1, turn * turn))


def _table(turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns nodes t and the probability up to each, dense in the middle, to where the tails hold 1e-12."""
    end = 40.0 / turn + 9.0
    t = end * np.sinh(np.linspace(-6.0, 6.0, _NODES)) / math.sinh(6.0)

    def density(t):
        return np.exp(-t * t / (1.0 + np.sqrt(1.0 + (t / turn) ** 2)))

    mass = (density(t[1:]) + 4.0 * density(0.5 * (t[1:] + t[:-1])) + density(t[:-1])) * np.diff(t)  # Simpson's rule
    total = np.concatenate([[0.0], np.cumsum(mass)])
    return t, total / total[-1]


def charbonnier(turn: float = 1.0, scale: float = 0.1, learn_scale: bool = True, min_scale: float = 1e-3) -> Likelihood:
    """Makes independent Charbonnier (pseudo-Huber) dimensions around the decoder's output.

    ``sum sqrt((x - m)^2 + eps^2) + w KL`` is this family with scale^2 = w eps and turn^2 = eps / w (beta = 1). Errors
    far below eps have the water level beta w eps, larger ones beta w |e|.

    Args:
      turn: where a squared error turns into an absolute one, eps in units of the scale.
      scale: the fixed or initial scale, in units of x: the standard deviation of the Gaussian that it is near 0.
      learn_scale: one scalar learned by gradient; else it stays.
      min_scale: the lower bound of a learned scale, approached smoothly.

    Returns:
      A ``Likelihood`` with support "real" and no ``sigma``; theta is ``[event]``, the mean. Its distribution function,
      and so its samples, are read off a table, to 1e-5.

    Raises:
      ValueError: for a turn or a scale that is not positive, or a scale not above its bound.
    """
    if not (math.isfinite(turn) and turn > 0):
        raise ValueError(f"a Charbonnier density turns at a positive distance, not at {turn}")
    nodes, total = _table(turn)

    def noise(key, shape, dtype):
        u = jax.random.uniform(key, shape, dtype)
        return jnp.interp(u, jnp.asarray(total, dtype), jnp.asarray(nodes, dtype))

    return location_scale(
        log_prob=lambda x, location, log_scale: charbonnier_log_prob(x, location, log_scale, turn),
        noise=noise,
        cdf=lambda t: jnp.interp(t, jnp.asarray(nodes, t.dtype), jnp.asarray(total, t.dtype)),
        variance=charbonnier_std(turn) ** 2,
        scale=scale,
        learn_scale=learn_scale,
        min_scale=min_scale,
    )
