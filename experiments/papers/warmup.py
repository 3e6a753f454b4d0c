"""When latents wake: foretold by the linear theory, and observed, for no ramp, ramps of several lengths, and cycles.

    python -m experiments.papers.warmup --workdir=runs/warmup          a minute, two CPU cores

``--out=experiments/results/warmup.json`` keeps the numbers of the theory's README.

Trains the exact linear bed of the ledger (10 dimensions, 16 latents, no sampling noise) through the training step of
real runs, by gradient descent and by Adam, and sets the update at which each latent is half way to its end beside the
one that ``vae_jax/theory/dynamics.py`` foretells from the first matrices (Saxe 2013, 1312.6120; Lucas 2019,
1911.02469). Expect gradient descent within 7%, and the median latent under Adam within 25%, single ones up to 1.9
times late. ``warmup_deep`` is the same for deep networks.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_atomic, write_json

from . import arms

if TYPE_CHECKING:
    from vae_jax.report.figure import Figure


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags."""

    workdir: str = option("runs/warmup", "where the table and the figure go", identity=False)
    seeds: int = option(3, "how many seeds, from 0 on", least=1)
    out: str | None = option(None, "FILE.json to write the table to as well", identity=False)


def bed_rows(seeds: int) -> arms.Rows:
    """Trains the bed and foretells it: a row for each optimiser, schedule, seed and latent."""
    import jax

    from ..claims import waking

    rows = []
    for optimizer, way in (("gradient descent", waking.DESCENT), ("Adam", waking.ADAM)):
        for name, schedule in waking.schedules_of(way).items():
            for seed in range(seeds):
                with jax.enable_x64(True):
                    passed, _, first = waking.observed(way, schedule, seed)
                    path = waking.foretold(way, schedule, first)
                    seen = waking.woke(passed, path.ends)
                for mode, (one, other) in enumerate(zip(path.woke, seen)):
                    found = {"foretold": _number(one), "observed": _number(other)}
                    rows.append({"optimizer": optimizer, "schedule": name, "seed": seed, "latent": mode} | found)
    return rows


def _number(step: float) -> float | None:
    return float(step) if math.isfinite(step) else None


def ratios(rows: arms.Rows, **where: Any) -> np.ndarray:
    """Returns foretold over observed of the rows where all of ``where`` holds and both are awake, ``[n]``."""
    chosen = [row for row in rows if all(row[key] == wanted for key, wanted in where.items())]
    return np.array([row["foretold"] / row["observed"] for row in chosen if row["foretold"] and row["observed"]])


def table_lines(rows: arms.Rows) -> list[str]:
    """Returns the table in Markdown: the steps of the first seed's latents, if they wake, and the ratios of all."""
    cells = []
    for optimizer, schedule in dict.fromkeys((row["optimizer"], row["schedule"]) for row in rows):
        own = [row for row in rows if row["optimizer"] == optimizer and row["schedule"] == schedule]
        first = [row for row in own if row["seed"] == own[0]["seed"]]
        awake = [row for row in first if any(row[key] is not None for key in _SIDES)]
        steps = [["never" if row[key] is None else f"{row[key]:.0f}" for row in awake] for key in _SIDES]
        found = ratios(own)
        spread = f"{np.median(found):.3f} [{found.min():.3f}, {found.max():.3f}]" if len(found) else ""
        cells.append([optimizer, schedule, *map(", ".join, steps), spread])
    heads = ("optimiser", "schedule", "foretold, seed 0", "observed", "foretold / observed [least, greatest]")
    return arms.markdown(heads, cells)


_SIDES = ("foretold", "observed")


def figure(rows: arms.Rows) -> Figure:
    """Foretold against observed waking, a point a latent, schedule and seed."""

    from vae_jax.report.figure import MARK, TEST, TRAIN, Figure, draw

    colours = {"gradient descent": TRAIN, "Adam": TEST}

    def paint(figure):
        axes = figure.subplots()
        both = [row for row in rows if row["foretold"] and row["observed"]]
        for optimizer in dict.fromkeys(row["optimizer"] for row in both):
            points = np.array([[row[key] for key in _SIDES] for row in both if row["optimizer"] == optimizer])
            style = {"color": colours.get(optimizer, MARK), "markersize": 3, "alpha": 0.6, "label": optimizer}
            axes.loglog(*points.T, "o", **style)
        ends = np.array([[row[key] for key in _SIDES] for row in both])
        axes.loglog([ends.min(), ends.max()], [ends.min(), ends.max()], color=MARK, linewidth=0.6)
        axes.set_xlabel("update at which a latent wakes, foretold")
        axes.set_ylabel("observed")
        axes.legend()

    caption = "When latents wake: foretold and observed, a point for each latent, schedule and seed of the linear bed."
    return Figure("figure.png", caption, draw(paint, height=3.2, width=3.6))


def main(config: Config) -> None:
    """Trains, foretells, writes table.json and figure.png, and prints the table."""
    root = Path(config.workdir)
    root.mkdir(parents=True, exist_ok=True)
    rows = bed_rows(config.seeds)
    write_json(root / "table.json", rows)
    write_atomic(root / "figure.png", figure(rows).png)
    table = table_lines(rows)
    if config.out:
        write_json(Path(config.out), {"table": table})
    print("", *table, sep="\n")


if __name__ == "__main__":
    launch(main, Config)
