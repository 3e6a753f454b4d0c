"""Starts a binary as a person does, and reads what a run left; what a binary refuses needs no process of its own."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags as absl_flags

from vae_jax.runtime.config import define_flags, parse
from vae_jax.types import UserError

ROOT = Path(__file__).parents[2]
TIMINGS = ("seconds", "examples_per_second")


def start(*flags, binary="train", env=None, **popen):
    """The process of a binary, on one device unless ``env`` says otherwise."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    command, pipe = [sys.executable, "-m", f"experiments.{binary}", *flags], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, env=inherited | (env or {}), stdout=pipe, stderr=pipe, text=True, **popen
    )


def run(*flags, **popen):
    """A binary's exit status, output and errors."""
    process = start(*flags, **popen)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def exits_with_2(*flags, match, **popen):
    """Holds that a process ends with status 2 and one line of error, and returns the line."""
    code, _, err = run(*flags, **popen)
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert code == 2, err
    assert len(lines) == 1 and lines[0].startswith("error: ") and match in lines[0], err
    return lines[0]


def refused(*flags, match, binary="train"):
    """Holds that a binary refuses its flags, in this process: what ``exits_with_2`` holds without its seconds."""
    module, values = importlib.import_module(f"experiments.{binary}"), absl_flags.FlagValues()
    define_flags(module.Config, values)
    with pytest.raises(UserError) as caught:
        module.main(parse(module.Config, [binary, *flags], values))
    message = str(caught.value)
    assert match in message and "\n" not in message, message
    return message


def results(workdir):
    """The numbers of a run's results.json, without its timings."""
    return {k: v for k, v in json.loads((workdir / "results.json").read_text()).items() if k not in TIMINGS}


def metrics(workdir, split="train"):
    """The lines of a run's metrics.jsonl that are of one split."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["split"] == split]
