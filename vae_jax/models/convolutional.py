"""The convolutional encoder and decoder, of one image: the architecture of Burgess 2018 (1804.03599, appendix A)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from vae_jax.models.fully_connected import posterior
from vae_jax.models.padding import up_to
from vae_jax.models.rate_gates import gated
from vae_jax.models.resampling import conv_down, conv_up, matrix_down, matrix_up
from vae_jax.types import Event

CHANNELS = 32
# An output of conv_up sums 2x2 of the kernel's 4x4 entries: a quarter of what its shape says, hence the 4.
_up_init = nn.initializers.variance_scaling(4.0, "fan_in", "truncated_normal", in_axis=-1, out_axis=-2)


def num_levels(event: Event) -> int:
    """How often an image is halved, at least 2 and at most 4 times: 64 -> 4 times, 32 -> 3, 28 and 8 -> 2.

    Sides divisible by 4 are halved while both stay even and the result has 4 pixels a side. Others are padded anyway
    (``inner_size``), so it is their size alone that counts: 178x218 -> 4 times.
    """
    exact = event[0] % 4 == event[1] % 4 == 0
    sides, levels = up_to(event, 4)[:2], 2
    while levels < 4 and all(n >= 4 * 2 ** (levels + 1) and not (exact and n % 2 ** (levels + 1)) for n in sides):
        levels += 1
    return levels


def inner_size(event: Event) -> Event:
    """The size at which the networks work: both sides divisible as often as ``num_levels`` says."""
    return up_to(event, 2 ** num_levels(event))


def largest_map(event: Event) -> int:
    """The numbers in the first map of the encoder and the last but one of the decoder, at half the image's size."""
    return CHANNELS * (event[0] // 2) * (event[1] // 2)


class Down(nn.Module):
    """``[h, w, c] -> [h/2, w/2, features]``: a 4x4 convolution of stride 2 and its bias.

    ``batched_kernels``: as matrix products on every platform, for kernels that ``vmap`` will batch.
    """

    features: int
    batched_kernels: bool = False

    @nn.compact
    def __call__(self, x):
        """One image."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (4, 4, x.shape[-1], self.features), jnp.float32)
        down = matrix_down if self.batched_kernels else conv_down
        return down(x, kernel) + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)


class Up(nn.Module):
    """``[h, w, c] -> [2h, 2w, features]``: the transpose of such a convolution, and a bias.

    ``batched_kernels``: as in ``Down``.
    """

    features: int
    batched_kernels: bool = False

    @nn.compact
    def __call__(self, x):
        """One image."""
        kernel = self.param("kernel", _up_init, (4, 4, self.features, x.shape[-1]), jnp.float32)
        up = matrix_up if self.batched_kernels else conv_up
        return up(x, kernel) + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)


class Encoder(nn.Module):
    """``x[h, w, c] -> (mean[d], logvar[d])``; x is centred at 0.5, the middle of the pixel range.

    With ``beta_range`` it is called with a log beta as well, ``(x, eta)``, and its hidden units are gated by it.
    """

    latent_dim: int
    levels: int
    hidden: Sequence[int]
    beta_range: tuple[float, float] | None = None
    batched_kernels: bool = False

    @nn.compact
    def __call__(self, x, eta=None):
        """One image."""
        h = x - 0.5
        for _ in range(self.levels):
            h = nn.silu(gated(Down(CHANNELS, self.batched_kernels)(h), eta, self.beta_range))
        h = jnp.reshape(h, -1)
        for width in self.hidden:
            h = nn.silu(gated(nn.Dense(width)(h), eta, self.beta_range))
        return posterior(h, self.latent_dim)


class Decoder(nn.Module):
    """``z[d] -> theta[theta_shape]``, the encoder mirrored; no squashing: each likelihood takes unconstrained numbers.

    ``theta_shape`` is the event with any axes before and after it; theta at a pixel comes from that pixel's channels.
    With ``beta_range`` it is called with a log beta as well, ``(z, eta)``, and its hidden units are gated by it.
    """

    event: Sequence[int]
    theta_shape: Sequence[int]
    levels: int
    hidden: Sequence[int]
    beta_range: tuple[float, float] | None = None
    batched_kernels: bool = False

    @nn.compact
    def __call__(self, z, eta=None):
        """One latent vector."""
        h = z
        for width in self.hidden:
            h = nn.silu(gated(nn.Dense(width)(h), eta, self.beta_range))
        height, width = (n // 2**self.levels for n in self.event[:2])
        grid = gated(nn.Dense(height * width * CHANNELS)(h), eta, self.beta_range)
        h = nn.silu(grid).reshape(height, width, CHANNELS)
        for _ in range(self.levels - 1):
            h = nn.silu(gated(Up(CHANNELS, self.batched_kernels)(h), eta, self.beta_range))
        return last_up(h, self.event, self.theta_shape, self.batched_kernels)


def last_up(h, event: Event, theta_shape: Event, batched_kernels: bool):
    """The last layer of a decoder of images: ``h[h/2, w/2, c] -> theta[theta_shape]``, inside of its ``__call__``."""
    numbers = math.prod(theta_shape) // (event[0] * event[1])
    return pixels_to_theta(Up(numbers, batched_kernels, name="theta")(h), event, theta_shape)


def pixels_to_theta(h, event: Event, theta_shape: Event):
    """Moves the channels of ``h[h, w, n]`` to the axes of ``theta_shape`` around the two axes of the pixels.

    Args:
      h: n = prod(theta_shape) / (h w) numbers for each pixel.
      event: ``(h, w, c)``.
      theta_shape: ``(*before, h, w, c, *after)``.

    Raises:
      ValueError: where ``theta_shape`` does not hold the event.
    """
    event, theta_shape = tuple(event), tuple(theta_shape)
    starts = [i for i in range(len(theta_shape)) if theta_shape[i : i + 3] == event]
    if not starts:
        raise ValueError(f"theta_shape {theta_shape} does not hold the event {event}")
    before = theta_shape[: starts[0]]
    h = jnp.reshape(h, (*event[:2], *before, *theta_shape[starts[0] + 2 :]))
    return jnp.moveaxis(h, (0, 1), (len(before), len(before) + 1))
