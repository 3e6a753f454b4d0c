"""The numbers of a trained run: what results.json holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.conventions import beta_norm
from vae_jax.data.pixels import bits_offset
from vae_jax.data.text import decode, words_of
from vae_jax.evaluation import (
    Estimate,
    Evaluator,
    Scores,
    decompose,
    make_fidelity,
    make_reliability,
    make_scorer,
    make_swapped,
    summarise,
    summarise_fidelity,
)
from vae_jax.evaluation.batches import gather, in_batches
from vae_jax.evaluation.bounds import calibrated_elbo
from vae_jax.gaussian import at_least_float32
from vae_jax.likelihoods import is_discrete
from vae_jax.objective import decode as decode_z
from vae_jax.randomness import PRIOR, RATE, TEST, TRAIN, purpose_key
from vae_jax.runs.build import Run
from vae_jax.runs.weightings import CONTROLLED
from vae_jax.theory.forecast import at_beta
from vae_jax.types import TrainState

TRAIN_LIMIT = 60_000  # training examples scored at the end
RATE_SAMPLES = 500  # for the parts of the rate: a second for 10,000 test examples; `evaluate` takes more
RELIABILITY_LIMIT = 2000  # test examples whose every value is asked where it lies: slow for some families


class Instruments(NamedTuple):
    """Everything that measures a trained run, compiled once for all runs that differ in numbers only.

    Attributes:
      batch_size: examples scored at a time: large ones fewer, as each comes with its importance samples.
      scores: ``evaluation.make_scorer``'s function.
      swapped: ``make_swapped``'s.
      reliability: ``make_reliability``'s; None where there is no density.
      fidelity: ``make_fidelity``'s; None where the examples are no images.
      prior: ``scoring_text.make_prior_distortion``'s; None where the examples are no sentences.
    """

    batch_size: int
    scores: Callable[..., Scores]
    swapped: Callable
    reliability: Callable | None
    fidelity: Callable | None
    prior: Callable | None = None


def make_instruments(r: Run) -> Instruments:
    """The instruments for a run and for all that share its shapes."""
    # A sentence has a number for each word of the vocabulary at each position; an image about one for each value.
    size = math.prod(r.likelihood.theta_shape(r.event)) if r.is_text else r.data_dim
    at_once = max(16, min(250, (1_000_000 if r.is_text else 200_000) // size))  # each measured to be the quickest
    spread = r.spread
    evaluator = Evaluator(r.vae, r.likelihood, r.preprocess, at_once, spread.shard, spread.devices, spread.measure)
    if r.is_text:
        prior = make_prior_distortion(evaluator, r.config.latent_dim)
        return Instruments(at_once, make_scorer(evaluator), make_swapped(evaluator), None, None, prior)
    images = r.dataset.levels is not None and len(r.dataset.event) == 3
    return Instruments(
        at_once,
        make_scorer(evaluator),
        make_swapped(evaluator),
        None if _no_density(r) else make_reliability(evaluator),
        make_fidelity(evaluator) if images else None,
    )


class Codes(NamedTuple):
    """The posterior means of the examples that were scored, ``[n, d]`` each: ``TRAIN_LIMIT`` training ones at most."""

    train: np.ndarray
    test: np.ndarray


def evaluate(r: Run, state: TrainState, train, test, instruments: Instruments) -> tuple[dict[str, Any], Codes]:
    """The contract's numbers, without the timings: exact means over every test example, z sampled, beta = 1."""
    c, dim, scores = r.config, r.data_dim, instruments.scores
    own = state.params["likelihood"]
    key = purpose_key(r.key, TEST)
    per_example = scores(state.params, test, key, c.iw_samples)
    held_out = summarise(per_example, dim)
    trained_on = scores(state.params, train, purpose_key(r.key, TRAIN), limit=TRAIN_LIMIT)
    fitted = summarise(trained_on, dim)
    gaussian = c.likelihood == "gaussian"
    if r.is_text:
        held_out |= text_numbers(r, held_out, test)
        fitted |= text_numbers(r, fitted, train[:TRAIN_LIMIT])
    sigma = None
    if gaussian:
        sigma = fitted["sigma"] if r.likelihood.sigma is None else float(r.likelihood.sigma(own))
    else:
        for summary in (held_out, fitted):
            summary["calibration"] = summary["sigma_at_bound"] = None
    held_out.pop("sigma")
    beta = _final_beta(r, state)
    prediction = None  # a floor under each latent keeps latents busy that no linear model of this weight would use
    if r.forecast is not None and c.weighting != "free_bits":
        prediction = at_beta(r.forecast, max(beta, 0.0))
    splits = {**held_out, "data_dim": dim, "train": {"mse": fitted["mse"]}}
    results = {
        "step": int(state.step),
        "skipped": int(state.skipped.total),
        **held_out,
        "calibrated_elbo": calibrated_elbo(splits) if gaussian else None,
        "iw_samples": c.iw_samples,
        "bits_per_dim": bits_per_dim(r, -held_out["elbo"]),
        "beta": beta,
        "beta_norm": None if r.is_text else beta_norm(beta, dim, c.latent_dim),
        "sigma": sigma,
        "water_level": None if sigma is None else beta * sigma**2,
        "data_dim": dim,
        "latent_dim": c.latent_dim,
        "lambda_max": None if r.spectrum is None else float(r.spectrum[0]),
        "predicted_active": None if prediction is None else prediction.active,
        "train": {k: fitted[k] for k in ("elbo", "rate", "distortion", "mse", "calibration")},
        "rate_parts": rate_parts(per_example, key, RATE_SAMPLES),
        "warnings": r.warnings,
        "protocol": _protocol(r, len(train), len(test)),
        **_looks(r, state, test, instruments),
    }
    return results, Codes(trained_on.posterior_mean, per_example.posterior_mean)


