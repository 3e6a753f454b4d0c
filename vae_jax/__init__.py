"""vae_jax: variational autoencoders whose KL weight you can trust."""

from vae_jax import conventions, likelihoods, linear_vae, objective, schedules, weighting
from vae_jax.types import VAE, KLWeight, Likelihood, Schedule, Terms, TrainState, UserError

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "KLWeight",
    "Likelihood",
    "Schedule",
    "Terms",
    "TrainState",
    "UserError",
    "conventions",
    "likelihoods",
    "linear_vae",
    "objective",
    "schedules",
    "weighting",
]
