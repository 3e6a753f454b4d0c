"""The figure of what a sweep's flag does: active units, rate, distortion, ELBO and disentanglement along it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax.report.figure import MARK, Figure, draw, label_of
from vae_jax.report.reading.finding import is_collapsed
from vae_jax.report.sweep.analysis import gaussian_distortion, predicted_collapse, reference
from vae_jax.report.sweep.frontier_figure import DARK, LOOKS, Line, any_far, columns, lines_of, near
from vae_jax.report.sweep.grouping import (
    Group,
    Measure,
    Setting,
    along,
    at,
    distortion,
    done,
    elbo,
    key_measure,
    rate,
    score,
)
from vae_jax.report.sweep.sweep_files import Row

SCORES = {"mig": "MIG", "beta_vae": "BetaVAE", "factor_vae": "FactorVAE", "dci_disentanglement": "DCI"}


class Panel(NamedTuple):
    """One panel: its ``label``, and for each line of it a measure with a name ("" where the group names it)."""

    label: str
    measures: dict[str, Measure]


def beta_profile(rows: Sequence[Row], summary: dict[str, Any]) -> Figure:
    """Means over seeds with their spread, against beta_norm, or against the flag that was swept where beta was not."""
    name, finished = "beta_profile.png", done(rows)
    if not finished:
        return Figure(name, "The profile: not drawn, because no run came to its end with finite numbers.", None)
    flag = along(rows)
    lines = lines_of(rows, flag)
    axis = Axis.of(flag, lines, finished)
    panels = _panels(finished, len(lines))
    gaussian = all(row.get("calibrated_elbo") is not None for row in finished)

    def paint(figure):
        grid = figure.subplots(math.ceil(len(panels) / 2), 2, sharex=True).ravel()
        closing = {line.group.name: _closing(line, axis, summary) for line in lines}
        for i, (axes, panel) in enumerate(zip(grid, panels)):
            _lines(axes, panel, lines, axis)
            axis.apply(axes, [x for x in closing.values() if x])
            _theory(axes, i, lines, axis, summary, gaussian, closing)
            axes.set_ylabel(panel.label)
            axes.set_title(f"({'abcdefgh'[i]})", loc="left")
            _heights(axes, i, finished)
            if i in (1, 2, 3):
                _leave_out(axes, panel.measures[""], lines, -1.0 if i == 3 else 1.0)
        _bottom(grid, len(panels), axis)
        if axis.betas is not None:
            for axes in grid[:2]:
                beta_on_top(axes, axis)
        _legends(figure, grid, panels, lines)

    height = 0.7 + 1.75 * math.ceil(len(panels) / 2)
    return Figure(name, _caption(axis, lines, panels, gaussian, rows), draw(paint, height=height))


def _panels(rows: Sequence[Row], groups: int) -> list[Panel]:
    panels = [
        Panel("active units", {"": key_measure("active_units")}),
        Panel("rate (nats)", {"": rate}),
        Panel("distortion (nats)", {"": distortion}),
        Panel("ELBO (nats)", {"": elbo}),
    ]
    found = {k: v for k, v in SCORES.items() if any(score(k)(row) is not None for row in rows)}
    if groups == 1 and found:
        return [*panels, Panel("disentanglement", {word: score(k) for k, word in found.items()})]
    return panels + [Panel(word, {"": score(k)}) for k, word in found.items()]


def _lines(axes, panel: Panel, lines: Sequence[Line], axis: Axis):
    for line in lines:
        for i, (word, measure) in enumerate(panel.measures.items()):
            color, marker = LOOKS[i] if word else (line.color, line.marker)
            _line(axes, line.group, measure, axis, color, marker, word or label_of(line.group.name), line.valued)


def _line(axes, group: Group, measure: Measure, axis: Axis, color, marker, label, joined):
    """Means with a band (bars where they are not joined) of one standard deviation over seeds."""
    shown = [s for s in group.living if math.isfinite(s.mean(measure))]
    if not shown:
        return
    x = np.array([axis.place(s) for s in shown])
    mean = np.array([s.mean(measure) for s in shown])
    spread = np.array([s.spread(measure) or 0.0 for s in shown])
    joined = joined and not axis.words
    style = {"color": color, "marker": marker, "markersize": 3.5, "markeredgecolor": "white", "markeredgewidth": 0.3}
    if joined and len(shown) > 1:
        axes.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)
        axes.plot(x, mean, label=label, zorder=3, **style)
    else:
        axes.errorbar(x, mean, spread, linewidth=0, elinewidth=0.8, label=label, zorder=3, **style)


def _closing(line: Line, axis: Axis, summary) -> float | None:
    """Where on the axis the linear theory closes the last latent; None where it does not say, or for a cloud."""
    rows = done(line.group.rows)
    if not line.valued or axis.flag not in ("beta_norm", "sigma"):
        return None
    flag = "sigma" if axis.flag == "sigma" else "beta"
    found = predicted_collapse(summary.get("reference") or [], rows, flag)
    if found and flag == "beta":
        return found * rows[0]["latent_dim"] / rows[0]["data_dim"] if rows[0].get("data_dim") else None
    return found


def _theory(axes, index: int, lines: Sequence[Line], axis: Axis, summary, gaussian: bool, closing):
    """The predicted collapse, and in the first panels what the linear theory says at each weight."""
    entries, several = summary.get("reference") or [], len(lines) > 1
    for line in lines:
        color, rows = line.color if several else DARK, done(line.group.rows)
        shown = line.group.living
        if closing[line.group.name] and axes.get_xlim()[0] < closing[line.group.name] < axes.get_xlim()[1]:
            style = {"linewidth": 0.8, "linestyle": ":", "zorder": 1, "label": "predicted collapse"}
            axes.axvline(closing[line.group.name], color=color if several else MARK, **style)
        active = [(axis.place(s), s.mean(key_measure("predicted_active"))) for s in shown]
        active = [p for p in active if math.isfinite(p[1])]
        if index == 0 and line.valued and len(active) > 1 and not axis.words:
            style = {"linewidth": 0.8, "linestyle": "--", "zorder": 2, "label": "linear theory"}
            axes.plot(*np.array(active).T, color=color, scalex=False, **style)
        if index in (1, 2, 3) and gaussian and rows and axis.flag == "beta_norm" and line.valued and len(shown) > 1:
            _theory_line(axes, index, reference(entries, rows[0]), rows[0], color)


def _theory_line(axes, index: int, entry, row: Row, color):
    """Rate, distortion or ELBO of the linear theory along beta_norm, where sigma says which beta is at a level."""
    if not entry or not entry.get("frontier") or not row.get("beta_norm") or not row.get("beta"):
        return
    level, nats, error = (np.asarray(entry["frontier"][k], float) for k in ("water_level", "rate", "rms"))
    fixed = row.get("precision") == "fixed"
    if fixed and not row.get("sigma"):
        return
    beta = level / (row["sigma"] ** 2 if fixed else error**2)
    left = gaussian_distortion(error, row["data_dim"])
    y = (nats, left, -(nats + left))[index - 1]
    low, high = axes.get_xlim()
    x = beta * row["beta_norm"] / row["beta"]
    x, y = np.append(x, max(high, x[-1])), np.append(y, y[-1])  # collapsed, as for every larger weight
    inside = (x >= low) & (x <= high)
    style = {"linewidth": 0.8, "linestyle": "--", "zorder": 2, "label": "linear theory"}
    axes.plot(x[inside], y[inside], color=color, scalex=False, **style)


def _heights(axes, index: int, rows: Sequence[Row]):
    if index == 0:
        most = max([r.get("latent_dim") or 1 for r in rows])
        axes.set_ylim(-0.05 * most, 1.08 * most)
        axes.yaxis.get_major_locator().set_params(integer=True)
    elif index == 1:
        top = max(1.0, axes.dataLim.y1)
        axes.set_ylim(-0.05 * top, 1.08 * top)
    elif index >= 4:
        axes.set_ylim(-0.03, 1.03)


def _leave_out(axes, measure: Measure, lines: Sequence[Line], sign: float) -> None:
    """Lets the axis end before the few means that lie far off, where there are any."""
    shown = [s for line in lines for s in line.group.living if math.isfinite(s.mean(measure))]
    values = [sign * s.mean(measure) for s in shown]
    kept = near(values, [all(is_collapsed(row) for row in s.done) for s in shown])
    if len(kept) == len(values):
        return
    low, high = min(kept), max(kept)
    ends = (low - 0.1 * (high - low), high + 0.1 * (high - low))
    axes.set_ylim(sorted(sign * end for end in ends))


def _bottom(grid, count: int, axis: Axis):
    for axes in grid[count:]:
        axes.set_axis_off()
    for i in range(count):
        if i + 2 >= count:
            grid[i].set_xlabel(axis.label)
            grid[i].tick_params(labelbottom=True)


def _legends(figure, grid, panels: Sequence[Panel], lines: Sequence[Line]):
    """One legend above for groups and theory; the scores' own inside their panel, or in the empty place beside it."""
    handles: dict[str, Any] = {}
    for axes in grid[:4]:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            if label:
                handles.setdefault(label, handle)
    if handles:
        style = {"loc": "outside upper center", "columnspacing": 1.4}
        figure.legend(handles.values(), handles.keys(), ncols=columns(list(handles)), **style)
    if len(panels) == 5 and len(panels[4].measures) > 0 and len(lines) == 1:
        own = {label: h for h, label in zip(*grid[4].get_legend_handles_labels()) if label in SCORES.values()}
        grid[5].legend(own.values(), own.keys(), loc="center left", title="scores", alignment="left")


