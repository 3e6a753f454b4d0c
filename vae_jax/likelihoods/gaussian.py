"""The Gaussian likelihood, whose precision is the weight.

A squared error with KL weight w is this likelihood with sigma^2 = w / 2 and beta = 1, so the question of the weight is
the question of sigma: state it, learn it, or solve for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vae_jax.gaussian import LOG_2PI
from vae_jax.likelihoods.shared import AT_BOUND, event_sum, softplus_above, softplus_above_inverse
from vae_jax.traced import given, log
from vae_jax.types import Likelihood

PRECISIONS = ("fixed", "learned", "per_dimension", "predicted", "optimal")


def gaussian_log_prob(x, mean, log_sigma):
    """Returns log N(x; mean, sigma^2), elementwise, nats."""
    return -0.5 * (jnp.square((x - mean) * jnp.exp(-log_sigma)) + LOG_2PI) - log_sigma


def _source_of_sigma(precision: str, sigma, min_sigma: float) -> tuple[Callable, Callable]:
    """Returns ``event -> own`` and ``(own, theta) -> log sigma`` of a precision; only ``predicted`` reads theta."""
    log_start, log_min = log(sigma), math.log(min_sigma)
    if precision == "fixed":
        return (
            lambda event: {"log_sigma": jnp.full((), log_start, jnp.float32)},
            lambda own, theta=None: own["log_sigma"],
        )
    if precision == "optimal":

        def init(event):
            # A weighted mean of past mean squared errors; the first real one replaces the initial guess.
            return {"squared_error": jnp.zeros((), jnp.float32), "weight": jnp.zeros((), jnp.float32)}

        def log_sigma(own, theta=None):
            started = own["weight"] > 0
            mse = own["squared_error"] / jnp.where(started, own["weight"], 1.0)
            return 0.5 * jnp.log(jnp.maximum(jnp.where(started, mse, sigma**2), min_sigma**2))

        return init, log_sigma
    offset = softplus_above_inverse(log_start, log_min)
    if precision == "predicted":
        return lambda event: {}, lambda own, theta: softplus_above(offset + theta[1], log_min)
    per_dimension = precision == "per_dimension"
    return (
        lambda event: {"u": jnp.full(event if per_dimension else (), offset, jnp.float32)},
        lambda own, theta=None: softplus_above(own["u"], log_min),
    )


def _check(precision: str, sigma, min_sigma: float) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if given(sigma) and not sigma > 0:
        raise ValueError(f"sigma must be positive, not {sigma}")
    if precision != "fixed" and given(sigma) and not sigma > min_sigma:
        raise ValueError(f"an initial sigma of {sigma} is not above its lower bound {min_sigma}")


def gaussian(
    precision: str = "learned", sigma: float = 0.1, min_sigma: float = 1e-3, decay: float = 0.99
) -> Likelihood:
    """Makes independent Gaussian dimensions around the decoder's output.

    Args:
      precision: where sigma comes from.
        ``fixed``: stays ``sigma``.
        ``learned``: one scalar, learned by gradient (the sigma-VAE of Rybkin 2021, 2006.13202, and others before).
        ``per_dimension``: one for each dimension of the event, learned by gradient.
        ``predicted``: a second output of the decoder, one for each dimension and each z. Without a bound this
        likelihood is unbounded (Mattei and Frellsen 2018, 1802.04826).
        ``optimal``: the variance of maximum likelihood, the mean squared error of the global batch, in closed form
        (Rybkin 2021, section 4). The run keeps its moving average over training batches, which is what evaluation uses:
        never the data being scored.
      sigma: the fixed or initial standard deviation, in units of x ([0, 1] pixels); may be traced.
      min_sigma: a lower bound of every sigma that is not fixed. It is approached smoothly in log sigma
        (``log min_sigma + softplus(u)``), so the sigma in use is the one that is learned and reported: no bias, and a
        gradient that never dies.
      decay: of the moving average of ``optimal``; the average is unbiased from its first step on.

    Returns:
      A ``Likelihood`` with support "real"; theta is ``[event]``, or ``[2, *event]`` for ``predicted``.

    Raises:
      ValueError: for an unknown precision or a sigma that is not above its bound.
    """
    _check(precision, sigma, min_sigma)
    init, log_sigma = _source_of_sigma(precision, sigma, min_sigma)

    def mean(own, theta):
        return theta[0] if precision == "predicted" else theta

    def variance(own, theta):
        return jnp.broadcast_to(jnp.exp(2.0 * log_sigma(own, theta)), mean(own, theta).shape)

    def terms(own, theta, x):
        return gaussian_log_prob(x, mean(own, theta), log_sigma(own, theta))

    def cdf(own, theta, x):
        u = jax.scipy.special.ndtr((x - mean(own, theta)) * jnp.exp(-log_sigma(own, theta)))
        return u, u

    def sample(own, theta, key):
        m = mean(own, theta)
        return m + jnp.exp(log_sigma(own, theta)) * jax.random.normal(key, m.shape, m.dtype)

    def refit(own, theta, x, all_mean):
        mse = all_mean(jnp.mean(jnp.square(theta - x[:, None])))  # theta [b, s, event], x [b, event]
        mse = jax.lax.stop_gradient(mse)  # the envelope theorem: the derivative through the optimum is zero
        now = {"squared_error": mse, "weight": jnp.ones_like(mse)}
        kept = jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, own, now)
        return now, kept

    def rescale(own, factor):
        before = log_sigma(own)
        moves = before >= math.log(AT_BOUND * min_sigma)
        after = before + jnp.log(factor)
        if precision == "optimal":
            square = jnp.exp(2.0 * jnp.where(moves, after, before))
            return {"squared_error": square, "weight": jnp.ones_like(square)}
        return {"u": jnp.where(moves, softplus_above_inverse(after, math.log(min_sigma)), own["u"])}

    return Likelihood(
        init=init,
        theta_shape=lambda event: (2, *event) if precision == "predicted" else tuple(event),
        log_prob=lambda own, theta, x: event_sum(terms(own, theta, x)),
        mean=mean,
        sample=sample,
        variance=variance,
        support="real",
        sigma=(lambda own: jnp.exp(log_sigma(own))) if precision in ("fixed", "learned", "optimal") else None,
        refit=refit if precision == "optimal" else None,
        frozen=precision in ("fixed", "optimal"),
        sigma_bound=None if precision == "fixed" else min_sigma,
        cdf=cdf,
        terms=terms,
        rescale=None if precision in ("fixed", "predicted") else rescale,
    )
