"""The figure of the decoder's intervals: the share that they promise, and the share of values inside them."""

from __future__ import annotations

import numpy as np

from vae_jax.report.figure import FAINT, MARK, TEST, TRAIN, Figure, draw, letters, note
from vae_jax.report.formatting import number
from vae_jax.report.run_files import Run

NAME = "reliability.png"
_DISCRETE = ("bernoulli", "categorical", "discretized_logistic")
_KEYS = ("levels", "coverage", "standard_error", "pit")


def reliability(run: Run) -> Figure:
    """Draws coverage against its nominal level, with the deviation between them, and the histogram behind it."""
    measured = run.results.get("reliability") or {"skipped": "the run did not measure it"}
    numbers = {k: np.asarray(measured.get(k) or [], float) for k in _KEYS}
    why = measured.get("skipped")
    if not why and (len({len(numbers[k]) for k in _KEYS[:3]}) > 1 or not all(map(len, numbers.values()))):
        why = "results.json lists none of its numbers"
    if not why and not all(np.isfinite(values).all() for values in numbers.values()):
        why = "it is not finite"
    if why:
        return Figure(NAME, f"Reliability: not drawn, because {why}.", None)
    density = numbers["pit"] * len(numbers["pit"])
    # One bin that holds a pile of equal values would flatten all the rest.
    top = max(2.0, 1.3 * float(np.sort(density)[-3:][0]))

    def paint(figure):
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
        _coverage(left, numbers)
        _histogram(right, density, top)
        letters((left, right))

    return Figure(NAME, _caption(run, numbers, piles=bool((density > top).any())), draw(paint, height=2.75))


def _coverage(axes, numbers) -> None:
    levels, coverage = numbers["levels"], numbers["coverage"]
    axes.plot([0, 1], [0, 1], "--", color=MARK, linewidth=0.8)
    axes.fill_between(levels, levels, coverage, color=TEST, alpha=0.25, linewidth=0)
    bars = 2.0 * numbers["standard_error"]
    axes.errorbar(levels, coverage, yerr=bars, fmt="o-", color=TEST, markersize=3, elinewidth=0.8)
    axes.set(xlabel="nominal level of the interval", ylabel="share of values inside", aspect="equal")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for set_ticks in (axes.set_xticks, axes.set_yticks):
        set_ticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    note(axes, "too wide", (0.04, 0.96), (0, 0), "axes fraction", ha="left", va="top", color="#595959")
    note(axes, "too narrow", (0.96, 0.04), (0, 0), "axes fraction", ha="right", va="bottom", color="#595959")


def _histogram(axes, density, top: float) -> None:
    edges = np.linspace(0.0, 1.0, len(density) + 1)
    axes.stairs(density, edges, fill=True, color=TRAIN, alpha=0.35)
    axes.stairs(density, edges, color=TRAIN, linewidth=0.8)
    axes.axhline(1.0, color=MARK, linewidth=0.8, linestyle="--")
    axes.set(xlim=(0, 1), ylim=(0, top), xlabel="F(x|z)", ylabel="density (1 where calibrated)")
    for i in np.flatnonzero(density > top):
        at_left = i < len(density) / 2
        place, side = (edges[i], "left") if at_left else (edges[i + 1], "right")
        words = f"{100 * density[i] / len(density):.0f}% of values"
        note(axes, words, (place, 1.0), (9 if at_left else -9, -3), ("data", "axes fraction"), ha=side, va="top")
        axes.axvspan(edges[i], edges[i + 1], color=FAINT, linewidth=0)


def _caption(run: Run, numbers, piles: bool) -> str:
    gap = numbers["coverage"] - numbers["levels"]
    error = float(np.mean(np.abs(gap)))
    kind = "too wide" if np.mean(gap) > 0 else "too narrow"
    caption = (
        "Reliability of the decoder: (a) the share of the test split's values that lie inside the central interval of "
        "p(x|z) with z drawn from q(z|x), for each level of the interval, with two standard errors (dashed: "
        f"calibrated). The mean distance from the dashed line is {number(error)}"
        + (f", the intervals are {kind} on the whole. " if error > 0.01 else ". ")
        + "(b) The distribution of F(x|z), the probability of less than x, flat where calibrated, high at both ends "
        "where intervals are too narrow or tails too light, high in the middle where they are too wide."
    )
    if piles:
        caption += (
            " Grey bars are cut off and hold the share written beside them: many values at one place, such as pixels "
            "that are always black (in the middle), or at an edge of the support, where a density puts no mass (at "
            "the ends)."
        )
    if run.config.get("likelihood") in _DISCRETE:
        share = run.results["reliability"].get("share")
        caption += " F of a family of levels is drawn at random within the jump at x"
        if share is not None:
            caption += (
                f"; counted are the {number(100.0 * share, 3)}% of the values of which the decoder is not certain"
            )
        caption += "."
    return caption
