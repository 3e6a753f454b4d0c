"""The figures of data: inputs beside their reconstructions, samples from the prior at several temperatures."""

from __future__ import annotations

from vae_jax.report.loading import Run
from vae_jax.report.sheets import COLUMNS, drawn_groups, is_image, profiles, sheet, skipped_plate
from vae_jax.report.style import Plate, draw


def reconstructions(run: Run) -> Plate:
    """Inputs of the test split with E[x|z] right below each."""
    name, what = "reconstructions.png", "Reconstructions"
    inputs, outputs = run.pictures.get("inputs"), run.pictures.get("reconstructions")
    skipped = skipped_plate(name, what, inputs) or skipped_plate(name, what, outputs)
    if skipped:
        return skipped
    if not is_image(inputs):
        png = draw(lambda figure: profiles(figure, [inputs, outputs], ["input", "reconstruction"]), height=3.4)
        return Plate(name, "Reconstructions: rows of the test split (solid) and E[x|z] (dashed).", png)
    columns = min(COLUMNS, len(inputs))
    rows, labels = [], []
    for start in range(0, min(3, len(inputs) // columns) * columns, columns):
        part = slice(start, start + columns)
        rows += [inputs[part], outputs[part]]
        labels += ["input", "E[x|z]"]
    png = sheet(rows, labels, extra_gaps=range(2, len(rows), 2))
    return Plate(name, "Reconstructions: examples of the test split, each with E[x|z] right below it.", png)


def samples(run: Run) -> Plate:
    """The decoder's means at draws from the prior."""
    name, what = "samples.png", "Samples"
    drawn = run.pictures.get("samples")
    skipped = skipped_plate(name, what, drawn)
    if skipped:
        return skipped
    caption = "Samples: the decoder's mean at z drawn from the prior N(0, I), without the noise of p(x|z)."
    if not is_image(drawn):
        return Plate(name, caption, draw(lambda figure: profiles(figure, [drawn], [None]), height=3.2))
    columns = min(COLUMNS, len(drawn))
    rows = [drawn[r * columns : (r + 1) * columns] for r in range(min(6, len(drawn) // columns))]
    return Plate(name, caption, sheet(rows, [""] * len(rows)))


def tempered(run: Run) -> Plate:
    """The same draws from the prior at several temperatures."""
    values, at = run.pictures.get("tempered"), run.pictures.get("temperatures")
    labels = [f"T = {t:.2g}" for t in at] if at is not None else []
    caption = (
        "Samples at several temperatures: the decoder's mean at T times the same draws from N(0, I), in each column "
        "one draw. T = 1 is the model; a smaller T shows safer samples of less variety."
    )
    return drawn_groups("temperatures.png", "Samples at several temperatures", caption, values, labels)
