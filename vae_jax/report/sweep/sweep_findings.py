"""All that a sweep's numbers say, in plain words."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from vae_jax.report.formatting import duration, nats, number
from vae_jax.report.reading.finding import Finding
from vae_jax.report.reading.model import remedy
from vae_jax.report.sweep.collapse import collapse
from vae_jax.report.sweep.frontier_shape import knee, monotone
from vae_jax.report.sweep.grouping import SCORES, Setting, Sweep
from vae_jax.report.sweep.recommendation import SPREADS, combined, recommendation

_MOST_NAMES = 8  # runs that are named one by one


class Difference(NamedTuple):
    """Two methods at one setting: ``rate`` and ``elbo`` are multi_rate minus separate, in nats."""

    setting: Setting
    rate: float
    elbo: float


def compare_methods(sweep: Sweep) -> list[Difference]:
    """Compares one network for all weights with those trained for one, at every setting that both have."""
    finished = [s for s in sweep.settings if s.done]
    shared = [s for s in finished if s.method == "multi_rate"]
    pairs = [(s, m) for s in finished if s.method == "separate" for m in shared if _same(s.flags, m.flags)]
    return [Difference(s, *(m.mean(key) - s.mean(key) for key in ("rate", "common_elbo"))) for s, m in pairs]


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    def close(a, b) -> bool:
        numbers = type(a) in (int, float) and type(b) in (int, float)
        return math.isclose(a, b, rel_tol=1e-6) if numbers else a == b

    return one.keys() == other.keys() and all(close(value, other[key]) for key, value in one.items())


def methods(sweep: Sweep) -> Finding | None:
    """Compares one network for all weights with one for each."""
    differences = compare_methods(sweep)
    if not differences:
        return None
    by_rate = max(differences, key=lambda d: abs(d.rate))
    by_elbo = max(differences, key=lambda d: abs(d.elbo))
    text = (
        f"One network for all weights against one trained for each, at {len(differences)} settings: the rate differs "
        f"by {_signed(by_rate.rate)} at most ({by_rate.setting.name}), the ELBO by {_signed(by_elbo.elbo)} "
        f"({by_elbo.setting.name}); above zero where the one network has more."
    )
    return Finding("One network for all", False, text)


def _signed(value: float) -> str:
    return f"{'+' if value >= 0 else '-'}{nats(abs(value))}"


def diverged(sweep: Sweep) -> Finding | None:
    """Reports the runs that went non-finite, by name."""
    lost = [row for row in sweep.rows if row["status"] == "diverged"]
    at = [row.get("diverged_at") for row in lost]
    names = [f"runs/{row['run']}" + ("" if step is None else f" at step {step}") for row, step in zip(lost, at)]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    if not lost:
        return None
    text = (
        f"{len(lost)} of {len(sweep.rows)} runs went non-finite and were frozen: {', '.join(names[:_MOST_NAMES])}"
        f"{more}. They are left out of every mean: {remedy(max(r.get('lambda_max') or 0.0 for r in lost))}."
    )
    return Finding("Diverged", True, text)


def halving(sweep: Sweep) -> Finding | None:
    """Tells what successive halving stopped and what that saved."""
    cut, stopped = sweep.summary.get("halving") or {}, sum(row["status"] == "stopped" for row in sweep.rows)
    if not cut and not stopped:
        return None
    stops = [f"at step {s['step']} {s['stopped']} stopped and {s['kept']} went on" for s in cut.get("stops") or []]
    text = f"Successive halving stopped {stopped} of {len(sweep.rows)} runs" + f" ({'; '.join(stops)})" * bool(stops)
    if cut.get("saved_share") is not None:
        text += f"; {100.0 * cut['saved_share']:.0f}% of the training steps were not spent"
        text += f", about {duration(cut['saved_seconds'])}" if cut.get("saved_seconds") is not None else ""
    text += ". A stopped run is at another step than the others, and left out of every mean."
    return Finding("Halving", False, text)


def disentanglement(sweep: Sweep) -> Finding | None:
    """Tells where each score of disentanglement is highest, and whether the seeds leave room for that."""
    parts, several = [], False
    for key, name in SCORES.items():
        scored = [s for s in sweep.settings if math.isfinite(s.mean(key))]
        if not scored:
            continue
        top, *others = sorted(scored, key=lambda s: -s.mean(key))
        mean, spread = top.mean(key), top.spread(key)
        several |= spread is not None
        tied = [s for s in others if mean - s.mean(key) <= SPREADS * combined(spread, s.spread(key))]
        text = f"{name} is highest at {top.name}, {number(mean, 2)}" if others else f"{name} is {number(mean, 2)}"
        text += f" ± {number(spread, 2)}" if spread is not None else ""
        parts.append(text + f" ({len(tied)} of {len(others)} others cannot be told from it)" * bool(spread and tied))
    if not parts:
        return None
    seeds = f"no further off than {SPREADS:g} combined standard deviations over seeds is not told apart"
    text = (
        "Scores of the codes against the known factors, 1 at most, where each factor has a latent of its own: "
        f"{'; '.join(parts)}. "
        + (f"What is {seeds}" if several else "One seed each: the spread is not known, and a lead is no ordering")
        + "; the scores ask different questions and need not agree."
    )
    return Finding("Disentanglement", False, text)


READERS = (recommendation, knee, collapse, monotone, disentanglement, methods, diverged, halving)


def read_sweep(sweep: Sweep) -> list[Finding]:
    """Returns all that a sweep says, in a fixed order; its own notes last."""
    findings = [reader(sweep) for reader in READERS]
    findings += [Finding("From the sweep", True, str(note)) for note in sweep.summary.get("notes") or []]
    return [finding for finding in findings if finding is not None]
