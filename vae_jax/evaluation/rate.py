"""The rate taken apart: mutual information + total correlation + dimension-wise KL.

With q(z) = (1/N) sum_n q(z|x_n), the aggregate posterior of N examples, and one sample z ~ q(z|x_n) in every term,

    log q(z|x_n)/p(z) = log q(z|x_n)/q(z) + log q(z)/prod_j q(z_j) + sum_j log q(z_j)/p(z_j)

whose means are the rate, I(n; z), TC and the dimension-wise KL (Hoffman and Johnson 2016; Chen 2018, 1802.04942). The
sums over all N examples are exact here: estimates from one batch (Chen 2018, appendix C) cap the mutual information at
the log of the batch, and are tens of nats off where the rate is above it. All numbers are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.gaussian import LOG_2PI, DiagGaussian, at_least_float32
from vae_jax.types import Array


class Estimate(NamedTuple):
    """A mean over samples and its standard error, nats; floats, or arrays ``[d]``."""

    value: Any
    error: Any


class Decomposition(NamedTuple):
    """The parts of the rate, nats per example.

    Attributes:
      rate: analytic, the mean over all N examples.
      sampled_rate: of the samples that the parts come from; the parts sum to it exactly.
      mutual_information: I(n; z) of the N examples, between 0 and ``cap``.
      total_correlation: KL(q(z) || prod_j q(z_j)) >= 0.
      dimension_wise_kl: sum_j KL(q(z_j) || p(z_j)) >= 0. Of another prior than N(0, I), which need be no product, None:
        the rate is then the mutual information and ``prior_gap``.
      kl_per_latent: its summands, ``[d]``: the aggregate posterior against the prior, latent by latent; None likewise.
      cap: the largest mutual information that could have been found, log N. A value near it says that the N posteriors
        hardly overlap; TC is then large too, as N islands are no product, whatever the dependence between the latents.
      prior_gap: KL(q(z) || p(z)) >= 0, what a better prior could save (Hoffman and Johnson 2016); None of N(0, I),
        where it is TC and dimension-wise KL.
    """

    rate: float
    sampled_rate: Estimate
    mutual_information: Estimate
    total_correlation: Estimate
    dimension_wise_kl: Estimate | None
    kl_per_latent: Estimate | None
    cap: float
    prior_gap: Estimate | None = None


def decompose(
    mean, logvar, key: Array, num_samples: int = 2000, block: int = 256, log_prior: Callable | None = None, rate=None
) -> Decomposition:
    """Takes the rate of a whole data set apart, by exact sums over all its examples.

    The cost is ``num_samples * n * d`` exponentials; the memory does not grow with ``num_samples * n``.

    Args:
      mean, logvar: the posteriors of all N examples, ``[n, d]``.
      key: consumed, by the choice of examples and the draws of z.
      num_samples: how many pairs (example, z). Up to N they belong to different examples, drawn at random; beyond,
        every example has its turn again.
      block: how many examples are added up before their sum joins the total: fewer roundings, the same result.
      log_prior: ``z [s, d] -> [s]``, log p(z); None for N(0, I).
      rate: of all examples, where the prior is another one.

    Returns:
      A ``Decomposition``. Standard errors are those of independent pairs; with ``num_samples`` near or above N they
      are too large, as no example is left to chance. A part that is 0 may come out negative by that error.

    Raises:
      ValueError: for posteriors that are not two equal ``[n, d]``, or fewer than 2 samples.
    """
    mean, logvar = posteriors(mean, logvar)
    if num_samples < 2 or block < 1:
        raise ValueError(f"num_samples must be at least 2 and block at least 1, not {num_samples} and {block}")
    index, z, rates = _draw(mean, logvar, key, num_samples)
    densities, cap = log_densities(mean, logvar, index, z, block), math.log(len(rates))
    if log_prior is None:
        rate = float(np.mean(np.asarray(rates, np.float64)))
        return Decomposition(rate, *(estimate(part) for part in sampled_parts(z, *densities)), cap=cap)
    log_q, joint, marginal = densities
    log_q, p = log_q.sum(-1), np.asarray(log_prior(z), np.float64)
    parts = (estimate(part) for part in (log_q - p, log_q - joint, joint - marginal.sum(-1)))
    return Decomposition(rate, *parts, None, None, cap, estimate(joint - p))


@jax.jit(static_argnums=3)
def _draw(mean, logvar, key, num_samples):
    """Draws the examples ``[s]`` and a z of each ``[s, d]``; also returns the rate of all N examples ``[n]``."""
    n = mean.shape[0]
    index = jax.random.permutation(jax.random.fold_in(key, 0), n)[jnp.arange(num_samples) % n]
    z = DiagGaussian(mean[index], logvar[index]).sample(jax.random.fold_in(key, 1), 1)[0]
    return index, z, jnp.sum(DiagGaussian(mean, logvar).kl(), -1)


def log_densities(mean, logvar, index, z, block: int = 256) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns log densities at samples of some of the posteriors, nats, as float64.

    Args:
      mean, logvar: the posteriors of all N examples, ``[n, d]``.
      index: the example that each sample was drawn from, ``[s]``.
      z: the samples, ``[s, d]``.
      block: as for ``decompose``.

    Returns:
      log q(z_j|x_index) ``[s, d]``, log q(z) ``[s]`` and log q(z_j) ``[s, d]``, aggregated over all N.
    """
    mean, logvar = posteriors(mean, logvar)
    sums = _log_sums(mean, logvar, jnp.asarray(index), at_least_float32(z), block)
    # In float64, so that no rounding lifts log q(z|x_n) - log q(z) above log N.
    log_q, joint, marginal = (np.asarray(v, np.float64).T for v in sums)
    log_n = math.log(mean.shape[0])
    return log_q, log_q.sum(-1) + joint - log_n, log_q + marginal - log_n


