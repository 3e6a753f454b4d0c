"""When latents wake: foretold by the linear theory, and observed, for no ramp, ramps of several lengths, and cycles.

    python -m experiments.papers.warmup --workdir=runs/warmup          a minute, two CPU cores

Trains the exact linear bed of the ledger (10 dimensions, 16 latents, no sampling noise) through the training step of
real runs, by gradient descent and by Adam, and sets the update at which each latent is half way to its end beside the
one that ``vae_jax/theory/dynamics.py`` foretells (Saxe 2013, 1312.6120; Lucas 2019, 1911.02469): from the first
matrices, which is exact, and from their size alone, which is known before a run. ``warmup_deep`` is that for
deep networks. Expect the first within a step, and of the second gradient descent's first four latents within 11%.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_atomic

from . import arms

if TYPE_CHECKING:
    from vae_jax.report.figure import Figure


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags."""

    workdir: str = option("runs/warmup", "where the table and the figure go", identity=False)
    seeds: int = option(5, "how many seeds, from 0 on", least=1)


SIDES = ("observed", "of_matrices", "of_size")


def bed_rows(seeds: int) -> arms.Rows:
    """Trains the bed and foretells it: a row for each optimiser and schedule, a line of steps for each seed and side.

    A line has the latents that wake in any run of the row, the largest direction first, "-" where one does not.
    """
    import jax

    from ..claims import waking

    rows = []
    for optimizer, way in (("gradient descent", waking.DESCENT), ("Adam", waking.ADAM)):
        for name, schedule in waking.schedules_of(way).items():
            found = []
            with jax.enable_x64(True):
                unknown = waking.foretold(way, schedule, None)
                for seed in range(seeds):
                    passed, _, first = waking.observed(way, schedule, seed)
                    path = waking.foretold(way, schedule, first)
                    found.append((waking.woke(passed, path.ends), path.woke, unknown.woke))
            found = np.array(found)  # [seeds, sides, k]
            woken = np.isfinite(found).any((0, 1))
            lines = {side: [_line(own[woken]) for own in found[:, i]] for i, side in enumerate(SIDES)}
            rows.append({"optimizer": optimizer, "schedule": name} | lines)
    return rows


def _line(steps: np.ndarray) -> str:
    return ", ".join(f"{step:,.0f}" if np.isfinite(step) else "-" for step in steps)


def steps_of(row: dict[str, Any], side: str) -> np.ndarray:
    """Returns the steps of one side of a row ``[seeds, latents]``, inf where a latent does not wake."""
    return np.array(
        [[float("inf" if step == "-" else step.replace(",", "")) for step in line.split(", ")] for line in row[side]]
    )


def ratios(row: dict[str, Any], side: str) -> np.ndarray:
    """Returns foretold over observed of what wakes on either side ``[n]``: inf if foretold to sleep, 0 if it slept."""
    seen, told = steps_of(row, "observed"), steps_of(row, side)
    either = np.isfinite(seen) | np.isfinite(told)
    return told[either] / seen[either]


def table_lines(rows: arms.Rows) -> list[str]:
    """Returns the table in Markdown: the steps of the first seed, and foretold over observed of all."""
    cells = []
    for row in rows:
        spreads = []
        for side in SIDES[1:]:
            found = ratios(row, side)
            spreads.append(f"{np.median(found):.2f} [{found.min():.2f}, {found.max():.2f}]" if len(found) else "")
        cells.append([f"{row['optimizer']}, {row['schedule']}", row["observed"][0], *spreads])
    return arms.markdown(
        ("", "observed, seed 0", "foretold from the matrices / observed", "from their size / observed"), cells
    )


def figure(rows: arms.Rows) -> Figure:
    """Observed against foretold waking, a point a latent, schedule and seed; a panel an optimiser."""
    from vae_jax.report.figure import MARK, TEST, TRAIN, Figure, draw, letters

    styles = {
        "of_size": {"color": TEST, "markerfacecolor": "none", "label": "from their size alone"},
        "of_matrices": {"color": TRAIN, "label": "from the first matrices"},
    }
    optimizers = list(dict.fromkeys(row["optimizer"] for row in rows))

    def paint(figure):
        panels = figure.subplots(1, len(optimizers), squeeze=False)[0]
        for axes, optimizer in zip(panels, optimizers):
            ends = []
            for side, style in styles.items():
                own = [row for row in rows if row["optimizer"] == optimizer]
                points = np.concatenate(
                    [np.stack([steps_of(row, s).ravel() for s in (side, "observed")]) for row in own], 1
                )
                points = points[:, np.isfinite(points).all(0)]
                ends += [points.min(initial=1e9), points.max(initial=1)]
                axes.loglog(*points, "o", markersize=3, markeredgewidth=0.6, linestyle="", **style)
            axes.loglog([min(ends), max(ends)], [min(ends), max(ends)], color=MARK, linewidth=0.6, zorder=0)
            axes.set(title=optimizer, xlabel="update at which a latent wakes, foretold", ylabel="observed")
            axes.set_aspect("equal")
        letters(panels)
        panels[-1].legend(loc="upper left")

    caption = (
        "When latents of a linear VAE wake, foretold and observed: a point a latent, schedule and seed. Those that "
        "sleep on one of the two sides are not drawn."
    )
    return Figure("figure.png", caption, draw(paint, height=3.0))


def main(config: Config) -> None:
    """Trains, foretells, writes table.json and figure.png, and prints the table."""
    root = Path(config.workdir)
    root.mkdir(parents=True, exist_ok=True)
    rows = bed_rows(config.seeds)
    write_atomic(root / "figure.png", figure(rows).png)
    arms.conclude(root, rows, table_lines(rows), "figure.png")


if __name__ == "__main__":
    launch(main, Config)
