#!/usr/bin/env python3
"""Numbers of runs and of sweeps in one small file, as experiments/results has them, and as a table in Markdown.

    .venv/bin/python scripts/tabulate.py OUT.json KEY,KEY=DIGITS,... DIR [DIR ...]

A DIR is a run (its results.json) or a sweep (its sweep.jsonl; runs that differ in the seed alone are one row, mean ±
standard deviation; what its report says is kept too). A KEY is a name in them, train.calibration is one inside another,
=2 are its digits in the table. A row is named by what its sweep asked for, or by its folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from experiments.papers.arms import by_arm, cell, markdown
from vae_jax.report.sweep import load_sweep
from vae_jax.report.sweep.sweep_findings import read_sweep
from vae_jax.runtime.files import read_object, write_json
from vae_jax.types import UserError, one_line


def read(folder: Path) -> tuple[list[dict], list[str]]:
    """Returns the rows of a run or a sweep, each with its ``name``, and what the report of a sweep says of them."""
    if (folder / "results.json").exists():
        return [{"name": folder.name} | read_object(folder / "results.json", "train it first")], []
    sweep = load_sweep(folder)
    # What is to be typed names folders of this machine.
    said = [f"{f.topic}. {f.text}".split(" To train it: ")[0] for f in read_sweep(sweep)]
    return [{"name": _asked(row) or folder.name} | row for row in sweep.done], said


def _asked(row: dict) -> str:
    asked = {key: f"{v:.4g}" if isinstance(v, float) else v for key, v in row["asked"].items() if key != "seed"}
    network = ["one network"] if row["method"] == "multi_rate" else []
    return " ".join([*(f"{key}={value}" for key, value in asked.items()), *network])


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
    digits = {key: int(d) if d.isdigit() else 2 for key, _, d in (k.partition("=") for k in argv[1].split(","))}
    parts = [read(Path(folder)) for folder in argv[2:]]
    rows = [{"name": row["name"]} | {key: at(row, key) for key in digits} for found, _ in parts for row in found]
    own = by_arm(rows, digits)
    cells = (
        [name, *(cell(v[k], d) if np.isfinite(v[k]).all() else "" for k, d in digits.items())]
        for name, v in own.items()
    )
    table = markdown(["", *digits], cells)
    said = [text for _, texts in parts for text in texts]
    write_json(Path(argv[0]), {"rows": rows, "table": table} | ({"said": said} if said else {}))
    print(*table, sep="\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (UserError, ValueError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
