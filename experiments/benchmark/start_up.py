"""From the command to the first step: a run of its own, with nothing compiled before and then with all of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vae_jax.types import UserError

LOOK = 0.01  # seconds between two looks at whether the first step has been logged
PATIENCE = 300.0


def measure(repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """``{"command", "cold", "warm"}``: seconds of each repeat, until the row of the first update is in metrics.jsonl.

    Args:
      repeats: how often; each begins with an empty cache of compiled programs.
      say: is given a line for each.

    Raises:
      UserError: the run ended, or took longer than five minutes.
    """
    flags = ["--dataset=digits", "--num_steps=2", "--log_every=1", "--eval_every=2", "--checkpoint_every=2"]
    found: dict[str, Any] = {"command": "python -m experiments.train " + " ".join(flags), "cold": [], "warm": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for how in ("cold", "warm"):
                found[how].append(_until_first_row(flags, Path(folder), how))
        say(f"start-up: {found['cold'][-1]:.2f} s with nothing compiled, {found['warm'][-1]:.2f} s after that")
    return found


def _until_first_row(flags: list[str], folder: Path, name: str) -> float:
    environ = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environ["XDG_CACHE_HOME"] = str(folder / "cache")
    command = [sys.executable, "-m", "vae_jax", "train", *flags, f"--workdir={folder / name}"]
    rows, started = folder / name / "metrics.jsonl", time.perf_counter()
    with (folder / "said").open("w+") as said:
        run = subprocess.Popen(command, env=environ, stdout=said, stderr=said)
        try:
            while not (rows.exists() and rows.stat().st_size):
                taken = time.perf_counter() - started
                if run.poll() is not None or taken > PATIENCE:
                    said.seek(0)
                    last = (said.read().strip().splitlines() or ["it said nothing"])[-1]
                    raise UserError(f"--start_up: {' '.join(command[1:3])} logged no step in {taken:.0f} s: {last}")
                time.sleep(LOOK)
            taken = time.perf_counter() - started
            run.wait(PATIENCE)  # or what it compiled would not all be kept
            return taken
        finally:
            run.kill()
            run.wait()
