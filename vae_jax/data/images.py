"""Image files into arrays."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from vae_jax.data.fitting import fitted
from vae_jax.types import Event

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
GREY_MODES = ("1", "L", "LA", "La")
# What has more than 8 bits a channel, which a conversion would clip: "I", "F", "I;16" and its like.
DEEP_MODES = ("I", "F")
LAST = 65535  # of 16 bits
# Nothing else that pillow knows: some of its formats start other programs.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "GIF", "PPM", "TIFF")
ORIENTATION, LYING = 0x0112, 5  # the tag of EXIF; from this value on width and height change places
MOST_PIXELS = 89_478_485  # pillow's own limit for what may be a bomb: a quarter of a GiB in colour
# Transparent pixels are laid on it, here and wherever a trained model is used: a code must not depend on other files.
WHITE = 255
THREADS = min(16, os.cpu_count() or 1)


class Header(NamedTuple):
    """What a file says of its image before a pixel is decoded.

    Attributes:
      size: width and height, upright.
      grey: whether it has no colours.
      deep: what it has more than 8 bits a channel of: ``16 bits``, ``floats`` (and integers of 32 bits), ``colours`` of
        16 bits, of which pillow reads the upper 8; empty for none.
      clear: whether pixels may be transparent.
      turned: whether it is stored in another orientation than it is to be seen in.
      frames: how many images or pages it holds.
    """

    size: tuple[int, int]
    grey: bool
    deep: str = ""
    clear: bool = False
    turned: bool = False
    frames: int = 1


class OtherSize(ValueError):
    """An image whose size is not the one that it has to have."""


class TooLarge(ValueError):
    """An image of more than ``MOST_PIXELS`` pixels."""


def header(file) -> Header:
    """Reads the header of an image file; pillow's errors pass."""
    with _opened(file) as image:
        grey = image.mode in GREY_MODES
        if image.mode == "P":
            palette = image.getpalette("RGB")
            grey = palette[0::3] == palette[1::3] == palette[2::3]
        turned, frames = _orientation(image), 1
        size, deep, clear = _upright_size(image), _deep(image), image.has_transparency_data
        with contextlib.suppress(Exception):  # a broken frame after the first
            frames = getattr(image, "n_frames", 1)
        return Header(size, grey, deep, clear, turned > 1, frames)


def decode(
    file, channels: int, size: tuple[int, int] | None = None, background: int | None = WHITE, fit: str | None = None
) -> np.ndarray:
    """Decodes the first image of a file, or of a file object of its bytes, upright, to uint8 ``[h, w, channels]``.

    Args:
      file: a path or a file object.
      channels: 1, 3 or 4.
      size: the width and height that it must have, upright; None for any.
      background: the grey level on which transparent pixels are laid; None, or with 4 channels: on nothing, as stored.
      fit: None, or how it is brought to ``size`` where it has another (``fitting.fitted``).

    Raises:
      OtherSize: before anything is decoded. Pillow's errors pass.
    """
    from PIL import Image

    with _opened(file) as image:
        orientation = _checked(image, size, fit)
        if background is not None and channels < 4 and image.has_transparency_data:
            ground = Image.new("RGBA", image.size, (background, background, background, 255))
            image = Image.alpha_composite(ground, image.convert("RGBA"))
        if image.mode != MODES[channels]:
            image = image.convert(MODES[channels])
        x = np.asarray(image).reshape(image.height, image.width, channels)
    return _brought(x, orientation, size, fit)


def decode_deep(file, size: tuple[int, int] | None = None, fit: str | None = None) -> np.ndarray:
    """Decodes a grey image of 16 bits or of floats to float32 ``[h, w, 1]``; the arguments are those of ``decode``.

    Of 16 bits it is the level / 65535, which float32 holds exactly enough to tell all levels apart; 256 levels would
    leave 16 of the 4,096 that a camera of 12 bits gives. Floats are taken as they are: a range of the set that is
    scaled to [0, 1] would have to travel with the run, and make other data, whose range is another, look alike.
    """
    with _opened(file) as image:
        orientation = _checked(image, size, fit)
        scale = LAST if _deep(image) == "16 bits" else 1
        x = (np.asarray(image, np.float64) / scale).astype(np.float32)[..., None]
    return _brought(x, orientation, size, fit)


