"""The loop: chunk after chunk, and at the ends of chunks what is logged, evaluated and saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from vae_jax.train.guard import Diverged, check_finite
from vae_jax.types import TrainState


class Every(NamedTuple):
    """Intervals in steps; each also ends a chunk, so they decide what is compiled, never what is computed."""

    log: int
    evaluate: int
    checkpoint: int


class Hooks(NamedTuple):
    """What the loop calls. ``state`` is valid only during the call: the next chunk consumes it.

    Attributes:
      log: ``(first_step, metrics: name -> np.ndarray [length])`` after each chunk, one chunk late.
      evaluate: ``(state) -> (state, whether to stop here)`` at its interval and at the end, after everything before
        it has passed ``check``; a run that stops is saved first.
      save: ``(state)`` at its interval and at the end, likewise, after ``evaluate``.
      interrupted: ``() -> bool``, called once a chunk; True saves and returns.
      check: ``(first_step, metrics)``, before ``log``; raises where a chunk is not to be used.
      explain: ``(state, step) -> sentence`` for the message of ``Diverged``, once ``check`` has raised it with that
        step. ``state`` is the newest one: skipped updates change nothing, so its parameters are those that failed.
    """

    log: Callable[[int, dict[str, np.ndarray]], None]
    evaluate: Callable[[TrainState], tuple[TrainState, bool]]
    save: Callable[[TrainState], None]
    interrupted: Callable[[], bool] = lambda: False
    check: Callable[[int, dict[str, np.ndarray]], None] | None = None
    explain: Callable[[TrainState, int], str] | None = None


class Clock(NamedTuple):
    """How fast training went, the first chunk and its compilation left out where there is more than one."""

    steps: int
    seconds: float


def next_stop(step: int, num_steps: int, every: Every) -> int:
    """The end of the chunk that begins at ``step``: the next multiple of any interval, or the last step."""
    return min(num_steps, *(step - step % n + n for n in every))


def fit(
    state: TrainState, chunk: Callable[[TrainState, int], tuple], num_steps: int, every: Every, hooks: Hooks
) -> tuple[TrainState, Clock]:
    """Runs chunks until ``num_steps`` updates are done or ``hooks.interrupted`` or ``hooks.evaluate`` says so.

    The chunks' ends depend on the step alone, so a resumed run executes the same programs as one that never stopped.

    Args:
      state: where to begin; its buffers are consumed.
      chunk: ``(state, length) -> (state, metrics [length])``, compiled.
      num_steps: where to end, the number of updates that a whole run has.
      every, hooks: what happens in between.

    Raises:
      UserError: too many updates in a row were skipped (unless ``hooks.check`` judges otherwise); nothing of that chunk
        or after it has been saved.
    """
    check = hooks.check or check_finite
    step, pending, clock = int(state.step), None, Clock(0, 0.0)
    began, started = step, time.perf_counter()
    mark, counted = None, 0  # when timing began, and the steps since; the first chunk compiles and is not timed

    def settle():
        nonlocal pending
        if pending is not None:
            first, metrics = pending
            pending = None
            metrics = jax.device_get(metrics)
            try:
                check(first, metrics)
            except Diverged as error:
                if hooks.explain is None:
                    raise
                raise Diverged(f"{error}. {hooks.explain(state, error.step)}", error.step) from error
            hooks.log(first, metrics)

    while step < num_steps:
        stop = next_stop(step, num_steps, every)
        state, metrics = chunk(state, stop - step)
        settle()  # reads the previous chunk while this one runs
        pending, length, step = (step, metrics), stop - step, stop
        saving = step % every.checkpoint == 0 or step == num_steps
        evaluating, stopping = step % every.evaluate == 0 or step == num_steps, False
        interrupted = hooks.interrupted()
        if mark is None or saving or evaluating or interrupted:
            settle()
            now = time.perf_counter()
            if mark is not None:
                clock = Clock(clock.steps + counted + length, clock.seconds + now - mark)
            # Before the save: a run that is killed between the two goes back to the checkpoint before, and does both.
            if evaluating:
                state, stopping = hooks.evaluate(state)
            if saving or interrupted or stopping:
                hooks.save(state)
            mark, counted = time.perf_counter(), 0
            if interrupted or stopping:
                break
        else:
            counted += length
    if clock.steps == 0:  # nothing but the first chunk ran: better its speed with the compilation than none
        clock = Clock(step - began, time.perf_counter() - started)
    return state, clock
