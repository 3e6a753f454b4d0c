"""What a run and a sweep write under which name, checked before anything is reckoned with it.

A pattern is a function that accepts a value, ``[pattern]`` for a list of such values, or ``{name: pattern}`` for an
object whose values, where it has them, are so; under the name ``...`` stands the pattern of every value. None fits any.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.types import UserError


def number(value) -> bool:
    """Accepts a number that floats can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def size(value) -> bool:
    """Accepts a number that is not negative."""
    return number(value) and value >= 0


def text(value) -> bool:
    """Accepts words."""
    return isinstance(value, str)


def flag(value) -> bool:
    """Accepts what a flag can be."""
    return isinstance(value, bool | str) or number(value)


def pair(value) -> bool:
    """Accepts a list of two words."""
    return fits(value, [text]) and len(value) == 2


def fits(value, pattern) -> bool:
    """Tells whether ``value`` is of a pattern."""
    if value is None:
        return True
    if isinstance(pattern, list):
        return isinstance(value, list) and all(fits(v, pattern[0]) for v in value)
    if isinstance(pattern, dict):
        return isinstance(value, dict) and misfit(value, pattern) is None
    return pattern(value)


def misfit(values: Mapping[str, Any], patterns: Mapping[Any, Any]) -> str | None:
    """Returns the first name whose value is not of its pattern; None may stand for any."""
    every = dict.fromkeys(values, patterns[...]) if ... in patterns else {}
    named = every | {name: pattern for name, pattern in patterns.items() if name is not ...}
    return next((name for name, pattern in named.items() if not fits(values.get(name), pattern)), None)


def checked(values: dict[str, Any], patterns: Mapping[Any, Any], path: Path, remedy: str) -> dict[str, Any]:
    """Returns ``values`` itself.

    Raises:
      UserError: a value of it is of another kind than its name says.
    """
    name = misfit(values, patterns)
    if name is not None:
        raise UserError(f"{path}: {name} is not what a run writes there ({str(values[name])[:60]}); {remedy}")
    return values


def _each(pattern, names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), pattern)


RESULTS: dict[str, Any] = {
    **_each(
        number,
        "step steps_done best_step elbo rate distortion calibrated_elbo iw_nll iw_samples bits_per_dim iw_bits_per_dim",
    ),
    **_each(number, "perplexity iw_perplexity prior_distortion swapped_distortion entropy words psnr ssim beta"),
    **_each(number, "beta_norm water_level predicted_active examples_per_second seconds diverged_at nats_at_bound"),
    **_each(number, "perplexity_known unknown_words"),
    **_each(size, "mse calibration active_units sigma lambda_max latent_dim data_dim clipped saturated"),
    **_each(size, "trained_sigma sigma_at_bound skipped used_latents counted_dim standardised_mse"),
    **_each(number, "log_scale"),
    "per_column": [
        {"name": text, "kind": text, "family": text, "levels": [text]} | _each(size, "missing rmse sigma accuracy")
    ],
    "layers": [_each(number, "latents rate kept_latents active_units")],
    "standardisation": {"how": text, "columns": [text], "shift": [number], "scale": [number]},
    **_each([number], "kl_per_latent second_moment information_per_latent"),
    **_each(text, "headline protocol"),
    "warnings": [text],
    **_each(
        _each(number, "elbo rate distortion") | _each(size, "mse calibration calibration_before"), "train validation"
    ),
    "stopped_early": flag,
    "condition": [{"name": text} | _each(number, "accuracy majority r2")],
    "rate_parts": {"cap": number}
    | _each(_each(number, "value error"), "mutual_information total_correlation dimension_wise_kl prior_gap"),
    "reliability": _each([number], "levels coverage standard_error pit") | {"skipped": text, "share": number},
}
EVALUATION = RESULTS | {
    "gaps": {...: number},
    "annealed": {},
    "disentanglement": {"protocol": text, "left_out": [text]},
}
SENTENCES = {"reconstructions": [pair], "samples": [text], "homotopies": [[text]]}
WAKING = {"said": text, "steps": [size], "rates": [[size]], "woke": [size]}
# Flags that the report reckons with; every other one is shown as it is.
CONFIG = {...: flag} | _each(number, "warmup_steps target_kl target_distortion")
ROW = RESULTS | {"asked": {...: flag}, "disentanglement": {}}
SWEEP: dict[str, Any] = {
    **_each(number, "seconds training_seconds programs"),
    **_each({}, "flags halving"),
    "notes": [text],
    "goal": {"name": text, "target": number},
    "reference": [
        _each(number, "latent_dim collapse_beta")
        | {"frontier": _each([number], "water_level rate rms"), "calibrated": _each(number, "rms rate")}
    ],
}

# Name in pictures.npz -> the least number of its axes, or that it holds words.
PICTURES = {
    **_each(2, "inputs reconstructions samples embedding factors"),
    **_each(3, "traversals interpolations interpolation_ends tempered"),
    **_each(1, "traversal_latents traversal_kl traversal_z temperatures"),
    **_each("words", "embedding_axes factor_names class_names"),
}


def pictures_misfit(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Returns the first array of pictures.npz that has not the numbers, or words, and axes that it should have."""
    for name, array in arrays.items():
        least = PICTURES.get(name, 0)
        words = least == "words" and array.dtype.kind == "U" and array.ndim == 1
        numbers = least != "words" and array.dtype.kind in "uif" and array.ndim >= least
        if name in PICTURES and not (words or numbers):
            return name
    return None
