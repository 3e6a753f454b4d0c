"""The eigenvalues of the data's covariance: all that the linear theory of the weight asks of the data.

Up to 2,000 dimensions the covariance matrix itself. Beyond, a randomised PCA (Halko, Martinsson and Tropp 2011, SIAM
Review 53) on a block Krylov space (Musco and Musco 2015, 1504.05477) in four passes over batches: what is held is a
batch and a matrix of dimensions by directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import jax
import numpy as np

from vae_jax.data.conditions import without_condition
from vae_jax.data.ranges import in_words
from vae_jax.data.rows import held_out
from vae_jax.randomness import SPECTRUM, example_keys, purpose_key
from vae_jax.types import UserError

MAX_DIMENSIONS = 2000  # beyond this a covariance matrix costs more than it tells
MAX_PRODUCTS = 5e10  # multiplications for the covariance matrix: about a second on two cores
MAX_RANDOMISED = 2e11  # multiplications of the randomised PCA: some seconds
LEAST_EXAMPLES = 2000  # and never fewer than these, whatever they cost
BLOCKS, BLOCK = 3, 384  # directions: each block is the covariance times the one before it, the first is random
MAX_ENTRIES = 2**26  # of their matrix: narrower blocks for images of more than 58,000 values
BATCH = 4096
MAX_VARIANCE = 1e36  # of a direction: a float32 holds 3e38, and more than one square is summed
VALUES = 2**24  # of a batch: fewer examples where they are large

Batches = Callable[[], Iterable[np.ndarray]]  # each call goes through the same examples again, in the same order


def examples_for(n: int, dimensions: int) -> np.ndarray:
    """Which of ``n`` examples a spectrum is worth computing from: all, or a fixed choice that bounds the time.

    Returns:
      Their indices, ascending.
    """
    if dimensions <= MAX_DIMENSIONS:
        most = MAX_PRODUCTS / dimensions**2
    else:
        most = MAX_RANDOMISED / (3 * BLOCKS * _width(dimensions) * dimensions)
    most = max(int(most), LEAST_EXAMPLES)
    return np.arange(n) if n <= most else held_out(n, most)[1]


def parts(rows: np.ndarray, dimensions: int) -> list[np.ndarray]:
    """``rows`` of ``examples_for``, cut into the batches that ``eigenvalues`` goes through."""
    return np.array_split(rows, -(-len(rows) // max(1, min(BATCH, VALUES // dimensions))))


def eigenvalues(data: np.ndarray | Batches) -> np.ndarray:
    """The spectrum of the covariance (ddof = 0) of flattened examples.

    Up to 2,000 dimensions all of it. Beyond, the largest 512 (fewer for images of more than 58,000 values) and the
    trace, with what remains of the trace spread evenly over the other dimensions: a prediction for as many latents
    or fewer needs only the sum of those. For eigenvalues that fall as 1/i (3,072 dimensions) the 100th is
    found within 1e-5, the 300th within 0.5% and the last within 5%, always from below. From fewer examples than
    dimensions the largest are biased upwards, which is the data's doing and not the method's.

    Args:
      data: ``[n, ...]``, preprocessed examples, [0, 1] pixels or rows, of which ``examples_for`` chooses; or a
        function that goes through batches ``[b, ...]`` of them, all of which are used: one pass up to 2,000
        dimensions, four beyond.

    Returns:
      ``[D]`` float64, descending, not negative; D is the number of dimensions of one example.

    Raises:
      ValueError: the values lie so far apart that single precision cannot hold their squares.
    """
    batches = data if callable(data) else _batches(np.asarray(data))
    first = _flat(next(iter(batches())))
    shift = first.mean(axis=0, dtype=np.float64).astype(np.float32)  # close to the mean: no cancellation later
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            values = _whole(batches, shift) if first.shape[1] <= MAX_DIMENSIONS else _randomised(batches, shift)
    except np.linalg.LinAlgError:
        values = np.array([np.nan])
    if not np.isfinite(values).all() or values[0] > MAX_VARIANCE:
        raise ValueError("values lie so far apart that single precision cannot hold their squares")
    return values


def _whole(batches, shift):
    return np.maximum(np.linalg.eigvalsh(_covariance(batches, shift)[0])[::-1], 0.0)


def _randomised(batches, shift):
    dimensions = len(shift)
    width = _width(dimensions)
    # RandomState's stream is frozen for good; that of numpy's Generator may change with any release.
    block = np.random.RandomState(0).standard_normal((dimensions, width)).astype(np.float32)
    basis = np.zeros((dimensions, 0), np.float32)
    for _ in range(BLOCKS):
        block = _orthonormal(_covariance(batches, shift, None, block)[0], basis)
        basis = np.concatenate([basis, block], axis=1)
    small, trace = _covariance(batches, shift, basis, basis)
    top = np.maximum(np.linalg.eigvalsh(small)[::-1], 0.0)[: 4 * width // 3]
    rest = dimensions - len(top)  # few examples span few directions, and leave nothing for the rest
    # Where the spectrum is flat the mean of the rest can pass the last estimates: hence the sort.
    return np.sort(np.concatenate([top, np.full(rest, max(trace - top.sum(), 0.0) / rest)]))[::-1]


def _orthonormal(block, basis):
    """The directions of ``block`` that ``basis`` has not, to float32's precision; by Gram matrices, as QR is slow."""
    least = 1e-11 * float(np.max(np.einsum("ij,ij->j", block, block), initial=0.0))
    for _ in range(2):  # the second time against the rounding errors of the first
        block = block - basis @ (basis.T @ block)
        values, vectors = np.linalg.eigh(block.T @ block)
        block = block @ (vectors[:, values > least] / np.sqrt(values[values > least]))
        least = 0.1
    return block.astype(np.float32)


