"""The runs of a sweep put in order once: seeds of one setting together, settings along a flag, the others apart.

A *setting* is all that was asked for but the seed. A *group* is the settings that differ in one flag only, the one
that the sweep runs *along*: beta where it varies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_jax.report import formatting

Row = dict[str, Any]
WEIGHTS = ("beta", "beta_norm")
SCORES = {"mig": "MIG", "beta_vae": "BetaVAE", "factor_vae": "FactorVAE", "dci_disentanglement": "DCI"}
# What `_measured` adds to a row.
MEASURED = ("common_elbo", "common_distortion", "rms", *SCORES)
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

    def values(self, key: str) -> list[float]:
        """Returns ``row[key]`` of the finished runs that have it."""
        return [row[key] for row in self.done if row.get(key) is not None]

    def mean(self, key: str) -> float:
        """Returns the mean over seeds; NaN without a finished run."""
        values = self.values(key)
        return float(np.mean(values)) if values else math.nan

    def spread(self, key: str) -> float | None:
        """Returns the standard deviation over seeds; None of fewer than two."""
        values = self.values(key)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    def at(self, flag: str):
        """Tells where it stands along ``flag``; beta, sigma and the water level as the runs ended with them."""
        if flag not in (*WEIGHTS, "water_level"):
            return self.flags.get(flag, self.runs[0].get(flag))
        values = [row[flag] for row in self.done or self.runs if row.get(flag) is not None]
        return float(np.mean(values)) if values else self.flags.get(flag)


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
    def living(self) -> list[Setting]:
        """The settings with a finished run."""
        return [s for s in self.settings if s.done]

    @property
    def done(self) -> list[Row]:
        """The finished runs."""
        return [row for s in self.settings for row in s.done]

    def having(self, key: str) -> list[Setting]:
        """Returns the settings that have a mean of ``key``."""
        return [s for s in self.settings if math.isfinite(s.mean(key))]

    def sentence(self, text: str) -> str:
        """Returns ``text`` as a sentence about this group."""
        name = self.name if "=" in self.name else self.name.capitalize()  # flags stay as they are typed
        return f"{name}: {text}" if name else f"{text[0].upper()}{text[1:]}"


class Sweep(NamedTuple):
    """A sweep, put in order.

    Attributes:
      rows: the lines of ``sweep.jsonl``, each with what `_measured` adds.
      summary: ``sweep.json`` where there is one, and the ``workdir`` where it was read.
      settings: in the order of their first runs.
      varied: the flags that differ between runs, the seed apart, each with its values in their order of appearance.
    """

    rows: list[Row]
    summary: dict[str, Any]
    settings: list[Setting]
    varied: dict[str, list]

    @property
    def done(self) -> list[Row]:
        """The rows of runs that came to their end with finite numbers."""
        return done(self.rows)

    @property
    def gaussian(self) -> bool:
        """Whether all finished runs have an ELBO at the sigma of their training error."""
        return all(row.get("calibrated_elbo") is not None for row in self.done)

    def along(self, numeric: bool = True) -> str:
        """Tells what it runs along: beta where it varies or nothing does, otherwise a number, then perhaps a word."""
        if not self.varied or any(flag in self.varied for flag in WEIGHTS):
            return "beta"
        numbers = {k: v for k, v in self.varied.items() if all(type(x) in (int, float) for x in v)}
        if numeric and not numbers:
            return "beta"
        candidates = numbers or self.varied
        return "sigma" if "sigma" in candidates else max(candidates, key=lambda flag: len(candidates[flag]))

    def groups(self, flag: str | None = None, levels: bool = False) -> list[Group]:
        """Returns the settings in groups, sorted along ``flag``.

        Args:
          flag: the one whose settings are joined; None: the one that the sweep runs along.
          levels: whether weights of several fixed sigmas are joined too, as they share one frontier: along the water
            level.
        """
        flag = flag or self.along()
        inside = WEIGHTS if flag == "beta" else (flag,)
        if levels and flag == "beta" and "sigma" in self.varied:
            inside = (*inside, "sigma")
            if self.done and self.gaussian and all(r.get("precision") == "fixed" for r in self.done):
                flag = "water_level"
        members: dict[tuple[str, str], list[Setting]] = {}
        for s in self.settings:
            outside = {k: v for k, v in s.flags.items() if k not in inside and k in self.varied}
            members.setdefault((named(outside), s.method), []).append(s)
        several = len({method for _, method in members}) > 1
        made = []
        for (name, method), group in members.items():
            trained = "one network for all" if method == "multi_rate" else "trained separately"
            words = [name] * bool(name) + [trained] * several
            made.append(Group(", ".join(words), flag, sorted(group, key=lambda s: _order(s.at(flag)))))
        return made

    def main_groups(self, least: int) -> list[Group]:
        """Returns the groups with ``least`` finished settings along beta or sigma, but never very many groups."""
        if self.along() not in ("beta", "sigma"):
            return []
        return [g for g in self.groups() if len(g.living) >= least][:MOST_GROUPS]


def arrange(rows: Iterable[Row], summary: dict[str, Any] | None = None) -> Sweep:
    """Returns the sweep of rows as ``sweep.jsonl`` holds them, and of ``sweep.json``."""
    rows = [_measured(row) for row in rows]
    settings: dict[str, Setting] = {}
    values: dict[str, dict[str, Any]] = {}
    for row in rows:
        flags = {k: v for k, v in row["asked"].items() if k != "seed"}
        key = json.dumps([row["method"], flags], sort_keys=True)
        settings.setdefault(key, Setting(flags, row["method"], [])).runs.append(row)
        for flag, value in flags.items():
            values.setdefault(flag, {})[json.dumps(value)] = value
    varied = {flag: list(v.values()) for flag, v in values.items() if len(v) > 1}
    return Sweep(rows, summary or {}, list(settings.values()), varied)


def _measured(row: Row) -> Row:
    """Adds what runs are compared by.

    ``common_elbo`` is at beta = 1 and, for a Gaussian, the recalibrated sigma, so that runs of any weight compare;
    ``common_distortion`` at the same sigma, so that ELBO = -(rate + distortion); ``rms`` is the root mean square error
    of one dimension, in the units of x; then the scores of disentanglement.
    """
    calibrated, rate, scores = row.get("calibrated_elbo"), row.get("rate"), row.get("disentanglement") or {}
    elbo, distortion = row.get("elbo"), row.get("distortion")
    if calibrated is not None:
        elbo, distortion = calibrated, distortion if rate is None else -(calibrated + rate)
    mse = row.get("standardised_mse", row.get("mse"))
    rms = None if mse is None else math.sqrt(mse)
    return row | {"common_elbo": elbo, "common_distortion": distortion, "rms": rms} | {k: scores.get(k) for k in SCORES}


def named(flags: dict[str, Any]) -> str:
    """Writes ``{"beta": 0.1, "model": "mlp"}`` as "beta = 0.1, model = mlp"."""
    return ", ".join(f"{key} = {formatting.setting(value)}" for key, value in flags.items())


def done(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows of runs that came to their end with finite numbers."""
    return [row for row in rows if row["status"] == "done" and None not in (row.get("rate"), row["common_distortion"])]


def _order(value) -> tuple:
    return (0, value, "") if isinstance(value, int | float) else (1, 0.0, str(value))
