"""The figure of waking: the rate of each latent over the steps, as it was and as the linear theory foretold it."""

from __future__ import annotations

from typing import Any

import numpy as np

from vae_jax.report.figure import FAINT, MARK, TRAIN, Figure, draw, legend_above, letters, step_axis
from vae_jax.report.run_files import VECTOR, Run

LEAST = 0.02  # nats: a latent that ends with less is taken for one that sleeps
NAME = "waking.png"


def observed(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps and rates of the evaluations that say the rate of each latent, ``[n]`` and ``[n, d]``.

    They are those of the validation split, of the test split where there is no other; nats per example.
    """
    lines = [m for m in run.metrics if VECTOR in m]
    for split in ("validation", "test"):
        own = [m for m in lines if m["split"] == split and len(m[VECTOR]) == len(lines[0][VECTOR])]
        if own:
            return np.array([m["step"] for m in own], float), np.array([m[VECTOR] for m in own], float)
    return np.zeros(0), np.zeros((0, 0))


def half_awake(steps: np.ndarray, rates: np.ndarray, least: float = LEAST) -> np.ndarray:
    """Returns the step from which on each rate is at least half of its last value, ``[d]``; NaN where that is small.

    A network begins with a random code, which it may forget before it learns one: its first rise is not its waking.
    Between two evaluations the rate is taken to be straight, and 0 before the first.

    Args:
      steps: ``[n]``.
      rates: ``[n, d]``, nats.
      least: the last rate below which a latent is taken for one that sleeps.
    """
    times, values = np.append(0.0, steps), np.vstack([np.zeros(rates.shape[1]), rates])
    found = np.full(rates.shape[1], np.nan)
    for i in np.flatnonzero(values[-1] >= least):
        half = 0.5 * values[-1, i]
        before = int(np.flatnonzero(values[:, i] < half)[-1])
        (low, high), (first, last) = values[before : before + 2, i], times[before : before + 2]
        found[i] = first + (last - first) * (half - low) / (high - low)
    return found


def pairs(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Returns foretold and observed steps of waking, both ascending, as many as both have: networks mix directions."""
    told, seen = run.waking or {}, np.sort(half_awake(*observed(run)))
    rates = np.array(told.get("rates") or np.zeros((0, 0)), float)
    foretold = np.sort(half_awake(np.array(told["steps"], float), rates)) if rates.size else np.zeros(0)
    foretold, seen = foretold[np.isfinite(foretold)], seen[np.isfinite(seen)]
    count = min(len(foretold), len(seen))
    return foretold[:count], seen[:count]


def waking(run: Run) -> Figure:
    """Draws the rate of each latent over the steps beside that of each direction of the linear model, and their waking.

    (a) the rates; (b) the step from which the k-th latent is half awake against that of the k-th direction.
    """
    steps, rates = observed(run)
    if len(steps) < 2:
        why = "because metrics.jsonl has no rate of each latent, or of one evaluation only"
        return Figure(NAME, f"Waking: not drawn, {why}.", None)
    told: dict[str, Any] = run.waking or {}
    foretold, seen = pairs(run)

    def paint(figure):
        panels = figure.subplots(1, 2, width_ratios=(1.7, 1.0)) if len(seen) else [figure.subplots()]
        axes = panels[0]
        for i, values in enumerate(np.array(told.get("rates") or np.zeros((0, 0)), float).T):
            label = "a direction, by the linear theory" if i == 0 else None
            axes.plot(told["steps"], values, color=FAINT, linewidth=0.8, linestyle="--", label=label, zorder=1)
        for i, values in enumerate(rates.T):
            label = "a latent, as it was" if i == 0 else None
            axes.plot(steps, values, color=TRAIN, linewidth=0.9, alpha=0.8, label=label)
        axes.set_ylim(0.0, 1.08 * max(float(rates.max()), LEAST))
        axes.set_ylabel("rate of a latent (nats)")
        step_axis(axes)
        if len(seen):
            _against(panels[1], foretold, seen)
            letters(panels)
        legend_above(figure, panels)

    caption = "Waking: the rate of each latent over the steps, on data that are not trained on"
    if told:
        caption += ", and (dashed) of each direction of a linear model of these data, noise, weight and optimiser"
    if len(seen):
        caption += (
            ". (b) The step from which on the k-th latent has half of the rate that it ends with, and that of the k-th "
            f"direction: the median ratio is {np.median(seen / foretold):.2g}. Between two evaluations rates are "
            "taken to be straight"
        )
    return Figure(NAME, f"{caption}.", draw(paint, height=2.9))


def _against(axes, foretold: np.ndarray, seen: np.ndarray) -> None:
    low, high = min(foretold.min(), seen.min()) / 1.5, max(foretold.max(), seen.max()) * 1.5
    axes.plot([low, high], [low, high], color=FAINT, linewidth=0.8, linestyle="--")
    axes.plot(foretold, seen, "o", color=TRAIN, markersize=3.5)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.set_xlabel("step foretold")
    axes.set_ylabel("step observed", color=MARK)
    axes.set_aspect("equal")
