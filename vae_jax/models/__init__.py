"""Encoders and decoders: functions ``(event, theta_shape, latent_dim, hidden, beta_range, batched_kernels) -> VAE``.

This package is the only importer of Flax, for a ``VAE`` is three plain functions. A model of your own is two modules of
one example, handed to ``from_linen`` or ``from_nnx``, or three functions without Flax.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.models.bridges import from_linen, from_nnx
from vae_jax.types import VAE, Event, UserError

__all__ = ["conv", "from_linen", "from_nnx", "hierarchy", "ladder", "mixed", "mlp", "recurrent", "resnet"]


def mlp(
    event: Event,
    theta_shape: Event,
    latent_dim: int,
    hidden: tuple[int, ...] = (512, 512),
    beta_range: tuple[float, float] | None = None,
    batched_kernels: bool = False,
) -> VAE:
    """Fully connected, one SiLU layer for each number in ``hidden``; the decoder mirrors the encoder.

    With ``beta_range`` it is one model for every beta between its ends (``rate_gates.py``); with no ``hidden`` as well,
    exactly a linear VAE with the gates of Bae 2022 (2212.03905). ``batched_kernels`` changes nothing here: products
    under ``vmap`` are batched products.
    """
    from vae_jax.models.fully_connected import Decoder, Encoder

    encoder, decoder = Encoder(latent_dim, hidden, beta_range), Decoder(theta_shape, hidden[::-1], beta_range)
    return from_linen(encoder, decoder, event, latent_dim, beta_range)


def conv(
    event: Event,
    theta_shape: Event,
    latent_dim: int,
    hidden: tuple[int, ...] = (256, 256),
    beta_range: tuple[float, float] | None = None,
    batched_kernels: bool = False,
) -> VAE:
    """Strided convolutions (the architecture of Burgess 2018, 1804.03599); sides not divisible by 4 are padded inside.

    Args:
      event, theta_shape, latent_dim, hidden: the shapes.
      beta_range: one model for every beta between its ends (``rate_gates.py``).
      batched_kernels: True where ``vmap`` will batch the kernels, as in a sweep of many runs. Convolutions would become
        grouped ones there, which accelerators are slow at; matrix products become batched ones. Same parameters.

    Raises:
      UserError: for anything but images, and for sides of 1.
    """
    from vae_jax.models.convolutional import Decoder, Encoder, inner_size, largest_map, num_levels
    from vae_jax.models.padding import check_image, padded

    check_image(event, 4, "--model=conv")
    levels = num_levels(event)

    def make(event, theta_shape):
        encoder = Encoder(latent_dim, levels, hidden, beta_range, batched_kernels)
        decoder = Decoder(event, theta_shape, levels, hidden[::-1], beta_range, batched_kernels)
        return from_linen(encoder, decoder, event, latent_dim, beta_range)._replace(largest_map=largest_map(event))

    return padded(make, event, theta_shape, inner_size(event))


def resnet(
    event: Event,
    theta_shape: Event,
    latent_dim: int,
    hidden: tuple[int, ...] = (32, 64),
    beta_range: tuple[float, float] | None = None,
    batched_kernels: bool = False,
    remat: bool = False,
    latent_map: bool = False,
) -> VAE:
    """Residual blocks between strided convolutions; sides that cannot be halved once for each width are padded inside.

    Args:
      event, theta_shape, latent_dim: the shapes.
      hidden: the channels of each stage from the image inwards; a stage halves the image. The decoder mirrors them.
      beta_range, batched_kernels: as for ``conv``.
      remat: a stage is made again for its gradient, and nothing of it held until then; the same parameters.
      latent_map: z lies on the map of the innermost features and is read from it by 1x1 convolutions.

    Raises:
      UserError: for anything but images, for sides below half of 2 to the number of widths, no widths, or latents that
        do not fill the map.
    """
    from vae_jax.models.padding import padded, up_to
    from vae_jax.models.residual import Decoder, Encoder, check_event, largest_map, map_channels

    check_event(event, hidden)
    channels = map_channels(event, hidden, latent_dim) if latent_map else None

    def make(event, theta_shape):
        rest = (beta_range, batched_kernels, remat, channels)
        encoder = Encoder(latent_dim, hidden, *rest)
        decoder = Decoder(event, theta_shape, hidden[::-1], *rest)
        vae = from_linen(encoder, decoder, event, latent_dim, beta_range)
        return vae._replace(largest_map=largest_map(event, hidden))

    return padded(make, event, theta_shape, up_to(event, 2 ** len(hidden)))


def recurrent(
    event: Event,
    theta_shape: Event,
    latent_dim: int,
    hidden: tuple[int, ...] = (256,),
    beta_range: tuple[float, float] | None = None,
    batched_kernels: bool = False,
    cell: str = "lstm",
    embedding: int = 128,
) -> VAE:
    """Sentences: a recurrent encoder and an autoregressive decoder (Bowman 2015, 1511.06349).

    x is ``[2, t]``, targets and inputs of the decoder (``data/words.py``). ``decode_given`` reads the inputs, and
    ``decode`` its own most probable words; ``autoregressive.generate`` writes sentences, drawn or greedy.

    Args:
      event: (2, t).
      theta_shape: (t, k), the logits of k token ids.
      latent_dim: d.
      hidden: one number, the width of the state.
      beta_range: None; there are no gates for these layers.
      batched_kernels: changes nothing here: products under ``vmap`` are batched products.
      cell: "lstm" or "gru".
      embedding: the width of a word's vector; encoder and decoder have their own.

    Raises:
      UserError: shapes of anything but sentences, another cell, or a ``beta_range``.
    """
    from vae_jax.models.autoregressive import GATES, Decoder, Encoder

    if len(event) != 2 or event[0] != 2 or len(theta_shape) != 2 or theta_shape[0] != event[1]:
        raise UserError(f"a recurrent model is for sentences: x (2, t) and theta (t, k), not {event} and {theta_shape}")
    if cell not in GATES:
        raise UserError(f"the cell of a recurrent model must be one of {', '.join(GATES)}, not {cell!r}")
    if len(hidden) != 1:
        raise UserError(f"a recurrent model has one layer, so one hidden width, not {tuple(hidden)}")
    if beta_range is not None:
        raise UserError("a recurrent model is trained for one weight at a time, not for a range of beta")
    length, vocabulary = theta_shape
    encoder = Encoder(latent_dim, vocabulary, cell, embedding, hidden[0])
    decoder = Decoder(vocabulary, length, cell, embedding, hidden[0])

    def decode_given(params, z, x):
        return decoder.apply({"params": params["decoder"]}, z, x)

    return from_linen(encoder, decoder, event, latent_dim)._replace(decode_given=decode_given)


def ladder(
    event: Event,
    theta_shape: Event,
    latent_dim: int,
    hidden: tuple[int, ...] = (512, 256, 128),
    beta_range: tuple[float, float] | None = None,
    batched_kernels: bool = False,
    layers: tuple[int, ...] = (),
    plain: bool = False,
    condition: int = 0,
) -> VAE:
    """The Ladder VAE (Sonderby 2016, 1602.02282) of fully connected networks.

    Args:
      event, theta_shape: the shapes.
      latent_dim: of all layers together.
      hidden: the width of each layer's networks, one number for each layer; () for linear ones.
      beta_range: None; there are no gates for these layers.
      batched_kernels: changes nothing here: products under ``vmap`` are batched products.
      layers: how many latents each stochastic layer has, the one next to x first; they add up to ``latent_dim``.
      plain: the hierarchical VAE in its place, whose inference goes upwards.
      condition: how many numbers a condition has, which every network reads; 0 where there is none.

    Raises:
      UserError: numbers of layers, widths and latents that do not go together, or a ``beta_range``.
    """
    from vae_jax.models.hierarchical import hierarchical

    if sum(layers) != latent_dim or len(layers) < 2:
        raise UserError(f"a hierarchy has two layers of latents or more, not {layers} of together {latent_dim}")
    if hidden and len(hidden) != len(layers):
        raise UserError(f"a hierarchy has one width of --hidden for each layer of latents: {len(layers)}, not {hidden}")
    if beta_range is not None:
        raise UserError("a hierarchy is trained for one weight at a time, not for a range of beta: drop --beta_range")
    return hierarchical(event, theta_shape, layers, hidden or (None,) * len(layers), plain, condition)


def hierarchy(*shapes, **options) -> VAE:
    """The plain hierarchical VAE: as ``ladder``, but each layer is inferred from the one below it."""
    return ladder(*shapes, **options, plain=True)


def mixed(vae: VAE, dtype) -> VAE:
    """The same networks computed in ``dtype``; parameters, posterior and theta stay in float32.

    What is summed over many dimensions (KL, likelihood) and what is updated by small amounts (parameters, moments)
    loses too much in 8 bits of mantissa; the products inside the networks do not (Micikevicius 2018, 1710.03740).

    Args:
      vae: with float32 parameters.
      dtype: of the computation, e.g. ``jnp.bfloat16``.
    """

    def narrow(tree):
        return jax.tree.map(lambda v: v.astype(dtype) if jnp.issubdtype(v.dtype, jnp.floating) else v, tree)

    def wide(tree):
        return jax.tree.map(lambda v: v.astype(jnp.float32) if jnp.issubdtype(v.dtype, jnp.floating) else v, tree)

    def decode_given(params, z, x):
        return wide(vae.decode_given(narrow(params), narrow(z), narrow(x)))

    def latents(params, x, key, num_samples):
        return wide(vae.latents(narrow(params), narrow(x), key, num_samples))

    return VAE(
        init=vae.init,
        prior=vae.prior,
        latents=None if vae.latents is None else latents,
        layers=vae.layers,
        encode=lambda params, x: wide(vae.encode(narrow(params), narrow(x))),
        decode=lambda params, z: wide(vae.decode(narrow(params), narrow(z))),
        decode_given=None if vae.decode_given is None else decode_given,
    )