@jax.jit(static_argnums=4)
def _log_sums(mean, logvar, index, z, block):
    """Maps ``z [s, d]`` to log q(z_j|x_index) ``[d, s]`` and log sum_n q(.|x_n)/q(.|x_index), joint [s] and marginal.

    Relative to the density that z was drawn from, a running sum needs no maximum: its own term is 1, so it cannot
    vanish, and a density ratio has mean 1 under its denominator, so that one exceeds exp(88) has probability exp(-88).
    One example at a time against all samples keeps the vectors long and the memory small.
    """
    (n, d), z = mean.shape, z.T
    scale, log_scale = jnp.exp(-0.5 * logvar), 0.5 * logvar
    own = -0.5 * jnp.square((z - mean[index].T) * scale[index].T) - log_scale[index].T

    def add(sums, example):
        center, precision, log_tau = (v[:, None] for v in example)
        ratio = -0.5 * jnp.square((z - center) * precision) - log_tau - own
        return (sums[0] + jnp.exp(jnp.sum(ratio, 0)), sums[1] + jnp.exp(ratio)), None

    def add_block(sums, examples):
        zero = (jnp.zeros_like(z[0]), jnp.zeros_like(z))
        return jax.tree.map(jnp.add, sums, jax.lax.scan(add, zero, examples)[0]), None

    # Padding has density 0 everywhere.
    extra = ((0, -n % block), (0, 0))
    padded = (jnp.pad(mean, extra), jnp.pad(scale, extra), jnp.pad(log_scale, extra, constant_values=jnp.inf))
    zero = (jnp.zeros_like(z[0]), jnp.zeros_like(z))
    (joint, marginal), _ = jax.lax.scan(add_block, zero, tuple(v.reshape(-1, block, d) for v in padded))
    return own - 0.5 * LOG_2PI, jnp.log(joint), jnp.log(marginal)


