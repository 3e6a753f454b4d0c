"""The list of a run's files as one push left them, and which files are a run's at all."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import stat
import zlib
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

OWN = ".mirror"  # what belongs to the mirror and not to the run, in the store and in the local folder
_NEVER = (".lock", "*.tmp", "*.orbax-checkpoint-tmp*")
_CHECKPOINT = re.compile(r"(?:.*/)?checkpoints/\d+(?=/)")
_FORMAT = 1


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
        """What ``from_json`` reads."""
        files = {path: entry._asdict() for path, entry in self.files.items()}
        return json.dumps(
            {"format": _FORMAT, "counter": self.counter, "writer": self.writer, "files": files}, indent=1
        ).encode()


class Torn(ValueError):
    """Not JSON: the beginning of a manifest, as a kill leaves it where a store does not write at once, or no such."""


def from_json(content: bytes) -> Manifest:
    """A manifest that anybody may have written.

    Raises:
      Torn: it is not JSON.
      ValueError: it is of another format, or names what no push of a run could have written.
    """
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise Torn("it is not valid JSON") from None
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise ValueError(f"it is not a manifest of format {_FORMAT}")
    counter, writer, files = (found.get(key) for key in ("counter", "writer", "files"))
    if not (_is_count(counter) and isinstance(writer, str) and isinstance(files, dict)):
        raise ValueError("its counter, writer or files are missing")
    return Manifest(counter, writer, {path: _entry(path, value) for path, value in files.items()})


def _entry(path: str, value) -> Entry:
    if not (_is_safe(path) and is_pushed(path)):
        raise ValueError(f"it names {path!r}, which is no file of a run")
    if not isinstance(value, dict) or set(value) != set(Entry._fields):
        raise ValueError(f"it does not say size, crc32 and object of {path!r}")
    entry = Entry(**value)
    if not (_is_count(entry.size) and _is_count(entry.crc32)):
        raise ValueError(f"size or crc32 of {path!r} is no count")
    if not (isinstance(entry.object, str) and _is_safe(entry.object)):
        raise ValueError(f"it names the object {entry.object!r}, which is not in the workdir")
    return entry


def _is_count(value) -> bool:
    return type(value) is int and value >= 0


def _is_safe(path: str) -> bool:
    """Whether a path stays below its root, on every system: no root, no drive, no ``..``, no backslash."""
    windows = PureWindowsPath(path)
    return bool(path) and "\0" not in path and not windows.anchor and _rejoined(windows) == path


def _rejoined(path: PureWindowsPath) -> str:
    return "/".join(part for part in path.parts if part != "..")


def is_pushed(path: str) -> bool:
    """Whether a file or folder belongs to the run: it is no lock, not half-written, and not the mirror's own."""
    parts = path.split("/")
    return parts[0] != OWN and not any(fnmatch.fnmatchcase(part, name) for part in parts for name in _NEVER)


def unit(path: str) -> str:
    """The checkpoint (``.../checkpoints/N``) that a file is part of and useless without; else the file itself."""
    found = _CHECKPOINT.match(path)
    return found[0] if found else path


def local_files(root: Path) -> list[str]:
    """The regular files below ``root`` that are the run's; links are neither files nor folders here."""
    found = []
    for folder, folders, names in os.walk(root):
        prefix = Path(folder).relative_to(root).as_posix() + "/"
        prefix = "" if prefix == "./" else prefix
        folders[:] = sorted(name for name in folders if is_pushed(prefix + name))
        for name in sorted(names):
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):  # removed by now
                if is_pushed(prefix + name) and stat.S_ISREG(path.lstat().st_mode):
                    found.append(prefix + name)
    return found


def crc32_of(path: Path) -> tuple[int, int]:
    """Size in bytes and crc32 of a file."""
    size = total = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, total = size + len(block), zlib.crc32(block, total)
    return size, total
