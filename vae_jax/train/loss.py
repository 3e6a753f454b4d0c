"""The loss of a batch: the terms of its examples, and the number that training minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vae_jax import objective as bounds
from vae_jax.estimators import inferred, without_gradient
from vae_jax.randomness import BETA, LATENT, PIXELS, example_keys, purpose_key
from vae_jax.train.microbatches import in_microbatches
from vae_jax.train.recipe import Recipe
from vae_jax.types import Array, Params, Terms, TrainState, value_of
from vae_jax.weighting.multi_rate import at_eta, draw_etas


class Scored(NamedTuple):
    """A batch, inferred and scored.

    Attributes:
      theta: the decoder's output for each example, ``[b, s, ...]``; None with microbatches, which are not to hold it.
      terms: ``[b, ...]``.
      own: the likelihood's own parameters that scored the batch; of a multi-rate model each leaf has ``[b]`` in front.
      kept: those that the run keeps, from a ``refit``; without one, those that it had.
    """

    theta: Array | None
    terms: Terms
    own: Params
    kept: Params


def draws(recipe: Recipe, state: TrainState, raw: Array, index: Array) -> tuple[Array, Array, Array | None]:
    """Draws the randomness of update ``state.step``: ``(x[b, *event], keys[b], eta[b])``, keyed by ``index``.

    Args:
      recipe: its ``preprocess`` makes x, its ``beta_range`` the log betas; without a range eta is None.
      state: its step and key.
      raw, index: the batch ``[b, *event]``, and the place of each example in the global one.
    """

    def keys_for(purpose):
        return purpose_key(state.key, purpose, state.step)

    x = jax.vmap(recipe.preprocess)(example_keys(keys_for(PIXELS), index), raw)
    eta = None if recipe.beta_range is None else draw_etas(keys_for(BETA), index, recipe.beta_range)
    return x, example_keys(keys_for(LATENT), index), eta


def score_batch(recipe: Recipe, params: Params, x: Array, keys: Array, eta: Array | None = None) -> Scored:
    """Infers and scores ``x[b, *event]``, as an update does.

    Args:
      recipe: how.
      params: of the model.
      x, keys: the batch, and a key for each example.
      eta: None, or of a multi-rate model the log beta of each example, ``[b]``.
    """
    vae, likelihood = inferred(recipe.objective, recipe.vae), recipe.likelihood
    in_parts = recipe.microbatches > 1
    over_batch = in_microbatches(recipe.microbatches) if in_parts else jax.vmap
    own = params["likelihood"]
    if likelihood.refit is not None:  # its variance needs the decoder's output for the whole batch
        q, z, theta = over_batch(lambda x, key: bounds.infer(vae, params, x, key, recipe.num_samples))(x, keys)
        own, kept = likelihood.refit(own, theta, value_of(x), recipe.all_mean)
        score = over_batch(lambda x, q, z, theta: bounds.score(likelihood, own, x, q, z, theta))
        return Scored(theta, score(x, q, z, theta), own, kept)

    def example(x, key, eta=None):
        at = params if eta is None else at_eta(params, eta)
        q, z, theta = bounds.infer(vae, at, x, key, recipe.num_samples)
        terms = bounds.score(likelihood, at["likelihood"], x, q, z, theta)
        # Of a whole batch theta is the largest array of all: what is cut to save memory does not return it.
        return None if in_parts else theta, terms, None if eta is None else at["likelihood"]

    theta, terms, own_of_each = over_batch(example)(x, keys, *(() if eta is None else (eta,)))
    return Scored(theta, terms, own if eta is None else own_of_each, own)


def make_loss(recipe: Recipe) -> Callable[..., tuple[Array, tuple[dict[str, Array], Params]]]:
    """The loss as a function ``(params, beta, x[b, *event], keys[b], eta) -> (loss, (metrics, kept))``.

    ``eta`` is as in ``score_batch``, and each example's weight is then ``beta`` times its own; ``metrics`` are scalars,
    nats: ``loss`` (minimised), ``elbo``, ``rate``, ``distortion`` (weight 1), ``sigma`` where the family has one, and
    ``rate_layer_I`` of a hierarchy; ``kept`` is that of ``Scored``.
    """

    of_encoder = getattr(recipe.objective, "of_encoder", None)

    def loss_fn(params, beta, x, keys, eta=None):
        ours = params if of_encoder is None else without_gradient(params, of_inference=True)
        scored = score_batch(recipe, ours, x, keys, eta)
        t, sigma = scored.terms, recipe.likelihood.sigma
        loss = -recipe.objective(t, beta if eta is None else beta * jnp.exp(eta))
        if of_encoder is not None:
            inference = without_gradient(params, of_inference=False)
            other = -of_encoder(score_batch(recipe, inference, x, keys).terms, beta)
            # The loss has its gradient, not its value.
            loss = loss + other - jax.lax.stop_gradient(other)
        metrics = {
            "loss": loss,
            "elbo": bounds.elbo(t),
            "rate": jnp.mean(bounds.rate(t)),
            "distortion": jnp.mean(bounds.distortion(t)),
        }
        for i, rate in enumerate(bounds.rate_of_layers(t, recipe.vae.layers) if recipe.vae.layers else ()):
            metrics[f"rate_layer_{i + 1}"] = jnp.mean(rate)
        if sigma is not None:
            metrics["sigma"] = sigma(scored.own) if eta is None else jnp.mean(jax.vmap(sigma)(scored.own))
        return loss, (metrics, scored.kept)

    return loss_fn
