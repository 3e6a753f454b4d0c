"""A comparison of many runs: one table in text, one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.report.figure import FAINT, MARK, TRAIN, Figure, draw, label_of, step_axis
from vae_jax.report.formatting import number
from vae_jax.report.label_placement import beside, room
from vae_jax.report.run_files import series

Rows = Sequence[Mapping[str, Any]]
COLUMNS = {
    "calibrated_elbo": "ELBO, sigma recalibrated",
    "rate": "rate",
    "calibrated_distortion": "distortion",
    "rmse": "RMS error",
    "sigma": "sigma",
    "beta": "beta",
    "active_units": "active",
    "seconds": "seconds",
}


def groups(rows: Rows) -> dict[str, dict[str, np.ndarray]]:
    """``{name: {key: [one value a seed]}}``, best first by the recalibrated ELBO."""
    names = dict.fromkeys(row["name"] for row in rows)
    found = {n: {k: np.array([r[k] for r in rows if r["name"] == n], float) for k in COLUMNS} for n in names}
    return dict(sorted(found.items(), key=lambda item: -item[1]["calibrated_elbo"].mean()))


def table_lines(rows: Rows) -> list[str]:
    """The table in Markdown: the mean over seeds, with the spread (standard deviation) where there are several."""
    lines = ["| | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, values in groups(rows).items():
        cells = []
        for key in COLUMNS:
            v = values[key]
            spread = f" ± {v.std(ddof=1):.1f}" if len(v) > 1 and key in ("calibrated_elbo", "rate") else ""
            cells.append(_mean(key, v.mean()) + spread)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _mean(key: str, value: float) -> str:
    if key in ("active_units", "seconds"):
        return f"{value:.0f}"
    return f"{value:.1f}" if key in ("calibrated_elbo", "rate", "calibrated_distortion") else number(value, 3)


def comparison(rows: Rows) -> Figure:
    """The recalibrated ELBO of every run, and where the runs lie in the plane of rate and error."""
    found = groups(rows)

    best = max(v["calibrated_elbo"].mean() for v in found.values())

    def paint(figure):
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.15))
        for i, v in enumerate(found.values()):
            behind = best - v["calibrated_elbo"]
            left.plot(behind, np.full(len(behind), i), "o", color=TRAIN, markersize=3, alpha=0.7)
            right.plot(v["rate"], v["rmse"], "o", color=TRAIN, markersize=3)
        left.axvline(0.0, color=FAINT, linewidth=0.6, zorder=0)
        # Most differ by a few nats and some by hundreds.
        left.set_xscale("symlog", linthresh=1.0)
        ends = best - _all(found, "calibrated_elbo")
        left.set_xlim(1.5 * min(-1.0, ends.min()), 2.0 * max(1.0, ends.max()))
        left.set_yticks(range(len(found)), [f"{label_of(name)}  {i + 1}" for i, name in enumerate(found)])
        left.invert_yaxis()
        left.set_xlabel("nats behind the best, σ recalibrated")
        left.set_title("(a)", loc="left")
        right.set_xlabel("rate (nats)")
        right.set_ylabel("RMS error per dimension")
        right.set_title("(b)", loc="left")
        right.margins(x=0.12, y=0.08)
        free = room(right)
        for text, at in _shared_labels(np.array([(v["rate"].mean(), v["rmse"].mean()) for v in found.values()])):
            beside(free, at, text, distances=(4.0, 7.0, 11.0), always=True, fontsize=7)

    caption = (
        "Ways to choose the weight, the same network, data and steps: (a) how far the held-out ELBO at beta = 1, with "
        "sigma recalibrated on the training split, is behind the best mean, a dot a seed; (b) rate and error of the "
        "same runs, numbered as in (a)."
    )
    return Figure("figure.png", caption, draw(paint, height=0.6 + 0.22 * max(len(found), 8)))


def _all(found, key: str) -> np.ndarray:
    return np.concatenate([values[key] for values in found.values()])


def _shared_labels(points: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The numbers of ``points [n, 2]``, each with its place; points on top of each other share a label."""
    unit = np.maximum(np.ptp(points, axis=0), 1e-12)
    shared: list[list[int]] = []
    for i, point in enumerate(points):
        near = [g for g in shared if np.max(np.abs(point - points[g[0]]) / unit) < 0.03]
        near[0].append(i) if near else shared.append([i])
    return [(_ranges([i + 1 for i in group]), points[group[0]]) for group in shared]


def _ranges(numbers: list[int]) -> str:
    """``[1, 2, 3, 5] -> "1–3, 5"``."""
    parts, start = [], 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1:
            first, last = numbers[start], numbers[i - 1]
            parts.append(str(first) if first == last else f"{first}–{last}")
            start = i
    return ", ".join(parts)


Lines = Sequence[Mapping[str, Any]]


def annealing(arms: Mapping[str, Sequence[Lines]]) -> Figure:
    """A panel for each arm: the rate of every seed, nats per example and not weighted, and the weight beside it.

    Args:
      arms: name -> the lines of metrics.jsonl of each of its seeds.
    """

    from matplotlib.ticker import MaxNLocator

    def paint(figure):
        grid = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
        for i, (axes, (name, seeds)) in enumerate(zip(grid, arms.items())):
            for j, lines in enumerate(seeds):
                axes.plot(*series(lines, "train", "rate"), color=TRAIN, linewidth=0.9, alpha=0.7, label="KL" * (not j))
            axes.set_title(label_of(name), fontsize=8.5)
            step_axis(axes)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=max(2, 8 // len(arms)), integer=True))
            weight = axes.twinx()
            weight.spines["right"].set_visible(True)
            weight.plot(*series(seeds[0], "train", "beta"), color=MARK, linewidth=0.9, linestyle="--")
            weight.set_ylim(0.0, 1.05 * max(1.0, float(np.max(series(seeds[0], "train", "beta")[1], initial=1.0))))
            weight.tick_params(colors=FAINT if i + 1 < len(arms) else MARK, labelright=i + 1 == len(arms))
            if i == 0:
                axes.set_ylabel("KL, not weighted (nats per sentence)", color=TRAIN)
            if i + 1 == len(arms):
                weight.set_ylabel("weight β (dashed)")
        rates = [series(lines, "train", "rate")[1] for seeds in arms.values() for lines in seeds]
        # At a weight of nearly 0 the KL is tens of nats, at its end a fraction of one.
        grid[0].set_yscale("symlog", linthresh=1.0)
        grid[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        grid[0].set_ylim(0.0, 1.5 * float(np.max(np.concatenate(rates), initial=0.1)))

    caption = (
        "The KL of each seed (solid, nats per example, not weighted, single updates) and the weight that was applied "
        "(dashed), over the steps of training."
    )
    return Figure("annealing.png", caption, draw(paint, height=2.6))
