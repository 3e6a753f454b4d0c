"""The figure of a sweep's frontier: rate against distortion and against error, beta along the line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax.report import label_placement as labelling
from vae_jax.report.figure import FAINT, MARK, Figure, draw, label_of
from vae_jax.report.formatting import number, setting
from vae_jax.report.reading.finding import is_collapsed
from vae_jax.report.sweep import analysis
from vae_jax.report.sweep.analysis import gaussian_distortion
from vae_jax.report.sweep.grouping import (
    SYMBOLS,
    Group,
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
from vae_jax.report.sweep.sweep_files import Row

LEARNED = ("learned", "optimal", "per_dimension", "predicted")


def calibrated(rows: Sequence[Row]) -> tuple[Setting, str] | None:
    """The setting to be marked, and in which words.

    Nearest to beta = 1, and within a factor of 2 of it, where a Gaussian's sigma was not fixed: the noise is then the
    error made. Otherwise the one with the best ELBO.
    """
    best = analysis.best(rows)
    if best is None:
        return None
    near = [
        s
        for g in groups(rows)
        for s in g.living
        if s.method == best.setting.method
        and s.done[0].get("calibrated_elbo") is not None
        and s.done[0].get("precision") in LEARNED
        and abs(math.log(max(at(s, "beta") or 0.0, 1e-12))) <= math.log(2.0)
    ]
    if not near:
        return best.setting, "best ELBO"
    found = min(near, key=lambda s: (round(abs(math.log(at(s, "beta"))), 6), -s.mean(elbo)))
    return found, f"calibrated, β = {at(found, 'beta'):.3g}"


def frontier(rows: Sequence[Row], summary: dict[str, Any]) -> Figure:
    """Rate against distortion, with the diagonals of equal ELBO; rate against RMS error; the linear theory in both."""
    name, finished = "frontier.png", done(rows)
    if not finished:
        return Figure(name, "The frontier: not drawn, because no run came to its end with finite numbers.", None)
    flag = along(rows, numeric=True)
    lines = lines_of(rows, flag, levels=True)
    gaussian = all(row.get("calibrated_elbo") is not None for row in finished)
    marked, dim = calibrated(rows), finished[0].get("data_dim")
    theory = [e for e in summary.get("reference") or [] if e.get("frontier")]
    theory = list({e.get("latent_dim"): e for e in reversed(theory)}.values())[::-1]

    def paint(figure):
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, measure in ((left, distortion), (right, rms)):
            _references(axes, theory, measure, dim, gaussian)
            for line in lines:
                _draw(axes, line, measure)
            if marked:
                _star(axes, marked[0].mean(measure), marked[0].mean(rate), marked[1], filled=True)
            set_view(axes, rows, measure, [_theory_point(e, measure, dim) for e in theory if gaussian])
        left.set_xlabel("distortion at the recalibrated σ (nats)" if gaussian else "distortion (nats)")
        left.set_ylabel("rate (nats)")
        right.set_xlabel("RMS error per dimension")
        for axes, letter in ((left, "a"), (right, "b")):
            axes.set_title(f"({letter})", loc="left")
        _legend(figure, (left, right))
        for axes, measure in ((left, distortion), (right, rms)):
            taken = _drawn(lines, measure) + _stars(marked, theory, measure, dim, gaussian)
            taken += [line.get_xydata() for line in axes.get_lines() if line.get_gid() == "reference"]
            room = labelling.room(axes, taken)
            values(room, max(lines, key=lambda line: np.ptp([0.0, *means(line, rate)[:, 1]])), measure, marked)
            if axes is left:
                diagonals(room, finished)

    return Figure(name, _caption(lines, marked, bool(theory), gaussian, rows), draw(paint, height=3.5))


def _theory_x(values, measure: Measure, dim):
    return np.asarray(values, float) if measure is rms else gaussian_distortion(values, dim)


def _theory_point(entry, measure: Measure, dim):
    point = entry.get("calibrated")
    return (float(_theory_x(point["rms"], measure, dim)), point["rate"]) if point else None


def _references(axes, theory, measure: Measure, dim, gaussian):
    """The linear-Gaussian frontiers; in the plane of nats only where the runs are Gaussian too."""
    if measure is distortion and not gaussian:
        return
    for entry, style in zip(theory, ("-", "--", ":", "-.") * len(theory)):
        f = entry["frontier"]
        which = f", {entry['latent_dim']} latents" if len(theory) > 1 and entry.get("latent_dim") else ""
        label = f"linear theory{which}"
        axes.plot(
            _theory_x(f["rms"], measure, dim),
            f["rate"],
            color=FAINT,
            linestyle=style,
            zorder=1,
            label=label,
            gid="reference",
        )
        point = _theory_point(entry, measure, dim)
        if point and gaussian:
            _star(axes, *point, "calibrated, linear theory", filled=False)


def _star(axes, x, y, label, filled):
    face = MARK if filled else "white"
    edge = "white" if filled else DARK
    style = {"markersize": 10 if filled else 8, "linewidth": 0, "markeredgewidth": 0.7, "zorder": 6 if filled else 5}
    axes.plot(x, y, marker="*", markerfacecolor=face, markeredgecolor=edge, label=label, clip_on=False, **style)


def _draw(axes, line: Line, measure: Measure):
    """The seeds as faint dots, stopped runs hollow, the means on top, joined."""
    for s in line.group.settings:
        if len(s.done) > 1:
            seeds = [(measure(r), rate(r)) for r in s.done if measure(r) is not None]
            style = {"color": line.color, "alpha": 0.35, "markersize": 2.5, "markeredgewidth": 0, "linewidth": 0}
            axes.plot(*np.array(seeds).reshape(-1, 2).T, marker=line.marker, zorder=3, **style)
        cut = [(measure(r), rate(r)) for r in s.runs if r["status"] == "stopped" and _known(r, measure)]
        if cut:
            style = {"markerfacecolor": "none", "markeredgecolor": line.color, "markeredgewidth": 0.5, "alpha": 0.6}
            axes.plot(*np.array(cut).T, marker=line.marker, markersize=3.5, linewidth=0, zorder=2, **style)
    points = means(line, measure)
    style = {"color": line.color, "marker": line.marker, "markersize": 4, "markeredgecolor": "white"}
    label = label_of(line.group.name) or ("sweep" if line.joined else "settings")
    axes.plot(*points.T, linewidth=1.0 if line.joined else 0, markeredgewidth=0.4, zorder=4, label=label, **style)


def _known(row: Row, measure: Measure) -> bool:
    return measure(row) is not None and rate(row) is not None


def _drawn(lines: Sequence[Line], measure: Measure) -> list[np.ndarray]:
    """All that a label must not cover; points that are not joined one by one."""
    return [part for line in lines for part in _pieces(line, measure)]


def _pieces(line: Line, measure: Measure) -> list[np.ndarray]:
    points = means(line, measure)
    seeds = [(measure(r), rate(r)) for r in line.group.rows if r["status"] != "diverged" and _known(r, measure)]
    return ([points] if line.joined else []) + [np.array([p]) for p in (*points, *seeds)]


def _stars(marked, theory, measure: Measure, dim, gaussian) -> list[np.ndarray]:
    points = [(marked[0].mean(measure), marked[0].mean(rate))] if marked else []
    points += [p for p in (_theory_point(e, measure, dim) for e in theory if gaussian) if p]
    return [np.array([p]) for p in points if np.isfinite(p).all()]


def _legend(figure, panels):
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    order = sorted(handles, key=lambda label: ("linear theory" in label, label.startswith(("calibrated", "best"))))
    style = {"loc": "outside upper center", "columnspacing": 1.4}
    figure.legend([handles[k] for k in order], order, ncols=columns(order), **style)


def _caption(lines, marked, theory, gaussian, rows) -> str:
    along_ = lines[0].group.along
    what = {"beta": "beta", "water_level": "the water level s = beta sigma^2"}.get(along_, f"--{along_}")
    text = "The rate-distortion frontier of the sweep: (a) rate against distortion on the test split, nats per example"
    text += ", at the sigma of the training error, so that runs of any sigma compare" if gaussian else ""
    text += "; the straight lines have equal ELBO at beta = 1, and the dashed one runs through the best setting. "
    text += "(b) Rate against the error of one dimension. "
    text += f"A line joins the means over seeds along {what}" if lines[0].joined else "A mark is the mean of a setting"
    text += "" if lines[0].joined or not lines[0].valued else f" of {what}"
    several = any(len(s.done) > 1 for line in lines for s in line.group.settings)
    text += ", which some numbers give" if lines[0].valued and len(lines[0].group.living) > 1 else ""
    text += "; faint dots are single seeds" if several else ""
    text += "; hollow ones are runs that were stopped early" if any(r["status"] == "stopped" for r in rows) else ""
    text += "."
    text += " Runs that lie far off may be outside." if any_far(done(rows)) else ""
    if marked:
        text += f" The star: {marked[1]}."
    if theory:
        where = "Grey" if gaussian else "Grey in (b)"
        text += (
            f" {where}: the least rate of a linear Gaussian model (reverse water-filling), from the data's covariance."
        )
    return text


SHOWN = 7  # values along a line
APART = 14.0  # pixels between points that have values
_FAR = 5.0  # a few points further off than so many times the range of the others do not set the axes


def set_view(axes, rows: Sequence[Row], measure: Measure, extra):
    """Limits by the runs and the theory's points, without the few that lie far off."""
    kept = [r for r in rows if r["status"] != "diverged" and measure(r) is not None and rate(r) is not None]
    xs = near([measure(r) for r in kept], [is_collapsed(r) for r in kept]) + [p[0] for p in extra if p]
    ys = near([rate(r) for r in kept], [is_collapsed(r) for r in kept]) + [p[1] for p in extra if p]
    low, high = min(xs, default=0.0), max(xs, default=1.0)
    if measure is rms and low > 0 and high > 20 * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.2, high * 1.2)
    else:
        pad = max(0.08 * (high - low), (0.01 if measure is rms else 0.005) * abs(high), 1e-6)
        axes.set_xlim(low - pad, high + pad)
    top = max([1.0, *ys])
    axes.set_ylim(-0.04 * top, 1.08 * top)


