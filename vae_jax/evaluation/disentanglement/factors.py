"""Codes and factors made fit for measuring, and rows drawn by their factors' values."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vae_jax.types import UserError

ROUNDING = 1e-5  # a spread of the codes below this, in units of max(1, |mean|), is that of float32 arithmetic
ACTIVE_STD = 0.05  # codes of less spread are not "active"; the threshold of disentanglement_lib's FactorVAE score


class Draws(NamedTuple):
    """The values of each factor, with an index that finds the rows of a value at once.

    Attributes:
      values: ``[n, k]``, each factor's values as 0, 1, ....
      order: ``[n, k]``, the rows sorted by the values of each factor.
      starts, counts: for each factor, where in ``order`` the rows of each value begin and how many they are.
    """

    values: np.ndarray
    order: np.ndarray
    starts: list[np.ndarray]
    counts: list[np.ndarray]

    def alike(self, factor: int, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws for each of ``rows`` a row with the same value of ``factor``, all such rows equally likely."""
        v = self.values[rows, factor]
        within = (rng.random(rows.shape) * self.counts[factor][v]).astype(np.int64)
        return self.order[self.starts[factor][v] + within, factor]


def index(values: np.ndarray) -> Draws:
    """Indexes factor values ``[n, k]`` of 0, 1, ..., as ``prepare`` returns them."""
    counts = [np.bincount(column) for column in values.T]
    return Draws(values, np.argsort(values, axis=0, kind="stable"), [np.cumsum(c) - c for c in counts], counts)


class Prepared(NamedTuple):
    """What is measured.

    Attributes:
      codes: ``[n, m]`` float64, m at least 2; codes that vary by rounding only are 0.
      values: ``[n, k]``, each factor's values as 0, 1, ....
      names: of the k factors.
      notes: what was left out, in words.
    """

    codes: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    notes: tuple[str, ...]


def prepare(codes, factors, names=()) -> Prepared:
    """Brings codes and factors into the form that the metrics take.

    A code that varies by rounding only becomes exactly constant: rescaled, its noise would look like a code. A single
    code gets a constant one beside it, so that "the second best" and "how concentrated" are defined.

    Args:
      codes: ``[n, m]`` (or ``[n]``), one row per example.
      factors: ``[n, k]`` (or ``[n]``), numbers with few values each.
      names: k names; numbered where none are given.

    Raises:
      UserError: shapes that do not go together, fewer than two examples, codes or factors that are not finite.
    """
    codes, factors = (np.asarray(a)[:, None] if np.ndim(a) == 1 else np.asarray(a) for a in (codes, factors))
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or len(codes) < 2 or codes.shape[1] < 1:
        raise UserError(
            f"codes have shape {codes.shape} and factors {factors.shape}; they must be [n, m] and [n, k] of the same n "
            "examples, at least two"
        )
    for what, a in (("codes", codes), ("factors", factors)):
        if a.dtype.kind not in "buif" or not np.isfinite(a).all():
            raise UserError(f"{what} (dtype {a.dtype}) must be finite numbers")
    names = tuple(names) or tuple(f"factor_{i}" for i in range(factors.shape[1]))
    if len(names) != factors.shape[1]:
        raise UserError(f"{len(names)} names for {factors.shape[1]} factors; give one name each")
    codes = codes.astype(np.float64)
    center = codes.mean(axis=0)
    codes = np.where(codes.std(axis=0) > ROUNDING * np.maximum(1, np.abs(center)), codes, 0.0)
    if codes.shape[1] == 1:
        codes = np.concatenate([codes, np.zeros_like(codes)], axis=1)
    kept, columns, notes = [], [], []
    for name, column in zip(names, factors.T):
        classes, values = np.unique(column, return_inverse=True)
        if len(classes) == 1:
            notes.append(f"factor {name} left out: it has one value only")
        elif len(classes) > len(column) / 2:
            notes.append(f"factor {name} left out: {len(classes)} values among {len(column)} examples are no classes")
        else:
            kept.append(name)
            columns.append(values.reshape(-1))
    values = np.stack(columns, axis=1) if columns else np.zeros((len(codes), 0), np.int64)
    return Prepared(codes, values, tuple(kept), tuple(notes))


def active(codes: np.ndarray) -> np.ndarray:
    """Returns which codes ``[n, m]`` spread at all, ``[m]``: a standard deviation of at least ``ACTIVE_STD``."""
    return codes.std(axis=0, ddof=1) >= ACTIVE_STD


def disjoint_rows(n: int, train: int, test: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws ``train`` and ``test`` different rows of n; two thirds and one third where there are not so many."""
    if train + test > n:
        train, test = n - n // 3, n // 3
    rows = rng.permutation(n)
    return rows[:train], rows[train : train + test]
