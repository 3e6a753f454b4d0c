"""Figures of rows: signals as lines, the columns of a table each in a panel of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from vae_jax.report.class_colours import scatter_classes
from vae_jax.report.figure import FAINT, TRAIN, Figure, draw, legend_above, letters

PANELS = 6
_COUNTED = ("categorical", "bernoulli")  # families whose values are names: a mean of them is of no use


def _panels(figure, count: int, **shared):
    """Returns ``count`` panels, at most three in a row."""
    columns = min(3, count)
    axes = figure.subplots(-(-count // columns), columns, squeeze=False, **shared).ravel()
    for empty in axes[count:]:
        empty.set_axis_off()
    return axes[:count]


def lines(panels: Sequence[Sequence[tuple[np.ndarray, dict]]], titles: Sequence[str] = ()) -> bytes:
    """Draws signals as lines, in up to six panels: of each panel its rows ``[f]`` with a style."""
    panels = panels[:PANELS]

    def paint(figure):
        from matplotlib.ticker import MaxNLocator

        grid_ = _panels(figure, len(panels), sharex=True, sharey=True)
        for i, (axes, rows) in enumerate(zip(grid_, panels)):
            for row, style in rows:
                axes.plot(np.arange(len(row)), row, **style)
            axes.set_title(titles[i] if titles else "", fontsize=8.5)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        figure.supxlabel("place in the row", fontsize=9)
        figure.supylabel("value", fontsize=9)
        handles, labels = grid_[0].get_legend_handles_labels()
        if labels:
            figure.legend(handles, labels, loc="outside upper center", ncols=2)

    return draw(paint, height=3.4)


def against(
    name: str, what: str, inputs, outputs, families: str | None, labels=None, named: Sequence[dict] = ()
) -> Figure:
    """Draws E[x|z] against x for the columns of a table whose family is of numbers, a panel each.

    Args:
      name, what: of the figure.
      inputs, outputs: x and E[x|z], ``[n, f]``.
      families: the text of ``--columns``, from the left.
      labels: the class of each row and the names of the classes (``class_colours.labels_of``), to colour them by.
      named: the columns of a file, as results.json has them.
    """
    columns = _numeric(families, inputs.shape[1])
    if len(named) == inputs.shape[1]:
        columns = [i for i, c in enumerate(named) if not str(c.get("family")).startswith(_COUNTED)]
    shown = [c for c in columns if np.isfinite(inputs[:, c]).any()][:PANELS]
    if not shown:
        return Figure(name, f"{what}: not drawn, because no column of the table holds numbers.", None)

    def paint(figure):
        for axes, column in zip(_panels(figure, len(shown)), shown):
            there = inputs[np.isfinite(inputs[:, column]), column][0]
            axes.axline((there, there), slope=1.0, color=FAINT, linewidth=0.8)
            points = np.stack([inputs[:, column], outputs[:, column]], axis=1)
            values, classes = labels or (np.zeros(len(points)), {})
            scatter_classes(axes, points, values, classes, s=9, alpha=0.7)
            if not classes:
                axes.plot(*points.T, "o", color=TRAIN, markersize=3, alpha=0.7)
            title = str(named[column].get("name")) if len(named) > column else f"column {column + 1}"
            axes.set_title(title[:30], fontsize=8.5, parse_math=False)
            axes.margins(0.1)
        letters(figure.axes[: len(shown)])
        figure.supxlabel("x", fontsize=9)
        figure.supylabel("E[x|z]", fontsize=9)
        legend_above(figure, figure.axes[:1])

    rest = f" (the first {len(shown)} of {len(columns)})" if len(columns) > len(shown) else ""
    left = len(inputs[0]) - len(columns)
    names = f" {left} columns of categories are left out: their codes have no mean." if left else ""
    caption = f"{what}: E[x|z] against x, test rows, for each column of numbers{rest}; the line: equal.{names}"
    caption += " Colours and markers are the classes." if labels else ""
    return Figure(name, caption, draw(paint, height=2.0 + 1.7 * (len(shown) > 3)))


def _numeric(families: str | None, count: int) -> list[int]:
    """Returns the columns of a table whose family is of numbers; all ``count`` of one without ``--columns``."""
    columns, start = [], 0
    for family, length in re.findall(r"(\w*)(?:\(\d+\))?:(\d{1,9})", str(families or f":{count}")):
        stop = start + int(length)
        columns += [] if family in _COUNTED else range(start, min(stop, count))
        start = stop
    return columns
