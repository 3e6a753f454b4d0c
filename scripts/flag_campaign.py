"""Runs random combinations of flags through train, text, sweep, evaluate and weigh, at tiny sizes.

    python scripts/flag_campaign.py --workdir=runs/flags                    400 combinations: half an hour, two CPU cores
    python scripts/flag_campaign.py --workdir=runs/flags --only=17,203      these again

Combination i is a function of the seed and i alone. A traceback, and a null bound with status 0, are failures; each is
printed with its command, less the flags without which it fails all the same. WORKDIR/flags.jsonl has a line for each,
and the same command goes on where it stopped. Some dozens share a process; one that dies or takes minutes is a failure
of the combination that it was at. Exit status 1 where anything failed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import json
import math
import os
import random
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from vae_jax.runtime.fields import kinds
from vae_jax.runtime.files import read_rows

BINARIES = {"train": 0.4, "sweep": 0.15, "text": 0.15, "evaluate": 0.1, "weigh": 0.2}
TINY = {"num_steps": 4, "batch_size": 8, "hidden": "6", "latent_dim": 2, "iw_samples": 2, "log_every": 2}
BASES = {
    "train": TINY,
    "sweep": {**TINY, "beta": "0.5,2"},
    "text": {**TINY, "embedding": 4, "max_words": 30},
    "evaluate": {"iw_samples": 3, "rate_samples": 20, "gap_examples": 2},
    "weigh": {},
}
# Flags that belong to this machine or that would take it away, and those whose sizes cost memory or time.
LEFT_OUT = {"workdir", "data_dir", "coordinator", "num_processes", "process_id", "plugin", "profile", "known"}
COSTLY = {"num_steps": 12, "latent_dim": 40, "num_samples": 8, "iw_samples": 40, "embedding": 20, "components": 6}
COSTLY |= {"encoder_steps": 5, "random_runs": 3, "rate_samples": 90, "gap_examples": 6, "max_length": 30, "cycles": 9}
FLOATS = (0.0, 1e-30, 1e-6, 1e-3, 0.1, 0.5, 0.9, 1.0, 2.0, 7.5, 100.0, 1e4, 1e10, 1e30, 1e300, -1.0, -50.0, math.inf)
INTEGERS = (0, 1, 2, 3, 5, 8, 64, 1000, 10**9, 10**30, -1)
WORDS = {
    "dataset": ("digits", "sprites", "rows.csv", "mixed.npz", "images", "constant.npz", "wide.npz", "tiny.npz", "none"),
    "hidden": ("6", "5,4", "", "0", "-1", "a", "3,3,3,3"),
    "columns": ("gaussian:64", "gaussian:2,bernoulli:1,categorical(3):1", "gaussian:1", "poisson:4", ":"),
    "beta_range": ("0.1,10", "1,1", "2,0.5", "a,b", "1e-30,1e30"),
    "halving_at": ("0.5", "0.25,0.5", "0", "2", "x"),
}
TEXTS = ("grammar", "words.txt", "one.txt", "digits")
LISTS = ("{},{}", "log:0.1:10:2", "lin:0:1:2", "1,", "log:0:1:3")


def value(name: str, field: dataclasses.Field, kind: type, choose: random.Random, binary: str) -> str:
    """Draws a value of a flag: one of its choices or a number that may be anything, likely ones more often."""
    if name == "dataset" and binary == "text":
        return choose.choice(TEXTS)
    if name in WORDS:
        return choose.choice(WORDS[name])
    choices = field.metadata["choices"]
    if choices:
        return choose.choice(sorted(choices))
    if kind is bool:
        return choose.choice(("true", "false"))
    if kind in (int, float):
        numbers = list(INTEGERS if kind is int else FLOATS)
        if name in COSTLY:
            numbers = [-1, 0, *range(1, COSTLY[name] + 1)]
        return repr(choose.choice(numbers))
    if binary == "sweep":  # whose flags are lists of what those of train are
        return choose.choice(LISTS).format(*choose.sample(("0.1", "1", "2", "5", "1e10", "constant", "linear"), 2))
    return choose.choice(("", "1", "x"))


def combination(seed: int, number: int) -> tuple[str, dict[str, str]]:
    """Returns the binary and the flags of a combination, beside its workdir."""
    choose = random.Random(f"{seed} {number}")
    binary = choose.choices(list(BINARIES), list(BINARIES.values()))[0]
    config = importlib.import_module(f"experiments.{binary}").Config
    types = {name: kind for name, (kind, _) in kinds(config).items()}
    fields = {f.name: f for f in dataclasses.fields(config) if f.metadata["flag"] and f.name not in LEFT_OUT}
    flags = {name: str(v) for name, v in BASES[binary].items()}
    for name in choose.sample(sorted(fields), min(len(fields), choose.randint(1, 7))):
        flags[name] = value(name, fields[name], types[name], choose, binary)
    return binary, flags
