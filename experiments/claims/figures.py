"""The figures of the ledger: what was measured on what is expected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vae_jax.report.class_colours import COLOURS
from vae_jax.report.figure import FAINT, MARK, TEST, TRAIN, Figure, draw, legend_above, letters

# Lines that are told apart without their colours.
LINES = ("-", "--", ":", "-.", (0, (6, 1)), (0, (4, 1, 1, 1, 1, 1)))


def _figure(name: str, caption: str, height: float, labels: tuple[str, str], paint: Callable[[Any], None]) -> Figure:
    """Returns a figure of one panel with these labels, which ``paint(axes)`` fills."""

    def whole(figure):
        axes = figure.subplots()
        paint(axes)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        if axes.get_legend_handles_labels()[0]:
            axes.legend()

    return Figure(f"{name}.png", caption, draw(whole, height))


def normalizer_figure(logits: np.ndarray, integrated: np.ndarray, formula: np.ndarray) -> Figure:
    """Draws log C over the logit, by its formula and by the integral of the unnormalised density."""

    def paint(axes):
        axes.axhline(np.log(2.0), color=FAINT, linewidth=0.6, linestyle=":")
        axes.plot(logits, formula, color=TRAIN, label="log C(l)")
        axes.plot(logits[::6], integrated[::6], "o", markersize=3, color=MARK, label="−log of the integral")

    caption = (
        "The normaliser of the continuous Bernoulli: what a cross-entropy on grey pixels leaves out of each pixel, "
        "at least log 2 (dotted)."
    )
    return _figure("normaliser", caption, 2.4, ("logit l", "nats per pixel"), paint)


def frontier_figure(curve: Sequence[tuple[float, float]], trained: Sequence[tuple[float, float]]) -> Figure:
    """Draws squared error over rate, ``(rate, error)`` each: water-filling as a line, trained optima as points."""

    def paint(axes):
        axes.plot(*np.asarray(curve).T, color=TRAIN, label="reverse water-filling")
        axes.plot(*np.asarray(trained).T, "o", markersize=4, color=MARK, label="trained to its optimum")
        axes.set_yscale("log")

    caption = "Rate and distortion of a linear VAE: where training ends at seven water levels, and the closed form."
    return _figure("frontier", caption, 2.6, ("rate, nats", "squared error"), paint)


def bounds_figure(counts: Sequence[int], bounds: Sequence[float], log_p: float) -> Figure:
    """Draws the importance-weighted bound over its number of samples, below log p(x)."""

    def paint(axes):
        axes.axhline(log_p, color=FAINT, linewidth=0.8, linestyle="--")
        axes.annotate("log p(x)", (counts[0], log_p), xytext=(2, -9), textcoords="offset points", fontsize=8)
        axes.plot(counts, bounds, "o-", markersize=4, color=TRAIN)
        axes.set_xticks(list(counts))

    caption = "The importance-weighted bound rises with K towards log p(x): expectations by exact enumeration."
    return _figure("bounds", caption, 2.2, ("samples K", "bound $L_K$, nats"), paint)


def paths_figure(paths: dict[str, tuple[np.ndarray, np.ndarray]], optimum: float) -> Figure:
    """Draws each schedule's ``name -> (beta [steps], rate [steps])``, and the rate that all end at."""

    def paint(figure):
        left, right = figure.subplots(1, 2)
        for (name, (beta, rate)), color, line in zip(paths.items(), COLOURS, LINES):
            left.plot(beta, color=color, linestyle=line, label=name)
            right.plot(rate, color=color, linestyle=line)
        right.axhline(optimum, color=FAINT, linewidth=0.8)
        for axes, label in ((left, "weight"), (right, "rate, nats")):
            axes.set_xlabel("training step")
            axes.set_ylabel(label)
        left.set_yscale("symlog", linthresh=1.0)
        letters((left, right))
        legend_above(figure, (left,))

    caption = "Schedules that end at weight 1: (a) other paths, (b) one optimum (grey, the closed form)."
    return Figure("schedules.png", caption, draw(paint, 2.6))


def arms_figure(name: str, caption: str, label: str, values: dict[str, Sequence[float]]) -> Figure:
    """Draws one number of each arm of a comparison, a point a seed: ``arm -> values``."""

    def paint(axes):
        for i, own in enumerate(values.values()):
            axes.plot(own, np.full(len(own), i), "o", markersize=4, color=TRAIN, alpha=0.7)
            axes.plot([float(np.mean(own))], [i], "|", markersize=12, color=TEST)
        axes.set_yticks(range(len(values)), list(values))
        axes.invert_yaxis()

    return _figure(name, caption, 0.8 + 0.3 * len(values), (label, ""), paint)


def curve_figure(name: str, caption: str, labels: tuple[str, str], x: Any, y: Any, spread: Any) -> Figure:
    """Draws the mean over seeds of one number over another on a logarithm, bars of one standard deviation."""

    def paint(axes):
        axes.errorbar(x, y, yerr=spread, fmt="o-", markersize=4, color=TRAIN, capsize=2)
        axes.set_xscale("log")
        if len(x) <= 4:  # less than a decade, where the axis would write 2 x 10^0
            axes.set_xticks(x, [f"{value:g}" for value in x])
            axes.minorticks_off()

    return _figure(name, caption, 2.4, labels, paint)
