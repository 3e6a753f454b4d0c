"""The tables of a sweep: one line a setting for a terminal, one a run or a setting on the page, and the flags."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vae_jax.report.formatting import MISSING, aligned, duration, number, setting
from vae_jax.report.page import Table
from vae_jax.report.run_tables import KNOWN, flags
from vae_jax.report.sweep.grouping import (
    Measure,
    Setting,
    along,
    distortion,
    elbo,
    groups,
    key_measure,
    rate,
    rms,
    varied,
)
from vae_jax.report.sweep.sweep_files import Row

SHOWN_ONE_BY_ONE = 24  # rows of a page; where there are more, means over seeds are shown
# Head of a column, its measure, and whether it is in nats: one decimal, with the spread beside it.
_COLUMNS: tuple[tuple[str, Measure, bool], ...] = (
    ("rate", rate, True),
    ("distortion", distortion, True),
    ("ELBO", elbo, True),
    ("RMS", rms, False),
    ("active", key_measure("active_units"), False),
    ("sigma", key_measure("sigma"), False),
)
_ABOUT_A_RUN = ("run", "method", "status", "diverged_at", "asked", "workdir", "seed", "disentanglement", "name")


def ordered(rows: Sequence[Row]) -> list[Setting]:
    """Returns all settings, group by group, along the swept flag."""
    return [s for group in groups(rows, along(rows, numeric=True)) for s in group.settings]


def table_lines(rows: Sequence[Row]) -> list[str]:
    """A compact table for a terminal: one line a setting, the mean over its finished seeds, +- where there are some."""
    columns = [("setting", "name", lambda s: " ".join(s.name.split())), *_columns(rows, "+-", averaged=True)]
    heads, kinds, cells = zip(*columns)
    left = [i for i, kind in enumerate(kinds) if kind != "value"]
    return aligned(heads, [[cell(s) for cell in cells] for s in ordered(rows)], left).split("\n")


def runs_table(rows: Sequence[Row]) -> Table:
    """Returns the page's table: every run where they are few, every setting where they are many."""
    each = len(rows) <= SHOWN_ONE_BY_ONE
    lines = [s._replace(runs=[row]) for s in ordered(rows) for row in s.runs] if each else ordered(rows)
    columns = [("run" if each else "setting", "name", partial(_name, seed=each)), *_columns(rows, "±", not each)]
    if all(row["status"] == "done" for row in rows):
        columns.pop()
    heads, kinds, cells = zip(*columns)
    return Table([head[0].upper() + head[1:] for head in heads], kinds, [[cell(s) for cell in cells] for s in lines])


def _columns(rows: Sequence[Row], sign: str, averaged: bool) -> list[tuple[str, str, Callable[[Setting], str]]]:
    """Head, kind and cell of every column but the first; the status comes last."""
    columns = [("seeds", "value", _seeds)] if averaged else []
    if len({row["method"] for row in rows}) > 1:
        columns.insert(0, ("method", "meaning", lambda s: s.method))
    for head, measure, nats in _COLUMNS:
        # The spread of the distortion is nearly that of the ELBO, and the page is narrow.
        shown = "" if measure is distortion and sign == "±" else sign
        columns.append((head, "value", partial(_cell, measure=measure, nats=nats, sign=shown)))
    return [*columns, ("status", "meaning", lambda s: _status(s.runs))]


def _name(s: Setting, seed: bool) -> str:
    """Returns the setting, with the ``seed`` of its one run; it breaks between flags only."""
    asked = s.runs[0]["asked"]
    name = f"{s.name}, seed = {asked['seed']}" if seed and "seed" in asked else s.name
    return name.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")


def _seeds(s: Setting) -> str:
    return str(len(s.done)) if len(s.done) == len(s.runs) else f"{len(s.done)} of {len(s.runs)}"


def _cell(s: Setting, measure: Measure, nats: bool, sign: str) -> str:
    """Returns a mean over finished seeds; of a setting that has none, what a stopped run had when it stopped."""
    mean, spread = s.mean(measure), s.spread(measure)
    if not s.done:
        values = [measure(row) for row in s.runs if row["status"] == "stopped" and measure(row) is not None]
        mean, spread = sum(values) / len(values) if values else math.nan, None
    if not math.isfinite(mean):
        return MISSING
    if not nats:
        return f"{mean:.0f}" if measure is _COLUMNS[4][1] else number(mean, 3)
    return f"{mean:.1f}" + (f" {sign} {spread:.1f}" if sign and spread is not None else "")


def _status(runs: Sequence[Row]) -> str:
    """ "done", or what became of those that were not: "1 diverged, 2 stopped"."""
    if len(runs) == 1:
        row = runs[0]
        where = row.get("diverged_at") if row["status"] == "diverged" else row.get("step")
        return row["status"] + (f" at step {where}" if row["status"] != "done" and where is not None else "")
    counts = Counter(row["status"] for row in runs)
    return "done" if set(counts) == {"done"} else ", ".join(f"{n} {status}" for status, n in counts.items())


def configuration(rows: Sequence[Row], summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Every flag that all runs share, as given where it was, and then those that were swept with their values."""
    asked, swept = summary.get("flags") or {}, varied(rows)
    results = KNOWN - set(asked) | set(_ABOUT_A_RUN) | set(swept)
    shared = {k: asked.get(k, v) for k, v in rows[0].items() if k not in results}
    shown = {
        k: v
        for k, v in shared.items()
        if k in asked or (isinstance(v, bool | int | float | str | None) and all(row.get(k) == v for row in rows))
    }
    seeds = list(dict.fromkeys(row["asked"]["seed"] for row in rows if "seed" in row["asked"]))
    return flags({**shown, **swept} | ({"seed": seeds} if seeds else {}))


def timings(rows: Sequence[Row], summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Tells how long the sweep took and what of it was training."""
    whole, training, runs = summary.get("seconds"), summary.get("training_seconds"), len(rows)
    items = [("runs", str(runs))]
    if summary.get("programs"):
        items.append(("programs", str(summary["programs"])))
    if whole is not None:
        items += [("in all", duration(whole)), ("in all, a run", duration(whole / runs))]
    if training is not None:
        items += [("training", duration(training)), ("training, a run", duration(training / runs))]
    cut = summary.get("halving") or {}
    if cut.get("saved_seconds") is not None:
        items.append(("saved by halving", duration(cut["saved_seconds"])))
    return items


def one_line(rows: Sequence[Row], summary: dict[str, Any]) -> str:
    """Tells what was run, in one line."""
    parts = []
    for flag, values in varied(rows).items():
        numbers = all(type(v) in (int, float) for v in values)
        among = f"from {setting(min(values))} to {setting(max(values))}" if numbers else ", ".join(map(setting, values))
        parts.append(f"{len(values)} values of {flag} {among}" if numbers else f"{flag} {among}")
    seeds = len({row["asked"].get("seed", row.get("seed")) for row in rows})
    parts.append(f"{seeds} seeds" if seeds > 1 else "one seed")
    programs = summary.get("programs")
    together = f" in {programs} program{'' if programs == 1 else 's'}" if programs else ""
    text = f"{', '.join(parts)}: {len(rows)} run{'' if len(rows) == 1 else 's'}{together}"
    dims = {row.get("data_dim") for row in rows} - {None}
    text += f"; {dims.pop()} data dimensions" if len(dims) == 1 else ""
    steps = {row.get("num_steps") for row in rows} - {None}
    text += f"; {steps.pop()} training steps" if len(steps) == 1 else ""
    return text + (f"; {duration(summary['seconds'])}" if summary.get("seconds") is not None else "")
