"""The log-normal likelihood, for values above 0 that vary by factors: the logarithm of x is Gaussian."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from vae_jax.gaussian import at_least_float32
from vae_jax.likelihoods.gaussian import gaussian_log_prob
from vae_jax.likelihoods.shared import event_sum, softplus_above, softplus_above_inverse
from vae_jax.types import Likelihood

LARGEST = 87.0  # of an exponent: e^88.7 is the largest float32


def log_normal_log_prob(x, location, log_sigma):
    """Returns log of the density of x > 0 where log x is N(location, sigma^2), elementwise, nats; -inf elsewhere.

    The density is that of x, so it holds the Jacobian -log x.
    """
    log_x = jnp.log(jnp.where(x > 0, x, 1.0))
    return jnp.where(x > 0, gaussian_log_prob(log_x, location, log_sigma) - log_x, -jnp.inf)


def log_normal(sigma: float = 1.0, min_sigma: float = 1e-3) -> Likelihood:
    """Makes independent log-normal dimensions: theta is the mean of log x, and each has a learned deviation of log x.

    Another unit of x adds a constant to theta and to log p and changes nothing else. ``mean`` is E[x|z], which is
    e^(theta + sigma^2 / 2) and above the median e^theta.

    Args:
      sigma: the first standard deviation of log x.
      min_sigma: its lower bound, approached smoothly in its logarithm as in ``gaussian``.

    Returns:
      A ``Likelihood`` with support "positive"; ``own`` is ``{"u": [event]}``. There is no ``sigma``: it is not a
      deviation of x. Moments that no float32 holds are cut off at e^87.

    Raises:
      ValueError: for a sigma that is not above its bound.
    """
    if not (0 < min_sigma < sigma < math.inf):
        raise ValueError(f"an initial sigma of {sigma} is not above its lower bound {min_sigma}, or is not finite")
    low = math.log(min_sigma)

    def log_sigma(own):
        return softplus_above(own["u"], low)

    def terms(own, theta, x):
        return log_normal_log_prob(x, at_least_float32(theta), log_sigma(own))

    def exp(exponent):
        return jnp.exp(jnp.clip(exponent, -LARGEST, LARGEST))

    def mean(own, theta):
        return exp(at_least_float32(theta) + 0.5 * jnp.exp(2.0 * log_sigma(own)))

    def variance(own, theta):
        square = jnp.exp(2.0 * jnp.minimum(log_sigma(own), 0.5 * LARGEST))
        # log(e^s2 - 1) without the overflow of e^s2.
        log_spread = square + jnp.log(-jnp.expm1(-square))
        return exp(2.0 * at_least_float32(theta) + square + log_spread)

    def sample(own, theta, key):
        theta = at_least_float32(theta)
        return exp(theta + jnp.exp(log_sigma(own)) * jax.random.normal(key, theta.shape, theta.dtype))

    def cdf(own, theta, x):
        log_x = jnp.log(jnp.where(x > 0, x, 1.0))
        u = jax.scipy.special.ndtr((log_x - at_least_float32(theta)) * jnp.exp(-log_sigma(own)))
        u = jnp.where(x > 0, u, 0.0)
        return u, u

    return Likelihood(
        init=lambda event: {"u": jnp.full(event, softplus_above_inverse(math.log(sigma), low), jnp.float32)},
        theta_shape=lambda event: tuple(event),
        log_prob=lambda own, theta, x: event_sum(terms(own, theta, x)),
        mean=mean,
        sample=sample,
        variance=variance,
        support="positive",
        cdf=cdf,
        terms=terms,
    )
