"""What papers share: arms that are trained on equal footing, one run or one sweep over seeds for each, and tables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runs.sweep.flags import SHARED
from vae_jax.runtime.config import option
from vae_jax.runtime.files import read_rows, write_atomic, write_json

from .. import sweep

if TYPE_CHECKING:
    from vae_jax.runs.build import Material

Rows = Sequence[Mapping[str, Any]]

# Papers train on all of the training split, for as long as they say, and report what they then have.
AS_PUBLISHED = {"validation": 0.0, "keep": "last"}


@dataclasses.dataclass(frozen=True)
class ImageFlags:
    """The flags that the arms of a paper on images share."""

    workdir: str
    dataset: str = option("digits", "as for train")
    data_dir: str | None = option(None, "where prepared TFDS data sets are", identity=False)
    num_steps: int = option(2000, "updates of each run")
    latent_dim: int = option(20, "the number of latents")
    hidden: str = option("256,256", "widths of the hidden layers")
    iw_samples: int = option(8, "importance samples of each run's iw_nll")

    def of_train(self) -> dict[str, Any]:
        """Returns those that ``train`` has too, by name, but for the workdir."""
        names = [f.name for f in dataclasses.fields(ImageFlags) if f.name != "workdir"]
        return AS_PUBLISHED | {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True)
class SequenceFlags:
    """The flags that the arms of a paper on sentences share."""

    workdir: str
    dataset: str = option("grammar", "grammar | ptb | FILE.txt | a folder with train.txt and test.txt")
    data_dir: str | None = option(None, "where the folder ptb is", identity=False)
    max_length: int = option(100, "longer sentences are cut to so many tokens")
    seed: str = option("0,1,2", "the seeds")
    num_steps: int = option(4000, "updates of each run")
    batch_size: int = option(32, "sentences per update")
    learning_rate: float = option(1e-3, "Adam's, at its highest")
    clip_norm: float = option(5.0, "of the gradient")
    latent_dim: int = option(16, "the number of latents")
    hidden: int = option(128, "the width of the recurrent state")
    embedding: int = option(64, "the width of a word's vector")
    iw_samples: int = option(64, "importance samples of each run's iw_nll")


def train_one(workdir: Path, flags: dict[str, Any], shared: Material | None = None) -> dict[str, Any]:
    """Trains, or continues, one run with these flags of ``train``; returns its results.json."""
    from vae_jax.runs.run import run

    print(f"\n=== {workdir.name}")
    run(TrainConfig(**flags, workdir=str(workdir)), shared)
    return json.loads((workdir / "results.json").read_text())


def sweep_one(workdir: Path, flags: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Trains, or continues, one sweep with these flags; returns the rows of the runs that came to their end."""
    print(f"\n=== {workdir.name}")
    given = for_sweep({name: value for name, value in flags.items() if value is not None})
    sweep.main(sweep.Config(workdir=str(workdir), **given))
    return [row for row in read_rows(workdir / "sweep.jsonl") if row["status"] == "done"]


def for_sweep(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns flags of ``train`` as a sweep takes them: text, where they may be lists."""
    return {k: v if k in SHARED else str(v) for k, v in flags.items()}


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def conclude(root: Path, rows: Rows, lines: Sequence[str], figure: str | None = None) -> None:
    """Prints the table, and writes table.json, its rows and lines, of which ``experiments/results`` has copies."""
    write_json(root / "table.json", {"rows": rows, "table": [line for line in lines if line]})
    print("", *lines, *([f"figure: {root / figure}"] if figure else []), sep="\n")


def cell(values: Any, digits: int, spread: bool = True) -> str:
    """Returns the mean over seeds ± their standard deviation, where there are several and it is asked for."""
    std = f" ± {np.std(values, ddof=1):.{digits}f}" if spread and len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{std}"


def by_arm(rows: Rows, keys: Iterable[str]) -> dict[str, dict[str, np.ndarray]]:
    """Returns ``{arm: {key: [one value a seed]}}`` of rows that have a ``name``."""
    names, keys = dict.fromkeys(row["name"] for row in rows), list(keys)
    return {n: {k: np.array([r[k] for r in rows if r["name"] == n], float) for k in keys} for n in names}


# ---------------------------------------------------------------- sequences

COLUMNS = {
    "nll": "-ELBO",
    "iw_nll": "-log p(x), at most",
    "rate": "KL",
    "perplexity": "perplexity",
    "mutual_information": "MI",
    "active_units": "active",
    "explained": "z explains",
}


def compare(config: SequenceFlags, arms: dict[str, dict[str, Any]], drawn: list[str]) -> None:
    """Trains all arms, writes table.json and annealing.png (of the arms ``drawn``), prints the table."""
    from .figures import annealing

    root = Path(config.workdir)
    shared = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("workdir", "seed")}
    rows = run_arms(root, arms, shared, config.seed)
    folders = {name: sorted((_folder(root, name) / "runs").iterdir()) for name in drawn}
    figure = annealing({name: [read_rows(f / "metrics.jsonl") for f in own] for name, own in folders.items()})
    write_atomic(root / figure.name, figure.png)
    conclude(root, rows, table_lines(rows), figure.name)


def run_arms(root: Path, arms: dict[str, dict[str, Any]], shared: dict[str, Any], seeds: str) -> list[dict[str, Any]]:
    """Trains every arm with every seed, from wherever that stopped; returns the numbers, a row an arm and seed.

    Args:
      root: a folder for each arm below it.
      arms: name -> flags of ``train`` in which it differs.
      shared: flags of ``train`` that all have.
      seeds: as for ``--seed``.
    """
    rows, text = [], {"likelihood": "tokens", "model": "recurrent", "seed": seeds}
    for name, flags in arms.items():
        done = sweep_one(_folder(root, name), AS_PUBLISHED | shared | text | flags)
        rows += [{"name": name, "seed": row["seed"]} | _numbers(row) for row in done]
    return rows


def _folder(root: Path, arm: str) -> Path:
    return root / arm.replace(" ", "_")


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    kept = {key: row[key] for key in ("iw_nll", "rate", "perplexity", "active_units", "entropy", "seconds")}
    kept |= {"nll": -row["elbo"], "mutual_information": row["rate_parts"]["mutual_information"]["value"]}
    return kept | {"explained": row["prior_distortion"] - row["distortion"]}


def table_lines(rows: Rows) -> list[str]:
    """Returns the table in Markdown: the mean over seeds ± their standard deviation, nats per sentence."""
    found = by_arm(rows, COLUMNS)
    lines = markdown(["", *COLUMNS.values()], ([n, *(cell(v[k], 2) for k in COLUMNS)] for n, v in found.items()))
    floor = rows[0]["entropy"] if rows else None
    if floor is not None and np.isfinite(floor):
        lines.append(f"\nThe entropy of a sentence is {floor:.4f} nats: no model's expected NLL is below it.")
    return lines
