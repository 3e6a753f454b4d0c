"""The figures of the code: what each latent carries, and a map of the posterior means."""

from __future__ import annotations

import numpy as np

from vae_jax.report.class_colours import FEW, classes_of, scatter_classes
from vae_jax.report.figure import FAINT, TEST, TRAIN, WIDTH, Figure, draw, label_of, legend_columns, level
from vae_jax.report.label_placement import beside, room
from vae_jax.report.reading.finding import used_latents
from vae_jax.report.run_files import Run

# What Burda's variance of 0.01 of the posterior mean (2016, 1509.00519) is worth in a linear latent of scale 1.
THRESHOLD = -0.5 * np.log1p(-0.01)
FLOOR = 1e-5  # nats: the log axis ends here
_SHORT = 10  # letters of a name that is written among the points
_ROWS = 16  # of a legend beside the map; a longer one lies below it
_PANELS = 6


def kl_per_latent(run: Run) -> Figure:
    """Draws the KL of each latent, largest first, on a linear and on a log axis."""
    name = "kl_per_latent.png"
    kl = np.asarray([v or 0.0 for v in run.results.get("kl_per_latent") or []], float)
    if not kl.size:
        return Figure(
            name, "KL of each latent: none, because results.json has it of all latents together at most.", None
        )
    information = np.asarray([v or 0.0 for v in run.results.get("information_per_latent") or kl], float)
    order = np.argsort(-kl, kind="stable")
    carried = (information if information.size == kl.size else kl)[order]
    kl, place = kl[order], np.arange(kl.size)
    count = used_latents(run.results)
    count = int(np.sum(carried > THRESHOLD)) if count is None else min(int(count), kl.size)
    used = np.isin(place, np.argsort(-carried, kind="stable")[:count])
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
            right.legend(loc="lower left")
        left.set(ylim=(0.0, max(1.15 * kl.max(), 0.1)), ylabel="KL (nats)")
        left.legend(loc="upper right")
        right.set(yscale="log", ylim=(FLOOR, max(2.0 * kl.max(), 1.0)), ylabel="nats (log scale)")
        level(right, THRESHOLD, "used above")
        for axes in (left, right):
            axes.set_xlim(-0.8, max(kl.size, 4) - 0.2)
            if kl.size <= 24:
                axes.set_xticks(place, [str(i) for i in order], rotation=90 if kl.size > 10 else 0)
            axes.set_xlabel("latent, by its KL" if kl.size <= 24 else "rank of the latent, by its KL")

    judged = (
        "A latent is used where the variance of its posterior mean is above 0.01; the dashed line is what a linear "
        f"latent of just that variance costs, {THRESHOLD:.3f} nats."
        if np.array_equal(carried, kl)
        else f"A latent is used where it carries more than {THRESHOLD:.3f} nats about the example, whatever its scale "
        "(crosses, dashed line); what it costs beyond that is the distance of its codes from the prior."
    )
    caption = (
        "What each latent costs on the test split, its KL, largest first, on a linear (left) and a log axis (right). "
        f"{judged} Values below {FLOOR:g} nats are drawn at {FLOOR:g}."
    )
    return Figure(name, caption, draw(paint, height=2.6))


def _scatter(figure, axes, points, values, title: str, classes: dict[float, str] | None) -> None:
    """Points coloured by ``values``: None for no colour, of ``classes`` each its own, else a scale."""
    from matplotlib.ticker import MaxNLocator

    style = {"s": 5 if len(points) > 500 else 9, "alpha": 0.7}
    axes.set_title(label_of(title))
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


def _name_classes(axes, points, values, classes: dict[float, str]) -> None:
    """Writes the name of each class in the middle of its points, where they are few and short."""
    from matplotlib.patheffects import withStroke

    if len(classes) > FEW or max(map(len, classes.values())) > _SHORT:
        return
    free = room(axes)
    style = {"weight": "bold", "path_effects": [withStroke(linewidth=2.5, foreground="white")]}
    for kind, name in classes.items():
        middle = np.median(points[values == kind], axis=0)
        beside(free, middle, name, distances=(0.0, 2.0, 5.0, 9.0, 14.0), always=True, **style)


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
            shown = [label_of(str(n).split(" (")[0] if several else str(n)) for n in names]
            if i + columns >= len(panels):
                axes.set_xlabel(shown[0])
            if i % columns == 0:
                axes.set_ylabel(shown[1])
        handles, labels = _legend(grid)
        if beside_it:
            figure.legend(handles, labels, loc="outside right center", markerscale=1.6)
        elif labels:
            figure.legend(handles, labels, loc="outside lower center", ncols=legend_columns(labels), markerscale=1.6)
        if classes[0] and not several:
            figure.draw_without_rendering()
            _name_classes(grid[0], points, panels[0][0], classes[0])

    colour = ""
    if panels[0][0] is not None:
        colour = ", coloured by one factor in each panel" if several else f", coloured by {panels[0][1]}"
    caption = f"{what}: the posterior means of {len(points)} test examples on {names[0]} and {names[1]}{colour}."
    height = {1: 3.8, 2: 3.0}.get(columns, 2.3 * rows)
    if named and not beside_it:
        height += 0.2 * -(-len(named) // legend_columns(named))
    return Figure(name, caption, draw(paint, height=height, width=WIDTH if several or named else 4.8))
