"""Between which weights of a sweep the code collapses, against the linear theory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from vae_jax.report.formatting import number, setting
from vae_jax.report.reading.finding import COLLAPSED_RATE, Finding, is_collapsed
from vae_jax.report.sweep.grouping import MOST_GROUPS, Group, at, done, groups, main_groups, settings
from vae_jax.report.sweep.linear_theory import predicted_collapse
from vae_jax.report.sweep.sweep_files import Row

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


def onset_of(rows: Sequence[Row], flag: str = "beta") -> Onset:
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


def collapse(rows: Sequence[Row], summary: dict[str, Any]) -> Finding | None:
    """Tells between which weights the code collapses, against the linear theory."""
    flag, shown = main_groups(rows, 1)
    if flag not in ("beta", "sigma") or not shown:
        return None
    if len(groups(rows, flag)) > MOST_GROUPS:
        shown = [Group("", flag, settings(rows))]
    sentences, attention = [], False
    for group in shown:
        onset = onset_of(group.rows, flag)
        if onset.high is None and len({at(s, flag) for s in group.living}) == 1:
            continue  # one weight, and a living code: nothing begins anywhere
        predicted = predicted_collapse(summary.get("reference") or [], done(group.rows), flag)
        text, wrong = _describe(onset, predicted, flag)
        sentences.append(group.sentence(text))
        attention |= wrong
    return Finding("Collapse", attention, " ".join(sentences)) if sentences else None


def _describe(onset: Onset, predicted: float | None, flag: str) -> tuple[str, bool]:
    """Returns the onset in words, and whether it needs attention."""
    theory = f"the linear theory puts the onset at {flag} = {number(predicted, 3)}" if predicted else ""
    wrong = False
    if onset.low is None:
        text = f"every run is collapsed, from {flag} = {setting(onset.high)} on; what is of use lies lower"
        wrong = True
        if theory and predicted > (onset.high or 0.0):
            theory += ", so it is training that failed, not the weight"
    elif onset.high is None:
        text = f"no {flag} up to {setting(onset.low)} collapses the code"
        wrong = bool(predicted) and onset.low > AGREEMENT * predicted
        theory += f", lower by more than a factor of {AGREEMENT:g}: they do not agree" if wrong else ""
    else:
        text = (
            f"the code lives up to {flag} = {setting(onset.low)} and is collapsed on every seed from "
            f"{setting(onset.high)} on (a rate below {COLLAPSED_RATE:g} nats, or no active latent)"
        )
        verdict = agrees(onset, predicted) if predicted else None
        if verdict is not None:
            agree, ratio = verdict
            inside = onset.low <= predicted <= onset.high
            where = "inside that bracket" if inside else f"{number(ratio, 3)} times the middle of that bracket"
            theory += f", {where}: they {'agree' if agree else 'do not agree'} within a factor of {AGREEMENT:g}"
            wrong = not agree
    text += f"; {theory}." if theory else "."
    if onset.mixed:
        text += (
            f" Some runs below are collapsed too, at {flag} = {', '.join(setting(v) for v in onset.mixed)}: there "
            "it is the training that failed, or the threshold that is near."
        )
    return text, wrong or bool(onset.mixed)
