"""Who consumes which key: one run key, folded by purpose, then by step or split, then by global example index.

Nothing is split or carried, so one device, eight devices, ragged last batches and a resumed run draw the same numbers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

# The purposes. A number, once given, keeps its meaning: saved runs depend on it.
INIT, ORDER, PIXELS, LATENT, TEST, TRAIN, SPECTRUM, PRIOR, RATE, GAPS, BETA, ANNEALING, VALIDATION, BUCKETS = range(14)


def purpose_key(key: jax.Array, *purposes) -> jax.Array:
    """Folds ``key`` by each of ``purposes`` in turn (integers, or traced integers such as the step)."""
    for purpose in purposes:
        # A plain number would be converted by a program of its own.
        key = jax.random.fold_in(key, np.uint32(purpose) if isinstance(purpose, int) else purpose)
    return key


def example_keys(key: jax.Array, index: jax.Array) -> jax.Array:
    """Returns one key for each example: ``index [b] -> keys [b]``, the same wherever the example is computed."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)


def batch_rows(
    key: jax.Array,
    step: jax.Array,
    length: int,
    num_examples: int,
    batch_size: int,
    blocks: int = 1,
    lengths: jax.Array | None = None,
) -> jax.Array:
    """Returns the rows of ``length`` batches from ``step`` on, ``[length, b]``: pure arithmetic on (key, step).

    Each epoch is a permutation of the examples keyed by (key, epoch); a remainder smaller than a batch is dropped,
    another one each epoch.

    With ``blocks`` the data are cut into so many blocks, one after the other, each with a permutation of its own, and
    every batch takes its i-th part from the i-th block: then a device that holds one block holds what it needs. The
    last ``num_examples % blocks`` examples are never drawn. ``blocks`` divides the batch size; as it does not depend
    on the devices, neither do the batches.

    With ``lengths``, those of all examples, ``[n]``, the examples of a batch are alike in theirs (``train/widths.py``);
    not with blocks.
    """
    per_epoch = batches_per_epoch(num_examples, batch_size, blocks)
    first = step // per_epoch
    epochs = first + jnp.arange((length + per_epoch - 2) // per_epoch + 1)

    def of_epoch(epoch):
        # Sorting is what takes the time, and few chunks reach into the next epoch.
        return jax.lax.cond(
            epoch * per_epoch < step + length,
            lambda: epoch_rows(key, epoch, num_examples, batch_size, blocks, lengths),
            lambda: jnp.zeros((per_epoch, batch_size), jnp.int32),
        )

    rows = jax.lax.map(of_epoch, epochs)
    return jax.lax.dynamic_slice_in_dim(rows.reshape(-1, batch_size), step - first * per_epoch, length)


def batches_per_epoch(num_examples: int, batch_size: int, blocks: int = 1) -> int:
    """Returns how many batches an epoch of ``batch_rows`` has."""
    return (num_examples // blocks) // (batch_size // blocks)


def epoch_rows(
    key: jax.Array,
    epoch: jax.Array,
    num_examples: int,
    batch_size: int,
    blocks: int = 1,
    lengths: jax.Array | None = None,
) -> jax.Array:
    """Returns the rows of all batches of one epoch of ``batch_rows``, ``[batches, b]``."""
    each, part = num_examples // blocks, batch_size // blocks
    per_epoch = batches_per_epoch(num_examples, batch_size, blocks)
    key_of_epoch = purpose_key(key, ORDER, epoch)
    if blocks == 1:
        permuted = jax.random.permutation(key_of_epoch, num_examples)
        permuted = permuted[: per_epoch * batch_size]
        if lengths is None:
            return permuted.reshape(per_epoch, batch_size)
        alike = permuted[jnp.argsort(lengths[permuted], stable=True)].reshape(per_epoch, batch_size)
        return jax.random.permutation(purpose_key(key, BUCKETS, epoch), alike)
    keys = example_keys(key_of_epoch, jnp.arange(blocks))
    permuted = jax.vmap(lambda k: jax.random.permutation(k, each))(keys)
    permuted += each * jnp.arange(blocks)[:, None]
    return permuted[:, : per_epoch * part].reshape(blocks, per_epoch, part).swapaxes(0, 1).reshape(per_epoch, -1)
