"""The residual encoder and decoder, of one image: blocks before activation (He 2016, 1603.05027) between resamplings.

Nothing is normalised: statistics of a batch would make an example's bound depend on the others, and with a last
convolution that begins at zero each block begins as the identity, which deep VAEs train with (Child 2021, 2011.10650).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from vae_jax.models.convolutional import Down, Up, last_up
from vae_jax.models.fully_connected import posterior
from vae_jax.models.padding import check_image
from vae_jax.models.rate_gates import gated
from vae_jax.models.resampling import conv_same, matrix_same
from vae_jax.types import Event, UserError

BLOCKS = 2  # at each size of the image
KEPT = 2 * BLOCKS  # maps of a stage that its gradient has to know: what each 3x3 convolution reads


def check_event(event: Event, hidden: Sequence[int]) -> None:
    """Raises a ``UserError`` unless ``event`` is an image that is large enough to be halved once for each width."""
    if not hidden:
        raise UserError("--model=resnet has a stage for each width of --hidden, and there is none; name one or more")
    model = f"--model=resnet with --hidden={','.join(map(str, hidden))}"
    check_image(event, 2 ** len(hidden), model, "fewer widths halve it less often, and ")


def largest_map(event: Event, hidden: Sequence[int]) -> int:
    """The numbers in the largest array of an update on a CPU: three shifts of a map, for its kernel's gradient."""
    return max(3 * width * math.prod(n // 2**i for n in event[:2]) for i, width in enumerate(hidden, start=1))


def kept_numbers(event: Event, hidden: Sequence[int], remat: bool, samples: int = 1) -> int:
    """Returns how many numbers of one example the gradient holds at the least, of an encoder and ``samples`` decoders.

    With ``remat`` it is what each stage begins with, and the maps of the one stage that is made again.
    """
    sizes = [math.prod(event[:2]) // 4 ** (i + 1) * width for i, width in enumerate(hidden)]
    if remat:
        return (1 + samples) * sum(sizes) + KEPT * max(sizes) * samples
    return KEPT * (1 + samples) * sum(sizes)


def map_channels(event: Event, hidden: Sequence[int], latent_dim: int) -> int:
    """Returns the channels of ``latent_dim`` latents that lie beside the innermost features.

    Raises:
      UserError: they do not fill the map.
    """
    height, width = (-(-side // 2 ** len(hidden)) for side in event[:2])
    if latent_dim % (height * width):
        raise UserError(
            f"--latent_map lays the latents on a map of {height}x{width}, which --latent_dim={latent_dim} does not "
            f"fill; make it a multiple of {height * width}, or name another number of widths in --hidden"
        )
    return latent_dim // (height * width)


class Same(nn.Module):
    """``[h, w, c] -> [h, w, features]``: a 3x3 convolution and its bias.

    ``zero``: the kernel begins at zero. ``batched_kernels``: as in ``convolutional.Down``.
    """

    features: int
    zero: bool = False
    batched_kernels: bool = False

    @nn.compact
    def __call__(self, x):
        """One image."""
        begin = nn.initializers.zeros if self.zero else nn.initializers.lecun_normal()
        kernel = self.param("kernel", begin, (3, 3, x.shape[-1], self.features), jnp.float32)
        same = matrix_same if self.batched_kernels else conv_same
        return same(x, kernel) + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)


class Block(nn.Module):
    """``h[h, w, c] -> [h, w, c]``: itself, and what two convolutions make of it."""

    beta_range: tuple[float, float] | None = None
    batched_kernels: bool = False

    @nn.compact
    def __call__(self, h, eta=None):
        """One image; ``eta`` is a log beta where there is a ``beta_range``."""
        width = h.shape[-1]
        inner = Same(width, False, self.batched_kernels)(nn.silu(gated(h, eta, self.beta_range)))
        # The second convolution begins at zero and so the block as the identity: depth costs nothing at first (Goyal
        # 2017, 1706.02677, section 5.1; Zhang 2019, 1901.09321).
        return h + Same(width, True, self.batched_kernels)(nn.silu(gated(inner, eta, self.beta_range)))


def _stage(module, number: int, resampled, h, eta):
    """The blocks of one stage behind its change of size ``resampled``, a module or None for none."""
    h = h if resampled is None else resampled(h)
    for i in range(BLOCKS * number, BLOCKS * (number + 1)):
        h = Block(module.beta_range, module.batched_kernels, name=f"Block_{i}")(h, eta)
    return h


class Encoder(nn.Module):
    """``x[h, w, c] -> (mean[d], logvar[d])``; x is centred at 0.5, the middle of the pixel range.

    Each width halves the image. With ``beta_range`` it is called with a log beta as well, ``(x, eta)``, and its hidden
    units are gated by it. With ``remat`` a stage is made again for its gradient and nothing of it held until then (Chen
    2016, 1604.06174). With ``map_channels`` z is as many channels beside the innermost features, laid flat.
    """

    latent_dim: int
    hidden: Sequence[int]
    beta_range: tuple[float, float] | None = None
    batched_kernels: bool = False
    remat: bool = False
    map_channels: int | None = None

    @nn.compact
    def __call__(self, x, eta=None):
        """One image."""
        h = x - 0.5
        for i, width in enumerate(self.hidden):

            def stage(module, h, eta, i=i, width=width):
                return _stage(module, i, Down(width, module.batched_kernels, name=f"Down_{i}"), h, eta)

            h = (nn.remat(stage) if self.remat else stage)(self, h, eta)
        h = nn.silu(gated(h, eta, self.beta_range))
        if self.map_channels is None:
            return posterior(jnp.reshape(h, -1), self.latent_dim)
        return tuple(jnp.reshape(numbers, -1) for numbers in posterior(h, self.map_channels))


class Decoder(nn.Module):
    """``z[d] -> theta[theta_shape]``, the encoder mirrored; no squashing: each likelihood takes unconstrained numbers.

    ``theta_shape`` is the event with any axes before and after it; theta at a pixel comes from that pixel's channels.
    With ``beta_range`` it is called with a log beta as well, ``(z, eta)``, and its hidden units are gated by it.
    """

    event: Sequence[int]
    theta_shape: Sequence[int]
    hidden: Sequence[int]
    beta_range: tuple[float, float] | None = None
    batched_kernels: bool = False
    remat: bool = False
    map_channels: int | None = None

    @nn.compact
    def __call__(self, z, eta=None):
        """One latent vector."""
        height, width = (n // 2 ** len(self.hidden) for n in self.event[:2])
        if self.map_channels is None:
            h = nn.Dense(height * width * self.hidden[0])(z).reshape(height, width, self.hidden[0])
        else:
            h = nn.Dense(self.hidden[0])(z.reshape(height, width, self.map_channels))
        for i, channels in enumerate(self.hidden):

            def stage(module, h, eta, i=i, channels=channels):
                up = Up(channels, module.batched_kernels, name=f"Up_{i - 1}") if i else None
                return _stage(module, i, up, h, eta)

            h = (nn.remat(stage) if self.remat else stage)(self, h, eta)
        h = nn.silu(gated(h, eta, self.beta_range))
        return last_up(h, self.event, self.theta_shape, self.batched_kernels)
