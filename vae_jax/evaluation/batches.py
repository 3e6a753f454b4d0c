"""The loop that every measurement of a split shares: example by example, batches padded, the padding dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.randomness import LATENT, PIXELS, example_keys, purpose_key
from vae_jax.types import Array, Params


def in_batches(
    measure: Callable,
    preprocess: Callable,
    batch_size: int = 250,
    shard: Callable[[Array], Array] = lambda rows: rows,
    devices: int = 1,
) -> Callable[..., Iterator[tuple[Any, int]]]:
    """A function ``(params, data[n, *event], key, limit=None, static=()) -> (part, count)`` for each batch.

    Args:
      measure: ``(params, x[event], key, *static) -> pytree`` of one example; ``static`` decides its shapes.
      preprocess: ``(key, raw[event]) -> x[event]``.
      batch_size: how many examples at a time; it changes the memory, not the numbers.
      shard, devices: spreads the rows of a batch over that many devices (``parallel.py``).

    Returns:
      The function. A part's leaves are ``[b, ...]``, of which the first ``count`` are examples and the rest padding.
    """

    def batch(params, data, rows, key, static):
        x = jax.vmap(preprocess)(example_keys(purpose_key(key, PIXELS), rows), data[rows])
        keys = example_keys(purpose_key(key, LATENT), rows)
        return jax.vmap(lambda x, key: measure(params, x, key, *static))(x, keys)

    compiled = jax.jit(batch, static_argnums=4)

    def parts(params: Params, data: Array, key: Array, limit: int | None = None, static: tuple = ()):
        n = data.shape[0] if limit is None else min(limit, data.shape[0])
        size = -(-min(batch_size, n) // devices) * devices
        for start in range(0, n, size):
            rows = shard(jnp.minimum(jnp.arange(start, start + size), n - 1))
            # Full float32 products: the defaults of accelerators move single examples by 1e-2 nats.
            with jax.default_matmul_precision("highest"):
                part = compiled(params, data, rows, key, static)
            yield part, min(size, n - start)

    return parts


def watched(parts: Iterator[tuple[Any, int]], watch: Callable[[int], None]) -> Iterator[tuple[Any, int]]:
    """The same parts, each waited for and counted: ``watch(count)``, its number of examples."""
    for part, count in parts:
        jax.block_until_ready(part)
        watch(count)
        yield part, count


def gather(parts: Iterator[tuple[Any, int]]) -> Any:
    """All examples of all parts, in order, as numpy arrays ``[n, ...]``, without the padding."""
    parts = list(parts)
    n = sum(count for _, count in parts)
    return jax.tree.map(lambda *a: np.concatenate([np.asarray(v) for v in a])[:n], *(part for part, _ in parts))
