"""Reads what a sweep left in its workdir; tolerates one that was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from vae_jax.report import schema
from vae_jax.runtime.files import read_object, read_rows
from vae_jax.types import UserError

Row = dict[str, Any]
AGAIN = "run the sweep again to write it anew"


class Sweep(NamedTuple):
    """A sweep's files, read.

    Attributes:
      rows: the lines of ``sweep.jsonl`` in order, one for each method, run and setting; NaN and infinities are None.
      summary: ``sweep.json``, {} where there is none.
    """

    rows: list[Row]
    summary: dict[str, Any]


def load_sweep(workdir) -> Sweep:
    """Reads a sweep's files.

    Args:
      workdir: the sweep's directory. Of a run that has several lines the last one counts: a sweep that goes on after
        it was killed may write a run again. A last line that was torn is skipped.

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
            row = _row(values)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}, line {number}, is no run ({error}); {AGAIN}") from None
        rows[(row["method"], row["run"], repr(row["asked"]))] = row  # one network has a line for each beta
    if not rows:
        raise UserError(f"{path} holds no run yet; let the sweep come to its end first")
    summary = Path(workdir) / "sweep.json"
    if not summary.exists():
        return Sweep(list(rows.values()), {})
    return Sweep(list(rows.values()), schema.checked(read_object(summary, AGAIN), schema.SWEEP, summary, AGAIN))


def _row(values: dict[str, Any]) -> Row:
    if not isinstance(values["asked"], dict):
        raise TypeError("not an object with the flags that were asked")
    wrong = schema.misfit(values, schema.ROW)
    if wrong is not None:
        raise TypeError(f"{wrong} is not what a run has there")
    return {**values, **{name: str(values[name]) for name in ("run", "method", "status")}}