def _caption(axis: Axis, lines, panels, gaussian, rows) -> str:
    several = any(len(s.done) > 1 for line in lines for s in line.group.settings)
    what = "beta_norm = beta M / D" if axis.flag == "beta_norm" else f"--{axis.flag}, as beta does not vary"
    text = f"The sweep along {what}: " + ", ".join(
        f"({letter}) {p.label.replace(' (nats)', '')}" for letter, p in zip("abcdefgh", panels)
    )
    text += (
        "; nats per example on the test split, at beta = 1" + (" and the recalibrated sigma" if gaussian else "") + "."
    )
    text += " Means over seeds, bands or bars one standard deviation." if several else ""
    text += " A mark is a setting; too many flags differ to join them." if not lines[0].valued else ""
    text += " The few values that lie far off may be outside." if any_far(done(rows)) else ""
    if any(r.get("predicted_active") is not None for r in rows) and lines[0].valued and not axis.words:
        text += " Dashed: what the linear theory predicts"
        text += "; dotted: where it closes the last latent." if axis.flag in ("beta_norm", "sigma") else "."
    return text


class Axis(NamedTuple):
    """The x axis: the flag, its label, its scale, beta / beta_norm where that is one number, words for places."""

    flag: str
    label: str
    scale: str
    betas: float | None
    threshold: float
    words: list[str]
    ends: tuple[float, float]

    @classmethod
    def of(cls, flag: str, lines: Sequence[Line], rows: Sequence[Row]) -> Axis:
        """The axis of ``lines`` along ``flag``; ``rows`` are the finished runs."""
        key = "beta_norm" if flag == "beta" else flag
        values = [at(s, key) for line in lines for s in line.group.living]
        if not all(isinstance(v, int | float) for v in values):
            words = list(dict.fromkeys(map(str, values)))
            return cls(key, f"--{label_of(key)}", "categories", None, 1.0, words, (-0.4, len(words) - 0.6))
        positive = [v for v in values if v > 0]
        wide = flag == "beta" or (positive and max(positive) > 10 * min(positive))
        scale = "linear"
        if wide and positive:
            scale = "log" if len(positive) == len(values) else "symlog"
        ratios = {round(r["beta"] / r["beta_norm"], 6) for r in rows if r.get("beta") and r.get("beta_norm")}
        betas = ratios.pop() if flag == "beta" and len(ratios) == 1 and scale == "log" else None
        label = "β normalised, β M / D" if flag == "beta" else f"--{label_of(key)}"
        return cls(key, label, scale, betas, min(positive, default=1.0), [], (min(values), max(values)))

    def limits(self, more: Sequence[float]) -> tuple[float, float]:
        """The ends of the axis, with ``more`` on it where it is not far off, and a margin."""
        low, high = self.ends
        if self.scale == "log":
            more = [x for x in more if low / 30 < x < 30 * high]
            low, high = min([low, *more]), max([high, *more])
            margin = max((high / low) ** 0.06, 1.3)
            return low / margin, high * margin
        if self.scale == "symlog":
            return low - 0.3 * self.threshold, 1.5 * max([high, *(x for x in more if x < 30 * high)])
        margin = 0.06 * (high - low) or 0.5 * max(abs(high), 1.0)
        return low - margin, high + margin

    def apply(self, axes, more: Sequence[float]):
        """Sets the scale, the limits and the ticks of a panel."""
        if self.scale in ("log", "symlog"):
            axes.set_xscale(self.scale, **({"linthresh": self.threshold} if self.scale == "symlog" else {}))
        low, high = self.limits(more)
        axes.set_xlim(low, high)
        if self.words:
            axes.set_xticks(range(len(self.words)), [label_of(word, 60 // len(self.words)) for word in self.words])
        elif self.scale == "log":
            if self.ends[0] == self.ends[1] and not [x for x in more if low < x < high]:
                axes.set_xticks([self.ends[0]], [f"{self.ends[0]:.3g}"])
                axes.minorticks_off()
            else:
                log_ticks(axes.xaxis, high / low)

    def place(self, s: Setting) -> float:
        """Where a setting stands on the axis."""
        value = at(s, self.flag)
        return float(self.words.index(str(value))) if self.words else float(value)


def log_ticks(axis, ratio: float) -> None:
    """Plain numbers on a logarithmic axis: decades, or 1, 2 and 5 of each where it spans few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    few = ratio < 50
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())
    if few:
        axis.set_minor_locator(NullLocator())


def beta_on_top(axes, axis: Axis) -> None:
    """A second axis above the panel, in beta itself."""
    betas = axis.betas
    top = axes.secondary_xaxis("top", functions=(lambda x: x * betas, lambda x: x / betas))
    top.set_xlabel("β", labelpad=2)
    top.spines["top"].set_visible(True)
    top.tick_params(labelsize=7, pad=1)
    low, high = axes.get_xlim()
    if axis.ends[0] == axis.ends[1] and len(axes.get_xticks()) == 1:
        top.set_xlabel("")
        top.set_xticks([axis.ends[0] * betas], [f"β = {axis.ends[0] * betas:.3g}"])
        top.minorticks_off()
    else:
        log_ticks(top.xaxis, high / low)
