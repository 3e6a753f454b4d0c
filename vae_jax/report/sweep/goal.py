"""What a sweep is read for: the ELBO, a rate that is wanted, or codes that stand for single factors."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from vae_jax.report.formatting import nats, number
from vae_jax.report.sweep.grouping import Group, Setting, Sweep


class Goal(NamedTuple):
    """What settings are ranked by.

    Attributes:
      name: as in ``--goal``.
      key: of the number in a row of the sweep.
      head: of its column, and in sentences.
      target: the rate that is wanted, nats per example; None of a goal that is the larger the better.
    """

    name: str = "elbo"
    key: str = "common_elbo"
    head: str = "ELBO"
    target: float | None = None

    def score(self, s: Setting) -> float:
        """Returns what is largest for the setting to take, from its mean over seeds; NaN where it has none."""
        mean = s.mean(self.key)
        return mean if self.target is None else -abs(mean - self.target)

    def written(self, value: float) -> str:
        """Returns a value as it stands in a sentence, or a standard deviation."""
        return nats(value) if self.name in ("elbo", "rate") else number(value, 3)


GOALS = {
    "elbo": Goal(),
    "rate": Goal("rate", "rate", "rate"),
    "mig": Goal("mig", "mig", "MIG"),
    "dci": Goal("dci", "dci_disentanglement", "DCI disentanglement"),
}


def goal_of(sweep: Sweep) -> Goal:
    """Returns the goal of ``sweep.json``: the ELBO where it names none, or a rate without a target."""
    asked: dict[str, Any] = sweep.summary.get("goal") or {}
    goal = GOALS.get(asked.get("name"), GOALS["elbo"])
    if goal.name != "rate":
        return goal
    return GOALS["elbo"] if asked.get("target") is None else goal._replace(target=asked["target"])


class Between(NamedTuple):
    """The weight at which the rate between two neighbours is the one that is wanted.

    Attributes:
      low, high: the neighbours' weights.
      weight: where the line through their mean rates, in log weight, meets the target.
      spread: the standard deviation of that weight for runs of one seed, from those of the two rates; None where
        either is not known.
      rate_spread: the same of the rate there, nats.
    """

    low: float
    high: float
    weight: float
    spread: float | None
    rate_spread: float | None


def between(group: Group, flag: str, chosen: Setting, target: float) -> Between | None:
    """Interpolates the weight that has the rate ``target``.

    With r the rate and l the log of the weight at the two ends, and w = (target - r0) / (r1 - r0): l0 + w (l1 - l0).
    Its derivatives are -(1 - w) and -w times (l1 - l0) / (r1 - r0), which carry the spreads of the two rates over.

    Args:
      group: settings in order of the weight.
      flag: "beta" or "beta_norm", as it was swept.
      chosen: the setting whose rate is nearest; one end is its.
      target: nats per example.

    Returns:
      None where no neighbour is on the other side of the target, or weights are not numbers above 0.
    """
    line = [s for s in group.having("rate") if isinstance(s.flags.get(flag), int | float) and s.flags[flag] > 0]
    if chosen not in line:
        return None
    i = line.index(chosen)
    for one, other in ((line[j], line[j + 1]) for j in (i - 1, i) if 0 <= j < len(line) - 1):
        (r0, r1), (s0, s1) = ([f(s) for s in (one, other)] for f in (lambda s: s.mean("rate"), _rate_spread))
        if (r0 - target) * (r1 - target) > 0 or r0 == r1:
            continue
        low, high = float(one.flags[flag]), float(other.flags[flag])
        w, step = (target - r0) / (r1 - r0), math.log(high / low)
        weight, known = low * math.exp(w * step), None not in (s0, s1)
        rate_spread = math.hypot((1 - w) * s0, w * s1) if known else None
        return Between(low, high, weight, rate_spread and weight * rate_spread * abs(step / (r1 - r0)), rate_spread)
    return None


def _rate_spread(s: Setting) -> float | None:
    return s.spread("rate")
