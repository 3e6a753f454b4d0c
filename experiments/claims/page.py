"""The ledger as a person reads it: a table on the terminal, and claims.html, which needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae_jax.report import Finding, page
from vae_jax.report.figure import Figure
from vae_jax.report.formatting import MISSING, aligned, duration, number
from vae_jax.runtime.files import write_atomic

from .ledger import TIERS, figure_of, word

_TITLES = {
    "exact": "Exact: closed forms and golden numbers",
    "fixed_point": "Fixed points: where training ends on a linear bed",
    "statistical": "Statistical: what papers report, three seeds each",
}
_SIGNS = {"=": "", ">=": "≥ ", "<=": "≤ "}
HEADS = ("claim", "expected", "measured", "tolerance", "holds", "seconds")


def cells(entry: dict[str, Any]) -> list[str]:
    """One claim as the cells of ``HEADS``."""
    measured = number(entry["measured"], 10 if entry["expected"] and entry["relation"] == "=" else 3)
    if entry["spread"] is not None:
        measured = f"{number(entry['measured'])} ± {number(entry['spread'], 2)}"
    holds = {True: "yes", False: "NO", None: "skipped"}[entry["holds"]]
    expected = _SIGNS[entry["relation"]] + f"{entry['expected']:.10g}"
    return [entry["name"], expected, measured, f"{entry['tolerance']:.2g}", holds, f"{entry['seconds']:.1f}"]


def table_lines(entries: Sequence[dict[str, Any]]) -> list[str]:
    """The table for a terminal, columns aligned, and a line for each claim that fails or was skipped."""
    lines = aligned(HEADS, [cells(entry) for entry in entries]).split("\n")
    told = [f"{e['name']}: {word(e)}" for e in entries if not e["holds"]]
    failed, skipped = (sum(e["holds"] is state for e in entries) for state in (False, None))
    total = sum(entry["seconds"] for entry in entries)
    held = f"{len(entries) - failed - skipped} of {len(entries)} claims hold"
    held += f", {failed} fail" * (failed > 0) + f", {skipped} skipped" * (skipped > 0)
    return [*lines, "", *told, f"{held}; {duration(total)} of work"]


def write_page(workdir: Path, entries: Sequence[dict[str, Any]]) -> Path:
    """Writes ``claims.html`` of ``entries`` with their figures inside it; returns its path."""
    about = (
        "Each line compares one number with what it should be. A table of golden numbers is one line, its largest "
        "misfit in units of what each number's printed digits allow. A claim that does not hold is shown as such."
    )
    sections = []
    for tier in TIERS:
        here = [entry for entry in entries if entry["tier"] == tier]
        figures = [Figure(path.name, e["caption"], path.read_bytes()) for e in here if (path := _figure(workdir, e))]
        sections.append(
            {
                "title": _TITLES[tier],
                "table": page.Table(HEADS, ["name", *["value"] * 5], [cells(e) for e in here]),
                "figures": figures,
                "findings": [Finding(e["name"], e["holds"] is not True, _about(e)) for e in here],
            }
        )
    path, title = workdir / "claims.html", "What this project claims, and what was measured"
    write_atomic(path, page.render("sections.html", title=title, about=about, sections=sections))
    return path


def _figure(workdir: Path, entry: dict[str, Any]) -> Path | None:
    path = figure_of(workdir, entry["name"])
    return path if entry["caption"] and path.exists() else None


def _about(entry: dict[str, Any]) -> str:
    verdict = "" if entry["holds"] else f" {word(entry)}."
    detail = f" Found: {entry['detail']}." if entry["detail"] else ""
    return f"{entry['claim']} Source: {entry['source']}. Tolerance: {entry['why']}.{detail}{verdict}" or MISSING
