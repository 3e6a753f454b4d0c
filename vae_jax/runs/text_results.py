"""The numbers of a sequence VAE that others have not, and the sentences that a person reads."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import priors
from vae_jax.data.text import UNKNOWN, decode, words_of
from vae_jax.evaluation import Evaluator
from vae_jax.evaluation.annealed import draw_prior
from vae_jax.evaluation.batches import gather, in_batches
from vae_jax.gaussian import at_least_float32
from vae_jax.objective import decode as decode_z
from vae_jax.randomness import PRIOR, TEST, purpose_key
from vae_jax.runs.build import Run
from vae_jax.types import TrainState, beside, condition_of, value_of

SHOWN = 10  # sentences of each kind
STEPS = 6  # of a homotopy, both ends among them


def text_numbers(
    summary: dict[str, Any], tokens: np.ndarray, entropy: float | None, elbo: np.ndarray
) -> dict[str, Any]:
    """Returns the perplexities of a split; a word is a token that is not padding, EOS among them.

    Args:
      summary: of ``evaluation.summarise``, nats per sentence.
      tokens: ``[n, t]``, the sentences that it is of.
      entropy: of the source of the sentences, nats; None where nobody knows it.
      elbo: ``[n]``, of each of them.
    """
    tokens = np.asarray(tokens)
    words, n, known = words_of(tokens), len(tokens), ~(tokens == UNKNOWN).any(axis=1)
    iw_nll = summary.get("iw_nll")
    return {
        # A squared error of token ids would be none.
        "mse": None,
        "words": words,
        "entropy": entropy,
        "perplexity": math.exp(-summary["elbo"] * n / words),
        # Of the sentences that the vocabulary covers: what unknown words cost is the difference.
        "perplexity_known": math.exp(-elbo[known].sum() / words_of(tokens[known])) if known.any() else None,
        "unknown_words": int((tokens == UNKNOWN).sum()),
        "iw_perplexity": None if iw_nll is None else math.exp(iw_nll * n / words),
    }


def make_prior_distortion(evaluator: Evaluator, latent_dim: int):
    """Makes ``(params, data[n, t], key) -> [n]``: -log p(x|z) with z from the prior, in nats per sentence.

    What it is above the distortion is what z explains.
    """

    def measure(params, x, key):
        z = priors.draw(evaluator.vae, params, jax.random.fold_in(key, PRIOR), 1, latent_dim, condition_of(x))
        theta = decode_z(evaluator.vae, params, x, z)
        return -evaluator.likelihood.log_prob(params["likelihood"], at_least_float32(theta[0]), value_of(x))

    parts = in_batches(evaluator, measure)
    return lambda params, data, key: gather(parts(params, data, key))


def sentences(r: Run, state: TrainState, test) -> dict[str, Any]:
    """Returns sentences and their reconstructions, sentences from the prior, and ways from one to another.

    Returns:
      ``reconstructions``: pairs of a test sentence and the greedy one of its posterior mean; ``samples``: drawn words
      of drawn codes; ``homotopies``: greedy sentences of codes on a straight line between two posterior means. With a
      condition all are of those of these test sentences.
    """
    from vae_jax.models.autoregressive import generate

    length, key = r.dataset.event[0], purpose_key(r.key, TEST, PRIOR)
    model = state.params["model"]
    greedy = jax.jit(jax.vmap(lambda z: generate(model, z, None, length)))
    drawn = jax.jit(jax.vmap(lambda z, key: generate(model, z, key, length)))
    shown = jax.tree.map(jnp.asarray, test[: 2 * SHOWN])
    x = jax.vmap(r.preprocess)(jax.random.split(key, len(shown)), shown)
    means = jax.vmap(lambda x: r.vae.encode(model, x).mean)(x)

    def words(tokens):
        return decode(np.asarray(tokens), r.dataset.words)

    some, ways = shown[:SHOWN], []
    c, own = condition_of(some), jax.random.fold_in(key, 1)
    if c is None:
        codes = priors.draw(r.vae, state.params, own, SHOWN, r.config.code_dim)
    else:
        codes = draw_prior(r.vae, state.params, own, some, r.config.code_dim)
    for i in range(0, min(SHOWN, len(means) - 1), 2):
        share = jnp.linspace(0.0, 1.0, STEPS)[:, None]
        way = (1.0 - share) * means[i] + share * means[i + 1]
        ways.append(words(greedy(beside(way, None if c is None else jnp.repeat(c[i : i + 1], STEPS, axis=0)))))
    return {
        "reconstructions": list(zip(words(value_of(some)), words(greedy(beside(means[:SHOWN], c))))),
        "samples": words(drawn(beside(codes, c), jax.random.split(jax.random.fold_in(key, 2), len(codes)))),
        "homotopies": ways,
    }
