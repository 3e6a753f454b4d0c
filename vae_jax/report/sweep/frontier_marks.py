"""What the panels of the frontier show beside its lines: their limits, values along them, diagonals of equal ELBO."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vae_jax.report.finding import is_collapsed
from vae_jax.report.formatting import number, setting
from vae_jax.report.style import FAINT, label_of
from vae_jax.report.sweep import labelling
from vae_jax.report.sweep.lines import DARK, Line
from vae_jax.report.sweep.loading import Row
from vae_jax.report.sweep.settings import SYMBOLS, Measure, at, distortion, elbo, rate, rms, settings

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
