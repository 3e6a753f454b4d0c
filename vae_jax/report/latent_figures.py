"""The figures of the code: what each latent carries, and a map of the posterior means."""

from __future__ import annotations

import re

import numpy as np

from vae_jax.report.class_colours import classes_of, scatter_classes
from vae_jax.report.figure import (
    FAINT,
    MARK,
    TEST,
    TRAIN,
    WIDTH,
    Figure,
    draw,
    label_of,
    legend_above,
    legend_columns,
    letters,
)
from vae_jax.report.reading.finding import used_latents
from vae_jax.report.run_files import Run

# What Burda's variance of 0.01 of the posterior mean (2016, 1509.00519) is worth in a linear latent of scale 1.
THRESHOLD = -0.5 * np.log1p(-0.01)
FLOOR = 1e-5  # nats: the log axis ends here
_ROWS = 16  # of a legend beside the map; a longer one lies below it
_PANELS = 6
_NAMED = 20  # latents whose numbers find room below an axis


def used_mask(run: Run) -> np.ndarray | None:
    """Tells which latents are in use, ``[d]``; None of a run that has neither what each costs nor what it carries.

    They are as many as the results count, those that carry most.
    """
    measured = run.results.get("kl_per_latent") or run.results.get("information_per_latent") or []
    kl = np.asarray([v or 0.0 for v in measured], float)
    if not kl.size:
        return None
    carried = _carried(run, kl)
    count = used_latents(run.results)
    count = int(np.sum(carried > THRESHOLD)) if count is None else min(int(count), kl.size)
    return np.isin(np.arange(kl.size), np.argsort(-carried, kind="stable")[:count])


def _carried(run: Run, kl: np.ndarray) -> np.ndarray:
    """Returns what each latent tells about the example, ``[d]`` nats; where it was not measured, the KL."""
    carried = np.asarray([v or 0.0 for v in run.results.get("information_per_latent") or []], float)
    return carried if carried.size == kl.size else kl


def kl_per_latent(run: Run) -> Figure:
    """Draws the KL of each latent, largest first, on a linear and on a log axis."""
    name = "kl_per_latent.png"
    kl = np.asarray([v or 0.0 for v in run.results.get("kl_per_latent") or []], float)
    if not kl.size:
        return Figure(
            name, "KL of each latent: none, because results.json has it of all latents together at most.", None
        )
    order = np.argsort(-kl, kind="stable")
    carried, used = _carried(run, kl)[order], used_mask(run)[order]
    kl, place, count = kl[order], np.arange(kl.size), int(used.sum())
    groups = ((used, TRAIN, TRAIN, f"used ({count})"), (~used, "white", FAINT, f"not used ({kl.size - count})"))

    def paint(figure):
        left, right = figure.subplots(1, 2)
        for mask, face, edge, label in groups:
            if mask.any():
                left.bar(place[mask], kl[mask], width=0.7, color=face, edgecolor=edge, linewidth=0.8, label=label)
                height = np.maximum(kl[mask], FLOOR)
                right.plot(place[mask], height, "o", color=edge, markerfacecolor=face, markersize=4, clip_on=False)
        if not np.array_equal(carried, kl):
            right.plot(place, np.maximum(carried, FLOOR), "x", color=TEST, markersize=4, clip_on=False, label="carried")
        left.set(ylim=(0.0, max(1.15 * kl.max(), 0.1)), ylabel="KL (nats)")
        right.set(yscale="log", ylim=(FLOOR, max(2.0 * kl.max(), 1.0)), ylabel="nats (log scale)")
        right.axhline(THRESHOLD, color=MARK, linewidth=0.8, linestyle="--", label="used above", zorder=1)
        for axes in (left, right):
            axes.set_xlim(-0.8, max(kl.size, 4) - 0.2)
            if kl.size <= _NAMED:
                axes.set_xticks(place, [str(i) for i in order], rotation=90 if kl.size > 10 else 0)
            axes.set_xlabel("latent, by its KL" if kl.size <= _NAMED else "rank of the latent, by its KL")
        letters((left, right))
        legend_above(figure, (left, right))

    judged = (
        "A latent is used where the variance of its posterior mean is above 0.01; the dashed line is what a linear "
        f"latent of just that variance costs, {THRESHOLD:.3f} nats."
        if np.array_equal(carried, kl)
        else f"A latent is used where it carries more than {THRESHOLD:.3f} nats about the example, whatever its scale "
        "(crosses, dashed line); what it costs beyond that is the distance of its codes from the prior."
    )
    caption = (
        "What each latent costs on the test split, its KL, largest first, (a) on a linear and (b) on a log axis. "
        f"{judged} Values below {FLOOR:g} nats are drawn at {FLOOR:g}."
    )
    return Figure(name, caption, draw(paint, height=2.6))


