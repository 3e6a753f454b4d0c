"""Many runs as one program: training over an axis ``r`` of runs, whose weights, rates, noise and schedules are arrays.

A run of a sweep executes the step and the chunk of a single run (``step.py``), with its numbers traced. Where the
processor is filled by one model (a CPU), the runs of a chunk go one after the other inside the program; on an
accelerator they go side by side under ``vmap``. Over devices the runs are divided, and within a run the batch
(``devices/run_mesh.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.train.guard import MAX_SKIPPED
from vae_jax.types import Array, TrainState

FINITE = -1  # ``bad_step`` of a run that goes on


class SweepState(NamedTuple):
    """All that a sweep must save: arrays only.

    Attributes:
      step: int32 scalar, how far the sweep is; a frozen run's own ``runs.step`` stays behind.
      runs: the training state of every run, leaves ``[r, ...]``.
      numbers: what differs between the runs and is not a seed, each ``[r]``.
      member: int32 ``[r]``, which of the program's runs this is; halving takes some away.
      bad_step: int32 ``[r]``, the first of the updates that ended a run, ``FINITE`` for the others.
    """

    step: Array
    runs: TrainState
    numbers: dict[str, Array]
    member: Array
    bad_step: Array


def init_sweep(first: Callable[[dict[str, Array], Array], TrainState], numbers: dict[str, Any], keys: Array):
    """The state before the first update.

    Args:
      first: ``(numbers of one run, its key) -> TrainState``, the state of one run.
      numbers: name -> ``[r]``.
      keys: the runs' typed keys, ``[r]``.
    """
    numbers = {name: jnp.asarray(values) for name, values in numbers.items()}
    # One after the other: under vmap a decomposition inside an initialiser could round differently.
    runs = jax.jit(lambda n, k: jax.lax.map(lambda one: first(*one), (n, k)))(numbers, keys)
    count = keys.shape[0]
    member, bad = jnp.arange(count, dtype=jnp.int32), jnp.full(count, FINITE, jnp.int32)
    return SweepState(jnp.zeros((), jnp.int32), runs, numbers, member, bad)


def make_sweep_chunk(
    chunk_of: Callable[[dict[str, Array]], Callable], side_by_side: int = 1
) -> Callable[..., tuple[SweepState, dict[str, Array]]]:
    """Many updates of many runs: ``(state, data[n, *event], length) -> (state, metrics [r, length])``.

    A run skips and counts updates that are not finite as it does by itself. One that has skipped ``guard.MAX_SKIPPED``
    in a row at the end of a chunk, or whose parameters are not finite there, is put back to the beginning of that chunk
    and stays there: ``bad_step`` is the first of those updates, and its metrics are NaN from then on.

    Args:
      chunk_of: ``numbers of one run -> chunk``, that of ``make_chunk`` with these numbers.
      side_by_side: how many runs are computed at once under ``vmap``; the others wait for them.
    """

    def sweep_chunk(state: SweepState, data: Array, length: int):
        def one(run):
            numbers, before, bad_step = run
            chunk = chunk_of(numbers)

            def train(before):
                after, metrics = chunk(before, data, length)
                ends_well = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(after.params)]))
                row = after.skipped.in_a_row
                good = ends_well & (row < MAX_SKIPPED)
                kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), after, before)
                return kept, metrics, jnp.where(good, FINITE, after.step - jnp.maximum(row, 1))

            def rest(before):
                shapes = jax.eval_shape(train, before)[1]
                return before, jax.tree.map(lambda s: jnp.full(s.shape, jnp.nan, s.dtype), shapes), bad_step

            return jax.lax.cond(bad_step == FINITE, train, rest, before)

        over_runs = jax.vmap(one) if side_by_side >= state.member.shape[0] else _in_turn(one, side_by_side)
        runs, metrics, bad_step = over_runs((state.numbers, state.runs, state.bad_step))
        return state._replace(step=state.step + length, runs=runs, bad_step=bad_step), metrics

    return sweep_chunk


def _in_turn(function: Callable, at_once: int) -> Callable:
    # A batch of one is not the same as no batch: XLA's CPU backend is slower at products with an axis of 1.
    return lambda xs: jax.lax.map(function, xs, batch_size=None if at_once == 1 else at_once)


def beside_runs(chunk: Callable) -> Callable:
    """Returns a chunk that leaves what each run reports where it is, as ``best.beside`` does for one run."""

    def advance(state: SweepState, *rest):
        after, metrics = chunk(state._replace(runs=state.runs._replace(best=None)), *rest)
        return after._replace(runs=after.runs._replace(best=state.runs.best)), metrics

    return advance


def take(state: SweepState, rows) -> SweepState:
    """The sweep with only the runs ``rows`` (indices into its axis), in that order: what halving leaves."""
    rows = np.asarray(rows)
    return SweepState(state.step, *jax.tree.map(lambda leaf: leaf[rows], tuple(state[1:])))


def run_of(state: SweepState, row: int) -> TrainState:
    """The training state of one run."""
    return jax.tree.map(lambda leaf: leaf[row], state.runs)
