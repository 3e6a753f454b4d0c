"""What a run writes while it trains: metrics.jsonl, TensorBoard events, and a bar or lines for a person."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.runtime.files import as_line, open_to_append, read_rows, write_rows
from vae_jax.runtime.trackers import followed

SHARES = {"clipped", "saturated", "skipped"}  # metrics whose line says how often, over the whole chunk
COUNTS = {"skipped_in_a_row", "skipped_total"}  # for whoever watches the run, and in no line


class MetricsLog:
    """metrics.jsonl of one run, TensorBoard events and another tracker; a context manager.

    Args:
      workdir: the run's folder.
      step: where the run (re)starts: lines of later work that was lost are dropped, so no step appears twice.
      tracker: one of ``trackers.NAMES``.
      flags: of the run, for the tracker.
    """

    def __init__(self, workdir: Path, step: int, tracker: str = "none", flags: dict[str, Any] | None = None):
        self.path = workdir / "metrics.jsonl"
        self._evaluated = rewind(self.path, step)
        self._file = open_to_append(self.path)
        self._trackers = followed(workdir, step, tracker, flags)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        for tracker in self._trackers:
            tracker.finish()

    def write(self, step: int, split: str, values: dict[str, Any], shown: dict[str, Any] | None = None) -> None:
        """Writes one line ``{"step", "split", ...}``, and tells the trackers; an evaluation is written once.

        ``shown`` is for trackers alone: images and histograms.
        """
        if (step, split) in self._evaluated:
            return  # the run was stopped between this evaluation and its results
        self._file.write(line(step, split, values))
        self._file.flush()
        for tracker in self._trackers:
            tracker.log(step, {f"{split}/{name}": value for name, value in {**values, **(shown or {})}.items()})


def line(step: int, split: str, values: dict[str, Any]) -> str:
    """Returns one line of metrics.jsonl; a number that is not finite is null, because JSON has no word for it."""
    return as_line({"step": step, "split": split, **values})


def update_rows(first: int, metrics: dict[str, Any], last: bool, rate: Callable) -> list[tuple[int, dict[str, float]]]:
    """Returns the updates of a chunk that metrics.jsonl shows, as (step, values).

    The first update of each chunk, and the run's last: each line is one update, so its identities hold. What is 0 or 1
    in an update (``SHARES``) is said as a share of the whole chunk.

    Args:
      first: the step of the chunk's first update.
      metrics: name -> ``[length]``.
      last: whether the chunk ends the run.
      rate: the networks' learning rate, a function of the updates made.
    """
    length = len(metrics["loss"])
    shares = {k: float(np.mean(metrics[k])) for k in SHARES & metrics.keys()}
    rows = []
    for i in sorted({0, length - 1}) if last else [0]:
        values = {k: float(v[i]) for k, v in metrics.items() if k not in COUNTS}
        made = first + i - int(metrics["skipped_total"][i] - metrics["skipped"][i])  # what the optimiser has counted
        rows.append((first + i, values | {"learning_rate": float(rate(made))} | shares))
    return rows


def rewind(path: Path, step: int) -> set[tuple[int, str]]:
    """Keeps what the state of ``step`` already contains: updates before it, evaluations up to it.

    Returns:
      Step and split of each evaluation at ``step`` itself that is kept.
    """
    kept, evaluated = [], set()
    for row in read_rows(path):
        try:
            key = int(row["step"]), str(row["split"])
        except (ValueError, KeyError, TypeError, OverflowError):
            continue  # none of ours
        if key[0] < step or (key[0] == step and key[1] != "train"):
            kept.append(row)
            evaluated |= {key} if key[0] == step else set()
    if path.exists():
        write_rows(path, kept)
    return evaluated


class Progress:
    """A bar on a terminal, a plain line now and then elsewhere; a context manager.

    Args:
      done: where it begins.
      total: where it ends.
      unit: what is counted.
    """

    def __init__(self, done: int, total: int, unit: str = "step"):
        from tqdm import tqdm

        self.total, self.unit = total, unit
        self.terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, initial=done, unit=f" {unit}", disable=not self.terminal, dynamic_ncols=True)
        self._initial = self._done = done
        self._next_line = 0
        self._began = time.perf_counter()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()

    def advance(self, count: int, shown: dict[str, Any]) -> None:
        """Shows that ``count`` more are done, and these words and numbers."""
        self._done += count
        shown = {k: v if isinstance(v, str) else f"{v:.4g}" for k, v in shown.items()}
        if self.terminal:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(count)
        elif self._done >= self._next_line or self._done == self.total:
            # About twenty lines a run, whatever its length; a bar shows the time that is left by itself.
            self._next_line = self._done + self.total / 20
            seconds = (time.perf_counter() - self._began) / max(self._done - self._initial, 1)
            shown["left"] = f"{seconds * (self.total - self._done):.0f} s"
            line = "  ".join(f"{k} {v}" for k, v in shown.items())
            print(f"{self.unit} {self._done}/{self.total}  {line}", flush=True)

    def skip(self, count: int) -> None:
        """Counts off ``count`` more that need not be done: another time did them, or nobody wants them now."""
        self._done += count
        self._initial += count
        if self.terminal:
            self._bar.initial += count
            self._bar.update(count)

    def say(self, text: str) -> None:
        """Prints a line that does not tear the bar."""
        self._bar.write(text) if self.terminal else print(text, flush=True)
