"""What one run compiled, the next one reads: JAX's persistent compilation cache, in the user's own cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import stat
from collections.abc import Mapping
from pathlib import Path

LARGEST = 1 << 30  # bytes that the folder may hold when a program starts
# Every program is kept: reading one back takes 2 ms, and the sixty small ones of a run take 3 s to compile.
LEAST_SECONDS = 0.0


def remember(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Turns the cache on, before anything is compiled, and returns its folder.

    None, and nothing is done, where JAX has been told of a cache, or not to have one, or where no folder can be had
    that is the user's alone: what lies there is executed.

    Args:
      environ: the environment.
    """
    import jax

    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return None
    folder = own_folder(environ)
    if folder is None:
        return None
    with contextlib.suppress(OSError):  # a folder that is only too large is no reason to stop
        prune(folder, LARGEST)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    return folder


def own_folder(environ: Mapping[str, str]) -> Path | None:
    """Returns ``vae_jax/jax/MACHINE`` in the user's cache folder, made if need be; None where others could write.

    MACHINE stands for the kind of processor: one home is often that of many machines, and a program that was compiled
    for another processor ends with an illegal instruction.
    """
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    named = base.is_absolute()
    if not named:  # XDG: a relative one is to be ignored
        base = Path(os.path.expanduser("~")) / ".cache"
    if not base.is_absolute():  # there is no home
        return None
    folder = base / "vae_jax" / "jax" / _machine()
    try:
        base.mkdir(parents=named, exist_ok=True)
        if any(_others_may_rename(path) for path in (base.resolve(), *base.resolve().parents)):
            return None
        for path in (folder.parent.parent, folder.parent, folder):
            path.mkdir(mode=0o700, exist_ok=True)
            if not _is_private(path):
                return None
        usable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return None
    return folder if usable else None


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


def _machine() -> str:
    """Returns eight digits that differ between processors of different abilities."""
    kind = f"{platform.system()} {platform.machine()} "
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kind += next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    except OSError:
        pass  # no Linux
    return hashlib.sha256(kind.encode()).hexdigest()[:8]


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
