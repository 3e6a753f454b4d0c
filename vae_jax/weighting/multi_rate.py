"""One network for every beta (Bae 2022, 2212.03905; Dosovitskiy and Djolonga 2020): beta is one of its parameters.

A multi-rate model (``models.mlp(..., beta_range=(low, high))``) has one more leaf, ``params["model"]["eta"]``, the log
beta at which it encodes and decodes. So the model at beta is an ordinary VAE with the parameters ``at_beta(params,
beta)``, for evaluation, pictures and checkpoints. Training draws a beta for every example (``draw_etas``) and leaves
the leaf as it is.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from vae_jax.types import Array, Likelihood, Params

_GOLDEN = 2654435769  # 2^32 divided by the golden ratio


def log_range(beta_range: tuple[float, float]) -> tuple[float, float]:
    """Returns ``(log low, log high)`` of a range of beta.

    Raises:
      ValueError: unless 0 < low < high < infinity.
    """
    low, high = beta_range
    if not (0.0 < low < high < math.inf):
        raise ValueError(f"a range of beta must be (low, high) with 0 < low < high, not ({low}, {high})")
    return math.log(low), math.log(high)


def initial_eta(beta_range: tuple[float, float]) -> Array:
    """Returns the log beta of new parameters, float32: that of beta = 1, or of the nearest end of the range."""
    low, high = log_range(beta_range)
    return jnp.full((), min(max(0.0, low), high), jnp.float32)


def between_knots(values: Array, eta, beta_range: tuple[float, float]) -> Array:
    """Interpolates ``values [knots, ...]`` at equidistant log betas linearly in ``eta``; constant outside."""
    low, high = log_range(beta_range)
    knots = values.shape[0]
    place = jnp.clip((eta - low) / (high - low), 0.0, 1.0) * (knots - 1)
    hats = jnp.maximum(0.0, 1.0 - jnp.abs(place - jnp.arange(knots)))  # [knots]; two are not 0, and their sum is 1
    return jnp.tensordot(hats.astype(values.dtype), values, 1)


def at_eta(params: Params, eta) -> Params:
    """Does what ``at_beta`` does, for eta = log beta."""

    def placed(part):
        if isinstance(part, dict) and "eta" in part:
            return {**part, "eta": jnp.asarray(eta, part["eta"].dtype)}
        return part

    if "eta" not in params["model"]:
        raise ValueError("these are not the parameters of a multi-rate model: they have no eta")
    return {name: placed(part) for name, part in params.items()}


def at_beta(params: Params, beta) -> Params:
    """Returns parameters ``{"model": ..., "likelihood": ...}`` of the model at ``beta``: every eta leaf is log beta.

    Args:
      params: of a multi-rate model; the likelihood's have an eta where they depend on beta (``respond``).
      beta: the KL weight, > 0 and within the range of training; nothing was learned outside of it.

    Raises:
      ValueError: the model has no eta.
    """
    return at_eta(params, jnp.log(jnp.asarray(beta)))


def draw_etas(key: Array, index: Array, beta_range: tuple[float, float]) -> Array:
    """Draws a log beta for each example of a batch, ``index [b] -> [b]`` float32, uniform over the range of log beta.

    An additive recurrence: one uniform number from ``key``, moved on by the golden ratio for each example and wrapped
    around, so that any run of consecutive examples covers the range evenly, and the draw depends on the example's
    place in the global batch and not on the number of devices. Consumes ``key``.
    """
    low, high = log_range(beta_range)
    start = jax.random.bits(key, (), jnp.uint32)
    # Uniform over the turn whatever the start, and of any n in a row the largest gap is below 2 / n.
    turns = start + index.astype(jnp.uint32) * jnp.uint32(_GOLDEN)  # modulo 2^32: the fraction of a turn, exact
    # 24 bits: what a float32 holds exactly, so that the draw stays below ``high``.
    return low + (high - low) * (turns >> 8).astype(jnp.float32) * 2.0**-24


def respond(likelihood: Likelihood, beta_range: tuple[float, float], knots: int = 9) -> Likelihood:
    """Makes the family's own parameters depend on beta: linear in log beta between ``knots`` equidistant ones.

    Args:
      likelihood: one whose parameters are learned by gradient, e.g. ``gaussian("learned")``. One without parameters
        of its own, or with frozen ones, works as it did.
      beta_range: where the outermost knots are; the parameters stay constant outside.
      knots: how many, at least 2.

    Returns:
      A ``Likelihood`` whose own parameters are ``{"eta": scalar, "knots": ...}``, the leaves of the latter with the
      axis of the knots in front. Every function of ``own`` reads them at ``own["eta"]``.

    Raises:
      ValueError: a family with a ``refit``, or fewer than two knots.
    """
    if likelihood.refit is not None:
        raise ValueError(
            "a likelihood that is solved for in every batch (precision=optimal) cannot depend on beta: the batch mixes "
            "all betas, and its error is that of none of them; precision=learned follows beta"
        )
    if knots < 2:
        raise ValueError(f"between two ends there are at least 2 knots, not {knots}")
    log_range(beta_range)
    if likelihood.frozen:
        return likelihood

    def init(event):
        own = likelihood.init(event)
        if not jax.tree.leaves(own):
            return own
        repeated = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (knots, *jnp.shape(leaf))), own)
        return {"eta": initial_eta(beta_range), "knots": repeated}

    def at(own):
        if "knots" not in own:
            return own
        return jax.tree.map(lambda leaf: between_knots(leaf, own["eta"], beta_range), own["knots"])

    def reading(function):
        return None if function is None else lambda own, *rest: function(at(own), *rest)

    return likelihood._replace(
        init=init,
        log_prob=reading(likelihood.log_prob),
        mean=reading(likelihood.mean),
        sample=reading(likelihood.sample),
        variance=reading(likelihood.variance),
        sigma=reading(likelihood.sigma),
        cdf=reading(likelihood.cdf),
        log_classes=reading(likelihood.log_classes),
        terms=reading(likelihood.terms),
        conditionals=reading(likelihood.conditionals),
        rescale=None,  # one factor, found at one beta, is not that of the others
    )
