"""The figures of data: inputs beside their reconstructions, samples, traversals, interpolations.

Pictures are drawn as grids, pixel for pixel; signals as lines. Of a table, whose columns have nothing to do with their
neighbours, only inputs and reconstructions are drawn, a panel for each column.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vae_jax.report.class_colours import labels_of
from vae_jax.report.figure import DPI, TEST, TRAIN, WIDTH, Figure, draw
from vae_jax.report.latent_figures import used_mask
from vae_jax.report.row_figures import against, lines
from vae_jax.report.run_files import Run

COLUMNS = 10
STANDARD = "N(0, I)"
HEIGHT = 6.4  # inches, of a grid: about two thirds of a page
LABEL = 0.62  # inches left of a row for its label
GAP = 6  # pixels of the figure between pictures
ALIKE = 0.5  # the mean correlation of neighbouring columns from which on rows are signals


def reconstructions(run: Run) -> Figure:
    """Shows inputs of the test split with E[x|z] right below each and some samples below all, or against each."""
    name, what = "reconstructions.png", "Reconstructions"
    inputs, outputs = run.pictures.get("inputs"), run.pictures.get("reconstructions")
    kind = _kind(run, outputs)
    if kind == "signals":
        styles = ({"color": TRAIN, "label": "input"}, {"color": TEST, "label": "reconstruction", "linestyle": "--"})
        png = lines([list(zip(pair, styles)) for pair in zip(inputs, outputs)])
        return Figure(name, f"{what}: rows of the test split (solid) and E[x|z] (dashed).", png)
    if kind == "table":
        labels, named = labels_of(run.pictures, len(inputs)), run.results.get("per_column") or ()
        return against(name, what, inputs, outputs, run.config.get("columns"), labels, named)
    if kind != "pictures":
        return Figure(name, f"{what}: {kind}.", None)
    columns = min(COLUMNS, len(inputs))
    rows = []
    for start in range(0, min(3, len(inputs) // columns) * columns, columns):
        rows += [inputs[start : start + columns], outputs[start : start + columns]]
    labels = ["data", "E[x|z]"] * (len(rows) // 2)
    caption = f"{what}: examples of the test split, each with E[x|z] right below it"
    drawn, conditions = run.pictures.get("samples"), len(run.pictures.get("sample_rows", ()))
    if drawn is not None and drawn.shape[1:] == inputs.shape[1:]:
        # Of a condition each, where there are some, so that a row shows several.
        each = len(drawn) // conditions if conditions else 1
        rows, labels = [*rows, drawn[:: max(each, 1)][:columns]], [*labels, "samples"]
        caption += f"; last {_prior_words(run)}, without the noise of p(x|z)"
    return Figure(name, f"{caption}.", grid(rows, labels, wide_rows=range(2, len(rows), 2)))


def _prior_words(run: Run) -> str:
    return f"the decoder's mean at z drawn from the prior {_prior(run)}"


def samples(run: Run) -> Figure:
    """Shows the decoder's means at draws from the prior."""
    drawn = run.pictures.get("samples")
    caption = f"Samples: {_prior_words(run)}, without the noise of p(x|z)."
    labels = [str(name) for name in run.pictures.get("sample_rows", ())]
    if drawn is not None and labels:
        rows = min(len(labels), len(drawn))
        drawn, labels = np.reshape(drawn, (rows, -1, *drawn.shape[1:])), labels[:rows]
        alike = "; all rows have one z a column" if _prior(run) == STANDARD else ""
        caption += f" Each row is of one condition ({run.config.get('condition')}){alike}."
    elif drawn is not None:
        columns = min(COLUMNS, len(drawn)) if is_image(drawn) else 1
        drawn = [drawn[i : i + columns] for i in range(0, len(drawn) - columns + 1, columns)][:6]
    return _groups(run, "samples.png", caption, drawn, labels)


def _prior(run: Run) -> str:
    """Names the prior of a run, in words."""
    config = run.config
    if config.get("latent_layers"):
        return f"p(z) of its layers ({config['model']})"
    prior = config.get("prior", "standard_normal")
    if prior != "standard_normal":
        return f"p(z), which was learned ({prior})"
    return "p(z), uniform over the classes" if config.get("posterior") == "categorical" else STANDARD


def tempered(run: Run) -> Figure:
    """Shows the same draws from the prior at several temperatures."""
    temperatures = run.pictures.get("temperatures")
    if _prior(run) != STANDARD:
        return Figure("temperatures.png", "Samples at several temperatures: none, because only N(0, I) has one.", None)
    labels = [f"T = {t:.2g}" for t in temperatures] if temperatures is not None else []
    caption = (
        "Samples at several temperatures: the decoder's mean at T times the same draws from N(0, I), in each column "
        "one draw. T = 1 is the model; a smaller T shows safer samples of less variety."
    )
    return _groups(run, "temperatures.png", caption, run.pictures.get("tempered"), labels)


