"""One network for all beta (Bae 2022, 2212.03905): trained over the range of a grid, read at each of its values."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax.devices import processes
from vae_jax.runs import known_data
from vae_jax.runs.build import Material, Run, build
from vae_jax.runs.evaluate import read_at
from vae_jax.runs.first_words import start_line
from vae_jax.runs.loop import train_and_save
from vae_jax.runs.results import make_instruments, measure
from vae_jax.runs.sweep.finishing import additions, flags_of
from vae_jax.runs.sweep.grid import run_name
from vae_jax.runs.sweep.plan import Job
from vae_jax.runs.sweep.session import Interrupted, Session
from vae_jax.runs.workdir import claim_run_folder
from vae_jax.runtime.files import read_object, write_json
from vae_jax.types import UserError


class Network(NamedTuple):
    """A network, and the runs of the grid that it stands for.

    Attributes:
      name: of its folder below ``runs/``.
      run: its pieces; its configuration has a ``beta_range``.
      jobs: the runs with one beta each, whose place it takes.
    """

    name: str
    run: Run
    jobs: list[Job]


def make_networks(jobs: list[Job]) -> list[Network]:
    """One network for all runs that differ in beta only.

    Raises:
      UserError: there are not two betas, or the flags cannot be combined with ``--beta_range``.
    """
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        rest = {k: v for k, v in job.swept.items() if k not in ("beta", "beta_norm")}
        groups.setdefault(run_name(rest, list(rest)), []).append(job)
    networks = []
    for rest, group in groups.items():
        betas = [job.run.choice.beta for job in group]
        if None in betas or min(betas) == max(betas):
            raise UserError("--method=multi_rate reads one network at many beta: give at least two, --beta=0.1,1,10")
        first = group[0].run
        name = "multi_rate" + ("" if rest == "only" else f"_{rest}")
        ends = f"{min(betas):.9g}:{max(betas):.9g}"
        workdir = str(Path(first.config.workdir).parent / name)
        config = dataclasses.replace(first.config.flags, beta=None, beta_norm=None, beta_range=ends, workdir=workdir)
        networks.append(Network(name, build(config, Material(first.dataset, first.spectrum), first.spread), group))
    return networks


def rows(network: Network, session: Session) -> list[dict[str, Any]]:
    """Trains the network, or finds it trained, and reads it at each beta: a row for each; on the first process.

    Args:
      network: what to train.
      session: the sweep that it is of.

    Raises:
      Interrupted: what was done is saved.
    """
    r = network.run
    workdir = claim_run_folder(session.workdir, Path(r.config.workdir), r.config.flags)
    known_data.keep(workdir.path, r)
    # Numbers that were read before, beta as text -> results.
    path = workdir.path / "curve.json"
    remedy = "remove it, and the same command reads the network again"
    curve: dict[str, Any] = read_object(path, remedy) if path.exists() else {}
    betas = {f"{job.run.choice.beta:.9g}": job for job in network.jobs}
    unread = [text for text in betas if not processes.told_by_first(text in curve)]
    if unread:
        instruments = make_instruments(r)
        print(f"training {network.name}: {start_line(r)}")
        trained = train_and_save(r, workdir, instruments.scores)
        session.clock.add()
        if trained.stopped_by:
            raise Interrupted(trained.stopped_by)
        print(f"reading {network.name} at {len(betas)} values of beta")
        for text in unread:
            at, state = read_at(r, trained.state, float(text))
            results, codes = measure(at, state, trained.splits, instruments)
            if processes.is_first():
                curve[text] = results | trained.ending | additions(at, codes, trained.ending["steps_done"])
                write_json(path, curve)
            session.clock.add()
            session.workdir.saved()
            session.check_stop()
    return [_row(network, job, text, curve[text]) for text, job in betas.items()] if processes.is_first() else []


def _row(network: Network, job: Job, text: str, results: dict[str, Any]) -> dict[str, Any]:
    head = {"run": network.name, "method": "multi_rate", "asked": job.swept}
    ending = {"status": "done", "diverged_at": None}
    return head | flags_of(network.run.config) | results | ending | {"beta": float(text)}
