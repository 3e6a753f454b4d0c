"""The loop that every measurement of a split shares: example by example, batches padded, the padding dropped.

A split is on the devices, or on the host: an array that was not placed, or anything else with a shape that gives the
rows it is asked for as an array (``data.rows.Rows``). Of that only the rows of a batch go to the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.randomness import LATENT, PIXELS, example_keys, purpose_key
from vae_jax.types import VAE, Array, Likelihood, Params, value_of


class Evaluator(NamedTuple):
    """What every measurement of a split needs: the model, how it reads its data, and where a batch is computed.

    Attributes:
      vae, likelihood: the model; its parameters come with each call, so that one program serves many runs.
      preprocess: ``(key, raw[event]) -> x[event]``; the data as they are where none is given.
      batch_size: how many examples at a time; it changes the memory, not the numbers.
      shard, devices: spreads the rows of a batch over that many devices (``devices/parallel.py``).
      jit: ``jax.jit``, or one whose results every process can read.
      without_samples: how many examples at a time where no importance samples come with them; None: as many.
    """

    vae: VAE
    likelihood: Likelihood
    preprocess: Callable = lambda key, raw: raw
    batch_size: int = 250
    shard: Callable[[Array], Array] = lambda rows: rows
    devices: int = 1
    jit: Callable[..., Callable] = jax.jit
    without_samples: int | None = None


def in_batches(evaluator: Evaluator, measure: Callable) -> Callable[..., Iterator[tuple[Any, int]]]:
    """Makes ``(params, data[n, *event], key, limit=None, static=()) -> (part, count)`` for each batch, in order.

    A part's leaves are ``[b, ...]``, of which the first ``count`` are examples and the rest padding.

    Args:
      evaluator: the model and its batches.
      measure: ``(params, x[event], key, *static) -> pytree`` of one example; ``static`` decides its shapes.
    """
    _, _, preprocess, batch_size, shard, devices, jit, _ = evaluator

    def batch(params, raw, rows, key, static):
        return jax.vmap(lambda x, key: measure(params, x, key, *static))(*inputs(preprocess, raw, rows, key))

    measured = jit(batch, static_argnums=4)

    def parts(params: Params, data: Any, key: Array, limit: int | None = None, static: tuple = ()):
        n = data.shape[0] if limit is None else min(limit, data.shape[0])
        size = -(-min(batch_size, n) // devices) * devices
        on_devices, before = is_on_devices(data), ()
        for start in range(0, n, size):
            chosen = np.minimum(np.arange(start, start + size, dtype=np.int32), n - 1)
            rows = shard(jax.device_put(chosen))
            raw = _taken(data, rows) if on_devices else _read(data, chosen, rows.sharding)
            # Full float32 products: the defaults of accelerators move single examples by 1e-2 nats.
            with jax.default_matmul_precision("highest"):
                part = measured(params, raw, rows, key, static)
            if not on_devices:
                jax.block_until_ready(before)  # or all batches would soon wait on the devices
                before = part
            yield part, min(size, n - start)

    return parts


@jax.jit
def _taken(data: Any, rows: Array) -> Any:
    """Takes the examples ``rows``: the only program that the size of a split is part of, so that all share the rest."""
    return data[rows]


def inputs(preprocess: Callable, raw: Array, rows: Array, key: Array) -> tuple[Array, Array]:
    """Returns x ``[b, *event]`` of the examples ``rows`` and a key for each one's z: by its index, not by its batch."""
    x = jax.vmap(preprocess)(example_keys(purpose_key(key, PIXELS), rows), raw)
    return x, example_keys(purpose_key(key, LATENT), rows)


def _read(data: Any, rows: np.ndarray, sharding: jax.sharding.Sharding) -> Array:
    """Reads the examples ``rows`` of a split on the host, to where their indices are: each process reads its own."""

    def read(part):
        shape = (len(rows), *part.shape[1:])
        return jax.make_array_from_callback(shape, sharding, lambda index: np.asarray(part[rows[index[0]]]))

    return jax.tree.map(read, data)


def is_on_devices(data: Any) -> bool:
    """Says whether a split is on the devices, with what is known beside it where that is so."""
    return isinstance(value_of(data), jax.Array)


def watched(parts: Iterator[tuple[Any, int]], watch: Callable[[int], None]) -> Iterator[tuple[Any, int]]:
    """Yields the same parts, each waited for and counted: ``watch(count)``, its number of examples."""
    for part, count in parts:
        jax.block_until_ready(part)
        watch(count)
        yield part, count


def gather(parts: Iterator[tuple[Any, int]]) -> Any:
    """Joins all examples of all parts, in order, as numpy arrays ``[n, ...]``, without the padding."""
    parts = list(parts)
    n = sum(count for _, count in parts)
    return jax.tree.map(lambda *a: np.concatenate([np.asarray(v) for v in a])[:n], *(part for part, _ in parts))
