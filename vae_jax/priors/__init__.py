"""Priors p(z), one a file; each is a function that makes a ``Prior``."""

from __future__ import annotations

from typing import Any

import jax

from vae_jax.gaussian import standard_normal_log_prob
from vae_jax.priors.autoregressive import autoregressive
from vae_jax.priors.conditional import conditional
from vae_jax.priors.discrete import learned_categorical, uniform_categorical
from vae_jax.priors.flow import flow
from vae_jax.priors.mixture import mixture
from vae_jax.priors.standard_normal import standard_normal
from vae_jax.priors.vamp import vamp
from vae_jax.types import VAE, Array, Params, Prior

__all__ = [
    "autoregressive",
    "conditional",
    "draw",
    "flow",
    "learned_categorical",
    "log_prob",
    "mixture",
    "of",
    "standard_normal",
    "uniform_categorical",
    "vamp",
]


def of(vae: VAE) -> Prior:
    """Returns the prior of a model: its own, or the standard normal."""
    return standard_normal() if vae.prior is None else vae.prior


def draw(vae: VAE, params: Params, key: Array, count: int, latent_dim: int, c: Any = None) -> Array:
    """Draws ``count`` codes of the model's prior, ``[n, d]``; ``params`` are ``{"model": ...}``; consumes ``key``."""
    prior = of(vae)
    if prior.standard:
        return jax.random.normal(key, (count, latent_dim))
    keys = jax.random.split(key, count)
    return jax.vmap(lambda key: prior.sample(params["model"], key, latent_dim, c))(keys)


def log_prob(vae: VAE, params: Params, z: Array, c: Any = None) -> Array:
    """Returns log p(z) of the model's prior, nats: ``[..., d] -> [...]``; ``params`` are ``{"model": ...}``."""
    prior = of(vae)
    if prior.standard:
        return standard_normal_log_prob(z)
    each = jax.vmap(lambda z: prior.log_prob(params["model"], z, c))
    return each(z.reshape(-1, z.shape[-1])).reshape(z.shape[:-1])
