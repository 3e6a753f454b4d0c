"""Image files into uint8 arrays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vae_jax.data.progress import progress

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def decode(file, channels: int) -> np.ndarray:
    """One image file, or a file object of its bytes, as uint8 ``[h, w, channels]``."""
    from PIL import Image

    with Image.open(file) as image:
        if image.mode != MODES[channels]:
            image = image.convert(MODES[channels])
        return np.asarray(image).reshape(image.height, image.width, channels)


def decode_all(read: Callable[[Sequence[int]], Sequence[np.ndarray]], n: int, what: str) -> np.ndarray:
    """All images of a set, decoded once.

    Args:
      read: indices -> their images, each uint8 ``[h, w, c]`` of the same shape. Called from several threads:
        pillow lets go of the interpreter while it decodes, which is nearly all of the time for large images.
      n: how many there are, at least 1.
      what: what is being read, for the progress line.

    Returns:
      uint8 ``[n, h, w, c]``.
    """
    images = np.empty((n, *read([0])[0].shape), np.uint8)
    chunk = max(1, min(256, n // 64))

    def fill(start):
        indices = range(start, min(start + chunk, n))
        images[start : indices.stop] = read(indices)

    starts = range(0, n, chunk)
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for _ in progress(pool.map(fill, starts), len(starts), f"decoding {n} images of {what}"):
            pass
    finally:
        pool.shutdown(cancel_futures=True)  # after an error nothing more is decoded
    return images