def traversals(run: Run) -> Figure:
    """Shows one latent in use moved along the prior, the others at an example's posterior mean; the dearest first."""
    name = "traversals.png"
    latents, kl, z = (run.pictures.get(f"traversal_{key}") for key in ("latents", "kl", "z"))
    values, asleep = run.pictures.get("traversals"), ""
    used = used_mask(run)
    if values is not None and latents is not None and used is not None and len(values) == len(latents):
        # Moving a latent that carries nothing changes no picture.
        kept = np.array([latent >= len(used) or used[int(latent)] for latent in latents], bool)
        if not kept.any():
            return Figure(name, "Latent traversals: not drawn, because no latent is in use.", None)
        values, latents, kl = values[kept], latents[kept], None if kl is None else kl[kept]
        if not used.all():
            asleep = f" The {np.sum(~used)} of {len(used)} latents that are not in use are left out."
    labels = [] if latents is None else [f"z{i}" for i in latents]
    labels = labels if kl is None else [f"{label}\n{nats:.2f}" for label, nats in zip(labels, kl)]
    beside = "its latent" if kl is None else "its latent, and that latent's mean KL in nats, largest first"
    ends = f" ({z[0]:.1f} to {z[-1]:.1f})".replace("-", "\N{MINUS SIGN}") if z is not None and len(z) else ""
    caption = (
        "Latent traversals: the decoder's mean with one latent moved from the 2% to the 98% quantile of the prior"
        f"{ends}, all others at the posterior mean of the first test example. Beside each row {beside}.{asleep}"
    )
    return _groups(run, name, caption, values, labels)


def interpolations(run: Run) -> Figure:
    """Shows the way from one test example to another, straight between their posterior means."""
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
    return _groups(run, "interpolations.png", f"{caption}.", values, labels, apart)


def _groups(run: Run, name: str, caption: str, values, labels: Sequence[str] = (), apart: Sequence[int] = ()) -> Figure:
    """Groups of pictures or signals ``[g, t, *event]``, each with its label; a wider gap before columns ``apart``."""
    kind = _kind(run, values[0] if values is not None and len(values) else None)
    if kind not in ("pictures", "signals"):
        why = "not drawn, because the columns of a table make no picture" if kind == "table" else kind
        return Figure(name, f"{caption.split(':')[0]}: {why}.", None)
    labels = labels if len(labels) == len(values) else [""] * len(values)
    if kind == "pictures":
        return Figure(name, caption, grid(list(values), labels, wide_columns=apart))
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("from first to last", [TRAIN, "#cccccc", TEST])
    styles = [{"color": shades(t), "linewidth": 0.8} for t in np.linspace(0.0, 1.0, len(values[0]))]
    png = lines([list(zip(group, styles)) for group in values], [label.replace("\n", ", ") for label in labels])
    more = " Lines go from blue (first) to orange (last)." if len(styles) > 1 else ""
    return Figure(name, f"{caption}{more}", png)


def is_image(x) -> bool:
    """Tells whether ``x`` is pictures ``[n, h, w, c]`` of one or three channels."""
    return x.ndim == 4 and x.shape[-1] in (1, 3)


def _kind(run: Run, x) -> str:
    """Tells what ``x [n, *event]`` is: "pictures", "signals", a "table", or in words why it cannot be drawn."""
    if x is None or not len(x):
        return "none, because the run left no pictures.npz with them"
    if is_image(x):
        return "pictures"
    if x.ndim != 2:
        shape = " x ".join(map(str, x.shape[1:])) or "()"
        return f"not drawn, because data of shape {shape} is neither an image nor a row"
    rows = np.asarray(run.pictures.get("inputs", x), float)
    if (
        run.results.get("per_column")
        or run.config.get("likelihood") == "columns"
        or rows.ndim != 2
        or min(rows.shape) < 3
    ):
        return "table"
    centred = rows - rows.mean(axis=0)
    scaled = centred / np.maximum(np.sqrt(np.mean(centred**2, axis=0)), 1e-30)
    return "signals" if np.mean(scaled[:, 1:] * scaled[:, :-1]) >= ALIKE else "table"


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
    tall = sum(row.shape[1] / row.shape[2] for row in rows)
    cell = max(1, min(cell, int((HEIGHT * DPI - 4 * GAP * len(rows)) / tall)))
    blocks = [_cells(row, cell) for row in rows]
    above = [GAP * (i > 0) + 3 * GAP * (i in wide_rows) for i in range(len(rows))]
    tops = np.cumsum([gap + block.shape[1] for gap, block in zip(above, blocks)]) - [b.shape[1] for b in blocks]
    lefts = [margin + c * (cell + GAP) + 2 * GAP * sum(c >= wide for wide in wide_columns) for c in range(columns)]
    height, width = tops[-1] + blocks[-1].shape[1], lefts[-1] + cell
    canvas = np.ones((height, width, 3), np.float32)
    for top, block in zip(tops, blocks):
        for left, picture in zip(lefts, block):
            canvas[top : top + block.shape[1], left : left + cell] = picture

    def paint(figure):
        figure.figimage(canvas, 0, 0, origin="upper")
        for top, block, label in zip(tops, blocks, labels):
            middle = 1.0 - (top + 0.5 * block.shape[1]) / height
            figure.text((margin - 10) / width, middle, label, ha="right", va="center")

    return draw(paint, height / DPI, width / DPI, layout=None)
