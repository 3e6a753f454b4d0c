"""The figures of data: inputs beside their reconstructions, samples from the prior."""

from __future__ import annotations

import numpy as np

from vae_jax.report.loading import Run
from vae_jax.report.style import DPI, TEST, TRAIN, WIDTH, Plate, draw

COLUMNS = 10
LABEL = 0.62  # inches left of a row for its label
GAP = 6  # pixels of the figure between pictures


def _is_image(x) -> bool:
    return x.ndim == 4 and x.shape[-1] in (1, 3)


def _skipped(name: str, what: str, x) -> Plate | None:
    if x is None or not len(x):
        return Plate(name, f"{what}: none, because the run left no pictures.npz with them.", None)
    if not _is_image(x) and x.ndim != 2:
        shape = " x ".join(map(str, x.shape[1:])) or "()"
        return Plate(name, f"{what}: not drawn, because data of shape {shape} is neither an image nor a row.", None)
    return None


def _cells(images, width: int) -> np.ndarray:
    """Enlarges ``[n, h, w, c]`` to ``width`` pixels across, pixels to rectangles: ``[n, H, width, 3]``."""
    images = np.clip(np.nan_to_num(np.asarray(images, np.float32)), 0.0, 1.0)
    height = max(1, round(width * images.shape[1] / images.shape[2]))
    rows = np.arange(height) * images.shape[1] // height
    columns = np.arange(width) * images.shape[2] // width
    enlarged = images[:, rows][:, :, columns]
    return np.broadcast_to(enlarged, (*enlarged.shape[:3], 3))


def _sheet(rows, labels, extra_gaps=()) -> bytes:
    """A sheet of pictures as a PNG: ``rows`` of images ``[n, h, w, c]``, a label left of each row.

    The gap before each row listed in ``extra_gaps`` is wider. Drawn pixel for pixel, so nothing is resampled.
    """
    margin = round(LABEL * DPI) if any(labels) else 0
    columns = max(len(row) for row in rows)
    # Few pictures keep the size that a full row's pictures would have, or twice that.
    share = max(columns, COLUMNS // 2)
    cell = (round(WIDTH * DPI) - margin - GAP * (share - 1)) // share
    blocks = [_cells(row, cell) for row in rows]
    tops, y = [], 0
    for i, block in enumerate(blocks):
        y += 3 * GAP if i in extra_gaps else 0
        tops.append(y)
        y += block.shape[1] + GAP
    canvas = np.ones((y - GAP, round(WIDTH * DPI), 3), np.float32)
    for top, block in zip(tops, blocks):
        for c, picture in enumerate(block):
            left = margin + c * (cell + GAP)
            canvas[top : top + block.shape[1], left : left + cell] = picture
    canvas = canvas[:, : margin + columns * (cell + GAP) - GAP]
    height, width = canvas.shape[:2]

    def paint(figure):
        figure.figimage(canvas, 0, 0, origin="upper")
        for top, block, label in zip(tops, blocks, labels):
            middle = 1.0 - (top + 0.5 * block.shape[1]) / height
            figure.text((margin - 10) / width, middle, label, ha="right", va="center")

    return draw(paint, height / DPI, width / DPI, layout=None)


def _profiles(figure, rows, labels) -> None:
    """Draws rows of a table as lines over their columns in six panels; ``rows`` is a list of ``[n, f]``."""
    count = min(6, len(rows[0]))
    columns = min(3, count)
    grid = figure.subplots(-(-count // columns), columns, sharex=True, sharey=True, squeeze=False)
    place = np.arange(rows[0].shape[1])
    marker = "o" if len(place) <= 40 else None
    for i, axes in enumerate(grid.ravel()):
        if i >= count:
            axes.set_axis_off()
            continue
        for values, label, color, style in zip(rows, labels, (TRAIN, TEST), ("-", "--")):
            axes.plot(place, values[i], style, color=color, label=label, marker=marker, markersize=2)
        if i % columns == 0:
            axes.set_ylabel("value")
        if i + columns >= count:
            axes.set_xlabel("column")
            axes.tick_params(labelbottom=True)
    if len(rows) > 1:
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)


def reconstructions(run: Run) -> Plate:
    """Inputs of the test split with E[x|z] right below each."""
    name, what = "reconstructions.png", "Reconstructions"
    inputs, outputs = run.pictures.get("inputs"), run.pictures.get("reconstructions")
    skipped = _skipped(name, what, inputs) or _skipped(name, what, outputs)
    if skipped:
        return skipped
    if not _is_image(inputs):
        png = draw(lambda figure: _profiles(figure, [inputs, outputs], ["input", "reconstruction"]), height=3.4)
        return Plate(name, "Reconstructions: rows of the test split (solid) and E[x|z] (dashed).", png)
    columns = min(COLUMNS, len(inputs))
    rows, labels = [], []
    for start in range(0, min(3, len(inputs) // columns) * columns, columns):
        part = slice(start, start + columns)
        rows += [inputs[part], outputs[part]]
        labels += ["input", "E[x|z]"]
    png = _sheet(rows, labels, extra_gaps=range(2, len(rows), 2))
    return Plate(name, "Reconstructions: examples of the test split, each with E[x|z] right below it.", png)


def samples(run: Run) -> Plate:
    """The decoder's means at draws from the prior."""
    name, what = "samples.png", "Samples"
    drawn = run.pictures.get("samples")
    skipped = _skipped(name, what, drawn)
    if skipped:
        return skipped
    caption = "Samples: the decoder's mean at z drawn from the prior N(0, I), without the noise of p(x|z)."
    if not _is_image(drawn):
        return Plate(name, caption, draw(lambda figure: _profiles(figure, [drawn], [None]), height=3.2))
    columns = min(COLUMNS, len(drawn))
    rows = [drawn[r * columns : (r + 1) * columns] for r in range(min(6, len(drawn) // columns))]
    return Plate(name, caption, _sheet(rows, [""] * len(rows)))
