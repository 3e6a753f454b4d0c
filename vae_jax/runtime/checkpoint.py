"""Checkpoints: the only place that imports Orbax.

Orbax writes atomically but keeps no checksum: a flipped bit restores as wrong numbers, and an empty folder with a
number for a name counts as the latest step. So each checkpoint carries a crc32 of every leaf, and restoring walks
back over the steps to the newest one that verifies.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vae_jax.devices import processes
from vae_jax.types import UserError

FORMAT = 1  # of what is stored beside the arrays; a later one is refused by those who know only this
_TORN = "torn: "  # how an error begins that says that a file is damaged, on whichever process
_OVERHEAD = 1 << 20  # what Orbax writes beside the arrays, generously
_REASONS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "Permission denied",
    "Read-only file system",
)


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


def checksums(tree: Any) -> dict[str, int]:
    """Returns the crc32 of every leaf's bytes by its path; typed keys by their data; with one leaf at a time here."""
    sums = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(processes.fetch(leaf))
        sums[jax.tree_util.keystr(path)] = zlib.crc32(array.tobytes(), zlib.crc32(str(array.dtype).encode()))
    return sums


def shapes(tree: Any) -> dict[str, str]:
    """Returns type and shape of every leaf, such as ``float32[20, 4]``, by the leaf's path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


class Checkpoints:
    """The checkpoints of one run, in ``folder``; a context manager. Every process of the run opens it and saves.

    Args:
      folder: made if it is not there.
      keep: how many of the last checkpoints stay.
      note: a dict that is stored with each checkpoint and has to be equal when one is restored: what the numbers mean.
        A key that begins with "all " may be missing on either side.
    """

    def __init__(self, folder: Path, keep: int = 3, note: dict[str, Any] | None = None):
        import orbax.checkpoint as ocp

        # Orbax reports what it does at every save; a person wants to hear of failures only.
        logging.getLogger("absl").setLevel(logging.ERROR)
        self.folder = Path(folder).resolve()  # a relative path fails late, in a background thread
        self.note = note or {}
        self._ocp = ocp
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        try:
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise UserError(f"cannot use {folder} for checkpoints: {error}") from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._manager.close()

    def save(self, step: int, state: Any) -> None:
        """Saves ``state`` as ``step``, all or nothing.

        Raises:
          UserError: a value is not finite, or the disk refuses; the earlier checkpoints stay as they were.
        """
        if step in self._manager.all_steps():
            return  # the same run wrote the same state before
        meta = {"format": FORMAT, "checksums": checksums(state), "shapes": shapes(state), "note": self.note}
        # Before anything is begun: a process that fails inside a save leaves the others waiting.
        processes.all_do(lambda: self._check(step, state))
        ocp = self._ocp
        try:
            with _silence():
                args = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
                self._manager.save(step, args=args)
                self._manager.check_for_errors()
        except Exception as error:  # Orbax and TensorStore raise what they like for a full disk
            reason = " ".join(str(error).split())
            known = next((known for known in _REASONS if known in reason), reason[:300])
            raise self._refused(step, known) from error

    def _check(self, step: int, state: Any) -> None:
        _check_finite(step, state)
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _OVERHEAD
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise self._refused(step, f"the disk has {free / 1e6:.1f} MB left and it needs {needed / 1e6:.1f}")

    def _refused(self, step: int, reason: str) -> UserError:
        earlier = [int(p.name) for p in self.folder.iterdir() if p.name.isdigit() and int(p.name) < step]
        kept = f"the checkpoint of step {max(earlier)} is kept" if earlier else "there is no earlier one"
        return UserError(
            f"cannot save a checkpoint of step {step} in {self.folder}: {reason}; {kept}. Make room, then run the same "
            "command again"
        )

    def restore_latest(self, like: Any) -> tuple[int, Any] | None:
        """Returns the newest checkpoint that verifies, as ``(step, state)``; None where there is none at all.

        Args:
          like: a state of the same structure, shapes, types and placement.

        Raises:
          UserError: there are checkpoints and none can be used; or the newest that can be read was written by a later
            version, is of another model or belongs to another convention.
        """
        abstract = jax.tree.map(_abstract, like)
        damaged = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                with _silence():
                    state = processes.all_do(lambda step=step: self._restore(step, abstract))
            except UserError as error:
                if not str(error).startswith(_TORN):
                    raise
                damaged.append(step)
                reason = str(error).removeprefix(_TORN)
                print(f"warning: the checkpoint of step {step} cannot be used ({reason[:160]}); trying an older one")
                continue
            self._drop(damaged)
            return step, state
        if damaged:
            raise UserError(
                f"none of the checkpoints in {self.folder} can be read; remove that folder to start again from step 0"
            )
        return None

    def _restore(self, step: int, abstract: Any) -> Any:
        """Returns the state of ``step``; whatever a torn file makes Orbax raise becomes one kind of error."""
        try:
            return self._read(step, abstract)
        except UserError:
            raise
        except Exception as error:
            raise UserError(_TORN + (str(error).splitlines() or [type(error).__name__])[0]) from error

    def _read(self, step: int, abstract: Any) -> Any:
        args = self._ocp.args
        meta = self._manager.restore(step, args=args.Composite(meta=args.JsonRestore()))["meta"]
        where = f"the checkpoint of step {step} in {self.folder}"
        if "format" not in meta:
            raise UserError(
                f"{where} was written by an earlier version of vae_jax, whose training state was another; finish "
                "the run with that version, or choose another --workdir"
            )
        if meta["format"] > FORMAT:
            raise UserError(
                f"{where} was written by a later version of vae_jax (format {meta['format']}, this one reads up to "
                f"{FORMAT}); update vae_jax, or choose another --workdir"
            )
        _check_shapes(where, meta["shapes"], shapes(abstract))
        there, optional = meta["note"], {k for k in {*meta["note"], *self.note} if k.startswith("all ")}
        differing = sorted(k for k in {*there, *self.note} if there.get(k) != self.note.get(k))
        differing = [k for k in differing if k not in optional or (k in there and k in self.note)]
        if differing:
            raise UserError(
                f"{where} was made with another "
                + ", ".join(f"{k} ({meta['note'].get(k)} there, {self.note.get(k)} now)" for k in differing)
                + "; choose another --workdir"
            )
        restored = self._manager.restore(step, args=args.Composite(state=args.StandardRestore(abstract)))["state"]
        if checksums(restored) != meta["checksums"]:
            raise ValueError("its checksum does not match")
        return restored

    def _drop(self, steps: list[int]) -> None:
        # Out of the way, so that the run can save these steps again.
        for step in steps:
            processes.first_does(lambda step=step: shutil.rmtree(self.folder / str(step), ignore_errors=True))
        if steps:
            self._manager.reload()


def _check_shapes(where: str, there: dict[str, str], asked: dict[str, str]) -> None:
    if there == asked:
        return
    path = next(path for path in (*asked, *there) if there.get(path) != asked.get(path))
    raise UserError(
        f"{where} is of another model: {path} is {there.get(path, 'missing')} there and {asked.get(path, 'missing')} "
        "here; choose another --workdir"
    )


def _abstract(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    """Returns shape, type and placement of a leaf, without its data."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _check_finite(step: int, state: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating) and not np.all(np.isfinite(processes.fetch(leaf))):
            raise UserError(
                f"training diverged: {jax.tree_util.keystr(path)} is not finite after step {step}; nothing was saved "
                "of it. Lower --learning_rate or set --clip_norm, in a new --workdir"
            )
