"""From the command to the first step: a run of its own, with nothing compiled before and then with all of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from vae_jax.types import UserError

FLAGS = ("--dataset=digits", "--num_steps=2", "--log_every=1", "--eval_every=2", "--checkpoint_every=2")
LOOK = 0.01  # seconds between two looks at whether the first step has been logged
PATIENCE = 300.0


def measure(repeats: int) -> dict[str, Any]:
    """Returns ``{"command", "cold", "warm"}``: seconds until the first update is in metrics.jsonl; prints each.

    Args:
      repeats: how often; each begins with an empty cache of compiled programs.

    Raises:
      UserError: the run ended, or took longer than five minutes.
    """
    times: dict[str, Any] = {"command": "python -m experiments.train " + " ".join(FLAGS), "cold": [], "warm": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for how in ("cold", "warm"):
                times[how].append(until_first_row(FLAGS, Path(folder), how))
        cold, warm = times["cold"][-1], times["warm"][-1]
        print(f"start-up: {cold:.2f} s with nothing compiled, {warm:.2f} s after that", flush=True)
    return times


def until_first_row(flags: tuple[str, ...], folder: Path, name: str) -> float:
    """Returns the seconds of one run below ``folder``, whose cache of programs is there too, to its first row."""
    environ = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-m", "vae_jax", "train", *flags, f"--workdir={folder / name}"]
    rows, started = folder / name / "metrics.jsonl", time.perf_counter()
    with (folder / "output").open("w+") as output:
        environ["XDG_CACHE_HOME"] = str(folder / "cache")
        run = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
        try:
            while not (rows.exists() and rows.stat().st_size):
                taken = time.perf_counter() - started
                if run.poll() is not None or taken > PATIENCE:
                    output.seek(0)
                    last = (output.read().strip().splitlines() or ["it said nothing"])[-1]
                    raise UserError(f"--start_up: {' '.join(command[1:3])} logged no step in {taken:.0f} s: {last}")
                time.sleep(LOOK)
            taken = time.perf_counter() - started
            run.wait(PATIENCE)  # or what it compiled would not all be kept
            return taken
        finally:
            run.kill()
            run.wait()
