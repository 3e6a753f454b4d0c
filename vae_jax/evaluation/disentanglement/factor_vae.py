"""The FactorVAE score: does the code that stands still name the factor that was fixed? (Kim & Mnih 2018, 1802.05983)"""

from __future__ import annotations

import numpy as np

from vae_jax.evaluation.disentanglement.factors import Draws, active

AT_ONCE = 1000  # batches in memory together


def factor_vae_score(
    codes: np.ndarray, draws: Draws, rng: np.random.Generator, train: int = 10_000, test: int = 5_000, batch: int = 64
) -> float:
    """Held-out accuracy of a majority vote; chance is 1 / k.

    A point is a factor (each as often as the others) and the code whose variance over a batch of examples with
    one value of that factor is the smallest share of its variance over all examples. Each code votes for the factor
    with which it occurred most often among ``train`` points; ``test`` others judge the vote. Codes that hardly vary at
    all (``factors.active``) take no part: a collapsed code's tiny variances are noise, and their ratio would often win.

    Args:
      codes: ``[n, m]``.
      draws: of k factors.
      rng: consumed.
      train, test: points.
      batch: examples in each point.

    Returns:
      The accuracy, in [0, 1]; 0 where no code is active.
    """
    codes = codes[:, active(codes)]
    if codes.shape[1] == 0:
        return 0.0
    still, fixed = _points(codes, draws, rng, train + test, batch)
    votes = np.zeros((codes.shape[1], draws.values.shape[1]), np.int64)
    np.add.at(votes, (still[:train], fixed[:train]), 1)
    return float(np.mean(votes.argmax(axis=1)[still[train:]] == fixed[train:]))


def _points(codes, draws, rng, count, batch):
    """The code that varied least, relatively, and the factor that was fixed, ``[count]`` each."""
    k = draws.values.shape[1]
    fixed = np.concatenate([rng.permutation(k) for _ in range(-(-count // k))])[:count]
    overall = codes.var(axis=0, ddof=1)
    still = np.empty(count, np.int64)
    for start in range(0, count, AT_ONCE):
        part = slice(start, min(start + AT_ONCE, count))
        like = np.broadcast_to(rng.integers(len(codes), size=(part.stop - start, 1)), (part.stop - start, batch))
        rows = np.empty(like.shape, np.int64)
        for factor in range(k):
            here = fixed[part] == factor
            rows[here] = draws.alike(factor, like[here], rng)
        still[part] = np.argmin(codes[rows].var(axis=1, ddof=1) / overall, axis=1)
    return still, fixed
