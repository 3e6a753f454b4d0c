"""Reads what a run left in its workdir; tolerates a run that was killed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.runtime.files import read_object, read_rows
from vae_jax.types import UserError

ANEW = "evaluate the run again to write it anew"


class Run(NamedTuple):
    """A run's files, read.

    Attributes:
      results: ``results.json``; NaN and infinities are None.
      config: ``config.json``, {} where there is none.
      metrics: the lines of ``metrics.jsonl`` in order of their step; one for each step and split.
      evaluation: ``evaluation.json``, None where there is none.
      sentences: ``sentences.json``, None where there is none.
      pictures: ``inputs``, ``reconstructions`` and ``samples`` of ``pictures.npz``, {} where there is none.
    """

    results: dict[str, Any]
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    pictures: dict[str, np.ndarray]
    evaluation: dict[str, Any] | None = None
    sentences: dict[str, Any] | None = None


def _metrics(path: Path) -> list[dict[str, Any]]:
    lines: dict[tuple[str, int], dict[str, Any]] = {}
    for line in read_rows(path):
        if number(line.get("step")) and "split" in line:
            # A resumed run repeats the steps after its last checkpoint: the later line is the run's.
            kept = {name: value for name, value in line.items() if name == "split" or number(value)}
            lines[str(line["split"]), int(line["step"])] = kept
    return sorted(lines.values(), key=lambda line: line["step"])


def load(workdir) -> Run:
    """Reads a run's files.

    Args:
      workdir: the run's directory, as the main job wrote it.

    Returns:
      A ``Run``; whatever is missing, ``results.json`` apart, is empty.

    Raises:
      UserError: where the run has no results, or a file of it is not what it should be.
    """
    workdir = Path(workdir)
    if not (workdir / "results.json").exists():
        what = "has no results.json" if workdir.is_dir() else "is not a directory"
        raise UserError(f"{workdir} {what}: the run has no results yet; train it to its end, or evaluate it, first")
    config, evaluation = workdir / "config.json", workdir / "evaluation.json"
    pictures, said = workdir / "pictures.npz", workdir / "sentences.json"
    return Run(
        results=_object(workdir / "results.json", RESULTS),
        config=_config(config) if config.exists() else {},
        metrics=_metrics(workdir / "metrics.jsonl"),
        pictures=_pictures(pictures) if pictures.exists() else {},
        evaluation=_object(evaluation, EVALUATION) if evaluation.exists() else None,
        sentences=_object(said, SENTENCES) if said.exists() else None,
    )


def _object(path: Path, kinds) -> dict[str, Any]:
    return checked(read_object(path, ANEW), kinds, path, ANEW)


def _config(path: Path) -> dict[str, Any]:
    found = _object(path, CONFIG)
    return checked(found, dict.fromkeys(found, single), path, "repair it by hand, or train again")


def _pictures(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # numpy and zipfile raise errors of many kinds for a file that is broken
        raise UserError(f"{path} cannot be read ({error}); {ANEW}") from None
    wrong = pictures_misfit(arrays)
    if wrong is not None:
        raise UserError(f"{path}: {wrong} has dtype {arrays[wrong].dtype} and {arrays[wrong].ndim} axes; {ANEW}")
    return arrays


def series(metrics, split: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps and the values of one metric, ``([n], [n])``; lines with none are left out."""
    kept = [(m["step"], m[key]) for m in metrics if m["split"] == split and isinstance(m.get(key), int | float)]
    pairs = np.asarray(kept, float).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


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
