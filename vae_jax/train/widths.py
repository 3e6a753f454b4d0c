"""Batches of sentences of similar length, each as wide as it has to be: less padding is computed.

An epoch is sorted by length and cut into batches, which then come in random order, so each example is still seen once
an epoch and the expected gradient of an update is what it was; but the examples of a batch are alike in their length,
and so gradients differ more between batches than those of batches of all lengths. What one batch is worth does not
change: padding adds nothing to a loss.

A compiled program has fixed shapes: it holds the gradient at each of a few widths, and a batch takes the narrowest that
it fits in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.types import Array, beside, condition_of, value_of


def choose_widths(lengths: np.ndarray, count: int) -> tuple[int, ...]:
    """Returns at most ``count`` widths, increasing, with which rows of ``lengths [n]`` have the least padding.

    The best widths for rows of at most m places are the best fewer ones for rows of at most some j < m, and m: all j
    are tried (Bellman 1957), so the result is exact where each batch holds rows of one length.
    """
    longest = int(lengths.max())
    below = np.concatenate([[0], np.cumsum(np.bincount(lengths, minlength=longest + 1)[1:])])  # of at most m places
    cost, chosen = np.where(np.arange(longest + 1) > 0, np.inf, 0.0), [()] * (longest + 1)
    for _ in range(count):
        at = np.arange(longest + 1)
        # Of rows longer than j and no longer than m, each takes m places.
        total = cost[:, None] + np.where(at[:, None] < at, (below - below[:, None]) * at, np.inf)
        best = total.argmin(axis=0)
        better = total.min(axis=0) < cost
        chosen = [(*chosen[best[m]], m) if better[m] else chosen[m] for m in range(longest + 1)]
        cost = np.minimum(cost, total.min(axis=0))
    return chosen[longest]


def narrowed(gradient: Callable, widths: tuple[int, ...]) -> Callable:
    """Makes ``(fixed, (x, keys, eta), longest) -> `` what ``gradient(fixed, batch)`` is of the batch without padding.

    Args:
      gradient: ``(fixed, (x[b, ..., t], keys[b], eta)) -> tree``; what lies behind the end of a row is nothing to it.
      widths: increasing; the last holds every row.
    """

    def of(width: int) -> Callable:
        def at(fixed: Any, batch: tuple) -> Any:
            x, *others = batch
            return gradient(fixed, (beside(value_of(x)[..., :width], condition_of(x)), *others))

        return at

    branches = [of(width) for width in widths]

    def narrow(fixed: Any, batch: tuple, longest: Array) -> Any:
        return jax.lax.switch(jnp.searchsorted(jnp.asarray(widths), longest), branches, fixed, batch)

    return narrow
