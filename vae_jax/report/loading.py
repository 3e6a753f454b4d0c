"""Reads what a run left in its workdir; tolerates a run that was killed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.types import UserError


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


def read_object(path: Path, remedy: str = "evaluate the run again") -> dict[str, Any]:
    """One JSON object; NaN and infinities are None. ``remedy`` is what writes the file anew.

    Raises:
      UserError: where the file is no such thing.
    """
    try:
        value = _json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); {remedy} to write it anew") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} should hold one JSON object, not a {type(value).__name__}")
    return value


def _metrics(path: Path) -> list[dict[str, Any]]:
    lines: dict[tuple[str, int], dict[str, Any]] = {}
    if path.exists():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = _json(text)
                key = (str(line["split"]), int(line["step"]))
            except (ValueError, KeyError, TypeError):
                continue  # a killed run tears a line
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
    arrays: dict[str, np.ndarray] = {}
    if pictures.exists():
        try:
            with np.load(pictures) as file:
                arrays = {name: np.asarray(file[name]) for name in file.files}
        except (ValueError, OSError, EOFError) as error:
            raise UserError(f"{pictures} cannot be read ({error}); evaluate the run again to write it anew") from None
    return Run(
        results=read_object(workdir / "results.json"),
        config=read_object(config) if config.exists() else {},
        metrics=_metrics(workdir / "metrics.jsonl"),
        pictures=arrays,
        evaluation=read_object(evaluation) if evaluation.exists() else None,
        sentences=read_object(said) if said.exists() else None,
    )


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
