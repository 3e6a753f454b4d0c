"""How classes look in every figure: each has one colour and one marker, by its number."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vae_jax.report.figure import MARK, TEST, TRAIN, label_of

# As far from each other as the eye can tell (Okabe and Ito 2008); their yellow is too light on white, so it is darker.
COLOURS = (TRAIN, TEST, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", MARK, "#B5A400")
MARKERS = ("o", "^", "s", "x", "D")  # as many as have no factor in common with the colours
MOST = len(COLOURS) * len(MARKERS)  # classes that can be told apart
FEW = 12  # values of a factor that is alone, up to which they are classes


def class_style(code: int) -> dict[str, str]:
    """Returns the colour and the marker of a class; the next class differs in both, so that grey print tells them."""
    return {"color": COLOURS[code % len(COLOURS)], "marker": MARKERS[code % len(MARKERS)]}


def classes_of(values, title: str, class_names, alone: bool = False) -> dict[float, str] | None:
    """Returns value -> name of a factor that is shown as classes; None of one that is shown on a scale.

    Args:
      values: of the factor, ``[n]``.
      title: its name; ``label`` is a class where its values can be told apart.
      class_names: of the label's values 0, 1, ....
      alone: whether there is no other factor: then few values are classes, whatever its name.
    """
    kinds = np.unique(values)
    named = title == "label" and bool((kinds == np.rint(kinds)).all()) and kinds.min() >= 0
    if named and kinds.max() < min(len(class_names), MOST):
        return {kind: label_of(str(class_names[int(kind)]), 24) for kind in kinds}
    most = MOST if title == "label" else FEW
    return {kind: f"{kind:g}" for kind in kinds} if (alone or title == "label") and len(kinds) <= most else None


def scatter_classes(axes, points, values, classes: Mapping[float, str], **style) -> None:
    """Draws points ``[n, 2]``, those of each class in its look and under its name."""
    for place, (kind, name) in enumerate(classes.items()):
        # The look goes with the class's number, so it does not depend on which others are there.
        look = class_style(int(kind) if kind == int(kind) and kind >= 0 else place)
        line = 0.6 if look["marker"] == "x" else 0.0
        axes.scatter(*points[values == kind].T, label=name, linewidths=line, **look, **style)


def labels_of(pictures: Mapping[str, np.ndarray], n: int) -> tuple[np.ndarray, dict[float, str]] | None:
    """Returns the labels of the first ``n`` examples and the names of their classes; None where they have none."""
    factors, names = pictures.get("factors"), pictures.get("factor_names")
    if factors is None or names is None or "label" not in names or len(factors) < n:
        return None
    values = factors[:n, list(names).index("label")]
    classes = classes_of(values, "label", pictures.get("class_names", ()))
    return None if classes is None else (values, classes)
