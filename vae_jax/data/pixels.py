"""From raw grey levels to the x of a likelihood, and from nats to bits per dimension."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vae_jax.types import Array, UserError

PIXELS = ("grey", "binary", "sampled", "dequantised")


def preprocess(mode: str, levels: int | None) -> Callable[[Array, Array], Array]:
    """How one raw example becomes x.

    Args:
      mode: what --pixels says.
        ``grey``: raw / (levels - 1), so that x lies in [0, 1]; floats pass unchanged.
        ``binary``: 1 where grey is above 0.5, else 0.
        ``sampled``: a fresh Bernoulli draw with probability grey (Burda 2016, 1509.00519).
        ``dequantised``: (raw + u) / levels with u uniform on [0, 1): a continuous variable whose density
          bounds the probability of the levels (Theis 2016, 1511.01844).
      levels: the data set's number of grey levels; None for floats.

    Returns:
      ``(key, raw[event]) -> x[event]``, float32, for one example; ``vmap`` it over keys and examples.
      ``sampled`` and ``dequantised`` consume the key, the others ignore it.

    Raises:
      UserError: an unknown mode, or ``dequantised`` for floats, which have no steps to fill.
    """
    _check_mode(mode, levels)

    def grey(raw):
        raw = jnp.asarray(raw, jnp.float32)
        return raw if levels is None else raw / (levels - 1)

    def uniform(key, shape):
        # 16 bits of noise under 8 bits of level: raw + u is exact in float32, and x stays below 1.
        return jax.random.bits(key, shape, jnp.uint16).astype(jnp.float32) / 65536

    return {
        "grey": lambda key, raw: grey(raw),
        "binary": lambda key, raw: (grey(raw) > 0.5).astype(jnp.float32),
        "sampled": lambda key, raw: jax.random.bernoulli(key, grey(raw)).astype(jnp.float32),
        "dequantised": lambda key, raw: (jnp.asarray(raw, jnp.float32) + uniform(key, jnp.shape(raw))) / levels,
    }[mode]


def bits_offset(mode: str, levels: int | None) -> float:
    """What to add to NLL / (D ln 2) of a density of x to get bits per dimension: -log2 of a level's width.

    A discrete likelihood (categorical, discretised logistic, Bernoulli) needs no offset, whatever the pixels.

    Args:
      mode: as for ``preprocess``.
      levels: as for ``preprocess``.

    Returns:
      ``dequantised``: log2(levels), and the result bounds the bits of a discrete model. ``grey``:
      log2(levels - 1), the density times the spacing of the grid it is evaluated on: comparable, but it
      bounds nothing. 0 where x is 0 or 1, and for floats, which have no levels.

    Raises:
      UserError: as ``preprocess``.
    """
    _check_mode(mode, levels)
    if mode in ("binary", "sampled") or levels is None:
        return 0.0
    return math.log2(levels if mode == "dequantised" else levels - 1)


def _check_mode(mode, levels):
    if mode not in PIXELS:
        raise UserError(f"--pixels={mode}: it must be one of {', '.join(PIXELS)}")
    if mode == "dequantised" and levels is None:
        raise UserError(
            "--pixels=dequantised needs uint8 grey levels, and this data set holds floats; use "
            "--pixels=grey, which leaves floats as they are"
        )
