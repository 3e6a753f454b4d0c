"""The figures of data: inputs beside their reconstructions, samples from the prior at several temperatures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vae_jax.report.figure import DPI, TEST, TRAIN, WIDTH, Figure, draw
from vae_jax.report.run_files import Run


def reconstructions(run: Run) -> Figure:
    """Inputs of the test split with E[x|z] right below each."""
    name, what = "reconstructions.png", "Reconstructions"
    inputs, outputs = run.pictures.get("inputs"), run.pictures.get("reconstructions")
    skipped = skipped_figure(name, what, inputs) or skipped_figure(name, what, outputs)
    if skipped:
        return skipped
    if not is_image(inputs):
        png = draw(lambda figure: profiles(figure, [inputs, outputs], ["input", "reconstruction"]), height=3.4)
        return Figure(name, "Reconstructions: rows of the test split (solid) and E[x|z] (dashed).", png)
    columns = min(COLUMNS, len(inputs))
    rows, labels = [], []
    for start in range(0, min(3, len(inputs) // columns) * columns, columns):
        part = slice(start, start + columns)
        rows += [inputs[part], outputs[part]]
        labels += ["input", "E[x|z]"]
    png = sheet(rows, labels, extra_gaps=range(2, len(rows), 2))
    return Figure(name, "Reconstructions: examples of the test split, each with E[x|z] right below it.", png)


def samples(run: Run) -> Figure:
    """The decoder's means at draws from the prior."""
    name, what = "samples.png", "Samples"
    drawn = run.pictures.get("samples")
    skipped = skipped_figure(name, what, drawn)
    if skipped:
        return skipped
    caption = "Samples: the decoder's mean at z drawn from the prior N(0, I), without the noise of p(x|z)."
    if not is_image(drawn):
        return Figure(name, caption, draw(lambda figure: profiles(figure, [drawn], [None]), height=3.2))
    columns = min(COLUMNS, len(drawn))
    rows = [drawn[r * columns : (r + 1) * columns] for r in range(min(6, len(drawn) // columns))]
    return Figure(name, caption, sheet(rows, [""] * len(rows)))


def tempered(run: Run) -> Figure:
    """The same draws from the prior at several temperatures."""
    values, at = run.pictures.get("tempered"), run.pictures.get("temperatures")
    labels = [f"T = {t:.2g}" for t in at] if at is not None else []
    caption = (
        "Samples at several temperatures: the decoder's mean at T times the same draws from N(0, I), in each column "
        "one draw. T = 1 is the model; a smaller T shows safer samples of less variety."
    )
    return drawn_groups("temperatures.png", "Samples at several temperatures", caption, values, labels)


def traversals(run: Run) -> Figure:
    """One latent moved along the prior, the others at an example's posterior mean; the most informative first."""
    held = run.pictures
    values, latents, kl, z = (held.get(k) for k in ("traversals", *(f"traversal_{k}" for k in ("latents", "kl", "z"))))
    labels = [] if latents is None or kl is None else [f"z{i}\n{nats:.2f}" for i, nats in zip(latents, kl)]
    ends = f" ({z[0]:.1f} to {z[-1]:.1f})".replace("-", "\N{MINUS SIGN}") if z is not None and len(z) else ""
    caption = (
        "Latent traversals: the decoder's mean with one latent moved from the 2% to the 98% quantile of the prior"
        f"{ends}, all others at the posterior mean of the first test example. Beside each row its latent, and that "
        "latent's mean KL in nats, largest first."
    )
    return drawn_groups("traversals.png", "Latent traversals", caption, values, labels)


def interpolations(run: Run) -> Figure:
    """From one test example to another along the straight line between their posterior means."""
    values, ends = run.pictures.get("interpolations"), run.pictures.get("interpolation_ends")
    caption = (
        "Interpolations: the decoder's mean at equal steps on the straight line between the posterior means of two "
        "test examples"
    )
    if values is None or ends is None or not is_image(values[0] if len(values) else values):
        labels = [] if values is None else [f"pair {i + 1}" for i in range(len(values))]
        return drawn_groups("interpolations.png", "Interpolations", f"{caption}.", values, labels)
    values = np.concatenate([ends[:, :1], values, ends[:, 1:]], axis=1)
    last = values.shape[1] - 1

    def ends_apart(rows, labels):
        return sheet(rows, labels, extra_columns=(1, last))

    caption += "; the examples themselves stand at the two ends."
    return drawn_groups("interpolations.png", "Interpolations", caption, values, [""] * len(values), ends_apart)


COLUMNS = 10
LABEL = 0.62  # inches left of a row for its label
GAP = 6  # pixels of the figure between pictures


def is_image(x) -> bool:
    """Whether ``x`` is pictures ``[n, h, w, c]`` of one or three channels."""
    return x.ndim == 4 and x.shape[-1] in (1, 3)


def skipped_figure(name: str, what: str, x) -> Figure | None:
    """A figure that says why ``x [n, *event]`` cannot be drawn; None where it can."""
    if x is None or not len(x):
        return Figure(name, f"{what}: none, because the run left no pictures.npz with them.", None)
    if not is_image(x) and x.ndim != 2:
        shape = " x ".join(map(str, x.shape[1:])) or "()"
        return Figure(name, f"{what}: not drawn, because data of shape {shape} is neither an image nor a row.", None)
    return None


def _cells(images, width: int) -> np.ndarray:
    """Enlarges ``[n, h, w, c]`` to ``width`` pixels across, pixels to rectangles: ``[n, H, width, 3]``."""
    images = np.asarray(images, np.float32) / (255.0 if images.dtype == np.uint8 else 1.0)
    images = np.clip(np.nan_to_num(images), 0.0, 1.0)
    height = max(1, round(width * images.shape[1] / images.shape[2]))
    rows = np.arange(height) * images.shape[1] // height
    columns = np.arange(width) * images.shape[2] // width
    enlarged = images[:, rows][:, :, columns]
    return np.broadcast_to(enlarged, (*enlarged.shape[:3], 3))


def sheet(rows, labels, extra_gaps=(), extra_columns=()) -> bytes:
    """A sheet of pictures as a PNG: ``rows`` of images ``[n, h, w, c]``, a label left of each row.

    The gap before each row listed in ``extra_gaps`` and each column in ``extra_columns`` is wider. Drawn pixel for
    pixel, so nothing is resampled.
    """
    margin = round(LABEL * DPI) if any(labels) else 0
    beside = 2 * GAP * len(extra_columns)
    columns = max(len(row) for row in rows)
    # Few pictures keep the size that a full row's pictures would have, or twice that.
    share = max(columns, COLUMNS // 2)
    cell = (round(WIDTH * DPI) - margin - beside - GAP * (share - 1)) // share
    blocks = [_cells(row, cell) for row in rows]
    tops, y = [], 0
    for i, block in enumerate(blocks):
        y += 3 * GAP if i in extra_gaps else 0
        tops.append(y)
        y += block.shape[1] + GAP
    canvas = np.ones((y - GAP, round(WIDTH * DPI), 3), np.float32)
    for top, block in zip(tops, blocks):
        for c, picture in enumerate(block):
            left = margin + c * (cell + GAP) + 2 * GAP * sum(c >= column for column in extra_columns)
            canvas[top : top + block.shape[1], left : left + cell] = picture
    canvas = canvas[:, : margin + beside + columns * (cell + GAP) - GAP]
    height, width = canvas.shape[:2]

    def paint(figure):
        figure.figimage(canvas, 0, 0, origin="upper")
        for top, block, label in zip(tops, blocks, labels):
            middle = 1.0 - (top + 0.5 * block.shape[1]) / height
            figure.text((margin - 10) / width, middle, label, ha="right", va="center")

    return draw(paint, height / DPI, width / DPI, layout=None)


def profiles(figure, rows, labels) -> None:
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


def bundles(figure, groups, titles) -> None:
    """Draws groups of rows ``[t, f]`` in up to six panels, one line for each row, its colour moving with t."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    shades = LinearSegmentedColormap.from_list("bundle", [TRAIN, "#cccccc", TEST])
    count = min(6, len(groups))
    columns = min(3, count)
    grid = figure.subplots(-(-count // columns), columns, sharex=True, sharey=True, squeeze=False)
    for i, axes in enumerate(grid.ravel()):
        if i >= count:
            axes.set_axis_off()
            continue
        for t, row in enumerate(groups[i]):
            axes.plot(np.arange(len(row)), row, color=shades(t / max(len(groups[i]) - 1, 1)), linewidth=0.8)
        axes.set_title(titles[i], fontsize=8.5)
        if i % columns == 0:
            axes.set_ylabel("value")
        if i + columns >= count:
            axes.set_xlabel("column")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            axes.tick_params(labelbottom=True)


def drawn_groups(name: str, what: str, caption: str, values, labels, layout: Callable = sheet) -> Figure:
    """Groups of pictures or rows ``[g, t, *event]``, each with its label."""
    if values is None or not values.size:
        return skipped_figure(name, what, None)
    skipped = skipped_figure(name, what, values[0])
    if skipped:
        return skipped
    labels = labels if len(labels) == len(values) else [""] * len(values)
    if is_image(values[0]):
        return Figure(name, caption, layout(list(values), labels))
    bundle = draw(lambda figure: bundles(figure, values, [label.replace("\n", ", ") for label in labels]), height=3.4)
    return Figure(name, f"{caption} Lines go from blue (first) to orange (last).", bundle)
