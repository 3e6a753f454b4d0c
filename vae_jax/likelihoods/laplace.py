"""The Laplace likelihood: an absolute error as a density."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from vae_jax.likelihoods.location_scale import location_scale
from vae_jax.types import Likelihood


def laplace_log_prob(x, location, log_scale):
    """log of the Laplace density, -|x - location| / scale - log(2 scale), elementwise, nats."""
    return -jnp.abs(x - location) * jnp.exp(-log_scale) - log_scale - math.log(2.0)


def _cdf(t):
    tail = 0.5 * jnp.exp(-jnp.abs(t))
    return jnp.where(t < 0.0, tail, 1.0 - tail)


def laplace(scale: float = 0.1, learn_scale: bool = True, min_scale: float = 1e-3) -> Likelihood:
    """Independent Laplace dimensions around the decoder's output: its mean and median.

    An absolute error ``a * sum|x - m| + b * KL`` is this family with beta * scale = b / a: the product plays the part
    of the Gaussian's water level beta sigma^2, in units of x and without its factor 2. At a learned scale it settles
    at the mean absolute error.

    Args:
      scale: the fixed or initial scale, in units of x; the standard deviation is sqrt(2) * scale.
      learn_scale: one scalar learned by gradient; else it stays.
      min_scale: the lower bound of a learned scale, approached smoothly.

    Returns:
      A ``Likelihood`` with support "real" and no ``sigma``; theta is ``[event]``, the mean.

    Raises:
      ValueError: for a scale that is not positive or not above its bound.
    """
    return location_scale(laplace_log_prob, jax.random.laplace, _cdf, 2.0, scale, learn_scale, min_scale)
