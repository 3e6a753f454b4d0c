"""A local folder and its copy in a store: brought here before a run, brought there after each save."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vae_jax.runtime.remote.fetching import fetch
from vae_jax.runtime.remote.ledger import MANIFESTS, Ledger
from vae_jax.runtime.remote.manifest import OWN, Entry, Manifest, crc32_of, local_files, unit
from vae_jax.runtime.remote.staging import make_private
from vae_jax.runtime.remote.store import Store, StoreError, at_once
from vae_jax.types import UserError

_VERSIONS = f"{OWN}/versions"
_SENDINGS = 5  # how often a file may change while it is sent: TensorBoard's is written by a thread of its own


class Mirror:
    """The copy of one run; from ``open_mirror``. One thread calls ``pull`` once, then ``push`` after each save.

    Attributes:
      url: where the copy is.
      local: the folder in which the run works; whoever locks a workdir locks this one before ``pull``.
    """

    def __init__(self, url: str, store: Store, local: Path, sleep: Callable[[float], None], delays: tuple[float, ...]):
        self.url, self.local = url.rstrip("/"), local
        self._store, self._sleep, self._delays = store, sleep, delays
        self._ledger = Ledger(self.url, store, local)
        self._writer = uuid.uuid4().hex
        self._known: Manifest | None = None  # the newest manifest, as we pulled or made it
        self._sums: dict[str, tuple[Any, tuple[int, int]]] = {}  # path -> what stat says, (size, crc32)
        self._sent: dict[str, tuple[int, int]] = {}  # object -> (size, crc32), where no manifest names it yet
        self._stale: set[str] = set()  # objects that older manifests named
        self._shown: set[str] = set()  # files of which people may still see an older version
        self._searched = False  # for what killed pushes left in the store

    def pull(self) -> None:
        """Makes ``local`` what the store has, or leaves it as it is where it is ahead of the store by work of its own.

        It is ahead where its last push is the store's newest: what it has in another version is then newer, and stays.
        In any other case the store decides.

        Raises:
          UserError: the store cannot be read and written, or what it has is damaged and cannot be done without.
        """
        try:
            make_private(self.local)
            make_private(self.local / OWN)
            self._note(self._retry(self._bring_here))
        except StoreError as error:
            raise UserError(
                f"--workdir={self.url} cannot be used: {error}; check its name, the credentials and the network"
            ) from error
        except OSError as error:
            raise UserError(f"the local copy of {self.url} cannot be made: {error}") from error

    def push(self, final: bool = False) -> bool:
        """Brings what has changed to the store: everything or nothing, as far as a later ``pull`` can see.

        Args:
          final: the run ends with it, so it must not fail. Otherwise a failure is a warning, and the next push brings
            what this one did not.

        Returns:
          Whether the store has everything.

        Raises:
          UserError: another run writes there, ``local`` is not what it was, or ``final`` and the store does not answer.
        """
        try:
            self._retry(self._upload)
        except StoreError as error:
            self._searched = False
            if final:
                raise UserError(
                    f"the run could not be copied to {self.url}: {error}; all of it is in {self.local}, and the same "
                    "command tries again"
                ) from error
            print(
                f"warning: the run could not be copied to {self.url}: {error}; it goes on in {self.local}, and the "
                "next save tries again",
                file=sys.stderr,
            )
            return False
        try:
            self._retry(self._tidy)
        except StoreError as error:  # the store has everything, and more
            print(f"warning: old files could not be removed from {self.url}: {error}", file=sys.stderr)
        return True

    def _retry(self, attempt: Callable[[], Any]) -> Any:
        for delay in self._delays:
            try:
                return attempt()
            except StoreError as error:
                if error.hopeless:
                    raise
            self._sleep(delay)
        return attempt()

    def _note(self, manifest: Manifest | None) -> None:
        """``local`` and the store agree on this manifest now."""
        self._ledger.write_record(manifest)
        before = self._known.files if self._known else {}
        files = manifest.files if manifest else {}
        self._stale |= {*before, *(entry.object for entry in before.values())}
        self._shown |= {path for path, entry in files.items() if entry != before.get(path)}
        self._known = manifest
        self._sent.clear()

    # ------------------------------------------------------------ from the store

    def _bring_here(self) -> Manifest | None:
        empty = self.local / OWN / "probe"
        empty.touch()
        # In the folder of the manifests: `put` makes it on stores that have folders, and `create` does not.
        self._store.probe(f"{MANIFESTS}/probe", empty)
        newest, record = self._ledger.newest(), self._ledger.record()
        if newest is not None:
            ahead = _same(newest, record)
            fetch(self.url, self._store, self.local, newest, ahead, lambda: _same(self._ledger.newest(), newest))
        elif record is not None:
            self._set_aside()
        return newest

    def _set_aside(self) -> None:
        """Somebody removed the run from the store: so it begins anew, and what is here may be the last copy."""
        aside = Path(tempfile.mkdtemp(prefix=f"{self.local.name}-aside-", dir=self.local.parent))
        for path in self.local.iterdir():
            if path.name not in (OWN, ".lock"):
                shutil.move(path, aside)
        print(f"warning: {self.url} has no run any more; it begins anew, and the copy is in {aside}", file=sys.stderr)

    # ------------------------------------------------------------ to the store

    def _upload(self) -> None:
        newest = self._ledger.newest()
        if newest is not None and newest.writer == self._writer and not _same(newest, self._known):
            self._note(newest)  # an earlier try created it, and the answer was lost
        if not _same(newest, self._known):
            raise UserError(
                f"{self.url} is being written by another run, which has pushed since this one began; stop one of them, "
                f"or choose another --workdir (the work of this one is in {self.local})"
            )
        if not _same(self._ledger.record(), self._known):
            raise UserError(
                f"{self.local} was emptied, or another run works in it; {self.url} stays as it was, and the same "
                "command continues from there"
            )
        before = self._known.files if self._known else {}
        counter = max(self._ledger.numbers, default=0) + 1
        used = {entry.object for entry in before.values()}
        paths = local_files(self.local)
        entries = at_once(lambda path: self._send(path, before.get(path), used, counter), paths)
        files = {path: entry for path, entry in zip(paths, entries) if entry is not None}
        if files != before:
            manifest = Manifest(counter, self._writer, files)
            self._ledger.create(manifest)
            self._note(manifest)

    def _send(self, path: str, before: Entry | None, used: set[str], counter: int) -> Entry | None:
        """Sends one file, if it has changed; None where it has gone since it was listed."""
        for _ in range(_SENDINGS):
            try:
                content = self._measured(path)
                if before is not None and content == before[:2]:
                    return before
                # An object that the newest manifest names is what a kill now would fall back on: it stays as it is.
                target = path if path not in used else f"{_VERSIONS}/{counter}/{path}"
                if self._sent.get(target) != content:
                    self._sent.pop(target, None)
                    self._store.put(self.local / path, target)
                    if self._measured(path) != content:
                        continue
                    self._sent[target] = content
            except FileNotFoundError:
                return None
            return Entry(*content, target)
        raise StoreError(f"{path} changes faster than it can be sent")

    def _measured(self, path: str) -> tuple[int, int]:
        """Size and crc32 of a local file, which is read again only where it is another."""
        found = os.stat(self.local / path)
        signature = (found.st_size, found.st_mtime_ns, found.st_ino)
        if path not in self._sums or self._sums[path][0] != signature:
            self._sums[path] = (signature, crc32_of(self.local / path))
        return self._sums[path][1]

    def _tidy(self) -> None:
        """What nothing depends on: older manifests and objects go, and people see the newest version of each file."""
        if self._known is None:
            return
        files = self._known.files
        self._ledger.remove_others(self._known)
        shown = [path for path in self._shown if path in files and files[path].object != path]
        at_once(lambda path: self._store.copy(files[path].object, path), shown)
        self._shown.clear()
        kept = {*files, *(entry.object for entry in files.values())}
        stale = self._stale | (set() if self._searched else self._left_behind(kept))
        stale -= kept
        folders = {_folder(name) for name in stale} - {_folder(name) for name in kept} - {None}
        for folder in sorted(folders):
            self._store.remove_folder(folder)
        at_once(self._store.remove, [name for name in stale if _folder(name) not in folders])
        self._stale.clear()
        self._searched = True

    def _left_behind(self, kept: set[str]) -> set[str]:
        """What is where only pushes write: what no manifest names there, one that was killed has left."""
        places = {folder.rpartition("/")[0] for folder in map(_folder, kept) if folder} | {_VERSIONS}
        return {name for place in sorted(places) for name in self._store.files(place) if _folder(name)}


def _folder(name: str) -> str | None:
    """The folder that an object shares with those of the same push, of files that changed or of a new checkpoint."""
    version = re.match(rf"{re.escape(_VERSIONS)}/[^/]+(?=/)", name)
    if version:
        return version[0]
    return unit(name) if unit(name) != name else None


def _same(one: Manifest | None, other: Manifest | None) -> bool:
    return (one and one[:2]) == (other and other[:2])
