"""The tables of a sweep: one line a setting for a terminal, one a run or a setting on the page, and the flags."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import partial

from vae_jax.report.formatting import MISSING, aligned, duration, number, setting
from vae_jax.report.page import Table
from vae_jax.report.run_tables import KNOWN, MATTERS, flags, without_effect
from vae_jax.report.sweep.goal import goal_of
from vae_jax.report.sweep.grouping import MEASURED, Setting, Sweep
from vae_jax.report.sweep.recommendation import best

SHOWN_ONE_BY_ONE = 24  # rows of a page; where there are more, means over seeds are shown
# Head of a column, its key, and how its mean is written; None: nats, all with as many decimals.
_COLUMNS = (
    ("rate", "rate", None),
    ("distortion", "common_distortion", None),
    ("ELBO", "common_elbo", None),
    ("RMS", "rms", partial(number, digits=3)),
    ("active", "active_units", "{:.0f}".format),
    ("sigma", "sigma", partial(number, digits=3)),
)
_ABOUT_A_RUN = ("run", "method", "status", "diverged_at", "asked", "workdir", "seed", "disentanglement", "name")
_PRINTED = dict.fromkeys(("rate", "common_elbo", "common_distortion"), " +- ")
# The spread of the distortion is nearly that of the ELBO, and the page is narrow.
_ON_PAGE = dict.fromkeys(("rate", "common_elbo"), " ± ")


def table_lines(sweep: Sweep) -> list[str]:
    """Returns a table for a terminal: a line a setting, the mean over its finished seeds, +- where there are some."""
    columns = [("setting", "name", lambda s: " ".join(s.name.split())), *_columns(sweep, _PRINTED, averaged=True)]
    marked = goal_of(sweep).name != "elbo"
    if marked:
        columns.insert(0, ("", "name", _marks(sweep)))
    heads, kinds, cells = zip(*columns)
    left = [i for i, kind in enumerate(kinds) if kind != "value"]
    lines = aligned(heads, [[cell(s) for cell in cells] for s in _ordered(sweep)], left).split("\n")
    return lines + ["* the setting to take, ~ not to be told from it"] * marked


def runs_table(sweep: Sweep) -> Table:
    """Returns the page's table: every run where they are few, every setting where they are many."""
    each, lines = len(sweep.rows) <= SHOWN_ONE_BY_ONE, _ordered(sweep)
    if each:
        lines = [s._replace(runs=[row]) for s in lines for row in s.runs]
    columns = [("run" if each else "setting", "name", partial(_name, seed=each))]
    columns += _columns(sweep, _ON_PAGE, averaged=not each)
    if all(row["status"] == "done" for row in sweep.rows):
        columns.pop()
    heads, kinds, cells = zip(*columns)
    # A lower-case sigma is set as the letter.
    return Table(
        [head if head == "sigma" else head[0].upper() + head[1:] for head in heads],
        kinds,
        [[cell(s) for cell in cells] for s in lines],
    )


def _marks(sweep: Sweep) -> Callable[[Setting], str]:
    """Returns the first cell of a line: * for the setting to take, ~ for those that cannot be told from it."""
    top = best(sweep)
    return lambda s: "" if top is None else "*" if s is top.setting else "~" if any(s is t for t in top.tied) else ""


def _ordered(sweep: Sweep) -> list[Setting]:
    return [s for group in sweep.groups() for s in group.settings]


def _columns(sweep: Sweep, signs, averaged: bool) -> list[tuple[str, str, Callable[[Setting], str]]]:
    """Returns head, kind and cell of every column but the first; the status comes last."""
    columns = [("seeds", "value", _seeds)] if averaged else []
    if len({row["method"] for row in sweep.rows}) > 1:
        columns.insert(0, ("method", "meaning", lambda s: s.method))
    goal = goal_of(sweep)
    if goal.name in ("mig", "dci"):
        cell = partial(_cell, key=goal.key, written="{:.3f}".format, sign=signs["rate"])
        columns.append((goal.head.split()[0], "value", cell))
    large = any(abs(row.get("common_elbo") or 0.0) >= 100.0 for row in sweep.done)
    in_nats = "{:.1f}" if large else "{:.2f}"
    for head, key, written in _COLUMNS:
        if written is None or any(row.get(key) is not None for row in sweep.rows):
            cell = partial(_cell, key=key, written=written or in_nats.format, sign=signs.get(key))
            columns.append((head, "value", cell))
    return [*columns, ("status", "meaning", _status)]


