"""The shape of a sweep's frontier: where it bends, and whether it is monotone as every true frontier is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax.report.formatting import nats, number, setting
from vae_jax.report.reading.finding import Finding
from vae_jax.report.sweep.grouping import at, groups, main_groups, rate, rms
from vae_jax.report.sweep.recommendation import SPREADS, combined
from vae_jax.report.sweep.sweep_files import Row

SLIGHT = 1e-3  # of the whole range of a quantity: a smaller step backwards is no violation
DEPTH = 0.05  # how far below its chord, of a unit square, a frontier must bend to have a knee
_MOST_VIOLATIONS = 8  # that are named one by one


class Violation(NamedTuple):
    """A step in the wrong direction: of ``quantity`` ("rate", "RMS error") from ``low`` to ``high``, ``by`` so much."""

    quantity: str
    low: float
    high: float
    by: float
    spread: float


def knee_of(points) -> int | None:
    """Returns the index of the point of ``[n, 2]`` furthest below the chord between the ends of a falling, convex line.

    Both axes are scaled to the range between the two ends first (x, the error, grows from the first end to the last and
    y, the rate, falls), so that the answer does not depend on units. It does depend on where the ends are: it is the
    place where this line turns from buying much error with a nat to buying little, and not an optimum.

    Returns:
      None for fewer than three points, ends that do not differ, or a line that bends less than ``DEPTH``.
    """
    points = np.asarray(points, float).reshape(-1, 2)
    if len(points) < 3:
        return None
    order = np.argsort(points[:, 0], kind="stable")
    first, last = points[order[0]], points[order[-1]]
    width, height = last[0] - first[0], first[1] - last[1]
    if not (width > 0 and height > 0):
        return None
    x, y = (points[:, 0] - first[0]) / width, (points[:, 1] - last[1]) / height
    below = (1.0 - x - y) / math.sqrt(2.0)  # the chord runs from (0, 1) to (1, 0)
    index = int(np.argmax(below))
    return index if below[index] > DEPTH else None


def violations(rows: Sequence[Row], flag: str = "beta") -> list[Violation]:
    """Tells where the mean rate rises or the mean RMS error falls along ``flag``, beyond the spread over seeds.

    Each setting is compared with the lowest rate and the largest error that any smaller value of the flag had. It
    violates if it is on the wrong side by more than ``SPREADS`` combined standard deviations over seeds, and by more
    than ``SLIGHT`` of the range of all means; of one seed, only the second is known.
    """
    wrong = []
    for group in groups(rows, flag):
        for quantity, measure, sign in (("rate", rate, 1.0), ("RMS error", rms, -1.0)):
            line = [
                (float(at(s, flag)), sign * s.mean(measure), s.spread(measure))
                for s in group.living
                if isinstance(at(s, flag), int | float) and math.isfinite(s.mean(measure))
            ]
            if not line:
                continue
            means = [m for _, m, _ in line]
            slight, lowest = SLIGHT * (max(means) - min(means)), line[0]
            for point in line[1:]:
                by, spread = point[1] - lowest[1], combined(point[2], lowest[2])
                if by > SPREADS * spread and by > slight:
                    wrong.append(Violation(quantity, lowest[0], point[0], by, spread))
                if by < 0:
                    lowest = point
    return wrong


def knee(rows: Sequence[Row], summary: dict[str, Any]) -> Finding | None:
    """Tells where each frontier turns from buying much error with a nat to buying little."""
    flag, shown = main_groups(rows, 3)
    sentences = []
    for group in shown if flag in ("beta", "sigma") else ():
        line = [s for s in group.living if math.isfinite(s.mean(rms))]
        points = [(s.mean(rms), s.mean(rate)) for s in line]
        index = knee_of(points)
        if index is None:
            continue
        (error, cost), ends, value = points[index], sorted(points), setting(at(line[index], flag))
        sentences.append(
            group.sentence(
                f"the frontier bends most at {flag} = {value}. Up to there {nats(cost - ends[-1][1])} "
                f"of rate bring the RMS error from {number(ends[-1][0])} down to {number(error)}; the next "
                f"{nats(ends[0][1] - cost)} bring it to {number(ends[0][0])} only."
            )
        )
    if not sentences:
        return None
    end = (
        " (The point furthest below the chord between the ends, rate and error scaled to their ranges: it depends on "
        "the range that was swept, and is no optimum.)"
    )
    return Finding("Knee", False, " ".join(sentences) + end)


def monotone(rows: Sequence[Row], summary: dict[str, Any]) -> Finding | None:
    """Tells whether a larger weight never buys a higher rate or a smaller error, as on any true frontier."""
    flag, shown = main_groups(rows, 2)
    if flag not in ("beta", "sigma") or not shown:
        return None
    sentences = []
    for group in shown:
        for v in violations(group.rows, flag):
            by = f"rises by {number(v.by, 3)} nats" if v.quantity == "rate" else f"falls by {number(v.by, 2)}"
            spread = f", {number(v.by / v.spread, 2)} combined standard deviations" if v.spread else ""
            where = f"between {flag} = {setting(v.low)} and {setting(v.high)}"
            sentences.append(group.sentence(f"{where} the {v.quantity} {by}{spread}."))
    if sentences:
        text = " ".join(sentences[:_MOST_VIOLATIONS]) + " A longer training usually mends it."
        return Finding("Not monotone", True, text)
    several = any(len(s.done) > 1 for g in shown for s in g.living)
    within = f"within {SPREADS:g} combined standard deviations over seeds" if several else "of one seed each"
    text = f"The frontier is monotone in {flag}, {within}: the rate never rises and the RMS error never falls."
    return Finding("Monotone", False, text)
