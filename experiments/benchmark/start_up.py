"""What a person waits for: a command's first step, without and with compiled programs, its help, and whole commands."""

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
# Whole commands, each in the same cache twice; the second time is what somebody waits who has done it before.
WHOLE = {"quickstart": ("train",), "weigh mnist": ("weigh", "--dataset=mnist")}


def measure(repeats: int) -> dict[str, Any]:
    """Returns ``{"command", "cold", "warm", "help", "whole"}``, seconds; prints each.

    ``cold`` and ``warm`` end when the first update is in metrics.jsonl, with nothing compiled and after that. ``whole``
    has for each of ``WHOLE`` its first and its second run, or None where its data are not there.

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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        times["help"] = [whole(("train", "--help"), folder) for _ in range(repeats)]
        print(f"--help: {min(times['help'] or [0]):.2f} s")
        times["whole"] = {}
        for what, flags in WHOLE.items():
            both = [whole((*flags, f"--workdir={folder / what / str(i)}"), folder) for i in range(2)]
            times["whole"][what] = None if None in both else both
            print(f"{what}: {'no data' if None in both else '{:.1f} s, again {:.1f} s'.format(*both)}", flush=True)
    return times


def whole(flags: tuple[str, ...], folder: Path) -> float | None:
    """Returns the seconds that a command takes, whose caches are in ``folder``; None where it cannot be done here."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "vae_jax", *flags]
    done = subprocess.run(command, env=environment(folder), capture_output=True, timeout=PATIENCE, check=False)
    return time.perf_counter() - started if done.returncode == 0 else None


def environment(folder: Path) -> dict[str, str]:
    """Returns the environment of somebody whose caches are in ``folder`` and whose Python keeps its bytecode."""
    ours = ("JAX_COMPILATION_CACHE_DIR", "PYTHONDONTWRITEBYTECODE")
    return {k: v for k, v in os.environ.items() if k not in ours} | {"XDG_CACHE_HOME": str(folder / "cache")}


def until_first_row(flags: tuple[str, ...], folder: Path, name: str) -> float:
    """Returns the seconds of one run below ``folder``, whose cache of programs is there too, to its first row."""
    command = [sys.executable, "-m", "vae_jax", "train", *flags, f"--workdir={folder / name}"]
    rows, started = folder / name / "metrics.jsonl", time.perf_counter()
    with (folder / "output").open("w+") as output:
        run = subprocess.Popen(command, env=environment(folder), stdout=output, stderr=output)
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
