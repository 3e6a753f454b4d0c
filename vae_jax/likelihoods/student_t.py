"""The Student-t likelihood: Gaussian near its centre, with the tails of a power law (Takahashi 2018, IJCAI)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from vae_jax.likelihoods.location_scale import location_scale
from vae_jax.types import Likelihood


def student_t_log_prob(x, location, log_scale, df: float):
    """log of the Student-t density of ``df`` degrees of freedom, elementwise, nats; as df grows, the Gaussian's."""
    constant = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    square = jnp.square((x - location) * jnp.exp(-log_scale))
    return constant - log_scale - 0.5 * (df + 1) * jnp.log1p(square / df)


def _cdf(t, df: float):
    # From t = 0 outwards: the usual form, from the tail inwards, loses half the digits of small t.
    share = jax.scipy.special.betainc(0.5, 0.5 * df, jnp.square(t) / (df + jnp.square(t)))
    return 0.5 + 0.5 * jnp.sign(t) * share


def student_t(df: float = 4.0, scale: float = 0.1, learn_scale: bool = True, min_scale: float = 1e-3) -> Likelihood:
    """Independent Student-t dimensions around the decoder's output, for data with outliers.

    What a squared error pays for an outlier this family pays only the logarithm of, so the weight is not one number:
    an error e weighs like a Gaussian of variance (df scale^2 + e^2) / (df + 1). For errors far below the scale the
    water level is beta df scale^2 / (df + 1), and it rises with the error.

    Args:
      df: degrees of freedom, fixed; above 2, or there is no variance. 4 leaves one draw in 9 beyond two scales.
      scale: the fixed or initial scale, in units of x; the standard deviation is scale * sqrt(df / (df - 2)).
      learn_scale: one scalar learned by gradient; else it stays.
      min_scale: the lower bound of a learned scale, approached smoothly.

    Returns:
      A ``Likelihood`` with support "real" and no ``sigma``; theta is ``[event]``, the mean.

    Raises:
      ValueError: for df <= 2, or a scale that is not positive or not above its bound.
    """
    if not (math.isfinite(df) and df > 2):
        raise ValueError(f"a Student-t has a variance for df > 2 only, not for df = {df}")
    return location_scale(
        log_prob=lambda x, location, log_scale: student_t_log_prob(x, location, log_scale, df),
        noise=lambda key, shape, dtype: jax.random.t(key, df, shape, dtype),
        cdf=lambda t: _cdf(t, df),
        variance=df / (df - 2),
        scale=scale,
        learn_scale=learn_scale,
        min_scale=min_scale,
    )
