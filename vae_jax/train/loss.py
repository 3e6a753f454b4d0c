"""The loss of a batch as training sees it: the terms of its examples, and the number that is minimised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vae_jax import objective as bounds
from vae_jax.randomness import BETA, LATENT, PIXELS, example_keys, purpose_key
from vae_jax.types import VAE, Array, Likelihood, Objective, Params, Terms, TrainState
from vae_jax.weighting.multi_rate import at_eta, draw_etas


class Scored(NamedTuple):
    """A batch, inferred and scored.

    Attributes:
      theta: what the decoder says of each example, ``[b, s, ...]``; None where microbatches are there to not hold it.
      terms: ``[b, ...]``.
      own: the likelihood's own parameters that scored the batch; of a multi-rate model each leaf has ``[b]`` in front.
      kept: those that the run keeps, from a ``refit``; without one, those that it had.
    """

    theta: Array | None
    terms: Terms
    own: Params
    kept: Params


def draws(
    state: TrainState,
    raw: Array,
    index: Array,
    preprocess: Callable[[Array, Array], Array],
    beta_range: tuple[float, float] | None,
) -> tuple[Array, Array, Array | None]:
    """What chance gives to update ``state.step``: ``(x[b, *event], keys[b], eta[b])``, each by the example's ``index``.

    Args:
      state: its step and key.
      raw, index: the batch ``[b, *event]``, and the place of each example in the global one.
      preprocess, beta_range: as in ``make_train_step``; without a range eta is None.
    """
    x = jax.vmap(preprocess)(example_keys(purpose_key(state.key, PIXELS, state.step), index), raw)
    keys = example_keys(purpose_key(state.key, LATENT, state.step), index)
    if beta_range is None:
        return x, keys, None
    return x, keys, draw_etas(purpose_key(state.key, BETA, state.step), index, beta_range)


def score_batch(
    vae: VAE,
    likelihood: Likelihood,
    params: Params,
    x: Array,
    keys: Array,
    eta: Array | None = None,
    num_samples: int = 1,
    all_mean: Callable[[Any], Any] = lambda value: value,
    microbatches: int = 1,
) -> Scored:
    """Infers and scores ``x[b, *event]``, as an update does.

    Args:
      vae, likelihood, params: the model.
      x, keys: the batch, and a key for each example.
      eta: None, or of a multi-rate model the log beta of each example, ``[b]``.
      num_samples: of z for each example.
      all_mean: the mean over devices, for a ``refit``.
      microbatches: into how many parts the batch is cut, one after the other (``in_microbatches``).
    """
    over_batch = in_microbatches(microbatches) if microbatches > 1 else jax.vmap
    infer = lambda at, x, key: bounds.infer(vae, at, x, key, num_samples)  # noqa: E731
    own = kept = params["likelihood"]
    if likelihood.refit is not None:  # its variance needs what the decoder says of the whole batch
        q, z, theta = over_batch(lambda x, key: infer(params, x, key))(x, keys)
        own, kept = likelihood.refit(own, theta, x, all_mean)
        score = over_batch(lambda x, q, z, theta: bounds.score(likelihood, own, x, q, z, theta))
        return Scored(theta, score(x, q, z, theta), own, kept)

    def example(x, key, eta=None):
        at = params if eta is None else at_eta(params, eta)
        q, z, theta = infer(at, x, key)
        terms = bounds.score(likelihood, at["likelihood"], x, q, z, theta)
        return None if microbatches > 1 else theta, terms, None if eta is None else at["likelihood"]

    theta, terms, own_of_each = over_batch(example)(x, keys, *(() if eta is None else (eta,)))
    return Scored(theta, terms, own if eta is None else own_of_each, kept)


def in_microbatches(count: int) -> Callable[[Callable], Callable]:
    """``vmap`` over a batch in ``count`` parts, one after the other: their gradients add up in the backward pass.

    Only one part's activations are held at a time, and made again for its gradient, a third more work. What couples
    the examples (an objective, a ``refit``) still sees the whole batch, so every bound is what it was.
    """

    def over_batch(function: Callable) -> Callable:
        part = jax.checkpoint(jax.vmap(function))

        def cut(leaf):
            # Every count-th example, so that each part lies on all devices as the batch does.
            return jnp.swapaxes(leaf.reshape(leaf.shape[0] // count, count, *leaf.shape[1:]), 0, 1)

        def joined(leaf):
            return jnp.swapaxes(leaf, 0, 1).reshape(-1, *leaf.shape[2:])

        return lambda *batch: jax.tree.map(joined, jax.lax.map(lambda args: part(*args), jax.tree.map(cut, batch)))

    return over_batch


def make_loss(
    vae: VAE,
    likelihood: Likelihood,
    objective: Objective = bounds.elbo,
    num_samples: int = 1,
    all_mean: Callable[[Any], Any] = lambda value: value,
    microbatches: int = 1,
) -> Callable[..., tuple[Array, tuple[dict[str, Array], Params]]]:
    """The loss as a function ``(params, x[b, *event], keys[b], weight, eta) -> (loss, (metrics, kept))``.

    Args:
      vae, likelihood, objective, num_samples, all_mean, microbatches: as in ``make_train_step``.

    Returns:
      The function. ``eta`` is as in ``score_batch``, and each example's weight is then ``weight`` times its beta;
      ``metrics`` are scalars, nats: ``loss`` (minimised), ``elbo``, ``rate``, ``distortion`` (weight 1), and ``sigma``
      where the family has one.
    """

    def loss_fn(params, x, keys, weight, eta=None):
        scored = score_batch(vae, likelihood, params, x, keys, eta, num_samples, all_mean, microbatches)
        t, sigma = scored.terms, likelihood.sigma
        loss = -objective(t, weight if eta is None else weight * jnp.exp(eta))
        metrics = {
            "loss": loss,
            "elbo": bounds.elbo(t),
            "rate": jnp.mean(bounds.rate(t)),
            "distortion": jnp.mean(bounds.distortion(t)),
        }
        if sigma is not None:
            metrics["sigma"] = sigma(scored.own) if eta is None else jnp.mean(jax.vmap(sigma)(scored.own))
        return loss, (metrics, scored.kept)

    return loss_fn
