"""The fully connected encoder and decoder, of one example.

SiLU, not ReLU: a unit that rounding switches on or off sends Adam a whole learning rate another way, so with ReLU one
device and eight drifted 7e-3 apart in 20 steps; a smooth unit keeps them equal, and trains faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from vae_jax.models.rate_gates import gated


def posterior(h, latent_dim: int):
    """The last layer of every encoder: ``h[n] -> (mean[d], logvar[d])``, inside of its ``__call__``."""
    return nn.Dense(latent_dim, name="mean")(h), nn.Dense(latent_dim, name="logvar")(h)


class Encoder(nn.Module):
    """``x[event] -> (mean[d], logvar[d])``; x is centred at 0.5, the middle of the pixel range.

    With ``beta_range`` it is called with a log beta as well, ``(x, eta)``, and its hidden units are gated by it.
    """

    latent_dim: int
    hidden: Sequence[int]
    beta_range: tuple[float, float] | None = None

    @nn.compact
    def __call__(self, x, eta=None):
        """One example."""
        h = jnp.reshape(x, -1) - 0.5
        for width in self.hidden:
            h = nn.silu(gated(nn.Dense(width)(h), eta, self.beta_range))
        return posterior(h, self.latent_dim)


class Decoder(nn.Module):
    """``z[d] -> theta[theta_shape]``, no squashing: each likelihood takes unconstrained numbers.

    With ``beta_range`` it is called with a log beta as well, ``(z, eta)``, and its hidden units are gated by it.
    """

    theta_shape: Sequence[int]
    hidden: Sequence[int]
    beta_range: tuple[float, float] | None = None

    @nn.compact
    def __call__(self, z, eta=None):
        """One latent vector."""
        h = z
        for width in self.hidden:
            h = nn.silu(gated(nn.Dense(width)(h), eta, self.beta_range))
        return jnp.reshape(nn.Dense(math.prod(self.theta_shape), name="theta")(h), self.theta_shape)
