"""The figures of data: inputs beside their reconstructions, samples, traversals, interpolations.

Pictures are drawn as grids, pixel for pixel; rows of a table as lines over their columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vae_jax.report.figure import DPI, TEST, TRAIN, WIDTH, Figure, draw
from vae_jax.report.run_files import Run

COLUMNS = 10
LABEL = 0.62  # inches left of a row for its label
GAP = 6  # pixels of the figure between pictures


def reconstructions(run: Run) -> Figure:
    """Inputs of the test split with E[x|z] right below each."""
    name, what = "reconstructions.png", "Reconstructions"
    inputs, outputs = run.pictures.get("inputs"), run.pictures.get("reconstructions")
    missing = _not_drawn(name, what, inputs) or _not_drawn(name, what, outputs)
    if missing:
        return missing
    if not is_image(inputs):
        styles = ({"color": TRAIN, "label": "input"}, {"color": TEST, "label": "reconstruction", "linestyle": "--"})
        png = _row_panels([list(zip(pair, styles)) for pair in zip(inputs, outputs)])
        return Figure(name, "Reconstructions: rows of the test split (solid) and E[x|z] (dashed).", png)
    columns = min(COLUMNS, len(inputs))
    rows = []
    for start in range(0, min(3, len(inputs) // columns) * columns, columns):
        rows += [inputs[start : start + columns], outputs[start : start + columns]]
    png = grid(rows, ["input", "E[x|z]"] * (len(rows) // 2), wide_rows=range(2, len(rows), 2))
    return Figure(name, "Reconstructions: examples of the test split, each with E[x|z] right below it.", png)


def samples(run: Run) -> Figure:
    """Shows the decoder's means at draws from the prior."""
    name, drawn = "samples.png", run.pictures.get("samples")
    missing = _not_drawn(name, "Samples", drawn)
    if missing:
        return missing
    caption = "Samples: the decoder's mean at z drawn from the prior N(0, I), without the noise of p(x|z)."
    if not is_image(drawn):
        return Figure(name, caption, _row_panels([[(row, {"color": TRAIN})] for row in drawn]))
    columns = min(COLUMNS, len(drawn))
    rows = [drawn[r * columns : (r + 1) * columns] for r in range(min(6, len(drawn) // columns))]
    return Figure(name, caption, grid(rows, [""] * len(rows)))


def tempered(run: Run) -> Figure:
    """Shows the same draws from the prior at several temperatures."""
    temperatures = run.pictures.get("temperatures")
    labels = [f"T = {t:.2g}" for t in temperatures] if temperatures is not None else []
    caption = (
        "Samples at several temperatures: the decoder's mean at T times the same draws from N(0, I), in each column "
        "one draw. T = 1 is the model; a smaller T shows safer samples of less variety."
    )
    return _groups("temperatures.png", caption, run.pictures.get("tempered"), labels)


def traversals(run: Run) -> Figure:
    """One latent moved along the prior, the others at an example's posterior mean; the most informative first."""
    latents, kl, z = (run.pictures.get(f"traversal_{key}") for key in ("latents", "kl", "z"))
    labels = [] if latents is None or kl is None else [f"z{i}\n{nats:.2f}" for i, nats in zip(latents, kl)]
    ends = f" ({z[0]:.1f} to {z[-1]:.1f})".replace("-", "\N{MINUS SIGN}") if z is not None and len(z) else ""
    caption = (
        "Latent traversals: the decoder's mean with one latent moved from the 2% to the 98% quantile of the prior"
        f"{ends}, all others at the posterior mean of the first test example. Beside each row its latent, and that "
        "latent's mean KL in nats, largest first."
    )
    return _groups("traversals.png", caption, run.pictures.get("traversals"), labels)


def interpolations(run: Run) -> Figure:
    """From one test example to another along the straight line between their posterior means."""
    values, ends = run.pictures.get("interpolations"), run.pictures.get("interpolation_ends")
    labels, apart = [f"pair {i + 1}" for i in range(0 if values is None else len(values))], ()
    caption = (
        "Interpolations: the decoder's mean at equal steps on the straight line between the posterior means of two "
        "test examples"
    )
    if values is not None and ends is not None and len(values) and is_image(values[0]):
        values = np.concatenate([ends[:, :1], values, ends[:, 1:]], axis=1)
        labels, apart = [], (1, values.shape[1] - 1)
        caption += "; the examples themselves stand at the two ends"
    return _groups("interpolations.png", f"{caption}.", values, labels, apart)


def _groups(name: str, caption: str, values, labels: Sequence[str], wide_columns: Sequence[int] = ()) -> Figure:
    """Groups of pictures or rows ``[g, t, *event]``, each with its label."""
    missing = _not_drawn(name, caption.split(":")[0], values[0] if values is not None and values.size else None)
    if missing:
        return missing
    labels = labels if len(labels) == len(values) else [""] * len(values)
    if is_image(values[0]):
        return Figure(name, caption, grid(list(values), labels, wide_columns=wide_columns))
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("from first to last", [TRAIN, "#cccccc", TEST])
    styles = [{"color": shades(t), "linewidth": 0.8} for t in np.linspace(0.0, 1.0, values.shape[1])]
    png = _row_panels([list(zip(group, styles)) for group in values], [label.replace("\n", ", ") for label in labels])
    return Figure(name, f"{caption} Lines go from blue (first) to orange (last).", png)


def is_image(x) -> bool:
    """Tells whether ``x`` is pictures ``[n, h, w, c]`` of one or three channels."""
    return x.ndim == 4 and x.shape[-1] in (1, 3)


def _not_drawn(name: str, what: str, x) -> Figure | None:
    """Returns a figure that says why ``x [n, *event]`` cannot be drawn; None where it can."""
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


def grid(rows, labels, wide_rows=(), wide_columns=()) -> bytes:
    """Returns a grid of pictures as a PNG: ``rows`` of images ``[n, h, w, c]``, a label left of each row.

    The gap before each row listed in ``wide_rows`` and each column in ``wide_columns`` is wider. Drawn pixel for
    pixel, so nothing is resampled.
    """
    margin = round(LABEL * DPI) if any(labels) else 0
    beside = 2 * GAP * len(wide_columns)
    columns = max(len(row) for row in rows)
    # Few pictures keep the size that a full row's pictures would have, or twice that.
    share = max(columns, COLUMNS // 2)
    cell = (round(WIDTH * DPI) - margin - beside - GAP * (share - 1)) // share
    blocks = [_cells(row, cell) for row in rows]
    tops, y = [], 0
    for i, block in enumerate(blocks):
        y += 3 * GAP if i in wide_rows else 0
        tops.append(y)
        y += block.shape[1] + GAP
    height, width = y - GAP, margin + beside + columns * (cell + GAP) - GAP
    canvas = np.ones((height, width, 3), np.float32)
    for top, block in zip(tops, blocks):
        for c, picture in enumerate(block):
            left = margin + c * (cell + GAP) + 2 * GAP * sum(c >= column for column in wide_columns)
            canvas[top : top + block.shape[1], left : left + cell] = picture

    def paint(figure):
        figure.figimage(canvas, 0, 0, origin="upper")
        for top, block, label in zip(tops, blocks, labels):
            middle = 1.0 - (top + 0.5 * block.shape[1]) / height
            figure.text((margin - 10) / width, middle, label, ha="right", va="center")

    return draw(paint, height / DPI, width / DPI, layout=None)


def _row_panels(panels: Sequence[Sequence[tuple[np.ndarray, dict]]], titles: Sequence[str] = ()) -> bytes:
    """Rows of a table as lines over their columns, in up to six panels: of each panel its rows ``[f]`` with a style."""
    panels = panels[:6]
    columns = min(3, len(panels))

    def paint(figure):
        from matplotlib.ticker import MaxNLocator

        grid_ = figure.subplots(-(-len(panels) // columns), columns, sharex=True, sharey=True, squeeze=False).ravel()
        for i, axes in enumerate(grid_):
            if i >= len(panels):
                axes.set_axis_off()
                continue
            for row, style in panels[i]:
                dots = {"marker": "o", "markersize": 2} if len(row) <= 40 and not titles else {}
                axes.plot(np.arange(len(row)), row, **dots, **style)
            axes.set_title(titles[i] if titles else "", fontsize=8.5)
            if i % columns == 0:
                axes.set_ylabel("value")
            if i + columns >= len(panels):
                axes.set_xlabel("column")
                axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
                axes.tick_params(labelbottom=True)
        handles, labels = grid_[0].get_legend_handles_labels()
        if labels:
            figure.legend(handles, labels, loc="outside upper center", ncols=2)

    return draw(paint, height=3.4)
