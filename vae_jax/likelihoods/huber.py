"""The Huber density: Gaussian in the middle, Laplace in the tails, normalised."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from vae_jax.likelihoods.location_scale import location_scale
from vae_jax.types import Likelihood

_ROOT = math.sqrt(2.0 * math.pi)


def _parts(turn: float) -> tuple[float, float]:
    """Returns the mass of the middle and that of both tails, not normalised."""
    return _ROOT * math.erf(turn / math.sqrt(2.0)), 2.0 * math.exp(-0.5 * turn * turn) / turn


def huber_std(turn: float) -> float:
    """Returns the standard deviation at scale 1, from the second moments of the middle and the tails."""
    middle, tails = _parts(turn)
    edge = math.exp(-0.5 * turn * turn)
    second = middle - 2.0 * turn * edge + 2.0 * edge * (turn + 2.0 / turn + 2.0 / turn**3)
    return math.sqrt(second / (middle + tails))


def huber_log_prob(x, location, log_scale, turn: float):
    """Returns log of the Huber density, -rho((x - location) / scale) - log Z - log scale, elementwise, nats.

    rho(t) is t^2 / 2 up to ``turn`` and turn (|t| - turn / 2) beyond (Huber 1964); Z, its normalising constant, is
    sqrt(2 pi) erf(turn / sqrt 2) + 2 exp(-turn^2 / 2) / turn.
    """
    t = (x - location) * jnp.exp(-log_scale)
    inner = jnp.clip(t, -turn, turn)  # t * inner - inner^2 / 2 is rho in both cases, with its slope
    return 0.5 * jnp.square(inner) - t * inner - log_scale - math.log(sum(_parts(turn)))


def huber(turn: float = 1.345, scale: float = 0.1, learn_scale: bool = True, min_scale: float = 1e-3) -> Likelihood:
    """Makes independent Huber dimensions around the decoder's output, for data with outliers.

    ``sum huber(x - m; delta) + w KL`` is this family with scale^2 = w and turn = delta / scale (beta = 1). Errors below
    delta have the water level beta scale^2, larger ones beta scale^2 |e| / delta.

    Args:
      turn: where a squared error turns into an absolute one, in units of the scale; 1.345 keeps 95% of the efficiency
        for Gaussian noise.
      scale: the fixed or initial scale, in units of x: the standard deviation of the middle part.
      learn_scale: one scalar learned by gradient; else it stays.
      min_scale: the lower bound of a learned scale, approached smoothly.

    Returns:
      A ``Likelihood`` with support "real" and no ``sigma``; theta is ``[event]``, the mean.

    Raises:
      ValueError: for a turn or a scale that is not positive, or a scale not above its bound.
    """
    if not (math.isfinite(turn) and turn > 0):
        raise ValueError(f"a Huber density turns at a positive distance, not at {turn}")
    middle, tails = _parts(turn)
    tail = 0.5 * tails / (middle + tails)  # the probability of one tail

    def cdf(t):
        beyond = tail * jnp.exp(-turn * (jnp.maximum(jnp.abs(t), turn) - turn))
        inside = 0.5 + _ROOT / (middle + tails) * (jax.scipy.special.ndtr(jnp.clip(t, -turn, turn)) - 0.5)
        return jnp.where(t < -turn, beyond, jnp.where(t > turn, 1.0 - beyond, inside))

    def noise(key, shape, dtype):
        which, where = jax.random.split(key)
        u = jax.random.uniform(which, shape, dtype, -1.0, 1.0)
        outside = jnp.sign(u) * (turn + jax.random.exponential(where, shape, dtype) / turn)
        inside = jax.random.truncated_normal(where, -turn, turn, shape, dtype)
        return jnp.where(jnp.abs(u) < 2.0 * tail, outside, inside)

    return location_scale(
        log_prob=lambda x, location, log_scale: huber_log_prob(x, location, log_scale, turn),
        noise=noise,
        cdf=cdf,
        variance=huber_std(turn) ** 2,
        scale=scale,
        learn_scale=learn_scale,
        min_scale=min_scale,
    )
