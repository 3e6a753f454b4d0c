"""What is known of the files of a folder from an earlier run, so that a large folder is looked through only once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax.data.images import map_in_threads
from vae_jax.devices.user_cache import private_folder, prune

VERSION = 1  # of what the columns mean
LEAST = 1000  # files: fewer are looked through in less than a second
LARGEST = 2**28  # bytes that all indexes may take
# A file that was changed so lately could be changed once more within the resolution of its time.
SETTLED = 2_000_000_000  # ns


class Index:
    """Facts of the files of a folder, remembered with their sizes and times; a file of another size or time is new.

    It lies in the user's cache folder (``devices.user_cache``). Where there is none, or it is damaged or full, every
    fact is found anew, and no error is raised. Processes that write at once each write the whole, one after another.

    Args:
      folder: whose files they are.
      environ: the environment.
    """

    def __init__(self, folder: str, environ: Mapping[str, str] = os.environ):
        self.folder, self.environ = os.path.realpath(folder), environ
        self.known: dict[str, list] | None = None  # name -> bytes, time, column -> fact
        self.path: Path | None = None
        self.kept: dict[str, list] = {}
        self.is_new = False

    def map(self, column: str, function: Callable[[Any], Any], files: Sequence, what: str | None = None) -> list:
        """Returns ``function(file)`` of each ``image_files.File``; remembered what JSON can hold, but for None.

        Args:
          column: the name of the fact.
          function: called from threads where the fact is not known.
          files: with their ``name``, ``bytes`` and ``changed``.
          what: is being read, for a progress bar.
        """
        if len(files) < LEAST:
            return map_in_threads(function, files, what)
        if self.known is None:
            self._read()
        facts = [self._entry(file)[2].get(column) for file in files]
        unknown = [i for i, fact in enumerate(facts) if fact is None]
        for i, fact in zip(unknown, map_in_threads(function, [files[i] for i in unknown], what)):
            facts[i] = fact
            if fact is not None:
                self._entry(files[i])[2][column] = fact
                self.is_new = True
        return facts

    def _entry(self, file) -> list:
        entry = self.kept.get(file.name)
        if entry is None or entry[:2] != [file.bytes, file.changed]:
            entry = self.known.get(file.name)
            if entry is None or entry[:2] != [file.bytes, file.changed]:
                entry = [file.bytes, file.changed, {}]
            self.kept[file.name] = entry
        return entry

    def _read(self) -> None:
        from PIL import __version__

        self.known, self.by = {}, f"{VERSION}, pillow {__version__}"
        place = private_folder(self.environ, "images")
        if place is None:
            return
        self.path = place / f"{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:32]}.json"
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # none yet, or a damaged one
            content = json.loads(self.path.read_bytes())
            if (content["by"], content["folder"]) == (self.by, os.fsencode(self.folder).hex()):
                self.known = {name: entry for name, entry in content["files"].items() if _is_entry(entry)}

    def save(self) -> None:
        """Writes what has become known, of the files that are there, if anything has."""
        if self.path is None or not self.is_new:
            return
        limit = time.time_ns() - SETTLED
        files = {name: entry for name, entry in self.kept.items() if entry[2] and entry[1] < limit}
        content = {"by": self.by, "folder": os.fsencode(self.folder).hex(), "files": files}
        with contextlib.suppress(OSError, ValueError):  # a full disk; ValueError: names that are no text
            descriptor, temporary = tempfile.mkstemp(dir=self.path.parent)
            try:
                with open(descriptor, "w") as file:
                    json.dump(content, file, separators=(",", ":"))
                os.replace(temporary, self.path)
            except BaseException:
                os.unlink(temporary)
                raise
            prune(self.path.parent, LARGEST)
        self.is_new = False


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list) and [type(part) for part in entry] == [int, int, dict]
