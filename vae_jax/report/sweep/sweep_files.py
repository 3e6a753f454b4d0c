"""Reads what a sweep left in its workdir; tolerates one that was killed."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

from vae_jax.report import schema
from vae_jax.report.sweep.grouping import Row, Sweep, arrange
from vae_jax.runtime.files import read_object, read_rows
from vae_jax.types import UserError

AGAIN = "run the sweep again to write it anew"


def load_sweep(workdir) -> Sweep:
    """Reads a sweep's files and puts its runs in order.

    Args:
      workdir: the sweep's directory. Of a run that has several lines the last one counts: a sweep that goes on after
        it was killed may write a run again. A last line that was torn is skipped. NaN and infinities are None.

    Raises:
      UserError: where ``sweep.jsonl`` is missing, holds no run, or is broken elsewhere than at its end.
    """
    path = Path(workdir) / "sweep.jsonl"
    if not path.exists():
        what = "has no sweep.jsonl" if Path(workdir).is_dir() else "is not a directory"
        raise UserError(f"{workdir} {what}: the sweep has no runs yet; let it come to its end first")
    rows: dict[tuple[str, str, str], Row] = {}
    for number, values in enumerate(read_rows(path, AGAIN), start=1):
        try:
            row = values | {name: str(values[name]) for name in ("run", "method", "status")}
            wrong = schema.misfit(row, schema.ROW) or ("asked" if values["asked"] is None else None)
        except KeyError as error:
            wrong = error.args[0]
        if wrong is not None:
            raise UserError(f"{path}, line {number}, is no run ({wrong} is not what a run has there); {AGAIN}")
        rows[(row["method"], row["run"], repr(row["asked"]))] = row  # one network has a line for each beta
    if not rows:
        raise UserError(f"{path} holds no run yet; let the sweep come to its end first")
    summary = Path(workdir) / "sweep.json"
    about = schema.checked(read_object(summary, AGAIN), schema.SWEEP, summary, AGAIN) if summary.exists() else {}
    theory = [_whole(entry) for entry in about.get("reference") or [] if entry]
    return arrange(rows.values(), about | {"reference": theory, "workdir": str(workdir)})


def _whole(entry: dict[str, Any]) -> dict[str, Any]:
    """Returns an entry of the linear theory without what a damaged file has left of a frontier or a point."""
    line, point = entry.get("frontier") or {}, entry.get("calibrated") or {}
    points = list(zip_longest(*(line.get(key) or [] for key in ("water_level", "rate", "rms"))))
    whole = points and all(None not in p and p[2] > 0.0 for p in points)
    known = None not in (point.get("rate"), point.get("rms")) and point["rms"] > 0.0
    return entry | {"frontier": line if whole else None, "calibrated": point if known else None}
