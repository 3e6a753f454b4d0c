#!/usr/bin/env python3
"""Numbers of runs and of sweeps in one small file, as experiments/results has them, and as a table in Markdown.

    scripts/tabulate.py OUT.json KEY,KEY=DIGITS,... DIR [DIR ...]

A DIR is a run (its results.json) or a sweep (a line of sweep.jsonl for each run; those that differ in the seed alone
are one row, mean ± standard deviation). A KEY is a name in them; train.calibration is one inside another, =2 its digits
in the table. A row is named by the settings of its sweep, or by the name of its folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from experiments.papers.arms import by_arm, cell, markdown
from vae_jax.runtime.files import read_object, read_rows, write_json


def rows_of(folder: Path) -> list[dict]:
    """Returns the rows of a run or a sweep, each with its ``name``."""
    if (folder / "results.json").exists():
        return [{"name": folder.name} | read_object(folder / "results.json", "train it first")]
    done = [row for row in read_rows(folder / "sweep.jsonl") if row["status"] == "done"]
    return [{"name": _settings(row["asked"]) or folder.name} | row for row in done]


def _settings(asked: dict) -> str:
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in asked.items()
        if key != "seed"
    )


def at(row: dict, key: str):
    """Returns what stands at ``outer.inner``, or ``list.0``, a float to six digits; null where there is none."""
    for part in key.split("."):
        row = row[int(part)] if isinstance(row, list) else (row or {}).get(part)
    return float(f"{row:.6g}") if isinstance(row, float) else row


def main(argv: list[str]) -> int:
    """Reads, writes OUT.json and prints the table."""
    if len(argv) < 3:
        print(f"error: usage: {sys.argv[0]} OUT.json KEY,KEY=DIGITS,... DIR [DIR ...]", file=sys.stderr)
        return 2
    digits = {key: int(d or 2) for key, _, d in (k.partition("=") for k in argv[1].split(","))}
    found = [row for folder in argv[2:] for row in rows_of(Path(folder))]
    rows = [{"name": row["name"]} | {key: at(row, key) for key in digits} for row in found]
    own = by_arm(rows, digits)
    cells = (
        [name, *(cell(v[k], d) if np.isfinite(v[k]).all() else "" for k, d in digits.items())]
        for name, v in own.items()
    )
    table = markdown(["", *digits], cells)
    write_json(Path(argv[0]), {"rows": rows, "table": table})
    print(*table, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
