"""The sum over an event, which every family ends with."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax


def event_sum(values):
    """The sum of all elements of ``values``, a scalar.

    On a CPU a product with a vector of ones: XLA fuses a plain sum with the logarithms and exponentials before it into
    one loop whose running total keeps it from vector instructions, eight times slower than the two apart.
    """
    return lax.platform_dependent(values, cpu=_product_with_ones, default=jnp.sum)


def _product_with_ones(values):
    flat = jnp.reshape(values, -1)
    return jnp.dot(flat, jnp.ones_like(flat), precision=lax.Precision.HIGHEST)
