"""What a run and a sweep write under which name, checked before anything is reckoned with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.types import UserError

Kind = Callable[[Any], bool]


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


def anything(value) -> bool:
    """Accepts an object that is only shown or looked through."""
    return isinstance(value, dict)


def listed(kind: Kind, length: int | None = None) -> Kind:
    """Accepts a list of that kind, of so many; each may be None."""
    return lambda value: (
        isinstance(value, list) and length in (None, len(value)) and all(_or_none(kind, v) for v in value)
    )


def named(kind: Kind) -> Kind:
    """Accepts an object whose every value is of that kind or None."""
    return lambda value: isinstance(value, dict) and all(_or_none(kind, v) for v in value.values())


def object_of(kinds: Mapping[str, Kind]) -> Kind:
    """Accepts an object whose values, where it has them, are of the kinds that are given by name."""
    return lambda value: isinstance(value, dict) and misfit(value, kinds) is None


def _or_none(kind: Kind, value) -> bool:
    return value is None or kind(value)


def misfit(values: Mapping[str, Any], kinds: Mapping[str, Kind]) -> str | None:
    """Returns the first name whose value is not of its kind; None may stand for any."""
    return next((name for name, kind in kinds.items() if not _or_none(kind, values.get(name))), None)


def checked(values: dict[str, Any], kinds: Mapping[str, Kind], path: Path, remedy: str) -> dict[str, Any]:
    """``values`` itself.

    Raises:
      UserError: a value of it is of another kind than its name says.
    """
    name = misfit(values, kinds)
    if name is not None:
        raise UserError(f"{path}: {name} is not what a run writes there ({str(values[name])[:60]}); {remedy}")
    return values


def _each(kind: Kind, names: str) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


_PART = object_of(_each(number, "value error"))
_CURVES = _each(listed(number), "levels coverage standard_error pit")
RESULTS: dict[str, Kind] = {
    **_each(number, "step elbo rate distortion calibrated_elbo iw_nll iw_samples bits_per_dim iw_bits_per_dim"),
    **_each(number, "perplexity iw_perplexity prior_distortion swapped_distortion entropy words psnr ssim beta"),
    **_each(number, "beta_norm water_level predicted_active examples_per_second seconds diverged_at"),
    **_each(size, "mse calibration active_units sigma lambda_max latent_dim data_dim clipped saturated"),
    **_each(size, "sigma_at_bound skipped"),
    **_each(listed(number), "kl_per_latent second_moment"),
    **_each(text, "headline protocol"),
    "warnings": listed(text),
    "train": object_of(_each(number, "elbo rate distortion") | _each(size, "mse calibration")),
    "rate_parts": object_of({"cap": number} | _each(_PART, "mutual_information total_correlation dimension_wise_kl")),
    "reliability": object_of(_CURVES | {"skipped": text, "share": number}),
}
_SCORES = object_of({"protocol": text, "left_out": listed(text)})
EVALUATION = RESULTS | {"gaps": named(number), "disentanglement": _SCORES}
SENTENCES: dict[str, Kind] = {
    "reconstructions": listed(listed(text, 2)),
    "samples": listed(text),
    "homotopies": listed(listed(text)),
}
# Flags that the report reckons with; every other one is shown as it is.
CONFIG = _each(number, "warmup_steps target_kl target_distortion")

ROW = RESULTS | {"asked": named(flag), "disentanglement": anything}
_LINE = object_of(_each(listed(number), "water_level rate rms"))
_THEORY = _each(number, "latent_dim collapse_beta") | {
    "frontier": _LINE,
    "calibrated": object_of(_each(number, "rms rate")),
}
SWEEP: dict[str, Kind] = {
    **_each(number, "seconds training_seconds programs"),
    **_each(anything, "flags halving"),
    "reference": listed(object_of(_THEORY)),
    "notes": listed(text),
}

# Name in pictures.npz -> the least number of its axes.
PICTURES = {
    **dict.fromkeys(("inputs", "reconstructions", "samples", "embedding", "factors"), 2),
    **dict.fromkeys(("traversals", "interpolations", "interpolation_ends", "tempered"), 3),
    **dict.fromkeys(("traversal_latents", "traversal_kl", "traversal_z", "temperatures"), 1),
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
