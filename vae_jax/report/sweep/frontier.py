"""The figure of a sweep's frontier: rate against distortion and against error, beta along the line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vae_jax.report.style import FAINT, MARK, Plate, draw, label_of
from vae_jax.report.sweep import analysis, labelling
from vae_jax.report.sweep.frontier_marks import any_far, diagonals, set_view, values
from vae_jax.report.sweep.lines import DARK, Line, columns, lines_of, means
from vae_jax.report.sweep.loading import Row
from vae_jax.report.sweep.settings import Measure, Setting, along, at, distortion, done, elbo, groups, rate, rms
from vae_jax.report.sweep.theory import gaussian_distortion

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


def frontier(rows: Sequence[Row], summary: dict[str, Any]) -> Plate:
    """Rate against distortion, with the diagonals of equal ELBO; rate against RMS error; the linear theory in both."""
    name, finished = "frontier.png", done(rows)
    if not finished:
        return Plate(name, "The frontier: not drawn, because no run came to its end with finite numbers.", None)
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

    return Plate(name, _caption(lines, marked, bool(theory), gaussian, rows), draw(paint, height=3.5))


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
