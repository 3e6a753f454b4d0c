"""The weight and the KL that it weighs, over the steps of several runs: the figure of Bowman 2015 and Fu 2019."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vae_jax.report.loading import series
from vae_jax.report.style import FAINT, MARK, TRAIN, Plate, draw, label_of, step_axis

Lines = Sequence[Mapping[str, Any]]


def annealing(arms: Mapping[str, Sequence[Lines]]) -> Plate:
    """A panel for each arm: the rate of every seed, nats per example and not weighted, and the weight beside it.

    Args:
      arms: name -> the lines of metrics.jsonl of each of its seeds.
    """

    from matplotlib.ticker import MaxNLocator

    def paint(figure):
        grid = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
        for i, (axes, (name, seeds)) in enumerate(zip(grid, arms.items())):
            for j, lines in enumerate(seeds):
                axes.plot(*series(lines, "train", "rate"), color=TRAIN, linewidth=0.9, alpha=0.7, label="KL" * (not j))
            axes.set_title(label_of(name), fontsize=8.5)
            step_axis(axes)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=max(2, 8 // len(arms)), integer=True))
            weight = axes.twinx()
            weight.spines["right"].set_visible(True)
            weight.plot(*series(seeds[0], "train", "beta"), color=MARK, linewidth=0.9, linestyle="--")
            weight.set_ylim(0.0, 1.05 * max(1.0, float(np.max(series(seeds[0], "train", "beta")[1], initial=1.0))))
            weight.tick_params(colors=FAINT if i + 1 < len(arms) else MARK, labelright=i + 1 == len(arms))
            if i == 0:
                axes.set_ylabel("KL, not weighted (nats per sentence)", color=TRAIN)
            if i + 1 == len(arms):
                weight.set_ylabel("weight β (dashed)")
        rates = [series(lines, "train", "rate")[1] for seeds in arms.values() for lines in seeds]
        # At a weight of nearly 0 the KL is tens of nats, at its end a fraction of one.
        grid[0].set_yscale("symlog", linthresh=1.0)
        grid[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        grid[0].set_ylim(0.0, 1.5 * float(np.max(np.concatenate(rates), initial=0.1)))

    caption = (
        "The KL of each seed (solid, nats per example, not weighted, single updates) and the weight that was applied "
        "(dashed), over the steps of training."
    )
    return Plate("annealing.png", caption, draw(paint, height=2.6))
