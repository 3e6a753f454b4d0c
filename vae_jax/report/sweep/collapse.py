"""Between which weights of a sweep the code collapses, against the linear theory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from vae_jax.report.formatting import number, setting
from vae_jax.report.reading.finding import COLLAPSED_RATE, Finding, is_collapsed
from vae_jax.report.sweep.grouping import MOST_GROUPS, Group, Setting, Sweep
from vae_jax.report.sweep.linear_theory import predicted_collapse

AGREEMENT = 2.0  # a factor in beta


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


def onset_of(settings: Sequence[Setting], flag: str = "beta") -> Onset:
    """Finds where, along ``flag``, the code collapses (``is_collapsed``); runs that did not finish have no say."""
    dead: dict[float, list[bool]] = {}
    for s in settings:
        value = s.at(flag)
        if s.done and value is not None:
            dead.setdefault(float(value), []).extend(is_collapsed(row) for row in s.done)
    low = max((v for v, states in dead.items() if not all(states)), default=None)
    high = min((v for v in dead if low is None or v > low), default=None)
    mixed = sorted(v for v, states in dead.items() if low is not None and v <= low and any(states))
    return Onset(low, high, tuple(mixed))


def agrees(onset: Onset, predicted: float) -> tuple[bool, float] | None:
    """Tells whether a predicted onset is in the bracket, or within a factor ``AGREEMENT`` of its geometric mean.

    Returns:
      That, and predicted / geometric mean; None where the bracket has an open end.
    """
    if not (onset.low and onset.high and predicted):
        return None
    ratio = predicted / math.sqrt(onset.low * onset.high)
    near = 1.0 / AGREEMENT <= ratio <= AGREEMENT
    return near or onset.low <= predicted <= onset.high, ratio


def collapse(sweep: Sweep) -> Finding | None:
    """Tells between which weights the code collapses, against the linear theory."""
    shown = sweep.main_groups(1)
    if len(sweep.groups()) > MOST_GROUPS and shown:
        shown = [Group("", sweep.along(), sweep.settings)]
    sentences, attention = [], False
    for group in shown:
        onset = onset_of(group.settings, group.along)
        if onset.high is None and len({s.at(group.along) for s in group.living}) == 1:
            continue  # one weight, and a living code: nothing begins anywhere
        text, wrong = _describe(onset, predicted_collapse(sweep.summary, group.done, group.along), group.along)
        sentences.append(group.sentence(text))
        attention |= wrong
    return Finding("Collapse", attention, " ".join(sentences)) if sentences else None


def _describe(onset: Onset, predicted: float | None, flag: str) -> tuple[str, bool]:
    """Returns the onset in words, and whether it needs attention."""
    theory = f"; the linear theory puts the onset at {flag} = {number(predicted, 3)}" if predicted else ""
    wrong = bool(onset.mixed)
    if onset.low is None:
        text = f"every run is collapsed, from {flag} = {setting(onset.high)} on; what is of use lies lower"
        wrong = True
        if theory and predicted > (onset.high or 0.0):
            theory += ", so it is training that failed, not the weight"
    elif onset.high is None:
        text = f"no {flag} up to {setting(onset.low)} collapses the code"
        if predicted and onset.low > AGREEMENT * predicted:
            wrong = True
            theory += f", lower by more than a factor of {AGREEMENT:g}: they do not agree"
    else:
        text = (
            f"the code lives up to {flag} = {setting(onset.low)} and is collapsed on every seed from "
            f"{setting(onset.high)} on (a rate below {COLLAPSED_RATE:g} nats, or no latent that is used)"
        )
        agree, ratio = agrees(onset, predicted) or (None, None)
        if agree is not None:
            inside = onset.low <= predicted <= onset.high
            where = "inside that bracket" if inside else f"{number(ratio, 3)} times the middle of that bracket"
            theory += f", {where}: they {'agree' if agree else 'do not agree'} within a factor of {AGREEMENT:g}"
            wrong |= not agree
    text += f"{theory}."
    if onset.mixed:
        text += (
            f" Some runs below are collapsed too, at {flag} = {', '.join(setting(v) for v in onset.mixed)}: there "
            "it is the training that failed, or the threshold that is near."
        )
    return text, wrong
