"""The groups of a sweep as figures draw them: their colours and markers, and which points set the axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.report.reading.finding import is_collapsed
from vae_jax.report.sweep.grouping import Group, Row

# Okabe and Ito's palette without yellow, which is too light for lines, each with a marker of its own.
LOOKS = tuple(zip(("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"), "os^DvPX"))
DARK = "#666666"
# Flags along which a model is pushed over its frontier; along any other, settings are points of the plane and no line.
_JOINED = ("beta", "sigma", "water_level", "latent_dim", "target_kl", "target_distortion", "free_nats")
_FAR = 5.0  # a few points further off than so many times the range of the others do not set the axes


class Line(NamedTuple):
    """A group as it is drawn: its colour, its marker, whether its settings are joined by a line and given values."""

    group: Group
    color: str
    marker: str
    joined: bool
    valued: bool = True


def lines_of(groups: Sequence[Group]) -> list[Line]:
    """Gives each group its look; more groups than there are looks become one cloud of settings, not joined."""
    if len(groups) > len(LOOKS):
        cloud = Group("", groups[0].along, [s for g in groups for s in g.settings])
        return [Line(cloud, *LOOKS[0], joined=False, valued=False)]
    return [Line(g, *look, g.along in _JOINED) for g, look in zip(groups, LOOKS)]


def near(values: Sequence[float], ordinary: Sequence[bool]) -> list[float]:
    """``values`` without the largest fifth or less of them, where a gap of ``_FAR`` times all the rest is below those.

    Args:
      values: of one quantity.
      ordinary: which of them are no failures wherever they lie (a collapsed code is far from the others and belongs).
    """
    order = np.argsort(values, kind="stable")
    for count in range(1, len(values) // 5 + 1):
        rest, far = order[:-count], order[-count:]
        span = values[rest[-1]] - values[rest[0]]
        if not any(ordinary[i] for i in far) and values[far[0]] - values[rest[-1]] > _FAR * span > 0:
            return [values[i] for i in rest]
    return list(values)


def any_far(rows: Sequence[Row]) -> bool:
    """Tells whether runs lie so far off in rate, distortion or error that they do not set the axes."""
    ordinary = [is_collapsed(row) for row in rows]
    columns = [[row[key] for row in rows] for key in ("rate", "common_distortion", "rms")]
    return any(None not in column and len(near(column, ordinary)) < len(column) for column in columns)
