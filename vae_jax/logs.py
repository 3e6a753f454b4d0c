"""What a run writes while it trains: metrics.jsonl, TensorBoard events, and a bar or lines for a person."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


class MetricsLog:
    """metrics.jsonl and TensorBoard events of one run; a context manager.

    Args:
      workdir: the run's folder.
      step: where the run (re)starts: lines of later work that was lost are dropped, so no step appears twice.
    """

    def __init__(self, workdir: Path, step: int):
        from tensorboardX import SummaryWriter

        self.path = workdir / "metrics.jsonl"
        _rewind(self.path, step)
        self._file = self.path.open("a")
        self._events = SummaryWriter(str(workdir), purge_step=step or None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        self._events.close()

    def write(self, step: int, split: str, values: dict[str, Any]) -> None:
        """One line ``{"step", "split", ...}``, and one scalar for each number."""
        self._file.write(json.dumps({"step": step, "split": split, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._events.add_scalar(f"{split}/{name}", value, step)


def _rewind(path: Path, step: int) -> None:
    """Keeps what the state of ``step`` already contains: updates before it, evaluations up to it."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # a line torn by a kill
        if row["step"] < step or (row["split"] != "train" and row["step"] == step):
            kept.append(line + "\n")
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("".join(kept))
    os.replace(temporary, path)


class Progress:
    """A bar on a terminal, a plain line now and then elsewhere; a context manager."""

    def __init__(self, step: int, num_steps: int):
        from tqdm import tqdm

        self.num_steps = num_steps
        self.terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=num_steps,
            initial=step,
            unit="step",
            disable=not self.terminal,
            dynamic_ncols=True,
            leave=True,
        )
        self._next_line = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()

    def update(self, step: int, values: dict[str, float]) -> None:
        """``step`` updates are done, the last with these values."""
        shown = {k: f"{values[k]:.4g}" for k in ("loss", "elbo", "rate", "distortion", "beta", "sigma") if k in values}
        if self.terminal:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(step - self._bar.n)
        elif step >= self._next_line or step == self.num_steps:
            # About twenty lines a run, whatever its length.
            self._next_line = step + self.num_steps / 20
            print(
                f"step {step}/{self.num_steps}  " + "  ".join(f"{k} {v}" for k, v in shown.items()),
                flush=True,
            )

    def say(self, text: str) -> None:
        """A line that does not tear the bar."""
        self._bar.write(text) if self.terminal else print(text, flush=True)
