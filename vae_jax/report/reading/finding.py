"""What a reading is made of: a finding, and the numbers of a run that sentences are made from."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from vae_jax.types import printable

COLLAPSED_RATE = 0.1  # nats per example; less than this and the code says nothing worth having
FEW = 10  # test examples below which nothing is said of the code: one row is collapsed by construction
# Flags whose names results.json gives to what was measured.
_MEASURED = ("beta", "beta_norm", "sigma", "words", "entropy", "step")

Numbers = Mapping[str, Any]


class Finding(NamedTuple):
    """One sentence or a few about a ``topic``; ``attention`` where something should be changed or known."""

    topic: str
    attention: bool
    text: str


def as_lines(findings: Iterable[Finding]) -> list[str]:
    """Returns findings as plain text for a terminal, one line each; "!" marks what needs attention."""
    return [f"{'!' if f.attention else ' '} {f.topic}: {printable(f.text).replace(chr(10), ' ')}" for f in findings]


def is_collapsed(results: Numbers) -> bool:
    """Tells whether the code carries nothing: a rate below ``COLLAPSED_RATE``, or no latent that is used.

    Where only Burda's count says so, which calls unused what is read at a small scale, the code of another example
    must serve as well.
    """
    rate, swapped, distortion = (results.get(k) for k in ("rate", "swapped_distortion", "distortion"))
    if rate is not None and rate < COLLAPSED_RATE:
        return True
    known = None not in (swapped, distortion) and "used_latents" not in results
    return used_latents(results) == 0 and not (known and swapped - distortion >= COLLAPSED_RATE)


def used_latents(results: Numbers) -> int | None:
    """Returns how many latents carry something; of a run that did not measure it Burda's count, but not of few rows."""
    if "used_latents" in results:
        return results["used_latents"]
    return None if (examples_of(results) or FEW) < FEW else results.get("active_units")


def examples_of(results: Numbers) -> int | None:
    """Returns the number of test examples, of which the mutual information's cap is the logarithm."""
    cap = (results.get("rate_parts") or {}).get("cap")
    return None if cap is None or not 0.0 <= cap < 50.0 else round(math.exp(cap))


class Trend(NamedTuple):
    """Where the ELBO goes at a run's end: it "rises", "stays", or "falls" from its best, ``elbo`` at ``step``.

    It is that of the ``split`` that the run was watched on: validation, or test where there is none.
    """

    direction: str
    step: int
    elbo: float
    split: str


def trend_of(metrics: Sequence[Numbers], rate: float | None) -> Trend | None:
    """Returns the trend of the lines of the split that the run was watched on; None of fewer than two."""
    split = next((m["split"] for m in metrics if m["split"] == "validation"), "test")
    found = [(m["step"], m.get("recalibrated_elbo", m.get("elbo"))) for m in metrics if m["split"] == split]
    lines = [(step, elbo) for step, elbo in found if elbo is not None]
    if len(lines) < 2:
        return None
    slight = max(0.5, 0.1 * (rate or 0.0))
    (step, best), (end, last) = max(lines, key=lambda line: line[1]), lines[-1]
    before = [elbo for at, elbo in lines[:-1] if at <= 0.8 * end] or [lines[0][1]]
    rises = last >= best - slight and last > before[-1] + slight
    direction = "falls" if last < best - slight else "rises" if rises else "stays"
    return Trend(direction, int(step), best, split)


def facts(results: Numbers, config: Numbers, metrics: Sequence[Numbers]) -> dict[str, Any]:
    """Returns all numbers and flags of a run under one name each, and what follows from several of them.

    The training split's numbers are ``train_elbo`` and so on, the validation split's likewise, and the parts of the
    rate stand by their own names;
    ``trend`` and its ``direction`` are the ELBO's while it was trained, ``steps`` how many it was trained for,
    ``collapsed`` as ``is_collapsed``, ``unfinished`` where the run ended inside the warm-up of its weight, ``numbers``
    all of this.
    """
    numbers = {k: v for k, v in config.items() if k not in _MEASURED} | dict(results)
    for split in ("train", "validation"):
        numbers |= {f"{split}_{k}": v for k, v in (results.get(split) or {}).items()}
    steps = results.get("steps_done", results.get("step"))
    parts = results.get("rate_parts") or {}
    numbers |= {k: part.get("value") if isinstance(part, dict) else part for k, part in parts.items()}
    ramped = config.get("weighting") in ("linear", "sigmoid", "cosine", "cyclical", "capacity")
    trend = trend_of(metrics, results.get("rate"))
    numbers |= {
        "metrics": metrics,
        "used": used_latents(results),
        "examples": examples_of(results),
        "trend": trend,
        "direction": trend and trend.direction,
        "collapsed": is_collapsed(results),
        "steps": steps,
        "unfinished": ramped and (steps or 0) < (config.get("warmup_steps") or 0),
    }
    return numbers | {"numbers": numbers}


def ask(reader: Callable[..., Finding | None], numbers: Numbers) -> Finding | None:
    """Calls ``reader`` with the numbers that its parameters name; None where one is unknown that has no default."""
    parameters = inspect.signature(reader).parameters.values()
    known = {p.name: numbers[p.name] for p in parameters if numbers.get(p.name) is not None}
    return reader(**known) if all(p.name in known or p.default is not p.empty for p in parameters) else None
