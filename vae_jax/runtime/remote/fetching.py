"""From the store to the local folder: what a manifest names, checked, and a damaged checkpoint left out."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax.runtime.remote.manifest import OWN, Manifest, checkpoint_of, crc32_of, run_files
from vae_jax.runtime.remote.store import ask, at_once
from vae_jax.types import UserError

_INCOMING = f"{OWN}/incoming"


class Fetched(NamedTuple):
    """What is in ``.mirror/incoming`` of the local folder, to be put in its place.

    Attributes:
      manifest: of the store.
      ahead: whether the local folder is ahead of it.
      paths: the files that differ here; those of them that are ``bad`` could not be had as the manifest has them.
      extra: files here that are to go.
    """

    manifest: Manifest
    ahead: bool
    paths: list[str]
    bad: list[str]
    extra: set[str]


def fetch(store: Any, local: Path, manifest: Manifest, ahead: bool) -> Fetched:
    """Fetches what differs between a manifest and ``local``, in which nothing is touched yet.

    Where ``local`` is ahead, what it has in another version is newer and stays, and so does what the manifest does not
    name. But a checkpoint never changes: one that differs was damaged or half removed here, and is fetched whole.
    """
    here = set(run_files(local))
    paths = [p for p, entry in manifest.files.items() if p not in here or crc32_of(local / p) != entry[:2]]
    extra = here - set(manifest.files)
    if ahead:
        paths = [path for path in paths if path not in here or checkpoint_of(path)]
        extra = {path for path in extra if checkpoint_of(path) in set(map(checkpoint_of, paths)) - {None}}
    shutil.rmtree(local / _INCOMING, ignore_errors=True)

    def get(path: str) -> bool:
        entry, target = manifest.files[path], local / _INCOMING / path
        target.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):  # because transfers are cut short as well
            ask(store.get_file, entry.object, str(target), absent=(FileNotFoundError, IsADirectoryError))
            if target.is_file() and crc32_of(target) == entry[:2]:
                return True
        return False

    bad = [path for path, good in zip(paths, at_once(get, paths)) if not good]
    return Fetched(manifest, ahead, paths, bad, extra)


def install(fetched: Fetched, url: str, local: Path) -> None:
    """Makes ``local`` what the manifest says, but for checkpoints that are damaged in the store.

    Raises:
      UserError: something is damaged that the run cannot do without.
    """
    lost = _lost(fetched, url)
    for path in fetched.extra:
        if checkpoint_of(path) not in lost:
            (local / path).unlink()
    for path in fetched.paths:
        if checkpoint_of(path) not in lost:
            (local / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(local / _INCOMING / path, local / path)
    for checkpoint in () if fetched.ahead else lost:
        shutil.rmtree(local / checkpoint, ignore_errors=True)
    shutil.rmtree(local / _INCOMING, ignore_errors=True)
    # An empty folder with a number for a name would pass for a checkpoint.
    for folder in sorted((path for path in local.rglob("*") if path.is_dir()), reverse=True):
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


def _lost(fetched: Fetched, url: str) -> set[str]:
    """Returns the checkpoints among what is damaged, each with a warning while an older one is left."""
    files, lost = fetched.manifest.files, set(map(checkpoint_of, fetched.bad))
    left = {Path(checkpoint).parent for checkpoint in set(map(checkpoint_of, files)) - lost - {None}}
    for path in fetched.bad:
        checkpoint = checkpoint_of(path)
        if checkpoint is None:
            raise UserError(
                f"{url}/{files[path].object} is missing or not what was stored, and the run cannot go on without "
                f"{path}; restore it, or choose another --workdir"
            )
        if not fetched.ahead and Path(checkpoint).parent not in left:
            raise UserError(
                f"none of the checkpoints in {url}/{Path(checkpoint).parent} is what was stored; remove {url} to begin "
                "anew, or choose another --workdir"
            )
    for checkpoint in sorted(lost):
        print(f"warning: {url}/{checkpoint} is damaged; trying an older checkpoint", file=sys.stderr)
    return lost
