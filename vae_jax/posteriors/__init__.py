"""Approximate posteriors q(z|x), one a file, each a function that makes a ``Posterior``; and the latents of a model."""

from __future__ import annotations

from vae_jax.posteriors.diagonal import diagonal
from vae_jax.posteriors.latents import with_latents

__all__ = ["diagonal", "with_latents"]
