"""The outputs of somebody's VAE, in an .npz file: latents that are held, pixels that are read in blocks."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vae_jax.data.npz import checked_bytes, open_array
from vae_jax.devices import memory
from vae_jax.types import UserError

PIXELS = ("x", "x_mean", "x_sample")
BLOCK = 2**23  # values of a block of pixels


class Outputs(NamedTuple):
    """A file of outputs, its latents read.

    Attributes:
      path: of the file.
      count: n, the examples.
      draws: k, of ``x_sample`` and ``z``.
      shapes: name -> the shape of one example of each array of pixels that is there.
      latents: "mean", "logvar" or "std", "z" ``[k, n, ...]``, "prior_mean", "prior_std", those that are there.
      pixel_range: as the file states it, else None.
      notes: what was done to the arrays.
    """

    path: str
    count: int
    draws: int
    shapes: dict[str, tuple[int, ...]]
    latents: dict[str, np.ndarray]
    pixel_range: tuple[float, float] | None
    notes: list[str]


def open_outputs(path: str) -> Outputs:
    """Opens FILE.npz with the arrays of an audit.

    Args:
      path: a file with some of ``x`` and ``x_mean`` ``[n, ...]``, ``x_sample`` ``[n, ...]`` or ``[k, n, ...]``;
        ``mean`` with ``logvar`` or ``std`` ``[n, d]`` or ``[n, a, b, c]``, ``z`` as they or with k before;
        ``prior_mean``, ``prior_std``, ``pixel_range`` (two numbers).

    Raises:
      UserError: it cannot be read, holds neither ``mean`` nor pixels, or arrays that do not belong together.
    """
    if not os.path.isfile(path) or not zipfile.is_zipfile(path):
        there = "is no .npz" if os.path.exists(path) else "is not there"
        raise UserError(f"--outputs={path}: the file {there}; write one with numpy.savez, see vae_jax/theory/README.md")
    with zipfile.ZipFile(path) as archive:
        there = {name.removesuffix(".npy") for name in archive.namelist()}
        heads = {name: open_array(path, archive, name)[0] for name in PIXELS if name in there}
        small = ("mean", "logvar", "std", "z", "prior_mean", "prior_std", "pixel_range")
        values = {name: _whole(path, archive, name) for name in small if name in there}
    spread = [name for name in ("logvar", "std") if name in values]
    if ("mean" in values) != (len(spread) == 1) or not ("mean" in values or {*PIXELS} <= {*heads}):
        raise UserError(
            f"--outputs={path} holds {', '.join(sorted(there)) or 'nothing'}; it needs mean with logvar or std, or x, "
            "x_mean and x_sample, or best all of them"
        )
    reference = heads["x_mean"] if "x_mean" in heads else values.get("mean", np.zeros(heads.get("x", (0,)))).shape
    n, notes, draws = reference[0] if reference else 0, [], 1
    if n < 2:
        raise UserError(f"--outputs={path}: {n} example{'' if n == 1 else 's'}; an audit needs some hundreds")
    if "x_sample" in heads:
        shape = heads["x_sample"]
        event = heads["x_mean"][1:] if "x_mean" in heads else shape[1:]
        draws = shape[0] if len(shape) == len(event) + 2 else 1
        heads["x_sample"] = shape[1:] if len(shape) == len(event) + 2 else shape
    if "z" in values:
        z, mean = values["z"], values.get("mean")
        values["z"] = z[None] if mean is not None and z.ndim == mean.ndim else z
        draws = len(values["z"]) if "x_sample" not in heads else draws
    lengths = {name: shape[0] if shape else 0 for name, shape in heads.items()}
    lengths |= {name: len(values[name]) for name in ("mean", *spread) if name in values}
    lengths |= {"z": values["z"].shape[1] if values["z"].ndim > 1 else 0} if "z" in values else {}
    if {*lengths.values()} != {n} or ("z" in values and len(values["z"]) != draws):
        what = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UserError(f"--outputs={path}: not all arrays are of the same examples and draws ({what})")
    _matched(path, values, spread, notes)
    ends = values.pop("pixel_range", None)
    if ends is not None and (ends.size != 2 or not ends.ravel()[0] < ends.ravel()[1]):
        raise UserError(f"--outputs={path}: pixel_range is {ends.tolist()}, expected the lowest and highest value")
    stated = None if ends is None else tuple(float(v) for v in ends.ravel())
    return Outputs(path, n, draws, {name: shape[1:] for name, shape in heads.items()}, values, stated, notes)


def _whole(path: str, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    # Not by ``open_array``: what PyTorch expands is saved in Fortran's order, which a whole array may have.
    size, free = 2 * checked_bytes(path, archive, name), memory.host_available()
    if 4 * size > free:
        raise UserError(
            f"{path}: `{name}` needs {4 * size / 1e9:.3g} GB, {free / 1e9:.3g} are free; save fewer examples"
        )
    with archive.open(f"{name}.npy") as file:
        values = np.lib.format.read_array(file, allow_pickle=False).astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError(f"{path}: `{name}` holds values that are not finite: there is nothing to weigh")
    return values


def _matched(path: str, values: dict[str, np.ndarray], spread: list[str], notes: list[str]) -> None:
    """Lays ``logvar`` and ``z`` out as ``mean``, where one is [n, c, h, w] and the other [n, h, w, c]."""
    for name in [name for name in (*spread, "z") if name in values and "mean" in values]:
        own, lead = values[name], int(name == "z")
        wanted = values["mean"].shape[1:]
        for axes in ((1, 2, 3), (2, 3, 1), (3, 1, 2)):
            turned = own.transpose(*range(1 + lead), *(axis + lead for axis in axes)) if own.ndim == 4 + lead else own
            if turned.shape[1 + lead :] == wanted:
                break
        else:
            raise UserError(
                f"--outputs={path}: {name} has shape {own.shape} and mean {values['mean'].shape}; they must be of the "
                "same latents"
            )
        if turned.shape != own.shape:
            notes.append(f"{name} has its channels on another axis than mean, and was turned to mean's layout")
        values[name] = turned


def pixel_blocks(outputs: Outputs, size: int | None = None) -> Iterator[dict[str, np.ndarray]]:
    """Reads the arrays of pixels in blocks of examples: ``x``, ``x_mean`` ``[b, ...]``, ``x_sample`` ``[k, b, ...]``.

    Args:
      outputs: opened.
      size: examples of a block; by default as many as hold some million values.
    """
    most = max(math.prod(shape) for shape in outputs.shapes.values()) * max(outputs.draws, 1)
    size = size or max(1, BLOCK // most)
    with zipfile.ZipFile(outputs.path) as archive:
        # Each draw is a stream of its own, as draws lie one behind the other.
        streams: dict[str, list] = {}
        for name, event in outputs.shapes.items():
            row = None
            for draw in range(outputs.draws if name == "x_sample" else 1):
                _, dtype, file = open_array(outputs.path, archive, name)
                row = math.prod(event) * dtype.itemsize
                _skip(file, draw * outputs.count * row)
                streams.setdefault(name, []).append((file, dtype, row))
        for start in range(0, outputs.count, size):
            count = min(size, outputs.count - start)
            block = {}
            for name, files in streams.items():
                rows = [
                    np.frombuffer(file.read(count * row), dtype).reshape(count, *outputs.shapes[name])
                    for file, dtype, row in files
                ]
                block[name] = (np.stack(rows) if name == "x_sample" else rows[0]).astype(np.float64)
                if not np.isfinite(block[name]).all():
                    raise UserError(
                        f"{outputs.path}: `{name}` holds values that are not finite in row {start} or after"
                    )
            yield block


def _skip(file, size: int) -> None:
    while size > 0:
        read = len(file.read(min(size, 2**24)))
        if not read:
            return
        size -= read


def laid_out(x: np.ndarray, made: np.ndarray) -> tuple[int, ...] | None:
    """Returns the order of the axes of ``made`` ``[n, ...]`` that lays it out as ``x``, None where nothing does.

    Where one is flat and the other a picture, the picture is flattened in the order that is nearer to x.
    """
    same = tuple(range(made.ndim))
    if x.shape == made.shape:
        return same
    if made.ndim == 4:
        turns = [(0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2)]
        fits = [t for t in turns if made.transpose(t).shape == x.shape]
        if x.ndim == 2 and math.prod(made.shape[1:]) == x.shape[1]:
            return min(turns, key=lambda t: float(np.mean((made.transpose(t).reshape(x.shape) - x) ** 2)))
        if fits:
            return fits[0]
    return same if math.prod(x.shape) == math.prod(made.shape) else None
