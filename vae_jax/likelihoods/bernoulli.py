"""The Bernoulli likelihood of binary pixels."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.likelihoods.shared import event_sum, log1p_of_share
from vae_jax.types import Likelihood


def cross_entropy_with_logits(x, logits):
    """Returns x l - softplus(l), elementwise, in nats: log Bernoulli(x) for x in {0, 1}, minus the BCE for grey x.

    Written so that nothing large cancels: the value keeps its relative precision, and value and gradient are finite,
    for every logit. Both pieces take the same side at l = 0, where the derivatives of ``max`` and ``abs`` would not
    agree.
    """
    positive = logits >= 0.0
    linear = jnp.where(positive, x - 1.0, x) * logits
    return linear - log1p_of_share(jnp.exp(-jnp.where(positive, logits, -logits)))


def _cdf(own, theta, x):
    zero = jax.nn.sigmoid(-theta)  # P(0)
    return jnp.where(x > 0.0, zero, 0.0), jnp.where(x >= 1.0, 1.0, zero)


def bernoulli() -> Likelihood:
    """Makes independent Bernoulli pixels, theta the logits ``[event]``; x in {0, 1}.

    On grey x the same expression is the BCE loss, whose floor is the entropy of x and which is no density: use
    ``continuous_bernoulli`` there.
    """

    def terms(own, theta, x):
        return cross_entropy_with_logits(x, theta)

    return Likelihood(
        init=lambda event: {},
        theta_shape=lambda event: tuple(event),
        log_prob=lambda own, theta, x: event_sum(terms(own, theta, x)),
        mean=lambda own, theta: jax.nn.sigmoid(theta),
        sample=lambda own, theta, key: jax.random.bernoulli(key, jax.nn.sigmoid(theta)).astype(theta.dtype),
        variance=lambda own, theta: jax.nn.sigmoid(theta) * jax.nn.sigmoid(-theta),
        support="binary",
        cdf=_cdf,
        terms=terms,
    )
