"""The figure of a sweep's frontier: rate against distortion and against error, beta along the line."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vae_jax.report.figure import FAINT, MARK, Figure, draw, label_of, legend_above, letters
from vae_jax.report.formatting import nats, number, setting
from vae_jax.report.label_placement import beside, room
from vae_jax.report.reading.finding import is_collapsed
from vae_jax.report.sweep.goal import goal_of
from vae_jax.report.sweep.grouping import Setting, Sweep
from vae_jax.report.sweep.linear_theory import gaussian_distortion
from vae_jax.report.sweep.lines import DARK, Line, any_far, lines_of, near
from vae_jax.report.sweep.recommendation import best

LEARNED = ("learned", "optimal", "per_dimension", "predicted")
KEYS = ("common_distortion", "rms")  # the x axes of the two panels
_SYMBOLS = {"beta": "β", "sigma": "σ", "water_level": "s"}
_MOST_VALUES = 7  # along a line
_APART = 14.0  # pixels between points that have values


class Theory(NamedTuple):
    """A linear Gaussian frontier in one panel: its points ``[n, 2]`` and its calibrated point, None where not shown."""

    label: str
    points: np.ndarray
    calibrated: tuple[float, float] | None


def calibrated(sweep: Sweep) -> tuple[Setting, str] | None:
    """Returns the setting to be marked, and in which words.

    The best one for the goal where that is not the ELBO. Otherwise the nearest to beta = 1, and within a factor of 2 of
    it, where a Gaussian's sigma was not fixed: the noise is then the error made; else the one with the best ELBO.
    """
    goal, top = goal_of(sweep), best(sweep)
    if top is None:
        return None
    if goal.name != "elbo":
        return top.setting, f"best {goal.head}" if goal.target is None else f"nearest to {nats(goal.target)}"

    def distance(s: Setting) -> float:
        return round(abs(math.log(max(s.at("beta") or 0.0, 1e-12))), 6)

    def follows(row) -> bool:
        return row.get("calibrated_elbo") is not None and row.get("precision") in LEARNED

    same = [s for s in sweep.settings if s.done and s.method == top.setting.method and follows(s.done[0])]
    near_one = [s for s in same if distance(s) <= round(math.log(2.0), 6)]
    if not near_one:
        return top.setting, "best ELBO"
    nearest = min(near_one, key=lambda s: (distance(s), -s.mean("common_elbo")))
    return nearest, f"calibrated, β = {nearest.at('beta'):.3g}"


def frontier(sweep: Sweep) -> Figure:
    """Draws rate against distortion, with diagonals of equal ELBO, and against RMS error; the linear theory in both."""
    if not sweep.done:
        caption = "The frontier: not drawn, because no run came to its end with finite numbers."
        return Figure("frontier.png", caption, None)
    lines, marked = lines_of(sweep.groups(levels=True)), calibrated(sweep)
    keys = [key for key in KEYS if key != "rms" or any(row[key] is not None for row in sweep.done)]
    top = max(s.mean("common_elbo") for s in sweep.settings if s.done)

    def paint(figure):
        panels = figure.subplots(1, len(keys), sharey=True, squeeze=False)[0]
        for axes, key in zip(panels, keys):
            for line in lines:
                _draw(axes, line, key)
            if marked:
                _star(axes, marked[0].mean(key), marked[0].mean("rate"), marked[1], filled=True)
            theory = _theory(sweep, key)
            for entry, style in zip(theory, ("-", "--", ":", "-.") * len(theory)):
                axes.plot(*entry.points.T, style, color=FAINT, zorder=1, gid="reference", label=entry.label)
                if entry.calibrated:
                    _star(axes, *entry.calibrated, "calibrated, linear theory", filled=False)
            _set_view(axes, sweep, key, [entry.calibrated for entry in theory if entry.calibrated])
        panels[0].set_xlabel("distortion at the recalibrated σ (nats)" if sweep.gaussian else "distortion (nats)")
        panels[0].set_ylabel("rate (nats)")
        if len(panels) > 1:
            panels[1].set_xlabel("RMS error per dimension")
        levels = _elbo_axis(panels[0], top)
        letters(panels)
        legend_above(figure, panels)
        longest = max(lines, key=lambda line: np.ptp([0.0, *(s.mean("rate") for s in line.group.having("rate"))]))
        figure.draw_without_rendering()
        for axes, key in zip(panels, keys):
            _write_values(room(axes), longest, key, marked)
        # Drawn last, as they take no room: a value may stand on one of them.
        for level, style in [*((level, ":") for level in levels), (top, "--")]:
            width = 0.8 if level == top else 0.5
            panels[0].axline((-level, 0.0), slope=-1.0, color=FAINT, linestyle=style, linewidth=width, zorder=0)

    return Figure("frontier.png", _caption(sweep, lines, marked, top, len(keys) > 1), draw(paint, height=3.6))


def _theory(sweep: Sweep, key: str) -> list[Theory]:
    """Returns the linear frontiers, one for each number of latents; in nats only where the runs are Gaussian too."""
    if key != "rms" and not (sweep.gaussian and sweep.done[0].get("data_dim")):
        return []
    # Of several entries with the same latents the first counts.
    entries = {e.get("latent_dim"): e for e in reversed(sweep.summary.get("reference") or []) if e.get("frontier")}

    def place(errors):
        return np.asarray(errors, float) if key == "rms" else gaussian_distortion(errors, sweep.done[0]["data_dim"])

    theory = []
    for latents, entry in reversed(entries.items()):
        label = "linear theory" + (f", {latents} latents" if len(entries) > 1 and latents else "")
        optimum = entry.get("calibrated") if sweep.gaussian else None
        points = np.stack([place(entry["frontier"]["rms"]), np.asarray(entry["frontier"]["rate"], float)], axis=1)
        theory.append(Theory(label, points, (float(place(optimum["rms"])), optimum["rate"]) if optimum else None))
    return theory


def _star(axes, x, y, label, filled) -> None:
    style = {"markersize": 8, "markerfacecolor": "white", "markeredgecolor": DARK, "zorder": 5}
    if filled:
        style = {"markersize": 10, "markerfacecolor": MARK, "markeredgecolor": "white", "zorder": 6}
    axes.plot(x, y, marker="*", linewidth=0, markeredgewidth=0.7, label=label, clip_on=False, **style)


def _draw(axes, line: Line, key: str) -> None:
    """Draws the seeds as faint dots, stopped runs hollow, the means on top, joined."""
    several = [row for s in line.group.settings if len(s.done) > 1 for row in s.done]
    stopped = [row for s in line.group.settings for row in s.runs if row["status"] == "stopped"]
    faint = {"alpha": 0.35, "markersize": 2.5, "markeredgewidth": 0, "zorder": 3}
    hollow = {"alpha": 0.6, "markersize": 3.5, "markeredgewidth": 0.5, "zorder": 2, "markerfacecolor": "none"}
    for rows, style in ((several, faint), (stopped, hollow)):
        points = [(row[key], row.get("rate")) for row in rows if None not in (row[key], row.get("rate"))]
        axes.plot(*np.array(points).reshape(-1, 2).T, line.marker, color=line.color, **style)
    style = {"color": line.color, "marker": line.marker, "markersize": 4, "markeredgecolor": "white"}
    label = label_of(line.group.name) or ("sweep" if line.joined else "settings")
    points = np.array([(s.mean(key), s.mean("rate")) for s in line.group.having(key)]).reshape(-1, 2)
    axes.plot(*points.T, linewidth=1.0 if line.joined else 0, markeredgewidth=0.4, zorder=4, label=label, **style)


def _set_view(axes, sweep: Sweep, key: str, more) -> None:
    """Sets the limits by the runs and the points ``more`` of the theory, without the few that lie far off."""
    shown = [r for r in sweep.rows if r["status"] != "diverged" and None not in (r[key], r.get("rate"))]
    ordinary = [is_collapsed(r) for r in shown]
    xs = near([r[key] for r in shown], ordinary) + [p[0] for p in more]
    ys = near([r["rate"] for r in shown], ordinary) + [p[1] for p in more]
    low, high = min(xs, default=0.0), max(xs, default=1.0)
    if key == "rms" and low > 0 and high > 20 * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.2, high * 1.2)
    else:
        pad = max(0.08 * (high - low), (0.01 if key == "rms" else 0.005) * abs(high), 1e-6)
        axes.set_xlim(low - pad, high + pad)
    top = max([1.0, *ys])
    axes.set_ylim(-0.04 * top, 1.08 * top)


def _write_values(free, line: Line, key: str, marked) -> None:
    """Writes a few values of the flag beside their points: the ends and the marked one first, then the roundest."""
    flag, shown = line.group.along, line.group.having(key)
    if not line.valued or len(shown) < 2:
        return
    special = [0, len(shown) - 1] + [i for i, s in enumerate(shown) if marked and s == marked[0]]
    order = dict.fromkeys([*special, *sorted(range(len(shown)), key=lambda i: (_digits(shown[i].at(flag)), i))])
    given: list[np.ndarray] = []
    for s in (shown[i] for i in order):
        point, value = (s.mean(key), s.mean("rate")), s.at(flag)
        here = free.axes.transData.transform(point)
        if len(given) == _MOST_VALUES or any(np.hypot(*(here - other)) < _APART for other in given):
            continue
        text = label_of(setting(value), 20)
        if isinstance(value, float):
            text = number(value, 2) if flag == "water_level" else f"{value:.3g}"
        text = f"{_SYMBOLS[flag]} = {text}" if not given and flag in _SYMBOLS else text
        if beside(free, point, text, fontsize=7, color=line.color):
            given.append(here)


def _digits(value) -> int:
    """Tells how many digits a number needs but for its zeros: 1 for 0.01 and 300, 2 for 1.5; 1 is the roundest."""
    if not isinstance(value, int | float) or value == 0:
        return 0
    mantissa = f"{value:.6e}".split("e")[0].rstrip("0").replace(".", "")
    return len(mantissa) + (mantissa != "1")


def _elbo_axis(axes, top: float) -> list[float]:
    """Adds an axis of the ELBO = -(rate + distortion) above a panel; returns its ticks below ``top``, the best."""
    from matplotlib.ticker import MaxNLocator

    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    above = axes.secondary_xaxis("top", functions=(lambda x: -x - y1, lambda elbo: -elbo - y1))
    above.spines["top"].set_visible(True)
    above.tick_params(labelsize=7, pad=1)
    above.set_xlabel("ELBO (nats)", labelpad=4, fontsize=8)
    # Ticks of the whole width, not of what is below the best: their numbers would run into each other.
    ticks = [tick for tick in MaxNLocator(6).tick_values(-x1 - y1, -x0 - y0) if tick < top]
    written = [tick for tick in ticks if -x1 - y1 < tick < -x0 - y1]
    above.set_xticks(written)
    above.set_visible(bool(written))  # a narrow panel may have none, and an axis without numbers says nothing
    return ticks


def _caption(sweep: Sweep, lines, marked, top: float, errors: bool) -> str:
    line = lines[0]
    what = {"beta": "beta", "water_level": "the water level s = beta sigma^2"}.get(
        line.group.along, f"--{line.group.along}"
    )
    marks = f"A line joins the means over seeds along {what}" if line.joined else "A mark is the mean of a setting"
    marks += f" of {what}" if line.valued and not line.joined else ""
    marks += ", which some numbers give" if line.valued and len(line.group.living) > 1 else ""
    parts = [
        f"The rate-distortion frontier of the sweep: {'(a) ' * errors}rate against distortion on the test split, nats "
        + "per example"
        + (", at the sigma of the training error, so that runs of any sigma compare" if sweep.gaussian else "")
        + f"; the straight lines have equal ELBO at beta = 1, the dashed one that of the best setting, {nats(top)}.",
        *["(b) Rate against the error of one dimension."] * errors,
        f"{marks}; faint dots are single seeds, hollow ones runs that were stopped early.",
    ]
    if any_far(sweep.done):
        parts.append("Runs that lie far off may be outside.")
    if marked:
        parts.append(f"The star: {marked[1]}.")
    if errors and any(entry.get("frontier") for entry in sweep.summary.get("reference") or []):
        where = "Grey" if sweep.gaussian else "Grey in (b)"
        parts.append(f"{where}: the least rate of a linear Gaussian model (reverse water-filling) of the same data.")
    return " ".join(parts)
