"""A fixed choice of examples, the same on every machine and for every seed of a run."""

from __future__ import annotations

import numpy as np


def held_out(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Chooses ``m`` of ``n`` examples.

    Args:
      n: how many there are.
      m: how many to hold out.

    Returns:
      The indices of the ``n - m`` kept and of the ``m`` held out, each ascending; together all of 0..n-1.
    """
    # RandomState's stream is frozen for good; that of numpy's Generator may change with any release.
    order = np.random.RandomState(0).permutation(n)
    return np.sort(order[m:]), np.sort(order[:m])
