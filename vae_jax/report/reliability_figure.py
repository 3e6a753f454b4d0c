"""The figure of the decoder's intervals: what they promise, and what they hold."""

from __future__ import annotations

import numpy as np

from vae_jax.report.figure import FAINT, MARK, TEST, TRAIN, Figure, draw
from vae_jax.report.formatting import number
from vae_jax.report.run_files import Run

NAME = "reliability.png"
_DISCRETE = ("bernoulli", "categorical", "discretized_logistic")


def _numbers(run: Run) -> dict[str, np.ndarray] | str:
    """``levels``, ``coverage``, ``standard_error`` and ``pit`` as arrays, or why there are none."""
    found = run.results.get("reliability")
    if not isinstance(found, dict):
        return "the run did not measure it"
    if found.get("skipped"):
        return str(found["skipped"])
    arrays = {k: np.asarray(found.get(k) or [], float) for k in ("levels", "coverage", "standard_error", "pit")}
    sizes = {len(arrays[k]) for k in ("levels", "coverage", "standard_error")}
    if len(sizes) != 1 or 0 in sizes or not len(arrays["pit"]):
        return "results.json lists none of its numbers"
    if not all(np.isfinite(values).all() for values in arrays.values()):
        return "it is not finite"
    return arrays


def reliability(run: Run) -> Figure:
    """Coverage against its nominal level, with the deviation between them, and the histogram behind it."""
    numbers = _numbers(run)
    if isinstance(numbers, str):
        return Figure(NAME, f"Reliability: not drawn, because {numbers}.", None)
    levels, coverage, pit = (numbers[k] for k in ("levels", "coverage", "pit"))
    gap = coverage - levels
    # A pile at one end would flatten all the rest.
    top = max(2.0, 1.3 * float(np.sort(pit)[-3:][0]) * len(pit))
    piles = np.flatnonzero(pit * len(pit) > top)
    error, deviation = float(np.mean(np.abs(gap))), float(np.mean(gap))

    def paint(figure):
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
        left.plot([0, 1], [0, 1], "--", color=MARK, linewidth=0.8)
        left.fill_between(levels, levels, coverage, color=TEST, alpha=0.25, linewidth=0)
        bars = 2.0 * numbers["standard_error"]
        left.errorbar(levels, coverage, yerr=bars, fmt="o-", color=TEST, markersize=3, elinewidth=0.8)
        left.set(xlim=(0, 1), ylim=(0, 1), xlabel="nominal level of the interval", ylabel="share of values inside")
        left.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        left.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
        left.set_aspect("equal")
        for words, place, side in (("too wide", (0.04, 0.96), "top"), ("too narrow", (0.96, 0.04), "bottom")):
            end = "left" if side == "top" else "right"
            left.text(*place, words, ha=end, va=side, fontsize=8, color="#595959", transform=left.transAxes)
        edges = np.linspace(0.0, 1.0, len(pit) + 1)
        right.stairs(pit * len(pit), edges, fill=True, color=TRAIN, alpha=0.35)
        right.stairs(pit * len(pit), edges, color=TRAIN, linewidth=0.8)
        right.axhline(1.0, color=MARK, linewidth=0.8, linestyle="--")
        right.set(xlim=(0, 1), ylim=(0, top), xlabel="F(x|z)", ylabel="density (1 where calibrated)")
        for i in piles:
            at_left = i < len(pit) / 2
            right.annotate(
                f"{100 * pit[i]:.0f}% of values",
                (edges[i] if at_left else edges[i + 1], 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(9 if at_left else -9, -3),
                textcoords="offset points",
                ha="left" if at_left else "right",
                va="top",
                fontsize=8,
            )
            right.axvspan(edges[i], edges[i + 1], color=FAINT, linewidth=0)

    kind = "too wide on the whole" if deviation > 0 else "too narrow on the whole"
    caption = (
        "Reliability of the decoder: the share of the test split's values that lie inside the central interval of "
        "p(x|z) with z drawn from q(z|x), for each level of the interval, with two standard errors (left; dashed: "
        f"calibrated). The mean distance from the dashed line is {number(error)}"
        + (f", the intervals are {kind}. " if error > 0.01 else ". ")
        + "Right: the distribution of F(x|z) itself, flat where calibrated, high at both ends where "
        "intervals are too narrow or tails too light, high in the middle where they are too wide."
    )
    if len(piles):
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
    return Figure(NAME, caption, draw(paint, height=2.75))
