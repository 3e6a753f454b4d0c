"""Which setting of a sweep to take, how sure that is, and what to type to train it."""

from __future__ import annotations

import math
import shlex
from typing import Any, NamedTuple

from vae_jax.report.formatting import nats, number, program, setting
from vae_jax.report.reading.finding import Finding
from vae_jax.report.sweep.goal import Goal, between, goal_of
from vae_jax.report.sweep.grouping import WEIGHTS, Setting, Sweep

SPREADS = 2.0  # combined standard deviations over seeds that a difference must pass to count
_NOT_TYPED = ("workdir", "seed", "method")
_APART = ("dataset", "pixels", "likelihood", "columns")  # flags that change what an ELBO is of


class Best(NamedTuple):
    """The setting that is best for the goal, and those that cannot be told from it.

    Attributes:
      setting: the best one: the largest mean, or the mean rate that is nearest to the one that is wanted.
      mean: of the goal's number over seeds; of the ELBO and the rate in nats per example.
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
    """Returns the setting that is best for the goal, by means over its finished seeds; None without a finished run.

    Networks trained for one weight come before one network for all weights, as only they are a run by themselves.
    """
    goal = goal_of(sweep)
    finished = [s for s in sweep.settings if math.isfinite(goal.score(s))]
    finished = [s for s in finished if s.method != "multi_rate"] or finished
    if not finished:
        return None
    top, *others = sorted(finished, key=lambda s: -goal.score(s))
    spread = top.spread(goal.key)

    def ties(s: Setting) -> bool:
        return goal.score(top) - goal.score(s) <= SPREADS * combined(spread, s.spread(goal.key))

    return Best(top, top.mean(goal.key), spread, list(filter(ties, others)))


def recommendation(sweep: Sweep) -> Finding:
    """Reports the setting that is best for the goal, how sure that is, and the flags to type."""
    goal, top = goal_of(sweep), best(sweep)
    if top is None:
        why = "no run came to its end with finite numbers" if not sweep.done else f"no run has a {goal.head}"
        return Finding("Recommendation", True, f"None: {why}.")
    return _for_elbo(sweep, top) if goal.name == "elbo" else _for_goal(sweep, goal, top)


def _for_elbo(sweep: Sweep, top: Best) -> Finding:
    gaussian = top.setting.done[0].get("calibrated_elbo") is not None
    score = "held-out ELBO at beta = 1" + (" with sigma recalibrated" if gaussian else "")
    count = len(top.setting.done)
    seeds = f"the mean of {count} seeds, ± {number(top.spread, 2)}" if count > 1 else "one seed"
    others, sure = _how_sure(sweep, top)
    found = f"{nats(top.mean, top.spread)} ({seeds})"
    text = f"{top.setting.name} has the best {score}: {found}."
    if others < 1:
        text = f"{top.setting.name}, the only setting that came to its end: {score} of {found}."
    text += sure + _not_a_bound(top, sweep)
    apart = [f"--{flag}" for flag in sweep.varied if flag in _APART]
    if apart:
        text += f" But {' and '.join(apart)} differ between runs: ELBOs of different data or families need not compare."
    return Finding("Recommendation", bool(apart), f"{text} To train it: {command(top.setting, sweep.summary)}")


def _how_sure(sweep: Sweep, top: Best) -> tuple[int, str]:
    """Returns how many other settings came to their end, and which of them cannot be told from the best, in words."""
    others = len([s for s in sweep.settings if s.done and s.method == top.setting.method]) - 1
    within = f"within {SPREADS:g} combined standard deviations of it"
    if others < 1:
        return others, ""
    if top.tied:
        names = "; ".join(s.name for s in top.tied[:3]) + ("; ..." if len(top.tied) > 3 else "")
        are = "is" if len(top.tied) == 1 else "are"
        text = f" {len(top.tied)} of the {others} others {are} {within} ({names}): no ordering is claimed among them."
        return others, text
    if top.spread is not None:
        return others, f" None of the {others} others is {within}."
    return others, " With one seed the spread is not known, and a small lead over the next is no ordering."


def _for_goal(sweep: Sweep, goal: Goal, top: Best) -> Finding:
    """Reports the best setting for a rate or a score of disentanglement, and what it costs in ELBO."""
    count, row = len(top.setting.values(goal.key)), top.setting
    seeds = f"the mean of {count} seeds, ± {number(top.spread, 2)}" if count > 1 else "one seed"
    text = f"{row.name} has the largest {goal.head}: {goal.written(top.mean)} ({seeds})."
    if goal.target is not None:
        text = f"{row.name} has the rate nearest to {nats(goal.target)}: {nats(top.mean, top.spread)} ({seeds})."
    text += _how_sure(sweep, top)[1]
    more, attention = _in_between(sweep, goal, top) if goal.target is not None else _at_the_end(sweep, top)
    elbos = [s for s in sweep.settings if math.isfinite(s.mean("common_elbo")) and s.method == row.method]
    highest = max(elbos, key=lambda s: s.mean("common_elbo"))
    lost = highest.mean("common_elbo") - row.mean("common_elbo")
    if highest is not row:
        text += f" Its ELBO is {nats(lost)} below the best, that of {highest.name}."
    return Finding("Recommendation", attention, f"{text}{more} To train it: {command(row, sweep.summary)}")


def _in_between(sweep: Sweep, goal: Goal, top: Best) -> tuple[str, bool]:
    """Returns the weight between two of the sweep that has the rate, in words, and whether there is none."""
    flag = next((f for f in WEIGHTS if f in sweep.varied), None)
    group = next((g for g in sweep.groups() if top.setting in g.settings), None)
    found = between(group, flag, top.setting, goal.target) if flag and group else None
    if found is not None:
        sure = "its spread is not known"
        if found.spread is not None:
            sure = f"± {number(found.spread, 2)} between seeds, or ± {nats(found.rate_spread)} there"
        ends = f"{flag} = {setting(found.low)} and {setting(found.high)}"
        return f" Between {ends}, --{flag}={number(found.weight, 4)} would have {nats(goal.target)} ({sure}).", False
    rates = [s.mean("rate") for s in sweep.settings if s.done]
    if min(rates) <= goal.target <= max(rates):
        return "", False
    wider = "smaller" if goal.target > max(rates) else "larger"
    return f" No setting reaches {nats(goal.target)}: {wider} weights would, if any.", True


def _at_the_end(sweep: Sweep, top: Best) -> tuple[str, bool]:
    """Returns, in words, that the best weight is an end of the range that was swept."""
    group = next((g for g in sweep.main_groups(2) if top.setting in g.settings), None)
    if group is None or top.setting not in (ends := (group.living[0], group.living[-1])):
        return "", False
    which = "smallest" if top.setting == ends[0] else "largest"
    return f" It is the {which} {group.along} of the sweep: the best may lie beyond.", True


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
