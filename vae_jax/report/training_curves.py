"""The figures of a run over its steps: rate, distortion, bound and loss; the weight that was applied."""

from __future__ import annotations

import numpy as np

from vae_jax.report.figure import FAINT, MARK, TEST, TRAIN, Figure, draw, legend_above, letters, step_axis
from vae_jax.report.formatting import setting
from vae_jax.report.reading.weight import CONTROLLED
from vae_jax.report.run_files import Run, series

# Split -> its colour and its words. A run is watched on one of the last two.
_SPLITS = {
    "train": (TRAIN, "training batches"),
    "validation": (TEST, "validation split"),
    "test": (TEST, "test split"),
}
_LARGEST = "largest eigenvalue of the data: above it, collapse"
SETTLED = 0.1  # the share of a run, at its start, that does not set the axes
_PANELS = {
    "rate": "rate (nats)",
    "distortion": "distortion (nats)",
    "elbo": "−ELBO (β = 1) (nats)",
    "loss": "loss, as minimised (nats)",
}


def limits(curves) -> tuple[float, float]:
    """Tells where a y axis should run, for ``curves``, a list of ``(steps, values)``.

    The first values of a run can be thousands of times the last: only what comes after the first tenth of the
    steps counts, without its outermost 1%, plus a little of the way down to it.
    """
    steps = np.concatenate([s for s, _ in curves])
    values = np.concatenate([v for _, v in curves])
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values[steps >= SETTLED * steps.max()], [0.5, 99.5])
    last = [v[np.isfinite(v)][-1] for _, v in curves if np.isfinite(v).any()]
    low, high = min(low, *last), max(high, *last)
    span = (high - low) or 0.1 * abs(high) or 1.0
    # Some of the first descent is shown, but no more than a third of the height.
    low, high = max(values.min(), low - 0.3 * span), min(values.max(), high + 0.3 * span)
    return float(low - 0.06 * span), float(high + 0.06 * span)


def curves(run: Run) -> Figure:
    """Draws rate, distortion and negative ELBO over the steps, training and unseen, and the loss as minimised."""
    name = "curves.png"
    lines = {(key, split): series(run.metrics, split, key) for key in _PANELS for split in _SPLITS}
    panels = {key: label for key, label in _PANELS.items() if key != "loss" or not _same_loss(lines)}
    if not any(len(steps) for steps, _ in lines.values()):
        return Figure(name, "Training curves: none, because metrics.jsonl holds no line that can be read.", None)
    flag, controlled = CONTROLLED.get(run.config.get("weighting"), (None, None))
    target = run.config.get(flag) if flag else None
    best = run.results.get("best_step")

    def paint(figure):
        grid = figure.subplots(*((2, 2) if len(panels) == 4 else (1, 3)), sharex=True).ravel()
        for axes, (key, label) in zip(grid, panels.items()):
            shown = []
            for split, (color, words) in _SPLITS.items():
                steps, values = lines[key, split]
                if len(steps) and (key != "loss" or split == "train"):
                    shown.append((steps, -values if key == "elbo" else values))
                    dots = "o" if split != "train" or len(steps) == 1 else None
                    axes.plot(*shown[-1], color=color, label=words, marker=dots, markersize=2.5)
            if shown:
                axes.set_ylim(*limits(shown))
            else:
                axes.text(0.5, 0.5, "not recorded", ha="center", va="center", transform=axes.transAxes, color=FAINT)
                axes.set_yticks([])
            if shown and key == controlled and target is not None:
                axes.axhline(target, color=MARK, linewidth=0.8, linestyle="--", label="target")
            if shown and best is not None:
                axes.axvline(best, color=FAINT, linewidth=0.8, linestyle=":", label="the step that is reported")
            axes.set_ylabel(label)
            step_axis(axes, label=len(panels) == 3 or axes in grid[2:])
        letters(grid)
        legend_above(figure, grid)

    loss = ", (d) the loss as it was minimised, with its weight."
    if len(panels) == 3:
        loss = "; the loss that was minimised is just that."
    unseen = len(lines["elbo", "test"][0]) or len(lines["elbo", "validation"][0])
    missing = "" if unseen else " The run recorded no test lines."
    caption = (
        "Training curves, nats per example: (a) rate, (b) distortion, (c) the negative ELBO at beta = 1, "
        f"whatever was trained{loss} The axes are set by what comes after the first {SETTLED:.0%} of the steps; "
        f"earlier values may lie outside.{missing}"
    )
    return Figure(name, caption, draw(paint, height=4.6 if len(panels) == 4 else 2.6))


