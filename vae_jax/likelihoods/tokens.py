"""The likelihood of a sentence: a categorical over the vocabulary at each position up to its end.

A sentence is one example, x of shape ``[2, t]``: row 0 the targets (words, then EOS, then PAD), row 1 what an
autoregressive decoder reads (BOS, then the targets moved by one, some words perhaps UNKNOWN). Only the targets are
scored; row 1 is for the decoder (``VAE.decode_given``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.gaussian import at_least_float32
from vae_jax.likelihoods.shared import Grid, event_sum
from vae_jax.types import Array, Given, Likelihood, value_of

# The ids that are no words. Saved runs depend on them, and here on their order: what can be a target begins at EOS.
PAD, BOS, EOS, UNKNOWN = range(4)


def possible(logits: Array) -> Array:
    """Sets those of ``logits [..., k]`` that belong to PAD and BOS, which no sentence contains, to -inf."""
    return jnp.where(jnp.arange(logits.shape[-1]) < EOS, -jnp.inf, logits)


def most_probable(logits: Array) -> Array:
    """Returns the first of the most probable words at each place, ``[..., k] -> [...]`` integers, as ``argmax`` would.

    Two plain maxima, which a CPU vectorises as it does not the pairs of value and place that ``argmax`` carries along.
    """
    allowed = possible(logits)
    top = jnp.max(allowed, axis=-1, keepdims=True)
    back = jnp.where(allowed == top, -jnp.arange(logits.shape[-1], dtype=logits.dtype), -jnp.inf)
    return -jnp.maximum(jnp.max(back, axis=-1), 1.0 - logits.shape[-1]).astype(jnp.int32)


def end_sentence(tokens: Array) -> Array:
    """Puts PAD after the first EOS of ``tokens [t]``."""
    ends = tokens == EOS
    return jnp.where(jnp.cumsum(ends) > ends, PAD, tokens)


def lengths_of(sentences: Array | Given) -> Array:
    """Returns how many tokens of ``sentences [..., t]`` are no padding, ``[...]``; numpy's of numpy's."""
    return (value_of(sentences) != PAD).sum(axis=-1)


def with_inputs(targets: Array) -> Array:
    """Returns x ``[2, t]`` of ``targets [t]``: the second row is BOS and the targets moved by one."""
    return jnp.stack([targets, jnp.concatenate([jnp.full(1, BOS, targets.dtype), targets[:-1]])])


def tokens(vocabulary: int) -> Likelihood:
    """Makes sentences of at most t tokens, theta the logits ``[t, k]``, x as at the top of the file.

    log p is the sum over the positions whose target is not PAD, EOS among them, of the log softmax at the target,
    nats. PAD and BOS have probability 0, so the others share all of it: with an autoregressive decoder the
    probabilities of all sentences that end within t, and of all beginnings of t words that do not, sum to 1. A
    sentence that was cut is scored as such a beginning. A target outside the vocabulary has probability 0, so -inf.

    Args:
      vocabulary: k, the number of ids, with the four special ones.

    Returns:
      A ``Likelihood`` for events ``(2, t)``. Its support is ``Grid(vocabulary, 1)``: integer codes, as of a column of
      classes. ``mean`` (floats) and ``sample`` (integers) are events, too: the most probable or drawn tokens, PAD after
      the first EOS, and the inputs that belong to them. Where theta is of given inputs these are the next words after
      those inputs, each by itself, and no sentence of the model: see ``models.autoregressive.generate``. Token ids have
      no order, so ``variance`` is 1 by decree, and squared errors and what is made of them mean nothing.

    Raises:
      ValueError: a vocabulary without room for the special ids.
    """
    if vocabulary <= UNKNOWN:
        raise ValueError(f"a vocabulary has at least the {UNKNOWN + 1} special ids, not {vocabulary}")

    def log_prob(own, theta, x):
        targets = x[0].astype(jnp.int32)
        theta = at_least_float32(theta)
        # A masked sum and no gather: its gradient, and that of the softmax, are one loop over the logits.
        place = jnp.arange(vocabulary) == targets[:, None]
        top = jax.lax.stop_gradient(jnp.max(possible(theta), axis=-1))
        total = jnp.sum(jnp.exp(possible(theta) - top[:, None]), axis=-1)
        log_p = jnp.sum(jnp.where(place, theta, 0.0), axis=-1) - top - jnp.log(total)
        log_p = jnp.where((targets >= EOS) & (targets < vocabulary), log_p, -jnp.inf)
        return event_sum(jnp.where(targets == PAD, 0.0, log_p))

    def mean(own, theta):
        theta = at_least_float32(theta)
        return with_inputs(end_sentence(most_probable(theta))).astype(theta.dtype)

    def sample(own, theta, key):
        drawn = jax.random.categorical(key, possible(at_least_float32(theta)))
        return with_inputs(end_sentence(drawn)).astype(jnp.int32)

    return Likelihood(
        init=lambda event: {},
        theta_shape=lambda event: (event[-1], vocabulary),
        log_prob=log_prob,
        mean=mean,
        sample=sample,
        variance=lambda own, theta: jnp.ones((2, theta.shape[0]), at_least_float32(theta).dtype),
        support=Grid(vocabulary, 1.0),
    )
