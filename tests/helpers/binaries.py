"""Starts a binary as a person does, and reads what a run left; what a binary refuses needs no process of its own."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import jax
import pytest
from absl import flags as absl_flags

from vae_jax.runtime.config import define_flags, parse
from vae_jax.types import UserError

ROOT = Path(__file__).parents[2]
TIMINGS = ("seconds", "examples_per_second")


# What runs of the tests have in common: the shapes, so that one compiles for all.
SMALL = ["--hidden=16", "--latent_dim=3", "--batch_size=64", "--num_steps=60", "--log_every=10", "--iw_samples=4"]


def start(*flags, binary="train", env=None, **popen):
    """The process of a binary, on one device unless ``env`` says otherwise: to be killed, or where it is the point."""
    inherited = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    command, pipe = [sys.executable, "-m", f"experiments.{binary}", *flags], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, env=inherited | (env or {}), stdout=pipe, stderr=pipe, text=True, **popen
    )


def exits_with_2(*flags, match, **popen):
    """Holds that a process ends with status 2 and one line of error, and returns the line."""
    process = start(*flags, **popen)
    _, err = process.communicate(timeout=300)
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert process.returncode == 2, err
    assert len(lines) == 1 and lines[0].startswith("error: ") and match in lines[0], err
    return lines[0]


def call(*flags, binary="train", devices=1):
    """Calls a binary in this process, which sees that many devices; returns what it printed, and its errors."""
    module, values = importlib.import_module(f"experiments.{binary}"), absl_flags.FlagValues()
    define_flags(module.Config, values)
    out, err, seen = io.StringIO(), io.StringIO(), jax.devices()[:devices]
    patched = {name: lambda *_, **__: seen for name in ("devices", "local_devices")}
    patched |= {name: lambda *_: devices for name in ("device_count", "local_device_count")}
    with redirect_stdout(out), redirect_stderr(err), mock.patch.multiple(jax, **patched):
        module.main(parse(module.Config, [binary, *flags], values))
    return out.getvalue(), err.getvalue()


def refused(*flags, match, binary="train"):
    """Holds that a binary refuses its flags, in this process: what ``exits_with_2`` holds without its seconds."""
    with pytest.raises(UserError) as caught:
        call(*flags, binary=binary)
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
