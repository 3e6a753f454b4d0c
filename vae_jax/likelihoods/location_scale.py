"""Student-t and Laplace: noise of one shape and one scale around the decoder's output, for data with heavy tails."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vae_jax.gaussian import at_least_float32
from vae_jax.likelihoods.shared import event_sum, softplus_above, softplus_above_inverse
from vae_jax.traced import given, log
from vae_jax.types import Array, Likelihood


def location_scale(
    log_prob: Callable[[Array, Array, Array], Array],
    noise: Callable[..., Array],
    cdf: Callable[[Array], Array],
    variance: float,
    scale: float,
    learn_scale: bool,
    min_scale: float,
) -> Likelihood:
    """Makes independent x = theta + scale * noise, theta ``[event]``, the scale one number for the whole family.

    Args:
      log_prob: ``(x, location, log_scale) -> nats``, elementwise.
      noise: ``(key, shape, dtype) -> draws`` of scale 1.
      cdf: its distribution function, elementwise.
      variance: of that noise.
      scale: the fixed or initial scale, in units of x; may be traced.
      learn_scale: learned by gradient; else it stays.
      min_scale: the lower bound of a learned scale, approached smoothly in its logarithm as in ``gaussian``.

    Returns:
      A ``Likelihood`` with support "real". Its ``sigma`` is None: the scale is not the standard deviation of a
      Gaussian, and beta * scale^2 is no water level.

    Raises:
      ValueError: for a scale that is not positive, or is learned and not above its bound.
    """
    if given(scale) and not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"the scale must be positive, not {scale}")
    if learn_scale and given(scale) and not 0 < min_scale < scale:
        raise ValueError(f"an initial scale of {scale} is not above its lower bound {min_scale}")
    low = math.log(min_scale) if learn_scale else None

    def init(event):
        if not learn_scale:
            return {"log_scale": jnp.full((), log(scale), jnp.float32)}
        return {"u": jnp.full((), softplus_above_inverse(log(scale), low), jnp.float32)}

    def log_scale(own):
        return softplus_above(own["u"], low) if learn_scale else own["log_scale"]

    def terms(own, theta, x):
        return log_prob(x, at_least_float32(theta), log_scale(own))

    def sample(own, theta, key):
        theta = at_least_float32(theta)
        return theta + jnp.exp(log_scale(own)) * noise(key, theta.shape, theta.dtype)

    return Likelihood(
        init=init,
        theta_shape=lambda event: tuple(event),
        log_prob=lambda own, theta, x: event_sum(terms(own, theta, x)),
        mean=lambda own, theta: at_least_float32(theta),
        sample=sample,
        variance=lambda own, theta: jnp.full(theta.shape, variance) * jnp.exp(2.0 * log_scale(own)),
        support="real",
        cdf=lambda own, theta, x: (cdf((x - at_least_float32(theta)) * jnp.exp(-log_scale(own))),) * 2,
        frozen=not learn_scale,
        sigma_bound=min_scale * math.sqrt(variance) if learn_scale else None,
        terms=terms,
    )


def student_t_log_prob(x, location, log_scale, df: float):
    """Returns log of the Student-t density of ``df`` degrees of freedom, elementwise, nats."""
    if df > 1e6:  # the two terms below differ by less than they are rounded: Stirling's series, to 1 / df^3
        constant = -0.5 * math.log(2.0 * math.pi) - 0.25 / df
    else:
        constant = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    square = jnp.square((x - location) * jnp.exp(-log_scale))
    return constant - log_scale - 0.5 * (df + 1) * jnp.log1p(square / df)


def _cdf(t, df: float):
    if df >= 8:
        # Hill 1970 (CACM 13, algorithm 395): the normal deviate of the same probability, 3e-9 from df = 8 on. The
        # incomplete beta function takes gammaln(df / 2), whose rounding in float32 costs 4e-6 at df = 100, .03 at 1e6.
        a = df - 0.5
        b, y = 48.0 * a * a, a * jnp.log1p(jnp.square(t) / df)
        series = (((-0.4 * y - 3.3) * y - 24.0) * y - 85.5) / (0.8 * y * y + 100.0 + b) + y + 3.0
        return jax.scipy.special.ndtr(jnp.sign(t) * (series / b + 1.0) * jnp.sqrt(y))
    # From t = 0 outwards: the usual form, from the tail inwards, loses half the digits of small t.
    share = jax.scipy.special.betainc(0.5, 0.5 * df, jnp.square(t) / (df + jnp.square(t)))
    return 0.5 + 0.5 * jnp.sign(t) * share


def student_t(df: float = 4.0, scale: float = 0.1, learn_scale: bool = True, min_scale: float = 1e-3) -> Likelihood:
    """Makes independent Student-t dimensions around the decoder's output, for data with outliers.

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
    df = min(df, 1e9)  # from here on a Gaussian to nine digits, and square / df still a float32
    return location_scale(
        log_prob=lambda x, location, log_scale: student_t_log_prob(x, location, log_scale, df),
        noise=lambda key, shape, dtype: jax.random.t(key, df, shape, dtype),
        cdf=lambda t: _cdf(t, df),
        variance=df / (df - 2),
        scale=scale,
        learn_scale=learn_scale,
        min_scale=min_scale,
    )


def laplace_log_prob(x, location, log_scale):
    """Returns log of the Laplace density, -|x - location| / scale - log(2 scale), elementwise, nats."""
    error = x - location
    # |error| with the slope 0 at 0: that of jnp.abs is 1 there, and would push what is already right.
    return -error * jnp.sign(error) * jnp.exp(-log_scale) - log_scale - math.log(2.0)


def _laplace_cdf(t):
    tail = 0.5 * jnp.exp(-jnp.abs(t))
    return jnp.where(t < 0.0, tail, 1.0 - tail)


def laplace(scale: float = 0.1, learn_scale: bool = True, min_scale: float = 1e-3) -> Likelihood:
    """Makes independent Laplace dimensions around the decoder's output: its mean and median.

    An absolute error ``a * sum|x - m| + b * KL`` is this family with beta * scale = b / a: the product plays the part
    of the Gaussian's water level beta sigma^2, in units of x and without its factor 2. At a learned scale it settles
    at the mean absolute error.

    Args:
      scale: the fixed or initial scale, in units of x; the standard deviation is sqrt(2) * scale.
      learn_scale: one scalar learned by gradient; else it stays.
      min_scale: the lower bound of a learned scale, approached smoothly.

    Returns:
      A ``Likelihood`` with support "real" and no ``sigma``; theta is ``[event]``, the mean.

    Raises:
      ValueError: for a scale that is not positive or not above its bound.
    """
    return location_scale(laplace_log_prob, jax.random.laplace, _laplace_cdf, 2.0, scale, learn_scale, min_scale)