def has_clear_pixels(file) -> bool:
    """Whether a pixel of an image is not opaque."""
    return bool((decode(file, 4)[..., 3] < WHITE).any())


def _checked(image, size, fit) -> int:
    """The orientation of an image that has the size which it must have."""
    if size is not None and fit is None and _upright_size(image) != size:
        raise OtherSize("{}x{} in place of {}x{}".format(*_upright_size(image), *size))
    return _orientation(image)


def _brought(x, orientation, size, fit) -> np.ndarray:
    x = x.swapaxes(0, 1) if orientation >= LYING else x
    x = x[:, ::-1] if orientation in (2, 3, 6, 7) else x
    x = x[::-1] if orientation in (3, 4, 7, 8) else x
    return x if fit is None or size is None else fitted(x, size, fit)


def _orientation(image) -> int:
    """EXIF's number for how an image is stored, 1 for upright; of a TIFF pillow itself sees to it."""
    # Without EXIF in front of its pixels a PNG would be decoded in search of it.
    if "exif" in image.info and image.format != "TIFF":
        with contextlib.suppress(Exception):  # EXIF that is none
            value = image.getexif().get(ORIENTATION)
            return value if value in range(1, 9) else 1
    return 1


def _upright_size(image) -> tuple[int, int]:
    return image.size[::-1] if _orientation(image) >= LYING else image.size


@contextlib.contextmanager
def _opened(file):
    from PIL import Image

    # By a path pillow would map the file, and an uncompressed TIFF that lies on its side come out sheared.
    with open(file, "rb") if isinstance(file, str) else contextlib.nullcontext(file) as content:
        try:
            image = Image.open(content, formats=_formats())
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise TooLarge(str(error)) from error
        with image:
            if image.width * image.height > MOST_PIXELS:
                raise TooLarge(f"{image.width}x{image.height}")
            yield image


@functools.cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # some builds have no WebP


def _deep(image) -> str:
    """``Header.deep``. Pillow's mode hides it for colours; how it will decode them does not."""
    how = [part for tile in image.tile for part in (tile[3] if isinstance(tile[3], tuple | list) else [tile[3]])]
    if image.mode.startswith(DEEP_MODES):
        return "16 bits" if image.mode.startswith("I;16") or image.format in ("PPM", "PNG") else "floats"
    coarse = image.format == "PPM" and any(isinstance(part, int) and part > 255 for part in how)
    return "colours" if coarse or any(isinstance(part, str) and ";16" in part for part in how) else ""


def decode_all(
    read: Callable[[Sequence[int]], Sequence[np.ndarray]],
    indices: Sequence[int],
    event: Event,
    what: str | None = None,
    dtype=np.uint8,
) -> np.ndarray:
    """Decodes many images in threads.

    Args:
      read: indices -> their images, each ``[*event]``. Called from several threads.
      indices: which images.
      event: the shape of one.
      what: what is being read, for a progress bar; None for none.
      dtype: of the result.

    Returns:
      ``[n, *event]``.
    """
    n = len(indices)
    rows = np.empty((n, *event), dtype)
    step = max(1, min(256, -(-n // (4 * THREADS))))

    def fill(start):
        rows[start : start + step] = read(indices[start : start + step])

    map_in_threads(fill, range(0, n, step), what and f"decoding {n} images of {what}")
    return rows


def map_in_threads(function: Callable, items: Sequence, what: str | None = None) -> list:
    """Returns ``function`` of each item, in order, with a progress bar named ``what``; after an error no more is begun.

    Pillow lets go of the interpreter while it decodes, which is nearly all of the time for large images.
    """
    from tqdm import tqdm

    # Only for those who wait: at a terminal, after two seconds.
    bar = {"delay": 2, "leave": False, "disable": None if what else True}
    return list(tqdm(_pool().map(function, items), what, len(items), **bar))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "images")
