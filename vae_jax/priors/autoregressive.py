"""An autoregressive prior: p(z) is a product of p(z_i | z_1 .. z_i-1), whose scales and shifts are learned."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.gaussian import at_least_float32, standard_normal_log_prob
from vae_jax.priors.masked import init_step, invert, scale_and_shift
from vae_jax.types import Array, Params, Prior


def autoregressive(steps: int = 4, context: int = 0) -> Prior:
    """Makes p(z) = N(e; 0, I) |det de/dz|, e of T masked steps of z, the order of the latents turned round in between.

    It is a masked autoregressive flow (Papamakarios 2017, 1705.07057), and that of Chen 2016 (1611.02731, section 3.2):
    an inverse autoregressive posterior read from the other side. One step makes each p(z_i | z_<i) a Gaussian. The
    density takes one pass of each step; a sample takes as many as there are latents, one after the other. It begins as
    N(0, I) exactly, and no step makes a conditional more than twice as narrow. There is no closed form of the KL.

    Args:
      steps: T, at least 1.
      context: how many numbers a condition c has, which every step reads: p(z|c). 0 where there is none, or it is not
        to be known.

    Raises:
      ValueError: for no step.
    """
    if steps < 1:
        raise ValueError(f"an autoregressive prior has at least 1 step, not {steps}")

    def init(key, latent_dim):
        return {f"step_{t}": init_step(jax.random.fold_in(key, t), latent_dim, context) for t in range(steps)}

    def log_prob(params, z, c):
        e, log_det = to_noise(params["prior"], at_least_float32(z), c)
        return standard_normal_log_prob(e) + log_det

    def sample(params, key, latent_dim, c):
        return from_noise(params["prior"], jax.random.normal(key, (latent_dim,)), c)

    return Prior(init, log_prob, sample)


def to_noise(own: Params, z: Array, c: Array | None = None) -> tuple[Array, Array]:
    """Returns e ``[d]`` of z, and log |det de/dz|."""
    total = jnp.zeros((), z.dtype)
    for t in range(len(own)):
        log_scale, shift = scale_and_shift(own[f"step_{t}"], z, c)
        z, total = (jnp.exp(log_scale) * z + shift)[::-1], total + jnp.sum(log_scale)
    return z, total


def from_noise(own: Params, e: Array, c: Array | None = None) -> Array:
    """Returns the z ``[d]`` of which ``to_noise`` makes e."""
    for t in reversed(range(len(own))):
        e = invert(own[f"step_{t}"], e[::-1], c)[0]
    return e
