"""What a sweep says of its frontier in plain words: where it bends, where the code collapses, whether it is monotone.

Each function takes the rows of sweep.jsonl and what sweep.json holds; None where they say nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vae_jax.report.finding import COLLAPSED_RATE, Finding
from vae_jax.report.formatting import number, setting
from vae_jax.report.sweep import analysis
from vae_jax.report.sweep.loading import Row
from vae_jax.report.sweep.settings import Group, along, at, done, groups, rate, rms, settings
from vae_jax.report.sweep.theory import predicted_collapse

Summary = dict[str, Any]
SPOKEN = 6  # groups that are spoken of one by one
VIOLATIONS = 8  # that are named one by one


def spoken(rows: Sequence[Row], least: int = 2) -> tuple[str, list[Group]]:
    """What the sweep runs along and the groups with ``least`` finished settings, but never very many groups."""
    flag = along(rows, numeric=True)
    found = [g for g in groups(rows, flag) if len(g.living) >= least]
    return flag, found[:SPOKEN]


def _of(group: Group, text: str) -> str:
    name = group.name if "=" in group.name else group.name.capitalize()  # flags stay as they are typed
    return f"{name}: {text}" if name else f"{text[0].upper()}{text[1:]}"


def knee(rows: Sequence[Row], summary: Summary) -> Finding | None:
    """Where each frontier turns from buying much error with a nat to buying little."""
    flag, found = spoken(rows, 3)
    if flag not in ("beta", "sigma"):
        return None
    parts = []
    for group in found:
        line = [s for s in group.living if math.isfinite(s.mean(rms))]
        points = [(s.mean(rms), s.mean(rate)) for s in line]
        index = analysis.knee(points)
        if index is None:
            continue
        (error, cost), ends, value = points[index], sorted(points), setting(at(line[index], flag))
        parts.append(
            _of(
                group,
                f"the frontier bends most at {flag} = {value}. Up to there {nats(cost - ends[-1][1])} "
                f"of rate bring the RMS error from {number(ends[-1][0])} down to {number(error)}; the next "
                f"{nats(ends[0][1] - cost)} bring it to {number(ends[0][0])} only.",
            )
        )
    if not parts:
        return None
    end = (
        " (The point furthest below the chord between the ends, rate and error scaled to their ranges: it depends on "
        "the range that was swept, and is no optimum.)"
    )
    return Finding("Knee", False, " ".join(parts) + end)


def collapse(rows: Sequence[Row], summary: Summary) -> Finding | None:
    """Between which weights the code collapses, against the linear theory."""
    flag, found = spoken(rows, 1)
    if flag not in ("beta", "sigma") or not found:
        return None
    if len(groups(rows, flag)) > SPOKEN:
        found = [Group("", flag, settings(rows))]
    parts, attention = [], False
    for group in found:
        onset = analysis.collapse(group.rows, flag)
        if onset.high is None and len({at(s, flag) for s in group.living}) == 1:
            continue  # one weight, and a living code: nothing begins anywhere
        predicted = predicted_collapse(summary.get("reference") or [], done(group.rows), flag)
        said, wrong = _onset(onset, predicted, flag)
        parts.append(_of(group, said))
        attention |= wrong
    return Finding("Collapse", attention, " ".join(parts)) if parts else None


def _onset(onset: analysis.Onset, predicted: float | None, flag: str) -> tuple[str, bool]:
    theory = f"the linear theory puts the onset at {flag} = {number(predicted, 3)}" if predicted else ""
    if onset.low is None:
        text = f"every run is collapsed, from {flag} = {setting(onset.high)} on; what is of use lies lower"
        wrong = True
        if theory:
            theory += "" if predicted <= (onset.high or 0.0) else ", so it is training that failed, not the weight"
    elif onset.high is None:
        text = f"no {flag} up to {setting(onset.low)} collapses the code"
        wrong = bool(predicted) and onset.low > analysis.AGREEMENT * predicted
        theory += f", lower by more than a factor of {analysis.AGREEMENT:g}: they do not agree" if wrong else ""
    else:
        text = (
            f"the code lives up to {flag} = {setting(onset.low)} and is collapsed on every seed from "
            f"{setting(onset.high)} on (a rate below {COLLAPSED_RATE:g} nats, or no active latent)"
        )
        wrong = False
        verdict = analysis.agrees(onset, predicted) if predicted else None
        if verdict is not None:
            agree, ratio = verdict
            inside = onset.low <= predicted <= onset.high
            where = "inside that bracket" if inside else f"{number(ratio, 3)} times the middle of that bracket"
            theory += (
                f", {where}: they {'agree' if agree else 'do not agree'} within a factor of {analysis.AGREEMENT:g}"
            )
            wrong = not agree
    text += f"; {theory}." if theory else "."
    if onset.mixed:
        text += (
            f" Some runs below are collapsed too, at {flag} = {', '.join(setting(v) for v in onset.mixed)}: there "
            "it is the training that failed, or the threshold that is near."
        )
        wrong = True
    return text, wrong


def monotone(rows: Sequence[Row], summary: Summary) -> Finding | None:
    """Whether a larger weight never buys a higher rate or a smaller error, as on any true frontier."""
    flag, found = spoken(rows, 2)
    if flag not in ("beta", "sigma") or not found:
        return None
    parts = []
    for group in found:
        for v in analysis.monotone(group.rows, flag):
            digits, unit, does = (3, " nats", "rises") if v.quantity == "rate" else (2, "", "falls")
            spread = f", {number(v.by / v.spread, 2)} combined standard deviations" if v.spread else ""
            where = f"between {flag} = {setting(v.low)} and {setting(v.high)}"
            parts.append(_of(group, f"{where} the {v.quantity} {does} by {number(v.by, digits)}{unit}{spread}."))
    seeds = max(len(s.done) for g in found for s in g.living)
    within = f"within {analysis.SPREADS:g} combined standard deviations over seeds" if seeds > 1 else "of one seed each"
    if parts:
        return Finding("Not monotone", True, " ".join(parts[:VIOLATIONS]) + " A longer training usually mends it.")
    text = f"The frontier is monotone in {flag}, {within}: the rate never rises and the RMS error never falls."
    return Finding("Monotone", False, text)


def nats(value: float) -> str:
    """A difference or a level in nats, one decimal, or two digits of a small one."""
    return f"{value:.1f} nats" if abs(value) >= 1 else f"{number(value, 2)} nats"
