"""Files of a run, read and written in one way each.

What is read may have been written by anybody, or torn by a kill; what is written appears all at once.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from vae_jax.errors import UserError

MOST = 1 << 28  # bytes of a file of results; a configuration has a limit of its own
_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def open_plain(path: Path, flags: int = os.O_RDONLY) -> int:
    """Opens a file of a run and returns its descriptor: never through a link, and without waiting for a pipe.

    Raises:
      UserError: it is a link, a pipe, a device or a folder.
      OSError: it is not there, or cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | _PLAIN, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise UserError(_not_plain(path, "file")) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(_not_plain(path, "file"))
    return descriptor


def open_to_append(path: Path) -> IO[str]:
    """Opens a file of a run to write behind its end; it is made where it is not there; errors as ``open_plain``."""
    return open(open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "a")


def check_plain(folder: Path, files: Iterable[str], folders: Iterable[str]) -> None:
    """Refuses a folder in which something else stands in the place of one of these files and folders.

    Raises:
      UserError: naming it; a link would lead what is written there out of the folder.
    """
    for names, what, is_right in ((files, "file", stat.S_ISREG), (folders, "folder", stat.S_ISDIR)):
        for path in (folder / name for name in names):
            with contextlib.suppress(FileNotFoundError):
                if not is_right(path.lstat().st_mode):
                    raise UserError(_not_plain(path, what))


def _not_plain(path: Path, what: str) -> str:
    return f"{path} is not a {what} but a link or something else, and is not touched; remove it"


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
        with open(open_plain(path), "rb") as file:
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
    try:
        with open(open_plain(path), "rb") as file:
            lines = [line for line in file.read().split(b"\n") if line.strip()]
    except FileNotFoundError:
        return []
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
    # A name that nobody can foresee: two processes may write the same file, and no link may wait there.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        with open(open_plain(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one that says what is wrong
            temporary.unlink()
        raise
