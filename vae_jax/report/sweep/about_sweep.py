"""What a sweep says in plain words: which setting to take, what went wrong, what was saved; all its findings.

Each function takes the rows of sweep.jsonl and what sweep.json holds; None where they say nothing.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from vae_jax.report.finding import Finding
from vae_jax.report.formatting import duration, number, setting
from vae_jax.report.sweep import analysis
from vae_jax.report.sweep.about_frontier import Summary, collapse, knee, monotone, nats
from vae_jax.report.sweep.loading import Row
from vae_jax.report.sweep.settings import Setting, at, elbo, settings, varied

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


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '-'}{nats(abs(value))}"
