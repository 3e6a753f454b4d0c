"""Likelihood families, one per file; each is a function that returns a ``Likelihood``."""

from vae_jax.likelihoods.bernoulli import bernoulli
from vae_jax.likelihoods.continuous_bernoulli import (
    continuous_bernoulli,
    continuous_bernoulli_inverse_mean,
    continuous_bernoulli_log_normalizer,
    continuous_bernoulli_mean,
    continuous_bernoulli_variance,
)
from vae_jax.likelihoods.gaussian import PRECISIONS, gaussian

__all__ = [
    "PRECISIONS",
    "bernoulli",
    "continuous_bernoulli",
    "continuous_bernoulli_inverse_mean",
    "continuous_bernoulli_log_normalizer",
    "continuous_bernoulli_mean",
    "continuous_bernoulli_variance",
    "gaussian",
]
