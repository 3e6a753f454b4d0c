"""The inverse autoregressive flow: a diagonal Gaussian, then steps whose scales and shifts a MADE computes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.gaussian import LOG_2PI, DiagGaussian
from vae_jax.posteriors.fixed_noise import fixed_noise
from vae_jax.priors.masked import init_step, invert, scale_and_shift
from vae_jax.types import Posterior

CONTEXT = 2  # numbers of context for each latent


def iaf(steps: int = 4) -> Posterior:
    """Makes z = f_T(... f_1(mean + tau * noise)) with f_t(z) = sigma_t * z + m_t (Kingma 2016, 1606.04934, eq. 10).

    sigma_t and m_t of a latent are functions of the latents before it and of a context that the encoder puts out
    (``priors/masked.py``). The order of the latents turns round from step to step. sigma_t = 2 sigmoid(s_t), so no step
    more than doubles a scale; the last layers begin at zero, where every step is the identity and q the diagonal
    Gaussian.

    Samples and their density take one pass. The density anywhere else takes as many passes as there are latents, one
    after the other. The KL has no closed form, and the moments are those of ``fixed_noise``.

    Args:
      steps: T, at least 1.
    """
    if steps < 1:
        raise ValueError(f"an inverse autoregressive flow has at least one step, not {steps}")

    def init(key, latent_dim):
        width = CONTEXT * latent_dim
        return {f"step_{t}": init_step(jax.random.fold_in(key, t), latent_dim, width) for t in range(steps)}

    def push(own, h, noise):
        """Takes ``noise [s, d]`` to ``(z[s, d], log_q[s])``."""
        first, context = _parts(h, noise.shape[-1])
        z = first.mean + jnp.exp(0.5 * first.logvar) * noise
        log_q = -0.5 * jnp.sum(jnp.square(noise) + LOG_2PI + first.logvar, axis=-1)
        for t in range(steps):
            log_scale, shift = scale_and_shift(own[f"step_{t}"], z, context)
            z = (jnp.exp(log_scale) * z + shift)[..., ::-1]
            log_q = log_q - jnp.sum(log_scale, axis=-1)
        return z, log_q

    def draw(own, h, key, num_samples):
        return push(own, h, jax.random.normal(key, (num_samples, _latents(h)), h.dtype))

    def moments(own, h):
        z, _ = push(own, h, fixed_noise(_latents(h)))
        return DiagGaussian(jnp.mean(z, axis=0), jnp.log(jnp.var(z, axis=0)))

    def log_prob(own, h, z):
        first, context = _parts(h, z.shape[-1])
        log_q = jnp.zeros(z.shape[:-1], z.dtype)
        for t in reversed(range(steps)):
            z, log_scale = invert(own[f"step_{t}"], z[..., ::-1], context)
            log_q = log_q - log_scale
        return log_q + first.log_prob(z)

    return Posterior(
        numbers=lambda latent_dim: (2 + CONTEXT) * latent_dim,
        init=init,
        draw=draw,
        moments=moments,
        log_prob=log_prob,
    )


def _latents(h) -> int:
    return h.shape[-1] // (2 + CONTEXT)


def _parts(h, d: int):
    """Returns the Gaussian before the flow, and the context, of the encoder's numbers."""
    return DiagGaussian(h[:d], h[d : 2 * d]), h[2 * d :]
