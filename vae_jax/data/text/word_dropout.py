"""From the token ids of a sentence to the x of a likelihood, with word dropout."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vae_jax.likelihoods.tokens import EOS, UNKNOWN, with_inputs
from vae_jax.traced import given
from vae_jax.types import Array


def prepare(word_dropout: float = 0.0) -> Callable[[Array, Array], Array]:
    """How the tokens of one sentence become x: its targets, and what the decoder reads.

    Word dropout (Bowman 2015, 1511.06349, section 3.1) weakens a decoder that reads the words it predicts: it has to
    ask z for what it cannot see. Each word of the inputs becomes UNKNOWN with probability ``word_dropout``,
    independently; BOS, EOS and PAD stay, and the targets are whole. For every such choice the decoder is still a
    distribution over sentences, so the ELBO of a training step is a bound, of the weakened decoder. Evaluate with 0.

    Args:
      word_dropout: the probability, in [0, 1]; 1 leaves the decoder nothing but z and the position. A number, or an
        array where it differs between the runs of a sweep.

    Returns:
      ``(key, tokens[t]) -> x[2, t]``, int32, for one sentence; ``vmap`` it over keys and sentences. Consumes the key.

    Raises:
      ValueError: no probability.
    """
    if given(word_dropout) and not 0.0 <= word_dropout <= 1.0:
        raise ValueError(f"word_dropout is a probability, not {word_dropout}")

    def x_of(key, tokens):
        x = with_inputs(jnp.asarray(tokens, jnp.int32))
        if given(word_dropout) and word_dropout == 0.0:
            return x
        dropped = jax.random.bernoulli(key, word_dropout, x.shape[1:]) & (x[1] > EOS)
        return x.at[1].set(jnp.where(dropped, UNKNOWN, x[1]))

    return x_of
