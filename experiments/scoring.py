"""The numbers of a trained run: what results.json holds."""

from __future__ import annotations

import math
from typing import Any

from experiments.build import Run
from experiments.weights import CONTROLLED
from vae_jax.conventions import beta_norm
from vae_jax.data.pixels import bits_offset
from vae_jax.evaluation import make_fidelity, make_reliability, summarise, summarise_fidelity
from vae_jax.evaluation.calibrated import calibrated_elbo
from vae_jax.likelihoods import is_discrete
from vae_jax.outlook import at_beta
from vae_jax.randomness import TEST, TRAIN, purpose_key
from vae_jax.types import TrainState

TRAIN_LIMIT = 60_000  # training examples scored at the end
RELIABILITY_LIMIT = 2000  # test examples whose every value is asked where it lies: slow for some families


def evaluate(r: Run, state: TrainState, train, test, scores) -> dict[str, Any]:
    """The contract's numbers, without the timings: exact means over every test example, z sampled, beta = 1."""
    c, dim = r.config, r.data_dim
    own = state.params["likelihood"]
    held_out = summarise(scores(state.params, test, purpose_key(r.key, TEST), c.iw_samples), dim)
    fitted = summarise(scores(state.params, train, purpose_key(r.key, TRAIN), limit=TRAIN_LIMIT), dim)
    gaussian = c.likelihood == "gaussian"
    sigma = None
    if gaussian:
        sigma = fitted["sigma"] if r.likelihood.sigma is None else float(r.likelihood.sigma(own))
    else:
        for summary in (held_out, fitted):
            summary["calibration"] = summary["sigma_at_bound"] = None
    held_out.pop("sigma")
    beta = _final_beta(r, state)
    # The check's warning says that the pixels are grey: then a Bernoulli's loss is no code length at all.
    offset = None if any(w.startswith("--soft_targets") for w in r.warnings) else 0.0
    if offset is not None and not is_discrete(r.likelihood.support):
        offset = bits_offset(c.pixels, r.dataset.levels)
    prediction = None  # a floor under each latent keeps latents busy that no linear model of this weight would use
    if r.outlook is not None and c.weighting != "free_bits":
        prediction = at_beta(r.outlook, max(beta, 0.0))
    splits = {**held_out, "data_dim": dim, "train": {"mse": fitted["mse"]}}
    return {
        "step": int(state.step),
        **held_out,
        "calibrated_elbo": calibrated_elbo(splits) if gaussian else None,
        "iw_samples": c.iw_samples,
        "bits_per_dim": None if offset is None else -held_out["elbo"] / (dim * math.log(2)) + offset,
        "beta": beta,
        "beta_norm": beta_norm(beta, dim, c.latent_dim),
        "sigma": sigma,
        "water_level": None if sigma is None else beta * sigma**2,
        "data_dim": dim,
        "latent_dim": c.latent_dim,
        "lambda_max": float(r.spectrum[0]),
        "predicted_active": None if prediction is None else prediction.active,
        "train": {k: fitted[k] for k in ("elbo", "rate", "distortion", "mse", "calibration")},
        "warnings": r.warnings,
        "protocol": (
            f"{r.dataset.name}, pixels {c.pixels}, all {len(test)} test examples, one sample of z each, beta = 1; "
            f"iw_nll with {c.iw_samples} importance samples; mse of E[x|z] in the units of x; active units: variance "
            "of the posterior mean over the test split > 0.01; training numbers over "
            f"{min(len(train), TRAIN_LIMIT)} examples; float32 products at full precision; seed {c.seed}"
        ),
    }


def looks(r: Run, state: TrainState, test, batch_size: int) -> dict[str, Any]:
    """How E[x|z] looks (images), and whether the decoder's intervals hold what they say, on the test split."""
    pieces = (r.vae, r.likelihood, r.preprocess, batch_size, r.spread.shard, r.spread.devices)
    key = purpose_key(r.key, TEST)
    found: dict[str, Any] = {}
    if any(w.startswith("--soft_targets") for w in r.warnings):
        found["reliability"] = {"skipped": "a Bernoulli on grey pixels is no density"}
    else:
        found["reliability"] = make_reliability(*pieces)(state.params, test, key, limit=RELIABILITY_LIMIT)
    if r.dataset.levels is not None and len(r.dataset.event) == 3:
        found |= summarise_fidelity(make_fidelity(*pieces)(state.params, test, key), r.dataset.event)
    return found


def _final_beta(r: Run, state: TrainState) -> float:
    """The KL weight that the run ended with; for a controller what its state amounts to."""
    weight, last = r.weighting.weight, r.config.num_steps - 1
    beta = float((weight.beta or weight.value)(state.weight_state, last))
    given = r.weighting.beta
    close = given is not None and r.config.weighting not in CONTROLLED and math.isclose(beta, given, rel_tol=1e-6)
    return given if close else beta
