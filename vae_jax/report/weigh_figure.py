"""The figure of a weighing: the data's eigenvalues above the water levels, and the linear frontier."""

from __future__ import annotations

from typing import Any

import numpy as np

from vae_jax.report.figure import FAINT, MARK, TEST, TRAIN, Figure, draw, letters, note
from vae_jax.report.formatting import number
from vae_jax.report.label_placement import beside, room

_MARKERS = "os^Dv"
_COLORS = {"calibrated": TRAIN, "your loss": TEST, "your weight": TEST}


def figure(answer: dict[str, Any]) -> Figure:
    """Draws the two panels, from what ``weigh.json`` holds.

    (a) the eigenvalues of the data's covariance and the water level of every marked weight; (b) the least rate of a
    linear model against its error, along the water level, with the marked weights on it.
    """
    data, marked = answer["data"], [row for row in answer["grid"] if row["name"]]
    styles = [
        {"color": _COLORS.get(row["name"], MARK), "marker": _MARKERS[i % len(_MARKERS)], "markersize": 5}
        for i, row in enumerate(marked)
    ]

    def paint(figure):
        panels = figure.subplots(1, 2)
        _spectrum(panels[0], data, marked, styles)
        _frontier(panels[1], answer, marked, styles)
        letters(panels)

    caption = (
        f"What a weight does to {data['dataset']} ({data['pixels']} pixels, {data['data_dim']} values, "
        f"{data['latent_dim']} latents), by the linear theory. (a) Eigenvalues of the covariance; a latent is active "
        "where its eigenvalue is above the water level s = beta sigma^2. (b) Rate against the error of one pixel."
    )
    return Figure("weigh.png", caption, draw(paint, height=3.0))


def _spectrum(axes, data, marked, styles) -> None:
    values, latents = np.asarray(data["eigenvalues"]), data["latent_dim"]
    index = np.arange(1, len(values) + 1)[values > 1e-7 * values[0]]
    values = values[index - 1]
    levels = [row["water_level"] for row in marked]
    axes.loglog(index, values, color=FAINT, linewidth=1.2)
    axes.loglog(index[:latents], values[:latents], color=MARK, linewidth=0, marker=".", markersize=4)
    axes.axvline(latents + 0.5, color=FAINT, linewidth=0.6, linestyle=":")
    where = ("data", "axes fraction")
    note(axes, f"{latents} latents", (latents + 0.5, 1.0), (-3, -2), where, ha="right", va="top")
    for level, style in zip(levels, styles):
        axes.axhline(level, color=style["color"], linewidth=0.8, linestyle="--", zorder=1)
        axes.plot(index[-1], level, linewidth=0, zorder=3, **style)
    low = min([values[min(len(values) - 1, 2 * latents)], *(0.2 * level for level in levels)])
    axes.set_ylim(low / 2, max([values[0], *levels]) * 4)
    axes.set_xlabel("direction of the data")
    axes.set_ylabel("eigenvalue, water level s")


def _frontier(axes, answer, marked, styles) -> None:
    line = answer["frontier"]
    axes.plot(line["rms"], line["rate"], color=FAINT, linewidth=1.2)
    for row, style in zip(marked, styles):
        label = f"{row['name']}, s = {number(row['water_level'], 3)}"
        axes.plot(row["rms"], row["rate"], linewidth=0, label=label, zorder=3, **style)
    axes.set_ylim(bottom=-0.03 * max(line["rate"]))
    axes.set_xlabel("error of one pixel, root mean square")
    axes.set_ylabel("rate, nats per example")
    if marked:
        axes.legend(loc="upper right", handlelength=1.0, borderpad=0.0)
    powers = [np.log10(row["water_level"]) for row in answer["grid"]]
    decades = [
        row
        for row, power in zip(answer["grid"], powers)
        if not row["name"] and abs(power - round(power)) < 1e-9 and row["rate"] > 0
    ]
    for row in decades:
        axes.plot(row["rms"], row["rate"], color=FAINT, marker="|", markersize=7, linewidth=0)
    axes.figure.draw_without_rendering()
    free = room(axes)
    for row in decades:
        beside(free, (row["rms"], row["rate"]), f"s = {row['water_level']:g}", fontsize=8, color="#555555")
