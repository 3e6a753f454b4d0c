"""What the values of data look like to a network, said before training: units, offsets, constants, steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vae_jax.data.dataset import Dataset
from vae_jax.data.rows import IDENTIFYING, Rows, sample

LARGE = 100  # the defaults are made for values of about 1; from here on the first steps may diverge
FAR = 1000  # standard deviations from 0: float32 has seven digits, and how the values vary is in the last of them
UNEQUAL = 100  # between the largest and the smallest standard deviation, where one sigma serves all columns
NARROW = 10  # times --min_sigma: less spread than this is noise to the model
VALUES = 2**24  # of a sample
NAMED = 3
BLOCK = 4096  # examples looked at together
STANDARDISE = "store (x - mean) / standard deviation, both of the training split"


class Columns:
    """Statistics of the training split as a model sees it, ``[D]`` of a table, ``[1]`` of images; a sample of it."""

    def __init__(self, dataset: Dataset):
        x = _sample(dataset).astype(np.float64)
        self.is_table, self.equal = x.ndim == 2, bool((x == x[:1]).all())
        x = (x if self.is_table else x.reshape(-1, 1)) / (dataset.levels - 1 if dataset.levels else 1)
        x = np.ma.masked_invalid(x) if np.isnan(x).any() else x
        moments = x.min(axis=0), x.max(axis=0), x.mean(axis=0), x.std(axis=0)
        self.low, self.high, self.mean, self.std = (np.ma.filled(v, 0.0) for v in moments)
        self.overall = float(x.mean()), float(x.std())

    def named(self, chosen: np.ndarray, weight: np.ndarray) -> str:
        """The ranges of the ``chosen`` columns, those of the largest ``weight`` first."""
        order = [i for i in np.argsort(-weight, kind="stable") if chosen[i]]
        shown = [
            f"{f'column {i}' if self.is_table else 'values'} from {self.low[i]:.6g} to {self.high[i]:.6g} (mean "
            f"{self.mean[i]:.6g}, standard deviation {self.std[i]:.3g})"
            for i in order[:NAMED]
        ]
        counted = f"; {len(order)} of {len(chosen)} columns, counted from 0" if self.is_table else ""
        return ", ".join(shown) + counted


def _sample(dataset: Dataset, values: int = VALUES) -> np.ndarray:
    most = IDENTIFYING if isinstance(dataset.train, Rows) else max(2, min(4096, values // math.prod(dataset.event)))
    return sample(dataset.train, most)


def has_missing(dataset: Dataset) -> bool:
    """Whether a value of any split is missing: a NaN among floats."""
    splits = (dataset.train, dataset.validation, dataset.test)
    return dataset.levels is None and any(x is not None and bool(np.isnan(x).any()) for x in splits)


def missing_columns(x: np.ndarray) -> list[int]:
    """Returns the columns of rows ``[n, f]`` in which a value is missing."""
    return [int(i) for i in np.flatnonzero(np.isnan(x).any(axis=0))]


def constant_values(x: np.ndarray | Rows) -> np.ndarray:
    """Returns the one value of each dimension of ``[n, *event]`` that has only one, NaN for the others, ``[D]``.

    Missing values are no values. Of ``Rows`` nobody has looked at all, so none of their dimensions is known to be
    constant.
    """
    values = np.full(math.prod(x.shape[1:]), np.nan)
    if isinstance(x, Rows):
        return values
    varies = np.zeros(len(values), bool)
    for start in range(0, len(x), BLOCK):
        rows = np.asarray(x[start : start + BLOCK]).reshape(-1, len(values))
        low, high = np.fmin.reduce(rows, axis=0), np.fmax.reduce(rows, axis=0)
        values = np.where(np.isnan(values), low, values)
        varies |= (low != values) & ~np.isnan(low) | (high != values) & ~np.isnan(high)
        if varies.all():
            break
    return np.where(varies, np.nan, values)


def in_words(
    dataset: Dataset, min_sigma: float | None = None, real: Sequence[bool] = (True,), left_out: bool = False
) -> list[str]:
    """What the ranges of the training data mean for a run with the defaults, a sentence each.

    Args:
      dataset: the data.
      min_sigma: the lower bound of a learned standard deviation; None where there is none.
      real: which columns are real numbers.
      left_out: whether constant columns are left out of the likelihood.
    """
    c, name = Columns(dataset), dataset.name
    if c.equal:
        return [f"{name}: all training examples are equal, as far as they were looked at; there is nothing to model"]
    real = np.broadcast_to(real, c.std.shape)
    varying, size = real & (c.low < c.high), np.maximum(np.abs(c.low), np.abs(c.high))
    far = varying & (np.abs(c.mean) > np.maximum(FAR * c.std, 10))
    large, lines = varying & ~far & (size > LARGE), []
    if far.any():
        words = c.named(far, np.abs(c.mean) / np.where(far, c.std, np.inf))
        lines.append(f"{name}: far from 0 for how little it varies, which float32 hardly holds: {words}; {STANDARDISE}")
    if large.any():
        words = c.named(large, size)
        lines.append(f"{name}: raw units, where the defaults are made for values of about 1: {words}; {STANDARDISE}")
    spreads = c.std[varying]
    if len(spreads) and not large.any() and size.max() > 1 and spreads.max() > UNEQUAL * spreads.min():
        ends = varying & ((c.std == spreads.max()) | (c.std == spreads.min()))
        lines.append(f"{name}: one sigma serves columns of unequal spread: {c.named(ends, c.std)}; {STANDARDISE}")
    spread = float(np.sqrt(np.mean(spreads**2))) if len(spreads) else math.inf
    if min_sigma is not None and spread < NARROW * min_sigma:
        lines.append(
            f"{name}: values vary by {spread:.2g}, which --min_sigma={min_sigma:g} hides: {STANDARDISE}, or give "
            f"--min_sigma={spread / 100:.1g}"
        )
    constant = np.flatnonzero(real & (c.low == c.high))
    if dataset.levels is None and len(constant) and not left_out:
        shown = ", ".join([*map(str, constant[:NAMED]), *["..."] * (len(constant) > NAMED)])
        lines.append(
            f"{name}: {len(constant)} of {len(c.std)} columns are constant ({shown}, counted from 0); leave them out: "
            "a sigma of their own sinks to --min_sigma and rules the ELBO"
        )
    return lines


def steps(dataset: Dataset) -> int | None:
    """How many values float data take, where they are as few as those of bytes that were divided by 255."""
    if dataset.levels is not None:
        return None
    x = _sample(dataset, 2**20)
    count = len(np.unique(x))
    return count if 1 < count <= 256 and x.size >= 16 * count else None


def unlike(dataset: Dataset, own: Dataset) -> list[str]:
    """Whether ``dataset`` is in other units than ``own``, on which a model was trained: a sentence, or none."""
    here, there = Columns(dataset), Columns(own)
    (mean, std), (own_mean, own_std) = here.overall, there.overall
    if abs(mean - own_mean) <= 3 * own_std and own_std / 4 <= std <= 4 * own_std:
        return []
    words = [f"from {c.low.min():.6g} to {c.high.max():.6g} (mean {c.overall[0]:.4g})" for c in (here, there)]
    return [f"{dataset.name} has values {words[0]}, and the run was trained on {words[1]}: are they in the same units?"]
