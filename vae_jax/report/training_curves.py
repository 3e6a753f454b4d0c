"""The figures of a run over its steps: rate, distortion, bound and loss; the weight that was applied."""

from __future__ import annotations

import numpy as np

from vae_jax.report.figure import FAINT, MARK, TEST, TRAIN, Figure, draw, step_axis
from vae_jax.report.reading.weight import HELD
from vae_jax.report.run_files import Run, series

SETTLED = 0.1  # the share of a run, at its start, that does not set the axes


def limits(curves) -> tuple[float, float]:
    """Where a y axis should run, for ``curves``, a list of ``(steps, values)``.

    The first values of a run can be thousands of times the last: only what comes after the first tenth of the
    steps counts, without its outermost 1%, plus a little of the way down to it.
    """
    steps = np.concatenate([s for s, _ in curves])
    values = np.concatenate([v for _, v in curves])
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if values.size == 0:
        return 0.0, 1.0
    late = values[steps >= SETTLED * steps.max()]
    low, high = np.percentile(late, [0.5, 99.5])
    last = [v[np.isfinite(v)][-1] for _, v in curves if np.isfinite(v).any()]
    low, high = min(low, *last), max(high, *last)
    span = (high - low) or 0.1 * abs(high) or 1.0
    # Some of the first descent is shown, but no more than a third of the height.
    low, high = max(values.min(), low - 0.3 * span), min(values.max(), high + 0.3 * span)
    return float(low - 0.06 * span), float(high + 0.06 * span)


def _line(axes, curve, color, label, dots=False, style="-"):
    steps, values = curve
    marker = "o" if dots or len(steps) == 1 else None
    axes.plot(steps, values, color=color, label=label, marker=marker, markersize=2.5, linestyle=style)


def _negative(curve):
    return curve[0], -curve[1]


def curves(run: Run) -> Figure:
    """Rate, distortion and the negative ELBO over the steps, training and test, and the loss as minimised."""
    name = "curves.png"
    get = {s: {k: series(run.metrics, s, k) for k in ("rate", "distortion", "elbo", "loss")} for s in ("train", "test")}
    if not any(len(steps) for split in get.values() for steps, _ in split.values()):
        return Figure(name, "Training curves: none, because metrics.jsonl holds no line that can be read.", None)
    for split in get.values():
        split["elbo"] = _negative(split["elbo"])
    flag, held = HELD.get(run.config.get("weighting"), (None, None))
    target = run.config.get(flag) if flag else None
    panels = (
        ("rate", "rate"),
        ("distortion", "distortion"),
        ("elbo", "−ELBO (β = 1)"),
        ("loss", "loss, as minimised"),
    )

    def paint(figure):
        grid = figure.subplots(2, 2, sharex=True).ravel()
        for axes, (key, label), letter in zip(grid, panels, "abcd"):
            shown = []
            for split, color in (("train", TRAIN), ("test", TEST)):
                curve = get[split][key]
                if len(curve[0]) and not (key == "loss" and split == "test"):
                    word = "training batches" if split == "train" else "test split"
                    _line(axes, curve, color, word, dots=split == "test")
                    shown.append(curve)
            if shown:
                axes.set_ylim(*limits(shown))
                if key == held and target is not None:
                    axes.axhline(target, color=MARK, linewidth=0.8, linestyle="--", label="target")
            else:
                axes.text(0.5, 0.5, "not recorded", ha="center", va="center", transform=axes.transAxes, color=FAINT)
                axes.set_yticks([])
            axes.set_ylabel(f"{label} (nats)")
            axes.set_title(f"({letter})", loc="left")
            step_axis(axes, label=letter in "cd")
        handles = {}
        for axes in grid:
            for handle, label in zip(*axes.get_legend_handles_labels()):
                handles.setdefault(label, handle)
        if handles:
            figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2)

    missing = "" if len(get["test"]["elbo"][0]) else " The run recorded no test lines."
    caption = (
        "Training curves, nats per example: (a) rate, (b) distortion, (c) the negative ELBO at beta = 1, "
        "whatever was trained, (d) the loss as it was minimised, with its weight. The axes are set by what "
        f"comes after the first {SETTLED:.0%} of the steps; earlier values may lie outside.{missing}"
    )
    return Figure(name, caption, draw(paint, height=4.6))


def _log_if_wide(axes, values) -> None:
    positive = values[values > 0]
    if positive.size == values.size and positive.size and positive.max() > 20 * np.median(positive):
        axes.set_yscale("log")
    else:
        low, high = min(0.0, values.min()), values.max()
        axes.set_ylim(low, high + 0.15 * (high - low) if high > low else low + 1.0)


def weight(run: Run) -> Figure:
    """Beta as it was applied, sigma where there is one, and the water level beta sigma^2 against the data."""
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
    rows = 1 + bool(len(sigma)) + bool(len(water))

    def paint(figure):
        panels = list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
        axes = panels.pop(0)
        _line(axes, (steps, beta), TRAIN, None)
        _log_if_wide(axes, beta)
        axes.set_ylabel("weight β")
        if len(sigma):
            axes = panels.pop(0)
            _line(axes, (sigma_steps, sigma), TRAIN, None)
            _log_if_wide(axes, sigma)
            axes.set_ylabel("noise σ")
        if len(water):
            axes = panels.pop(0)
            _line(axes, (water_steps, water), TRAIN, None)
            axes.set_yscale("log")
            if largest:
                axes.axhline(largest, color=MARK, linewidth=0.8, linestyle="--")
                axes.annotate(
                    "largest eigenvalue of the data: above it, collapse",
                    (1.0, largest),
                    xycoords=("axes fraction", "data"),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="right",
                    fontsize=8,
                )
            low, high = min([*water, largest or water.min()]), max([*water, largest or water.max()])
            axes.set_ylim(low / 2.0, high * (high / low) ** 0.2 * 2.0)
            axes.set_ylabel("water level βσ²")
        for axes in figure.axes:
            step_axis(axes, label=axes is figure.axes[-1])
        figure.align_ylabels()

    parts = ["the KL weight beta, " + ("the mean of what was applied" if averaged else "as each step applied it")]
    if len(sigma):
        parts.append("the decoder's standard deviation sigma, in the units of the data")
    if len(water):
        parts.append("the water level beta sigma^2, which alone decides what a squared-error model learns")
    return Figure(name, "The weight over the steps: " + "; ".join(parts) + ".", draw(paint, height=0.5 + 1.35 * rows))
