"""The shape of a sweep's frontier: where it bends, and whether it is monotone as every true frontier is."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vae_jax.report.formatting import nats, number, setting
from vae_jax.report.reading.finding import Finding
from vae_jax.report.sweep.goal import Goal, goal_of
from vae_jax.report.sweep.grouping import Group, Setting, Sweep
from vae_jax.report.sweep.recommendation import SPREADS, combined

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
    first, last = points[points[:, 0].argmin()], points[points[:, 0].argmax()]
    width, height = last[0] - first[0], first[1] - last[1]
    if not (width > 0 and height > 0):
        return None
    x, y = (points[:, 0] - first[0]) / width, (points[:, 1] - last[1]) / height
    below = (1.0 - x - y) / math.sqrt(2.0)  # the chord runs from (0, 1) to (1, 0)
    index = int(np.argmax(below))
    return index if below[index] > DEPTH else None


def violations(group: Group) -> list[Violation]:
    """Tells where the mean rate rises or the mean RMS error falls along the group's flag, beyond the spread over seeds.

    Each setting is compared with the lowest rate and the largest error that any smaller value of the flag had. It
    violates if it is on the wrong side by more than ``SPREADS`` combined standard deviations over seeds, and by more
    than ``SLIGHT`` of the range of all means; of one seed, only the second is known.
    """
    wrong = []
    for quantity, key, sign in (("rate", "rate", 1.0), ("RMS error", "rms", -1.0)):
        numbered = [s for s in group.having(key) if isinstance(s.at(group.along), int | float)]
        line = [(float(s.at(group.along)), sign * s.mean(key), s.spread(key)) for s in numbered]
        means = [m for _, m, _ in line]
        lowest = line[0] if line else None
        for point in line[1:]:
            by, spread = point[1] - lowest[1], combined(point[2], lowest[2])
            if by > SPREADS * spread and by > SLIGHT * (max(means) - min(means)):
                wrong.append(Violation(quantity, lowest[0], point[0], by, spread))
            lowest = min(lowest, point, key=lambda p: p[1])
    return wrong


def knee(sweep: Sweep) -> Finding | None:
    """Tells where each frontier turns from buying much error with a nat to buying little; of a score, with error."""
    goal = goal_of(sweep)
    if goal.name in ("mig", "dci"):
        return _knee_of_score(sweep, goal)
    sentences = []
    for group in sweep.main_groups(3):
        line = group.having("rms")
        bend = _bend(group, line, [(s.mean("rms"), s.mean("rate")) for s in line])
        if bend is None:
            continue
        (error, cost), ends, value = bend
        sentences.append(
            group.sentence(
                f"the frontier bends most at {group.along} = {value}. Up to there {nats(cost - ends[-1][1])} "
                f"of rate bring the RMS error from {number(ends[-1][0])} down to {number(error)}; the next "
                f"{nats(ends[0][1] - cost)} bring it to {number(ends[0][0])} only."
            )
        )
        if goal.target is not None:
            side = "below it, where a nat buys much" if goal.target < cost else "above it, where a nat buys little"
            sentences[-1] += f" The {nats(goal.target)} that are wanted lie {side}."
            sentences[-1] += _knee_of_seeds(group, line, "rate", 1.0)
    return _knees(sentences, "rate and error")


def _bend(group, line, points) -> tuple[tuple[float, float], list[tuple[float, float]], str] | None:
    """Returns the knee's point ``(error, cost)``, all points by their error, and its setting; None without a knee."""
    index = knee_of(points)
    return None if index is None else (points[index], sorted(points), setting(line[index].at(group.along)))


def _knee_of_score(sweep: Sweep, goal: Goal) -> Finding | None:
    """Tells where a score of disentanglement turns from costing little error to costing much."""
    sentences = []
    for group in sweep.main_groups(3):
        line = group.having(goal.key)
        # What makes a larger error than the best score is beyond it: no trade is left there.
        most = max(line, key=lambda s: s.mean(goal.key), default=None)
        line = [s for s in line if s.mean("rms") <= most.mean("rms")]
        bend = _bend(group, line, [(s.mean("rms"), -s.mean(goal.key)) for s in line])
        if bend is None:
            continue
        (error, cost), ends, value = bend
        sentences.append(
            group.sentence(
                f"{goal.head} against error bends most at {group.along} = {value}. Up to there "
                f"{number(ends[0][1] - cost, 2)} of {goal.head} cost an RMS error of {number(error)} for "
                f"{number(ends[0][0])}; the next {number(cost - ends[-1][1], 2)} cost one of {number(ends[-1][0])}."
            )
            + _knee_of_seeds(group, line, goal.key, -1.0)
        )
    return _knees(sentences, f"{goal.head} and error")


def _knee_of_seeds(group: Group, line: list[Setting], key: str, sign: float) -> str:
    """Returns the knees that each seed has by itself, in words, of the seeds that came to their end at all settings."""
    runs = [{r["asked"].get("seed"): r for r in s.done if None not in (r["rms"], r[key])} for s in line]
    seeds = [seed for seed in runs[0] if all(seed in of for of in runs)]
    if len(seeds) < 2:
        return " How far it moves between seeds is not known."
    found = [knee_of([(of[seed]["rms"], sign * of[seed][key]) for of in runs]) for seed in seeds]
    where = ", ".join("none" if i is None else setting(line[i].at(group.along)) for i in found)
    return f" By the {len(seeds)} seeds one by one: {where}."


def _knees(sentences: list[str], what: str) -> Finding | None:
    end = (
        f"(The point furthest below the chord between the ends, {what} scaled to their ranges: it depends on "
        "the range that was swept, and is no optimum.)"
    )
    return Finding("Knee", False, " ".join([*sentences, end])) if sentences else None


def monotone(sweep: Sweep) -> Finding | None:
    """Tells whether a larger weight never buys a higher rate or a smaller error, as on any true frontier."""
    shown, sentences = sweep.main_groups(2), []
    for group in shown:
        for v in violations(group):
            by = f"rises by {number(v.by, 3)} nats" if v.quantity == "rate" else f"falls by {number(v.by, 2)}"
            spread = f", {number(v.by / v.spread, 2)} combined standard deviations" if v.spread else ""
            where = f"between {group.along} = {setting(v.low)} and {setting(v.high)}"
            sentences.append(group.sentence(f"{where} the {v.quantity} {by}{spread}."))
    if sentences:
        text = " ".join(sentences[:_MOST_VIOLATIONS]) + " A longer training usually mends it."
        return Finding("Not monotone", True, text)
    several = any(len(s.done) > 1 for g in shown for s in g.living)
    within = f"within {SPREADS:g} combined standard deviations over seeds" if several else "of one seed each"
    text = f"The frontier is monotone in {sweep.along()}, {within}: the rate never rises and the RMS error never falls."
    return Finding("Monotone", False, text) if shown else None
