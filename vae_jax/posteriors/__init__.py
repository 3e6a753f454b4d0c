"""Approximate posteriors q(z|x), one a file, each a function that makes a ``Posterior``; and the latents of a model."""

from __future__ import annotations

from vae_jax.posteriors.categorical import categorical
from vae_jax.posteriors.diagonal import diagonal
from vae_jax.posteriors.full_covariance import full_covariance
from vae_jax.posteriors.householder import householder
from vae_jax.posteriors.iaf import iaf
from vae_jax.posteriors.latents import closed_form, with_latents

__all__ = ["categorical", "closed_form", "diagonal", "full_covariance", "householder", "iaf", "with_latents"]
