"""Saving checkpoints: the only place that imports Orbax.

Orbax writes atomically but keeps no checksum: a flipped bit restores as wrong numbers, and an empty folder with a
number for a name counts as the latest step. So each checkpoint carries a crc32 of every leaf, by which ``restore``
finds the newest one that verifies.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vae_jax.devices import processes
from vae_jax.runtime.restore import FORMAT, REASONS, checksums, newest, shapes, steps
from vae_jax.types import UserError

_OVERHEAD = 1 << 20  # what Orbax writes beside the arrays, generously


@contextlib.contextmanager
def _silence():
    """Keeps Orbax's own words off the screen: its threads print hundreds of lines before a failure is raised."""
    for name in ("asyncio", "absl"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            gc.collect()  # tasks that failed complain when they are collected
            os.dup2(kept, 2)
            os.close(kept)


class Checkpoints:
    """The checkpoints of a run that writes them. Every process of the run makes it, restores and saves.

    Args:
      folder: made if it is not there; what an earlier process had not finished is removed from it.
      keep: how many of the last checkpoints stay.
      note: a dict that is stored with each checkpoint and has to be equal when one is restored: what the numbers mean.
        A key that begins with "all " may be missing there.
    """

    def __init__(self, folder: Path, keep: int = 3, note: dict[str, Any] | None = None):
        self.folder, self.keep, self.note = Path(folder).absolute(), keep, note or {}
        processes.first_does(self._tidy)

    def _tidy(self) -> None:
        try:
            if self.folder.is_symlink():
                raise UserError(f"{self.folder} is a link, and nothing is written through one; remove it")
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.iterdir():
                if ".orbax-checkpoint-tmp" in path.name or path.name.endswith(".tmp"):
                    shutil.rmtree(path, ignore_errors=True)
        except OSError as error:
            raise UserError(f"cannot use {self.folder} for checkpoints: {error}") from error

    def save(self, step: int, state: Any) -> None:
        """Saves ``state`` as ``step``, all or nothing.

        Raises:
          UserError: a value is not finite, or the disk refuses; the earlier checkpoints stay as they were.
        """
        if step in steps(self.folder):
            return  # the same run wrote the same state before
        import orbax.checkpoint as ocp

        meta = {"format": FORMAT, "checksums": checksums(state), "shapes": shapes(state), "note": self.note}
        # Before anything is begun: a process that fails inside a save leaves the others waiting.
        processes.all_do(lambda: self._check(step, state))
        try:
            with _silence(), ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
                args = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
                checkpointer.save(self.folder / str(step), args=args)
        except Exception as error:  # Orbax and TensorStore raise what they like for a full disk
            reason = " ".join(str(error).split())
            known = next((known for known in REASONS if known in reason), reason[:300])
            raise self._refused(step, known) from error
        processes.first_does(self._remove_old)

    def _remove_old(self) -> None:
        for step in steps(self.folder)[: -self.keep]:
            # Renamed first, so that a reader finds all of a step or nothing.
            removed = self.folder / f".{step}.tmp"
            with contextlib.suppress(OSError):
                (self.folder / str(step)).rename(removed)
            shutil.rmtree(removed, ignore_errors=True)

    def _check(self, step: int, state: Any) -> None:
        _check_finite(step, state)
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _OVERHEAD
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise self._refused(step, f"the disk has {free / 1e6:.1f} MB left and it needs {needed / 1e6:.1f}")

    def _refused(self, step: int, reason: str) -> UserError:
        earlier = [other for other in steps(self.folder) if other < step]
        kept = f"the checkpoint of step {max(earlier)} is kept" if earlier else "there is no earlier one"
        remedy = "Raise the limit (ulimit -n)" if reason == "Too many open files" else "Make room"
        return UserError(
            f"cannot save a checkpoint of step {step} in {self.folder}: {reason}; {kept}. {remedy}, then run the same "
            "command again"
        )

    def restore_latest(self, like: Any) -> tuple[int, Any] | None:
        """Returns what ``read_latest`` returns; newer steps that are damaged are renamed, so that they can be saved.

        Raises:
          UserError: as for ``read_latest``.
        """
        found = newest(self.folder, like, self.note)
        for step in found[2] if found else ():
            processes.first_does(lambda step=step: _set_aside(self.folder / str(step)))
        return found and found[:2]


def _set_aside(path: Path) -> None:
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in range(1000))
    target = next(name for name in names if not name.exists())
    path.rename(target)
    print(f"warning: {path} is now {target.name}; remove it when you have no use for it")


def _check_finite(step: int, state: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating) and not np.all(np.isfinite(processes.fetch(leaf))):
            raise UserError(
                f"training diverged: {jax.tree_util.keystr(path)} is not finite after step {step}; nothing was saved "
                "of it. Lower --learning_rate or set --clip_norm, in a new --workdir"
            )
