"""The diagonal Gaussian posterior, which is the standard case."""

from __future__ import annotations

import jax.numpy as jnp

from vae_jax.gaussian import DiagGaussian
from vae_jax.types import Posterior


def diagonal() -> Posterior:
    """Makes q(z|x) = N(mean, diag(exp(logvar))) (Kingma and Welling 2013, 1312.6114)."""

    def moments(own, h):
        return DiagGaussian(*jnp.split(h, 2, axis=-1))

    def draw(own, h, key, num_samples):
        q = moments(own, h)
        z = q.sample(key, num_samples)
        return z, q.log_prob(z)

    return Posterior(
        numbers=lambda latent_dim: 2 * latent_dim,
        init=lambda key, latent_dim: {},
        draw=draw,
        moments=moments,
        kl=lambda own, h: moments(own, h).kl(),
        log_prob=lambda own, h, z: moments(own, h).log_prob(z),
        diagonal=True,
    )
