"""A model with a condition c beside x, from one without: q(z|x,c) and p(x|z,c) (Sohn 2015; Kingma 2014, 1406.5298).

The decoder reads z and c side by side, as so many latents. How the encoder is told c depends on what it reads: beside
the numbers of a row, as constant planes beside an image's channels, or with what a network puts out of a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vae_jax.gaussian import DiagGaussian
from vae_jax.types import VAE, Event, UserError

PLANES = 4  # at most so many channels beside an image's say what c is
FUSED = 64  # units of the layer that joins c with what is known of a sentence

Make = Callable[[Event, Event, int], VAE]  # (event, theta_shape, latent_dim) -> VAE


def beside_numbers(make: Make, event: Event, theta_shape: Event, latent_dim: int, width: int) -> VAE:
    """Makes a model whose encoder reads x, flattened, with the ``width`` numbers of c after it."""
    wide = (math.prod(event) + width,)
    inner = make(wide, wide, latent_dim)

    def encode(params, own, x):
        return inner.encode(params, jnp.concatenate([jnp.ravel(x.value), x.c.astype(x.value.dtype)]))

    return _joined(make(event, theta_shape, latent_dim + width), inner, encode)


def beside_channels(make: Make, event: Event, theta_shape: Event, latent_dim: int, width: int) -> VAE:
    """Makes a model whose encoder reads images with channels more, each a number that is a linear function of c."""
    planes = min(width, PLANES)
    deep = (*event[:2], event[2] + planes)
    inner = make(deep, deep, latent_dim)

    def first(key):
        return {"planes": jax.nn.initializers.glorot_uniform()(key, (width, planes))}

    def encode(params, own, x):
        same = jnp.broadcast_to(x.c @ own["planes"], (*event[:2], planes))
        return inner.encode(params, jnp.concatenate([x.value, same.astype(x.value.dtype)], axis=-1))

    return _joined(make(event, theta_shape, latent_dim + width), inner, encode, first)


def after_encoder(make: Make, event: Event, theta_shape: Event, latent_dim: int, width: int) -> VAE:
    """Makes a model whose encoder adds to its output a function of that and of c, which begins at 0: for sentences."""
    inner = make(event, theta_shape, latent_dim)

    def first(key):
        kernel = jax.nn.initializers.lecun_normal()(key, (2 * latent_dim + width, FUSED))
        return {"in": kernel, "bias": jnp.zeros(FUSED), "out": jnp.zeros((FUSED, 2 * latent_dim))}

    def encode(params, own, x):
        h = jnp.concatenate(inner.encode(params, x.value))
        hidden = jax.nn.silu(jnp.concatenate([h, x.c.astype(h.dtype)]) @ own["in"] + own["bias"])
        return DiagGaussian(*jnp.split(h + hidden @ own["out"], 2))

    return _joined(make(event, theta_shape, latent_dim + width), inner, encode, first)


def by_event(make: Make, event: Event, theta_shape: Event, latent_dim: int, width: int) -> VAE:
    """Makes a model of a row or of an image as the two above do.

    Raises:
      UserError: an example is neither.
    """
    ways = {1: beside_numbers, 3: beside_channels}
    if len(event) not in ways:
        raise UserError(f"--condition is for rows, images and sentences, and an example has the shape {event}")
    return ways[len(event)](make, event, theta_shape, latent_dim, width)


def _joined(outer: VAE, inner: VAE, encode: Callable, first: Callable = lambda key: {}) -> VAE:
    """Joins the encoder of ``inner`` and the decoder of ``outer``, each of which reads c as well.

    Args:
      outer, inner: whose parameters are ``"encoder"`` and ``"decoder"``.
      encode: ``(params of inner, own, x) -> DiagGaussian``.
      first: ``key -> own``, which stand as ``"condition"`` among the encoder's parameters.
    """

    def init(key):
        encoder, own = inner.init(key)["encoder"], first(jax.random.fold_in(key, 2))
        return {"encoder": {**encoder, **({"condition": own} if own else {})}, "decoder": outer.init(key)["decoder"]}

    def encode_given(params, x):
        encoder = dict(params["encoder"])
        own = encoder.pop("condition", {})
        return encode({**params, "encoder": encoder}, own, x)

    def both(z, c):
        return jnp.concatenate([z, c.astype(z.dtype)])

    read = outer.decode_given
    return outer._replace(
        init=init,
        encode=encode_given,
        decode=lambda params, z: outer.decode(params, both(z.value, z.c)),
        decode_given=None if read is None else lambda params, z, x: read(params, both(z, x.c), x.value),
        largest_map=max(inner.largest_map, outer.largest_map),
    )
