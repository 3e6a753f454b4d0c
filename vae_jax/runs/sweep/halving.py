"""Successive halving: after a part of the steps the dominated runs stop, and the others go on.

A run is dominated by another that has both the lower rate and the lower distortion. Runs are ranked by the peel of the
frontier that they are on (non-dominated sorting; Deb 2002, NSGA-II), within a peel by their ELBO: successive halving
(Jamieson and Talwalkar 2016, 1502.07943) with a frontier in place of one score. What lies on the frontier itself is
never stopped: it is what a sweep is made for.
"""

from __future__ import annotations

import math

import numpy as np

from vae_jax.types import UserError

ROWS = 2000  # training examples that runs are compared on; the test split has no say in which runs go on


def stops(at: str, num_steps: int) -> list[int]:
    """``("0.25,0.5", 3000) -> [750, 1500]``.

    Raises:
      UserError: for what are not increasing shares of the run.
    """
    try:
        shares = [float(text) for text in at.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(a < b for a, b in zip([0.0, *shares], [*shares, 1.0])):
        raise UserError(f"--halving_at={at} must be increasing shares of the run, between 0 and 1, such as 0.25,0.5")
    return sorted({max(1, round(share * num_steps)) for share in shares})


def peels(rate: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """How deep each run lies, ``[r]``: 0 on the frontier, 1 on it once those are taken away, and so on.

    Args:
      rate, distortion: ``[r]``, nats per example; runs that are not finite lie deepest, at r.
    """
    finite = np.isfinite(rate) & np.isfinite(distortion)
    no_worse = (rate[:, None] <= rate) & (distortion[:, None] <= distortion)
    better = no_worse & ((rate[:, None] < rate) | (distortion[:, None] < distortion)) & finite[:, None]
    depths, left = np.full(len(rate), len(rate)), finite.copy()
    for depth in range(len(rate)):
        outer = left & ~np.any(better & left[:, None], axis=0)
        depths[outer] = depth
        left &= ~outer
    return depths


def survivors(rate: np.ndarray, distortion: np.ndarray, keep: float) -> np.ndarray:
    """The runs that go on, ascending indices: the frontier, and the best of the others up to a share ``keep`` of all.

    Runs that are not finite never go on, unless none is finite: then the first does.

    Args:
      rate, distortion: ``[r]``, nats per example.
      keep: in (0, 1].
    """
    depths = peels(rate, distortion)
    finite = np.isfinite(rate) & np.isfinite(distortion)
    elbo = np.where(finite, -(rate + distortion), -np.inf)
    order = np.lexsort((np.arange(len(rate)), -elbo, depths))
    chosen = set(order[: math.ceil(keep * len(rate))]) | set(np.flatnonzero(depths == 0))
    return np.array(sorted(i for i in chosen if finite[i]) or [0])
