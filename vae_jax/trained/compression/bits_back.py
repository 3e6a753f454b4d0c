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

from vae_jax.trained.compression.networks import AT_ONCE, Networks
from vae_jax.trained.compression.tables import Rounding, gaussian
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


class _Read:
    """Takes symbols from a stack (``networks.Code``)."""

    def __init__(self, stack):
        self._stack = stack

    def table(self, symbols: None, p: np.ndarray) -> np.ndarray:
        """Takes symbols by their probabilities ``p [m, k]``."""
        return self._stack.decode(_tables(), p) if len(p) else np.zeros(0, int)

    def uniform(self, symbols: None, sizes: np.ndarray) -> np.ndarray:
        """Takes symbols below ``sizes [m]``."""
        return self._stack.decode(_uniform(), sizes.astype(np.int32)) if len(sizes) else np.zeros(0, int)


class _Write:
    """Keeps symbols in the order in which they will be read (``networks.Code``), and puts them on a stack."""

    def __init__(self):
        self._parts: list[tuple] = []

    def table(self, symbols: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Keeps symbols and their probabilities ``p [m, k]``."""
        self._parts.append((symbols, _tables(), p))
        return symbols

    def uniform(self, symbols: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Keeps symbols below ``sizes [m]``."""
        self._parts.append((symbols, _uniform(), sizes.astype(np.int32)))
        return symbols

    def put(self, stack) -> None:
        """Puts all on a stack, so that the first part is on top."""
        for symbols, model, parameters in reversed(self._parts):
            if len(symbols):
                stack.encode_reverse(symbols.astype(np.int32), model, parameters)


def fineness(net: Networks, values: np.ndarray) -> Fineness:
    """Returns a grid that is fine beside the narrowest posteriors of some examples, and wide enough for all of them."""
    means, log_taus = zip(*(net.posterior(values[i : i + AT_ONCE]) for i in range(0, len(values), AT_ONCE)))
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


def _tables():
    import constriction

    return constriction.stream.model.Categorical(perfect=False)


def _uniform():
    import constriction

    return constriction.stream.model.Uniform()


def _flat(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1)


def encode(net: Networks, fine: Fineness, values: np.ndarray) -> Block:
    """Writes examples, the values ``[n, D]`` of each (``compression.values``)."""
    # A code spends at most as many bits as the grid has; later ones have those of the examples before.
    needed = math.ceil(AT_ONCE * net.latents * math.log2(2 * fine.reach * 2.0**fine.bits) / 32)
    before = needed
    while (block := _encoded(net, fine, values, needed, before)) is None:
        before *= 2
    return block


def _encoded(net: Networks, fine: Fineness, values: np.ndarray, needed: int, before: int) -> Block | None:
    """Writes examples after so many words; None where these were not enough."""
    unit, rounding = 2.0**fine.bits, Rounding()
    stack, codes = coder(first_words(before)), _codes(fine)
    for start in range(0, len(values), AT_ONCE):
        if stack.num_words() < needed:
            return None
        part = values[start : start + AT_ONCE]
        z = stack.decode(codes, *map(_flat, gaussian(*net.posterior(part), fine.bits, f"{start} q", rounding)))
        writer = _Write()
        net.walk(z.reshape(len(part), -1) / unit, part, writer, f"{start} p", rounding)
        writer.put(stack)
        stack.encode_reverse(z, codes, *_prior(z, unit))
    return Block(stack.get_compressed(), before, rounding.known)


def decode(net: Networks, fine: Fineness, block: Block, count: int) -> np.ndarray:
    """Reads ``count`` examples: their values, ``[n, D]``.

    Raises:
      UserError: what is left at the end is not what was there at the beginning: these are other bits, or another model.
    """
    unit, rounding = 2.0**fine.bits, Rounding(block.known)
    stack, codes, parts = coder(block.words), _codes(fine), []
    for start in reversed(range(0, count, AT_ONCE)):
        n = min(AT_ONCE, count - start)
        z = stack.decode(codes, *_prior(np.zeros((n, net.latents)), unit)).reshape(n, -1)
        values = net.walk(z / unit, None, _Read(stack), f"{start} p", rounding)
        q = gaussian(*net.posterior(values), fine.bits, f"{start} q", rounding)
        stack.encode_reverse(_flat(z), codes, *map(_flat, q))
        parts.append(values)
    if not np.array_equal(stack.get_compressed(), first_words(block.before)):
        raise UserError("the file does not decode to its own beginning: it is damaged, or another model wrote it")
    return np.concatenate(parts[::-1])


def _prior(z: Any, unit: float) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(z.size), np.full(z.size, unit)
