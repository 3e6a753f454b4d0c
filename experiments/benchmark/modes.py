"""The ways of using a model that are timed: step by step, in chunks, many runs together, and evaluation."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.devices.run_mesh import run_mesh
from vae_jax.randomness import TEST, purpose_key
from vae_jax.runs.build import Material, Run, build, first_state, training_chunk, training_step
from vae_jax.runs.sweep.plan import Job, Program
from vae_jax.runs.sweep.training import compiled, first_sweep_state

from . import memory
from .cases import IMPORTANCE, Case
from .operations import count
from .timing import Timer, stepper

MODES = ("step", "chunk", "sweep", "evaluate")
SCORED_AT_LEAST = 100  # examples of an importance-weighted evaluation


class Timed(NamedTuple):
    """A mode of a model, warm.

    Attributes:
      mode: in ``MODES``.
      runs: how many models it trains.
      samples: importance samples of each example, 0 for none.
      timer: in examples.
      flops: floating-point operations of an example.
      flops_per_step: of one update of one model, or of the evaluation of one example.
      compile_seconds: how much longer the first call took than a later one.
      peak_memory: bytes, the highest since this mode began, as far as that can be told apart.
      memory_of: whose that is.
    """

    mode: str
    runs: int
    samples: int
    timer: Timer
    flops: float
    flops_per_step: float
    compile_seconds: float
    peak_memory: int
    memory_of: str


def warm(case: Case, mode: str, runs: int, samples: int, update: float) -> Timed:
    """Makes a mode, compiles it, and notes what that took.

    Args:
      case: the model.
      mode: in ``MODES``.
      runs: of a sweep.
      samples: importance samples of an evaluation, 0 for the ELBO alone.
      update: floating-point operations of an update.
    """
    r, together = case.run, runs if mode == "sweep" else 1
    work, examples = _MAKE[mode](case, together, samples)
    flops = _scoring_flops(r, samples) if mode == "evaluate" else update
    memory.forget()
    first = work(1)
    again = min(work(1), work(1))
    peak, whose = memory.peak()
    of_example = flops if mode == "evaluate" else flops / r.config.batch_size
    return Timed(
        mode, together, samples, Timer(work, examples), of_example, flops, max(first - again, 0.0), peak, whose
    )


def rows_of(case: Case, modes: tuple[str, ...], samples: int) -> list[tuple[str, int]]:
    """The mode and the importance samples of each row of a model."""
    rows = [(mode, 0) for mode in modes]
    if "evaluate" in modes and case.name in IMPORTANCE:
        rows.append(("evaluate", samples))
    return rows


def _scoring_flops(r: Run, samples: int) -> float:
    """Floating-point operations of the scores of one example."""
    from vae_jax.evaluation.bounds import score_example

    params = jax.eval_shape(lambda: first_state(r).params)
    x = jax.eval_shape(r.preprocess, r.key, jax.ShapeDtypeStruct(r.dataset.event, r.dataset.test.dtype))
    return count(lambda params, x, key: score_example(r.vae, r.likelihood, params, x, key, samples), params, x, r.key)


def _step(case: Case, runs: int, samples: int):
    """One call for each update, batches gathered on the device."""
    r = case.run
    step, size = training_step(r), r.config.batch_size
    order = r.spread.place(np.random.default_rng(0).permutation(len(r.dataset.train)))
    whole = len(r.dataset.train) // size

    def one(state, given, length):
        data, order = given
        return step(state, data[jax.lax.dynamic_slice_in_dim(order, state.step % whole * size, size)])

    state, data = r.spread.place(first_state(r)), r.spread.place(r.dataset.train)
    return stepper(r.spread.compile(one), state, (data, order), 1), size


def _chunk(case: Case, runs: int, samples: int):
    """As ``train`` runs it."""
    r = case.run
    chunk = r.spread.compile(training_chunk(r))
    state, data = r.spread.place(first_state(r)), r.spread.place(r.dataset.train)
    return stepper(chunk, state, data, case.length), case.length * r.config.batch_size


def together(r: Run, runs: int, side_by_side: int | None = None) -> tuple[Callable, Any, Any]:
    """``(chunk, state, data)`` of as many runs as one program, each at a weight of its own."""
    jobs, shared = [], Material(r.dataset, r.spectrum)
    for i, beta in enumerate(np.geomspace(0.1, 10.0, runs)):
        config = dataclasses.replace(r.config.flags, beta=float(beta))
        jobs.append(Job(str(i), {}, build(config, shared, r.spread)))
    program = Program(Path(), jobs)
    mesh = run_mesh(runs, r.config.batch_size, jax.devices()[:1])
    return (
        compiled(program, side_by_side, mesh),
        mesh.place(first_sweep_state(program)),
        mesh.whole(r.dataset.train),
    )


def _sweep(case: Case, runs: int, samples: int):
    """As ``sweep`` runs it."""
    return stepper(*together(case.run, runs), case.length), case.length * case.run.config.batch_size * runs


def _evaluate(case: Case, runs: int, samples: int):
    """As every evaluation of a run does it, with all scores of an example; the unit is a whole split, or a part."""
    from vae_jax.runs.results import make_instruments

    r = case.run
    scores = make_instruments(r).scores
    params, data = r.spread.place(first_state(r).params), r.spread.place(r.dataset.test)
    limit = min(len(r.dataset.test), SCORED_AT_LEAST) if samples else len(r.dataset.test)

    def run(times: int = 1) -> float:
        started = time.perf_counter()
        for _ in range(times):
            scores(params, data, purpose_key(r.key, TEST), samples, limit)  # numpy: it has waited
        return time.perf_counter() - started

    return run, limit


_MAKE = {"step": _step, "chunk": _chunk, "sweep": _sweep, "evaluate": _evaluate}
