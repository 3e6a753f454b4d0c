"""The lines of a sweep's figures: which settings are joined, in which colour, and how a legend is laid out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.report.sweep.loading import Row
from vae_jax.report.sweep.settings import Group, Measure, groups, rate

# Okabe and Ito's palette without yellow, which is too light for lines, each with a marker of its own.
LOOKS = tuple(zip(("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"), "os^DvPX"))
DARK = "#666666"
# Flags along which a model is pushed over its frontier; along any other, settings are points of the plane and no line.
JOINED = ("beta", "sigma", "water_level", "latent_dim", "target_kl", "target_distortion", "free_nats")


class Line(NamedTuple):
    """A group as it is drawn: its colour, its marker, whether its settings are joined by a line and given values."""

    group: Group
    color: str
    marker: str
    joined: bool
    valued: bool = True


def lines_of(rows: Sequence[Row], flag: str, levels: bool = False) -> list[Line]:
    """Each group with its look; more groups than there are looks become one cloud of settings that are not joined."""
    found = [g for g in groups(rows, flag, levels) if g.living or g.rows]
    if len(found) > len(LOOKS):
        return [Line(Group("", flag, [s for g in found for s in g.settings]), *LOOKS[0], False, False)]
    return [Line(g, *look, g.along in JOINED) for g, look in zip(found, LOOKS)]


def means(line: Line, measure: Measure) -> np.ndarray:
    """``[n, 2]``, over seeds, of the settings with a finished run."""
    found = [(s.mean(measure), s.mean(rate)) for s in line.group.living]
    return np.array([p for p in found if np.isfinite(p).all()]).reshape(-1, 2)


def columns(labels: Sequence[str], room: int = 105) -> int:
    """How many columns a legend of the figure's width may have: as few rows as ``room`` letters allow, and filled."""
    for rows in range(1, len(labels) + 1):
        count = math.ceil(len(labels) / rows)
        widths = [max(len(label) for label in labels[i : i + rows]) + 9 for i in range(0, len(labels), rows)]
        if sum(widths) <= room:
            return count
    return 1
