"""The diagonal Gaussian: approximate posterior and standard-normal prior.

All densities and divergences are computed in float32 or wider: in bfloat16 a KL of 1e-3 rounds to 0 or below it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

LOG_2PI = math.log(2.0 * math.pi)


def at_least_float32(x) -> jax.Array:
    """Returns ``x`` in float32 or wider."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class DiagGaussian(NamedTuple):
    """N(mean, diag(exp(logvar))), both fields ``[..., d]``."""

    mean: jax.Array
    logvar: jax.Array

    def sample(self, key: jax.Array, num_samples: int) -> jax.Array:
        """Draws ``[s, ..., d]``, reparametrised (Kingma and Welling 2013, 1312.6114); consumes ``key``."""
        mean, logvar = at_least_float32(self.mean), at_least_float32(self.logvar)
        noise = jax.random.normal(key, (num_samples, *mean.shape), mean.dtype)
        return mean + jnp.exp(0.5 * logvar) * noise

    def log_prob(self, z: jax.Array) -> jax.Array:
        """Returns log N(z) in nats, summed over the last axis: ``[..., d] -> [...]``."""
        mean, logvar = at_least_float32(self.mean), at_least_float32(self.logvar)
        square = jnp.square(z - mean) * jnp.exp(-logvar)
        return -0.5 * jnp.sum(square + logvar + LOG_2PI, axis=-1)

    def kl(self) -> jax.Array:
        """Returns KL(q || N(0, I)) per dimension, ``[..., d]``, nats, never negative.

        The ``expm1`` form keeps small values that ``exp(logvar) - 1 - logvar`` rounds away.
        """
        mean, logvar = at_least_float32(self.mean), at_least_float32(self.logvar)
        # expm1(v) - v is never below 0 but by its rounding.
        return 0.5 * (jnp.square(mean) + jnp.maximum(jnp.expm1(logvar) - logvar, 0.0))


def kl_divergence(q: DiagGaussian, p: DiagGaussian) -> jax.Array:
    """Returns KL(q || p) of two diagonal Gaussians per dimension, ``[..., d]``, nats."""
    q, p = (DiagGaussian(*map(at_least_float32, g)) for g in (q, p))
    difference = q.logvar - p.logvar
    shift = jnp.square(q.mean - p.mean) * jnp.exp(-p.logvar)
    return 0.5 * (shift + jnp.maximum(jnp.expm1(difference) - difference, 0.0))


def standard_normal_log_prob(z: jax.Array) -> jax.Array:
    """Returns log N(z; 0, I) in nats, summed over the last axis: ``[..., d] -> [...]``."""
    return -0.5 * jnp.sum(jnp.square(at_least_float32(z)) + LOG_2PI, axis=-1)
