"""What Student-t and Laplace share: noise of one shape and one scale around the decoder's output."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax.numpy as jnp

from vae_jax.gaussian import at_least_float32
from vae_jax.likelihoods.bounded import softplus_above, softplus_above_inverse
from vae_jax.likelihoods.event import event_sum
from vae_jax.traced import given, log
from vae_jax.types import Array, Likelihood


def location_scale(
    log_prob: Callable[[Array, Array, Array], Array],
    noise: Callable[..., Array],
    cdf: Callable[[Array], Array],
    variance: float,
    scale: float,
    learn_scale: bool,
    min_scale: float,
) -> Likelihood:
    """Independent x = theta + scale * noise, theta ``[event]``, the scale one number for the whole family.

    Args:
      log_prob: ``(x, location, log_scale) -> nats``, elementwise.
      noise: ``(key, shape, dtype) -> draws`` of scale 1.
      cdf: its distribution function, elementwise.
      variance: of that noise.
      scale: the fixed or initial scale, in units of x; may be traced.
      learn_scale: learned by gradient; else it stays.
      min_scale: the lower bound of a learned scale, approached smoothly in its logarithm as in ``gaussian``.

    Returns:
      A ``Likelihood`` with support "real". Its ``sigma`` is None: the scale is not the standard deviation of a
      Gaussian, and beta * scale^2 is no water level.

    Raises:
      ValueError: for a scale that is not positive, or is learned and not above its bound.
    """
    if given(scale) and not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"the scale must be positive, not {scale}")
    if learn_scale and given(scale) and not 0 < min_scale < scale:
        raise ValueError(f"an initial scale of {scale} is not above its lower bound {min_scale}")
    low = math.log(min_scale) if learn_scale else None

    def init(event):
        if not learn_scale:
            return {"log_scale": jnp.full((), log(scale), jnp.float32)}
        return {"u": jnp.full((), softplus_above_inverse(log(scale), low), jnp.float32)}

    def log_scale(own):
        return softplus_above(own["u"], low) if learn_scale else own["log_scale"]

    def sample(own, theta, key):
        theta = at_least_float32(theta)
        return theta + jnp.exp(log_scale(own)) * noise(key, theta.shape, theta.dtype)

    return Likelihood(
        init=init,
        theta_shape=lambda event: tuple(event),
        log_prob=lambda own, theta, x: event_sum(log_prob(x, at_least_float32(theta), log_scale(own))),
        mean=lambda own, theta: at_least_float32(theta),
        sample=sample,
        variance=lambda own, theta: jnp.full(theta.shape, variance) * jnp.exp(2.0 * log_scale(own)),
        support="real",
        cdf=lambda own, theta, x: (cdf((x - at_least_float32(theta)) * jnp.exp(-log_scale(own))),) * 2,
        frozen=not learn_scale,
        sigma_bound=min_scale * math.sqrt(variance) if learn_scale else None,
    )
