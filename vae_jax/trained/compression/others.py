"""How many bytes the usual ways need for the same examples."""

from __future__ import annotations

import io
import lzma
import zlib
from typing import Any

import numpy as np

IMAGES = 10_000  # pictures are compressed one by one; of more the others are taken to need as much


class Others:
    """gzip and xz of all bytes in a row, PNG and lossless WebP picture by picture."""

    def __init__(self, is_binary: bool, is_image: bool):
        self._binary, self._image = is_binary, is_image
        # The two formats themselves; their headers are a few bytes.
        self._streams: dict[str, Any] = {"gzip": zlib.compressobj(9, wbits=31), "xz": lzma.LZMACompressor(preset=9)}
        self._bytes = dict.fromkeys((*self._streams, *(("png", "webp") if is_image else ())), 0)
        self._seen = self._drawn = 0

    def add(self, content: bytes, examples: np.ndarray) -> None:
        """Counts some examples: as bytes, and of pictures ``[n, h, w, c]`` as grey levels."""
        for name, stream in self._streams.items():
            self._bytes[name] += len(stream.compress(content))
        self._seen += len(examples)
        for image in examples[: max(0, IMAGES - self._drawn)] if self._image else ():
            self._draw(image.astype(np.uint8))

    def _draw(self, image: np.ndarray) -> None:
        from PIL import Image

        pixels = np.squeeze(image, -1) if image.shape[-1] == 1 else image
        picture = Image.fromarray(255 * pixels if self._binary else pixels)
        for name, options in (("png", {"optimize": True}), ("webp", {"lossless": True, "quality": 100, "method": 6})):
            own = picture.convert("1") if self._binary and name == "png" else picture
            content = io.BytesIO()
            (own if name == "png" else own.convert("RGB")).save(content, name, **options)
            self._bytes[name] += content.tell()
        self._drawn += 1

    def totals(self) -> dict[str, int]:
        """Returns the bytes of all examples; call it once."""
        for name, stream in self._streams.items():
            self._bytes[name] += len(stream.flush())
        share = self._seen / max(self._drawn, 1)
        return {name: int(size * (share if name in ("png", "webp") else 1)) for name, size in self._bytes.items()}
