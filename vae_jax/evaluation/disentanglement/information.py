"""Scores from the mutual information of each code with each factor: MIG and modularity."""

from __future__ import annotations

import numpy as np


def mutual_information(codes: np.ndarray, values: np.ndarray, bins: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """I(code; factor) of codes in bins of equal width, by counting.

    Counts overestimate: of n examples by about (bins - 1)(values - 1) / (2 n) nats where there is no information.

    Args:
      codes: ``[n, m]``.
      values: ``[n, k]``, each factor's values as 0, 1, ....
      bins: from the least to the greatest value of each code; a constant code has one.

    Returns:
      The information ``[m, k]`` and the entropies of the factors ``[k]``, nats.
    """
    binned = np.stack([np.digitize(z, np.histogram_bin_edges(z, bins)[1:-1]) for z in codes.T], axis=1)
    counts = [np.bincount(v) for v in values.T]
    information = np.empty((binned.shape[1], values.shape[1]))
    for i, code in enumerate(binned.T):
        for j, count in enumerate(counts):
            joint = np.bincount(code * len(count) + values[:, j], minlength=bins * len(count))
            information[i, j] = _entropy(np.bincount(code)) + _entropy(count) - _entropy(joint)
    return np.maximum(information, 0.0), np.array([_entropy(count) for count in counts])


def _entropy(counts):
    p = counts[counts > 0] / counts.sum()
    return float(-np.sum(p * np.log(p)))


def gaps(information: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """What the mutual information gap averages: of each factor, (best code - second best) / entropy, ``[k]``.

    Args:
      information: ``[m, k]``, m at least 2.
      entropy: of the factors, ``[k]``, positive.
    """
    best = np.sort(information, axis=0)
    return (best[-1] - best[-2]) / entropy


def mig(information: np.ndarray, entropy: np.ndarray) -> float:
    """The mutual information gap (Chen 2018, 1802.04942, eq. 6): 1 where one code alone knows each factor.

    A factor with more values than there are bins cannot reach 1: its gap is at most log(bins) / log(values).
    """
    return float(gaps(information, entropy).mean())


def modularity(information: np.ndarray) -> float | None:
    """Does each code know one factor only? (Ridgeway & Mozer 2018, 1802.05312, section 3)

    The mean over codes of 1 - sum over the other factors of (I / I_best)^2 / (k - 1). It says nothing about how much
    is known: noise scores above 0, by how unevenly its counting errors fall. A code without any information counts 0.

    Args:
      information: ``[m, k]``, of the codes that are to count; m may be 0.

    Returns:
      A number in [0, 1]; None for one factor, where nothing is asked.
    """
    if information.shape[1] < 2:
        return None
    if information.shape[0] == 0:
        return 0.0
    best = information.max(axis=1, keepdims=True)
    shares = np.square(np.divide(information, best, out=np.ones_like(information), where=best > 0))
    return float(np.mean(1 - (shares.sum(axis=1) - 1) / (information.shape[1] - 1)))
