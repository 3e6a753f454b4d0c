"""Reads what a run left in its workdir; tolerates a run that was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.report import schema
from vae_jax.runtime.files import read_object, read_rows
from vae_jax.types import UserError

ANEW = "remove it, and the same command of train writes it anew"
BOTH = "remove it and results.json, and the same command of train writes both anew"
EVALUATE = "evaluate the run again to write it anew"
REPAIR = "repair it by hand, or train again"
VECTOR = "rate_per_latent"  # the one entry of a line that is a list
MOST = 1e100  # what is larger cannot be squared, and no figure shows it


class Run(NamedTuple):
    """A run's files, read.

    Attributes:
      results: ``results.json``; NaN and infinities are None.
      config: ``config.json``, {} where there is none.
      metrics: the lines of ``metrics.jsonl`` in order of their step; one for each step and split.
      evaluation: ``evaluation.json``, None where there is none.
      sentences: ``sentences.json``, None where there is none.
      pictures: ``inputs``, ``reconstructions`` and ``samples`` of ``pictures.npz``, {} where there is none.
      waking: ``waking.json``, what the linear theory foretold of the latents, None where there is none.
    """

    results: dict[str, Any]
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    pictures: dict[str, np.ndarray]
    evaluation: dict[str, Any] | None = None
    sentences: dict[str, Any] | None = None
    waking: dict[str, Any] | None = None


def _metrics(path: Path) -> list[dict[str, Any]]:
    lines: dict[tuple[str, int], dict[str, Any]] = {}
    for line in read_rows(path):
        if schema.size(line.get("step")) and line["step"] < 1e15 and "split" in line:
            # A resumed run repeats the steps after its last checkpoint: the later line is the run's.
            kept = {k: v for k, v in line.items() if k == "split" or (_rates if k == VECTOR else schema.number)(v)}
            lines[str(line["split"]), int(line["step"])] = kept
    return sorted(lines.values(), key=lambda line: line["step"])


def _rates(value) -> bool:
    """Tells whether ``value`` is a list of numbers, of a latent at least."""
    return isinstance(value, list) and bool(value) and all(schema.size(v) and v < MOST for v in value)


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
        raise UserError(f"{workdir} {what}: the run has no results yet; train it to its end first")
    return Run(
        results=_object(workdir / "results.json", schema.RESULTS) or {},
        config=_object(workdir / "config.json", schema.CONFIG, REPAIR) or {},
        metrics=_metrics(workdir / "metrics.jsonl"),
        pictures=_pictures(workdir / "pictures.npz"),
        evaluation=_object(workdir / "evaluation.json", schema.EVALUATION, EVALUATE),
        sentences=_object(workdir / "sentences.json", schema.SENTENCES, BOTH),
        waking=_object(workdir / "waking.json", schema.WAKING, "remove it: the report is drawn without it"),
    )


def _object(path: Path, patterns: dict[Any, Any], remedy: str = ANEW) -> dict[str, Any] | None:
    return schema.checked(read_object(path, remedy), patterns, path, remedy) if path.exists() else None


def _pictures(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    if not path.is_file():  # opening a pipe would wait for ever
        raise UserError(f"{path} is not a file; {BOTH}")
    try:
        with np.load(path) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # numpy and zipfile raise errors of many kinds for a file that is broken
        raise UserError(f"{path} cannot be read ({error}); {BOTH}") from None
    wrong = schema.pictures_misfit(arrays)
    if wrong is not None:
        raise UserError(f"{path}: {wrong} has dtype {arrays[wrong].dtype} and {arrays[wrong].ndim} axes; {BOTH}")
    return arrays


def series(metrics, split: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps and the values of one metric, ``([n], [n])``; lines with none are left out."""
    lines = [(m["step"], m.get(key)) for m in metrics if m["split"] == split]
    pairs = np.array([(s, v) for s, v in lines if isinstance(v, int | float) and abs(v) < MOST], float).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
