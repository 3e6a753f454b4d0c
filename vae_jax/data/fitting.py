"""How images of any size and shape are brought to one: the flags --image_size, --fit and --alpha."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from vae_jax.types import UserError

LARGEST = 4096  # pixels of a side
GROUNDS = {"white": 255, "black": 0, "refuse": None}
IN_WORDS = {
    "crop": "cut around their middle to its shape",
    "pad": "laid whole on a ground of their border's mean",
    "stretch": "stretched to its shape",
}


class Look(NamedTuple):
    """What images are to look like.

    Attributes:
      size: the width and height to which they are brought; None: they keep their own, which must be one.
      fit: one of ``IN_WORDS``, how those of another shape are.
      ground: the grey level on which transparent pixels are laid; None: images that have them are refused.
    """

    size: tuple[int, int] | None = None
    fit: str = "crop"
    ground: int | None = 255

    @classmethod
    def of(cls, reading) -> Look:
        """Parses ``image_size``, ``fit`` and ``alpha`` of a ``Reading``, or of a configuration that has them.

        Raises:
          UserError: a size that is none.
        """
        size, asked = None, reading.image_size
        if asked is not None:
            match = re.fullmatch(r"([0-9]{1,6})(?:x([0-9]{1,6}))?", str(asked).strip())
            size = match and (int(match[1]), int(match[2] or match[1]))
            if not size or not all(1 <= side <= LARGEST for side in size):
                raise UserError(
                    f"--image_size={asked}: give the side of a square, 64, or WIDTHxHEIGHT, 64x48; from 1 to {LARGEST}"
                )
        return cls(size, reading.fit, GROUNDS[reading.alpha])

    def note(self, touched: int, reshaped: int, count: int) -> list[str]:
        """What is said of ``count`` images of which so many had another size, and of those so many another shape."""
        if self.size is None:
            return []
        words = f"--image_size={named(self.size)}: {touched:,} of {count:,} images are resized"
        return [
            words + (f", {reshaped:,} of another shape {IN_WORDS[self.fit]} (--fit={self.fit})" if reshaped else "")
        ]


def named(size: tuple[int, int]) -> str:
    """``64`` of a square, else ``64x48``."""
    return str(size[0]) if size[0] == size[1] else "{}x{}".format(*size)


def of_shape(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Whether both have the same ratio of width to height."""
    return size[0] * target[1] == size[1] * target[0]


def fitted(x: np.ndarray, size: tuple[int, int], fit: str) -> np.ndarray:
    """Brings one image to a size.

    Pillow resizes with a triangle filter that widens with the reduction: no aliasing, and, as its weights are not
    negative, no value beyond those that were there, which a sharper filter would make at edges.

    Args:
      x: uint8 or float32 ``[h, w, c]``; of four channels the last is alpha, by which the colours are weighed.
      size: width and height of the result.
      fit: ``crop`` takes the largest part of that shape around the middle, ``pad`` puts all of the image into the
        middle of a ground of its border's mean, ``stretch`` takes all of it, whatever its shape.

    Returns:
      ``[H, W, c]`` of the same dtype; x itself where it has the size.
    """
    (height, width, channels), (to_width, to_height) = x.shape, size
    if (width, height) == size:
        return x
    if fit == "stretch" or of_shape((width, height), size):
        return _resized(x, size, (0, 0, width, height))
    if fit == "crop":
        scale = min(width / to_width, height / to_height)
        across, down = to_width * scale, to_height * scale
        left, top = (width - across) / 2, (height - down) / 2
        return _resized(x, size, (left, top, left + across, top + down))
    scale = max(width / to_width, height / to_height)
    inner = tuple(max(1, min(most, round(side / scale))) for side, most in zip((width, height), size))
    border = np.concatenate([x[0], x[-1], x[1:-1, 0], x[1:-1, -1]]).astype(np.float64).mean(axis=0)
    result = np.empty((to_height, to_width, channels), x.dtype)
    result[:] = np.rint(border) if x.dtype == np.uint8 else border
    left, top = (to_width - inner[0]) // 2, (to_height - inner[1]) // 2
    result[top : top + inner[1], left : left + inner[0]] = _resized(x, inner, (0, 0, width, height))
    return result


def _resized(x: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    from PIL import Image

    def resize(part):
        return np.asarray(Image.fromarray(np.ascontiguousarray(part)).resize(size, Image.Resampling.BILINEAR, box))

    if x.dtype == np.uint8 and x.shape[-1] in (3, 4):
        return resize(x)
    return np.stack([resize(x[..., i]) for i in range(x.shape[-1])], axis=-1)
