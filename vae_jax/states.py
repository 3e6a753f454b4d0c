"""What training saves: the nouns among ``types`` that hold arrays and no functions."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

Array = jax.Array
Params = Any  # a pytree of arrays


class Skipped(NamedTuple):
    """How many updates were not made, because their loss or gradient was not finite (``train/guard.py``).

    Attributes:
      in_a_row: int32 scalar, those since the last update that was made.
      total: int32 scalar, those of the whole run.
    """

    in_a_row: Array
    total: Array


class Best(NamedTuple):
    """The model that a run reports, of the best evaluation so far or of the last one (``train/best.py``).

    Attributes:
      params: as they were evaluated: averaged where the run averages, and their sigma recalibrated.
      weight_state: the ``KLWeight``'s state at that step.
      step: int32 scalar, the step of these parameters; -1 before there are any.
      elbo: float32 scalar, the best bound so far, nats.
      factor: float32 scalar, what recalibration multiplied their sigma by.
      calibration: float32 scalar, their mean standardised squared error before that.
      misses: int32 scalar, how many evaluations ago the best bound was; -1 before the first one that counts.
      stopped_at: int32 scalar, the step at which patience ended; -1 while it lasts.
    """

    params: Params
    weight_state: Any
    step: Array
    elbo: Array
    factor: Array
    calibration: Array
    misses: Array
    stopped_at: Array


class TrainState(NamedTuple):
    """All that training must save: arrays only.

    Attributes:
      step: int32 scalar, the number of updates done or skipped, and the index of the next one.
      params: ``{"model": ..., "likelihood": ...}``.
      opt_state: the optimiser's state.
      weight_state: the ``KLWeight``'s state.
      key: the run's typed key; never split, only folded (by purpose, step and example).
      skipped: how many of the updates were skipped.
      best: the model that the run reports; None where that is always the last one.
    """

    step: Array
    params: Params
    opt_state: Any
    weight_state: Any
    key: Array
    skipped: Skipped
    best: Best | None = None
