"""Likelihoods of what is computed from x (spectra, the layers of a frozen network), and several of them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from vae_jax.gaussian import at_least_float32
from vae_jax.types import Array, Likelihood


def on_features(likelihood: Likelihood, features: Callable[[Array], Array]) -> Likelihood:
    """Makes ``likelihood`` of the features of x around those of the decoder's output: p(features(x) | features(theta)).

    A distance ``sum |f(x) - f(xhat)|^2 / (2 sigma^2)`` of frozen features is a Gaussian of the features, and its sigma
    can be learned with the constant that a density of the features has. That is no density of x: features are fewer
    numbers or more than x has, and no Jacobian is counted. A bound made of it bounds nothing about x, but beta sigma^2,
    the rate and what several terms weigh against each other (``product``) are as of any Gaussian.
    A linear map of the pixels, ``lambda x: sqrt(w) * x``, is a squared error with a weight w for each pixel.

    Args:
      likelihood: of one parameter for each number, such as ``gaussian("learned")`` or ``laplace()``.
      features: ``x[event] -> [any shape]``, of one example; no parameters of it are trained.

    Returns:
      A ``Likelihood`` with support "real"; theta is ``[event]``. What it says of x itself is the decoder's output: the
      mean, and samples without noise. It has no ``terms``, no ``cdf`` and a variance of 0.

    Raises:
      ValueError: for a family that is solved for in every batch; from ``theta_shape`` for one of several parameters.
    """
    if likelihood.refit is not None:
        raise ValueError("a family that is solved for in every batch cannot be of features: learn its sigma")

    def shape(event) -> tuple[int, ...]:
        return jax.eval_shape(features, jax.ShapeDtypeStruct(tuple(event), jnp.float32)).shape

    def theta_shape(event):
        if tuple(likelihood.theta_shape(shape(event))) != shape(event):
            raise ValueError("a family of features has one parameter for each of them, as gaussian('learned') has")
        return tuple(event)

    return Likelihood(
        init=lambda event: likelihood.init(shape(event)),
        theta_shape=theta_shape,
        log_prob=lambda own, theta, x: likelihood.log_prob(own, features(at_least_float32(theta)), features(x)),
        mean=lambda own, theta: at_least_float32(theta),
        sample=lambda own, theta, key: at_least_float32(theta),
        variance=lambda own, theta: jnp.zeros_like(at_least_float32(theta)),
        support="real",
        sigma=likelihood.sigma,
        frozen=likelihood.frozen,
        sigma_bound=likelihood.sigma_bound,
        rescale=likelihood.rescale,
    )


def product(parts: Sequence[Likelihood]) -> Likelihood:
    """Makes one likelihood of several that compare the same decoder's output with x: the sum of their log densities.

    Each part has its own scale; where scales are learned the parts balance themselves, for at the optimum a Gaussian
    part's sigma^2 is its own mean squared error (Kendall 2018, 1705.07115, eq. 7). One sigma for each layer of a frozen
    network is ``product([on_features(gaussian(), layer) for layer in layers])``. The product of several densities of
    the same x is not normalised, so this bounds nothing about x.

    Args:
      parts: which read theta alike; what is said of x itself (mean, samples, variance) is the first part's.

    Returns:
      A ``Likelihood``; ``own`` is a dict of those parts that have parameters, by their index, and a ``frozen`` part
      gets no gradient. There is no ``sigma``.

    Raises:
      ValueError: for no parts, or one that is solved for in every batch; from ``theta_shape`` where they differ.
    """
    if not parts:
        raise ValueError("a product needs at least one likelihood")
    if any(part.refit is not None for part in parts):
        raise ValueError("a family that is solved for in every batch cannot be a part: learn its sigma")
    first = parts[0]

    def init(event):
        each = {str(i): part.init(event) for i, part in enumerate(parts)}
        return {name: own for name, own in each.items() if own}

    def owned(own, i: int):
        mine = own.get(str(i), {})
        return jax.lax.stop_gradient(mine) if parts[i].frozen else mine

    def theta_shape(event):
        shapes = {tuple(part.theta_shape(event)) for part in parts}
        if len(shapes) > 1:
            raise ValueError(f"the parts of a product read different outputs of the decoder: {sorted(shapes)}")
        return shapes.pop()

    return Likelihood(
        init=init,
        theta_shape=theta_shape,
        log_prob=lambda own, theta, x: sum(part.log_prob(owned(own, i), theta, x) for i, part in enumerate(parts)),
        mean=lambda own, theta: first.mean(owned(own, 0), theta),
        sample=lambda own, theta, key: first.sample(owned(own, 0), theta, key),
        variance=lambda own, theta: first.variance(owned(own, 0), theta),
        support=first.support,
        frozen=all(part.frozen for part in parts),
    )