def _protocol(r: Run, train: int, test: int) -> str:
    """What the numbers are of, in a sentence."""
    c = r.config
    what = "nats per sentence, its end included" if r.is_text else f"pixels {c.pixels}"
    error = "" if r.is_text else "mse of E[x|z] in the units of x; "
    text = (
        f"{r.dataset.name}, {what}, all {test} test examples, one sample of z each, beta = 1; iw_nll with "
        f"{c.iw_samples} importance samples; {error}active units: variance of the posterior mean over the test split "
        f"> 0.01; training numbers over {min(train, TRAIN_LIMIT)} examples; float32 products at full precision; seed "
        f"{c.seed}"
    )
    return "; ".join([text, *r.dataset.notes])


def _looks(r: Run, state: TrainState, test, instruments: Instruments) -> dict[str, Any]:
    """How E[x|z] looks (images), and whether the decoder's intervals hold what they say, on the test split."""
    key = purpose_key(r.key, TEST)
    found: dict[str, Any] = {}
    found["swapped_distortion"] = float(np.mean(instruments.swapped(state.params, test, key), dtype=np.float64))
    if instruments.prior is not None:
        found["prior_distortion"] = float(np.mean(instruments.prior(state.params, test, key), dtype=np.float64))
        return found
    if instruments.reliability is None:
        found["reliability"] = {"skipped": "a Bernoulli on grey pixels is no density"}
    else:
        found["reliability"] = instruments.reliability(state.params, test, key, limit=RELIABILITY_LIMIT)
    if instruments.fidelity is not None:
        found |= summarise_fidelity(instruments.fidelity(state.params, test, key), r.dataset.event)
    return found


def bits_per_dim(r: Run, nats: float) -> float | None:
    """``nats`` per example as bits per dimension of the pixels as they were stored; None where it is no code length."""
    if _no_density(r) or r.is_text:
        return None
    offset = 0.0 if is_discrete(r.likelihood.support) else bits_offset(r.config.pixels, r.dataset.levels)
    return nats / (r.data_dim * math.log(2)) + offset


def rate_parts(scores: Scores, key: jax.Array, samples: int) -> dict[str, Any]:
    """The rate of a split taken apart, as JSON can hold it; ``key`` is the split's."""
    with np.errstate(divide="ignore"):  # a variance that has underflown
        logvar = np.log(scores.posterior_variance)
    parts = decompose(scores.posterior_mean, logvar, purpose_key(key, RATE), samples)
    return {name: _plain(value) for name, value in parts._asdict().items()}


def _plain(value):
    if isinstance(value, Estimate):
        return {k: np.asarray(v).tolist() for k, v in value._asdict().items()}
    return float(value)


def _no_density(r: Run) -> bool:
    """Whether the check has said that the pixels are grey: then a Bernoulli's loss is no code length at all."""
    return any(w.startswith("--soft_targets") for w in r.warnings)


def _final_beta(r: Run, state: TrainState) -> float:
    """The KL weight that the run ended with; for a controller what its state amounts to."""
    if r.config.beta_range is not None:
        return r.choice.beta  # where it is read; it was trained at all
    weight, last = r.weight, r.config.num_steps - 1
    beta = float((weight.beta or weight.value)(state.weight_state, last))
    given = r.choice.beta
    close = given is not None and r.config.weighting not in CONTROLLED and math.isclose(beta, given, rel_tol=1e-6)
    return given if close else beta


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


def make_prior_distortion(evaluator: Evaluator, latent_dim: int):
    """``(params, data[n, t], key) -> [n]``: -log p(x|z) with z from the prior in place of q(z|x), nats per sentence.

    What it is above the distortion is what z explains.
    """

    def measure(params, x, key):
        z = jax.random.normal(jax.random.fold_in(key, PRIOR), (1, latent_dim))
        theta = decode_z(evaluator.vae, params, x, z)
        return -evaluator.likelihood.log_prob(params["likelihood"], at_least_float32(theta[0]), x)

    parts = in_batches(evaluator, measure)
    return lambda params, data, key: gather(parts(params, data, key))


def sentences(r: Run, state: TrainState, test) -> dict[str, Any]:
    """What a person reads: sentences and their reconstructions, sentences from the prior, ways from one to another.

    Returns:
      ``reconstructions``: pairs of a test sentence and the greedy one of its posterior mean; ``samples``: drawn words
      of drawn codes; ``homotopies``: greedy sentences of codes on a straight line between two posterior means.
    """
    from vae_jax.models.autoregressive import generate

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