def near(values: Sequence[float], ordinary: Sequence[bool]) -> list[float]:
    """``values`` without the largest fifth or less of them, where a gap of ``_FAR`` times all the rest is below those.

    Args:
      values: of one quantity.
      ordinary: which of them are no failures wherever they lie (a collapsed code is far from the others and belongs).
    """
    order = np.argsort(values, kind="stable")
    for count in range(1, len(values) // 5 + 1):
        rest, far = order[:-count], order[-count:]
        span = values[rest[-1]] - values[rest[0]]
        if not any(ordinary[i] for i in far) and values[far[0]] - values[rest[-1]] > _FAR * span > 0:
            return [values[i] for i in rest]
    return list(values)


def any_far(rows: Sequence[Row]) -> bool:
    """Whether runs lie so far off in rate, distortion or error that they do not set the axes."""
    ordinary = [is_collapsed(row) for row in rows]
    found = [[m(row) for row in rows] for m in (rate, distortion, rms)]
    return any(None not in column and len(near(column, ordinary)) < len(column) for column in found)


def values(room, line: Line, measure: Measure, marked):
    """A few values of the flag beside their points: the ends and the marked one first, then the roundest."""
    flag, shown = line.group.along, [s for s in line.group.living if np.isfinite(s.mean(measure))]
    if not line.valued or len(shown) < 2:
        return
    spots = [(s.mean(measure), s.mean(rate), at(s, flag)) for s in shown]
    special = [0, len(shown) - 1] + [i for i, s in enumerate(shown) if marked and s == marked[0]]
    rest = sorted(set(range(len(shown))) - set(special), key=lambda i: (_digits(spots[i][2]), i))
    first, left, given = True, SHOWN, []
    for i in [*dict.fromkeys(special), *rest]:
        here = room.axes.transData.transform(spots[i][:2])
        if any(np.hypot(*(here - other)) < APART for other in given):
            continue
        value = spots[i][2]
        text = number(value, 2) if flag == "water_level" else f"{value:.3g}" if isinstance(value, float) else None
        text = text or label_of(setting(value), 20)
        text = f"{SYMBOLS[flag]} = {text}" if first and flag in SYMBOLS else text
        if left and labelling.beside(room, spots[i][:2], text, fontsize=7, color=line.color):
            first, left = False, left - 1
            given.append(here)


def _digits(value) -> int:
    """How many digits a number needs but for its zeros: 1 for 0.01 and 300, 2 for 1.5; 1 is the roundest."""
    if not isinstance(value, int | float) or value == 0:
        return 0
    mantissa = f"{value:.6e}".split("e")[0].rstrip("0").replace(".", "")
    return len(mantissa) + (mantissa != "1")


def diagonals(room, rows: Sequence[Row]):
    """Lines of equal ELBO = -(rate + distortion): one through the best setting, the others at round numbers."""
    axes, best = room.axes, max(s.mean(elbo) for s in settings(rows) if s.done)
    x1, (y0, y1) = axes.get_xlim()[1], axes.get_ylim()
    for level in levels(best, -(x1 + y1)):
        top = level == best
        ends = np.array([(-level - y0, y0), (-level - y1, y1)])
        style = {"color": FAINT, "linewidth": 0.8 if top else 0.5, "zorder": 0}
        axes.plot(*ends.T, scalex=False, scaley=False, linestyle="--" if top else ":", **style)
        text = f"ELBO = {_signed(level, 1)}" if top else _signed(level, 0)
        labelling.along(room, ends, text, side=-5.0 if top else 4.5, fontsize=7, color=DARK)


def levels(best: float, worst: float, count: int = 6) -> list[float]:
    """``best`` and about ``count`` round numbers below it, down to ``worst``; none so near to it that they touch."""
    span = best - worst
    if not span > 0:
        return [best]
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= span / count)
    first = math.floor((best - 0.4 * step) / step)
    return [best] + [k * step for k in range(first, math.ceil(worst / step) - 1, -1) if k * step > worst]


