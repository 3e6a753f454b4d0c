"""Priors p(z), one a file; each is a function that makes a ``Prior``."""

from __future__ import annotations

from vae_jax.priors.standard_normal import standard_normal
from vae_jax.types import VAE, Prior

__all__ = ["of", "standard_normal"]


def of(vae: VAE) -> Prior:
    """Returns the prior of a model: its own, or the standard normal."""
    return standard_normal() if vae.prior is None else vae.prior
