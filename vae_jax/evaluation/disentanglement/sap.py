"""The SAP score: how much better is the best single code than the second best? (Kumar 2018, 1711.00848, section 4)"""

from __future__ import annotations

import numpy as np


def sap_score(codes: np.ndarray, values: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """The mean over factors of the gap between the two codes that predict the factor best, each alone.

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
