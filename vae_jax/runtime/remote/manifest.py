"""The list of a run's files as one push left them, and which files are a run's at all."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import stat
import zlib
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

OWN = ".mirror"  # what belongs to the mirror and not to the run, in the store and in the local folder
FORMAT = 1
_NEVER = (".lock", "*.tmp", "*.orbax-checkpoint-tmp*", "*.damaged*")
_CHECKPOINT = re.compile(r"(?:.*/)?checkpoints/\d+(?=/)")


class Entry(NamedTuple):
    """One file: its content, and the object that holds it."""

    size: int  # bytes
    crc32: int
    object: str


class Manifest(NamedTuple):
    """All files of a run after a push.

    Attributes:
      counter: the push's number, from 1.
      writer: the process that pushed.
      files: by path, with ``/`` between the parts.
    """

    counter: int
    writer: str
    files: dict[str, Entry]

    def to_json(self) -> bytes:
        """Returns what ``from_json`` reads."""
        files = {path: entry._asdict() for path, entry in self.files.items()}
        return json.dumps({"format": FORMAT, **self._asdict(), "files": files}, indent=1).encode()

    def names(self) -> set[str]:
        """Returns the objects that the manifest names, and where people see them."""
        return {*self.files, *(entry.object for entry in self.files.values())}


def from_json(content: bytes) -> Manifest:
    """Returns a manifest that anybody may have written.

    Raises:
      ValueError: it is nested too deeply, of another format, or names what no push of a run could have written; a
        subclass of it where it is no JSON in UTF-8.
    """
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"it is not a manifest of format {FORMAT}")
    counter, writer, files = (value.get(key) for key in Manifest._fields)
    if not (_is_count(counter) and isinstance(writer, str) and isinstance(files, dict)):
        raise ValueError("its counter, writer or files are missing")
    return Manifest(counter, writer, {path: _entry(path, entry) for path, entry in files.items()})


def _entry(path: str, value: Any) -> Entry:
    if not (_is_safe(path) and is_the_runs(path)):
        raise ValueError(f"it names {path!r}, which is no file of a run")
    if isinstance(value, dict) and set(value) == set(Entry._fields):
        entry = Entry(**value)
        if _is_count(entry.size) and _is_count(entry.crc32) and _is_safe(entry.object):
            return entry
    raise ValueError(f"it does not say size, crc32 and an object in the workdir of {path!r}")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_safe(path: Any) -> bool:
    """Whether a path stays below its root, on every system: no root, no drive, no ``..``, no backslash."""
    if not isinstance(path, str) or not path or "\0" in path or PureWindowsPath(path).anchor:
        return False
    return "/".join(part for part in PureWindowsPath(path).parts if part != "..") == path


def is_the_runs(path: str) -> bool:
    """Whether a file or folder belongs to the run: it is no lock, not half-written, and not the mirror's own."""
    parts = path.split("/")
    return parts[0] != OWN and not any(fnmatch.fnmatchcase(part, name) for part in parts for name in _NEVER)


def checkpoint_of(path: str) -> str | None:
    """Returns the folder ``.../checkpoints/N`` that a file is part of and useless without; None for other files."""
    match = _CHECKPOINT.match(path)
    return match and match[0]


def run_files(root: Path) -> list[str]:
    """Returns the regular files below ``root`` that are the run's; links are neither files nor folders here."""
    paths = (Path(folder, name) for folder, _, names in sorted(os.walk(root)) for name in sorted(names))
    return [name for p in paths if is_the_runs(name := p.relative_to(root).as_posix()) and _is_regular(p)]


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:  # removed since it was listed
        return False


def crc32_of(path: Path) -> tuple[int, int]:
    """Returns the size in bytes and the crc32 of a file."""
    size = total = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, total = size + len(block), zlib.crc32(block, total)
    return size, total
