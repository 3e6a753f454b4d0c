"""From a file of outputs to all that can be said of the VAE that made it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vae_jax.data import outputs as files
from vae_jax.data.outputs import Outputs
from vae_jax.data.spectrum import eigenvalues, examples_for
from vae_jax.linear_vae import predict, water_level_for_rate
from vae_jax.runs.audit_reading import Asked, read_latents, read_pixels
from vae_jax.theory import audit, suspicions
from vae_jax.theory.aggregate import aggregate, verdict
from vae_jax.theory.audit import CARRIES, Latents
from vae_jax.theory.audit_findings import findings
from vae_jax.theory.stated_loss import stated_weight
from vae_jax.types import UserError


def measure(outputs: Outputs, asked: Asked) -> dict[str, Any]:
    """Audits a file.

    Args:
      outputs: opened.
      asked: what is wanted besides.

    Returns:
      What ``audit.json`` holds; a number that the arrays do not tell is None.

    Raises:
      UserError: the arrays do not fit each other.
    """
    answer: dict[str, Any] = dict.fromkeys(
        "water_level water_level_se identity_residual sigma_at_beta_1 beta_norm rate rate_se bits_per_dim_rate "
        "kl_per_latent active calibrated_elbo code latents pixels linear levels loss targets".split()
    )
    answer |= {"outputs": outputs.path, "examples": outputs.count, "draws": outputs.draws, "notes": list(outputs.notes)}
    answer["suspicions"] = []
    latents = None
    if "mean" in outputs.latents:
        latents = read_latents(outputs, asked, answer)
        _code(latents, answer)
    pixels = first = None
    if {"x", "x_mean", "x_sample"} <= {*outputs.shapes}:
        pixels, first = read_pixels(outputs, asked, answer)
        _errors(pixels, answer)
    if latents is not None and pixels is not None:
        _levels(pixels, latents, answer)
        if latents.noise is None:
            _decoder(first, latents, answer)
        _linear(outputs, asked, answer)
        _wanted(latents, asked, answer)
        _loss(asked, answer)
    elif asked.loss or asked.target_rate or asked.target_channels:
        raise UserError("--loss and the targets need x, x_mean and x_sample beside mean and logvar")
    answer["findings"] = findings(answer)
    return answer


def _code(latents: Latents, answer: dict[str, Any]) -> None:
    kl = latents.kl
    each = kl.sum((1, 2))
    per_channel = kl.mean(0).sum(0)
    answer["rate"], answer["rate_se"] = float(each.mean()), float(each.std() / math.sqrt(len(each)))
    answer["kl_per_latent"] = per_channel
    answer["active"] = int(np.sum(per_channel / kl.shape[1] > CARRIES))
    answer["code"] = aggregate(latents)
    answer["code"]["low_frequencies"] = answer.pop("low_frequencies")
    answer["latents"]["variance_above_prior"] = float(np.mean(latents.variance > 1.0 + suspicions.OFF))
    answer["latents"]["posterior_variance"] = latents.variance.mean((0, 1))


def _errors(pixels: audit.Pixels, answer: dict[str, Any]) -> None:
    dim = answer["pixels"]["data_dim"]
    error, at_mean = float(pixels.error.mean()), float(pixels.error_at_mean.mean())
    answer["pixels"] |= {
        "squared_error": error,
        "squared_error_se": float(pixels.error[0].std()) / math.sqrt(pixels.error.shape[1]),  # of one draw of each
        "squared_error_at_mean": at_mean,
        "rms": math.sqrt(error / dim),
        "absolute_error": float(pixels.absolute.mean()) / dim,
        "noise_share": float(pixels.noise.mean()) / error if error > 0 else 0.0,
    }
    if answer["rate"] is not None:
        answer["bits_per_dim_rate"] = answer["rate"] / dim / math.log(2.0)
        if error > 0:
            answer["calibrated_elbo"] = -0.5 * dim * (1.0 + math.log(2.0 * math.pi * error / dim)) - answer["rate"]
        answer["code"]["verdict"] = verdict(answer["code"]["noise_share"], answer["pixels"]["noise_share"])


def _levels(pixels: audit.Pixels, latents: Latents, answer: dict[str, Any]) -> None:
    found = audit.levels(pixels, latents)
    dim, size = answer["pixels"]["data_dim"], latents.mean.shape[1] * latents.mean.shape[2]
    answer["identity_residual"] = found.residual
    answer["levels"] = {
        "scatter": found.scatter,
        "scale": found.scale,
        "scale_error": found.scale_error,
        "per_latent": found.per_group,
        "per_latent_se": found.group_errors,
        "weights": {kind: e._asdict() for kind, e in found.weights.items()},
        "unlinearised": {kind: e._asdict() for kind, e in found.unlinearised.items()},
        "weights_of_means": {kind: e._asdict() for kind, e in found.weights_of_means.items()},
    }
    s = found.water_level.value
    if math.isfinite(s) and s > 0:
        answer["water_level"], answer["water_level_se"] = s, found.water_level.error
        answer |= {"sigma_at_beta_1": math.sqrt(s), "beta_norm": s * size / dim}
        answer["pixels"]["beta_calibrated"] = s / (answer["pixels"]["squared_error"] / dim)
    order = suspicions.permuted(np.maximum(1.0 - (latents.mean**2).mean((0, 1)), 1e-6), latents.variance.mean((0, 1)))
    if order is not None and not answer["suspicions"] and latents.noise is None and latents.mean.shape[2] > 1:
        said = "the variances fit the means in another order of the channels: " + ", ".join(map(str, order[:12]))
        answer["suspicions"].append(["channels", said])


def _decoder(x_mean, latents: Latents, answer: dict[str, Any]) -> None:
    """Without the draws the decoder's own dependence on the mean tells what it can of the variances."""
    if latents.mean.shape[1] != 1 or answer["water_level"] is None:
        return
    few = Latents(latents.mean[: len(x_mean)], latents.variance[: len(x_mean)])
    told = suspicions.jacobian_slope(x_mean, few)
    if told is None:
        return
    answer["levels"]["decoder_slope"], expected = told
    noise = answer["pixels"]["noise_share"] * answer["pixels"]["squared_error"]
    if expected > 1.5 * noise or expected < 0.2 * noise or not -1.6 < told[0] < -0.65:
        answer["suspicions"].append(
            [
                "logvar",
                f"the decoder's slopes and the variances claimed would move x by {expected:.3g}, the draws moved it by "
                f"{noise:.3g} (slopes fall with the variance to the power {told[0]:.2f}, expected -1): logvar may "
                "not be the log-variance of these draws; save z to be sure",
            ]
        )


