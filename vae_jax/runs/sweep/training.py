"""One program from wherever it stopped to its end: the loop of a single run over a state with an axis of runs.

With halving a program has rungs, each with checkpoints of its own (``rung_0``, ``rung_1``, ...), because each has other
runs. Which runs go on is a function of the last checkpoint of a rung, so a sweep that was killed chooses the same ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from vae_jax.devices import processes
from vae_jax.devices.run_mesh import RunMesh, run_mesh
from vae_jax.evaluation import summarise
from vae_jax.evaluation.bounds import model_mse
from vae_jax.randomness import TRAIN, VALIDATION, purpose_key
from vae_jax.runs import known_data
from vae_jax.runs.build import first_state, training_chunk, with_numbers
from vae_jax.runs.loop import CONVENTION
from vae_jax.runs.networks import make_vae
from vae_jax.runs.selection import Watch, evenly
from vae_jax.runs.skipped_updates import watch_skipped
from vae_jax.runs.sweep import halving
from vae_jax.runs.sweep.evaluation import evaluated, stopped
from vae_jax.runs.sweep.plan import Job, Program
from vae_jax.runs.sweep.session import Interrupted, Session
from vae_jax.runs.workdir import claim_run_folder
from vae_jax.runtime.checkpoint import Checkpoints
from vae_jax.runtime.files import open_to_append
from vae_jax.runtime.logs import Progress, line, rewind, update_rows
from vae_jax.train.best import reported
from vae_jax.train.guard import MAX_SKIPPED
from vae_jax.train.loop import Every, Hooks, fit
from vae_jax.train.many_runs import FINITE, SweepState, beside_runs, init_sweep, make_sweep_chunk, run_of, take
from vae_jax.types import TrainState


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


def train(program: Program, session: Session, progress: Progress, scores: Callable) -> list[Ended]:
    """Trains a program to its end, from its last checkpoint.

    Args:
      program: what is trained.
      session: the sweep that it is of.
      progress: counts steps of runs.
      scores: of ``make_scorer``.

    Raises:
      Interrupted: after a save.
    """
    for job in program.jobs:
        claim_run_folder(session.workdir, job.workdir, job.run.config.flags)
        known_data.keep(job.workdir, job.run)
    num_steps, ended = program.first.config.num_steps, []
    members, state = np.arange(len(program.jobs)), first_sweep_state(program)
    stops = halving.stops(session.config.halving_at, num_steps) if session.config.halving else []
    for rung, last in enumerate([*stops, num_steps]):
        state = _train_rung(program, session, progress, scores, rung, state, last)
        kept = np.arange(0)
        if last < num_steps:
            kept = halving.survivors(*_positions(program, state, scores), session.config.halving_keep)
            progress.say(f"step {last}: {len(kept)} of {len(members)} runs go on, the others are dominated")
            progress.skip((len(members) - len(kept)) * (num_steps - last))
        ended += [_ended(state, row, num_steps) for row in range(len(members)) if row not in kept]
        members, state = members[kept], take(state, kept) if len(kept) else state
    return ended


def first_sweep_state(program: Program) -> SweepState:
    """Returns the state of all runs of a program before the first update."""
    r = program.first

    def first(numbers, key):
        return first_state(with_numbers(r, numbers), key)

    return init_sweep(first, program.numbers(), program.keys())


def _ended(state: SweepState, row: int, num_steps: int) -> Ended:
    bad, own = int(state.bad_step[row]), run_of(state, row)
    status = "diverged" if bad != FINITE else "done" if int(own.step) == num_steps else "stopped"
    return Ended(int(state.member[row]), own, status, None if bad == FINITE else bad)


def _train_rung(
    program: Program, session: Session, progress: Progress, scores: Callable, rung: int, state: SweepState, last: int
) -> SweepState:
    """Returns the runs of ``state`` at step ``last``: trained, or read where they have been before."""
    r, config = program.first, session.config
    mesh = run_mesh(len(state.member), r.config.batch_size, remat=r.config.remat)
    note = {"convention": CONVENTION, **r.dataset.fingerprints, "runs": [job.name for job in program.jobs]}
    checkpoints = Checkpoints(program.folder / f"rung_{rung}", keep=2, note=note)
    # Several processes save and restore what all of their devices hold; one does it on its host.
    as_saved = (lambda state: state) if processes.count() == 1 else r.spread.place
    begun, saved = int(state.step), checkpoints.restore_latest(as_saved(state))
    state = mesh.fetch(saved[1]) if saved else state
    first, members = int(state.step), np.asarray(state.member)
    progress.skip((first - begun) * len(members))
    if first == last:
        return state
    if saved:
        progress.say(f"continuing from step {first}")
    jobs = [program.jobs[i] for i in members]
    for job in jobs if processes.is_first() else ():
        rewind(job.workdir / "metrics.jsonl", first)

    def save(state):
        checkpoints.save(int(state.step), as_saved(mesh.fetch(state)))
        session.workdir.saved()

    recorder = _Recorder(jobs, last, progress)
    recorder.leave_out(stopped(state.runs))
    watch, num_steps = Watch(r, scores), r.config.num_steps
    # The test split is scored at the end only.
    interval = num_steps if r.dataset.validation is None else r.config.eval_every

    def evaluate(state):
        # A run by itself is not evaluated at the end of a rung.
        if state.runs.best is not None and (int(state.step) % interval == 0 or int(state.step) == num_steps):
            state = evaluated(state, jobs, mesh, watch, recorder.write)
            recorder.leave_out(stopped(mesh.fetch(state.runs._replace(opt_state=(), key=()))))
        return state, False

    hooks = Hooks(recorder.log, evaluate, save, session.stop, recorder.check)
    every = Every(config.log_every, interval, config.checkpoint_every)
    chunk, data = compiled(program, config.side_by_side, mesh), mesh.whole(r.dataset.split("train"))
    started = time.perf_counter()
    advance = beside_runs(lambda state, length: chunk(state, data, length))
    state, _ = fit(mesh.place(state), advance, last, every, hooks)
    steps = (int(state.step) - first) * len(jobs)
    session.clock.add(training_seconds=time.perf_counter() - started, training_steps=steps)
    if int(state.step) < last:
        raise Interrupted
    return mesh.fetch(state)


def compiled(program: Program, side_by_side: int | None, mesh: RunMesh) -> Callable:
    """Returns the chunk of a program, ``(state, data, length) -> (state, metrics)``.

    Args:
      program: what is trained.
      side_by_side: runs computed at once; None for what suits the platform.
      mesh: the devices.
    """
    r = program.first
    # One model fills a CPU, and its products under vmap are slower; an accelerator wants all of them at once.
    at_once = side_by_side or (1 if jax.default_backend() == "cpu" else mesh.at_once)
    if at_once > 1:
        vae = make_vae(r.config, r.likelihood.theta_shape(r.event), batched_kernels=True)
        r = r._replace(vae=vae, batched_kernels=True)

    def chunk_of(numbers):
        return training_chunk(with_numbers(r, numbers), mesh.all_mean, mesh.split)

    return mesh.compile(make_sweep_chunk(chunk_of, at_once))


class _Recorder:
    """Writes each run's metrics.jsonl, and says how the runs do."""

    def __init__(self, jobs: list[Job], last: int, progress: Progress):
        self._jobs, self._last, self._progress = jobs, last, progress
        self._dead: set[str] = set()
        self._stopped: set[str] = set()
        self._watch_skips = [watch_skipped(progress.say, job.name) for job in jobs]

    def leave_out(self, rows: np.ndarray) -> None:
        """Ends the lines of runs that have stopped by their patience, though the others go on."""
        self._stopped |= {self._jobs[row].name for row in rows}

    def write(self, row: int, step: int, split: str, values: dict[str, float]) -> None:
        """Writes the line of an evaluation of the run in ``row``."""
        if processes.is_first():
            with open_to_append(self._jobs[row].workdir / "metrics.jsonl") as file:
                file.write(line(step, split, values))

    def check(self, first: int, metrics: dict[str, np.ndarray]) -> None:
        stop = first + metrics["loss"].shape[1]
        for job, row in zip(self._jobs, metrics["skipped_in_a_row"][:, -1]):
            # A row that is NaN was frozen before.
            if not row < MAX_SKIPPED and job.name not in self._dead:
                self._dead.add(job.name)
                since = first if np.isnan(row) else stop - int(row)
                self._progress.say(f"warning: {job.name} is not finite at step {since}: frozen")

    def log(self, first: int, metrics: dict[str, np.ndarray]) -> None:
        length = metrics["loss"].shape[1]
        for i, job in enumerate(self._jobs) if processes.is_first() else ():
            if job.name in self._dead | self._stopped:
                continue
            own = {name: values[i] for name, values in metrics.items()}
            self._watch_skips[i](first, own)
            ends = first + length == job.run.config.num_steps
            with open_to_append(job.workdir / "metrics.jsonl") as file:
                for step, row in update_rows(first, own, ends, job.run.rates.model):
                    file.write(line(step, "train", row))
        self._show(first + length, length, metrics)

    def _show(self, step: int, length: int, metrics: dict[str, np.ndarray]) -> None:
        runs = len(self._jobs)
        elbo = metrics["elbo"][:runs].mean(axis=1)
        shown = {"alive": f"{runs - len(self._dead)} of {runs}", "at step": f"{step}/{self._last}"}
        if np.isfinite(elbo).any():
            best = int(np.nanargmax(np.where(np.isfinite(elbo), elbo, -np.inf)))
            shown["best elbo"] = f"{elbo[best]:.5g} ({self._jobs[best].name})"
        self._progress.advance(length * runs, shown)


