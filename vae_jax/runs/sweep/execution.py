"""The whole sweep: plan, train every program, measure every run, draw the report; from wherever it was stopped."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from vae_jax.devices import processes
from vae_jax.devices.parallel import parallel
from vae_jax.linear_vae import beta_at
from vae_jax.runs.results import make_instruments
from vae_jax.runs.sweep import finishing, halving, multi_rate
from vae_jax.runs.sweep.grid import differing, expand
from vae_jax.runs.sweep.plan import Job, Program, make_jobs, make_programs
from vae_jax.runs.sweep.training import Interrupted, Settings, Watch, train
from vae_jax.runs.workdir import Workdir, local, opened
from vae_jax.runtime.files import read_object, write_json
from vae_jax.runtime.interruption import Interruption
from vae_jax.runtime.logs import Progress
from vae_jax.theory import prospects
from vae_jax.train.loop import Every
from vae_jax.types import UserError


class Stopwatch:
    """Where the time of a sweep goes, over all the times that it was started; kept in ``clock.json``.

    Args:
      path: of that file.
    """

    def __init__(self, path: Path):
        self._path = path
        try:
            found = read_object(path, "remove it")
        except UserError:  # the first time, or a file that somebody broke: only the times are lost
            found = {}
        self.spent = {name: float(spent) for name, spent in found.items() if isinstance(spent, int | float)}
        self._last = time.perf_counter()

    def add(self, **amounts: float) -> None:
        """Adds to the named amounts, and the time since the last call to ``seconds``."""
        now = time.perf_counter()
        amounts["seconds"], self._last = now - self._last, now
        for name, amount in amounts.items():
            self.spent[name] = self.spent.get(name, 0.0) + amount
        if processes.is_first():
            write_json(self._path, self.spent)


def run(config, asked: dict[str, str], shared: dict[str, Any]) -> None:
    """Trains, or continues, measures and reports.

    Args:
      config: the binary's.
      asked: the flags that may be lists, as given.
      shared: the flags of ``train`` that all runs share.
    """
    root = local(config.workdir)
    settings = expand(asked, config.random_runs, config.search_seed)
    swept = differing(settings)
    # Evaluation divides the examples of a batch among all devices, whatever the training does.
    spread = parallel("jit", jax.device_count())
    jobs, warnings = make_jobs(settings, swept, shared, root, spread)
    programs = make_programs(jobs, root, config.max_runs_per_program) if config.method != "multi_rate" else []
    networks = multi_rate.networks(jobs) if config.method != "separate" else []
    with opened(config) as workdir:
        _announce(jobs, programs, networks, swept, warnings)
        watch = Stopwatch(root / "clock.json")
        rows = _rows(programs, networks, config, workdir, watch)
        if processes.is_first():
            shutil.rmtree(root / "programs", ignore_errors=True)
            _report(root, config, asked, shared, jobs, rows, swept, warnings, len(programs), watch.spent)
        workdir.ended()


def _rows(programs, networks, config, workdir: Workdir, watch: Stopwatch) -> list[dict[str, Any]]:
    """Trains and measures everything that is not done yet; the rows of all runs, on the first process."""
    rows: list[dict[str, Any]] = []

    def add(new):
        rows.extend(new)
        if processes.is_first():
            finishing.write_rows(workdir.path, rows)

    with Interruption() as stop:
        asked_to_stop = processes.Agreement(stop.requested)
        try:
            for number, program in enumerate(programs):
                add(_program(program, config, number, len(programs), watch, asked_to_stop, workdir))
            for network in networks:
                add(multi_rate.rows(network, workdir, watch.add, asked_to_stop))
        except Interrupted as interrupted:
            watch.add()
            print(f"interrupted; the same command continues this sweep: --workdir={config.workdir}")
            workdir.ended()
            processes.leave(*interrupted.args or (stop.status,))
    watch.add()
    return rows


def _announce(jobs, programs, networks, swept, warnings) -> None:
    shapes = ", ".join(str(len(p.jobs)) for p in programs)
    if programs:
        print(f"{len(jobs)} runs over {', '.join(swept) or 'nothing'}, in {len(programs)} program(s) of {shapes}")
    for network in networks:
        print(f"one network for {len(network.jobs)} values of beta: {network.name}")
    for warning in warnings if processes.is_first() else ():
        print(f"warning: {warning}", file=sys.stderr)


def _program(
    program: Program, config, number: int, count: int, clock: Stopwatch, stop: Callable[[], bool], workdir: Workdir
) -> list[dict]:
    """Trains one program and measures its runs; the rows of its runs, in order."""
    if not all([finishing.is_finished(job) for job in program.jobs]):
        num_steps = program.first.config.num_steps
        stops = halving.stops(config.halving_at, num_steps) if config.halving else []
        every = Every(config.log_every, num_steps, config.checkpoint_every)  # the test split is scored at the end
        settings = Settings(every, stops, config.halving_keep, config.side_by_side)
        instruments = make_instruments(program.first)
        unit = "step of a run" if count == 1 else f"step of a run, program {number + 1} of {count},"
        with Progress(0, num_steps * len(program.jobs), unit) as progress:
            watch = Watch(progress, stop, lambda s, n: clock.add(training_seconds=s, training_steps=n))
            ended = train(program, settings, instruments.scores, watch, workdir)
        _measure(program, ended, instruments, clock, stop, workdir)
    if not processes.is_first():
        return []
    shutil.rmtree(program.folder, ignore_errors=True)  # each run has a checkpoint of its own now
    return [finishing.row(job) for job in program.jobs]


def _measure(
    program: Program, ended, instruments, clock: Stopwatch, stop: Callable[[], bool], workdir: Workdir
) -> None:
    from tqdm import tqdm

    r = program.first
    train_split, test_split = (r.spread.place(split) for split in (r.dataset.train, r.dataset.test))
    each = clock.spent.get("training_seconds", 0.0) / max(clock.spent.get("training_steps", 1), 1)
    print(f"measuring {len(ended)} runs")
    for end in tqdm(ended, desc="measured", unit=" runs", leave=False, disable=None):
        job = program.jobs[end.index]
        if not finishing.is_finished(job):
            finishing.finish(job, end, train_split, test_split, instruments, each * int(end.state.step))
            clock.add()
            workdir.saved()
        if stop():
            raise Interrupted


def _report(root, config, asked, shared, jobs, rows, swept, warnings, programs, spent) -> None:
    from vae_jax.report.sweep import summary_lines, table_lines, write_sweep_report

    found = summary(config, asked, shared, jobs, rows, swept, warnings, programs, spent)
    write_json(root / "sweep.json", found)
    page = write_sweep_report(root)
    print(*table_lines(rows), *summary_lines(rows, found), f"report: {page}", sep="\n")


def summary(
    config,
    asked: dict[str, str],
    shared: dict[str, Any],
    jobs: list[Job],
    rows: list[dict[str, Any]],
    swept: list[str],
    notes: list[str],
    programs: int,
    spent: dict[str, float],
) -> dict[str, Any]:
    """Plain numbers for the report; ``spent`` holds the seconds of the whole sweep and of its training."""
    first = jobs[0].run
    plain = {f.name: f.default for f in dataclasses.fields(config)}
    given = asked | {k: v for k, v in shared.items() if v != plain[k] and k not in ("data_dir", "plugin")}
    return {
        "flags": given,
        "method": config.method,
        "dataset": first.config.dataset,
        "data_dim": first.data_dim,
        "gaussian": all(job.run.config.likelihood == "gaussian" for job in jobs),
        "swept": swept,
        "reference": _references(jobs),
        "seconds": spent.get("seconds", 0.0),
        "training_seconds": spent.get("training_seconds", 0.0),
        "runs": len(rows),
        "programs": programs,
        "halving": _halving(rows, spent) if config.halving else None,
        "notes": notes,
    }


def _references(jobs: list[Job]) -> list[dict[str, Any]]:
    """The linear theory of this data for each number of latents and each kind of sigma that was run."""
    found: dict[tuple, dict[str, Any]] = {}
    for job in jobs:
        c, values = job.run.config, job.run.spectrum
        fixed = c.sigma if c.likelihood == "gaussian" and c.precision == "fixed" else None
        key = (c.latent_dim, c.precision, fixed)
        if values is None or key in found or values[0] <= 0:
            continue
        best = prospects.calibrated(values, c.latent_dim)
        known = c.likelihood == "gaussian"
        # The last latent closes where the water reaches the largest eigenvalue.
        collapse = beta_at(float(values[0]), values, c.latent_dim, None if fixed is None else fixed**2)
        found[key] = {
            "latent_dim": c.latent_dim,
            "precision": c.precision,
            "frontier": prospects.frontier(values, c.latent_dim),
            "calibrated": best._asdict() if best else None,
            "collapse_beta": collapse if known else None,
        }
    return list(found.values())


def _halving(rows: list[dict[str, Any]], spent: dict[str, float]) -> dict[str, Any]:
    """What halving stopped, and the steps and seconds that were not spent."""
    trained = [row for row in rows if row["method"] == "separate"]
    steps = sum(row["step"] for row in trained)
    whole = sum(row["num_steps"] for row in trained)
    ends = sorted({row["step"] for row in trained if row["status"] == "stopped"})
    left = len(trained)
    stops = []
    for step in ends:
        stopped = sum(row["status"] == "stopped" and row["step"] == step for row in trained)
        left -= stopped
        stops.append({"step": step, "kept": left, "stopped": stopped})
    each = spent.get("training_seconds", 0.0) / max(spent.get("training_steps", 1), 1)
    return {"stops": stops, "saved_share": 1.0 - steps / max(whole, 1), "saved_seconds": (whole - steps) * each}
