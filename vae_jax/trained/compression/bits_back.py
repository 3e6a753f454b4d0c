"""Bits-back coding: the negative ELBO as a number of bytes (Townsend 2019, 1901.04866).

A code z is not chosen but decoded, from bits that are there already, by q(z|x); then x is written by p(x|z) and z by
p(z). Who reads gets z, x, and by writing z again the bits that had been spent. On average an example costs its negative
ELBO. The entropy coder is a stack (asymmetric numeral systems, Duda 2009), constriction's.
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import numpy as np

from vae_jax.trained.compression.networks import AT_ONCE, Networks
from vae_jax.trained.compression.tables import Rounding, gaussian, weights
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


class PriorCoder:
    """Writes codes by p(z), and reads them.

    Of a mixture the component is coded by bits back as well (Townsend 2019, section 2.3): it is decoded by p(k|z), and
    written by p(k), at the price of log p(z).
    """

    def __init__(self, net: Networks, fine: Fineness, rounding: Rounding):
        log_weight, mean, log_tau = net.prior
        self._rounding, self._codes = rounding, _codes(fine)
        self._mean, self._std = gaussian(mean, log_tau, fine.bits, "prior", rounding)
        self._p = weights(log_weight[None], np.array([len(log_weight)]), "components", rounding)

    def _given(self, z: np.ndarray, call: str) -> np.ndarray:
        """Returns p(k|z) of codes ``[n, d]``, ``[n, k]``."""
        away = (z[:, None] - self._mean) / self._std
        log_p = np.log(self._p) - np.sum(0.5 * np.square(away) + np.log(self._std), axis=-1)
        log_p -= log_p.max(axis=1, keepdims=True)
        log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
        return weights(log_p[:, None], np.array([log_p.shape[1]]), f"{call} k", self._rounding)[:, 0]

    def component(self, stack, z: np.ndarray, call: str) -> np.ndarray:
        """Takes the component of each code from the stack, ``[n]``."""
        return _Read(stack).table(None, self._given(z, call)) if len(self._mean) > 1 else np.zeros(len(z), int)

    def component_back(self, stack, k: np.ndarray, z: np.ndarray, call: str) -> None:
        """Puts the components back that ``component`` took."""
        if len(self._mean) > 1:
            stack.encode_reverse(k.astype(np.int32), _tables(), self._given(z, call))

    def write(self, stack, k: np.ndarray, z: np.ndarray) -> None:
        """Writes codes ``[n, d]`` and their components."""
        stack.encode_reverse(_flat(z), self._codes, _flat(self._mean[k]), _flat(self._std[k]))
        if len(self._mean) > 1:
            stack.encode_reverse(k.astype(np.int32), _tables(), np.repeat(self._p, len(k), axis=0))

    def read(self, stack, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads n codes: their components and themselves."""
        k = _Read(stack).table(None, np.repeat(self._p, n, axis=0)) if len(self._mean) > 1 else np.zeros(n, int)
        z = stack.decode(self._codes, _flat(self._mean[k]), _flat(self._std[k]))
        return k, z.reshape(n, -1)


def encode(net: Networks, fine: Fineness, values: np.ndarray) -> Block:
    """Writes examples, the values ``[n, D]`` of each (``compression.values``)."""
    # A code spends at most as many bits as the grid has, a component 24; later ones have those of the examples before.
    needed = math.ceil(AT_ONCE * (net.latents * math.log2(2 * fine.reach * 2.0**fine.bits)) / 32)
    needed += AT_ONCE if len(net.prior[0]) > 1 else 0
    before = needed
    while (block := _encoded(net, fine, values, needed, before)) is None:
        before *= 2
    return block


def _encoded(net: Networks, fine: Fineness, values: np.ndarray, needed: int, before: int) -> Block | None:
    """Writes examples after so many words; None where these were not enough."""
    unit, rounding = 2.0**fine.bits, Rounding()
    stack, codes, prior = coder(first_words(before)), _codes(fine), PriorCoder(net, fine, rounding)
    for start in range(0, len(values), AT_ONCE):
        if stack.num_words() < needed:
            return None
        part = values[start : start + AT_ONCE]
        z = stack.decode(codes, *map(_flat, gaussian(*net.posterior(part), fine.bits, f"{start} q", rounding)))
        z = z.reshape(len(part), -1)
        k, writer = prior.component(stack, z, f"{start}"), _Write()
        net.walk(z / unit, part, writer, f"{start} p", rounding)
        writer.put(stack)
        prior.write(stack, k, z)
    return Block(stack.get_compressed(), before, rounding.known)


def decode(net: Networks, fine: Fineness, block: Block, count: int) -> np.ndarray:
    """Reads ``count`` examples: their values, ``[n, D]``.

    Raises:
      UserError: what is left at the end is not what was there at the beginning: these are other bits, or another model.
    """
    unit, rounding = 2.0**fine.bits, Rounding(block.known)
    stack, codes, prior, parts = coder(block.words), _codes(fine), PriorCoder(net, fine, rounding), []
    for start in reversed(range(0, count, AT_ONCE)):
        k, z = prior.read(stack, min(AT_ONCE, count - start))
        values = net.walk(z / unit, None, _Read(stack), f"{start} p", rounding)
        prior.component_back(stack, k, z, f"{start}")
        q = gaussian(*net.posterior(values), fine.bits, f"{start} q", rounding)
        stack.encode_reverse(_flat(z), codes, *map(_flat, q))
        parts.append(values)
    if not np.array_equal(stack.get_compressed(), first_words(block.before)):
        raise UserError("the file does not decode to its own beginning: it is damaged, or another model wrote it")
    return np.concatenate(parts[::-1])
