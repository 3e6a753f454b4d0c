"""A comparison of many runs: one table in text, one figure; and the figure of the weight over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vae_jax.report.figure import FAINT, MARK, TRAIN, Figure, draw, label_of, letters, step_axis
from vae_jax.report.formatting import number
from vae_jax.report.label_placement import beside, room
from vae_jax.report.run_files import series

from .arms import Rows, by_arm, cell, markdown

_WHOLE, _TENTHS, _SPREAD = ("active_units", "seconds"), ("calibrated_distortion",), ("calibrated_elbo", "rate")
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


def _best_first(rows: Rows) -> dict[str, dict[str, np.ndarray]]:
    return dict(sorted(by_arm(rows, COLUMNS).items(), key=lambda item: -item[1]["calibrated_elbo"].mean()))


def table_lines(rows: Rows) -> list[str]:
    """Returns the table in Markdown: the mean over seeds, with the standard deviation where there are several."""

    def shown(key, values):
        if key in (*_WHOLE, *_TENTHS, *_SPREAD):
            return cell(values, 0 if key in _WHOLE else 1, key in _SPREAD)
        return number(values.mean(), 3)

    arms = _best_first(rows).items()
    return markdown(["", *COLUMNS.values()], ([n, *(shown(k, v[k]) for k in COLUMNS)] for n, v in arms))


def comparison(rows: Rows) -> Figure:
    """The recalibrated ELBO of every run, and where the runs lie in the plane of rate and error."""
    found = _best_first(rows)
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
        ends = best - np.concatenate([v["calibrated_elbo"] for v in found.values()])
        left.set_xlim(1.5 * min(-1.0, ends.min()), 2.0 * max(1.0, ends.max()))
        left.set_yticks(range(len(found)), [f"{label_of(name)}  {i + 1}" for i, name in enumerate(found)])
        left.invert_yaxis()
        left.set_xlabel("nats behind the best, σ recalibrated")
        right.set_xlabel("rate (nats)")
        right.set_ylabel("RMS error per dimension")
        letters((left, right))
        right.margins(x=0.12, y=0.08)
        figure.draw_without_rendering()
        free = room(right)
        for text, at in _shared_labels(np.array([(v["rate"].mean(), v["rmse"].mean()) for v in found.values()])):
            beside(free, at, text, distances=(4.0, 7.0, 11.0), always=True, fontsize=7)

    caption = (
        "Ways to choose the weight, the same network, data and steps: (a) how far the held-out ELBO at beta = 1, with "
        "sigma recalibrated on the training split, is behind the best mean, a dot a seed; (b) rate and error of the "
        "same runs, numbered as in (a)."
    )
    return Figure("figure.png", caption, draw(paint, height=0.6 + 0.22 * max(len(found), 8)))


def _shared_labels(points: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The numbers of ``points [n, 2]``, each with its place; points on top of each other share a label."""
    unit = np.maximum(np.ptp(points, axis=0), 1e-12)
    shared: list[list[int]] = []
    for i, point in enumerate(points):
        near = [g for g in shared if np.max(np.abs(point - points[g[0]]) / unit) < 0.03]
        near[0].append(i) if near else shared.append([i])
    return [(_ranges([i + 1 for i in group]), points[group[0]]) for group in shared]


def _ranges(numbers: list[int]) -> str:
    """Returns ``[1, 2, 3, 5]`` as "1–3, 5"."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)


def annealing(arms: Mapping[str, Sequence[Rows]]) -> Figure:
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
