"""Images that came as arrays, brought to --image_size."""

from __future__ import annotations

import math

import numpy as np

from vae_jax.data.dataset import Dataset
from vae_jax.data.fitting import Look, fitted, of_shape
from vae_jax.data.images import map_in_threads
from vae_jax.data.rows import Rows
from vae_jax.devices import memory
from vae_jax.types import Event, UserError


def resized(dataset: Dataset, look: Look) -> Dataset:
    """Returns the data with their images brought to ``look.size``; the same data where they have it, or none is asked.

    Black and white images become 256 grey levels, as what lies between black and white is grey.

    Raises:
      UserError: the data are no images, or do not fit into memory at that size.
    """
    if look.size is None or (len(dataset.event) == 3 and dataset.event[1::-1] == look.size):
        return dataset
    if len(dataset.event) != 3 or dataset.words:
        shape = "x".join(map(str, dataset.event))
        raise UserError(f"--image_size is for images, and {dataset.name} holds examples of shape {shape}; leave it out")
    size, (width, height) = dataset.event[1::-1], look.size
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    parts = {name: part for name, part in parts.items() if part is not None}
    count = sum(map(len, parts.values()))
    needed = count * width * height * dataset.event[2] * dataset.train.dtype.itemsize
    if needed > (free := memory.host_available()):
        raise UserError(
            f"--image_size={width}x{height}: the {count:,} images of {dataset.name} take {needed / 1e9:.3g} GB at that "
            f"size, and {free / 1e9:.3g} GB of memory are free; ask for a smaller one"
        )
    scale = 255 if dataset.levels == 2 else 1
    made = {name: images(part, look, scale, dataset.name) for name, part in parts.items()}
    note = look.note(count, 0 if of_shape(size, look.size) else count, count)
    return dataset._replace(**made, levels=256 if scale > 1 else dataset.levels, notes=(*dataset.notes, *note))


def images(x: np.ndarray | Rows, look: Look, scale: int = 1, what: str | None = None) -> np.ndarray:
    """Returns images ``[n, h, w, c]`` at ``look.size``, after a multiplication by ``scale``; ``what`` is for a bar."""
    width, height = look.size
    result = np.empty((len(x), height, width, x.shape[-1]), x.dtype)
    step = max(1, 2**24 // max(1, x.dtype.itemsize * math.prod(x.shape[1:])))

    def fill(start):
        for i, image in enumerate(x[start : start + step], start):
            result[i] = fitted(image * x.dtype.type(scale), look.size, look.fit)

    map_in_threads(fill, range(0, len(x), step), what and f"resizing {len(x)} images of {what}")
    return result


def alike(x: np.ndarray, event: Event, look: Look) -> np.ndarray:
    """Returns images ``[n, h, w]`` or ``[n, h, w, c]`` at ``look.size``, which a model of ``event`` takes.

    Whatever cannot be brought to it is returned as it is, for others to refuse.
    """
    if look.size is None or len(event) != 3:
        return x
    x = x[..., None] if x.ndim == 3 and event[2] == 1 else x
    if x.ndim != 4 or x.shape[3] != event[2] or x.shape[1:] == event or x.dtype not in (np.uint8, np.float32):
        return x
    return images(x, look)
