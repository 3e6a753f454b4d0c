"""A comparison of many runs: one table in text, one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.report.formatting import number
from vae_jax.report.style import FAINT, MARK, TRAIN, Plate, draw

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
            spread = f" ± {v.std(ddof=1):.2g}" if len(v) > 1 and key in ("calibrated_elbo", "rate") else ""
            cells.append(_mean(key, v.mean()) + spread)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _mean(key: str, value: float) -> str:
    if key in ("active_units", "seconds"):
        return f"{value:.0f}"
    return f"{value:.1f}" if key in ("calibrated_elbo", "rate", "calibrated_distortion") else number(value, 3)


def comparison(rows: Rows) -> Plate:
    """The recalibrated ELBO of every run, and where the runs lie in the plane of rate and error."""
    found = groups(rows)

    def paint(figure):
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.15))
        best = max(v["calibrated_elbo"].mean() for v in found.values())
        for i, v in enumerate(found.values()):
            left.plot(v["calibrated_elbo"], np.full(len(v["calibrated_elbo"]), i), "o", color=TRAIN, markersize=3)
            right.plot(v["rate"], v["rmse"], "o", color=TRAIN, markersize=3)
        for text, at in _labels(np.array([(v["rate"].mean(), v["rmse"].mean()) for v in found.values()])):
            right.annotate(text, at, (3, 3), textcoords="offset points", fontsize=7)
        left.axvline(best, color=FAINT, linewidth=0.6, zorder=0)
        left.set_yticks(range(len(found)), [f"{name}  {i + 1}" for i, name in enumerate(found)])
        left.invert_yaxis()
        left.set_xlabel("held-out ELBO, σ recalibrated (nats)")
        left.set_title("(a)", loc="left")
        right.set_xlabel("rate (nats)")
        right.set_ylabel("RMS error per dimension")
        right.set_title("(b)", loc="left", color=MARK)

    caption = (
        "Ways to choose the weight, the same network, data and steps: (a) the held-out ELBO at beta = 1 with sigma "
        "recalibrated on the training split, a dot a seed; (b) rate and error of the same runs, numbered as in (a)."
    )
    return Plate("figure.png", caption, draw(paint, height=0.6 + 0.22 * max(len(found), 8)))


def _labels(points: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The numbers of ``points [n, 2]``; those that would print over each other share a label."""
    span = np.maximum(np.ptp(points, axis=0), 1e-12)
    shared: list[list[int]] = []
    for i, point in enumerate(points):
        near = [g for g in shared if np.max(np.abs(point - points[g[0]]) / span) < 0.035]
        near[0].append(i) if near else shared.append([i])
    return [(", ".join(str(i + 1) for i in group), points[group].max(axis=0)) for group in shared]
