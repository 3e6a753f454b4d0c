"""A local folder and its copy in a store: brought here before a run, brought there after each save."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from vae_jax.runtime.files import write_atomic
from vae_jax.runtime.remote.fetching import fetch, install
from vae_jax.runtime.remote.manifest import OWN, Entry, Manifest, checkpoint_of, crc32_of, from_json, run_files
from vae_jax.runtime.remote.staging import make_private, staging_folder
from vae_jax.runtime.remote.store import StoreError, ask, at_once, open_store
from vae_jax.types import UserError

DELAYS = (1.0, 4.0)  # seconds between the tries of a push; clients of object stores try several times in each
_MANIFESTS, _VERSIONS = f"{OWN}/manifests", f"{OWN}/versions"
_SENDINGS = 5  # how often a file may change while it is sent: TensorBoard's is written by a thread of its own


class Mirror:
    """The copy of one run; one thread calls ``pull`` once, then ``push`` after each save.

    Nothing is read or written at the URL by making one, and the run's folder is not made.

    Args:
      url: where the run is, or will be.

    Raises:
      UserError: there is no such kind of store, its package is not installed, or the local folder cannot be.

    Attributes:
      url: where the copy is.
      local: the folder in which the run works; whoever locks a workdir locks this one before ``pull``.
    """

    def __init__(self, url: str):
        self.url, self._store, self.local = url.rstrip("/"), open_store(url), staging_folder(url)
        self._writer = uuid.uuid4().hex
        self._record = self.local / OWN / "manifest.json"  # of what this folder and the store agreed on last
        self._known: Manifest | None = None  # the newest manifest, as we pulled or made it
        self._numbers: list[int] = []  # of all manifests that were there at the last look, newest first
        self._sums: dict[str, tuple[Any, tuple[int, int]]] = {}  # path -> what stat says, (size, crc32)
        self._sent: dict[str, tuple[int, int]] = {}  # object -> (size, crc32), where no manifest names it yet

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
            self._retry(self._bring_here)
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
        failed = f"the run could not be copied to {self.url}"
        try:
            self._retry(self._upload)
        except StoreError as error:
            if final:
                raise UserError(
                    f"{failed}: {error}; all of it is in {self.local}, and the same command tries again"
                ) from error
            _warn(f"{failed}: {error}; it goes on in {self.local}, and the next save tries again")
            return False
        try:
            self._retry(self._tidy)
        except StoreError as error:  # the store has everything, and more
            _warn(f"old files could not be removed from {self.url}: {error}")
        return True

    def _retry(self, attempt: Callable[[], None]) -> None:
        for delay in (*DELAYS, None):
            try:
                return attempt()
            except StoreError as error:
                if error.hopeless or delay is None:
                    raise
            time.sleep(delay)

    # ------------------------------------------------------------ manifests

    def _newest(self) -> Manifest | None:
        """Returns the newest manifest in the store that can be read; one that a kill tore is passed over.

        Raises:
          UserError: there are manifests, and none can be used.
        """
        matches = (re.fullmatch(r"([0-9]{1,18})\.json", name) for name in self._manifests())
        self._numbers = sorted((int(match[1]) for match in matches if match), reverse=True)
        refused = None
        for number in self._numbers:
            try:
                manifest = self._read(number)
            except ValueError as error:
                refused = refused or f"{self.url}/{_manifest_name(number)} cannot be used: {error}"
                if number > 1 or type(error) is ValueError:
                    continue
                manifest = None  # the first push was killed, and left no whole JSON: before it there was nothing
            if refused:
                _warn(f"{refused}; what was there before it is used")
            return manifest
        if refused:
            raise UserError(f"{refused}; remove {self.url}/{OWN} to begin anew, or choose another --workdir")
        return None

    def _manifests(self) -> list[str]:
        self._store.invalidate_cache()  # clients remember what they listed, and others write as well
        # Not `find`: it takes a folder that cannot be listed, because the network is gone, for an empty one.
        paths = ask(self._store.ls, _MANIFESTS, detail=False, absent=(FileNotFoundError,)) or []
        return [path.rstrip("/").rpartition("/")[2] for path in paths]

    def _remove(self, name: str) -> None:
        ask(self._store.rm_file, name, absent=(FileNotFoundError,))

    def _read(self, number: int) -> Manifest:
        manifest = from_json(ask(self._store.cat_file, _manifest_name(number)))
        if manifest.counter != number:
            raise ValueError(f"it says that it is number {manifest.counter}")
        return manifest

    def _recorded(self) -> Manifest | None:
        with contextlib.suppress(OSError, ValueError):
            return from_json(self._record.read_bytes())
        return None

    def _agree(self, manifest: Manifest | None) -> None:
        """Notes that ``local`` and the store agree on this manifest now."""
        if manifest is None:
            self._record.unlink(missing_ok=True)
        else:
            write_atomic(self._record, manifest.to_json())
        self._known = manifest
        self._sent.clear()

    # ------------------------------------------------------------ from the store

    def _bring_here(self) -> None:
        # Whether the store can be written is found out before anything is trained for it. In the folder of the
        # manifests: to put a file makes it on stores that have folders, and to create one does not.
        (self.local / OWN / "probe").touch()
        ask(self._store.put_file, str(self.local / OWN / "probe"), f"{_MANIFESTS}/probe")
        self._remove(f"{_MANIFESTS}/probe")
        newest, record = self._newest(), self._recorded()
        if newest is not None:
            fetched = fetch(self._store, self.local, newest, ahead=_same(newest, record))
            if fetched.bad and not _same(self._newest(), newest):
                raise StoreError("another run is pushing there")  # and has removed what was about to be fetched
            install(fetched, self.url, self.local)
        elif record is not None:
            self._set_aside()
        self._agree(newest)

    def _set_aside(self) -> None:
        """Empties ``local`` where somebody removed the run from the store: what is here may be the last copy."""
        aside = Path(tempfile.mkdtemp(prefix=f"{self.local.name}-aside-", dir=self.local.parent))
        for path in self.local.iterdir():
            if path.name not in (OWN, ".lock"):
                shutil.move(path, aside)
        _warn(f"{self.url} has no run any more; it begins anew, and the copy is in {aside}")

    # ------------------------------------------------------------ to the store

    def _upload(self) -> None:
        newest = self._newest()
        if newest is not None and newest.writer == self._writer and not _same(newest, self._known):
            self._agree(newest)  # an earlier try created it, and the answer was lost
        if not _same(newest, self._known):
            raise UserError(
                f"{self.url} is being written by another run, which has pushed since this one began; stop one of them, "
                f"or choose another --workdir (the work of this one is in {self.local})"
            )
        if not _same(self._recorded(), self._known):
            raise UserError(
                f"{self.local} was emptied, or another run works in it; {self.url} stays as it was, and the same "
                "command continues from there"
            )
        before = self._known.files if self._known else {}
        used = {entry.object for entry in before.values()}
        counter, paths = max(self._numbers, default=0) + 1, run_files(self.local)
        entries = at_once(lambda path: self._send(path, before.get(path), used, counter), paths)
        files = {path: entry for path, entry in zip(paths, entries) if entry is not None}
        if files != before:
            manifest = Manifest(counter, self._writer, files)
            ask(self._store.pipe_file, _manifest_name(counter), manifest.to_json(), mode="create")
            self._agree(manifest)

    def _send(self, path: str, before: Entry | None, used: set[str], counter: int) -> Entry | None:
        """Sends one file, if it has changed; None where it has gone since it was listed."""
        # An object that the newest manifest names is what a kill now would fall back on: it stays as it is.
        target = path if path not in used else f"{_VERSIONS}/{counter}/{path}"
        try:
            for _ in range(_SENDINGS):
                content = self._measured(path)
                if before is not None and content == before[:2]:
                    return before
                if self._sent.get(target) == content:  # by an earlier try
                    return Entry(*content, target)
                self._sent.pop(target, None)
                ask(self._store.put_file, str(self.local / path), target)
                if self._measured(path) == content:
                    self._sent[target] = content
        except FileNotFoundError:
            return None
        raise StoreError(f"{path} changes faster than it can be sent")

    def _measured(self, path: str) -> tuple[int, int]:
        """Returns size and crc32 of a local file, which is read again only where it is another."""
        status = os.stat(self.local / path)
        signature = (status.st_size, status.st_mtime_ns, status.st_ino)
        if path not in self._sums or self._sums[path][0] != signature:
            self._sums[path] = (signature, crc32_of(self.local / path))
        return self._sums[path][1]

    def _tidy(self) -> None:
        """Lets people see the newest version of each file, and removes what only older manifests named.

        These go last: whoever comes after a kill finds in them what there is still to do.
        """
        if self._known is None:
            return
        files, kept, stale, old = self._known.files, self._known.names(), set(), []
        others = [number for number in self._numbers if number != self._known.counter]
        for number in others:
            with contextlib.suppress(ValueError):  # it is torn
                old.append(self._read(number))
        shown = {path for path, entry in files.items() if any(entry != m.files.get(path) for m in old)}
        at_once(lambda p: ask(self._store.cp_file, files[p].object, p), [p for p in shown if files[p].object != p])
        self._store.invalidate_cache()
        # Where only pushes write, what no manifest names is of one that was killed.
        places = {folder.rpartition("/")[0] for folder in map(checkpoint_of, kept) if folder} | {_VERSIONS}
        left = {name for place in places for name in ask(self._store.find, place)}
        stale = {name for name in left if checkpoint_of(name) or name.startswith(_VERSIONS)}
        stale = stale.union(*(manifest.names() for manifest in old)) - kept
        at_once(self._remove, stale)
        for folder in sorted(_folders(stale) - _folders(kept), key=len, reverse=True):
            with contextlib.suppress(Exception):  # it is not empty, or the store has no folders
                self._store.rmdir(folder)
        at_once(self._remove, map(_manifest_name, others))


def _folders(names: set[str]) -> set[str]:
    return {str(folder) for name in names for folder in PurePosixPath(name).parents} - {"."}


def _manifest_name(counter: int) -> str:
    return f"{_MANIFESTS}/{counter:08}.json"


def _same(one: Manifest | None, other: Manifest | None) -> bool:
    return (one and one[:2]) == (other and other[:2])


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
