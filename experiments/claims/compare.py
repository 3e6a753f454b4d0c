"""Many numbers as one: how far the worst of them is from what it should be."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import numpy as np

from .ledger import Measured

GOLDEN = "one tolerance of each number: 1e-9 of it in 64 bits; where digits were cut off, half a unit of the last"
_CUT = 5  # a number printed with fewer decimals than this is exact


def allowed(text: str) -> float:
    """How far a number may be from the printed ``text``: 1e-9 of it, or half a unit of the last of 5 or more decimals.

    Example:
      >>> allowed(".85"), allowed("1.23935")
      (8.5e-10, 5.1e-06)
    """
    value = Decimal(text)
    last = value.as_tuple().exponent
    rounding = 0.51 * 10.0**last if last <= -_CUT else 1e-12
    return max(1e-9 * abs(float(value)), rounding)


def misfit(pairs: Iterable[tuple[float, str]]) -> Measured:
    """The largest of |found - printed| in units of what the printed digits allow; above 1 is a mismatch.

    Args:
      pairs: each number found, and the golden one as printed.
    """
    pairs = [(float(found), text) for found, text in pairs]
    shares = np.array([abs(found - float(text)) / allowed(text) for found, text in pairs])
    worst = int(np.argmax(np.where(np.isnan(shares), np.inf, shares)))
    found, text = pairs[worst]
    return Measured(float(shares[worst]), detail=f"{len(pairs)} numbers; the worst is {found:.12g} for {text}")


def deviation(found, expected) -> float:
    """The largest |found - expected| / max(|expected|, 1) over two arrays of one shape."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1.0)))
