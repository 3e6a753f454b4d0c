"""Encoders and decoders. Each model is a function ``(event, theta_shape, latent_dim, hidden) -> VAE``.

This package is the only importer of Flax, and ``from_linen`` the only bridge to it: a ``VAE`` is three plain functions.
A model of your own is two unbatched Linen modules handed to ``from_linen``, or three functions without Flax.
"""

from __future__ import annotations

from vae_jax.types import VAE, Event


def from_linen(encoder, decoder, event: Event, latent_dim: int) -> VAE:
    """A ``VAE`` from two unbatched Linen modules.

    Args:
      encoder: a module ``x[event] -> (mean[d], logvar[d])``.
      decoder: a module ``z[d] -> theta``.
      event: the shape of one example.
      latent_dim: d.
    """
    import jax
    import jax.numpy as jnp

    from vae_jax.gaussian import DiagGaussian

    def init(key):
        encoder_key, decoder_key = jax.random.split(key)
        return {
            "encoder": encoder.init(encoder_key, jnp.zeros(event))["params"],
            "decoder": decoder.init(decoder_key, jnp.zeros(latent_dim))["params"],
        }

    def encode(params, x):
        return DiagGaussian(*encoder.apply({"params": params["encoder"]}, x))

    def decode(params, z):
        return decoder.apply({"params": params["decoder"]}, z)

    return VAE(init, encode, decode)


def mlp(event: Event, theta_shape: Event, latent_dim: int, hidden: tuple[int, ...] = (512, 512)) -> VAE:
    """Fully connected, one SiLU layer for each number in ``hidden``; the decoder mirrors the encoder."""
    from vae_jax.models.fully_connected import Decoder, Encoder

    return from_linen(Encoder(latent_dim, hidden), Decoder(theta_shape, hidden[::-1]), event, latent_dim)


def conv(event: Event, theta_shape: Event, latent_dim: int, hidden: tuple[int, ...] = (256, 256)) -> VAE:
    """Strided convolutions for images whose sides are divisible by 4 (the architecture of Burgess 2018, 1804.03599).

    Raises:
      UserError: for any other event.
    """
    from vae_jax.models.convolutional import Decoder, Encoder, check_event, num_levels

    check_event(event)
    levels = num_levels(event)
    encoder = Encoder(latent_dim, levels, hidden)
    return from_linen(encoder, Decoder(event, theta_shape, levels, hidden[::-1]), event, latent_dim)
