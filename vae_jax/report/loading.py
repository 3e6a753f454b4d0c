"""Reads what a run left in its workdir; tolerates a run that was killed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.jsonfile import read_object
from vae_jax.report import checking
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


def _json(text: str):
    return json.loads(text, parse_constant=lambda name: None)


def _metrics(path: Path) -> list[dict[str, Any]]:
    lines: dict[tuple[str, int], dict[str, Any]] = {}
    if path.exists():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = _json(text)
                key = (str(line["split"]), int(line["step"]))
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue  # a killed run tears a line
            line = {name: value for name, value in line.items() if name == "split" or checking.number(value)}
            if "step" not in line:
                continue
            lines[key] = line  # a resumed run repeats the steps after its last checkpoint: the later line is the run's
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
        results=_object(workdir / "results.json", checking.RESULTS),
        config=_config(config) if config.exists() else {},
        metrics=_metrics(workdir / "metrics.jsonl"),
        pictures=_pictures(pictures) if pictures.exists() else {},
        evaluation=_object(evaluation, checking.EVALUATION) if evaluation.exists() else None,
        sentences=_object(said, checking.SENTENCES) if said.exists() else None,
    )


def _object(path: Path, kinds) -> dict[str, Any]:
    return checking.checked(read_object(path, ANEW), kinds, path, ANEW)


def _config(path: Path) -> dict[str, Any]:
    found = _object(path, checking.CONFIG)
    return checking.checked(found, dict.fromkeys(found, checking.single), path, "repair it by hand, or train again")


def _pictures(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # numpy and zipfile raise errors of many kinds for a file that is broken
        raise UserError(f"{path} cannot be read ({error}); {ANEW}") from None
    wrong = checking.pictures_misfit(arrays)
    if wrong is not None:
        raise UserError(f"{path}: {wrong} has dtype {arrays[wrong].dtype} and {arrays[wrong].ndim} axes; {ANEW}")
    return arrays


def series(metrics, split: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps and the values of one metric, ``([n], [n])``; lines with none are left out."""
    kept = [(m["step"], m[key]) for m in metrics if m["split"] == split and isinstance(m.get(key), int | float)]
    pairs = np.asarray(kept, float).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def write_atomic(path: Path, data: bytes) -> None:
    """Writes ``data`` to ``path`` all at once: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