def _linear(outputs: Outputs, asked: Asked, answer: dict[str, Any]) -> None:
    """What a linear model does with as many latents on the same examples, at the same level and at the same rate."""
    known, s = answer["pixels"], answer["water_level"]
    latents = answer["latents"]["positions"] * answer["latents"]["channels"]
    if s is None:
        return
    rows = min(outputs.count, len(examples_for(outputs.count, known["data_dim"])))
    size = max(1, files.BLOCK // known["data_dim"])

    def batches():
        done = 0
        only = outputs._replace(shapes={"x": outputs.shapes["x"]}, draws=1)
        for block in files.pixel_blocks(only, size):
            part = block["x"][: rows - done]
            done += len(part)
            yield (part - known["low"]) / known["span"]
            if done >= rows:
                return

    values = eigenvalues(batches)
    if values[0] <= 0:
        return
    same = predict(values, 1.0, s, latents)
    level = water_level_for_rate(values, max(answer["rate"], 0.0), latents)
    at_rate = predict(values, 1.0, level, latents)
    answer["linear"] = {
        "examples": rows,
        "eigenvalues": values[:512],
        "at_level": {"rate": same.rate, "distortion": same.distortion, "active": same.active},
        "at_rate": {"water_level": level, "distortion": at_rate.distortion, "active": at_rate.active},
    }


def _wanted(latents: Latents, asked: Asked, answer: dict[str, Any]) -> None:
    """The level for a rate, or for fewer channels: of the code as it is, each latent a variance of s / tau^2."""
    s = answer["water_level"]
    if s is None:
        return
    own = s * np.exp(np.mean(-np.log(np.minimum(latents.variance, 1.0)), 0))  # [p, c]
    answer["targets"] = {}
    if asked.target_rate is not None:
        answer["targets"]["rate"] = {
            "rate": asked.target_rate,
            "water_level": water_level_for_rate(own.ravel(), asked.target_rate, own.size),
        }
    if asked.target_channels is not None:
        if asked.target_channels >= own.shape[1]:
            raise UserError(f"--target_channels={asked.target_channels}, and there are {own.shape[1]}")
        strongest = np.sort(own.max(0))[::-1]
        level = float(strongest[asked.target_channels])
        answer["targets"]["channels"] = {"channels": asked.target_channels, "water_level": level}


def _loss(asked: Asked, answer: dict[str, Any]) -> None:
    """Holds the loss that is said to have been used against the weight that the outputs tell."""
    if not asked.loss:
        return
    known, latents = answer["pixels"], answer["latents"]
    size = latents["positions"] * latents["channels"]
    kind, stated, others = stated_weight(asked.loss, known["data_dim"], size, asked.batch_size, known["span"])
    said = {"text": asked.loss, "kind": kind, "weight": stated, "measured": None, "ratio": None, "others": others}
    if kind in answer["levels"]["weights"]:
        measured = answer["levels"]["weights"][kind]
        said |= {"measured": measured["value"], "error": measured["error"]}
        said["ratio"] = measured["value"] / stated if stated > 0 and measured["value"] > 0 else None
    answer["loss"] = said
