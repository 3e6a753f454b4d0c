"""Flags with several values, and the runs that they make: all combinations, or a random choice of them.

--beta=0.1,1,10            a list
--beta=log:0.01:100:13     13 values at equal ratios, both ends among them; lin: for equal distances
--beta=log:0.01:100        a range to draw from, with --random_runs
--hidden=256,256|512,512   widths contain commas, so lists of them are separated by |
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from vae_jax.runs.settings import Config
from vae_jax.runtime.config import LARGEST, kinds
from vae_jax.types import UserError

MOST = 10_000  # runs; more is a slip of the pen
LONGEST = 150  # letters of a folder's name
_SCALES = {"log": np.geomspace, "lin": np.linspace}
_SWITCH = {"true": True, "false": False}
# Flags whose values hold commas themselves.
_BARS = ("hidden",)
_FIELDS, _KINDS = {field.name: field for field in dataclasses.fields(Config)}, kinds(Config)


class Range(NamedTuple):
    """A range to draw from: ``scale`` is "log" or "lin"."""

    scale: str
    low: float
    high: float

    def at(self, u: float) -> float:
        """Returns the point at a share ``u`` of the way, 0 to 1."""
        if self.scale == "log":
            return self.low * (self.high / self.low) ** u
        return self.low + u * (self.high - self.low)


def tidy(value: float, kind: type):
    """Returns a number of a range as somebody would have typed it: six digits, or a whole number."""
    return round(value) if kind is int else float(f"{value:.6g}")


def parse(name: str, text: str) -> list[Any] | Range:
    """Returns the values that a flag of ``train`` is given, without repetitions, or a range without a count.

    Raises:
      UserError: what is not a value of that flag, in one line that says what would be.
    """
    kind, values = _KINDS[name][0], []
    for item in (part.strip() for part in text.split("|" if name in _BARS else ",")):
        scale, *ends = item.split(":")
        if kind in (int, float) and scale in _SCALES:
            points = _range(name, item, scale, ends, kind)
            if isinstance(points, Range):
                if item != text.strip():
                    raise UserError(f"--{name}={text}: a range to draw from, {item}, stands alone")
                return points
            values += points
        else:
            values.append(_value(name, item, kind))
    return list(dict.fromkeys(values))


def _range(name, item, scale, ends, kind):
    try:
        low, high = float(ends[0]), float(ends[1])
        count = int(ends[2]) if len(ends) == 3 else None
        good = len(ends) in (2, 3) and (count is None or count > 1) and abs(low) <= LARGEST and abs(high) <= LARGEST
    except (ValueError, IndexError):
        good = False
    if not good or (scale == "log" and min(low, high) <= 0):
        hint = f"write {scale}:0.01:100:13 (from, to, how many), or {scale}:0.01:100 with --random_runs"
        raise UserError(f"--{name}={item} is not a range; {hint}" + ("; log needs ends above 0" * (scale == "log")))
    if count is None:
        return Range(scale, low, high)
    if count > MOST:
        raise UserError(f"--{name}={item} asks for {count} values; a sweep takes at most {MOST} runs")
    return [tidy(float(v), kind) for v in _SCALES[scale](low, high, count)]


def _value(name, item, kind):
    about = _FIELDS[name].metadata
    if item in about["words"]:
        return item
    if about["choices"] and not about["extensible"] and item not in about["choices"]:
        raise UserError(f"--{name}={item} is not one of {', '.join(about['choices'])}")
    try:
        return _SWITCH[item.lower()] if kind is bool else kind(item)
    except (ValueError, KeyError):
        what = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise UserError(f"--{name}={item} is not {what}, nor a list or range of them such as 1,2,3") from None


def expand(given: dict[str, str], random_runs: int | None, search_seed: int) -> list[dict[str, Any]]:
    """Returns the flags of every run, in order; each names the flags that were given, and what they are for that run.

    Args:
      given: flag -> text, of the flags that were given.
      random_runs: None for all combinations; else how many of them are drawn, each with every seed.
      search_seed: of that draw.

    Raises:
      UserError: a text that cannot be read, a range without a count, or more than ``MOST`` runs.
    """
    values = {name: parse(name, text) for name, text in given.items()}
    seeds = values.pop("seed", [0])
    if isinstance(seeds, Range):
        raise UserError(f"--seed={given['seed']}: seeds are listed, such as 0,1,2")
    if random_runs is None:
        for name, value in values.items():
            if isinstance(value, Range):
                raise UserError(f"--{name}={given[name]} says no number of values; add one, or --random_runs=N")
        count = math.prod(len(v) for v in values.values())
        settings = [dict(zip(values, row)) for row in itertools.product(*values.values())] if count <= MOST else []
    else:
        count = random_runs
        settings = _drawn(values, random_runs, search_seed) if count <= MOST else []
    if count * len(seeds) > MOST:
        raise UserError(f"these flags make {count * len(seeds)} runs; a sweep takes at most {MOST}")
    return [{**setting, "seed": seed} for setting in settings for seed in seeds]


def _drawn(values, count, search_seed):
    # RandomState's stream is frozen for good; that of numpy's Generator may change with any release.
    chooser = np.random.RandomState(search_seed)
    settings = []
    for _ in range(count):
        setting = {}
        for name, value in values.items():
            if isinstance(value, Range):
                setting[name] = tidy(value.at(chooser.uniform()), _KINDS[name][0])
            else:
                setting[name] = value[chooser.randint(len(value))]
        settings.append(setting)
    return settings


def differing(settings: list[dict[str, Any]]) -> list[str]:
    """Returns the flags that do not have the same value in all runs, the seed last."""
    names = [n for n in settings[0] if n != "seed"] + ["seed"]
    return [name for name in names if len({str(s[name]) for s in settings}) > 1]


def run_name(setting: dict[str, Any], swept: list[str]) -> str:
    """Returns a folder's name, such as ``beta=0.1_seed=0``, made of what differs between the runs."""
    values = [(name, setting[name]) for name in swept]
    shown = [f"{name}={v:g}" if isinstance(v, float) else f"{name}={v}" for name, v in values]
    name = "_".join(shown).replace("/", "-") or "only"
    if len(name) <= LONGEST:
        return name
    return f"{name[:LONGEST]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