def _scatter(figure, axes, points, values, title: str, classes: dict[float, str] | None) -> None:
    """Points coloured by ``values``: None for no colour, of ``classes`` each its own, else a scale."""
    from matplotlib.ticker import MaxNLocator

    style = {"s": 5 if len(points) > 500 else 9, "alpha": 0.7}
    axes.set_title(label_of(title, 20))
    if values is None:
        axes.scatter(*points.T, color=TRAIN, linewidths=0, **style)
        return
    if classes:
        scatter_classes(axes, points, values, classes, **style)
        return
    drawn = axes.scatter(*points.T, c=values, cmap="viridis", linewidths=0, **style)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02)
    bar.outline.set_visible(False)
    if (values == np.rint(values)).all():
        bar.locator = MaxNLocator(nbins=5, integer=True)
    bar.solids.set_alpha(1.0)


def _legend(panels) -> tuple[list, list[str]]:
    """The handles and names of the classes, of the first panel that has some."""
    return next((found for found in (axes.get_legend_handles_labels() for axes in panels) if found[1]), ([], []))


def embedding(run: Run) -> Figure:
    """Draws the posterior means of test examples in two dimensions, a panel for each known factor."""
    name, what = "embedding.png", "Map of the code"
    points, names = run.pictures.get("embedding"), run.pictures.get("embedding_axes")
    if points is None or names is None or not len(points):
        return Figure(name, f"{what}: none, because the run left no pictures.npz with it.", None)
    points = np.asarray(points, float)
    if not np.isfinite(points).all() or not (np.ptp(points, axis=0) > 1e-6).all():
        return Figure(name, f"{what}: not drawn, because the posterior means hardly differ.", None)
    factors, titles = run.pictures.get("factors"), run.pictures.get("factor_names")
    panels = [(None, "")]
    if factors is not None and titles is not None:
        varied = [(values, str(title)) for values, title in zip(factors.T, titles) if len(np.unique(values)) > 1]
        panels = varied[:_PANELS] or panels
    several = len(panels) > 1
    class_names = run.pictures.get("class_names", ())
    classes = [None if v is None else classes_of(v, title, class_names, not several) for v, title in panels]
    named = next(([*part.values()] for part in classes if part), [])
    beside_it = 0 < len(named) <= _ROWS and not several
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)

    def paint(figure):
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        for i, (axes, (values, title)) in enumerate(zip(grid, panels)):
            _scatter(figure, axes, points, values, title if several else "", classes[i])
            axes.tick_params(labelbottom=i + columns >= len(panels))
        figure.supxlabel(label_of(str(names[0])), fontsize=9)
        figure.supylabel(label_of(str(names[1])), fontsize=9)
        letters(grid[: len(panels)])
        handles, labels = _legend(grid)
        if beside_it:
            figure.legend(handles, labels, loc="outside right center", markerscale=1.6)
        elif labels:
            figure.legend(handles, labels, loc="outside lower center", ncols=legend_columns(labels), markerscale=1.6)

    colour = ""
    if panels[0][0] is not None:
        colour = ", coloured by one factor in each panel" if several else f", coloured by {panels[0][1]}"
    caption = f"{what}: the posterior means of {len(points)} test examples on {names[0]} and {names[1]}{colour}."
    shares = [int(share) for name in names for share in re.findall(r"\((\d+)% of the variance\)", str(name))]
    caption += f" The two hold {sum(shares)}% of the variance of the means; the rest is not shown." if shares else ""
    height = {1: 3.8, 2: 3.0}.get(columns, 2.3 * rows)
    if named and not beside_it:
        height += 0.2 * -(-len(named) // legend_columns(named))
    return Figure(name, caption, draw(paint, height=height, width=WIDTH if several or named else 4.8))