def _name(s: Setting, seed: bool) -> str:
    """Returns the setting, with the ``seed`` of its one run; it breaks between flags only."""
    asked = s.runs[0]["asked"]
    name = f"{s.name}, seed = {asked['seed']}" if seed and "seed" in asked else s.name
    return name.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")


def _seeds(s: Setting) -> str:
    return str(len(s.done)) if len(s.done) == len(s.runs) else f"{len(s.done)} of {len(s.runs)}"


def _cell(s: Setting, key: str, written: Callable[[float], str], sign: str | None) -> str:
    """Returns a mean over finished seeds; of a setting that has none, what a stopped run had when it stopped."""
    mean, spread = s.mean(key), s.spread(key)
    if not s.done:
        stopped = [row | {"status": "done"} for row in s.runs if row["status"] == "stopped"]
        mean = s._replace(runs=stopped).mean(key)
    if not math.isfinite(mean):
        return MISSING
    return written(mean) + (f"{sign}{written(spread)}" if sign and spread is not None else "")


def _status(s: Setting) -> str:
    """Tells "done", or what became of those that were not: "1 diverged, 2 stopped"."""
    if len(s.runs) == 1:
        row = s.runs[0]
        where = row.get("diverged_at") if row["status"] == "diverged" else row.get("steps_done", row.get("step"))
        return row["status"] + (f" at step {where}" if row["status"] != "done" and where is not None else "")
    counts = Counter(row["status"] for row in s.runs)
    return "done" if set(counts) == {"done"} else ", ".join(f"{n} {status}" for status, n in counts.items())


def configuration(sweep: Sweep) -> list[tuple[str, str]]:
    """Lists the flags that matter: those that were given or that say what was trained, then those that vary."""
    rows, asked = sweep.rows, sweep.summary.get("flags") or {}
    results = KNOWN - set(asked) | {*_ABOUT_A_RUN, *MEASURED, *sweep.varied}
    if all(row.get("sigma") is None for row in rows):
        results |= without_effect({}, all(row.get("likelihood") == "tokens" for row in rows))
    shared = {k: asked.get(k, v) for k, v in rows[0].items() if k not in results}
    shown = {k: v for k, v in shared.items() if k in asked or (k in MATTERS and all(row.get(k) == v for row in rows))}
    seeds = list(dict.fromkeys(row["asked"]["seed"] for row in rows if "seed" in row["asked"]))
    return flags({**shown, **sweep.varied} | ({"seed": seeds} if seeds else {}))


def timings(sweep: Sweep) -> list[tuple[str, str]]:
    """Tells how long the sweep took and what of it was training."""
    summary, runs = sweep.summary, len(sweep.rows)
    items = [("runs", str(runs))] + ([("programs", str(summary["programs"]))] if summary.get("programs") else [])
    for name, key in (("in all", "seconds"), ("training", "training_seconds")):
        if summary.get(key) is not None:
            items += [(name, duration(summary[key])), (f"{name}, a run", duration(summary[key] / runs))]
    saved = (summary.get("halving") or {}).get("saved_seconds")
    return items if saved is None else [*items, ("saved by halving", duration(saved))]


def one_line(sweep: Sweep) -> str:
    """Tells what was run, in one line."""
    parts, rows, summary = [], sweep.rows, sweep.summary
    for flag, values in sweep.varied.items():
        numbers = all(type(v) in (int, float) for v in values)
        among = f"from {setting(min(values))} to {setting(max(values))}" if numbers else ", ".join(map(setting, values))
        parts.append(f"{len(values)} values of {flag} {among}" if numbers else f"{flag} {among}")
    seeds = len({row["asked"].get("seed", row.get("seed")) for row in rows})
    parts.append(f"{seeds} seeds" if seeds > 1 else "one seed")
    programs = summary.get("programs")
    together = f" in {programs} program{'' if programs == 1 else 's'}" if programs else ""
    text = f"{', '.join(parts)}: {len(rows)} run{'' if len(rows) == 1 else 's'}{together}"
    for key, what in (("data_dim", "data dimensions"), ("num_steps", "training steps")):
        numbers = {row.get(key) for row in rows} - {None}
        text += f"; {numbers.pop()} {what}" if len(numbers) == 1 else ""
    return text + (f"; {duration(summary['seconds'])}" if summary.get("seconds") is not None else "")