def _width(dimensions):
    return max(min(BLOCK, MAX_ENTRIES // (BLOCKS * dimensions), dimensions // BLOCKS), 1)


def _covariance(batches, shift, left=None, right=None):
    """``left' C right`` and the trace of the covariance C, in one pass; None is the identity."""

    def times(x, basis):
        return x if basis is None else x @ basis

    total, mean, squares, n = 0.0, np.zeros(len(shift)), 0.0, 0
    for rows in _shifted(batches, shift):
        one = times(rows, left)
        other = one if left is right else times(rows, right)
        total = total + (one.T @ other).astype(np.float64)  # products in float32, their sum in float64
        mean += rows.sum(axis=0, dtype=np.float64)
        squares += float(np.einsum("ij,ij->", rows, rows, dtype=np.float64))
        n += len(rows)
    mean /= n
    return total / n - np.outer(times(mean, left), times(mean, right)), squares / n - float(mean @ mean)


def _shifted(batches, shift):
    for batch in batches():
        rows = _flat(batch)
        for start in range(0, len(rows), BATCH):
            yield np.asarray(rows[start : start + BATCH], np.float32) - shift


def _flat(x):
    x = np.asarray(x)
    return x.reshape(len(x), -1)


def _batches(x):
    dimensions = _flat(x[:1]).shape[1]
    cut = parts(examples_for(len(x), dimensions), dimensions)
    return lambda: (x[part] for part in cut)


def data_spectrum(dataset, view, key: jax.Array, scale: Callable = lambda rows: rows) -> np.ndarray:
    """The eigenvalues of the covariance of the training data as the model will see them, then brought to ``scale``.

    Where something is known beside x it is the covariance of x given c, of what a linear regression on c leaves.

    Raises:
      UserError: the values are too large to have one.
    """
    rows = examples_for(len(dataset.train), dim := math.prod(dataset.event))
    seen = jax.jit(lambda raw, rows: jax.vmap(view)(example_keys(purpose_key(key, SPECTRUM), rows), raw))

    def read():
        return ((part, scale(np.asarray(seen(dataset.train[part], part)))) for part in parts(rows, dim))

    left = without_condition(dataset, read)
    try:
        return eigenvalues(lambda: (left(part, values) for part, values in read()))
    except ValueError as error:
        raise UserError("; ".join([f"{dataset.name}: {error}", *in_words(dataset)[:1]])) from None
