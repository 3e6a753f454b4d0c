"""Files of a run, read and written in one way each.

What is read may have been written by anybody, or torn by a kill; what is written appears all at once.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vae_jax.types import UserError

MOST = 1 << 28  # bytes of a file of results; a configuration has a limit of its own


def read_object(path: Path, remedy: str, most: int = MOST, strict: bool = False) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Args:
      path: a file that is there.
      remedy: what to do about a file that is none, for the message.
      most: the largest file, in bytes, that is read at all.
      strict: NaN and infinities are refused; otherwise they are None.

    Raises:
      UserError: it is no file, too large, not readable, not UTF-8, no JSON or no object.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise UserError(f"{path} is not a file; {remedy}")
        with path.open("rb") as file:
            found = file.read(most + 1)
        if len(found) > most:
            raise UserError(f"{path} is larger than {most / 1e6:.3g} MB, which is no file of ours; {remedy}")
        value = json.loads(found.decode("utf-8"), parse_constant=_refuse if strict else lambda name: None)
    except RecursionError:
        raise UserError(f"{path} cannot be read as JSON (it is nested too deeply); {remedy}") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON ({_reason(error)}); {remedy}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} should hold one JSON object, not a {type(value).__name__}; {remedy}")
    return value


def finite(value: Any) -> Any:
    """The same lists and objects with null for each number that is not finite: JSON has no such numbers."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse(name: str):
    raise ValueError(f"it holds {name}")


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def read_rows(path: Path, remedy: str | None = None) -> list[dict[str, Any]]:
    """Returns the JSON objects of a file that has one a line; none where there is no file.

    A line that is no object is left out, as a process that is killed tears the last line that it writes.

    Args:
      path: a file such as ``metrics.jsonl``. NaN and infinities in it are None.
      remedy: what to do about a file with such a line elsewhere than at its end, which is then refused.

    Raises:
      UserError: such a line, where there is a remedy.
    """
    if not path.exists():
        return []
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line.decode("utf-8", "replace"), parse_constant=lambda name: None)
        except (ValueError, RecursionError) as error:
            row, reason = None, str(error)
        else:
            reason = f"it is a {type(row).__name__}"
        if isinstance(row, dict):
            rows.append(row)
        elif remedy is not None and number < len(lines):
            raise UserError(f"{path}, line {number}, is no JSON object ({reason}); {remedy}")
    return rows


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as JSON, all or nothing; keys keep their order, and what is not a finite number is null."""
    write_atomic(path, json.dumps(finite(value), indent=2, allow_nan=False) + "\n")


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes one JSON object a line, all or nothing; what is not a finite number is null."""
    write_atomic(path, "".join(map(as_line, rows)))


def as_line(row: dict[str, Any]) -> str:
    """Returns the line of one object in a file that ``read_rows`` reads; JSON has no word for NaN: it is null."""
    return json.dumps(finite(row), allow_nan=False) + "\n"


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes ``content`` to ``path`` all at once: a reader sees the old file or the new one, never a part.

    The folder is made where it is missing. Text is written as UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process is in the name, as two of them may write the same file, each with its own content.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one that says what is wrong
            temporary.unlink()
        raise
