"""Which setting of a sweep to take, how sure that is, and what to type to train it."""

from __future__ import annotations

import math
import shlex
from typing import Any, NamedTuple

from vae_jax.report.formatting import nats, number, program, setting
from vae_jax.report.reading.finding import Finding
from vae_jax.report.sweep.grouping import Setting, Sweep

SPREADS = 2.0  # combined standard deviations over seeds that a difference must pass to count
_NOT_TYPED = ("workdir", "seed", "method")
_APART = ("dataset", "pixels", "likelihood", "columns")  # flags that change what an ELBO is of


class Best(NamedTuple):
    """The setting with the largest mean ELBO, and those that cannot be told from it.

    Attributes:
      setting: the best one.
      mean: of its ELBO over seeds, nats per example.
      spread: the standard deviation over seeds, None of one seed.
      tied: the others whose mean is no further off than ``SPREADS`` combined standard deviations, best first.
    """

    setting: Setting
    mean: float
    spread: float | None
    tied: list[Setting]


def combined(one: float | None, other: float | None) -> float:
    """Returns the standard deviation of a difference; what is not known counts as none."""
    return math.hypot(one or 0.0, other or 0.0)


def best(sweep: Sweep) -> Best | None:
    """Returns the setting with the largest mean ELBO over its finished seeds; None without a finished run.

    Networks trained for one weight come before one network for all weights, as only they are a run by themselves.
    """
    finished = [s for s in sweep.settings if math.isfinite(s.mean("common_elbo"))]
    finished = [s for s in finished if s.method != "multi_rate"] or finished
    if not finished:
        return None
    top, *others = sorted(finished, key=lambda s: -s.mean("common_elbo"))
    mean, spread = top.mean("common_elbo"), top.spread("common_elbo")

    def ties(s: Setting) -> bool:
        return mean - s.mean("common_elbo") <= SPREADS * combined(spread, s.spread("common_elbo"))

    return Best(top, mean, spread, list(filter(ties, others)))


def recommendation(sweep: Sweep) -> Finding:
    """Reports the setting with the best held-out ELBO, how sure that is, and the flags to type."""
    top = best(sweep)
    if top is None:
        return Finding("Recommendation", True, "None: no run came to its end with finite numbers.")
    gaussian = top.setting.done[0].get("calibrated_elbo") is not None
    score = "held-out ELBO at beta = 1" + (" with sigma recalibrated" if gaussian else "")
    count = len(top.setting.done)
    seeds = f"the mean of {count} seeds, ± {number(top.spread, 2)}" if count > 1 else "one seed"
    others = len([s for s in sweep.settings if s.done and s.method == top.setting.method]) - 1
    within = f"within {SPREADS:g} combined standard deviations of it"
    text = f"{top.setting.name} has the best {score}: {nats(top.mean)} ({seeds})."
    if others < 1:
        text = f"{top.setting.name}, the only setting that came to its end: {score} of {nats(top.mean)} ({seeds})."
    elif top.tied:
        names = "; ".join(s.name for s in top.tied[:3]) + ("; ..." if len(top.tied) > 3 else "")
        are = "is" if len(top.tied) == 1 else "are"
        text += f" {len(top.tied)} of the {others} others {are} {within} ({names}): no ordering is claimed among them."
    elif top.spread is not None:
        text += f" None of the {others} others is {within}."
    else:
        text += " With one seed the spread is not known, and a small lead over the next is no ordering."
    text += _not_a_bound(top, sweep)
    apart = [f"--{flag}" for flag in sweep.varied if flag in _APART]
    if apart:
        text += f" But {' and '.join(apart)} differ between runs: ELBOs of different data or families need not compare."
    return Finding("Recommendation", bool(apart), f"{text} To train it: {command(top.setting, sweep.summary)}")


def _not_a_bound(top: Best, sweep: Sweep) -> str:
    """Tells what a score at beta = 1 means for a setting that was trained at another weight."""
    beta, row = top.setting.at("beta"), top.setting.done[0]
    if not isinstance(beta, int | float) or math.isclose(beta, 1.0, rel_tol=1e-6):
        return ""
    gaussian, train = row.get("calibrated_elbo") is not None, row.get("train") or {}
    error = train.get("standardised_mse", train.get("mse"))  # in the units of sigma
    text = (
        f" It was trained at beta = {setting(beta)}, where the loss is no bound on log p(x), and is scored at beta = 1"
        + (", with sigma^2 the error of the training split" if gaussian else "")
        + ": the score is a bound, whatever was trained."
    )
    if gaussian and row.get("precision") == "fixed" and row.get("water_level") and error:
        text += (
            f" Its sigma is fixed, so beta only sets the water level beta sigma^2 = {number(row['water_level'], 3)}; "
            f"in units of the error that it makes this is beta = {number(row['water_level'] / error, 3)}, and 1 would "
            "be calibrated."
        )
    for s in sweep.settings:
        same = s.flags | {"beta": None} == top.setting.flags | {"beta": None} and s.method == top.setting.method
        if same and s.done and s.at("beta") == 1.0 and "beta" in s.flags:
            text += f" Against beta = 1 it gains {nats(top.mean - s.mean('common_elbo'))}."
    return text


def command(s: Setting, summary: dict[str, Any]) -> str:
    """Tells what to type to train one setting again: the flags that the sweep was given, with the values of ``s``."""
    if s.method == "multi_rate":
        return "the sweep itself, with --method=multi_rate"
    flags = {
        k: v
        for k, v in (summary.get("flags") or {}).items()
        if k in s.runs[0] and k not in (*_NOT_TYPED, *s.flags) and v is not None and not isinstance(v, list | dict)
    }
    if not flags.get("dataset") and s.runs[0].get("dataset") and "dataset" not in s.flags:
        flags["dataset"] = s.runs[0]["dataset"]
    flags = {k: v for k, v in (flags | s.flags).items() if v is not None}
    flags["workdir"] = f"{summary.get('workdir', 'runs')}/best"
    return " ".join([program("train"), *(shlex.quote(f"--{k}={setting(v)}") for k, v in flags.items())])
