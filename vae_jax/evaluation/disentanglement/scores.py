"""The published scores, but for DCI (``dci.py``): from mutual information, from pairs and batches, from one code each.

* MIG and modularity count the mutual information of each code with each factor.
* The BetaVAE score (Higgins 2017, ICLR, section 3) classifies which factor two examples share, the FactorVAE score
  (Kim and Mnih 2018, 1802.05983, section 5) which one a batch has fixed; both draw their examples by the factors'
  values (``factors.Draws``).
* SAP (Kumar 2018, 1711.00848, section 3) asks how well each code alone predicts each factor.
"""

from __future__ import annotations

import numpy as np

from vae_jax.evaluation.disentanglement.factors import Draws, active

AT_ONCE = 1000  # points whose pairs or batches are in memory together


def mutual_information(codes: np.ndarray, values: np.ndarray, bins: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Returns I(code; factor) of codes in bins of equal width, by counting.

    Counts overestimate: of n examples by about (bins - 1)(values - 1) / (2 n) nats where there is no information.

    Args:
      codes: ``[n, m]``.
      values: ``[n, k]``, each factor's values as 0, 1, ....
      bins: from the least to the greatest value of each code; a constant code has one.

    Returns:
      The information ``[m, k]`` and the entropies of the factors ``[k]``, nats.
    """
    # Inner edges only: the greatest value then falls into the last bin and not beyond it.
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


def mig_per_factor(information: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """Returns (best code - second best) / entropy of each factor, ``[k]``; their mean is the MIG.

    That is the mutual information gap (Chen 2018, 1802.04942, eq. 6): 1 where one code alone knows each factor. A
    factor with more values than there are bins cannot reach 1: its gap is at most log(bins) / log(values).

    Args:
      information: ``[m, k]``, m at least 2.
      entropy: of the factors, ``[k]``, positive.
    """
    best = np.sort(information, axis=0)
    return (best[-1] - best[-2]) / entropy


def modularity(information: np.ndarray) -> float | None:
    """Says whether each code knows one factor only (Ridgeway & Mozer 2018, 1802.05312, section 3).

    The mean over codes of 1 - sum over the other factors of (I / I_best)^2 / (k - 1). It says nothing about how much
    is known: noise scores above 0, by how unevenly its counting errors fall, and in the reference (Locatello 2019) as
    here such codes count like all others. A code without any information counts 0.

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


def beta_vae_score(
    codes: np.ndarray, draws: Draws, rng: np.random.Generator, train: int = 10_000, test: int = 5_000, pairs: int = 64
) -> float:
    """Returns held-out accuracy of a logistic regression; chance is 1 / k, and 1 means that it was right every time.

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

    x, y = _beta_vae_points(codes, draws, rng, train + test, pairs)
    model = LogisticRegression(max_iter=1000).fit(x[:train], y[:train])
    return float(model.score(x[train:], y[train:]))


def _beta_vae_points(codes, draws, rng, count, pairs):
    """Draws the points' features ``[count, m]`` and the factor that each point's pairs share ``[count]``."""
    shared = _balanced(draws, rng, count)
    features = np.empty((count, codes.shape[1]))
    for start in range(0, count, AT_ONCE):
        part = slice(start, min(start + AT_ONCE, count))
        first = rng.integers(len(codes), size=(part.stop - start, pairs))
        second = _alike(draws, shared[part], first, rng)
        features[part] = np.abs(codes[first] - codes[second]).mean(axis=1)
    return features, shared


def _balanced(draws: Draws, rng, count: int) -> np.ndarray:
    """Draws a factor for each of ``count`` points; every factor occurs equally often in any stretch."""
    k = draws.values.shape[1]
    return np.concatenate([rng.permutation(k) for _ in range(-(-count // k))])[:count]


def _alike(draws: Draws, factors: np.ndarray, rows: np.ndarray, rng) -> np.ndarray:
    """Draws for each of ``rows [p, ...]`` another one with the same value of its point's factor, ``factors [p]``."""
    alike = np.empty_like(rows)
    for factor in range(draws.values.shape[1]):
        here = factors == factor
        alike[here] = draws.alike(factor, rows[here], rng)
    return alike


def factor_vae_score(
    codes: np.ndarray, draws: Draws, rng: np.random.Generator, train: int = 10_000, test: int = 5_000, batch: int = 64
) -> float:
    """Returns held-out accuracy of a majority vote; chance is 1 / k.

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
    still, fixed = _factor_vae_points(codes, draws, rng, train + test, batch)
    votes = np.zeros((codes.shape[1], draws.values.shape[1]), np.int64)
    np.add.at(votes, (still[:train], fixed[:train]), 1)
    return float(np.mean(votes.argmax(axis=1)[still[train:]] == fixed[train:]))


def _factor_vae_points(codes, draws, rng, count, batch):
    """Draws the code that varied least, relatively, and the factor that was fixed, ``[count]`` each."""
    fixed = _balanced(draws, rng, count)
    overall = codes.var(axis=0, ddof=1)
    still = np.empty(count, np.int64)
    for start in range(0, count, AT_ONCE):
        part = slice(start, min(start + AT_ONCE, count))
        one = rng.integers(len(codes), size=(part.stop - start, 1))
        rows = _alike(draws, fixed[part], np.broadcast_to(one, (part.stop - start, batch)), rng)
        still[part] = np.argmin(codes[rows].var(axis=1, ddof=1) / overall, axis=1)
    return still, fixed


def sap_score(codes: np.ndarray, values: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Returns the mean over factors of the gap between the two codes that predict the factor best, each alone.

    The classifier is a linear support vector machine (C = 0.01, classes balanced), one class against the rest. On one
    code it can cut off the ends only, so a factor of many values is predicted badly even by a perfect code, which
    scores far below 1.

    Args:
      codes: ``[n, m]``, m at least 2.
      values: ``[n, k]``.
      train, test: the rows to learn from and those to judge by.

    Returns:
      A gap of held-out accuracies, in [0, 1].
    """
    best = np.sort([[_accuracy(z[:, None], v, train, test) for v in values.T] for z in codes.T], axis=0)
    return float(np.mean(best[-1] - best[-2]))


def _accuracy(z, v, train, test):
    from sklearn.svm import LinearSVC

    classes, counts = np.unique(v[train], return_counts=True)
    if len(classes) == 1 or np.ptp(z[train]) == 0:  # nothing to learn, or nothing to learn it from
        return float(np.mean(v[test] == classes[counts.argmax()]))
    model = LinearSVC(C=0.01, class_weight="balanced", dual=False).fit(z[train], v[train])
    return float(model.score(z[test], v[test]))
