"""What the numbers of a sweep say, as numbers: the best setting, the knee, the onset of collapse, what is not monotone.

Nothing here knows how the runs were made: rows in, small tuples out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax.report.reading.finding import is_collapsed
from vae_jax.report.sweep.grouping import Measure, Setting, at, elbo, groups, rate, rms, settings
from vae_jax.report.sweep.sweep_files import Row

SPREADS = 2.0  # combined standard deviations over seeds that a difference must pass to count
SLIGHT = 1e-3  # of the whole range of a quantity: a smaller step backwards is no violation
DEPTH = 0.05  # how far below its chord, of a unit square, a frontier must bend to have a knee
AGREEMENT = 2.0  # a factor in beta


class Best(NamedTuple):
    """The setting with the largest mean ELBO, and those that cannot be told from it.

    Attributes:
      setting: the best one.
      mean, spread: of its ELBO over seeds, nats per example; no spread of one seed.
      tied: the others whose mean is no further off than ``SPREADS`` combined standard deviations, best first.
    """

    setting: Setting
    mean: float
    spread: float | None
    tied: list[Setting]


class Onset(NamedTuple):
    """Between which values of a flag the code collapses.

    Attributes:
      low: the largest value with a run whose code lives; None where none does.
      high: the smallest value from which on every run is collapsed; None where the largest is not.
      mixed: the values up to ``low`` at which a run is collapsed all the same.
    """

    low: float | None
    high: float | None
    mixed: tuple[float, ...] = ()


class Violation(NamedTuple):
    """A step in the wrong direction: of ``quantity`` ("rate", "RMS error") from ``low`` to ``high``, ``by`` so much."""

    quantity: str
    low: float
    high: float
    by: float
    spread: float


class Difference(NamedTuple):
    """Two methods at one setting: ``rate`` and ``elbo`` are multi_rate minus separate, in nats."""

    setting: Setting
    rate: float
    elbo: float


def combined(one: float | None, other: float | None) -> float:
    """The standard deviation of a difference; what is not known counts as none."""
    return math.hypot(one or 0.0, other or 0.0)


def best(rows: Sequence[Row], measure: Measure = elbo) -> Best | None:
    """The setting with the largest mean of ``measure`` over its finished seeds; None without a finished run.

    Networks trained for one weight come before one network for all weights, as only they are a run by themselves.
    """
    separate = [row for row in rows if row["method"] != "multi_rate"]
    for some in (separate, rows):
        found = [s for s in settings(some) if math.isfinite(s.mean(measure))]
        if found:
            break
    else:
        return None
    found.sort(key=lambda s: -s.mean(measure))
    top, spread = found[0], found[0].spread(measure)
    behind = [(s, top.mean(measure) - s.mean(measure)) for s in found[1:]]
    tied = [s for s, gap in behind if gap <= SPREADS * combined(spread, s.spread(measure))]
    return Best(top, top.mean(measure), spread, tied)


def knee(points) -> int | None:
    """The index of the point of ``[n, 2]`` furthest below the chord between the ends of a falling, convex line.

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


def collapse(rows: Sequence[Row], flag: str = "beta") -> Onset:
    """Where, along ``flag``, the code collapses (``finding.is_collapsed``); runs that did not finish have no say."""
    dead: dict[float, list[bool]] = {}
    for s in settings(rows):
        value = at(s, flag)
        if s.done and value is not None:
            dead.setdefault(float(value), []).extend(is_collapsed(row) for row in s.done)
    low = max((v for v, states in dead.items() if not all(states)), default=None)
    high = min((v for v in dead if low is None or v > low), default=None)
    mixed = sorted(v for v, states in dead.items() if low is not None and v <= low and any(states))
    return Onset(low, high, tuple(mixed))


def agrees(onset: Onset, predicted: float) -> tuple[bool, float] | None:
    """Whether a predicted onset is the one found: inside the bracket, or within ``AGREEMENT`` of its geometric mean.

    Returns:
      That, and predicted / geometric mean; None where the bracket has an open end.
    """
    if not (onset.low and onset.high and predicted):
        return None
    ratio = predicted / math.sqrt(onset.low * onset.high)
    near = 1.0 / AGREEMENT <= ratio <= AGREEMENT
    return near or onset.low <= predicted <= onset.high, ratio


def monotone(rows: Sequence[Row], flag: str = "beta") -> list[Violation]:
    """Where the mean rate rises or the mean RMS error falls along ``flag``, beyond the spread over seeds.

    Each setting is compared with the lowest rate and the largest error that any smaller value of the flag had. It
    violates if it is on the wrong side by more than ``SPREADS`` combined standard deviations over seeds, and by more
    than ``SLIGHT`` of the range of all means; of one seed, only the second is known.
    """
    found = []
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
                    found.append(Violation(quantity, lowest[0], point[0], by, spread))
                if by < 0:
                    lowest = point
    return found


def compare_methods(rows: Sequence[Row]) -> list[Difference]:
    """One network for all weights against those trained for one, at every setting that both have."""
    by_method: dict[str, list[Setting]] = {"separate": [], "multi_rate": []}
    for s in settings(rows):
        if s.done:
            by_method.setdefault(s.method, []).append(s)
    pairs = [(s, m) for s in by_method["separate"] for m in by_method["multi_rate"] if _same(s.flags, m.flags)]
    return [Difference(s, *(m.mean(f) - s.mean(f) for f in (rate, elbo))) for s, m in pairs]


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        math.isclose(v, other[k], rel_tol=1e-6)
        if type(v) in (int, float) and type(other[k]) in (int, float)
        else v == other[k]
        for k, v in one.items()
    )


def gaussian_distortion(error, dim: int) -> np.ndarray:
    """-log p(x|z) in nats of ``dim`` values with an RMS error of ``error [n]``, at sigma = that error."""
    return 0.5 * dim * (1.0 + np.log(2 * np.pi * np.asarray(error, float) ** 2))


def reference(entries: Sequence[dict[str, Any]], row: Row) -> dict[str, Any] | None:
    """The linear theory's entry of a run: that of its latents and precision, or of its latents."""
    entries = [e for e in entries if e.get("latent_dim") == row.get("latent_dim")]
    same = [e for e in entries if e.get("precision") == row.get("precision")]
    return (same or entries or [None])[0]


def predicted_collapse(entries: Sequence[dict[str, Any]], rows: Sequence[Row], flag: str = "beta") -> float | None:
    """Where, along ``flag``, the linear theory of ``rows``, one group, closes the last latent; None where not known.

    At a fixed sigma that is where beta sigma^2 is the largest eigenvalue; otherwise it is read from ``entries``.
    """
    row = next((r for r in rows if r.get("lambda_max")), None)
    if row and row.get("precision") == "fixed" and row.get("sigma") and row.get("calibrated_elbo") is not None:
        if flag == "sigma":
            return math.sqrt(row["lambda_max"] / row["beta"]) if (row.get("beta") or 0) > 0 else None
        return row["lambda_max"] / row["sigma"] ** 2 if flag == "beta" else None
    entry = reference(entries, rows[0]) if rows and flag == "beta" else None
    return entry.get("collapse_beta") if entry else None
