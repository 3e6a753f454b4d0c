"""What a claim is, how one is checked, and the ledger of all: run one by one, saved after each, resumed.

A claim compares one number with what it should be. A whole table of golden numbers becomes one number too, its largest
misfit, so that each line of the ledger reads the same way.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax

import vae_jax
from vae_jax.report.figure import Figure
from vae_jax.runtime.files import write_atomic, write_json
from vae_jax.types import UserError, one_line

TIERS = ("exact", "fixed_point", "statistical")
RELATIONS = ("=", ">=", "<=")
KEPT = "claims.json"
MOST_THREADS = 4


class Settings(NamedTuple):
    """What a claim is run with.

    Attributes:
      folder: where its trained runs may live, its own or its family's; only statistical claims write there.
      full: the settings of the papers, for an accelerator; else those of two CPU cores.
      data_dir: where prepared data sets are; None as for ``train``.
    """

    folder: Path = Path("runs/claims/runs")
    full: bool = False
    data_dir: str | None = None


class Measured(NamedTuple):
    """What a claim's function found.

    Attributes:
      value: the number to compare with the expected one.
      spread: its standard deviation over seeds, of a statistical claim.
      detail: the numbers behind it, one line.
      plate: a figure, if one helps.
    """

    value: float
    spread: float | None = None
    detail: str = ""
    plate: Figure | None = None


class Claim(NamedTuple):
    """One line of the ledger.

    Attributes:
      name: unique, as in ``--only``.
      tier: one of ``TIERS``.
      claim: one sentence.
      source: the author and year, the id, the equation or table; or that it is derived here.
      expected: the number.
      relation: "=" within the tolerance, ">=" at least expected - tolerance, "<=" at most expected + tolerance.
      tolerance: >= 0.
      why: why the tolerance is what it is.
      seconds: about what it costs on two CPU cores at its small settings.
      run: ``settings -> Measured``.
    """

    name: str
    tier: str
    claim: str
    source: str
    expected: float
    relation: str
    tolerance: float
    why: str
    seconds: float
    run: Callable[[Settings], Measured]


def claim_of(
    run: Callable[[Settings], Measured],
    tier: str,
    expected: float,
    tolerance: float,
    seconds: float,
    relation: str = "=",
    why: str = "",
) -> Claim:
    """Makes a claim of a function, whose docstring begins with its sentence and ends with its source.

    The reason of the tolerance is ``why``, or stands below the source.
    """
    head, *_, tail = inspect.getdoc(run).split("\n\n")
    source, _, own = tail.removeprefix("Source: ").partition("\nTolerance: ")
    head, source, why = (" ".join(text.split()) for text in (head, source, own or why))
    return Claim(run.__name__, tier, head, source, expected, relation, tolerance, why, seconds, run)


class Skipped(Exception):
    """A claim cannot be checked here, and says why: data that are not there."""


def excess(claim: Claim, value: float) -> float:
    """By how much ``value`` is beyond the tolerance: 0 where the claim holds, infinite where it is no number."""
    if not math.isfinite(value):
        return math.inf
    off = value - claim.expected
    off = {"=": abs(off), ">=": -off, "<=": off}[claim.relation]
    return max(0.0, off - claim.tolerance)


def check(claim: Claim, settings: Settings) -> tuple[dict[str, Any], Figure | None]:
    """Runs one claim; its entry of the ledger, and its figure.

    ``holds`` is None where the claim was skipped, and False where it raised, with the error's first line. An exit that
    a run inside asks for, and Ctrl-C, pass through.
    """
    started, found, holds, beyond, error = time.perf_counter(), None, None, None, None
    try:
        with jax.enable_x64(claim.tier != "statistical"), _quiet(claim, settings):
            found = claim.run(settings)
        beyond = excess(claim, found.value)
        holds = beyond == 0.0
    except Skipped as reason:
        error = f"skipped: {one_line(str(reason))}"
    except Exception as raised:
        first = (str(raised).strip() or repr(raised)).splitlines()[0]
        holds, error = False, one_line(f"{type(raised).__name__}: {first}")
    entry = {key: value for key, value in claim._asdict().items() if key not in ("seconds", "run")} | {
        "measured": None if found is None else float(found.value),
        "spread": None if found is None or found.spread is None else float(found.spread),
        "holds": holds,
        "excess": beyond,
        "detail": found.detail if found else "",
        "error": error,
        "seconds": time.perf_counter() - started,
        "caption": found.plate.caption if found and found.plate else None,
        "digest": digest(claim, settings),
    }
    return entry, found.plate if found else None


@contextlib.contextmanager
def _quiet(claim: Claim, settings: Settings):
    """What trained runs print goes to a file beside them: the ledger's own lines stay readable."""
    if claim.tier != "statistical":
        yield
        return
    settings.folder.mkdir(parents=True, exist_ok=True)
    with (settings.folder / f"{claim.name}.log").open("a") as log, contextlib.redirect_stdout(log):
        yield


