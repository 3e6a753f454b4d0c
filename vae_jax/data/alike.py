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
    twins = n - len(keys)
    said = f"{twins:,} of {n:,} training examples equal another and are on its side" if twins else ""
    return Groups(keys, members, "by their content", said)


def _in_ranks(x: np.ndarray | Rows) -> Iterator[np.ndarray]:
    """The examples in blocks; floats as integers that are the same whatever units they are in.

    Of rows each column's values are numbered in their order. Images of floats are brought to 256 levels of their range.
    """
    if x.dtype == np.uint8:
        yield from _blocks(x)
    elif x.ndim == 2:
        yield np.stack([np.unique(column, return_inverse=True)[1] for column in x.T], axis=1).astype(np.int32)
    else:
        low, high = float(np.nanmin(x)), float(np.nanmax(x))
        for block in _blocks(x):
            with np.errstate(all="ignore"):  # what is not finite is refused elsewhere
                yield np.rint((block - low) * (255 / (high - low if high > low else 1))).astype(np.int16)


def _blocks(x: np.ndarray | Rows) -> Iterator[np.ndarray]:
    step = max(1, BLOCK // max(1, math.prod(x.shape[1:]) * x.dtype.itemsize))
    return (x[start : start + step] for start in range(0, len(x), step))


def _hashes(block: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(block).reshape(len(block), -1)
    if rows.dtype == np.uint8:  # black and white are 0 and 1 where all were looked at, and 0 and 255 where not
        rows = np.where(rows.max(axis=1, keepdims=True) <= 1, 255 * rows, rows)
    hashes = (hashlib.blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(hashes), "<u8").astype(np.uint64)
