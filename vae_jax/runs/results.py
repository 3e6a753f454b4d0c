"""The numbers of a trained run: what results.json holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax import priors
from vae_jax.conventions import beta_norm
from vae_jax.data.pixels import bits_offset
from vae_jax.evaluation import (
    Evaluator,
    Scores,
    make_fidelity,
    make_reliability,
    make_scorer,
    make_swapped,
    summarise,
    summarise_fidelity,
)
from vae_jax.evaluation.bounds import calibrated_elbo
from vae_jax.evaluation.layers import by_layer
from vae_jax.evaluation.rate import USED
from vae_jax.likelihoods import is_discrete
from vae_jax.randomness import TEST, TRAIN, VALIDATION, purpose_key
from vae_jax.runs import selection, table_columns
from vae_jax.runs.build import Run
from vae_jax.runs.code_numbers import condition_in_codes, left_out, rate_parts
from vae_jax.runs.placement import Splits
from vae_jax.runs.text_results import make_prior_distortion, text_numbers
from vae_jax.runs.weightings import CONTROLLED
from vae_jax.runtime.files import read_rows
from vae_jax.theory.forecast import at_beta
from vae_jax.types import TrainState, UserError, value_of

# Training examples scored at the end.
TRAIN_LIMIT = 60_000
# For the parts of the rate: a second for 10,000 test examples; ``evaluate`` takes more.
RATE_SAMPLES = 500
# Test examples, each of whose values is placed in its predicted distribution: slow for some families.
RELIABILITY_LIMIT = 2000
# Below so many test examples the training split says which latents are used: the variance of the means over n rows is
# known to a share of sqrt(2 / n).
LATENT_ROWS = 100


OF_TRAINING = ("elbo", "rate", "distortion", "mse", "calibration")


class Instruments(NamedTuple):
    """Everything that measures a trained run, compiled once for all runs that differ in numbers only.

    Attributes:
      scores: ``evaluation.make_scorer``'s function.
      swapped: ``make_swapped``'s.
      reliability: ``make_reliability``'s; None where there is no density.
      fidelity: ``make_fidelity``'s; None where the examples are no images.
      prior: ``text_results.make_prior_distortion``'s; None where the examples are no sentences.
    """

    scores: Callable[..., Scores]
    swapped: Callable
    reliability: Callable | None
    fidelity: Callable | None
    prior: Callable | None


def make_instruments(r: Run) -> Instruments:
    """Makes the instruments for a run and for all that share its shapes."""
    # A sentence has a number for each word of the vocabulary at each position; an image about one for each value.
    size = math.prod(r.likelihood.theta_shape(r.event)) if r.is_text else r.data_dim
    # Large examples fewer at a time, as each comes with its importance samples. The limits were measured:
    # without samples the fully connected and recurrent networks gain a tenth from the larger batch, and ``conv`` loses.
    at_once = max(16, min(250, (1_000_000 if r.is_text else 200_000) // size))
    alone = min(1000, (1_200_000 if r.is_text else 800_000) // size) if r.vae.largest_map == 0 else at_once
    spread = r.spread
    evaluator = Evaluator(
        r.vae,
        r.likelihood,
        r.preprocess,
        at_once,
        spread.shard,
        spread.devices,
        spread.measure,
        without_samples=max(at_once, alone),
    )
    images = not r.is_text and r.dataset.levels is not None and len(r.dataset.event) == 3
    return Instruments(
        scores=make_scorer(evaluator),
        swapped=make_swapped(evaluator),
        reliability=None if r.is_text or _is_no_density(r) else make_reliability(evaluator),
        fidelity=make_fidelity(evaluator) if images else None,
        prior=make_prior_distortion(evaluator, r.config.code_dim) if r.is_text else None,
    )


class Codes(NamedTuple):
    """The posterior means of the examples that were scored, ``[n, d]`` each: ``TRAIN_LIMIT`` training ones at most."""

    train: np.ndarray
    test: np.ndarray


def measure(r: Run, state: TrainState, splits: Splits, instruments: Instruments) -> tuple[dict[str, Any], Codes]:
    """Returns the numbers of results.json, without the timings, and the codes of both splits.

    They are exact means over every test example, with z sampled and beta = 1, in nats per example.

    Args:
      r, state: the run and its state, with the parameters that it reports.
      splits: of its data.
      instruments: of ``make_instruments``.
    """
    c, dim, key = r.config, r.data_dim, purpose_key(r.key, TEST)
    train, validation, test = splits
    test_scores = instruments.scores(state.params, test, key, c.iw_samples)
    train_scores = instruments.scores(state.params, train, purpose_key(r.key, TRAIN), limit=TRAIN_LIMIT)
    on_test = summarise_split(r, test_scores, test)
    on_train = summarise_split(r, train_scores, train)
    gaussian, sigma = c.likelihood == "gaussian", on_train["sigma"]
    if gaussian and r.likelihood.sigma is not None:
        sigma = float(r.likelihood.sigma(state.params["likelihood"]))
    beta = _final_beta(r, state)
    results = {
        "step": int(state.step),
        "skipped": int(state.skipped.total),
        **on_test,
        **_latents(on_test, on_train, len(test_scores.rate), len(train_scores.rate)),
        "calibrated_elbo": calibrated_elbo(on_test | {"data_dim": dim, "train": on_train}) if gaussian else None,
        "iw_samples": c.iw_samples,
        "beta": beta,
        "beta_norm": None if r.is_text else beta_norm(beta, dim, c.latent_dim),
        # The model's own, or that of the training split; not that of the test split.
        "sigma": sigma,
        # Before it was recalibrated on the validation split.
        "trained_sigma": None if sigma is None else sigma / _factor(state),
        "water_level": None if sigma is None else beta * sigma**2,
        "data_dim": dim,
        "latent_dim": c.latent_dim,
        "lambda_max": None if r.spectrum is None else float(r.spectrum[0]),
        "predicted_active": _predicted_active(r, beta),
        **by_layer(on_test["kl_per_latent"], test_scores.posterior_mean, r.vae.layers),
        "train": _of_split(on_train),
        "validation": None if validation is None else _on_validation(r, state, validation, instruments),
        "rate_parts": rate_parts(r, state.params, test_scores, key, RATE_SAMPLES),
        **table_columns.standardisation(r.dataset),
        **table_columns.by_column(r.dataset, on_test),
        **condition_in_codes((train_scores.posterior_mean, test_scores.posterior_mean), r.dataset),
        "warnings": r.warnings,
        "protocol": "; ".join(
            filter(None, [_protocol(r, len(train), len(test)), selection.in_words(r, state), left_out(r)])
        ),
        **_measure_decoder(state, test, key, instruments, r.dataset.event),
    }
    return results, Codes(train_scores.posterior_mean, test_scores.posterior_mean)


def _of_split(summary: dict[str, Any]) -> dict[str, Any]:
    return {k: summary[k] for k in (*OF_TRAINING, "accuracy", "log_loss", "standardised_mse") if k in summary}


def _factor(state: TrainState) -> float:
    return 1.0 if state.best is None else float(state.best.factor)


def _on_validation(r: Run, state: TrainState, validation, instruments: Instruments) -> dict[str, Any]:
    """Returns the numbers of the whole validation split, and how far off the noise was before it was recalibrated."""
    scores = instruments.scores(state.params, validation, purpose_key(r.key, VALIDATION), limit=TRAIN_LIMIT)
    numbers = _of_split(summarise_split(r, scores, validation))
    rescaled = r.likelihood.rescale is not None and state.best is not None
    return numbers | ({"calibration_before": float(state.best.calibration)} if rescaled else {})


def refuse_infinite(numbers: dict[str, Any], kept: str) -> None:
    """Refuses bounds that are no numbers, before anything is written of them.

    Args:
      numbers: of ``measure`` or ``summarise_split``.
      kept: what is left, for the message.

    Raises:
      UserError: naming them.
    """
    bad = [f"{key} is {numbers[key]}" for key in ("elbo", "iw_nll") if not math.isfinite(numbers[key])]
    if bad:
        raise UserError(
            f"{' and '.join(bad)} on these examples: the training has diverged (lower --learning_rate or set "
            f"--clip_norm, in a new --workdir), or they are not on the scale of its data; nothing was written, {kept}"
        )


def summarise_split(r: Run, scores: Scores, rows, active_threshold: float = 0.01) -> dict[str, Any]:
    """Returns the means of a split as results.json has them: null is what a likelihood or a text has not.

    Args:
      r: the run.
      scores: of all examples of the split.
      rows: those examples, and maybe more after them.
      active_threshold: of ``active_units``, see ``evaluation.summarise``.
    """
    summary = summarise(scores, r.data_dim, active_threshold)
    if r.config.likelihood != "gaussian":
        summary |= dict.fromkeys(("calibration", "sigma", "sigma_at_bound", "nats_at_bound"))
    if r.is_text:
        elbo = -np.asarray(scores.rate, np.float64) - np.asarray(scores.distortion, np.float64)
        summary |= text_numbers(summary, value_of(rows)[: len(elbo)], r.dataset.entropy, elbo)
    if not priors.of(r.vae).standard:
        summary["second_moment"] = None  # a learned prior has any scale
    return summary | {"bits_per_dim": bits_per_dim(r, -summary["elbo"], summary.get("counted_dim"))}


def _latents(on_test, on_train, test: int, train: int) -> dict[str, Any]:
    """Returns which latents are used, by the split that has the rows to tell, and which split that is."""
    split, summary, rows = ("test", on_test, test) if test >= min(LATENT_ROWS, train) else ("train", on_train, train)
    chosen = {name: summary[name] for name in ("used_latents", "information_per_latent")}
    return chosen | {"latents_split": split, "latents_rows": rows}


def _predicted_active(r: Run, beta: float) -> int | None:
    # A floor under each latent keeps latents busy that no linear model of this weight would use.
    if r.forecast is None or r.config.weighting == "free_bits":
        return None
    prediction = at_beta(r.forecast, max(beta, 0.0))
    return None if prediction is None else prediction.active


def _protocol(r: Run, train: int, test: int) -> str:
    """Returns what the numbers are of, in a sentence."""
    c = r.config
    of = "nats per sentence, its end included" if r.is_text else f"pixels {c.pixels}" if r.dataset.event[1:] else "rows"
    error = "" if r.is_text else "mse of E[x|z] in the data's own units; "
    text = (
        f"{r.dataset.name}, {of}, all {test} test examples, one sample of z each, beta = 1; iw_nll with "
        f"{c.iw_samples} importance samples; {error}active units: variance of the posterior mean over the test split "
        f"> 0.01, used latents: more than {USED} nats by the variances of z; training numbers over "
        f"{min(train, TRAIN_LIMIT)} examples; float32 products at full precision; seed {c.seed}"
    )
    return "; ".join([text, *r.dataset.notes])


def _measure_decoder(state: TrainState, test, key, instruments: Instruments, event) -> dict[str, Any]:
    """Returns what the decoder makes of other codes, how its images look, and whether its intervals hold."""

    def mean(measurement):
        return float(np.mean(measurement(state.params, test, key), dtype=np.float64))

    swapped = {"swapped_distortion": mean(instruments.swapped)}
    if instruments.prior is not None:
        return swapped | {"prior_distortion": mean(instruments.prior)}
    if instruments.reliability is None:
        reliability = {"skipped": "a Bernoulli on grey pixels is no density"}
    else:
        reliability = instruments.reliability(state.params, test, key, limit=RELIABILITY_LIMIT)
    results = swapped | {"reliability": reliability}
    if instruments.fidelity is None:
        return results
    return results | summarise_fidelity(instruments.fidelity(state.params, test, key), event)


def bits_per_dim(r: Run, nats: float, counted_dim: float | None = None) -> float | None:
    """Returns ``nats`` per example as bits per dimension of the pixels as stored; None where it is no code length.

    Where the likelihood leaves dimensions out, it is per dimension that it counts, ``counted_dim`` of ``summarise``.
    """
    if _is_no_density(r) or r.is_text or counted_dim == 0:
        return None
    offset = 0.0 if is_discrete(r.likelihood.support) else bits_offset(r.config.pixels, r.dataset.levels)
    return nats / ((counted_dim or r.data_dim) * math.log(2)) + offset


def clipped_and_saturated(workdir: Path, num_steps: int) -> dict[str, float | None]:
    """Returns how often gradients were clipped, and in the second half of the run a controller was at its bound."""
    rows = [row for row in read_rows(workdir / "metrics.jsonl") if row["split"] == "train"]
    late = [row["saturated"] for row in rows if row["step"] >= num_steps // 2 and "saturated" in row]
    clipped = [row["clipped"] for row in rows if "clipped" in row]
    return {
        "clipped": float(np.mean(clipped)) if clipped else None,
        "saturated": float(np.mean(late)) if late else None,
    }


def _is_no_density(r: Run) -> bool:
    """Whether the check has said that the pixels are grey: then a Bernoulli's loss is no code length at all."""
    return any(w.startswith("--soft_targets") for w in r.warnings)


def _final_beta(r: Run, state: TrainState) -> float:
    """Returns the KL weight of the model that is reported; for a controller what its state amounts to."""
    given = r.choice.beta
    # A network for all beta is read at this one; it was trained at all of them.
    if r.config.beta_range is not None:
        return given
    last = r.config.num_steps if state.best is None else max(int(state.step), 1)
    beta = float((r.weight.beta or r.weight.value)(state.weight_state, last - 1))
    close = given is not None and r.config.weighting not in CONTROLLED and math.isclose(beta, given, rel_tol=1e-6)
    return given if close else beta
