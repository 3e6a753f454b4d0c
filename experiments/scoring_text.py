"""The numbers of a trained sequence VAE, and sentences that it writes."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.build import Run
from vae_jax.data.text import decode, words_of
from vae_jax.evaluation.batches import gather, in_batches
from vae_jax.gaussian import at_least_float32
from vae_jax.models.autoregressive import generate
from vae_jax.objective import decode as decode_z
from vae_jax.randomness import PRIOR, TEST, purpose_key
from vae_jax.types import TrainState

SHOWN = 10  # sentences of each kind
STEPS = 6  # of a homotopy, both ends among them
_NONE = ("mse", "calibration", "sigma_at_bound")  # what squared errors of token ids would be


def text_numbers(r: Run, summary: dict[str, Any], tokens: np.ndarray) -> dict[str, Any]:
    """Perplexities of a split from its bounds per sentence; a word is a token that is not padding, EOS among them.

    Args:
      r: the run.
      summary: of ``evaluation.summarise``, nats per sentence.
      tokens: ``[n, t]``, the sentences that it is of.
    """
    words, n = words_of(np.asarray(tokens)), len(tokens)
    found = {name: None for name in _NONE if name in summary}
    found |= {"words": words, "entropy": r.dataset.entropy}
    found["perplexity"] = math.exp(-summary["elbo"] * n / words)
    found["iw_perplexity"] = math.exp(summary["iw_nll"] * n / words) if "iw_nll" in summary else None
    return found


def make_prior_distortion(r: Run, batch_size: int):
    """``(params, data[n, t], key) -> [n]``: -log p(x|z) with z from the prior in place of q(z|x), nats per sentence.

    What it is above the distortion is what z explains.
    """

    def measure(params, x, key):
        z = jax.random.normal(jax.random.fold_in(key, PRIOR), (1, r.config.latent_dim))
        theta = decode_z(r.vae, params, x, z)
        return -r.likelihood.log_prob(params["likelihood"], at_least_float32(theta[0]), x)

    parts = in_batches(measure, r.preprocess, batch_size, r.spread.shard, r.spread.devices, r.spread.measure)
    return lambda params, data, key: gather(parts(params, data, key))


def sentences(r: Run, state: TrainState, test) -> dict[str, Any]:
    """What a person reads: sentences and their reconstructions, sentences from the prior, ways from one to another.

    Returns:
      ``reconstructions``: pairs of a test sentence and the greedy one of its posterior mean; ``samples``: drawn words
      of drawn codes; ``homotopies``: greedy sentences of codes on a straight line between two posterior means.
    """
    length, key = r.dataset.event[0], purpose_key(r.key, TEST, PRIOR)
    model = state.params["model"]
    greedy = jax.jit(jax.vmap(lambda z: generate(model, z, None, length)))
    drawn = jax.jit(jax.vmap(lambda z, key: generate(model, z, key, length)))
    shown = jnp.asarray(np.asarray(test[: 2 * SHOWN]))
    x = jax.vmap(r.preprocess)(jax.random.split(key, len(shown)), shown)
    means = jax.vmap(lambda x: r.vae.encode(model, x).mean)(x)

    def said(tokens):
        return decode(np.asarray(tokens), r.dataset.words)

    codes = jax.random.normal(jax.random.fold_in(key, 1), (SHOWN, r.config.latent_dim))
    ways = []
    for a, b in zip(means[0:SHOWN:2], means[1:SHOWN:2]):
        share = jnp.linspace(0.0, 1.0, STEPS)[:, None]
        ways.append(said(greedy((1.0 - share) * a + share * b)))
    return {
        "reconstructions": list(zip(said(shown[:SHOWN]), said(greedy(means[:SHOWN])))),
        "samples": said(drawn(codes, jax.random.split(jax.random.fold_in(key, 2), SHOWN))),
        "homotopies": ways,
    }
