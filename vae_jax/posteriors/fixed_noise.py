"""The fixed set of noise by which the mean and variance of a flow are said."""

from __future__ import annotations

import jax
import jax.numpy as jnp

PAIRS = 64


def fixed_noise(latent_dim: int) -> jax.Array:
    """Returns the same 128 draws of N(0, I) each time, ``[s, d]``: every latent's mean is 0 there and its variance 1.

    So a flow that does nothing has the moments of its Gaussian exactly; another's mean and standard deviation are off
    by about a tenth of its standard deviation, the same way each time.
    """
    half = jax.random.normal(jax.random.key(0), (PAIRS, latent_dim))
    half = half / jnp.sqrt(jnp.mean(jnp.square(half), axis=0))
    return jnp.concatenate([half, -half])
