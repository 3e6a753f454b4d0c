"""The ways of using a model that are timed: step by step, in chunks, many runs together, and evaluation."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation.batches import inputs
from vae_jax.evaluation.bounds import score_example
from vae_jax.randomness import TEST, purpose_key
from vae_jax.runs.build import Run, first_state, training_step
from vae_jax.runs.results import make_instruments

from .cases import AT_ONCE, IMPORTANCE, Case, Program, alone, together
from .machine import forget_peak, peak_memory
from .operations import count
from .timing import Timer

MODES = ("step", "chunk", "sweep", "evaluate")
SCORED_AT_LEAST = 100  # examples of an importance-weighted evaluation


class Timed(NamedTuple):
    """A mode of a model, warm: its timer, in examples, and what its row of benchmark.json holds before the rounds."""

    timer: Timer
    row: dict[str, Any]


def warm(case: Case, mode: str, runs: int, samples: int, update: float) -> Timed:
    """Makes a mode, compiles it, and notes what that took.

    Args:
      case: the model.
      mode: in ``MODES``.
      runs: of a sweep.
      samples: importance samples of an evaluation, 0 for the ELBO alone.
      update: floating-point operations of an update.
    """
    r, scores, runs = case.run, mode == "evaluate", runs if mode == "sweep" else 1
    size = r.config.batch_size
    flops = _scoring_flops(r, samples) if scores else update
    if mode == "step":
        timer = _step(r).timer(1, size)
    elif scores:
        timer = scoring(r, samples)
    else:
        program = alone(r) if mode == "chunk" else together(r, runs)
        timer = program.timer(case.length, case.length * size * runs)
    forget_peak()
    first, again = timer.run(1), min(timer.run(1), timer.run(1))
    peak, whose = peak_memory()
    row = {
        "model": case.name,
        "mode": mode,
        "runs": runs,
        "event": r.dataset.event,
        "dtype": r.config.dtype,
        "batch_size": None if scores else size,
        "iw_samples": samples if scores else None,
        "flops_per_step": flops,  # of one update of one model, or of the evaluation of one example
        "flops_per_example": flops if scores else flops / size,
        "compile_seconds": max(first - again, 0.0),
        "peak_memory_bytes": peak,
        "memory_of": whose,
    }
    return Timed(timer, row)


def rows_of(name: str, modes: tuple[str, ...], samples: int) -> list[tuple[str, int]]:
    """Returns the mode and the importance samples of each row of a model."""
    return [(mode, 0) for mode in modes] + [("evaluate", samples)] * ("evaluate" in modes and name in IMPORTANCE)


def _scoring_flops(r: Run, samples: int) -> float:
    """Returns the operations of one example, as a share of a batch, whose tables of words are made once for all."""
    params = jax.eval_shape(lambda: first_state(r).params)
    raw = jax.ShapeDtypeStruct((AT_ONCE, *r.dataset.event), r.dataset.test.dtype)

    def batch(params, raw, key):
        x, keys = inputs(r.preprocess, raw, jnp.arange(AT_ONCE), key)
        return jax.vmap(lambda x, key: score_example(r.vae, r.likelihood, params, x, key, samples))(x, keys)

    return count(batch, params, raw, r.key) / AT_ONCE


def _step(r: Run) -> Program:
    """One call for each update, batches gathered on the device."""
    step, size = training_step(r), r.config.batch_size
    order = r.spread.place(np.random.default_rng(0).permutation(len(r.dataset.train)))
    whole = len(r.dataset.train) // size

    def one(state, given, length):
        data, order = given
        return step(state, data[jax.lax.dynamic_slice_in_dim(order, state.step % whole * size, size)])

    state, data = r.spread.place(first_state(r)), r.spread.place(r.dataset.train)
    return Program(r.spread.compile(one), state, (data, order))


def scoring(r: Run, samples: int) -> Timer:
    """As every evaluation of a run does it, with all scores of an example; the unit is a whole split, or a part."""
    scores = make_instruments(r).scores
    params, data = r.spread.place(first_state(r).params), r.spread.place(r.dataset.test)
    limit = min(len(r.dataset.test), SCORED_AT_LEAST) if samples else len(r.dataset.test)

    def run(times: int) -> float:
        started = time.perf_counter()
        for _ in range(times):
            scores(params, data, purpose_key(r.key, TEST), samples, limit)  # numpy: it has waited
        return time.perf_counter() - started

    return Timer(run, limit)
