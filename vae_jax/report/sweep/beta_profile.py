"""The figure of what a sweep's flag does: active units, rate, distortion, ELBO and disentanglement along it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax.report.figure import MARK, Figure, draw, label_of, legend_above, letters
from vae_jax.report.reading.finding import is_collapsed
from vae_jax.report.sweep.grouping import Group, Measure, along, distortion, done, elbo, key_measure, rate, score
from vae_jax.report.sweep.linear_theory import gaussian_distortion, predicted_collapse, reference
from vae_jax.report.sweep.lines import DARK, LOOKS, Line, any_far, lines_of, near
from vae_jax.report.sweep.profile_axis import Axis
from vae_jax.report.sweep.sweep_files import Row

SCORES = {"mig": "MIG", "beta_vae": "BetaVAE", "factor_vae": "FactorVAE", "dci_disentanglement": "DCI"}
_THEORY = {"linewidth": 0.8, "linestyle": "--", "zorder": 2, "label": "linear theory", "scalex": False}


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
    onsets = [_onset(line, axis, summary) for line in lines]

    def paint(figure):
        grid = figure.subplots(math.ceil(len(panels) / 2), 2, sharex=True).ravel()
        for i, (axes, panel) in enumerate(zip(grid, panels)):
            for line in lines:
                for (word, measure), look in zip(panel.measures.items(), LOOKS):
                    color, marker = look if word else (line.color, line.marker)
                    label = word or label_of(line.group.name)
                    _draw(axes, line.group, measure, axis, color, marker, label, line.valued)
            axis.apply(axes, [x for x in onsets if x])
            for line, onset in zip(lines, onsets):
                color = line.color if len(lines) > 1 else DARK
                if onset and axes.get_xlim()[0] < onset < axes.get_xlim()[1]:
                    style = {"linewidth": 0.8, "linestyle": ":", "zorder": 1, "label": "predicted collapse"}
                    axes.axvline(onset, color=line.color if len(lines) > 1 else MARK, **style)
                if line.valued:
                    _draw_theory(axes, i, line, axis, summary, gaussian, color)
            axes.set_ylabel(panel.label)
            _set_height(axes, i, finished)
            if i in (1, 2, 3):
                _leave_out(axes, panel.measures[""], lines, -1.0 if i == 3 else 1.0)
            if i + 2 >= len(panels):
                axes.set_xlabel(axis.label)
                axes.tick_params(labelbottom=True)
        letters(grid[: len(panels)])
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        for axes in grid[: 0 if axis.betas is None else 2]:
            axis.beta_on_top(axes)
        legend_above(figure, grid[:4])
        if len(panels) == 5 and "" not in panels[4].measures:
            own = {label: h for h, label in zip(*grid[4].get_legend_handles_labels()) if label in SCORES.values()}
            grid[5].legend(own.values(), own.keys(), loc="center left", title="scores", alignment="left")

    height = 0.7 + 1.75 * math.ceil(len(panels) / 2)
    return Figure(name, _caption(axis, lines, panels, gaussian, rows), draw(paint, height=height))


def _panels(rows: Sequence[Row], groups: int) -> list[Panel]:
    panels = [
        Panel("active units", {"": key_measure("active_units")}),
        Panel("rate (nats)", {"": rate}),
        Panel("distortion (nats)", {"": distortion}),
        Panel("ELBO (nats)", {"": elbo}),
    ]
    scores = {word: score(k) for k, word in SCORES.items() if any(score(k)(row) is not None for row in rows)}
    if groups == 1 and scores:
        return [*panels, Panel("disentanglement", scores)]
    return panels + [Panel(word, {"": measure}) for word, measure in scores.items()]


def _draw(axes, group: Group, measure: Measure, axis: Axis, color, marker, label, joined) -> None:
    """Means with a band (bars where they are not joined) of one standard deviation over seeds."""
    shown = [s for s in group.living if math.isfinite(s.mean(measure))]
    if not shown:
        return
    x = np.array([axis.place(s) for s in shown])
    mean = np.array([s.mean(measure) for s in shown])
    spread = np.array([s.spread(measure) or 0.0 for s in shown])
    style = {"color": color, "marker": marker, "markersize": 3.5, "markeredgecolor": "white", "markeredgewidth": 0.3}
    if joined and not axis.words and len(shown) > 1:
        axes.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)
        axes.plot(x, mean, label=label, zorder=3, **style)
    else:
        axes.errorbar(x, mean, spread, linewidth=0, elinewidth=0.8, label=label, zorder=3, **style)


def _onset(line: Line, axis: Axis, summary) -> float | None:
    """Tells where on the axis the linear theory closes the last latent; None where it does not say, or for a cloud."""
    rows = done(line.group.rows)
    if not line.valued or axis.flag not in ("beta_norm", "sigma"):
        return None
    onset = predicted_collapse(summary.get("reference") or [], rows, axis.flag.removesuffix("_norm"))
    if onset and axis.flag == "beta_norm":
        return onset * rows[0]["latent_dim"] / rows[0]["data_dim"] if rows[0].get("data_dim") else None
    return onset


def _draw_theory(axes, index: int, line: Line, axis: Axis, summary, gaussian: bool, color) -> None:
    """What the linear theory says at each weight, in the first four panels."""
    shown, rows = line.group.living, done(line.group.rows)
    if len(shown) < 2:
        return
    if index == 0 and not axis.words:
        active = [(axis.place(s), s.mean(key_measure("predicted_active"))) for s in shown]
        active = [p for p in active if math.isfinite(p[1])]
        if len(active) > 1:
            axes.plot(*np.array(active).T, color=color, **_THEORY)
    if index in (1, 2, 3) and gaussian and axis.flag == "beta_norm":
        _draw_theory_line(axes, index, reference(summary.get("reference") or [], rows[0]), rows[0], color)


def _draw_theory_line(axes, index: int, entry, row: Row, color) -> None:
    """Rate, distortion or ELBO of the linear theory along beta_norm, where sigma says which beta is at a level."""
    fixed = row.get("precision") == "fixed"
    if not entry or not entry.get("frontier") or not row.get("beta_norm") or not row.get("beta"):
        return
    if fixed and not row.get("sigma"):
        return
    level, nats, error = (np.asarray(entry["frontier"][k], float) for k in ("water_level", "rate", "rms"))
    beta = level / (row["sigma"] ** 2 if fixed else error**2)
    left = gaussian_distortion(error, row["data_dim"])
    y = (nats, left, -(nats + left))[index - 1]
    low, high = axes.get_xlim()
    x = beta * row["beta_norm"] / row["beta"]
    x, y = np.append(x, max(high, x[-1])), np.append(y, y[-1])  # collapsed, as for every larger weight
    inside = (x >= low) & (x <= high)
    axes.plot(x[inside], y[inside], color=color, **_THEORY)


def _set_height(axes, index: int, rows: Sequence[Row]) -> None:
    if index <= 1:
        top = max(r.get("latent_dim") or 1 for r in rows) if index == 0 else max(1.0, axes.dataLim.y1)
        axes.set_ylim(-0.05 * top, 1.08 * top)
        if index == 0:
            axes.yaxis.get_major_locator().set_params(integer=True)
    elif index >= 4:
        axes.set_ylim(-0.03, 1.03)


def _leave_out(axes, measure: Measure, lines: Sequence[Line], sign: float) -> None:
    """Lets the axis end before the few means that lie far off, where there are any."""
    shown = [s for line in lines for s in line.group.living if math.isfinite(s.mean(measure))]
    values = [sign * s.mean(measure) for s in shown]
    kept = near(values, [all(is_collapsed(row) for row in s.done) for s in shown])
    if len(kept) < len(values):
        margin = 0.1 * (max(kept) - min(kept))
        axes.set_ylim(sorted(sign * end for end in (min(kept) - margin, max(kept) + margin)))


def _caption(axis: Axis, lines, panels, gaussian, rows) -> str:
    what = "beta_norm = beta M / D" if axis.flag == "beta_norm" else f"--{axis.flag}, as beta does not vary"
    names = ", ".join(f"({letter}) {p.label.replace(' (nats)', '')}" for letter, p in zip("abcdefgh", panels))
    sigma = " and the recalibrated sigma" if gaussian else ""
    text = f"The sweep along {what}: {names}; nats per example on the test split, at beta = 1{sigma}."
    if any(len(s.done) > 1 for line in lines for s in line.group.settings):
        text += " Means over seeds, bands or bars one standard deviation."
    text += "" if lines[0].valued else " A mark is a setting; too many flags differ to join them."
    text += " The few values that lie far off may be outside." if any_far(done(rows)) else ""
    if any(r.get("predicted_active") is not None for r in rows) and lines[0].valued and not axis.words:
        text += " Dashed: what the linear theory predicts"
        text += "; dotted: where it closes the last latent." if axis.flag in ("beta_norm", "sigma") else "."
    return text
