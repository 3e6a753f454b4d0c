"""What a sweep says in plain words: which setting to take, what went wrong, what was saved; all its findings.

Each function takes the rows of sweep.jsonl and what sweep.json holds; None where they say nothing.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

from vae_jax.report.formatting import duration, number, setting
from vae_jax.report.reading.finding import COLLAPSED_RATE, Finding
from vae_jax.report.sweep import analysis
from vae_jax.report.sweep.analysis import predicted_collapse
from vae_jax.report.sweep.grouping import Group, Setting, along, at, done, elbo, groups, rate, rms, settings, varied
from vae_jax.report.sweep.sweep_files import Row

Summary = dict[str, Any]
NAMES = 8  # runs that are named one by one
_NOT_TYPED = ("workdir", "seed", "method")
_APART = ("dataset", "pixels", "likelihood", "columns")  # flags that change what an ELBO is of


def recommendation(rows: Sequence[Row], summary: Summary) -> Finding:
    """The setting with the best held-out ELBO, how sure that is, and the flags to type."""
    best = analysis.best(rows)
    if best is None:
        return Finding("Recommendation", True, "None: no run came to its end with finite numbers.")
    gaussian = best.setting.done[0].get("calibrated_elbo") is not None
    score = "held-out ELBO at beta = 1" + (" with sigma recalibrated" if gaussian else "")
    count = len(best.setting.done)
    seeds = f"the mean of {count} seeds, ± {number(best.spread, 2)}" if count > 1 else "one seed"
    others = len([s for s in settings(rows) if s.done and s.method == best.setting.method]) - 1
    text = f"{best.setting.name} has the best {score}: {nats(best.mean)} ({seeds})."
    if others < 1:
        text = f"{best.setting.name}, the only setting that came to its end: {score} of {nats(best.mean)} ({seeds})."
    elif best.tied:
        names = "; ".join(s.name for s in best.tied[:3]) + ("; ..." if len(best.tied) > 3 else "")
        are, within = "is" if len(best.tied) == 1 else "are", f"{analysis.SPREADS:g} combined standard deviations"
        text += (
            f" {len(best.tied)} of the {others} others {are} within {within} of it ({names}): no ordering is claimed "
            "among them."
        )
    elif best.spread is not None:
        text += f" None of the {others} others is within {analysis.SPREADS:g} combined standard deviations of it."
    else:
        text += " With one seed the spread is not known, and a small lead over the next is no ordering."
    text += _not_a_bound(best, rows) + _incomparable(rows) + f" To train it: {command(best.setting, summary)}"
    return Finding("Recommendation", bool(set(_APART) & set(varied(rows))), text)


def _not_a_bound(best: analysis.Best, rows: Sequence[Row]) -> str:
    beta, row = at(best.setting, "beta"), best.setting.done[0]
    if not isinstance(beta, int | float) or math.isclose(beta, 1.0, rel_tol=1e-6):
        return ""
    gaussian = row.get("calibrated_elbo") is not None
    text = (
        f" It was trained at beta = {setting(beta)}, where the loss is no bound on log p(x), and is scored at beta = 1"
        + (", with sigma^2 the error of the training split" if gaussian else "")
        + ": the score is a bound, whatever was trained."
    )
    error = (row.get("train") or {}).get("mse")
    if gaussian and row.get("precision") == "fixed" and row.get("water_level") and error:
        effective = row["water_level"] / error
        text += (
            f" Its sigma is fixed, so beta only sets the water level beta sigma^2 = {number(row['water_level'], 3)}; "
            f"in units of the error that it makes this is beta = {number(effective, 3)}, and 1 would be calibrated."
        )
    others = {k: v for k, v in best.setting.flags.items() if k != "beta"}
    for s in settings(rows):
        same = {k: v for k, v in s.flags.items() if k != "beta"} == others and s.method == best.setting.method
        if same and s.done and at(s, "beta") == 1.0 and "beta" in s.flags:
            text += f" Against beta = 1 it gains {nats(best.mean - s.mean(elbo))}."
    return text


def _incomparable(rows: Sequence[Row]) -> str:
    apart = [f"--{flag}" for flag in varied(rows) if flag in _APART]
    if not apart:
        return ""
    return f" But {' and '.join(apart)} differ between runs: ELBOs of different data or families need not compare."


def command(s: Setting, summary: Summary) -> str:
    """What to type to train one setting again: the flags that the sweep was given, with the values of ``s``."""
    shared = {k: v for k, v in (summary.get("flags") or {}).items() if k in s.runs[0] and k not in _NOT_TYPED}
    shared = {k: v for k, v in shared.items() if k not in s.flags and not isinstance(v, list | dict) and v is not None}
    if s.method == "multi_rate":
        return "the sweep itself, with --method=multi_rate"
    if not shared.get("dataset") and s.runs[0].get("dataset") and "dataset" not in s.flags:
        shared["dataset"] = s.runs[0]["dataset"]
    flags = {**shared, **s.flags}
    words = [shlex.quote(f"--{k}={setting(v)}") for k, v in flags.items() if v is not None]
    return " ".join(["python -m experiments.train", *words])


def methods(rows: Sequence[Row], summary: Summary) -> Finding | None:
    """One network for all weights against one for each."""
    found = analysis.compare_methods(rows)
    if not found:
        return None
    by_rate, by_elbo = max(found, key=lambda d: abs(d.rate)), max(found, key=lambda d: abs(d.elbo))
    text = (
        f"One network for all weights against one trained for each, at {len(found)} settings: the rate differs by "
        f"{_signed(by_rate.rate)} at most ({by_rate.setting.name}), the ELBO by {_signed(by_elbo.elbo)} "
        f"({by_elbo.setting.name}); above zero where the one network has more."
    )
    return Finding("One network for all", False, text)


def diverged(rows: Sequence[Row], summary: Summary) -> Finding | None:
    """The runs that went non-finite, by name."""
    lost = [row for row in rows if row["status"] == "diverged"]
    if not lost:
        return None
    names = [
        f"runs/{row['run']}" + ("" if row.get("diverged_at") is None else f" at step {row['diverged_at']}")
        for row in lost
    ]
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    text = (
        f"{len(lost)} of {len(rows)} runs went non-finite and were frozen: {', '.join(names[:NAMES])}{more}. They are "
        "left out of every mean. Lower the learning rate, or clip the gradient."
    )
    return Finding("Diverged", True, text)


def halving(rows: Sequence[Row], summary: Summary) -> Finding | None:
    """What successive halving stopped and what that saved."""
    cut, stopped = summary.get("halving"), sum(row["status"] == "stopped" for row in rows)
    if not cut and not stopped:
        return None
    cut = cut or {}
    stops = [f"at step {s['step']} {s['stopped']} stopped and {s['kept']} went on" for s in cut.get("stops") or []]
    text = f"Successive halving stopped {stopped} of {len(rows)} runs" + (f" ({'; '.join(stops)})" if stops else "")
    if cut.get("saved_share") is not None:
        text += f"; {100.0 * cut['saved_share']:.0f}% of the training steps were not spent"
        text += f", about {duration(cut['saved_seconds'])}" if cut.get("saved_seconds") is not None else ""
    text += ". A stopped run is at another step than the others, and left out of every mean."
    return Finding("Halving", False, text)


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '-'}{nats(abs(value))}"


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


READERS = (recommendation, knee, collapse, monotone, methods, diverged, halving)


def read_sweep(rows: Sequence[Row], summary: Summary) -> list[Finding]:
    """All that a sweep says, in a fixed order; its own notes last."""
    found = [reader(rows, summary) for reader in READERS]
    found += [Finding("From the sweep", True, str(note)) for note in summary.get("notes") or []]
    return [finding for finding in found if finding is not None]


def summary_lines(rows: Sequence[Row], summary: Summary) -> list[str]:
    """The findings as plain text, one line each, for a terminal; "!" marks what needs attention."""
    found = read_sweep(rows, summary)
    return [" ".join(f"{'!' if f.attention else ' '} {f.topic}: {f.text}".split("\n")) for f in found]