def _positions(program: Program, state: SweepState, scores: Callable) -> tuple[np.ndarray, np.ndarray]:
    """Returns rate and distortion of every run, ``[r]`` each, on ``halving.ROWS`` training examples; NaN where frozen.

    With a validation split on that, and of the model that each run would report now. For a Gaussian the distortion is
    that at the sigma of the error, so that runs of any sigma compare.
    """
    r, positions = program.first, []
    split, purpose = r.dataset.split("train")[: halving.ROWS], TRAIN
    if r.dataset.validation is not None:
        split, purpose = evenly(r.dataset.split("validation"), halving.ROWS), VALIDATION
    rows = r.spread.place(split)
    for row, member in enumerate(np.asarray(state.member)):
        if int(state.bad_step[row]) != FINITE:
            positions.append((math.nan, math.nan))
            continue
        params = r.spread.place(reported(run_of(state, row)).params)
        s = summarise(scores(params, rows, purpose_key(program.jobs[member].run.key, purpose)), r.data_dim)
        distortion = s["distortion"]
        if r.config.likelihood == "gaussian":
            variance, log_scale = max(model_mse(s), 1e-30), s.get("log_scale", 0.0)
            distortion = 0.5 * s.get("counted_dim", r.data_dim) * (1.0 + math.log(2.0 * math.pi * variance)) + log_scale
        positions.append((s["rate"], distortion))
    return tuple(np.array(positions).T)
