"""The figure of what a sweep's flag does: active units, rate, distortion, ELBO and disentanglement along it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.report.figure import MARK, Figure, draw, label_of, legend_above, letters
from vae_jax.report.reading.finding import is_collapsed
from vae_jax.report.sweep.grouping import SCORES, Sweep
from vae_jax.report.sweep.linear_theory import gaussian_distortion, predicted_collapse, reference
from vae_jax.report.sweep.lines import DARK, LOOKS, Line, any_far, lines_of, near
from vae_jax.report.sweep.profile_axis import Axis

_TERMS = {"rate": "rate (nats)", "common_distortion": "distortion (nats)", "common_elbo": "ELBO (nats)"}
LEAST = 0.1  # nats that an axis of nats spans at least, or a thousandth of its values
_FAR_AWAY = 30.0  # an onset further off than so many times the range is not on the axis


class Panel(NamedTuple):
    """One panel: its ``label``, and the keys of its lines, each with a name ("" where the group names it)."""

    label: str
    keys: dict[str, str]


def beta_profile(sweep: Sweep) -> Figure:
    """Draws means over seeds with their spread, against beta_norm, or against the flag that was swept instead."""
    if not sweep.done:
        caption = "The profile: not drawn, because no run came to its end with finite numbers."
        return Figure("beta_profile.png", caption, None)
    flag = sweep.along(numeric=False)
    lines, axis = lines_of(sweep.groups(flag)), Axis.of(sweep, flag)
    panels = _panels(sweep, len(lines))
    onsets = [_onset(sweep, line, axis) for line in lines]

    def paint(figure):
        grid = figure.subplots(math.ceil(len(panels) / 2), 2, sharex=True).ravel()
        for i, (axes, panel) in enumerate(zip(grid, panels)):
            for line in lines:
                for (key, name), (color, marker) in zip(panel.keys.items(), LOOKS):
                    own = (
                        {} if name else {"color": line.color, "marker": line.marker, "label": label_of(line.group.name)}
                    )
                    _draw(axes, line, key, axis, **{"color": color, "marker": marker, "label": name} | own)
            axis.apply(axes)
            axes.set_ylabel(panel.label)
            for line, onset in zip(lines, onsets):
                if onset:
                    color = line.color if len(lines) > 1 else MARK
                    axes.axvline(onset, color=color, linewidth=0.8, linestyle=":", zorder=1, label="predicted collapse")
            if i + 2 >= len(panels):
                axes.set_xlabel(axis.label)
                axes.tick_params(labelbottom=True)
        grid[0].set_xlim(grid[0].get_xlim())  # the theory reaches to the ends, and does not move them
        for axes, panel in zip(grid, panels):
            for line in filter(lambda line: line.valued, lines):
                x, y = _theory(sweep, line, axis, next(iter(panel.keys)), axes.get_xlim())
                color = line.color if len(lines) > 1 else DARK
                axes.plot(
                    x, y, color=color, linewidth=0.8, linestyle="--", zorder=2, label="linear theory" * (len(x) > 0)
                )
            _set_height(axes, sweep, panel, lines)
        letters(grid[: len(panels)])
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        for axes in grid[: 2 if axis.betas else 0]:
            axis.beta_on_top(axes)
        legend_above(figure, grid[:4])
        if len(panels) == 5 and len(panels[4].keys) > 1:
            handles, labels = grid[4].get_legend_handles_labels()
            grid[5].legend(handles, labels, loc="center left", title="scores", alignment="left")

    height = 0.7 + 1.75 * math.ceil(len(panels) / 2)
    return Figure("beta_profile.png", _caption(sweep, axis, lines, panels), draw(paint, height=height))


def _panels(sweep: Sweep, groups: int) -> list[Panel]:
    panels = [Panel(label, {key: ""}) for key, label in {"active_units": "active units", **_TERMS}.items()]
    scores = {key: name for key, name in SCORES.items() if any(row[key] is not None for row in sweep.done)}
    if groups == 1 and scores:
        return [*panels, Panel("disentanglement", scores)]
    return panels + [Panel(name, {key: ""}) for key, name in scores.items()]


def _draw(axes, line: Line, key: str, axis: Axis, **style) -> None:
    """Draws means with bars of one standard deviation over seeds."""
    shown = line.group.having(key)
    x, y = [axis.place(s) for s in shown], [s.mean(key) for s in shown]
    style |= {"markersize": 3.5, "markeredgecolor": "white", "markeredgewidth": 0.3, "elinewidth": 0.8, "zorder": 3}
    joined = line.valued and not axis.words
    if shown:
        axes.errorbar(x, y, [s.spread(key) or 0.0 for s in shown], linewidth=1.0 if joined else 0.0, **style)


def _onset(sweep: Sweep, line: Line, axis: Axis) -> float | None:
    """Tells where on the axis the linear theory closes the last latent; None where it does not say, or for a cloud."""
    rows = line.group.done
    if not line.valued or axis.words or axis.flag not in ("beta", "beta_norm", "sigma"):
        return None
    onset = predicted_collapse(sweep.summary, rows, axis.flag.removesuffix("_norm"))
    if onset and axis.flag == "beta_norm":
        onset = onset * rows[0]["latent_dim"] / rows[0]["data_dim"] if rows[0].get("data_dim") else None
    return onset if onset and min(axis.values) / _FAR_AWAY < onset < _FAR_AWAY * max(axis.values) else None


def _theory(sweep: Sweep, line: Line, axis: Axis, key: str, limits) -> tuple[np.ndarray, np.ndarray]:
    """Returns what the linear theory says of ``key`` at each weight, ``([n], [n])`` inside the limits of the axis."""
    shown, nothing = line.group.having("rate"), (np.zeros(0), np.zeros(0))
    if len(shown) < 2:
        return nothing
    if key == "active_units" and not axis.words:
        shown = line.group.having("predicted_active")
        return np.array([axis.place(s) for s in shown]), np.array([s.mean("predicted_active") for s in shown])
    row = line.group.done[0]
    entry, fixed = reference(sweep.summary, row) or {}, row.get("precision") == "fixed"
    if key not in _TERMS or axis.flag != "beta_norm" or not (sweep.gaussian and entry.get("frontier")):
        return nothing
    if not all(map(row.get, ("beta_norm", "beta", "data_dim"))) or (fixed and not row.get("sigma")):
        return nothing
    # Where sigma follows the error, beta at a water level s is s / error^2.
    level, nats, error = (np.asarray(entry["frontier"][k], float) for k in ("water_level", "rate", "rms"))
    left = gaussian_distortion(error, row["data_dim"])
    y = {"rate": nats, "common_distortion": left, "common_elbo": -(nats + left)}[key]
    x = level / (row["sigma"] ** 2 if fixed else error**2) * row["beta_norm"] / row["beta"]
    x, y = np.append(x, max(limits[1], x[-1])), np.append(y, y[-1])  # collapsed, as for every larger weight
    inside = (x >= limits[0]) & (x <= limits[1])
    return x[inside], y[inside]


def _set_height(axes, sweep: Sweep, panel: Panel, lines: Sequence[Line]) -> None:
    """Sets the y axis: from 0 where it counts, and without the few means that lie far off."""
    key = next(iter(panel.keys))
    if key in ("active_units", "rate"):
        most = max(r.get("latent_dim") or 1 for r in sweep.done) if key == "active_units" else axes.dataLim.y1
        axes.set_ylim(-0.05 * max(most, 1.0), 1.08 * max(most, 1.0))
    if key == "active_units":
        axes.yaxis.get_major_locator().set_params(integer=True)
    elif key in SCORES:
        axes.set_ylim(-0.03, 1.03)
    else:
        sign = -1.0 if key == "common_elbo" else 1.0
        shown = [s for line in lines for s in line.group.having(key)]
        values = [sign * s.mean(key) for s in shown]
        kept = near(values, [all(is_collapsed(row) for row in s.done) for s in shown])
        if len(kept) < len(values):
            margin = 0.1 * (max(kept) - min(kept))
            axes.set_ylim(sorted(sign * end for end in (min(kept) - margin, max(kept) + margin)))
        low, high = axes.get_ylim()
        least = max(LEAST, 1e-3 * abs(low + high) / 2.0)
        if high - low < least:  # a slope of rounding errors would look like one
            axes.set_ylim((low + high - least) / 2.0, (low + high + least) / 2.0)


def _caption(sweep: Sweep, axis: Axis, lines: Sequence[Line], panels: Sequence[Panel]) -> str:
    weights = {"beta_norm": "beta_norm = beta M / D", "beta": "beta"}
    what = weights.get(axis.flag) or f"--{axis.flag}, as beta does not vary"
    names = ", ".join(f"({letter}) {p.label.replace(' (nats)', '')}" for letter, p in zip("abcdefgh", panels))
    sigma = " and the recalibrated sigma" if sweep.gaussian else ""
    text = f"The sweep along {what}: {names}; nats per example on the test split, at beta = 1{sigma}."
    if any(len(s.done) > 1 for s in sweep.settings):
        text += " Means over seeds, bars one standard deviation."
    text += "" if lines[0].valued else " A mark is a setting; too many flags differ to join them."
    text += " The few values that lie far off may be outside." if any_far(sweep.done) else ""
    if any(r.get("predicted_active") is not None for r in sweep.rows) and lines[0].valued and not axis.words:
        text += " Dashed: what the linear theory predicts"
        text += "; dotted: where it closes the last latent." if axis.flag in (*weights, "sigma") else "."
    return text
