"""Which examples are alike: equal, or nearly the same picture, so that a split must not cut between them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vae_jax.data.rows import Rows

LARGE = 2**31  # bytes of examples up to which all are looked at
LARGE_ALONE = 2**35  # the same where a test split depends on it, and a pass over them is worth its minutes
BLOCK = 2**24  # bytes looked at together
COMPARED = 20_000  # images that bring their own test split, up to which nearly equal ones are looked for
SIDE = 16  # of a thumbnail, at most; images of fewer than LEAST pixels a side are too small to be nearly another
LEAST = 8
# Of the squared distance of two thumbnails of mean 0 and norm 1. Two MNIST digits that differ are above it.
NEAR = 0.004
TABLES, DIRECTIONS, WIDTH, REACH = 8, 8, 0.5, 32


class Groups(NamedTuple):
    """Examples in groups of alike ones.

    Attributes:
      keys: uint64, of each group: the least of what its examples hash to.
      members: ``[n]``, the group of each example.
      by: by what a choice with ``keys`` is one, in words.
      in_words: what was found; "" for nothing.
    """

    keys: np.ndarray
    members: np.ndarray
    by: str
    in_words: str


def groups(x: np.ndarray | Rows, alone: bool) -> Groups:
    """Groups examples.

    Args:
      x: ``[n, *event]``.
      alone: whether ``x`` is all of the data, of which nobody has made splits.
    """
    n = len(x)
    if x.nbytes > (LARGE_ALONE if alone else LARGE):
        # RandomState's stream is frozen for good.
        keys = np.random.RandomState(0).permutation(n).astype(np.uint64)
        return Groups(keys, np.arange(n), "by their place: they are too many to be compared with each other", "")
    hashes = np.concatenate([_hashes(block) for block in _in_ranks(x)])
    keys, members = np.unique(hashes, return_inverse=True)
    twins, near = n - len(keys), np.arange(len(keys))
    if x.ndim == 4 and min(x.shape[1:3]) >= LEAST and (alone or n <= COMPARED):
        first = np.unique(hashes, return_index=True)[1]
        near = _joined(len(keys), _near_pairs(np.concatenate([_thumbnails(block) for block in _blocks(x)])[first]))
    said = f"{twins:,} of {n:,} training examples equal another and are on its side" if twins else ""
    if len(found := np.unique(near)) < len(keys):
        # Of images that nearly all hang together no part could be held out.
        if np.bincount(near).max() > len(keys) // 2:
            return Groups(keys, members, "by their content", f"{said}{'; ' * bool(said)}most are nearly alike")
        said += f"{'; ' * bool(said)}{len(keys) - len(found):,} are nearly another, and on its side"
        least = np.full(len(keys), np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(least, near, keys)
        keys, members = least[found], np.searchsorted(found, near)[members]
    return Groups(keys, members, "by their content", said)


def _thumbnails(block: np.ndarray) -> np.ndarray:
    """Averages of images ``[b, h, w, c]``, of mean 0 and norm 1 after their own mean and norm: ``[b, 2 + d]``."""
    small = block.astype(np.float32)
    for axis in (1, 2):
        edges = np.linspace(0, small.shape[axis], min(SIDE, small.shape[axis]) + 1).astype(int)
        shape = [-1 if i == axis else 1 for i in range(4)]
        small = np.add.reduceat(small, edges[:-1], axis=axis) / np.diff(edges).reshape(shape).astype(np.float32)
    small = small.reshape(len(small), -1)
    mean = small.mean(axis=1, keepdims=True)
    norm = np.sqrt(((small - mean) ** 2).sum(axis=1, keepdims=True))
    return np.concatenate([mean, norm, (small - mean) / np.maximum(norm, 1e-12)], axis=1)


def _near_pairs(thumbnails: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of images that are nearly the same, of which all but some are found: arrays of the one and of the other.

    Images whose projections onto random directions are in the same cell are compared with their neighbours there
    (locality-sensitive hashing, Datar et al. 2004), in time nearly proportional to their number.
    """
    mean, norm, u = thumbnails[:, 0], thumbnails[:, 1], thumbnails[:, 2:]
    spread = norm / np.sqrt(u.shape[1])
    rng = np.random.RandomState(0)
    for _ in range(TABLES):
        projected = u @ rng.normal(size=(u.shape[1], DIRECTIONS + 1)).astype(np.float32)
        cells = np.floor(projected[:, 1:] / WIDTH + rng.uniform(size=DIRECTIONS)).astype(np.int32)
        order = np.lexsort((projected[:, 0], *cells.T))
        next_is_same = (cells[order[1:]] == cells[order[:-1]]).all(axis=1)
        same = next_is_same
        for step in range(1, REACH):
            (at,) = np.nonzero(same)
            if not len(at):
                break
            a, b = order[at], order[at + step]
            alike = ((u[a] - u[b]) ** 2).sum(axis=1) < NEAR
            # A picture that was brightened, and none of another light or contrast altogether.
            alike &= (np.abs(mean[a] - mean[b]) <= 0.5 * np.minimum(spread[a], spread[b])) & (spread[a] > 0)
            alike &= np.maximum(norm[a], norm[b]) <= 1.25 * np.minimum(norm[a], norm[b])
            yield a[alike], b[alike]
            same = same[:-1] & next_is_same[step:]


def _joined(n: int, pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The least of the examples that each of ``n`` hangs together with, ``[n]``."""
    root = list(range(n))

    def of(i):
        while root[i] != i:
            root[i] = i = root[root[i]]
        return i

    for some, others in pairs:
        for i, j in zip(some.tolist(), others.tolist()):
            i, j = of(i), of(j)
            root[max(i, j)] = min(i, j)
    return np.array([of(i) for i in range(n)])


def _in_ranks(x: np.ndarray | Rows) -> Iterator[np.ndarray]:
    """The examples in blocks; floats as integers that are the same whatever units they are in.

    Of rows each column's values are numbered in their order. Images of floats are brought to 256 levels of their range,
    so that bytes in other units are cut as the bytes are.
    """
    if x.dtype == np.uint8:
        yield from _blocks(x)
    elif x.ndim == 2:
        yield np.stack([np.unique(column, return_inverse=True)[1] for column in x.T], axis=1).astype(np.int32)
    else:
        low, high = float(np.nanmin(x)), float(np.nanmax(x))
        for block in _blocks(x):
            with np.errstate(all="ignore"):  # what is not finite is refused elsewhere
                yield np.rint((block - low) * (255 / (high - low if high > low else 1))).astype(np.uint8)


def _blocks(x: np.ndarray | Rows) -> Iterator[np.ndarray]:
    step = max(1, BLOCK // max(1, math.prod(x.shape[1:]) * x.dtype.itemsize))
    return (x[start : start + step] for start in range(0, len(x), step))


def _hashes(block: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(block).reshape(len(block), -1)
    if rows.dtype == np.uint8:  # black and white are 0 and 1 where all were looked at, and 0 and 255 where not
        rows = np.where(rows.max(axis=1, keepdims=True) <= 1, 255 * rows, rows)
    hashes = (hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(hashes), "<u8").astype(np.uint64)
