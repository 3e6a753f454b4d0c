"""What a run's files may hold: a file that somebody edited gets a sentence, not a figure that fails half way.

A kind is a function of a value that says whether it is of that kind; what is null or missing is always allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.types import UserError

Kind = Callable[[Any], bool]


def number(value) -> bool:
    """A number that floats can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def size(value) -> bool:
    """A number that is not negative."""
    return number(value) and value >= 0


def text(value) -> bool:
    """Words."""
    return isinstance(value, str)


def single(value) -> bool:
    """What a flag can be."""
    return isinstance(value, bool | str) or number(value)


def listed(kind: Kind, length: int | None = None) -> Kind:
    """A list of that kind, of so many."""
    return lambda value: isinstance(value, list) and length in (None, len(value)) and all(map(_or_none(kind), value))


def named(kind: Kind) -> Kind:
    """An object whose every value is of that kind."""
    return lambda value: isinstance(value, dict) and all(map(_or_none(kind), value.values()))


def object_of(kinds: Mapping[str, Kind]) -> Kind:
    """An object whose values, where it has them, are of the kinds that are given by name."""
    return lambda value: isinstance(value, dict) and misfit(value, kinds) is None


def _or_none(kind: Kind) -> Kind:
    return lambda value: value is None or kind(value)


def misfit(found: Mapping[str, Any], kinds: Mapping[str, Kind]) -> str | None:
    """The first name whose value is not of its kind."""
    return next((name for name, kind in kinds.items() if not _or_none(kind)(found.get(name))), None)


def checked(found: dict[str, Any], kinds: Mapping[str, Kind], path: Path, remedy: str) -> dict[str, Any]:
    """``found`` itself.

    Raises:
      UserError: a value of it is of another kind than its name says.
    """
    name = misfit(found, kinds)
    if name is not None:
        raise UserError(f"{path}: {name} is not what a run writes there ({str(found[name])[:60]}); {remedy}")
    return found


PART = object_of({"value": number, "error": number})
_NUMBERS = (
    *("step", "elbo", "rate", "distortion", "calibrated_elbo", "iw_nll", "iw_samples", "bits_per_dim", "perplexity"),
    *("iw_perplexity", "prior_distortion", "entropy", "psnr", "ssim", "beta", "beta_norm", "predicted_active"),
    *("swapped_distortion", "water_level", "examples_per_second", "seconds", "iw_bits_per_dim", "diverged_at", "words"),
)
_SIZES = (
    *("mse", "calibration", "active_units", "sigma", "lambda_max", "latent_dim", "data_dim", "clipped"),
    *("saturated", "sigma_at_bound", "skipped"),
)
RESULTS: dict[str, Kind] = {
    **dict.fromkeys(_NUMBERS, number),
    **dict.fromkeys(_SIZES, size),
    "kl_per_latent": listed(number),
    "second_moment": listed(number),
    "train": object_of(dict.fromkeys(("elbo", "rate", "distortion"), number) | {"mse": size, "calibration": size}),
    "rate_parts": object_of(
        {"cap": number} | dict.fromkeys(("mutual_information", "total_correlation", "dimension_wise_kl"), PART)
    ),
    "reliability": object_of(
        dict.fromkeys(("levels", "coverage", "standard_error", "pit"), listed(number))
        | {"skipped": text, "share": number}
    ),
    "warnings": listed(text),
    "headline": text,
    "protocol": text,
}
_SCORES = object_of({"protocol": text, "left_out": listed(text)})
EVALUATION = RESULTS | {"gaps": named(number), "disentanglement": _SCORES}
SENTENCES: dict[str, Kind] = {
    "reconstructions": listed(listed(text, 2)),
    "samples": listed(text),
    "homotopies": listed(listed(text)),
}
# Flags that the report reckons with; every other one is shown as it is.
CONFIG: dict[str, Kind] = dict.fromkeys(("warmup_steps", "target_kl", "target_distortion"), number)

# Name in pictures.npz -> the least number of its axes; words where it ends with an s of names.
PICTURES = {
    **dict.fromkeys(("inputs", "reconstructions", "samples"), 2),
    **dict.fromkeys(("traversals", "interpolations", "interpolation_ends", "tempered"), 3),
    **dict.fromkeys(("traversal_latents", "traversal_kl", "traversal_z", "temperatures"), 1),
    **dict.fromkeys(("embedding", "factors"), 2),
}
WORDS = ("embedding_axes", "factor_names")


def pictures_misfit(arrays: Mapping[str, np.ndarray]) -> str | None:
    """The first array of pictures.npz that is none of numbers, or of words, with the axes that it should have."""
    for name, array in arrays.items():
        if name in PICTURES and (array.dtype.kind not in "uif" or array.ndim < PICTURES[name]):
            return name
        if name in WORDS and (array.dtype.kind != "U" or array.ndim != 1):
            return name
    return None
