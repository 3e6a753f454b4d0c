"""The figure of experiments/weigh: the spectrum under water, and the rate that an error costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from vae_jax.report.formatting import number
from vae_jax.report.style import FAINT, MARK, TEST, TRAIN, Plate, draw

_MARKERS = ("o", "s", "^", "D", "v")


def plate(answer: dict[str, Any]) -> Plate:
    """The two panels, from what ``weigh.json`` holds.

    (a) the eigenvalues of the data's covariance and the water level of every marked weight; (b) the least rate of a
    linear model against its error, along the water level, with the marked weights on it.
    """
    data, marked = answer["data"], [row for row in answer["grid"] if row["name"]]
    styles = {row["name"]: (_color(row["name"]), _MARKERS[i % len(_MARKERS)]) for i, row in enumerate(marked)}

    def paint(figure):
        left, right = figure.subplots(1, 2)
        _spectrum(left, data, marked, styles)
        _frontier(right, answer, marked, styles)
        for axes, letter in ((left, "a"), (right, "b")):
            axes.set_title(letter, loc="left", fontweight="bold")
        if marked:
            right.legend(loc="upper right", handlelength=1.0, borderpad=0.0)

    caption = (
        f"What a weight does to {data['dataset']} ({data['pixels']} pixels, {data['data_dim']} values, "
        f"{data['latent_dim']} latents), by the linear theory. (a) Eigenvalues of the covariance; a latent is active "
        "where its eigenvalue is above the water level s = beta sigma^2. (b) Rate against the error of one pixel."
    )
    return Plate("weigh.png", caption, draw(paint, height=3.0))


def _color(name):
    return {"calibrated": TRAIN, "your loss": TEST, "your weight": TEST}.get(name, MARK)


def _spectrum(axes, data, marked, styles):
    values, latents = np.asarray(data["eigenvalues"]), data["latent_dim"]
    shown = values > 1e-7 * values[0]
    index = np.arange(1, len(values) + 1)[shown]
    values = values[shown]
    low = min([values[min(len(values) - 1, 2 * latents)], *(0.2 * row["water_level"] for row in marked)])
    axes.loglog(index, values, color=FAINT, linewidth=1.2)
    axes.loglog(index[:latents], values[:latents], color=MARK, linewidth=0, marker=".", markersize=4)
    axes.axvline(latents + 0.5, color=FAINT, linewidth=0.6, linestyle=":")
    axes.annotate(
        f"{latents} latents",
        (latents + 0.5, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-3, -2),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
    )
    for row in marked:
        color, marker = styles[row["name"]]
        axes.axhline(row["water_level"], color=color, linewidth=0.8, linestyle="--", zorder=1)
        axes.plot(index[-1], row["water_level"], color=color, marker=marker, markersize=5, linewidth=0, zorder=3)
    high = max([values[0], *(row["water_level"] for row in marked)])
    axes.set_ylim(low / 2, high * 4)
    axes.set_xlabel("direction of the data")
    axes.set_ylabel("eigenvalue, water level s")


def _frontier(axes, answer, marked, styles):
    line = answer["frontier"]
    axes.plot(line["rms"], line["rate"], color=FAINT, linewidth=1.2)
    for row in marked:
        color, marker = styles[row["name"]]
        label = f"{row['name']}, s = {number(row['water_level'], 3)}"
        axes.plot(row["rms"], row["rate"], color=color, marker=marker, linewidth=0, markersize=5, label=label, zorder=3)
    for row in answer["grid"]:
        power = np.log10(row["water_level"])
        if not row["name"] and abs(power - round(power)) < 1e-9 and row["rate"] > 0:
            axes.plot(row["rms"], row["rate"], color=FAINT, marker="|", markersize=7, linewidth=0)
            axes.annotate(
                f"s = {row['water_level']:g}",
                (row["rms"], row["rate"]),
                xytext=(6, 2),
                textcoords="offset points",
                fontsize=8,
                color="#555555",
            )
    axes.set_ylim(bottom=-0.03 * max(line["rate"]))
    axes.set_xlabel("error of one pixel, root mean square")
    axes.set_ylabel("rate, nats per example")
