"""One run per workdir: a lock on ``workdir/.lock`` that dies with its process, however that ends.

One process holds it exclusively. Of several processes of one run the first takes it exclusively, so that no other run
is there, and then holds it shared; the others join, shared. So a new run gets in only when the last of them is gone.
The file stays: removing a lock file lets two runs lock two files of the same name.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from vae_jax.runtime.files import as_line, open_plain, read_rows
from vae_jax.types import UserError

try:
    import fcntl
except ImportError:  # a system without it, such as Windows: nothing is locked there
    fcntl = None

_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}  # EACCES: where a network file system emulates flock
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
_POLL = 0.1  # seconds between two tries
# Seconds: who got the lock a moment ago has signed it by then, and is named in place of who had it before.
_SIGNING = 0.02


class Lock:
    """A lock that this process has, from ``take``, ``take_first`` or ``join``; a context manager that releases it."""

    def __init__(self, workdir: Path):
        self.workdir, self._signature = workdir, None
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            self._file = open_plain(workdir / ".lock", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except UserError as error:
            raise UserError(f"--workdir={workdir} cannot be used: {error}") from None
        except OSError as error:
            raise UserError(f"--workdir={workdir} cannot be written: {os.strerror(error.errno)}") from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

    def release(self) -> None:
        """Lets others in; what the process's end does as well."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def lock(self, exclusive: bool) -> bool:
        """Tries to take the lock without waiting, and returns whether it is ours now.

        One that we have already changes its kind, or is lost.
        """
        if fcntl is None:
            return True
        try:
            fcntl.flock(self._file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                return False
            if error.errno not in _NO_LOCKS:
                raise
            if exclusive:  # every run begins with this one
                _warn_of_no_locks(self.workdir)
        return True

    def sign(self, first: bool) -> None:
        """Writes who holds the lock: in the place of earlier holders, or behind the first of a run."""
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
        self._signature = who | {"id": uuid.uuid4().hex}
        with contextlib.suppress(OSError):  # on a full disk the lock is as good without
            if first:
                os.ftruncate(self._file, 0)
            os.write(self._file, as_line(self._signature).encode())

    def share(self) -> None:
        """Goes from exclusive to shared.

        Raises:
          UserError: another run came between; it has the workdir now.
        """
        # Not atomic: the lock is given up and taken again. A run that came between has signed in our place.
        if self.lock(exclusive=False):
            signed = holders(self.workdir)
            if self._signature in signed or not signed:  # nobody can sign on a full disk
                return
        self.release()
        raise UserError(_refusal(self.workdir))


def take(workdir: Path, wait: float = 0.0) -> Lock:
    """Returns the lock of a run of one process.

    Args:
      workdir: made where it is not there; on a file system that this machine has mounted.
      wait: for how many seconds another run may still be ending.

    Raises:
      UserError: another run holds it, or the folder cannot be written.
    """
    lock = Lock(Path(workdir))
    until, warned = time.monotonic() + wait, False
    while not lock.lock(exclusive=True):
        if time.monotonic() >= until:
            time.sleep(_SIGNING)
            lock.release()
            raise UserError(_refusal(lock.workdir))
        if not warned:
            warned = True
            print(f"warning: {_in_use(lock.workdir)}; waiting up to {wait:g} s for it to end", file=sys.stderr)
        time.sleep(_POLL)
    lock.sign(first=True)
    return lock


def take_first(workdir: Path, wait: float = 0.0) -> Lock:
    """Returns the lock of the first of several processes; when it has returned, the others may ``join``.

    Args:
      workdir, wait: as for ``take``.

    Raises:
      UserError: another run holds it, or the folder cannot be written.
    """
    lock = take(workdir, wait)
    lock.share()
    return lock


def join(workdir: Path) -> Lock:
    """Returns the lock of any other process of a run whose first process holds it.

    Raises:
      UserError: another run holds it, or the folder cannot be written.
    """
    lock = Lock(Path(workdir))
    if not lock.lock(exclusive=False):
        lock.release()
        raise UserError(_refusal(lock.workdir))
    lock.sign(first=False)
    return lock


def is_held(workdir: Path) -> bool:
    """Whether a run holds the lock of a folder at this moment; nothing is made where there is none."""
    if not (workdir / ".lock").exists():
        return False
    with Lock(workdir) as lock:
        return not lock.lock(exclusive=True)


def holders(workdir: Path) -> list[dict[str, Any]]:
    """Returns who signed the lock, each with ``pid``, ``host`` and ``since``; lines that are torn are left out."""
    try:
        rows = read_rows(workdir / ".lock")
    except OSError:
        return []
    return [who for who in rows if {"pid", "host", "since"} <= who.keys()]


def _may_live(who: dict[str, Any]) -> bool:
    if who["host"] != socket.gethostname():
        return True
    try:
        os.kill(int(who["pid"]), 0)
    except (ProcessLookupError, ValueError, TypeError, OverflowError):
        return False
    except PermissionError:  # it is somebody else's
        pass
    return True


def _living(workdir: Path) -> list[dict[str, Any]]:
    """Returns those who have the lock; the holder may be about to sign in the place of one who is gone."""
    for _ in range(10):
        living = [who for who in holders(workdir) if _may_live(who)]
        if living:
            return living
        time.sleep(0.02)
    return []


def _in_use(workdir: Path) -> str:
    living = _living(workdir)
    if not living:
        return f"--workdir={workdir} is in use by another run (its .lock does not say which)"
    who, more = living[0], len(living) - 1
    others = f" and {more} more" if more else ""
    holder = f"process {who['pid']}{others} on {who['host']} since {who['since']}"
    return f"--workdir={workdir} is in use by another run: {holder}"


def _refusal(workdir: Path) -> str:
    return f"{_in_use(workdir)}; wait for its end, stop that process, or choose another --workdir"


@functools.cache
def _warn_of_no_locks(workdir: Path) -> None:
    print(
        f"warning: the file system of --workdir={workdir} has no locks: two runs there at once would not be noticed",
        file=sys.stderr,
    )
