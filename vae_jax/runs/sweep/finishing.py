"""A trained run of a sweep: its folder as ``train`` would have left it, its numbers, and its row."""

from __future__ import annotations

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.devices import processes
from vae_jax.evaluation.disentanglement import disentanglement
from vae_jax.runs.build import Run, weighed
from vae_jax.runs.evaluate import LEAST_ROWS
from vae_jax.runs.loop import checkpoints_of
from vae_jax.runs.results import TRAIN_LIMIT, Codes, Instruments, evaluate
from vae_jax.runs.run import shares
from vae_jax.runs.settings import flat
from vae_jax.runs.sweep.plan import Job
from vae_jax.runs.sweep.training import Ended
from vae_jax.runtime import files
from vae_jax.runtime.files import finite, read_object, write_json
from vae_jax.train.guard import in_doubt

PLACES = ("workdir", "data_dir", "plugin")  # flags that say where things are, and not what a run is


def finish(job: Job, ended: Ended, train, test, instruments: Instruments, seconds: float) -> None:
    """Leaves the run's checkpoint and results.json in its folder, which ``experiments.evaluate`` then takes.

    Args:
      job, ended: the run and its end.
      train, test: the splits, placed.
      instruments: of ``make_instruments``, shared by all runs of the program.
      seconds: its share of the training.
    """
    started = time.perf_counter()
    r, state = job.run, job.run.spread.place(ended.state)
    with checkpoints_of(r, job.workdir) as checkpoints:
        checkpoints.save(int(state.step), state)
    results: dict[str, Any] = {"step": int(state.step)}
    if ended.status != "diverged":
        results, codes = evaluate(r, state, train, test, instruments)
        if in_doubt(state.skipped) and not math.isfinite(results["elbo"]):  # by itself it would have been refused
            since = int(state.step) - int(state.skipped.in_a_row)
            results, ended = {"step": int(state.step)}, ended._replace(status="diverged", diverged_at=since)
    if not processes.is_first():
        return
    if ended.status != "diverged":
        results |= {"headline": weighed(r)} | shares(job.workdir, r.config.num_steps)
        results |= {"disentanglement": factor_scores(r, codes)}
        steps = int(state.step) * r.config.batch_size
        results |= {"examples_per_second": steps / seconds if seconds else None}
        results |= {"seconds": seconds + time.perf_counter() - started}
    ending = {"status": ended.status, "diverged_at": ended.diverged_at}
    write_json(job.workdir / "results.json", results | ending)


def factor_scores(r: Run, codes: Codes) -> dict[str, Any] | None:
    """The disentanglement scores of all codes at hand; None where there are not at least two factors."""
    parts = ((r.dataset.train_factors, codes.train), (r.dataset.test_factors, codes.test))
    if any(factors is None or factors.shape[1] < 2 for factors, _ in parts):
        return None
    factors = np.concatenate([factors[: len(means)] for factors, means in parts])
    if len(factors) < LEAST_ROWS:
        return None
    subset = f"{Path(r.dataset.name).name}, both splits, {len(factors)} examples (at most {TRAIN_LIMIT} of training)"
    return disentanglement(np.concatenate(codes), factors, r.dataset.factor_names, r.config.seed, subset)


def is_finished(job: Job) -> bool:
    """Whether the run has been trained and measured."""
    return processes.told_by_first((job.workdir / "results.json").exists())


def row(job: Job) -> dict[str, Any]:
    """The run's line of sweep.jsonl: every flag, and every key of its results where they were measured."""
    path = job.workdir / "results.json"
    results = read_object(path, "remove it, and the same command makes the run again")
    head = {"run": job.name, "method": "separate", "asked": job.asked}
    return head | flags_of(job.run.config) | results


def flags_of(config) -> dict[str, Any]:
    """Every flag that says what a run is."""
    return {k: v for k, v in flat(config.flags).items() if k not in PLACES}


def write_rows(root: Path, rows: list[dict[str, Any]]) -> None:
    """Writes sweep.jsonl and sweep.csv.

    A run that has no value for a key (it diverged) has null there. The CSV has no lists; what is in an object has a
    column of its own, such as ``train.elbo``.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    full = [{key: finite(row.get(key)) for key in keys} for row in rows]
    files.write_rows(root / "sweep.jsonl", full)
    flat = [_flat({k: v for k, v in row.items() if k != "asked"}) for row in full]
    lists = {key for row in flat for key, value in row.items() if isinstance(value, list)}
    columns = [key for key in dict.fromkeys(key for row in flat for key in row) if key not in lists]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(flat)
    files.write_atomic(root / "sweep.csv", text.getvalue())


def _flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in row.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found
