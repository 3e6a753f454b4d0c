"""Who consumes which key: one run key, folded by purpose, then by step or split, then by global example index.

Nothing is split or carried, so one device, eight devices, ragged last batches and a resumed run draw the same numbers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

# The purposes. A number, once given, keeps its meaning: saved runs depend on it.
INIT, ORDER, PIXELS, LATENT, TEST, TRAIN, SPECTRUM, PRIOR, RATE, GAPS, BETA = range(11)


def purpose_key(key: jax.Array, *purposes) -> jax.Array:
    """``key`` folded by each of ``purposes`` in turn (integers, or traced integers such as the step)."""
    for purpose in purposes:
        key = jax.random.fold_in(key, purpose)
    return key


def example_keys(key: jax.Array, index: jax.Array) -> jax.Array:
    """One key for each example: ``index [b] -> keys [b]``, the same wherever the example is computed."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)


def batch_rows(key: jax.Array, step: jax.Array, length: int, num_examples: int, batch_size: int) -> jax.Array:
    """The rows of ``length`` batches from ``step`` on, ``[length, b]``: pure arithmetic on (key, step).

    Each epoch is a permutation of the examples keyed by (key, epoch); a remainder smaller than a batch is dropped,
    another one each epoch.
    """
    per_epoch = num_examples // batch_size
    first = step // per_epoch
    epochs = first + jnp.arange((length + per_epoch - 2) // per_epoch + 1)

    def order(epoch):
        permuted = jax.random.permutation(purpose_key(key, ORDER, epoch), num_examples)
        return permuted[: per_epoch * batch_size].reshape(per_epoch, batch_size)

    rows = jax.lax.map(order, epochs).reshape(-1, batch_size)
    return jax.lax.dynamic_slice_in_dim(rows, step - first * per_epoch, length)
