"""The categorical likelihood: a free probability for each of a few values."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from vae_jax.gaussian import at_least_float32
from vae_jax.likelihoods.shared import Grid, event_sum
from vae_jax.types import Likelihood


def categorical_log_prob(classes, logits):
    """Returns log_softmax(logits)[class]: ``classes [...]`` integers, ``logits [..., k]`` -> ``[...]``, nats.

    A class outside 0 .. k - 1 has probability 0, so -inf.
    """
    log_p = jax.nn.log_softmax(logits, axis=-1)
    inside = (classes >= 0) & (classes < logits.shape[-1])
    picked = jnp.take_along_axis(log_p, jnp.where(inside, classes, 0)[..., None], axis=-1)[..., 0]
    return jnp.where(inside, picked, -jnp.inf)


def categorical(num_classes: int = 256, scale: float | None = None) -> Likelihood:
    """Makes independent categorical dimensions, theta the logits ``[*event, k]``.

    Args:
      num_classes: k.
      scale: x of one class is class * scale. None for 1 / (k - 1): the k grey levels on [0, 1], which have an order. 1
        where x is the code of a class, as in a table, which has none. x of an integer dtype is the class itself
        whatever the scale (tokens). Between two classes x counts as the nearer one; outside them it has probability 0.

    Returns:
      A ``Likelihood`` whose support is a ``Grid``; ``log_prob`` is of probabilities, so at most 0. ``mean``,
      ``variance`` and ``sample`` (floats) are in the units of x; with a ``scale`` the ``mean`` is the most probable
      class, the ``variance`` that of the codes, and ``log_classes`` is there.

    Raises:
      ValueError: for fewer than two classes or a scale that is not positive.
    """
    if num_classes < 2:
        raise ValueError(f"a categorical has at least two classes, not {num_classes}")
    step = 1.0 / (num_classes - 1) if scale is None else scale
    if not (math.isfinite(step) and step > 0):
        raise ValueError(f"the scale must be positive, not {scale}")

    def as_class(x):
        x = x if jnp.issubdtype(x.dtype, jnp.integer) else jnp.rint(x / step)
        return x.astype(jnp.int32)

    def terms(own, theta, x):
        return categorical_log_prob(as_class(x), at_least_float32(theta))

    def cdf(own, theta, x):
        place = as_class(x)[..., None] - jnp.arange(num_classes)
        p = jax.nn.softmax(at_least_float32(theta), axis=-1)
        return jnp.sum(jnp.where(place > 0, p, 0.0), axis=-1), jnp.sum(jnp.where(place >= 0, p, 0.0), axis=-1)

    def mean(own, theta):
        most_probable = jnp.argmax(theta, axis=-1).astype(at_least_float32(theta).dtype)
        return step * (in_classes(theta)[1] if scale is None else most_probable)

    def in_classes(theta):
        p = jax.nn.softmax(at_least_float32(theta), axis=-1)
        return p, jnp.sum(p * jnp.arange(num_classes), axis=-1)

    def variance(own, theta):
        p, mean = in_classes(theta)
        return step**2 * jnp.sum(p * jnp.square(jnp.arange(num_classes) - mean[..., None]), axis=-1)

    def sample(own, theta, key):
        theta = at_least_float32(theta)
        return step * jax.random.categorical(key, theta).astype(theta.dtype)

    return Likelihood(
        init=lambda event: {},
        theta_shape=lambda event: (*event, num_classes),
        log_prob=lambda own, theta, x: event_sum(terms(own, theta, x)),
        mean=mean,
        sample=sample,
        variance=variance,
        support=Grid(num_classes, step),
        cdf=cdf,
        log_classes=None if scale is None else lambda own, theta: jax.nn.log_softmax(at_least_float32(theta)),
        terms=terms,
    )
