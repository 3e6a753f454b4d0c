"""What a model says of codes and levels, as integers that every machine agrees on.

Two machines differ in the last digits of a network's outputs, and one other integer in a probability table would turn
all that is decoded after it into noise. So the networks are computed in double precision, their outputs rounded to
grids that are coarse beside any such difference, and what comes so near the middle of two grid points that it might be
rounded either way is written into the file (``Rounding``). From there on all is integers, and tables made by exact
decimal arithmetic.
"""

from __future__ import annotations

import functools
from decimal import Decimal

import numpy as np

FINE = 64  # steps a nat of log p: rounding costs 1e-5 nats a dimension
LOWEST = 16  # nats: no level is less probable than e^-16
SCALE = 2**22  # the largest weight of a level; the sum of 512 of them is exact in double precision
SPREAD = 32  # steps of log tau a factor of e
NEAR = 1e-9  # of a step: a thousand times what double precision loses on numbers of a thousand steps


class Rounding:
    """Rounds to a grid, and remembers each value that another machine might round otherwise.

    Args:
      known: such values of an earlier rounding: (call, position, integer); None where this one is to find them.
    """

    def __init__(self, known: list[tuple[str, int, int]] | None = None):
        self.known, self.finding = known or [], known is None

    def round(self, call: str, values: np.ndarray) -> np.ndarray:
        """Returns integers for ``values``, which are in units of the grid; ``call`` names them among all."""
        whole = np.rint(values).astype(np.int64)
        if self.finding:
            near = np.flatnonzero(np.abs(np.abs(values - whole) - 0.5).ravel() < NEAR)
            self.known += [(call, int(i), int(whole.ravel()[i])) for i in near]
        else:
            for name, i, value in self.known:
                if name == call:
                    whole.ravel()[i] = value
        return whole


def weights(log_probs: np.ndarray, counts: np.ndarray, call: str, rounding: Rounding) -> np.ndarray:
    """Returns probabilities ``[..., m, k]`` for log probabilities: whole weights over their sum, exact everywhere.

    Args:
      log_probs: nats.
      counts: how many symbols each of m has, ``[m]`` or ``[1]``; the others' are left out.
      call, rounding: as for ``Rounding.round``.
    """
    there = np.arange(log_probs.shape[-1]) < counts[:, None]
    steps = np.clip(-FINE * np.where(there, log_probs, -LOWEST), 0.0, FINE * LOWEST)
    chosen = np.where(there, _exponentials()[rounding.round(call, steps)], 0)
    return chosen / chosen.sum(axis=-1, keepdims=True)


@functools.cache
def _exponentials() -> np.ndarray:
    """The weights of 0, 1, 2, ... steps below the largest: exact decimal arithmetic, the same everywhere."""
    return np.array([max(1, int((Decimal(-j) / FINE).exp() * SCALE)) for j in range(FINE * LOWEST + 1)], np.int64)


@functools.lru_cache(4096)
def _spread(step: int) -> float:
    return float((Decimal(step) / SPREAD).exp())


def gaussian(mean, log_tau, bits: int, call: str, rounding: Rounding) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation of q in units of 2^-bits, on grids: a sixteenth of a unit, and 3% of tau."""
    steps = rounding.round(f"{call} tau", np.clip(SPREAD * log_tau, -20.0 * SPREAD, 20.0 * SPREAD))
    middle = rounding.round(f"{call} mean", 16.0 * 2.0**bits * mean) / 16.0
    return middle, np.vectorize(_spread, otypes=[float])(steps) * 2.0**bits
