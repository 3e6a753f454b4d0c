"""The standard normal prior, N(0, I)."""

from __future__ import annotations

import jax

from vae_jax.gaussian import standard_normal_log_prob
from vae_jax.types import Prior


def standard_normal() -> Prior:
    """Makes p(z) = N(z; 0, I) (Kingma and Welling 2013, 1312.6114), which has no parameters and knows no condition."""
    return Prior(
        init=lambda key, latent_dim: {},
        log_prob=lambda params, z, c: standard_normal_log_prob(z),
        sample=lambda params, key, latent_dim, c: jax.random.normal(key, (latent_dim,)),
        kl=lambda params, q, c: q.kl(),
        standard=True,
    )
