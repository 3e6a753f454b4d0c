"""How long sentences are, and how to pad them less: buckets of one width each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.likelihoods.tokens import PAD


def lengths(tokens: np.ndarray) -> np.ndarray:
    """The tokens of each sentence, ``EOS`` included and ``PAD`` not, ``[n]``."""
    return np.count_nonzero(tokens != PAD, axis=-1)


def words_of(tokens: np.ndarray) -> int:
    """How many tokens count for the perplexity: all but ``PAD``, with one ``EOS`` a sentence."""
    return int(np.count_nonzero(tokens != PAD))


class Bucket(NamedTuple):
    """Sentences of similar length.

    Attributes:
      index: ``[m]``, which rows they are, ascending.
      tokens: ``[m, width]``, those rows without the columns that are ``PAD`` in all of them.
    """

    index: np.ndarray
    tokens: np.ndarray


def buckets(tokens: np.ndarray, widths: Sequence[int]) -> list[Bucket]:
    """Puts each sentence into the narrowest of ``widths`` that holds it, so that there is one compilation for each.

    Args:
      tokens: ``[n, t]``.
      widths: e.g. from ``propose_widths``.

    Returns:
      A ``Bucket`` for each width that has sentences, narrowest first; together they have every row once.

    Raises:
      ValueError: if a sentence is longer than the widest.
    """
    widths = np.unique(np.asarray(widths, np.int64))
    length = lengths(tokens)
    if length.max(initial=0) > widths[-1]:
        raise ValueError(f"a sentence has {length.max()} tokens and the widest bucket {widths[-1]}")
    which = np.searchsorted(widths, length)
    chosen = [(width, np.flatnonzero(which == i)) for i, width in enumerate(widths)]
    return [Bucket(index, tokens[index, :width]) for width, index in chosen if len(index)]


def propose_widths(tokens: np.ndarray, most: int) -> tuple[int, ...]:
    """The widths, at most ``most`` of them, that need the least padding for these sentences; ascending.

    Exact: with ``best[j]`` the least cost of the ``j`` shortest lengths in so many buckets, another bucket that ends at
    ``j`` begins at some ``i``, and its sentences all get the width of length ``j``.
    """
    values, counts = np.unique(lengths(tokens), return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])  # how many sentences are among the j shortest lengths
    cost = (below[None, 1:] - below[:-1, None]) * values[None, :].astype(np.float64)  # [i, j]: bucket of lengths i..j
    cost[np.tril_indices(len(values), -1)] = np.inf
    best, begins = cost[0], []
    for _ in range(min(most, len(values)) - 1):
        ways = np.concatenate([[np.inf], best[:-1]])[:, None] + cost
        begins.append(ways.argmin(0))
        best = ways.min(0)
    end, widths = len(values) - 1, []
    for begin in reversed(begins):
        widths.append(int(values[end]))
        end = begin[end] - 1
    return (int(values[end]), *reversed(widths))


def padding_share(tokens: np.ndarray, widths: Sequence[int]) -> tuple[float, float]:
    """The share of all positions that is padding: of ``tokens [n, t]`` as they are, and in buckets of ``widths``."""
    words = words_of(tokens)
    return 1 - words / tokens.size, 1 - words / sum(bucket.tokens.size for bucket in buckets(tokens, widths))
