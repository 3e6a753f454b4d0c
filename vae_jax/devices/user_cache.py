"""Folders of the user's own, closed to others, for what is quicker read again than made again."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path


def private_folder(environ: Mapping[str, str], *names: str) -> Path | None:
    """Returns the folder ``vae_jax/NAMES`` in the user's cache folder, made if need be; None where others could write.

    Args:
      environ: the environment; XDG_CACHE_HOME, where it is an absolute path, takes the place of ~/.cache.
      names: of the folders within ``vae_jax``, one in another.
    """
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    named = base.is_absolute()
    if not named:  # XDG: a relative one is to be ignored
        base = Path(os.path.expanduser("~")) / ".cache"
    if not base.is_absolute():  # there is no home
        return None
    folders = [base / "vae_jax"]
    for name in names:
        folders.append(folders[-1] / name)
    try:
        base.mkdir(parents=named, exist_ok=True)
        if any(_others_may_rename(path) for path in (base.resolve(), *base.resolve().parents)):
            return None
        for path in folders:
            path.mkdir(mode=0o700, exist_ok=True)
            if not _is_private(path):
                return None
        usable = os.access(folders[-1], os.W_OK | os.X_OK)
    except OSError:
        return None
    return folders[-1] if usable else None


def _others_may_rename(folder: Path) -> bool:
    """Whether others could put a folder of their own in the place of one in ``folder``; a sticky bit forbids that."""
    status = folder.stat()
    # A group of the user's own name has nobody else in it, on most systems.
    writable = stat.S_IWOTH | (0 if status.st_gid == os.getgid() else stat.S_IWGRP)
    is_open = status.st_mode & writable and not status.st_mode & stat.S_ISVTX
    return bool(is_open) or status.st_uid not in (0, os.getuid())


def _is_private(path: Path) -> bool:
    """Whether ``path`` is a folder, no link, of this user, and closed to others; it is closed if it can be."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        return False
    if stat.S_IMODE(status.st_mode) & 0o077:
        path.chmod(0o700)
    return True


def prune(folder: Path, largest: int) -> None:
    """Removes the files that were used longest ago until ``folder`` holds at most ``largest`` bytes.

    JAX's own ``jax_compilation_cache_max_size`` wants the package filelock, and the lock at each compilation.
    """
    files = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process has removed it
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                files.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    whole = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if whole <= largest:
            return
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            whole -= size
