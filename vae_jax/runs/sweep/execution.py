"""The whole sweep: plan, train every program, measure every run, draw the report; from wherever it was stopped."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax

from vae_jax.devices import processes
from vae_jax.devices.cluster import join
from vae_jax.devices.parallel import parallel
from vae_jax.runs.placement import splits
from vae_jax.runs.results import Instruments, make_instruments
from vae_jax.runs.sweep import finishing, halving, one_network
from vae_jax.runs.sweep.flags import given_lists, shared
from vae_jax.runs.sweep.goal import check_goal, settle_goal
from vae_jax.runs.sweep.grid import differing, expand
from vae_jax.runs.sweep.one_network import Network
from vae_jax.runs.sweep.plan import Job, Program, make_jobs, make_programs
from vae_jax.runs.sweep.session import Clock, Interrupted, Session
from vae_jax.runs.sweep.summary import summary
from vae_jax.runs.sweep.training import Ended, train
from vae_jax.runs.workdir import Workdir, local_folder, open_workdir
from vae_jax.runtime.files import write_json
from vae_jax.runtime.interruption import Interruption
from vae_jax.runtime.logs import Progress


class Plan(NamedTuple):
    """All that a sweep will do, before anything is computed or written.

    Attributes:
      jobs: its runs.
      swept: the flags in which they differ.
      warnings: of all runs, each once.
      programs: runs that are trained together.
      networks: networks that are trained for all beta at once.
    """

    jobs: list[Job]
    swept: list[str]
    warnings: list[str]
    programs: list[Program]
    networks: list[Network]


def main(config: Any) -> None:
    """Trains, or continues, measures and reports a sweep."""
    # Refused before the data are read; each program has its own number of steps.
    halving.stops(config.halving_at, 100)
    config, goal = settle_goal(join(config))
    plan = make_plan(config)
    check_goal(goal, plan.jobs)
    with open_workdir(config) as workdir:
        announce(plan)
        clock = Clock(workdir.path / "clock.json")
        rows = run(plan, config, workdir, clock)
        if processes.is_first():
            shutil.rmtree(workdir.path / "programs", ignore_errors=True)
            report(plan, config, workdir.path, rows, clock, goal)
        workdir.ended()


def make_plan(config: Any) -> Plan:
    """Reads the data and makes the pieces of every run.

    Raises:
      UserError: what was asked cannot be done.
    """
    root = local_folder(config.workdir)
    runs = expand(given_lists(config), config.random_runs, config.search_seed)
    swept = differing(runs)
    # Evaluation divides the examples of a batch among all devices, whatever the training does.
    spread = parallel("jit", jax.device_count())
    jobs, warnings = make_jobs(runs, swept, shared(config), root, spread)
    programs = make_programs(jobs, root, config.max_runs_per_program) if config.method != "multi_rate" else []
    networks = one_network.make_networks(jobs) if config.method != "separate" else []
    return Plan(jobs, swept, warnings, programs, networks)


def announce(plan: Plan) -> None:
    """Prints what will be done, and the warnings."""
    shapes = ", ".join(str(len(p.jobs)) for p in plan.programs)
    if plan.programs:
        over = ", ".join(plan.swept) or "nothing"
        print(f"{len(plan.jobs)} runs over {over}, in {len(plan.programs)} program(s) of {shapes}")
    for network in plan.networks:
        print(f"one network for {len(network.jobs)} values of beta: {network.name}")
    for warning in plan.warnings if processes.is_first() else ():
        print(f"warning: {warning}", file=sys.stderr)


def run(plan: Plan, config: Any, workdir: Workdir, clock: Clock) -> list[dict[str, Any]]:
    """Trains and measures everything that is not done yet; returns the rows of all runs, on the first process."""
    rows: list[dict[str, Any]] = []
    with Interruption() as stop:
        session = Session(config, workdir, clock, processes.Agreement(stop.requested))
        parts = [lambda p=program: run_program(p, plan, session) for program in plan.programs]
        parts += [lambda n=network: one_network.rows(n, session) for network in plan.networks]
        try:
            for part in parts:
                rows += part()
                if processes.is_first():
                    finishing.write_rows(workdir.path, rows)
        except Interrupted as interrupted:
            clock.add()
            print(f"interrupted; the same command continues this sweep: --workdir={config.workdir}")
            workdir.ended()
            processes.leave(*interrupted.args or (stop.status,))
    clock.add()
    return rows


def run_program(program: Program, plan: Plan, session: Session) -> list[dict[str, Any]]:
    """Trains one program and measures its runs; returns the rows of its runs, in order."""
    if not all([finishing.is_finished(job) for job in program.jobs]):
        instruments, unit = make_instruments(program.first), "step of a run"
        if len(plan.programs) > 1:
            unit += f", program {plan.programs.index(program) + 1} of {len(plan.programs)},"
        with Progress(0, program.first.config.num_steps * len(program.jobs), unit) as progress:
            ended = train(program, session, progress, instruments.scores)
        measure_runs(program, ended, instruments, session)
    if not processes.is_first():
        return []
    # Each run has a checkpoint of its own now.
    shutil.rmtree(program.folder, ignore_errors=True)
    return [finishing.row(job) for job in program.jobs]


def measure_runs(program: Program, ended: list[Ended], instruments: Instruments, session: Session) -> None:
    """Leaves the results of every run of a program in its folder.

    Raises:
      Interrupted: between two runs.
    """
    from tqdm import tqdm

    r = program.first
    placed = splits(r.spread, r.dataset, r.spread.place(r.dataset.split("train")))
    seconds_per_step = session.clock.seconds_per_step
    print(f"measuring {len(ended)} runs")
    for end in tqdm(ended, desc="measured", unit=" runs", leave=False, disable=None):
        job = program.jobs[end.index]
        if not finishing.is_finished(job):
            seconds = seconds_per_step * int(end.state.step)
            finishing.finish(job, end, placed, instruments, seconds)
            session.clock.add()
            session.workdir.saved()
        session.check_stop()


def report(plan: Plan, config: Any, root: Path, rows: list[dict[str, Any]], clock: Clock, goal: dict) -> None:
    """Writes sweep.json, draws the report and prints the table."""
    from vae_jax.report.sweep import load_sweep, terminal_lines, write_sweep_report

    counts = {"runs": len(rows), "programs": len(plan.programs)}
    found = summary(config, plan.jobs, rows, clock) | {"swept": plan.swept, "notes": plan.warnings} | counts
    found |= {"goal": goal} if goal else {}
    write_json(root / "sweep.json", found)
    page = write_sweep_report(root)
    print(*terminal_lines(load_sweep(root)), f"report: {page}", sep="\n")
