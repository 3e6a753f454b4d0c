"""Counts 0, 1, 2, ...: Poisson, and the negative binomial whose variance may be larger than its mean.

Both are written by Stirling's error terms (Loader 2000, "Fast and accurate computation of binomial probabilities"), so
that what is large in a plain form (a million log x is 1e7 nats) cancels on paper and not in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, gammaincc

from vae_jax.gaussian import LOG_2PI, at_least_float32
from vae_jax.likelihoods.shared import between, event_sum, stirling_error
from vae_jax.types import Array, Likelihood

# Of a mean. The decoder gives its logarithm, which rises like an arctangent towards these.
LOWEST, HIGHEST = 1e-8, 1e10
# Of the inverse dispersion r: at the upper end a negative binomial of counts below 1e4 is a Poisson distribution.
LEAST_R, MOST_R = 1e-4, 1e8
LARGEST_DRAW = 2.0**30  # of the rate that jax.random.poisson draws from: its draws are int32


def _whole(x):
    """Returns the count that x is, one that is above 0 in its place, and where x is above 0."""
    x = jnp.rint(at_least_float32(x))
    return x, jnp.where(x > 0, x, 1.0), x > 0


def poisson_log_prob(x, log_mean):
    """Returns log of the Poisson probability of the count nearest to x, elementwise, nats; -inf below 0."""
    x, safe, positive = _whole(x)
    u = log_mean - jnp.log(safe)
    # Of x = m e^-u: m - x + x log(x / m) is x (e^u - 1 - u), which is 0 to second order at the mode.
    above = -safe * (jnp.expm1(u) - u) - 0.5 * (jnp.log(safe) + LOG_2PI) - stirling_error(safe)
    return jnp.where(x < 0, -jnp.inf, jnp.where(positive, above, -jnp.exp(log_mean)))


def negative_binomial_log_prob(x, log_mean, log_r):
    """Returns log of the negative binomial probability of the count nearest to x, elementwise, nats; -inf below 0.

    p(x) = Gamma(x + r) / (Gamma(r) x!) (r / (r + m))^r (m / (r + m))^x, the variance m + m^2 / r.
    """
    x, safe, positive = _whole(x)
    mean, r = jnp.exp(log_mean), jnp.exp(log_r)
    u = log_mean - jnp.log(safe)
    # Two forms of (x + r) log((x + r) / (m + r)) - x log(x / m). For r small beside x each term of the second is about
    # r; near the mode of a nearly Poisson distribution only the first, of second order in x - m, keeps its digits.
    poisson_like = (jnp.abs(u) < 1.0) & (r > safe * u * u)
    near = jnp.where(poisson_like, u, 0.0)
    w = jnp.log1p(safe * jnp.expm1(near) / (r + safe))
    first = (safe + r) * (jnp.expm1(w) - w) - safe * (jnp.expm1(near) - near)
    share = (mean - safe) / (r + safe)
    # Below -1/2 r is less than x, and the rounding of two logarithms is small beside the rest.
    w = jnp.where(share < -0.5, jnp.log(r + mean) - jnp.log(r + safe), jnp.log1p(jnp.maximum(share, -0.5)))
    second = safe * (jnp.log1p(r / safe) - jnp.log1p(r / mean)) - r * w
    constant = 0.5 * (log_r - jnp.log(safe) - jnp.log(safe + r) - LOG_2PI)
    constant = constant + stirling_error(safe + r) - stirling_error(r) - stirling_error(safe)
    above = jnp.where(poisson_like, first, second) + constant
    return jnp.where(x < 0, -jnp.inf, jnp.where(positive, above, -r * jnp.log1p(mean / r)))


def _means(mean) -> Callable[[Array], Array]:
    """Returns ``theta -> log means``, bounded, which are log ``mean`` at 0; ``mean`` is a number or ``[event]``."""
    if not np.all((np.asarray(mean) > LOWEST) & (np.asarray(mean) < HIGHEST)):
        raise ValueError(f"a mean of counts must be between {LOWEST} and {HIGHEST:g}, not {mean}")
    low, high = math.log(LOWEST), math.log(HIGHEST)
    # Where the bounded logarithm, which is 0 at 0, has reached that of each mean, and how flat it is there.
    width, share = high - low, (np.log(mean) - low) / (high - low)
    tangent = np.tan(math.pi * (share - 0.5))
    shift = np.asarray(width / math.pi * (tangent - math.tan(math.pi * (-low / width - 0.5))), np.float32)
    steeper = np.asarray(1.0 + tangent**2, np.float32)  # so that each logarithm begins with a slope of 1
    return lambda theta: between(at_least_float32(theta) * steeper + shift, low, high, 0.0)


def _draw(key, rate):
    return jax.random.poisson(key, jnp.minimum(rate, LARGEST_DRAW)).astype(rate.dtype)


def _steps(at_most: Callable[[Array], Array], x):
    """Returns P(X < x) and P(X <= x); ``at_most`` is P(X <= k) at a count k >= 0."""
    x = jnp.rint(x)
    below = jnp.where(x > 0, at_most(jnp.maximum(x - 1.0, 0.0)), 0.0)
    return below, jnp.where(x < 0, 0.0, at_most(jnp.maximum(x, 0.0)))


def poisson(start: float | np.ndarray = 1.0) -> Likelihood:
    """Makes independent Poisson counts, theta the raw log means ``[event]``.

    The logarithm of the mean is bounded smoothly, as the mean is by 1e-8 and 1e10.

    Args:
      start: the mean at theta = 0, a number or ``[event]``: that of the data, or a decoder has a long way to a million.

    Returns:
      A ``Likelihood`` with support "count".

    Raises:
      ValueError: for a start outside of the bounds.
    """

    log_mean = _means(start)

    def terms(own, theta, x):
        return poisson_log_prob(x, log_mean(theta))

    def mean(own, theta):
        return jnp.exp(log_mean(theta))

    return Likelihood(
        init=lambda event: {},
        theta_shape=lambda event: tuple(event),
        log_prob=lambda own, theta, x: event_sum(terms(own, theta, x)),
        mean=mean,
        sample=lambda own, theta, key: _draw(key, mean(own, theta)),
        variance=mean,
        support="count",
        cdf=lambda own, theta, x: _steps(lambda k: gammaincc(k + 1.0, mean(own, theta)), x),
        terms=terms,
    )


def negative_binomial(r: float = 1.0, start: float | np.ndarray = 1.0) -> Likelihood:
    """Makes independent negative binomial counts: theta the raw log means, and a dispersion of each dimension's own.

    The mean is the decoder's, the dispersion one learned number for each column, which is the default of scVI (Lopez
    2018, Nature Methods 15: dispersion "gene"). There is no library size apart: the mean of a count is not divided
    among the columns of a row. As r goes to infinity it is the Poisson distribution.

    Args:
      r: the first inverse dispersion; the variance is m + m^2 / r. It stays within 1e-4 and 1e8, smoothly.
      start: as for ``poisson``.

    Returns:
      A ``Likelihood`` with support "count"; ``own`` is ``{"u": [event]}``.

    Raises:
      ValueError: for an r or a start outside of its bounds.
    """
    if not LEAST_R < r < MOST_R:
        raise ValueError(f"the inverse dispersion must be between {LEAST_R} and {MOST_R:g}, not {r}")

    log_mean = _means(start)

    def log_r(own):
        return between(own["u"], math.log(LEAST_R), math.log(MOST_R), math.log(r))

    def terms(own, theta, x):
        return negative_binomial_log_prob(x, log_mean(theta), log_r(own))

    def mean(own, theta):
        return jnp.exp(log_mean(theta))

    def at_most(own, theta, k):
        of_r = jnp.exp(log_r(own))
        return betainc(of_r, k + 1.0, of_r / (of_r + mean(own, theta)))

    def sample(own, theta, key):
        rate_key, count_key = jax.random.split(key)
        m = mean(own, theta)
        share = jax.random.gamma(rate_key, jnp.exp(log_r(own)), m.shape, m.dtype) * jnp.exp(-log_r(own))
        return _draw(count_key, m * share)

    return Likelihood(
        init=lambda event: {"u": jnp.zeros(event, jnp.float32)},
        theta_shape=lambda event: tuple(event),
        log_prob=lambda own, theta, x: event_sum(terms(own, theta, x)),
        mean=mean,
        sample=sample,
        variance=lambda own, theta: mean(own, theta) * (1.0 + mean(own, theta) * jnp.exp(-log_r(own))),
        support="count",
        cdf=lambda own, theta, x: _steps(lambda k: at_most(own, theta, k), x),
        terms=terms,
    )
