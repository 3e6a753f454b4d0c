"""One program from wherever it stopped to its end: the loop of a single run over a state with an axis of runs.

With halving a program has rungs, each with checkpoints of its own (``rung_0``, ``rung_1``, ...), because each has other
runs. Which runs go on is a function of the last checkpoint of a rung, so a sweep that was killed chooses the same ones.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from vae_jax.devices import processes
from vae_jax.devices.run_mesh import RunMesh, run_mesh
from vae_jax.evaluation import summarise
from vae_jax.randomness import TRAIN, purpose_key
from vae_jax.runs.build import first_state, make_vae, training_chunk
from vae_jax.runs.loop import CONVENTION
from vae_jax.runs.skipped_updates import watch_skipped
from vae_jax.runs.sweep import halving
from vae_jax.runs.sweep.plan import Program
from vae_jax.runs.workdir import Workdir, inside
from vae_jax.runtime.checkpoint import Checkpoints
from vae_jax.runtime.logs import Progress, line, rewind, update_rows
from vae_jax.train.guard import MAX_SKIPPED
from vae_jax.train.loop import Every, Hooks, fit
from vae_jax.train.many_runs import FINITE, SweepState, init_sweep, make_sweep_chunk, run_of, take
from vae_jax.types import TrainState


class Settings(NamedTuple):
    """What a sweep does with each program.

    Attributes:
      every: steps between lines of metrics, and between checkpoints.
      stops: the steps after which dominated runs stop; empty without halving.
      keep: the least share of the runs that goes on.
      side_by_side: runs computed at once; None for what suits the platform.
    """

    every: Every
    stops: list[int]
    keep: float
    side_by_side: int | None


class Watch(NamedTuple):
    """Who looks on.

    Attributes:
      progress: counts steps of runs.
      stop: ``() -> bool``, whether somebody asked for a stop.
      spent: ``(seconds, steps of runs)`` of training, told now and then.
    """

    progress: Progress
    stop: Callable[[], bool]
    spent: Callable[[float, int], None]


class Ended(NamedTuple):
    """A run that will not be trained any further.

    Attributes:
      index: which of the program's.
      state: its state, the last good one.
      status: "done", "stopped" by halving, or "diverged".
      diverged_at: the first of the updates that ended it, else None.
    """

    index: int
    state: TrainState
    status: str
    diverged_at: int | None


class Interrupted(Exception):
    """Somebody asked for a stop; everything up to the last chunk is saved."""


def train(program: Program, settings: Settings, scores: Callable, watch: Watch, workdir: Workdir) -> list[Ended]:
    """Trains a program to its end, from its last checkpoint.

    Args:
      program, settings: what is trained, and how.
      scores: of ``make_scorer``, for halving.
      watch: who looks on.
      workdir: the sweep's.

    Raises:
      Interrupted: after a save.
    """
    for job in program.jobs:
        inside(workdir, job.workdir, job.run.config.flags)
    config, ended = program.first.config, []
    members = np.arange(len(program.jobs))
    state = first_sweep_state(program)
    for rung, last in enumerate([*settings.stops, config.num_steps]):
        state = _rung(program, settings, rung, state, last, watch, workdir)
        kept = np.arange(0)
        if last < config.num_steps:
            kept = halving.survivors(*_positions(program, state, scores), settings.keep)
            watch.progress.say(f"step {last}: {len(kept)} of {len(members)} runs go on, the others are dominated")
            watch.progress.skip((len(members) - len(kept)) * (config.num_steps - last))
        ended += [_ended(state, row, config.num_steps) for row in range(len(members)) if row not in kept]
        members, state = members[kept], take(state, kept) if len(kept) else state
    return ended


def first_sweep_state(program: Program) -> SweepState:
    """The state of all runs of a program before the first update."""
    r = program.first
    return init_sweep(lambda n, key: first_state(r, _with(r.config, n), key), program.numbers(), program.keys())


def _with(config, numbers):
    return dataclasses.replace(config, **numbers)


def _ended(state: SweepState, row: int, num_steps: int) -> Ended:
    bad, own = int(state.bad_step[row]), run_of(state, row)
    status = "diverged" if bad != FINITE else "done" if int(own.step) == num_steps else "stopped"
    return Ended(int(state.member[row]), own, status, None if bad == FINITE else bad)


def _rung(
    program: Program, settings: Settings, rung: int, state: SweepState, last: int, watch: Watch, workdir: Workdir
) -> SweepState:
    """The runs of ``state`` at step ``last``: trained, or read where they have been before."""
    mesh = run_mesh(len(state.member), program.first.config.batch_size)
    note = {
        "convention": CONVENTION,
        **program.first.dataset.fingerprints,
        "runs": [job.name for job in program.jobs],
    }
    with Checkpoints(program.folder / f"rung_{rung}", keep=2, note=note) as checkpoints:
        # Several processes save and restore what all of their devices hold; one does it on its host.
        held = (lambda state: state) if processes.count() == 1 else program.first.spread.place
        begun, found = int(state.step), checkpoints.restore_latest(held(state))
        state = mesh.fetch(found[1]) if found else state
        first = int(state.step)
        watch.progress.skip((first - begun) * len(state.member))
        if found and first < last:
            watch.progress.say(f"continuing from step {first}")
        if first == last:
            return state
        names = [program.jobs[i].name for i in np.asarray(state.member)]
        recorder = _Recorder(program, mesh, np.asarray(state.member), last, watch)
        for i in np.asarray(state.member) if processes.is_first() else ():
            rewind(program.jobs[i].workdir / "metrics.jsonl", first)

        def save(state):
            checkpoints.save(int(state.step), held(mesh.fetch(state)))
            workdir.saved()

        hooks = Hooks(
            log=recorder.log,
            evaluate=lambda state: None,
            save=save,
            interrupted=watch.stop,
            check=recorder.check,
        )
        chunk, data = compiled(program, settings.side_by_side, mesh), mesh.whole(program.first.dataset.train)
        started = time.perf_counter()
        state, _ = fit(mesh.place(state), lambda s, length: chunk(s, data, length), last, settings.every, hooks)
        watch.spent(time.perf_counter() - started, (int(state.step) - first) * len(names))
    if int(state.step) < last:
        raise Interrupted
    return mesh.fetch(state)


def compiled(program: Program, side_by_side: int | None, mesh: RunMesh) -> Callable:
    """The chunk of a program, ``(state, data, length) -> (state, metrics)``; ``side_by_side`` as in ``Settings``."""
    r = program.first
    # One model fills a CPU, and its products under vmap are slower; an accelerator wants all of them at once.
    at_once = side_by_side or (1 if jax.default_backend() == "cpu" else mesh.at_once)
    if at_once > 1:
        r = r._replace(vae=make_vae(r.config, r.likelihood.theta_shape(r.event), batched_kernels=True))
    chunk = make_sweep_chunk(
        lambda numbers: training_chunk(r, _with(r.config, numbers), mesh.all_mean, mesh.split), at_once
    )
    return mesh.compile(chunk)


class _Recorder:
    """Writes each run's metrics.jsonl, and tells whoever looks on how the runs do."""

    def __init__(self, program: Program, mesh: RunMesh, members: np.ndarray, last: int, watch: Watch):
        self._jobs = [program.jobs[i] for i in members]
        self._last, self._watch = last, watch
        self._dead: set[str] = set()
        self._skips = [watch_skipped(watch.progress.say, job.name) for job in self._jobs]

    def check(self, first: int, metrics: dict[str, np.ndarray]) -> None:
        stop = first + metrics["loss"].shape[1]
        for job, row in zip(self._jobs, metrics["skipped_in_a_row"][:, -1]):
            if not row < MAX_SKIPPED and job.name not in self._dead:  # NaN: it was frozen before
                self._dead.add(job.name)
                since = first if np.isnan(row) else stop - int(row)
                self._watch.progress.say(f"warning: {job.name} is not finite at step {since}: frozen")

    def log(self, first: int, metrics: dict[str, np.ndarray]) -> None:
        length = metrics["loss"].shape[1]
        for i, job in enumerate(self._jobs) if processes.is_first() else ():
            if job.name in self._dead:
                continue
            own = {name: values[i] for name, values in metrics.items()}
            self._skips[i](first, own)
            ends = first + length == job.run.config.num_steps
            with (job.workdir / "metrics.jsonl").open("a") as file:
                for step, row in update_rows(first, own, ends, job.run.rates):
                    file.write(line(step, "train", row))
        self._show(first + length, length, metrics)

    def _show(self, step: int, length: int, metrics: dict[str, np.ndarray]) -> None:
        progress, runs = self._watch.progress, len(self._jobs)
        elbo = metrics["elbo"][:runs].mean(axis=1)
        shown = {"alive": f"{runs - len(self._dead)} of {runs}", "at step": f"{step}/{self._last}"}
        if np.isfinite(elbo).any():
            best = int(np.nanargmax(np.where(np.isfinite(elbo), elbo, -np.inf)))
            shown["best elbo"] = f"{elbo[best]:.5g} ({self._jobs[best].name})"
        progress.advance(length * runs, shown)


def _positions(program: Program, state: SweepState, scores: Callable) -> tuple[np.ndarray, np.ndarray]:
    """Rate and distortion of every run, ``[r]`` each, on ``halving.ROWS`` training examples; NaN for frozen ones.

    For a Gaussian the distortion is that at the sigma of the error, so that runs of any sigma compare.
    """
    r, found = program.first, []
    train = r.spread.place(r.dataset.train[: halving.ROWS])
    for row in range(len(state.member)):
        if int(state.bad_step[row]) != FINITE:
            found.append((math.nan, math.nan))
            continue
        job, own = program.jobs[int(state.member[row])], r.spread.place(run_of(state, row).params)
        s = summarise(scores(own, train, purpose_key(job.run.key, TRAIN)), r.data_dim)
        calibrated = 0.5 * r.data_dim * (1.0 + math.log(2.0 * math.pi * max(s["mse"], 1e-30)))
        found.append((s["rate"], calibrated if r.config.likelihood == "gaussian" else s["distortion"]))
    return tuple(np.array(found).T)
