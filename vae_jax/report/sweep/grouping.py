"""The runs of a sweep put in order: seeds of one setting together, settings along a flag, the others apart.

A *setting* is all that was asked for but the seed. A *group* is the settings that differ in one flag only, the one
that the sweep runs *along*: beta where it varies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax.report import formatting
from vae_jax.report.sweep.sweep_files import Row

Measure = Callable[[Row], float | None]
WEIGHTS = ("beta", "beta_norm")
SYMBOLS = {"beta": "β", "sigma": "σ", "water_level": "s"}
MOST_GROUPS = 6  # that findings speak of one by one


class Setting(NamedTuple):
    """The runs that differ in their seed only.

    Attributes:
      flags: what was asked for, without the seed.
      method: how they were trained, "separate" or "multi_rate".
      runs: their rows, whatever became of them.
    """

    flags: dict[str, Any]
    method: str
    runs: list[Row]

    @property
    def name(self) -> str:
        """As in "beta = 0.1, latent_dim = 5"."""
        return named(self.flags or {"beta": self.runs[0].get("beta")})

    @property
    def done(self) -> list[Row]:
        """The runs that came to their end with finite numbers."""
        return done(self.runs)

    def values(self, measure: Measure) -> np.ndarray:
        """``[n]``, of the finished runs that have it."""
        return np.array([v for v in map(measure, self.done) if v is not None], float)

    def mean(self, measure: Measure) -> float:
        """Over seeds; NaN without a finished run."""
        values = self.values(measure)
        return float(values.mean()) if values.size else math.nan

    def spread(self, measure: Measure) -> float | None:
        """Returns the standard deviation over seeds; None of fewer than two."""
        values = self.values(measure)
        return float(values.std(ddof=1)) if values.size > 1 else None


class Group(NamedTuple):
    """Settings that differ only in what they are sorted by.

    Attributes:
      name: what sets the group apart, "" where there is nothing.
      along: the flag that they are sorted by; "water_level" for weights of several fixed sigmas.
      settings: in increasing order.
    """

    name: str
    along: str
    settings: list[Setting]

    @property
    def rows(self) -> list[Row]:
        """All runs of the group."""
        return [row for s in self.settings for row in s.runs]

    @property
    def living(self) -> list[Setting]:
        """The settings with a finished run."""
        return [s for s in self.settings if s.done]

    def sentence(self, text: str) -> str:
        """``text`` as a sentence about this group."""
        name = self.name if "=" in self.name else self.name.capitalize()  # flags stay as they are typed
        return f"{name}: {text}" if name else f"{text[0].upper()}{text[1:]}"


def named(flags: dict[str, Any]) -> str:
    """``{"beta": 0.1, "model": "mlp"} -> "beta = 0.1, model = mlp"``."""
    return ", ".join(f"{key} = {formatting.setting(value)}" for key, value in flags.items())


def done(rows: Iterable[Row]) -> list[Row]:
    """Returns the rows of runs that came to their end with finite numbers."""
    return [row for row in rows if row["status"] == "done" and None not in (rate(row), distortion(row))]


def rate(row: Row) -> float | None:
    """Nats per example, test split."""
    return row.get("rate")


def elbo(row: Row) -> float | None:
    """At beta = 1 and, for a Gaussian, the recalibrated sigma: what runs of any weight are compared by."""
    value = row.get("calibrated_elbo")
    return row.get("elbo") if value is None else value


def distortion(row: Row) -> float | None:
    """Nats per example; for a Gaussian at the recalibrated sigma, so that ELBO = -(rate + distortion)."""
    if row.get("calibrated_elbo") is None or row.get("rate") is None:
        return row.get("distortion")
    return -(row["calibrated_elbo"] + row["rate"])


def rms(row: Row) -> float | None:
    """Returns the root mean square error of one dimension, in the units of x."""
    return None if row.get("mse") is None else math.sqrt(row["mse"])


def key_measure(key: str) -> Measure:
    """Returns the measure that is ``row[key]``."""
    return lambda row: row.get(key)


def score(name: str) -> Measure:
    """Returns a disentanglement score."""
    return lambda row: (row.get("disentanglement") or {}).get(name)


def settings(rows: Iterable[Row]) -> list[Setting]:
    """Returns the settings in the order of their first runs."""
    made: dict[str, Setting] = {}
    for row in rows:
        flags = {k: v for k, v in row["asked"].items() if k != "seed"}
        key = json.dumps([row["method"], flags], sort_keys=True)
        made.setdefault(key, Setting(flags, row["method"], [])).runs.append(row)
    return list(made.values())


def varied(rows: Sequence[Row]) -> dict[str, list]:
    """Returns the flags that differ between runs, the seed apart, each with its values in their order of appearance."""
    values: dict[str, dict[str, Any]] = {}
    for row in rows:
        for flag, value in row["asked"].items():
            values.setdefault(flag, {})[json.dumps(value)] = value
    return {k: list(v.values()) for k, v in values.items() if k != "seed" and len(v) > 1}


def along(rows: Sequence[Row], numeric: bool = False) -> str:
    """Tells what the sweep runs along: beta where it varies or nothing does, otherwise a number, then a word."""
    flags = varied(rows)
    if not flags or any(flag in flags for flag in WEIGHTS):
        return "beta"
    numbers = {k: v for k, v in flags.items() if all(type(x) in (int, float) for x in v)}
    if numeric and not numbers:
        return "beta"
    candidates = numbers or flags
    return "sigma" if "sigma" in candidates else max(candidates, key=lambda flag: len(candidates[flag]))


def at(setting: Setting, flag: str):
    """Tells where a setting stands along ``flag``; beta, sigma and the water level as the runs ended with them."""
    if flag not in (*WEIGHTS, "water_level"):
        return setting.flags.get(flag, setting.runs[0].get(flag))
    values = [row[flag] for row in setting.done or setting.runs if row.get(flag) is not None]
    return float(np.mean(values)) if values else setting.flags.get(flag)


def groups(rows: Sequence[Row], flag: str = "beta", levels: bool = False) -> list[Group]:
    """Returns the settings in groups, sorted along ``flag``.

    Args:
      rows: of any status.
      flag: the one whose settings are joined.
      levels: whether weights of several fixed sigmas are joined too, as they share one frontier: along the water level.
    """
    inside, differ, finished = (WEIGHTS if flag == "beta" else (flag,)), varied(rows), done(rows)
    if levels and flag == "beta" and "sigma" in differ:
        inside = (*inside, "sigma")
        if finished and all(r.get("precision") == "fixed" and r.get("calibrated_elbo") is not None for r in finished):
            flag = "water_level"
    members: dict[tuple[str, str], list[Setting]] = {}
    for s in settings(rows):
        outside = {k: v for k, v in s.flags.items() if k not in inside and k in differ}
        members.setdefault((named(outside), s.method), []).append(s)
    several = len({method for _, method in members}) > 1
    made = []
    for (name, method), group in members.items():
        trained = "one network for all" if method == "multi_rate" else "trained separately"
        words = [name] * bool(name) + [trained] * several
        made.append(Group(", ".join(words), flag, sorted(group, key=lambda s: _order(at(s, flag)))))
    return made


def main_groups(rows: Sequence[Row], least: int) -> tuple[str, list[Group]]:
    """Tells what the sweep runs along and the groups with ``least`` finished settings, but never very many groups."""
    flag = along(rows, numeric=True)
    return flag, [g for g in groups(rows, flag) if len(g.living) >= least][:MOST_GROUPS]


def _order(value) -> tuple:
    return (0, value, "") if isinstance(value, int | float) else (1, 0.0, str(value))
