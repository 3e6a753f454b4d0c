"""The discretised logistic and its mixture: probabilities of grey levels (Salimans 2017, 1701.05517, section 2.1).

A logistic variable of location m and scale S on [-1, 1], rounded to the nearest of n levels; what falls beyond the
first or the last is counted to it. x = k / (n - 1) is on [0, 1]; m and S are in units of [-1, 1], as in the paper.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from vae_jax.gaussian import at_least_float32
from vae_jax.likelihoods.shared import Grid, between, event_sum
from vae_jax.types import Likelihood

HIGHEST = 3.0  # log S from which on all mass is at the two ends


def discretized_logistic_log_prob(x, mean, log_scale, levels: int = 256):
    """Returns log P(level), elementwise, nats: finite, and with finite gradients, however far off the level is.

    Written as a product of sigmoids, not as a difference: log(cdf - cdf) is -inf a few scales out.

    Args:
      x: k / (levels - 1) on [0, 1].
      mean, log_scale: m and log S of the logistic, in units of [-1, 1].
      levels: n.
    """
    half = 1.0 / (levels - 1)  # half a level, on [-1, 1]
    offset = 2.0 * x - 1.0 - mean
    above, below = (offset + half) * jnp.exp(-log_scale), (offset - half) * jnp.exp(-log_scale)
    up_to = -jax.nn.softplus(-above)  # log P(levels up to this one)
    from_here = -jax.nn.softplus(below)  # log P(this level and those above)
    # sg(a) - sg(b) = sg(a) sg(-b) (1 - e^(b - a)), and a - b is one level in units of the scale: no difference of two
    # numbers that are both nearly 1 or nearly 0.
    inside = up_to + from_here + jnp.log(-jnp.expm1(-2.0 * half * jnp.exp(-log_scale)))
    return jnp.where(x < 0.5 * half, up_to, jnp.where(x > 1.0 - 0.5 * half, from_here, inside))


def _moments(mean, log_scale, levels):
    """Returns E[x] and Var[x] of the rounded, clipped variable, elementwise: exact sums over the edges between levels.

    Both are taken about the level nearest to m, where all terms of a sum have one sign: no large numbers cancel, and a
    tiny variance keeps its digits. One edge at a time, so memory does not grow with the levels.
    """
    centre = jnp.clip(jnp.rint(0.5 * (mean + 1.0) * (levels - 1)), 0, levels - 1)

    def add(sums, k):  # the edge below level k
        first, second = sums
        edge = (2.0 * k - 1.0) / (levels - 1) - 1.0
        side = jnp.where(k > centre, 1.0, -1.0)
        # E[k - c] is the sum of P(beyond an edge) over the edges above c, less that over those below. For E[(k - c)^2]
        # each counts (k - c)^2 - (k - 1 - c)^2.
        beyond = jax.nn.sigmoid(side * (mean - edge) * jnp.exp(-log_scale))
        return (first + side * beyond, second + (2.0 * jnp.abs(k - 0.5 - centre)) * beyond), None

    start = (jnp.zeros_like(mean), jnp.zeros_like(mean))
    (first, second), _ = jax.lax.scan(add, start, jnp.arange(1, levels).astype(mean.dtype))
    step = 1.0 / (levels - 1)
    return step * (centre + first), step**2 * (second - jnp.square(first))


def _parts(theta, components: int, lowest: float, start: float):
    """Locations and log scales ``[k, *event]``, log weights the same or with 1 in place of the channels."""
    theta = at_least_float32(theta)
    centres = (2.0 * jnp.arange(components) + 1.0) / components - 1.0
    mean = theta[0] + jnp.reshape(centres, (components, *(1,) * (theta.ndim - 2)))
    log_scale = between(theta[1], lowest, HIGHEST, start)
    logits = jnp.zeros_like(mean) if components == 1 else theta[2]
    if theta.ndim == 5:  # an event of three axes: one component for all channels of a pixel
        logits = jnp.sum(logits, axis=-1, keepdims=True)
    return mean, log_scale, jax.nn.log_softmax(logits, axis=0)


def _sample(mean, log_scale, log_weight, levels: int, key):
    which, noise = jax.random.split(key)
    chosen = jnp.broadcast_to(jax.random.categorical(which, log_weight, axis=0), mean.shape[1:])[None]
    mean, log_scale = (jnp.take_along_axis(part, chosen, axis=0)[0] for part in (mean, log_scale))
    y = mean + jnp.exp(log_scale) * jax.random.logistic(noise, mean.shape, mean.dtype)
    return jnp.clip(jnp.rint(0.5 * (y + 1.0) * (levels - 1)), 0, levels - 1) / (levels - 1)


def discretized_logistic(levels: int = 256, components: int = 1) -> Likelihood:
    """Makes a mixture of discretised logistics for grey levels x = k / (levels - 1), nothing dequantised.

    The channels of a pixel (an event of three axes, ``[h, w, c]``) share their component, so they correlate (a pixel's
    logits are summed over its channels); in any other event each dimension has its own mixture.

    theta is ``[3, components, *event]``: locations, raw log scales, weight logits (``[2, 1, *event]`` for one
    component, which has no weights). theta = 0 is a sensible start: the locations lie evenly over [-1, 1] with
    log S = -1 - log(components) around them, together about as wide as the pixels of an image. log S is bounded
    smoothly, from three below the log of half a level (where a level has all its mass but 4e-9) to 3.

    Args:
      levels: n, at least 2.
      components: K, at least 1.

    Returns:
      A ``Likelihood`` whose support is a ``Grid``; ``log_prob`` is of probabilities, so at most 0, and comparable in
      bits. ``mean`` and ``variance`` are exact, of the rounded variable.

    Raises:
      ValueError: for fewer levels or components.
    """
    if levels < 2 or components < 1:
        raise ValueError(f"at least 2 levels and 1 component are needed, not {levels} and {components}")
    lowest = -math.log(levels - 1) - 3.0
    start = max(-1.0 - math.log(components), lowest + 1.0)

    def parts(theta):
        return _parts(theta, components, lowest, start)

    def terms(own, theta, x):
        mean, log_scale, log_weight = parts(theta)
        each = discretized_logistic_log_prob(x, mean, log_scale, levels)
        if x.ndim == 3:
            each = jnp.sum(each, axis=-1, keepdims=True)
        return jax.nn.logsumexp(log_weight + each, axis=0)

    def conditionals(own, theta, x):
        mean, log_scale, log_weight = parts(theta)
        each = discretized_logistic_log_prob(x, mean, log_scale, levels)
        if x.ndim == 3:  # what the channels before say of the component that the pixel has
            before = jnp.cumsum(each[..., :-1], axis=-1)
            log_weight = jax.nn.log_softmax(
                log_weight + jnp.concatenate([jnp.zeros_like(each[..., :1]), before], axis=-1), axis=0
            )
        return jax.nn.logsumexp(log_weight + each, axis=0)

    def cdf(own, theta, x):
        mean, log_scale, log_weight = parts(theta)
        offset, half = 2.0 * x - 1.0 - mean, 1.0 / (levels - 1)
        below, up_to = (
            jnp.sum(jnp.exp(log_weight) * jax.nn.sigmoid((offset + side * half) * jnp.exp(-log_scale)), axis=0)
            for side in (-1.0, 1.0)
        )
        return jnp.where(x < 0.5 * half, 0.0, below), jnp.where(x > 1.0 - 0.5 * half, 1.0, up_to)

    def moments(theta):
        mean, log_scale, log_weight = parts(theta)
        weight = jnp.exp(log_weight)
        means, variances = _moments(mean, log_scale, levels)
        whole = jnp.sum(weight * means, axis=0)
        return whole, jnp.sum(weight * (variances + jnp.square(means - whole)), axis=0)

    return Likelihood(
        init=lambda event: {},
        theta_shape=lambda event: (2, 1, *event) if components == 1 else (3, components, *event),
        log_prob=lambda own, theta, x: event_sum(terms(own, theta, x)),
        mean=lambda own, theta: moments(theta)[0],
        sample=lambda own, theta, key: _sample(*parts(theta), levels, key),
        variance=lambda own, theta: moments(theta)[1],
        support=Grid(levels, 1.0 / (levels - 1)),
        cdf=cdf,
        terms=terms,
        conditionals=conditionals,
    )
