"""From the store to the local folder: what a manifest names, checked, and a damaged checkpoint left out."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from vae_jax.runtime.remote.manifest import OWN, Entry, Manifest, crc32_of, is_pushed, local_files, unit
from vae_jax.runtime.remote.store import Store, StoreError, at_once
from vae_jax.types import UserError


def fetch(url: str, store: Store, local: Path, manifest: Manifest, ahead: bool, current: Callable[[], bool]) -> None:
    """Makes ``local`` what the manifest says; everything is fetched and checked before anything here is touched.

    Args:
      url: of the store, for messages.
      store: where the objects are.
      local: the folder.
      manifest: the store's newest.
      ahead: what is here in another version is newer and stays, and so does what the manifest does not name. A
        checkpoint never changes, so one that differs was damaged or half removed here, and is fetched whole.
      current: whether the manifest is still the newest: another run may push at this moment, and remove its objects.

    Raises:
      UserError: something is damaged that the run cannot do without.
      StoreError: the store does not answer, or has another manifest by now.
    """
    here = set(local_files(local))
    wrong = [path for path, entry in manifest.files.items() if path not in here or _differs(local / path, entry)]
    extra = here - set(manifest.files)
    if ahead:
        wrong = [path for path in wrong if path not in here or unit(path) != path]
        torn = {unit(path) for path in wrong if unit(path) != path}
        extra = {path for path in extra if unit(path) in torn}
    incoming = local / OWN / "incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    good = at_once(lambda path: _get(store, manifest.files[path], incoming / path), wrong)
    bad = [path for path, got in zip(wrong, good) if not got]
    if bad and not current():
        raise StoreError("another run is pushing there")
    lost = _lost(url, manifest, bad, ahead)
    for path in extra:
        if unit(path) not in lost:
            (local / path).unlink()
    for path in wrong:
        if unit(path) not in lost:
            (local / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(incoming / path, local / path)
    for checkpoint in set() if ahead else lost:
        shutil.rmtree(local / checkpoint, ignore_errors=True)
    shutil.rmtree(incoming, ignore_errors=True)
    _prune(local)


def _differs(path: Path, entry: Entry) -> bool:
    return path.stat().st_size != entry.size or crc32_of(path) != entry[:2]


def _get(store: Store, entry: Entry, target: Path) -> bool:
    """Whether an object is what its manifest says; asked twice, because transfers are cut short as well."""
    return any(store.get(entry.object, target) and not _differs(target, entry) for _ in range(2))


def _lost(url: str, manifest: Manifest, bad: list[str], ahead: bool) -> set[str]:
    """The checkpoints among what is damaged, each with a warning while an older one is left."""
    for path in bad:
        if unit(path) == path:
            raise UserError(
                f"{url}/{manifest.files[path].object} is missing or not what was stored, and the run cannot go on "
                f"without {path}; restore it, or choose another --workdir"
            )
    lost, units = {unit(path) for path in bad}, {unit(path) for path in manifest.files}
    for checkpoint in sorted(lost):
        folder = checkpoint.rpartition("/")[0]
        if not ahead and {u for u in units if u.rpartition("/")[0] == folder} <= lost:
            raise UserError(
                f"none of the checkpoints in {url}/{folder} is what was stored; remove {url} to begin anew, or choose "
                "another --workdir"
            )
        print(f"warning: {url}/{checkpoint} is damaged; trying an older checkpoint", file=sys.stderr)
    return lost


def _prune(root: Path) -> None:
    """Removes empty folders: one with a number for a name would pass for a checkpoint."""
    for folder, _, _ in os.walk(root, topdown=False):
        path = Path(folder)
        if path != root and is_pushed(path.relative_to(root).as_posix()) and not any(path.iterdir()):
            path.rmdir()
