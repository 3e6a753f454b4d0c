"""Likelihood families, one per file; each is a function that returns a ``Likelihood``."""

from vae_jax.likelihoods.bernoulli import bernoulli
from vae_jax.likelihoods.beta import beta, beta_log_prob
from vae_jax.likelihoods.blocks import blocks
from vae_jax.likelihoods.categorical import categorical, categorical_log_prob
from vae_jax.likelihoods.charbonnier import charbonnier, charbonnier_log_prob
from vae_jax.likelihoods.continuous_bernoulli import (
    continuous_bernoulli,
    continuous_bernoulli_inverse_mean,
    continuous_bernoulli_log_normalizer,
    continuous_bernoulli_mean,
    continuous_bernoulli_variance,
)
from vae_jax.likelihoods.counts import (
    negative_binomial,
    negative_binomial_log_prob,
    poisson,
    poisson_log_prob,
)
from vae_jax.likelihoods.discretized_logistic import discretized_logistic, discretized_logistic_log_prob
from vae_jax.likelihoods.features import on_features, product
from vae_jax.likelihoods.gaussian import PRECISIONS, gaussian
from vae_jax.likelihoods.huber import huber, huber_log_prob
from vae_jax.likelihoods.location_scale import laplace, laplace_log_prob, student_t, student_t_log_prob
from vae_jax.likelihoods.log_normal import log_normal, log_normal_log_prob
from vae_jax.likelihoods.own_units import in_own_units
from vae_jax.likelihoods.partial import partial
from vae_jax.likelihoods.shared import Grid, is_discrete
from vae_jax.likelihoods.spectra import log_spectrum, mel_filters
from vae_jax.likelihoods.tokens import tokens

__all__ = [
    "PRECISIONS",
    "Grid",
    "bernoulli",
    "beta",
    "beta_log_prob",
    "blocks",
    "categorical",
    "categorical_log_prob",
    "charbonnier",
    "charbonnier_log_prob",
    "continuous_bernoulli",
    "continuous_bernoulli_inverse_mean",
    "continuous_bernoulli_log_normalizer",
    "continuous_bernoulli_mean",
    "continuous_bernoulli_variance",
    "discretized_logistic",
    "discretized_logistic_log_prob",
    "gaussian",
    "huber",
    "huber_log_prob",
    "in_own_units",
    "is_discrete",
    "laplace",
    "laplace_log_prob",
    "log_normal",
    "log_normal_log_prob",
    "log_spectrum",
    "mel_filters",
    "negative_binomial",
    "negative_binomial_log_prob",
    "on_features",
    "partial",
    "poisson",
    "poisson_log_prob",
    "product",
    "student_t",
    "student_t_log_prob",
    "tokens",
]
