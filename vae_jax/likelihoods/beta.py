"""The Beta likelihood on [0, 1]."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import betainc

from vae_jax.gaussian import LOG_2PI, at_least_float32
from vae_jax.likelihoods.shared import between, event_sum, stirling_error
from vae_jax.types import Likelihood


def beta_log_prob(x, log_a, log_b, squeeze: float = 0.0):
    """Returns log density of x where y = squeeze + (1 - 2 squeeze) x is Beta(a, b), elementwise, nats.

    The density is that of x, so it holds the Jacobian log(1 - 2 squeeze) of y.
    """
    inner = 1.0 - 2.0 * squeeze
    # 1 - y is computed from 1 - x: near y = 1 the difference of rounded numbers, times b, would be wrong by 0.01 nats.
    log_y, log_rest = jnp.log(squeeze + inner * x), jnp.log(squeeze + inner * (1.0 - x))
    # Stirling's formula cancels on paper what is large in gammaln(a) + gammaln(b) - gammaln(a + b): relative to the
    # mean m = a / (a + b). With a and b from 100 to 1000 and x drawn from it, rounding in float32 costs 3e-5 nats in
    # the root mean square and 3e-4 at most; the plain form 4e-4 and 3e-3.
    log_m, log_rest_m = jax.nn.log_sigmoid(log_a - log_b), jax.nn.log_sigmoid(log_b - log_a)
    a, b = jnp.exp(log_a), jnp.exp(log_b)
    spread = a * (log_y - log_m) + b * (log_rest - log_rest_m) - log_y - log_rest
    constant = 0.5 * (log_a + log_rest_m - LOG_2PI) + math.log(inner)
    return spread + constant + stirling_error(a + b) - stirling_error(a) - stirling_error(b)


def beta(squeeze: float = 1e-6, low: float = 1e-2, high: float = 1e3) -> Likelihood:
    """Makes independent Beta dimensions, theta ``[2, *event]``: bounded smoothly, log a and log b; x in [0, 1].

    A Beta density is 0 or infinite at 0 and 1, where most pixels of many images lie. So x is squeezed first,
    y = squeeze + (1 - 2 squeeze) x, and y is Beta(a, b). The value at 0 and 1 depends on the squeeze: it belongs to
    every number quoted (Beta(.5, .5) at x = 0 is 1.97 nats at 1/512, 3.46 at 1e-4, infinite at 0).

    The density is that of x, log(1 - 2 squeeze) included. It integrates to 1 over the x that can occur, from
    -squeeze / (1 - 2 squeeze) to 1 more than its opposite, and so to less than 1 over [0, 1]: never too good. With
    squeeze 1 / (2 n) that is n cells with a grey level in the middle of each (1/512 for 8 bits). ``mean``, ``variance``
    and ``sample`` are those of this x, unclipped: a draw may lie that half level outside [0, 1].

    Args:
      squeeze: in (0, 1/2). The default leaves the density as it is but for the last millionth of [0, 1], and is for x
        that is hardly ever 0 or 1. For n grey levels take 1 / (2 n), as the train binary does.
      low, high: bounds of a and b. At 1e-2 nearly all mass is at the two ends; at 1e3 the standard deviation is at most
        0.011. At theta = 0 both are 1, the uniform density.

    Returns:
      A ``Likelihood`` with support "unit".

    Raises:
      ValueError: for a squeeze outside (0, 1/2), or bounds that do not hold 1 between them.
    """
    if not 0 < squeeze < 0.5:
        raise ValueError(f"the squeeze must be in (0, 0.5), not {squeeze}: the density is infinite at 0 and 1")
    if not (0 < low < 1 < high < math.inf):
        raise ValueError(f"the bounds of a and b must hold 1 between them, not {low} and {high}")
    inner = 1.0 - 2.0 * squeeze

    def logs(theta):
        return between(at_least_float32(theta), math.log(low), math.log(high), 0.0)

    def terms(own, theta, x):
        return beta_log_prob(x, *logs(theta), squeeze)

    def cdf(own, theta, x):
        a, b = jnp.exp(logs(theta))
        u = betainc(a, b, jnp.clip(squeeze + inner * x, 0.0, 1.0))
        return u, u

    def mean(own, theta):
        log_a, log_b = logs(theta)
        return (jax.nn.sigmoid(log_a - log_b) - squeeze) / inner

    def variance(own, theta):
        log_a, log_b = logs(theta)
        ratio = log_a - log_b
        of_y = jax.nn.sigmoid(ratio) * jax.nn.sigmoid(-ratio) / (1.0 + jnp.exp(log_a) + jnp.exp(log_b))
        return of_y / inner**2

    def sample(own, theta, key):
        a, b = jnp.exp(logs(theta))
        return (jax.random.beta(key, a, b, dtype=a.dtype) - squeeze) / inner

    return Likelihood(
        init=lambda event: {},
        theta_shape=lambda event: (2, *event),
        log_prob=lambda own, theta, x: event_sum(terms(own, theta, x)),
        mean=mean,
        sample=sample,
        variance=variance,
        support="unit",
        cdf=cdf,
        terms=terms,
    )
