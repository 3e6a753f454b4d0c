"""Bits-back coding: the negative ELBO as a number of bytes (Townsend 2019, 1901.04866).

A code z is not chosen but decoded, from bits that are there already, by q(z|x); then x is written by p(x|z) and z by
p(z). Who reads gets z, x, and by writing z again the bits that had been spent. On average an example costs its negative
ELBO. The entropy coder is a stack (asymmetric numeral systems, Duda 2009), constriction's.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np

from vae_jax.trained.compression.tables import AT_ONCE, Networks, Rounding, gaussian, weights
from vae_jax.types import UserError


class Fineness(NamedTuple):
    """The grid of the codes: 2^bits points a unit, within -reach and reach."""

    bits: int
    reach: int


class Block(NamedTuple):
    """Some examples as bits: the words of the stack, how many were there before, and what was near a half."""

    words: np.ndarray
    before: int
    known: list[tuple[str, int, int]]


def coder(words: np.ndarray | None = None):
    """Returns constriction's stack.

    Raises:
      UserError: it is not installed.
    """
    try:
        import constriction
    except ImportError as error:
        raise UserError('compress needs an entropy coder: pip install "vae_jax[compress]" (constriction)') from error
    return constriction.stream.stack.AnsCoder(words)


def fineness(net: Networks, x: np.ndarray) -> Fineness:
    """Returns a grid that is fine beside the narrowest posteriors of some examples, and wide enough for all of them."""
    means, log_taus = zip(*(net.posterior(x[i : i + AT_ONCE]) for i in range(0, len(x), AT_ONCE)))
    mean, tau = np.concatenate(means), np.exp(np.concatenate(log_taus))
    bits = math.ceil(3 - math.log2(max(np.quantile(tau, 0.01), 1e-6)))
    reach = math.ceil(max(8.0, float(np.max(np.abs(mean) + 6 * tau))))
    return Fineness(min(max(bits, 5), 12), reach)


def first_words(count: int) -> np.ndarray:
    """Returns the bits that are there before anything is written: as good as random, and known to who reads."""
    stream = b"".join(hashlib.sha256(f"bits back {i}".encode()).digest() for i in range(-(-count // 8)))
    return np.frombuffer(stream, "<u4")[:count].astype(np.uint32)


def _codes(fine: Fineness):
    import constriction

    most = fine.reach * 2**fine.bits
    return constriction.stream.model.QuantizedGaussian(-most, most)


def _levels_model():
    import constriction

    return constriction.stream.model.Categorical(perfect=False)


def _flat(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1)


def encode(net: Networks, fine: Fineness, levels: np.ndarray, x: np.ndarray) -> Block:
    """Writes examples.

    Args:
      net: the model.
      fine: the grid of the codes.
      levels: the index of the level of each dimension, ``[n, D]``.
      x: the same examples as the model sees them, ``[n, *event]``.
    """
    unit, rounding = 2.0**fine.bits, Rounding()
    latents = net.posterior(x[:1])[0].shape[1]
    # A code spends at most as many bits as the grid has.
    before = math.ceil(AT_ONCE * latents * math.log2(2 * fine.reach * unit) / 32)
    stack, codes, table = coder(first_words(before)), _codes(fine), _levels_model()
    for start in range(0, len(x), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        z = stack.decode(codes, *map(_flat, gaussian(*net.posterior(x[part]), fine.bits, f"{start} q", rounding)))
        z = z.reshape(-1, latents)
        p = weights(net.log_probs(z / unit), net.counts, f"{start} p", rounding)
        stack.encode_reverse(_flat(levels[part]).astype(np.int32), table, p.reshape(-1, p.shape[-1]))
        stack.encode_reverse(_flat(z), codes, *_prior(z, unit))
    return Block(stack.get_compressed(), before, rounding.known)


def decode(net: Networks, fine: Fineness, block: Block, count: int, event) -> np.ndarray:
    """Reads ``count`` examples: the index of the level of each dimension, ``[n, D]``.

    Raises:
      UserError: what is left at the end is not what was there at the beginning: these are other bits, or another model.
    """
    unit, rounding = 2.0**fine.bits, Rounding(block.known)
    stack, codes, table, parts = coder(block.words), _codes(fine), _levels_model(), []
    latents = net.posterior(np.zeros((1, *event)))[0].shape[1]
    for start in reversed(range(0, count, AT_ONCE)):
        n = min(AT_ONCE, count - start)
        z = stack.decode(codes, *_prior(np.zeros((n, latents)), unit)).reshape(n, latents)
        p = weights(net.log_probs(z / unit), net.counts, f"{start} p", rounding)
        levels = stack.decode(table, p.reshape(-1, p.shape[-1])).reshape(n, -1)
        x = np.take_along_axis(net.levels, levels, axis=0).reshape(n, *event)
        q = gaussian(*net.posterior(x), fine.bits, f"{start} q", rounding)
        stack.encode_reverse(_flat(z), codes, *map(_flat, q))
        parts.append(levels)
    if not np.array_equal(stack.get_compressed(), first_words(block.before)):
        raise UserError("the file does not decode to its own beginning: it is damaged, or another model wrote it")
    return np.concatenate(parts[::-1])


def _prior(z: Any, unit: float) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(z.size), np.full(z.size, unit)
