"""Ways to train a sequence VAE on equal footing: a sweep over seeds for each, a table, the figure of the weight."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.runs.sweep.flags import SHARED
from vae_jax.runtime.config import option
from vae_jax.runtime.files import read_rows, write_json

from .. import sweep


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags that all arms share."""

    workdir: str = option("runs/sequence_arms", "where the runs, the table and the figure live", identity=False)
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


COLUMNS = {
    "nll": "-ELBO",
    "iw_nll": "-log p(x), at most",
    "rate": "KL",
    "perplexity": "perplexity",
    "mutual_information": "MI",
    "active_units": "active",
    "explained": "z explains",
}


def compare(config: Config, arms: dict[str, dict[str, Any]], drawn: list[str]) -> None:
    """Trains all arms, writes table.json and annealing.png (of the arms ``drawn``), prints the table."""
    root = Path(config.workdir)
    shared = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("workdir", "seed")}
    rows = run_arms(root, arms, shared, config.seed)
    print("", *table_lines(rows), f"figure: {draw_annealing(root, drawn)}", sep="\n")


def run_arms(root: Path, arms: dict[str, dict[str, Any]], shared: dict[str, Any], seeds: str) -> list[dict[str, Any]]:
    """Trains every arm with every seed, from wherever that stopped; the numbers of each arm, one for each seed.

    Args:
      root: a folder for each arm below it.
      arms: name -> flags of ``train`` in which it differs.
      shared: flags of ``train`` that all have.
      seeds: as for ``--seed``.
    """
    single = set(SHARED)
    found = []
    for name, flags in arms.items():
        print(f"\n=== {name}")
        given = {k: v if k in single else str(v) for k, v in (shared | flags).items() if v is not None}
        folder = root / name.replace(" ", "_")
        text = {"likelihood": "tokens", "model": "recurrent"}
        sweep.main(sweep.Config(workdir=str(folder), seed=seeds, **text, **given))
        rows = read_rows(folder / "sweep.jsonl")
        found += [{"name": name, "seed": row["seed"]} | _numbers(row) for row in rows if row["status"] == "done"]
    write_json(root / "table.json", found)
    return found


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    kept = {key: row[key] for key in ("iw_nll", "rate", "perplexity", "active_units", "entropy", "seconds")}
    parts = row["rate_parts"]["mutual_information"]["value"]
    explained = row["prior_distortion"] - row["distortion"]
    return kept | {"nll": -row["elbo"], "mutual_information": parts, "explained": explained}


def table_lines(rows: list[dict[str, Any]]) -> list[str]:
    """The table in Markdown: the mean over seeds ± their standard deviation, nats per sentence."""
    lines = ["| | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name in dict.fromkeys(row["name"] for row in rows):
        cells = []
        for key in COLUMNS:
            values = np.array([row[key] for row in rows if row["name"] == name], float)
            spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.2f}{spread}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    floor = rows[0]["entropy"] if rows else None
    if floor is not None and math.isfinite(floor):
        lines.append(f"\nThe entropy of a sentence is {floor:.4f} nats: no model's expected NLL is below it.")
    return lines


def draw_annealing(root: Path, names: list[str]) -> Path:
    """The weight and the KL of the named arms over their steps; returns the file."""
    from vae_jax.runtime.files import write_atomic

    from .figures import annealing

    arms = {}
    for name in names:
        folders = sorted((root / name.replace(" ", "_") / "runs").iterdir())
        arms[name] = [read_rows(folder / "metrics.jsonl") for folder in folders]
    write_atomic(root / "annealing.png", annealing(arms).png)
    return root / "annealing.png"
