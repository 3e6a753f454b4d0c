"""What the images of a folder have in common, and how any of them are read as such."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.data import images
from vae_jax.data.fitting import Look, named, of_shape
from vae_jax.data.image_files import DEEP, File, counted, listed, why
from vae_jax.data.rows import Rows
from vae_jax.types import Event, UserError

LOOKED_AT = 16  # images with transparent pixels
FAINT = 55  # of 255: an image that differs by less from the ground on which it is laid cannot be seen


class ImageSet(NamedTuple):
    """Images of one size and kind.

    Attributes:
      path: the folder, for messages.
      size: their width and height.
      channels: 1 or 3.
      depth: as ``images.Header.deep``.
      look: how they are brought to that size.
      keep: the most bytes of a split to hold; None: it is held.
    """

    path: str
    size: tuple[int, int]
    channels: int
    depth: str
    look: Look
    keep: int | None

    @property
    def is_float(self) -> bool:
        """Whether they are read as float32, of one channel."""
        return self.depth in ("16 bits", "floats")

    @property
    def event(self) -> Event:
        """The shape of one."""
        return (*self.size[::-1], self.channels)

    def decode(self, file: File) -> np.ndarray:
        """Returns one image; the errors of ``images.decode`` pass."""
        fit = self.look.fit if self.look.size else None
        if self.is_float:
            return images.decode_deep(file.path, self.size, fit)
        return images.decode(file.path, self.channels, self.size, self.look.ground, fit)

    def read(self, files: Sequence[File], broken: dict[str, str]) -> np.ndarray | Rows:
        """Reads the images of a split, as ``Rows`` or decoded; what cannot be is a name and why in ``broken``.

        Raises:
          UserError: images of floats that are too many to be held.
        """
        dtype = np.dtype(np.float32 if self.is_float else np.uint8)

        def decoded(file, broken=None):
            try:
                return self.decode(file)
            except MemoryError:  # not the file's fault
                raise
            except Exception as error:  # pillow's decoders raise errors of many kinds
                if broken is None:
                    raise UserError(f"{file.path}: cannot be used, {why(error)} ({error}); remove it") from error
                broken[file.name] = why(error)
                return np.zeros(self.event, dtype)

        names = "\n".join(f"{file.name}\t{file.bytes}" for file in files)
        names += f"\t{self.look}" if self.look != Look() else ""
        paths, shape = [file.path for file in files], (len(files), *self.event)
        rows = Rows(lambda some: [decoded(files[i]) for i in some], shape, os.fsencode(names), paths)
        size = rows.nbytes * dtype.itemsize
        if self.keep is None or size <= self.keep:
            indices, event = range(len(files)), self.event
            return images.decode_all(
                lambda some: [decoded(files[i], broken) for i in some], indices, event, self.path, dtype
            )
        if self.is_float:
            raise UserError(
                f"{self.path}: {len(files)} images of {self.depth} take {size / 1e9:.3g} GB and have to be held, and "
                f"{self.keep / 1e9:.3g} GB of memory are for that; bring them to a smaller --image_size"
            )
        return rows

    def notes(self, files: Sequence[File], arrays: Sequence[np.ndarray | Rows]) -> list[str]:
        """Says what is not seen of images that are used, or seen in another way than it is stored."""
        look, ground = self.look, "black" if self.look.ground == 0 else "white"
        clear = [file for file in files if file.header.clear and look.ground is not None]
        kinds = {
            f"with transparent pixels, laid on {ground}": clear,
            "turned upright, as their EXIF orientation says": [file for file in files if file.header.turned],
            "of several frames or pages, of which the first is read": [f for f in files if f.header.frames > 1],
        }
        notes = [counted({kind: [file.name for file in some]}) for kind, some in kinds.items() if some]
        if clear and _faint(clear, look.ground):
            shade, other = ("light", "black") if ground == "white" else ("dark", "white")
            notes[0] += f", on which those that are {shade} themselves cannot be seen: --alpha={other} shows them"
        if self.depth:
            notes.append(f"{len(files)} {DEEP[self.depth]}")
        if self.is_float:
            low, high = min(x.min() for x in arrays), max(x.max() for x in arrays)
            notes[-1] += f"; their values are from {low:.6g} to {high:.6g}"
        others = [file.header.size for file in files if look.size and file.header.size != look.size]
        return notes + look.note(len(others), sum(not of_shape(size, look.size) for size in others), len(files))


def make_image_set(path: str, files: Sequence[File], depth: str, look: Look, keep: int | None) -> ImageSet:
    """Returns what the images have in common.

    Raises:
      UserError: they have several sizes, and are not to be brought to one.
    """
    channels = 1 if depth in ("16 bits", "floats") or all(file.header.grey for file in files) else 3
    return ImageSet(path, look.size or _one_size(path, files), channels, depth, look, keep)


def _one_size(path: str, files: Sequence[File]) -> tuple[int, int]:
    (usual, count), *others = Counter(file.header.size for file in files).most_common()
    if others:
        odd = next(file for file in files if file.header.size != usual)
        raise UserError(
            f"{path}: images must have one size, but {len(files) - count} of {len(files)} are not "
            f"{'{}x{}'.format(*usual)} ({listed([odd.name])} is {'{}x{}'.format(*odd.header.size)}); "
            f"--image_size={named(usual)} brings all to the commonest size, and --fit says how"
        )
    return usual


def _faint(files: Sequence[File], ground: int) -> bool:
    """Whether an image among the first few hardly differs from the ground on which it is laid."""
    for file in files[:LOOKED_AT]:
        with contextlib.suppress(Exception):  # it is left out when it is decoded
            pixels = images.decode(file.path, 4)
            seen = pixels[pixels[..., 3] > 0][:, :3].astype(int)
            if np.abs(seen - ground).max(initial=0) < FAINT:
                return True
    return False


def check_opaque(path: str, files: Sequence[File], look: Look) -> None:
    """Refuses images with pixels that are not opaque, where --alpha does.

    Raises:
      UserError: it counts and names them.
    """
    if look.ground is not None:
        return

    def is_clear(file):
        with contextlib.suppress(Exception):  # it is left out when it is decoded
            return file.header.clear and images.has_clear_pixels(file.path)

    names = [file.name for file, clear in zip(files, images.map_in_threads(is_clear, files)) if clear]
    if names:
        raise UserError(
            f"{path}: --alpha=refuse, and {len(names)} of {len(files)} images have transparent pixels "
            f"({listed(names)}); lay them on --alpha=white or black, or remove them"
        )
