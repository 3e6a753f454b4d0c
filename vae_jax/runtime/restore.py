"""Reading checkpoints: back over the steps to the newest one that verifies; nothing is ever written.

TensorStore, which lies below Orbax, reads the arrays by their names: the JSON files beside them, which Orbax needs, may
be damaged; and TensorStore's errors tell bytes that are lost from those that only cannot be had at this moment.
"""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.devices import processes
from vae_jax.types import UserError

FORMAT = 1  # of what is stored beside the arrays; a later one is refused by those who know only this
# How an error begins that says that a file is damaged, or that a living run has removed it, on whichever process.
_TORN, _GONE = "torn: ", "gone: "
# What a person understands, among the words of an error.
REASONS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "Permission denied",
    "Read-only file system",
    "Too many open files",
    "Input/output error",
)
# TensorStore's words for bytes that are there no more or are other bytes. Every other error may pass by itself.
_DAMAGE = ("DATA_LOSS", "OUT_OF_RANGE", "NOT_FOUND", "FAILED_PRECONDITION", "INVALID_ARGUMENT")


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


def steps(folder: Path) -> list[int]:
    """Returns the steps of the checkpoints in a folder, ascending: Orbax names a step once all of it is written."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())


def read_latest(folder: Path, like: Any, note: dict[str, Any] | None = None) -> tuple[int, Any] | None:
    """Returns the newest checkpoint that verifies, as ``(step, state)``; None where there is none at all.

    Nothing is written: it may be called beside a run that trains. Every process of a run calls it.

    Args:
      folder: of the checkpoints.
      like: a state of the same structure, shapes, types and placement, or a part of it; arrays, or their abstract form.
      note: what each checkpoint's note must say, as for ``Checkpoints``.

    Raises:
      UserError: there are checkpoints and none can be used; one that is not damaged cannot be read at this moment; or
        the newest that can be read was written by a later version, is of another model or belongs to another note.
    """
    found = newest(Path(folder).absolute(), like, note or {})
    return found and found[:2]


class Weights(NamedTuple):
    """The part of a ``TrainState``, and of its ``best``, that a model needs."""

    params: Any
    step: Any = None
    best: Any = None


def read_weights(folder: Path, params: Any) -> tuple[int, Any] | None:
    """Returns the step and the parameters that a run reports: those of its best evaluation where it has one.

    Args:
      folder: of the checkpoints.
      params: their shapes and placement.

    Raises:
      UserError: as for ``read_latest``.
    """
    like = Weights(params)
    if holds(folder, ".best.step"):
        placed = jax.tree.leaves(params)[0].sharding
        like = Weights(params, best=Weights(params, jax.ShapeDtypeStruct((), np.int32, sharding=placed)))
    found = read_latest(folder, like)
    if found is None:
        return None
    step, (last, _, best) = found
    return (step, last) if best is None or int(best.step) < 0 else (int(best.step), best.params)


def holds(folder: Path, name: str) -> bool:
    """Says whether the newest checkpoint that says what it has has a leaf of that path, such as ``.best.step``."""
    return name in (_shapes_there(Path(folder)) or {})


def _shapes_there(folder: Path) -> dict[str, str] | None:
    metas = (_read_meta(folder / str(step) / "meta" / "metadata") for step in reversed(steps(folder)))
    return next((meta["shapes"] for meta in metas if meta is not None), None)


def read_params(folder: Path) -> Any | None:
    """Returns the parameters that a run reports, whatever model they are of, as dicts of arrays."""
    shapes_there = _shapes_there(folder)
    if shapes_there is None:
        return None
    here, params = jax.sharding.SingleDeviceSharding(jax.devices()[0]), {}
    for path, kind in shapes_there.items():
        if not path.startswith(".params["):
            continue
        *parents, name = re.findall(r"\['([^']*)'\]", path)
        dtype, shape = kind.removesuffix("]").split("[")
        at = params
        for parent in parents:
            at = at.setdefault(parent, {})
        at[name] = jax.ShapeDtypeStruct([int(n) for n in shape.split(", ") if n], dtype, sharding=here)
    found = read_weights(folder, params)
    return found and found[1]


def newest(folder: Path, like: Any, note: dict[str, Any]) -> tuple[int, Any, list[int]] | None:
    """Returns the newest step that verifies, its state, and the damaged steps that are newer."""
    damaged = []
    for step in reversed(steps(folder)):
        try:
            state = processes.all_do(lambda step=step: _read(folder / str(step), like, note))
        except UserError as error:
            reason = str(error)
            # A living run has removed it: there are newer ones now.
            if reason.startswith(_GONE):
                return newest(folder, like, note)
            if not reason.startswith(_TORN):
                raise
            damaged.append(step)
            reason = reason.removeprefix(_TORN)
            print(f"warning: the checkpoint of step {step} cannot be used ({reason[:160]}); trying an older one")
        else:
            return step, state, damaged
    if damaged:
        raise UserError(
            f"none of the checkpoints in {folder} can be read; remove that folder to start again from step 0"
        )
    return None


def _read(path: Path, like: Any, note: dict[str, Any]) -> Any:
    """Returns the state of one step; an error that is no proof of damage to its bytes touches nothing."""
    where = f"the checkpoint of step {path.name} in {path.parent}"
    try:
        for file in path.rglob("*"):
            if file.is_symlink() or not (file.is_file() or file.is_dir()):  # opening a pipe would wait for ever
                raise UserError(f"{where} cannot be used: {file} is a link or a device; remove it")
        meta = _read_meta(path / "meta" / "metadata")
        if meta is not None:
            _check_meta(where, meta, like, note)
        state = jax.tree_util.tree_map_with_path(lambda leaf, x: _read_array(path / "state", where, leaf, x), like)
        if meta is None:
            print(f"warning: what stands beside the arrays of {where} is damaged; they are used without a check")
        elif any(meta["checksums"].get(name) != crc for name, crc in checksums(state).items()):
            raise ValueError(f"{_DAMAGE[0]}: its checksum does not match")
        return state
    except UserError:
        raise
    except Exception as error:
        if not path.exists():
            raise UserError(_GONE + where) from error
        text = " ".join(str(error).split())
        reason = next((known for known in REASONS if known in text), text[:160] or type(error).__name__)
        if isinstance(error, ValueError) and text.startswith(_DAMAGE):
            raise UserError(_TORN + reason) from error
        raise UserError(f"{where} cannot be read at this moment ({reason}); nothing was changed: try again") from error


def _read_meta(path: Path) -> dict[str, Any] | None:
    """Returns what is stored beside the arrays; None where it is damaged."""
    try:
        meta = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None
    if not isinstance(meta, dict) or "checksums" not in meta:
        return None
    whole = all(isinstance(meta.get(name), dict) for name in ("checksums", "shapes", "note"))
    return meta if whole or meta.get("format") != FORMAT else None


def _read_array(folder: Path, where: str, path: Any, like: Any) -> jax.Array:
    """Returns one leaf, placed like ``like``; of Orbax's format its names alone are used, none of its JSON files."""
    import tensorstore

    is_key = jax.numpy.issubdtype(like.dtype, jax.dtypes.prng_key)
    expected = jax.eval_shape(jax.random.key_data, like) if is_key else like
    name = ".".join(str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path)
    base = {"driver": "file", "path": f"{folder}/"}
    spec = {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/"}}
    stored = tensorstore.open(spec).result()
    if (stored.shape, stored.dtype.numpy_dtype) != (expected.shape, expected.dtype):
        raise UserError(f"{where} is of another model: {name} is {stored.dtype.name}{list(stored.shape)} there")
    array = jax.make_array_from_callback(stored.shape, like.sharding, lambda index: stored[index].read().result())
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like)) if is_key else array


def _check_meta(where: str, meta: dict[str, Any], like: Any, note: dict[str, Any]) -> None:
    """Refuses what is whole and yet not what is asked for."""
    if "format" not in meta:
        raise UserError(
            f"{where} was written by an earlier version of vae_jax, whose training state was another; finish "
            "the run with that version, or choose another --workdir"
        )
    if meta["format"] != FORMAT:
        raise UserError(
            f"{where} was written by a later version of vae_jax (format {meta['format']}, this one reads up to "
            f"{FORMAT}); update vae_jax, or choose another --workdir"
        )
    there, asked = meta["shapes"], shapes(like)
    path = next((path for path in asked if there.get(path) != asked[path]), None)
    if path is not None:
        raise UserError(
            f"{where} is of another model: {path} is {there.get(path, 'missing')} there and {asked[path]} here; choose "
            "another --workdir"
        )
    stored = meta["note"]
    differing = [k for k in sorted(note) if stored.get(k) != note[k] and not (k.startswith("all ") and k not in stored)]
    if differing:
        raise UserError(
            f"{where} was made with another "
            + ", ".join(f"{k} ({stored.get(k)} there, {note[k]} now)" for k in differing)
            + "; choose another --workdir"
        )