def _signed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}" if abs(value) >= 10 or decimals else f"{value:.3g}"
    return text.replace("-", "−")


# Okabe and Ito's palette without yellow, which is too light for lines, each with a marker of its own.
LOOKS = tuple(zip(("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"), "os^DvPX"))
DARK = "#666666"
# Flags along which a model is pushed over its frontier; along any other, settings are points of the plane and no line.
JOINED = ("beta", "sigma", "water_level", "latent_dim", "target_kl", "target_distortion", "free_nats")


class Line(NamedTuple):
    """A group as it is drawn: its colour, its marker, whether its settings are joined by a line and given values."""

    group: Group
    color: str
    marker: str
    joined: bool
    valued: bool = True


def lines_of(rows: Sequence[Row], flag: str, levels: bool = False) -> list[Line]:
    """Each group with its look; more groups than there are looks become one cloud of settings that are not joined."""
    found = [g for g in groups(rows, flag, levels) if g.living or g.rows]
    if len(found) > len(LOOKS):
        return [Line(Group("", flag, [s for g in found for s in g.settings]), *LOOKS[0], False, False)]
    return [Line(g, *look, g.along in JOINED) for g, look in zip(found, LOOKS)]


def means(line: Line, measure: Measure) -> np.ndarray:
    """``[n, 2]``, over seeds, of the settings with a finished run."""
    found = [(s.mean(measure), s.mean(rate)) for s in line.group.living]
    return np.array([p for p in found if np.isfinite(p).all()]).reshape(-1, 2)


def columns(labels: Sequence[str], room: int = 105) -> int:
    """How many columns a legend of the figure's width may have: as few rows as ``room`` letters allow, and filled."""
    for rows in range(1, len(labels) + 1):
        count = math.ceil(len(labels) / rows)
        widths = [max(len(label) for label in labels[i : i + rows]) + 9 for i in range(0, len(labels), rows)]
        if sum(widths) <= room:
            return count
    return 1
