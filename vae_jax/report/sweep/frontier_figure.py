"""The figure of a sweep's frontier: rate against distortion and against error, beta along the line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax.report.figure import FAINT, MARK, Figure, draw, label_of, legend_above, letters
from vae_jax.report.formatting import number, setting
from vae_jax.report.label_placement import along as label_along
from vae_jax.report.label_placement import beside, room
from vae_jax.report.reading.finding import is_collapsed
from vae_jax.report.sweep.grouping import (
    SYMBOLS,
    Measure,
    Setting,
    along,
    at,
    distortion,
    done,
    elbo,
    groups,
    rate,
    rms,
    settings,
)
from vae_jax.report.sweep.linear_theory import gaussian_distortion
from vae_jax.report.sweep.lines import DARK, Line, any_far, lines_of, near
from vae_jax.report.sweep.recommendation import best as best_of
from vae_jax.report.sweep.sweep_files import Row

LEARNED = ("learned", "optimal", "per_dimension", "predicted")
_MOST_VALUES = 7  # along a line
_APART = 14.0  # pixels between points that have values


class Theory(NamedTuple):
    """A linear Gaussian frontier in one panel: its points ``[n, 2]`` and its calibrated point, None where not shown."""

    label: str
    points: np.ndarray
    calibrated: tuple[float, float] | None


def calibrated(rows: Sequence[Row]) -> tuple[Setting, str] | None:
    """Returns the setting to be marked, and in which words.

    Nearest to beta = 1, and within a factor of 2 of it, where a Gaussian's sigma was not fixed: the noise is then the
    error made. Otherwise the one with the best ELBO.
    """
    best = best_of(rows)
    if best is None:
        return None

    def distance(s: Setting) -> float:
        return abs(math.log(max(at(s, "beta") or 0.0, 1e-12)))

    members = [s for g in groups(rows) for s in g.living if s.method == best.setting.method]
    near_one = [
        s
        for s in members
        if s.done[0].get("calibrated_elbo") is not None
        and s.done[0].get("precision") in LEARNED
        and distance(s) <= math.log(2.0)
    ]
    if not near_one:
        return best.setting, "best ELBO"
    nearest = min(near_one, key=lambda s: (round(distance(s), 6), -s.mean(elbo)))
    return nearest, f"calibrated, β = {at(nearest, 'beta'):.3g}"


def frontier(rows: Sequence[Row], summary: dict[str, Any]) -> Figure:
    """Rate against distortion, with the diagonals of equal ELBO; rate against RMS error; the linear theory in both."""
    name, finished = "frontier.png", done(rows)
    if not finished:
        return Figure(name, "The frontier: not drawn, because no run came to its end with finite numbers.", None)
    lines = lines_of(rows, along(rows, numeric=True), levels=True)
    gaussian = all(row.get("calibrated_elbo") is not None for row in finished)
    marked = calibrated(rows)

    def paint(figure):
        panels = figure.subplots(1, 2, sharey=True)
        for axes, measure in zip(panels, (distortion, rms)):
            for line in lines:
                _draw(axes, line, measure)
            if marked:
                _star(axes, marked[0].mean(measure), marked[0].mean(rate), marked[1], filled=True)
            theory = _theory(summary, measure, finished[0].get("data_dim"), gaussian)
            for entry, style in zip(theory, ("-", "--", ":", "-.") * len(theory)):
                line_style = {"color": FAINT, "linestyle": style, "zorder": 1, "gid": "reference"}
                axes.plot(*entry.points.T, label=entry.label, **line_style)
                if entry.calibrated:
                    _star(axes, *entry.calibrated, "calibrated, linear theory", filled=False)
            _set_view(axes, rows, measure, [entry.calibrated for entry in theory if entry.calibrated])
        panels[0].set_xlabel("distortion at the recalibrated σ (nats)" if gaussian else "distortion (nats)")
        panels[0].set_ylabel("rate (nats)")
        panels[1].set_xlabel("RMS error per dimension")
        letters(panels)
        legend_above(figure, panels)
        longest = max(lines, key=lambda line: np.ptp([0.0, *line.means(rate)[:, 1]]))
        for axes, measure in zip(panels, (distortion, rms)):
            free = room(axes)
            _write_values(free, longest, measure, marked)
            if measure is distortion:
                _draw_diagonals(free, finished)

    theory = any(entry.get("frontier") for entry in summary.get("reference") or [])
    return Figure(name, _caption(lines, marked, theory, gaussian, rows), draw(paint, height=3.5))


def _theory(summary: dict[str, Any], measure: Measure, dim, gaussian: bool) -> list[Theory]:
    """The linear Gaussian frontiers, one for each number of latents; in nats only where the runs are Gaussian too."""
    if measure is distortion and not gaussian:
        return []
    entries = {e.get("latent_dim"): e for e in reversed(summary.get("reference") or []) if e.get("frontier")}

    def place(errors):
        return np.asarray(errors, float) if measure is rms else gaussian_distortion(errors, dim)

    theory = []
    for latents, entry in reversed(entries.items()):
        label = "linear theory" + (f", {latents} latents" if len(entries) > 1 and latents else "")
        best = entry.get("calibrated") if gaussian else None
        points = np.stack([place(entry["frontier"]["rms"]), np.asarray(entry["frontier"]["rate"], float)], axis=1)
        theory.append(Theory(label, points, (float(place(best["rms"])), best["rate"]) if best else None))
    return theory


def _star(axes, x, y, label, filled) -> None:
    style = {"markersize": 8, "markerfacecolor": "white", "markeredgecolor": DARK, "zorder": 5}
    if filled:
        style = {"markersize": 10, "markerfacecolor": MARK, "markeredgecolor": "white", "zorder": 6}
    axes.plot(x, y, marker="*", linewidth=0, markeredgewidth=0.7, label=label, clip_on=False, **style)


def _draw(axes, line: Line, measure: Measure) -> None:
    """The seeds as faint dots, stopped runs hollow, the means on top, joined."""
    for s in line.group.settings:
        seeds = [(measure(r), rate(r)) for r in s.done if measure(r) is not None and len(s.done) > 1]
        stopped = [(measure(r), rate(r)) for r in s.runs if r["status"] == "stopped"]
        stopped = [p for p in stopped if None not in p]
        style = {"color": line.color, "alpha": 0.35, "markersize": 2.5, "markeredgewidth": 0, "zorder": 3}
        axes.plot(*np.array(seeds).reshape(-1, 2).T, marker=line.marker, linewidth=0, **style)
        style = {"markerfacecolor": "none", "markeredgecolor": line.color, "markeredgewidth": 0.5, "alpha": 0.6}
        axes.plot(
            *np.array(stopped).reshape(-1, 2).T, marker=line.marker, markersize=3.5, linewidth=0, zorder=2, **style
        )
    style = {"color": line.color, "marker": line.marker, "markersize": 4, "markeredgecolor": "white"}
    label = label_of(line.group.name) or ("sweep" if line.joined else "settings")
    points = line.means(measure).T
    axes.plot(*points, linewidth=1.0 if line.joined else 0, markeredgewidth=0.4, zorder=4, label=label, **style)


def _set_view(axes, rows: Sequence[Row], measure: Measure, more) -> None:
    """Limits by the runs and the points ``more`` of the theory, without the few that lie far off."""
    kept = [r for r in rows if r["status"] != "diverged" and measure(r) is not None and rate(r) is not None]
    ordinary = [is_collapsed(r) for r in kept]
    xs = near([measure(r) for r in kept], ordinary) + [p[0] for p in more]
    ys = near([rate(r) for r in kept], ordinary) + [p[1] for p in more]
    low, high = min(xs, default=0.0), max(xs, default=1.0)
    if measure is rms and low > 0 and high > 20 * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.2, high * 1.2)
    else:
        pad = max(0.08 * (high - low), (0.01 if measure is rms else 0.005) * abs(high), 1e-6)
        axes.set_xlim(low - pad, high + pad)
    top = max([1.0, *ys])
    axes.set_ylim(-0.04 * top, 1.08 * top)


def _write_values(free, line: Line, measure: Measure, marked) -> None:
    """A few values of the flag beside their points: the ends and the marked one first, then the roundest."""
    flag, shown = line.group.along, [s for s in line.group.living if np.isfinite(s.mean(measure))]
    if not line.valued or len(shown) < 2:
        return
    special = [0, len(shown) - 1] + [i for i, s in enumerate(shown) if marked and s == marked[0]]
    order = dict.fromkeys([*special, *sorted(range(len(shown)), key=lambda i: (_digits(at(shown[i], flag)), i))])
    given: list[np.ndarray] = []
    for s in (shown[i] for i in order):
        point, value = (s.mean(measure), s.mean(rate)), at(s, flag)
        here = free.axes.transData.transform(point)
        if len(given) == _MOST_VALUES or any(np.hypot(*(here - other)) < _APART for other in given):
            continue
        text = label_of(setting(value), 20)
        if isinstance(value, float):
            text = number(value, 2) if flag == "water_level" else f"{value:.3g}"
        text = f"{SYMBOLS[flag]} = {text}" if not given and flag in SYMBOLS else text
        if beside(free, point, text, fontsize=7, color=line.color):
            given.append(here)


def _digits(value) -> int:
    """Tells how many digits a number needs but for its zeros: 1 for 0.01 and 300, 2 for 1.5; 1 is the roundest."""
    if not isinstance(value, int | float) or value == 0:
        return 0
    mantissa = f"{value:.6e}".split("e")[0].rstrip("0").replace(".", "")
    return len(mantissa) + (mantissa != "1")


def _draw_diagonals(free, rows: Sequence[Row]) -> None:
    """Lines of equal ELBO = -(rate + distortion): one through the best setting, the others at round numbers."""
    axes, best = free.axes, max(s.mean(elbo) for s in settings(rows) if s.done)
    x1, (y0, y1) = axes.get_xlim()[1], axes.get_ylim()
    for value in levels(best, -(x1 + y1)):
        top = value == best
        ends = np.array([(-value - y0, y0), (-value - y1, y1)])
        style = {"color": FAINT, "linewidth": 0.8 if top else 0.5, "zorder": 0}
        axes.plot(*ends.T, scalex=False, scaley=False, linestyle="--" if top else ":", **style)
        text = f"{value:.1f}" if top else f"{value:.0f}" if abs(value) >= 10 else f"{value:.3g}"
        text = ("ELBO = " if top else "") + text.replace("-", "−")
        label_along(free, ends, text, side=-5.0 if top else 4.5, fontsize=7, color=DARK)


def levels(best: float, worst: float, count: int = 6) -> list[float]:
    """``best`` and about ``count`` round numbers below it, down to ``worst``; none so near to it that they touch."""
    span = best - worst
    if not span > 0:
        return [best]
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= span / count)
    first = math.floor((best - 0.4 * step) / step)
    return [best] + [k * step for k in range(first, math.ceil(worst / step) - 1, -1) if k * step > worst]


def _caption(lines, marked, theory, gaussian, rows) -> str:
    line = lines[0]
    what = {"beta": "beta", "water_level": "the water level s = beta sigma^2"}.get(
        line.group.along, f"--{line.group.along}"
    )
    marks = f"A line joins the means over seeds along {what}" if line.joined else "A mark is the mean of a setting"
    marks += f" of {what}" if line.valued and not line.joined else ""
    marks += ", which some numbers give" if line.valued and len(line.group.living) > 1 else ""
    parts = [
        "The rate-distortion frontier of the sweep: (a) rate against distortion on the test split, nats per example"
        + (", at the sigma of the training error, so that runs of any sigma compare" if gaussian else "")
        + "; the straight lines have equal ELBO at beta = 1, and the dashed one runs through the best setting.",
        "(b) Rate against the error of one dimension.",
        f"{marks}; faint dots are single seeds, hollow ones runs that were stopped early.",
    ]
    if any_far(done(rows)):
        parts.append("Runs that lie far off may be outside.")
    if marked:
        parts.append(f"The star: {marked[1]}.")
    if theory:
        where = "Grey" if gaussian else "Grey in (b)"
        parts.append(f"{where}: the least rate of a linear Gaussian model (reverse water-filling) of the same data.")
    return " ".join(parts)
