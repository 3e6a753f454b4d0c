"""Chunks of a run, wherever its data are: laid on the devices once, or a few batches at a time from the host."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.data.stream import epoch_order, stream
from vae_jax.devices import processes
from vae_jax.runs.build import Run, first_state, training_chunk, training_step
from vae_jax.train.step import make_fed_chunk
from vae_jax.types import TrainState, value_of

PIECE = 2**26  # bytes of batches that go to the devices at a time
MOST_STEPS = 100  # and so many batches at most
IN_FLIGHT = 2  # pieces that are on the devices at once

Advance = Callable[[Any, int], tuple[Any, Any]]  # (state, length) -> (state, metrics [length])


class Begun(NamedTuple):
    """A run before its first update: its state, the compiled chunk and its data, None where these are streamed."""

    state: TrainState
    chunk: Callable | None
    data: Any


def begin(r: Run, length: int | None) -> Begun:
    """Returns the first state, and the chunk, which is compiled beside it for ``length`` updates; None: when called."""

    def first():
        return r.spread.begin(lambda: first_state(r))

    if r.spread.layout == "streamed":
        return Begun(first(), None, None)
    chunk, data = r.spread.compile(training_chunk(r)), r.spread.lay(r.dataset.split("train"))
    # Several processes compile in one order; pmap and divided parameters know their shapes from the arrays alone.
    if length is None or processes.count() > 1 or r.config.parallel == "pmap" or r.config.shard_params:
        return Begun(first(), chunk, data)
    with ThreadPoolExecutor(1) as beside:
        state = beside.submit(first)
        shapes = jax.eval_shape(lambda: first_state(r))._replace(best=None)
        where = value_of(data).sharding
        placed = [jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=where) for v in jax.tree.leaves(shapes)]
        chunk.lower(jax.tree.unflatten(jax.tree.structure(shapes), placed), data, length).compile()
        return Begun(state.result(), chunk, data)


@contextlib.contextmanager
def fed(r: Run, first: int, begun: Begun) -> Iterator[tuple[Advance, Any]]:
    """How a run advances from step ``first``, and its training data as evaluation takes them."""
    if r.spread.layout == "streamed":
        with _streamed(r, first) as advance:
            yield advance, r.dataset.split("train")
        return
    _, chunk, data = begun
    # Divided data are looked at from the host: a device would have to ask the others for each example.
    looked_at = data if r.spread.layout == "whole" else r.dataset.split("train")
    yield lambda state, length: chunk(state, data, length), looked_at


@contextlib.contextmanager
def _streamed(r: Run, first: int) -> Iterator[Advance]:
    c, train = r.config, r.dataset.split("train")
    order = epoch_order(r.key, len(train), c.batch_size, c.batch_size if c.order == "blocks" else 1)
    step = training_step(r)
    chunk = r.spread.compile(make_fed_chunk(step, c.batch_size, r.spread.split))
    piece = max(1, min(MOST_STEPS, PIECE // (c.batch_size * math.prod(train.shape[1:]) * train.dtype.itemsize)))

    with contextlib.closing(stream(train, order, first, c.num_steps, r.spread.share)) as batches:

        def advance(state, length):
            done: list[Any] = []
            for start in range(0, length, piece):
                count = min(piece, length - start)
                raw = r.spread.feed(jax.tree.map(lambda *rows: np.stack(rows), *itertools.islice(batches, count)))
                state, metrics = chunk(state, raw, count)
                done.append(metrics)
                if len(done) >= IN_FLIGHT:  # or the host would send all of them before the first is used
                    jax.block_until_ready(done[-IN_FLIGHT])
            return state, jax.tree.map(lambda *parts: jnp.concatenate(parts), *done)

        yield advance