def sampled_parts(z, log_q, log_joint, log_marginal) -> tuple[np.ndarray, ...]:
    """Returns the terms of the identity above at each sample, float64, nats; parts 1 to 3 sum to part 0.

    Args:
      z: samples, ``[s, d]``; the arguments after it as ``log_densities`` returns them.

    Returns:
      The rate, the mutual information, the total correlation and the dimension-wise KL, ``[s]``, and the last one's
      summands ``[s, d]``.
    """
    z, log_q, log_joint, log_marginal = (np.asarray(v, np.float64) for v in (z, log_q, log_joint, log_marginal))
    log_prior = -0.5 * (np.square(z) + LOG_2PI)
    log_q, per_latent = log_q.sum(-1), log_marginal - log_prior
    return (
        log_q - log_prior.sum(-1),
        log_q - log_joint,
        log_joint - log_marginal.sum(-1),
        per_latent.sum(-1),
        per_latent,
    )


def active_units(mean, threshold: float = 0.01) -> np.ndarray:
    """Returns which latents are active, ``[d]``: those whose posterior mean varies by more than ``threshold``.

    Burda 2016, 1509.00519, section 5. ``mean`` is ``[n, d]``. The number depends on the split and the threshold: give
    both with it.
    """
    return np.var(np.asarray(mean, np.float64), axis=0) > threshold


# What Burda's variance of 0.01 is worth where E[mu^2 + tau^2] = 1: -log(1 - 0.01) / 2.
USED = 0.005
# Over one row every variance is 0, and over a handful it is anything.
HANDFUL = 10


def information_per_latent(mean, variance) -> np.ndarray:
    """Returns what each latent carries whatever its scale, ``[d]``: (log Var[z_j] - E[log tau_j^2]) / 2, nats.

    That is the least mean KL to any Gaussian prior of its own mean and variance, and so the largest mutual information
    of example and z_j that such moments allow; with one tau^2 for all examples it is log(1 + signal / noise) / 2.
    ``active_units`` asks for a variance instead, and calls unused what a decoder of steep first layer reads at a small
    scale.

    Args:
      mean, variance: of the posteriors q(z|x_n), ``[n, d]``.
    """
    mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    total = np.var(mean, axis=0) + np.mean(variance, axis=0)
    return np.maximum(0.5 * (np.log(total) - np.mean(np.log(variance), axis=0)), 0.0)


def used_latents(information, rows: int) -> int | None:
    """Returns how many latents carry more than ``USED`` nats.

    None where a posterior is not a number, or where the ``rows`` behind the information are but a ``HANDFUL``.
    """
    information = np.asarray(information)
    return None if rows < HANDFUL or np.isnan(information).any() else int(np.sum(information > USED))


def is_one_hot(mean, variance) -> bool:
    """Returns whether moments ``[n, d]`` are those of codes of zeros and ones, whose variance is mean (1 - mean)."""
    mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    return bool(np.allclose(variance, mean * (1.0 - mean), rtol=1e-3, atol=1e-9))


def second_moments(mean, logvar) -> np.ndarray:
    """Returns E[mu^2 + tau^2] over the data per latent, ``[d]``: the aggregate posterior's, in closed form.

    1 at every stationary point of a model whose encoder ends and decoder starts in a linear layer, at any weight.
    """
    mean, logvar = np.asarray(mean, np.float64), np.asarray(logvar, np.float64)
    return np.mean(np.square(mean) + np.exp(logvar), axis=0)


def posteriors(mean, logvar) -> tuple[Array, Array]:
    """Checks both and returns them as arrays ``[n, d]`` of at least float32; ValueError where they are not."""
    mean, logvar = at_least_float32(mean), at_least_float32(logvar)
    if mean.ndim != 2 or mean.shape != logvar.shape or 0 in mean.shape:
        raise ValueError(f"mean and logvar must both be [n, d] and not empty, not {mean.shape} and {logvar.shape}")
    return mean, logvar


def estimate(values: np.ndarray) -> Estimate:
    """Returns mean and standard error of independent samples ``[s]`` or ``[s, d]``."""
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(len(values))
    return Estimate(mean, error) if values.ndim > 1 else Estimate(float(mean), float(error))