def _same_loss(lines) -> bool:
    """Tells whether the loss was the negative ELBO in every line, so that a panel of it would show nothing new."""
    (at, elbo), (steps, loss) = lines["elbo", "train"], lines["loss", "train"]
    return len(at) > 0 and np.array_equal(at, steps) and np.allclose(loss, -elbo, rtol=1e-4, atol=1e-3)


def _log_if_wide(axes, values) -> None:
    if values.min() > 0 and values.max() > 20 * np.median(values):
        axes.set_yscale("log")
    else:
        low, high = min(0.0, values.min()), values.max()
        axes.set_ylim(low, high + 0.15 * (high - low) if high > low else low + 1.0)


def weight(run: Run) -> Figure:
    """Draws beta as it was applied, sigma where there is one, and the water level beta sigma^2 against the data."""
    name = "weight.png"
    averaged = run.config.get("weighting") == "capacity"  # it applies +gamma or -gamma, whose mean is the weight
    steps, beta = series(run.metrics, "train", "multiplier" if averaged else "beta")
    if not len(steps):
        return Figure(name, "The weight over the steps: none, because metrics.jsonl holds no training line.", None)
    sigma_steps, sigma = series(run.metrics, "train", "sigma")
    fixed = run.results.get("sigma") if run.config.get("precision") == "fixed" else None
    if not len(sigma) and fixed is not None:
        sigma_steps, sigma = steps, np.full(len(steps), float(fixed))
    _, here, there = np.intersect1d(steps, sigma_steps, return_indices=True)
    water_steps, water = steps[here], beta[here] * sigma[there] ** 2
    water_steps, water = water_steps[water > 0], water[water > 0]
    largest = run.results.get("lambda_max")
    panels = [("weight β", steps, beta), ("noise σ", sigma_steps, sigma), ("water level βσ²", water_steps, water)]
    panels = [panel for panel in panels if len(panel[1]) and not _constant(panel[2])]
    constants = [
        f"{word} = {setting(float(values[0]))}"
        for word, values in (("beta", beta), ("sigma", sigma))
        if _constant(values)
    ]
    if not panels:
        return Figure(name, f"The weight over the steps: not drawn, because {' and '.join(constants)} all along.", None)

    def paint(figure):
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (label, at, values) in zip(grid, panels):
            axes.plot(at, values, color=TRAIN, marker="o" if len(at) == 1 else None, markersize=2.5)
            axes.set_ylabel(label)
            step_axis(axes, nbins=4 if len(panels) == 3 else 6)
            if values is not water:
                _log_if_wide(axes, values)
                continue
            axes.set_yscale("log")
            if largest:
                axes.axhline(largest, color=MARK, linewidth=0.8, linestyle="--", label=_LARGEST)
            low, high = min([*water, largest or water.min()]), max([*water, largest or water.max()])
            axes.set_ylim(low / 2.0, high * (high / low) ** 0.2 * 2.0)
        letters(grid)
        legend_above(figure, grid)

    applied = "the mean of what was applied" if averaged else "as each step applied it"
    words = {
        "weight β": f"the KL weight beta, {applied}",
        "noise σ": "the decoder's standard deviation sigma, in the units of the data",
        "water level βσ²": "the water level beta sigma^2, which alone decides what a squared-error model learns",
    }
    named = [f"({letter}) " if len(panels) > 1 else "" for letter in "abc"]
    parts = [letter + words[label] for letter, (label, *_) in zip(named, panels)]
    caption = "The weight over the steps: " + "; ".join([*parts, *(f"{words} all along" for words in constants)]) + "."
    return Figure(name, caption, draw(paint, height=2.4))


def _constant(values) -> bool:
    return len(values) > 1 and bool(np.all(values == values[0]))  # one line is a run that has just begun
