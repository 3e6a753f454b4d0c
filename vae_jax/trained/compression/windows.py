"""A table for a number without an upper end: cells around its mean, and an escape for what lies outside of them.

Cells are the numbers that share their first binary digits: below 2^(q + 1) each has its own, above one octave has 2^q.
With q from the ratio of mean and deviation a cell is never wide beside the distribution, so within a cell all numbers
may be equally probable. Of a count of any size so many cells hold all but a millionth of a millionth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vae_jax.trained.compression.tables import Rounding
from vae_jax.trained.compression.values import LARGEST

CELLS = 512
FINE = 16.0  # cells a standard deviation
MOST_DIGITS = 24.0


class Windows(NamedTuple):
    """The cells of some counts ``[n, m]``: how many digits they share, and the number of the first cell."""

    digits: np.ndarray
    first: np.ndarray

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lowest number of each cell and how many numbers it holds, ``[n, m, CELLS]``."""
        number = self.first[..., None] + np.arange(CELLS)
        digits = self.digits[..., None]
        octave = np.maximum((number >> digits) - 1, 0)
        return (number - (octave << digits)) << octave, 1 << octave

    def points(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the middle of each cell, and the logarithm of how many numbers it holds: the first k, ``[n, k, m]``.

        After the last cell comes the escape, to which no density is given, and what fills a table.
        """
        low, width = self.cells()
        missing = ((0, 0), (0, 0), (0, max(0, k - CELLS)))
        middles = np.pad(low + (width - 1) // 2, missing)
        log_widths = np.pad(np.log(width), missing, constant_values=-np.inf)
        return tuple(np.swapaxes(part[..., :k].astype(float), 1, 2) for part in (middles, log_widths))

    def place(self, values: np.ndarray) -> np.ndarray:
        """Returns in which cell of its window each value ``[n, m]`` lies; ``CELLS`` where in none."""
        length = np.frexp(values.astype(float))[1]  # how many binary digits a value has
        octave = np.maximum(length - 1 - self.digits, 0)
        number = (octave << self.digits) + (values >> octave) - self.first
        return np.where((number < 0) | (number >= CELLS), CELLS, number)


def windows(mean: np.ndarray, variance: np.ndarray, call: str, rounding: Rounding) -> Windows:
    """Returns cells about each mean ``[n, m]``, the same on every machine."""
    mean = np.clip(mean, 1e-9, float(LARGEST))
    narrow = np.maximum(1.0, mean / np.sqrt(np.maximum(variance, 1e-18)))
    digits = rounding.round(f"{call} digits", np.clip(np.log2(FINE * narrow), 0.0, MOST_DIGITS))
    octave = np.maximum(np.frexp(mean)[1] - 1 - digits, 0)
    middle = octave * 2.0**digits + mean / 2.0**octave
    return Windows(digits, rounding.round(f"{call} first", np.maximum(middle - CELLS / 2, 0.0)))
