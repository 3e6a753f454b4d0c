"""A split that is too large to hold: it looks like an array, and what is asked of it is read there and then."""

from __future__ import annotations

import functools
import math
import os
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from vae_jax.data.images import decode_all, map_in_threads
from vae_jax.given import Given

SAMPLE_BYTES = 2**26  # of the rows that a sample decodes
PIECE = 256  # bytes of a file that are part of a fingerprint, at least eight times
IDENTIFYING = 8  # rows whose values are part of a fingerprint


class Rows:
    """uint8 ``[n, *event]`` that is read when it is indexed, by a slice, an integer or an array of integers.

    Nothing is kept. Whoever wants an array of everything has to ask for it, ``rows[:]``: what would make one by the way
    (``np.asarray``, ``jax.device_put``) is an error.

    Args:
      read: indices -> their rows, each uint8 ``[*event]``, for any indices in any order; called from several threads.
        It raises a ``UserError`` that names what it cannot read.
      shape: ``(n, *event)``.
      identity: what tells the split from another one before anything of it is read, such as names and sizes.
      files: where they are read from.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        read: Callable[[Sequence[int]], Sequence[np.ndarray]],
        shape: tuple[int, ...],
        identity: bytes,
        files: Sequence[str] = (),
    ):
        self.read, self.shape, self.identity, self.files = read, tuple(shape), identity, files
        self.ndim, self.size = len(self.shape), math.prod(self.shape)
        self.nbytes = self.size  # what the split would be as an array

    def __len__(self) -> int:
        return self.shape[0]

    @functools.cached_property
    def fingerprint(self) -> int:
        """A crc32 of what the split is: its identity, its shape, and the values of a few rows."""
        return zlib.crc32(sample(self, IDENTIFYING), zlib.crc32(self.identity + repr(self.shape).encode()))

    @functools.cached_property
    def sampled(self) -> int:
        """A crc32 of the sizes and of some bytes of its files: content that was changed in place has another one."""
        # Not of their times: a copy of the data on another machine would be other data.
        return zlib.crc32(np.array(map_in_threads(_sampled, self.files), "<u4").tobytes())

    def __getitem__(self, index) -> np.ndarray:
        if isinstance(index, tuple):  # rows first, then what of each row
            some = self[index[0]]
            return some[(*[slice(None)] * (some.ndim + 1 - self.ndim), *index[1:])]
        n = len(self)
        chosen = np.arange(*index.indices(n)) if isinstance(index, slice) else np.asarray(index)
        if chosen.size and chosen.dtype.kind not in "iu":
            raise TypeError(f"rows are chosen by integers or by a slice, not by {chosen.dtype}")
        chosen = chosen.astype(np.int64)
        outside = (chosen < -n) | (chosen >= n)
        if outside.any():
            raise IndexError(f"there are {n} rows, and {chosen[outside].flat[0]} is none of them")
        return self._decoded(np.where(chosen < 0, chosen + n, chosen).ravel()).reshape(*chosen.shape, *self.shape[1:])

    def __array__(self, dtype=None, copy=None):
        raise TypeError(f"{self.nbytes / 1e9:.3g} GB of rows are read when they are asked for, not all at once")

    def select(self, indices: Sequence[int]) -> Rows:
        """The rows ``indices``, in that order, as ``Rows``: nothing is read."""
        where = np.arange(len(self))[np.asarray(indices, np.int64)]
        identity = self.identity + zlib.crc32(where).to_bytes(4, "little")
        return Rows(
            lambda some: self.read([int(where[i]) for i in some]), (len(where), *self.shape[1:]), identity, self.files
        )

    def _decoded(self, chosen: np.ndarray) -> np.ndarray:
        unique, where = np.unique(chosen, return_inverse=True)
        if len(unique) < len(chosen):
            return self._decoded(unique)[where]
        return decode_all(self.read, chosen.tolist(), self.shape[1:])


def _sampled(path: str) -> int:
    """A crc32 of a file's size and of pieces from its first byte to its last; 0 of what cannot be read."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            crc, pieces = zlib.crc32(str(size).encode()), min(max(8, size // 2**20), 1024)
            for i in range(pieces):
                file.seek(max(0, (size - PIECE) * i // (pieces - 1)))
                crc = zlib.crc32(file.read(PIECE), crc)
            return crc
    except OSError:  # an error when its turn comes to be read
        return 0


def hold(rows: Rows, keep: int | None, what: str) -> np.ndarray | Rows:
    """All of ``rows`` as an array, decoded once, unless that is more than ``keep`` bytes (None: it never is).

    ``what`` is being read, for the progress bar.
    """
    if keep is not None and rows.nbytes > keep:
        return rows
    return decode_all(rows.read, range(len(rows)), rows.shape[1:], what)


def first(split, n: int | None):
    """The first ``n`` examples of a split (None: all): of an array a view, of ``Rows`` other ``Rows``, not yet read."""
    if n is None or n >= len(split):
        return split
    if isinstance(split, Given):
        return Given(first(split.value, n), split.c[:n])
    return split.select(range(n)) if isinstance(split, Rows) else split[:n]


def sample(split, most: int = 4096) -> np.ndarray:
    """A fixed choice of at most ``most`` examples; of ``Rows`` fewer where they are large (64 MiB, at least 16)."""
    if isinstance(split, Rows):
        most = min(most, max(16, SAMPLE_BYTES // max(math.prod(split.shape[1:]), 1)))
    return split[held_out(len(split), min(len(split), most))[1]]


def held_out(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Chooses ``m`` of ``n`` examples.

    Args:
      n: how many there are.
      m: how many to hold out.

    Returns:
      The indices of the ``n - m`` kept and of the ``m`` held out, each ascending; together all of 0..n-1.
    """
    # RandomState's stream is frozen for good; that of numpy's Generator may change with any release.
    order = np.random.RandomState(0).permutation(n)
    return np.sort(order[m:]), np.sort(order[:m])
