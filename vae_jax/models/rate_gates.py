"""The gates that make one network a model for every beta (Bae 2022, 2212.03905), here an exact response of the latents.

A linear VAE's optimum at the water level s = beta sigma^2 depends on beta through its latents alone: with
u_i = log(s / lambda_i), the decoder's column is sqrt(lambda_i) a(u_i), the encoder's row a(u_i) / sqrt(lambda_i) and
the log variance min(0, u_i), where a(u) = sqrt(max(0, 1 - e^u)). So each latent learns a u that is linear in log beta.
Hidden units are scaled by a smooth gate as well, which a deep network needs and a linear one does not have.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from vae_jax.gaussian import DiagGaussian
from vae_jax.types import VAE
from vae_jax.weighting.multi_rate import between_knots, initial_eta, log_range

# max(0, x) has a corner, its square root an infinite slope, and a latent whose gate is exactly 0 is a saddle that no
# gradient leaves. So max(0, x) is (x + sqrt(x^2 + WIDTH^2)) / 2, smooth and never 0, and above the water x falls as a
# logarithm only. An open gate gains a share of WIDTH^2 / (8 x^2), 8e-5 at x = 0.8; a closed latent keeps a gate^2 of
# about 1e-3, half a thousandth of a nat. With half the width one run in four, on the linear bed with sigma learned,
# still had a latent closed after 2500 steps that had closed before its weights grew.
WIDTH = 0.02
KNOTS = 17  # of the bend of the latents' response


def positive_part(x):
    """max(0, x), rounded at its corner by ``WIDTH``; elementwise."""
    larger = 0.5 * (jnp.sqrt(jnp.square(x) + WIDTH**2) + jnp.abs(x))
    return jnp.where(x >= 0, larger, 0.25 * WIDTH**2 / larger)


def response(u):
    """sqrt(max(0, 1 - e^u)), rounded: open (1) far below the water, closed (nearly 0) above; elementwise."""
    below, above = jnp.minimum(u, 0.0), jnp.maximum(u, 0.0)
    return jnp.sqrt(positive_part(-jnp.expm1(below) - WIDTH * jnp.log1p(above / WIDTH)))


def log_variance_response(u):
    """min(0, u), rounded; elementwise."""
    return -positive_part(-u)


def gated(h, eta, beta_range):
    """Pre-activations ``h[..., c]`` as they are, or with ``beta_range`` scaled by ``HiddenGate`` at ``eta``."""
    return h if beta_range is None else HiddenGate(beta_range)(h, eta)


class HiddenGate(nn.Module):
    """``(h[..., c], eta) -> [..., c]``: each unit or channel times 2 sigmoid(slope eta' + offset), 1 before training.

    eta' is log beta moved and scaled so that ``beta_range`` is [-1, 1].
    """

    beta_range: tuple[float, float]

    @nn.compact
    def __call__(self, h, eta):
        """One example's pre-activations at one log beta."""
        low, high = log_range(self.beta_range)
        slope = self.param("slope", nn.initializers.zeros, h.shape[-1:], jnp.float32)
        offset = self.param("offset", nn.initializers.zeros, h.shape[-1:], jnp.float32)
        return h * 2.0 * nn.sigmoid(slope * (2.0 * eta - low - high) / (high - low) + offset)


class LatentLevel(nn.Module):
    """``eta -> u[d]``, log(s / lambda) of each latent: slope (eta + bend(eta) - middle of the range) + offset.

    The bend, one for all latents and linear between ``KNOTS``, is for a log sigma^2 that depends on beta: s is then no
    power of beta. Before training it is 0, the slope 1 and u is -1 at the upper end of ``beta_range``, so every latent
    is in use over all of it.
    """

    beta_range: tuple[float, float]
    latent_dim: int

    @nn.compact
    def __call__(self, eta):
        """One log beta."""
        low, high = log_range(self.beta_range)
        middle = 0.5 * (low + high)
        bend = self.param("bend", nn.initializers.zeros, (KNOTS,), jnp.float32)
        slope = self.param("slope", nn.initializers.ones, (self.latent_dim,), jnp.float32)
        offset = self.param("offset", nn.initializers.constant(middle - high - 1.0), (self.latent_dim,), jnp.float32)
        return slope * (eta + between_knots(bend, eta, self.beta_range) - middle) + offset


def gate_latents(vae: VAE, beta_range: tuple[float, float], latent_dim: int) -> VAE:
    """``vae`` with the response of its latents at ``params["eta"]``.

    The posterior mean and z on its way into the decoder are scaled by ``response(u)``, and ``log_variance_response(u)``
    is added to the log variance. Encoder and decoder have one u, ``params["level"]``: their product, which is what the
    error feels, then has no infinite slope where a latent closes, and the two close at the same beta.
    """
    level = LatentLevel(beta_range, latent_dim)

    def u(params):
        return level.apply({"params": params["level"]}, params["eta"])

    def init(key):
        eta = initial_eta(beta_range)
        return {**vae.init(key), "level": level.init(key, eta)["params"], "eta": eta}

    def encode(params, x):
        q = vae.encode(params, x)
        return DiagGaussian(response(u(params)) * q.mean, q.logvar + log_variance_response(u(params)))

    return VAE(init, encode, lambda params, z: vae.decode(params, response(u(params)) * z))
