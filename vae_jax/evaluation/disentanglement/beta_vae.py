"""The BetaVAE score: can a linear classifier tell which factor a set of pairs shares? (Higgins 2017)"""

from __future__ import annotations

import numpy as np

from vae_jax.evaluation.disentanglement.factors import Draws

AT_ONCE = 1000  # points whose pairs are in memory together


def beta_vae_score(
    codes: np.ndarray, draws: Draws, rng: np.random.Generator, train: int = 10_000, test: int = 5_000, pairs: int = 64
) -> float:
    """Held-out accuracy of a logistic regression; chance is 1 / k, and 1 means that it was right every time.

    A point is a factor (each as often as the others) and the mean over ``pairs`` pairs of examples of
    |code - code|; the two of a pair have the same value of that factor and are otherwise drawn independently. Codes
    are not rescaled.

    Args:
      codes: ``[n, m]``.
      draws: of k factors.
      rng: consumed.
      train, test: points that the classifier learns from and is judged by.
      pairs: in each point.

    Returns:
      The accuracy, in [0, 1].
    """
    from sklearn.linear_model import LogisticRegression

    x, y = _points(codes, draws, rng, train + test, pairs)
    model = LogisticRegression(max_iter=1000).fit(x[:train], y[:train])
    return float(model.score(x[train:], y[train:]))


def _points(codes, draws, rng, count, pairs):
    """Features ``[count, m]`` and the factor shared ``[count]``; every factor occurs equally often in any stretch."""
    k = draws.values.shape[1]
    shared = np.concatenate([rng.permutation(k) for _ in range(-(-count // k))])[:count]
    features = np.empty((count, codes.shape[1]))
    for start in range(0, count, AT_ONCE):
        part = slice(start, min(start + AT_ONCE, count))
        first = rng.integers(len(codes), size=(part.stop - start, pairs))
        second = np.empty_like(first)
        for factor in range(k):
            rows = shared[part] == factor
            second[rows] = draws.alike(factor, first[rows], rng)
        features[part] = np.abs(codes[first] - codes[second]).mean(axis=1)
    return features, shared
