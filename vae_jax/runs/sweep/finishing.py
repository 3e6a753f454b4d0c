"""A trained run of a sweep: its folder as ``train`` would have left it, its numbers, and its row."""

from __future__ import annotations

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

from vae_jax.devices import processes
from vae_jax.runs.build import Run
from vae_jax.runs.code_numbers import factor_scores
from vae_jax.runs.first_words import start_line
from vae_jax.runs.loop import checkpoints_of
from vae_jax.runs.placement import Splits
from vae_jax.runs.results import TRAIN_LIMIT, Codes, Instruments, clipped_and_saturated, measure
from vae_jax.runs.selection import ending
from vae_jax.runs.settings import flat
from vae_jax.runs.sweep.plan import Job
from vae_jax.runs.sweep.training import Ended
from vae_jax.runtime import files
from vae_jax.runtime.files import finite, read_object, write_json
from vae_jax.train.best import reported

PLACES = ("workdir", "data_dir", "plugin")  # flags that say where things are, and not what a run is


def finish(job: Job, ended: Ended, splits: Splits, instruments: Instruments, seconds: float) -> None:
    """Leaves the run's checkpoint and results.json in its folder, which ``experiments.evaluate`` then takes.

    Args:
      job, ended: the run and its end.
      splits: of the data, placed.
      instruments: of ``make_instruments``, shared by all runs of the program.
      seconds: its share of the training.
    """
    started = time.perf_counter()
    r, last = job.run, job.run.spread.place(ended.state)
    step, status, diverged_at = int(last.step), ended.status, ended.diverged_at
    checkpoints_of(r, job.workdir).save(step, last)
    state, end = reported(last), ending(last)
    results: dict[str, Any] = {"step": int(state.step)} | end
    if status != "diverged":
        measured, codes = measure(r, state, splits, instruments)
        # A run by itself would have been refused.
        if not math.isfinite(measured["elbo"]):
            status, diverged_at = "diverged", step - int(state.skipped.in_a_row)
        elif processes.is_first():
            results |= measured | end | additions(r, codes, end["steps_done"])
            results["examples_per_second"] = step * r.config.batch_size / seconds if seconds else None
            results["seconds"] = seconds + time.perf_counter() - started
    if processes.is_first():
        write_json(job.workdir / "results.json", results | {"status": status, "diverged_at": diverged_at})


def additions(r: Run, codes: Codes, done: int) -> dict[str, Any]:
    """Returns what a run of a sweep has beside what was measured; its metrics.jsonl is read for it.

    ``done`` is how many steps it has. The disentanglement scores are of all codes at hand; None where there are not at
    least two factors.
    """
    n = len(codes.train) + len(codes.test)
    subset = f"{Path(r.dataset.name).name}, both splits, {n} examples (at most {TRAIN_LIMIT} of training)"
    factors = (r.dataset.train_factors, r.dataset.test_factors)
    return {
        "headline": start_line(r),
        **clipped_and_saturated(Path(r.config.workdir), done),
        "disentanglement": factor_scores(codes, factors, r.dataset.factor_names, r.config.seed, subset),
    }


def is_finished(job: Job) -> bool:
    """Whether the run has been trained and measured."""
    return processes.told_by_first((job.workdir / "results.json").exists())


def row(job: Job) -> dict[str, Any]:
    """Returns the run's line of sweep.jsonl: every flag, and every key of its results where they were measured."""
    path = job.workdir / "results.json"
    results = read_object(path, "remove it, and the same command makes the run again")
    head = {"run": job.name, "method": "separate", "asked": job.swept}
    return head | flags_of(job.run.config) | results


def flags_of(config) -> dict[str, Any]:
    """Returns every flag that says what a run is."""
    return {k: v for k, v in flat(config.flags).items() if k not in PLACES}


def write_rows(root: Path, rows: list[dict[str, Any]]) -> None:
    """Writes sweep.jsonl and sweep.csv.

    A run that has no value for a key (it diverged) has null there. The CSV has no lists; what is in an object has a
    column of its own, such as ``train.elbo``.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    full = [{key: finite(row.get(key)) for key in keys} for row in rows]
    files.write_rows(root / "sweep.jsonl", full)
    table = [_flatten({k: v for k, v in row.items() if k != "asked"}) for row in full]
    lists = {key for row in table for key, value in row.items() if isinstance(value, list)}
    columns = [key for key in dict.fromkeys(key for row in table for key in row) if key not in lists]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(table)
    files.write_atomic(root / "sweep.csv", text.getvalue())


def _flatten(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat_row = {}
    for key, value in row.items():
        flat_row |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat_row