def digest(claim: Claim, settings: Settings) -> str:
    """What a result depends on: the claim's words and source, its settings, jax, and the library's source.

    A statistical claim trains for minutes, so of the sources only that of its own file counts: to run it again with
    another library, remove its folder of runs.
    """
    function, kept = claim.run, ""
    while isinstance(function, functools.partial):
        kept += repr((function.args, sorted(function.keywords)))
        function = function.func
    own = Path(inspect.getsourcefile(function)).read_text(encoding="utf-8")
    parts = [repr(claim._replace(run=None)), kept, str(settings.full), version("jax"), own]
    parts.append(vae_jax.__name__ if claim.tier == "statistical" else _library())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@functools.cache
def _library() -> str:
    sources = hashlib.sha256()
    for folder in (Path(vae_jax.__file__).parent, Path(__file__).parent):
        for path in sorted(folder.rglob("*.py")):
            sources.update(path.read_bytes())
    return sources.hexdigest()


def run_all(claims: Sequence[Claim], asked: Sequence[Claim], workdir: Path, settings: Settings) -> list[dict[str, Any]]:
    """Checks the claims ``asked``, those not yet settled, and rewrites claims.json after each; their entries in order.

    An entry of an earlier run stays while its digest is the same, but for what was skipped or raised. Entries of claims
    that were not asked for stay too.

    Args:
      claims: all there are.
      asked: those to check.
      workdir: of the ledger.
      settings: of all claims.
    """
    entries = _settled(claims, workdir, settings)
    # Small claims are compilation, which leaves the interpreter to others; the long ones first, so that none is left
    # alone at the end. What the statistical ones train prints, and fills a machine by itself.
    pool = ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1))
    small = [claim for claim in asked if claim.name not in entries and claim.tier != "statistical"]
    ordered = sorted(small, key=lambda claim: -claim.seconds)
    begun = {claim.name: pool.submit(check, claim, settings) for claim in ordered}

    def keep(claim: Claim, entry: dict[str, Any], plate: Figure | None) -> None:
        if plate is not None:
            write_atomic(figure_of(workdir, claim.name), plate.png)
        entries[claim.name] = entry
        write_json(workdir / KEPT, [entries[c.name] for c in claims if c.name in entries])

    try:
        _collect(asked, entries, begun, settings, keep)
    finally:
        pool.shutdown(cancel_futures=True)
        # An interruption loses nothing that came to its end.
        for claim in small:
            future = begun[claim.name]
            if claim.name not in entries and not future.cancelled() and future.exception() is None:
                keep(claim, *future.result())
    return [entries[claim.name] for claim in asked]


def _collect(asked, entries, begun, settings: Settings, keep: Callable) -> None:
    """Waits for the claims that were begun, makes the others, prints and keeps each, in order."""
    width = len(str(len(asked)))
    for number, claim in enumerate(asked, 1):
        head = f"[{number:{width}d}/{len(asked)}] {claim.name}"
        if claim.name in entries:
            print(f"{head}: {word(entries[claim.name])}, kept from before", flush=True)
            continue
        # What a training run warns of goes to the terminal too, so its verdict has a line of its own.
        gap = "\n    " if claim.tier == "statistical" else " "
        print(f"{head} (about {claim.seconds:.3g} s):", end=gap, flush=True)
        entry, plate = begun[claim.name].result() if claim.name in begun else check(claim, settings)
        keep(claim, entry, plate)
        print(f"{word(entry)} ({entry['seconds']:.1f} s)", flush=True)


def _settled(claims: Sequence[Claim], workdir: Path, settings: Settings) -> dict[str, dict[str, Any]]:
    """The entries of claims.json that are still true of this code, by name."""
    path = workdir / KEPT
    if not path.exists():
        return {}
    try:
        kept = {entry["name"]: entry for entry in json.loads(path.read_text()) if entry.get("error") is None}
        digests = {name: entry["digest"] for name, entry in kept.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a ledger ({error!r}); remove it, or choose another --workdir") from None
    return {c.name: kept[c.name] for c in claims if digests.get(c.name) == digest(c, settings)}


def figure_of(workdir: Path, name: str) -> Path:
    """Where a claim's figure is kept."""
    return workdir / "figures" / f"{name}.png"


def word(entry: dict[str, Any]) -> str:
    """What became of a claim: ``holds``, ``skipped: ...``, or ``FAILS`` and by how much."""
    if entry["holds"]:
        return "holds"
    if entry["holds"] is None:
        return entry["error"]
    if entry["error"]:
        return f"FAILS with {entry['error']}"
    if entry["excess"] is None or not math.isfinite(entry["excess"]):
        return "FAILS: what was measured is not a finite number"
    return f"FAILS by {entry['excess']:.3g} beyond the tolerance"
