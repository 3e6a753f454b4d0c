"""Runs random combinations of flags through train, text, sweep, evaluate and weigh, at tiny sizes.

    python scripts/flag_campaign.py --workdir=runs/flags                  400 combinations: half an hour, two CPU cores
    python scripts/flag_campaign.py --workdir=runs/flags --only=17,203    these alone

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
import time
import traceback
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # the package need not be installed

import numpy as np
from absl import flags as absl_flags

from vae_jax.report import figure
from vae_jax.runs.sweep.flags import SHARED
from vae_jax.runtime.config import check_values, define_flags, kinds, parse
from vae_jax.runtime.files import read_rows
from vae_jax.types import UserError

BINARIES = {"train": 0.35, "sweep": 0.1, "text": 0.15, "evaluate": 0.15, "weigh": 0.25}
TINY = {"num_steps": 4, "batch_size": 8, "hidden": "6", "latent_dim": 2, "iw_samples": 2, "log_every": 2}
BASES = {
    "train": TINY,
    "sweep": {**TINY, "beta": "0.5,2"},
    "text": {**TINY, "embedding": 4},
    "evaluate": {"iw_samples": 3, "rate_samples": 20, "gap_examples": 2},
    "weigh": {},
}
# Flags that belong to this machine, and those of which much is only slow.
LEFT_OUT = {"workdir", "data_dir", "coordinator", "num_processes", "process_id", "plugin", "profile", "known"}
SLOW = {"num_steps": 12, "iw_samples": 40, "rate_samples": 90, "gap_examples": 6, "max_length": 30, "encoder_steps": 5}
FLOATS = (0.0, 1e-30, 1e-6, 1e-3, 0.1, 0.5, 0.9, 1.0, 2.0, 7.5, 100.0, 1e4, 1e10, 1e30, 1e300, -1.0, -50.0, math.inf)
INTEGERS = (0, 1, 2, 3, 4, 5, 8, 16, 1000, 10**9, 10**30, -1)
WORDS = {
    "dataset": ("digits", "digits", "digits", "rows", "mixed", "small", "constant", "huge", "offset", "images"),
    "hidden": ("6", "5,4", "3,3,3", "", "0", "-1", "a", "99999999"),
    "columns": ("gaussian:5", "gaussian:3,bernoulli:1,categorical(3):1", "gaussian:1", "poisson:4", ":", "gaussian:64"),
    "beta_range": ("0.1:10", "1:1", "2:0.5", "a:b", "1e-30:1e30", "0.1,10"),
    "halving_at": ("0.5", "0.25,0.5", "0", "2", "x"),
}
LOSS = {"recon": "squared_error", "recon_reduction": "mean", "kl_reduction": "sum", "weight": "1"}
LOSS |= {"data_dim": "64", "latent_dim": "3"}
TEXTS = ("grammar", "grammar", "words", "sentence", "digits")
PATIENCE = 400.0  # seconds for one combination and what is tried of it
BOUNDS = ("elbo", "rate", "distortion", "iw_nll")


def make_data(folder: Path) -> None:
    """Writes the data sets and the three trained runs that the combinations name."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 5)).astype(np.float32)
    mixed = rows.copy()
    mixed[:, 3], mixed[:, 4] = rows[:, 3] > 0, rng.integers(0, 3, 60)
    tables = {"rows": rows, "mixed": mixed, "small": rows[:9], "constant": 0 * rows, "huge": 1e9 * rows}
    for name, table in (tables | {"offset": 1e7 + rows}).items():
        np.savez(folder / f"{name}.npz", train=table, test=table[: len(table) // 3])
    images = rng.integers(0, 256, (49, 8, 8, 3), np.uint8)
    np.savez(folder / "images.npz", train=images[9:], test=images[:9])
    (folder / "words.txt").write_text("".join(f"a {word} is red .\n" for word in "cat dog fox hen cow".split() * 8))
    (folder / "sentence.txt").write_text("one sentence\n")
    for name, more in (("digits", {}), ("text", {}), ("range", {"beta_range": "0.1:10"})):
        binary = "text" if name == "text" else "train"
        status, said = attempt(binary, {k: str(v) for k, v in (BASES[binary] | more).items()}, folder / name)
        assert status == 0, said


def value(name: str, binary: str, config: type, choose: random.Random) -> str:
    """Draws a value of a flag of ``config``: one of its choices, or a number or a text that may be anything."""
    if name == "dataset":
        return choose.choice(TEXTS if binary == "text" else WORDS[name])
    if name in WORDS:
        return choose.choice(WORDS[name])
    choices, kind = config.__dataclass_fields__[name].metadata["choices"], kinds(config)[name][0]
    if choices:
        return choose.choice(sorted(choices))
    if kind not in (int, float):
        return choose.choice(("true", "false") if kind is bool else ("", "1", "x"))
    numbers = INTEGERS if kind is int else FLOATS
    if name in SLOW:
        numbers = range(-1, SLOW[name] + 1)
    if choose.random() < 0.85:  # else nearly all would be refused for their first number
        numbers = [number for number in numbers if is_allowed(config, name, number)]
    return repr(choose.choice(numbers))


def is_allowed(config: type, name: str, number: float) -> bool:
    """Returns whether a number is within the bounds of its flag."""
    try:
        check_values(dataclasses.replace(config(), **{name: number}))
    except UserError:
        return False
    return True


def combination(seed: int, number: int) -> tuple[str, dict[str, str]]:
    """Returns the binary and the flags of a combination, beside its workdir."""
    choose = random.Random(f"{seed} {number}")
    binary = choose.choices(list(BINARIES), list(BINARIES.values()))[0]
    config, train = (importlib.import_module(f"experiments.{name}").Config for name in (binary, "train"))
    own = {f.name for f in dataclasses.fields(config) if f.metadata["flag"]} - LEFT_OUT
    # The flags of a sweep are lists of what those of train are.
    listed = {name for name in own if binary == "sweep" and name in kinds(train) and name not in SHARED}
    flags = {name: str(v) for name, v in BASES[binary].items()}
    if binary == "weigh":
        flags |= choose.choice(({"dataset": "digits"}, LOSS, {"dataset": "digits"} | LOSS))
    for name in choose.sample(sorted(own), choose.randint(1, 6)):
        of_one = train if name in listed else config
        drawn = [value(name, binary, of_one, choose) for _ in range(choose.choice((1, 1, 2)))]
        flags[name] = ",".join(drawn) if name in listed else drawn[0]
    return binary, flags


def attempt(binary: str, flags: dict[str, str], workdir: Path) -> tuple[int, str]:
    """Runs a binary in this process; returns the status that ``launch`` would leave with, and the last that it says."""
    module, values, output = importlib.import_module(f"experiments.{binary}"), absl_flags.FlagValues(), io.StringIO()
    arguments = [f"--{name}={text}" for name, text in flags.items()] + [f"--workdir={workdir}"]
    define_flags(module.Config, values)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            module.main(parse(module.Config, [binary, *arguments], values))
    except UserError as error:
        return (1, f"an error of several lines: {error}") if "\n" in str(error) else (2, str(error))
    except SystemExit as left:
        return int(left.code or 0), output.getvalue()[-300:]
    except Exception as error:
        full = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
        known = full or (isinstance(error, OSError) and error.errno is not None)
        return (2, str(error)[:300]) if known else (1, "".join(traceback.format_exception(error))[-1500:])
    return 0, output.getvalue()[-300:]


def nulls(workdir: Path) -> list[str]:
    """Returns the bounds that a finished run's files do not have as finite numbers."""
    files = [workdir / "results.json", workdir / "evaluation.json"]
    answers = [json.loads(path.read_text()) for path in files if path.exists()]
    if (workdir / "sweep.jsonl").exists():
        answers += [row for row in read_rows(workdir / "sweep.jsonl") if row["status"] == "done"]
    return [f"{key} is {a.get(key)}" for a in answers for key in BOUNDS if not math.isfinite(a.get(key) or math.nan)]


def fails(binary: str, flags: dict[str, str], root: Path) -> tuple[str | None, int, str]:
    """Tries one combination; returns its failure or None, its status and what it said."""
    workdir, data = root / "run", root / "data"
    shutil.rmtree(workdir, ignore_errors=True)
    flags = dict(flags)
    if binary == "evaluate":
        shutil.copytree(data / flags.pop("of", "digits"), workdir)
    if flags.get("dataset") not in (None, "digits", "grammar"):
        suffix = "txt" if binary == "text" else "npz"
        flags["dataset"] = str(data / f"{flags['dataset']}.{suffix}")
    status, said = attempt(binary, flags, workdir)
    if status not in (0, 2):
        return "traceback", status, said
    missing = [] if status or binary == "weigh" else nulls(workdir)
    nan = "a number is not finite" if not status and binary == "weigh" and " nan" in said else None
    return ("null bound: " + ", ".join(missing[:3]) if missing else nan), status, said


def work(numbers: list[int], seed: int, root: Path) -> None:
    """Tries these combinations, and writes a line for each; of one that fails, its fewest flags."""
    for number in numbers:
        (root / "at").write_text(str(number))
        binary, flags = combination(seed, number)
        if binary == "evaluate":
            flags["of"] = random.Random(f"run {seed} {number}").choice(("digits", "text", "range"))
        failure, status, said = fails(binary, flags, root)
        if failure:
            for name in list(flags):
                fewer = {k: v for k, v in flags.items() if k != name}
                if name not in (*TINY, "of") and fails(binary, fewer, root)[0]:
                    flags = fewer
        record(root, number, (binary, flags), failure, status, said)


def record(root: Path, number: int, tried: tuple[str, dict], failure: str | None, status: int, said: str) -> None:
    """Adds a line to flags.jsonl, and prints a failure."""
    binary, flags = tried
    line = {"number": number, "binary": binary, "flags": flags, "failure": failure, "status": status, "said": said}
    with (root / "flags.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    if failure:
        command = " ".join(f"--{k}={v}" for k, v in flags.items())
        last = (said.strip().splitlines() or [""])[-1]
        print(f"{number}: {failure}: {binary} {command}: {last[:200]}", flush=True)


def share(numbers: list[int], seed: int, root: Path) -> None:
    """Has a process of its own try these combinations, and ends it where one takes too long."""
    command = [sys.executable, __file__, f"--workdir={root}", f"--seed={seed}", "--here"]
    environment = {"JAX_COMPILATION_CACHE_DIR": str(root / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": ".1"}
    environment |= {"XLA_FLAGS": "--xla_backend_optimization_level=0"}  # half of the time of a compilation
    at = root / "at"
    at.write_text("")
    worker = subprocess.Popen([*command, f"--only={','.join(map(str, numbers))}"], env=os.environ | environment)
    while worker.poll() is None:
        if time.time() - at.stat().st_mtime > PATIENCE:
            worker.kill()
        time.sleep(0.2)
    if worker.returncode:
        number = int(at.read_text())
        failure = "took minutes" if worker.returncode == -9 else f"died with status {worker.returncode}"
        record(root, number, combination(seed, number), failure, worker.returncode, "")


def main(argv: list[str]) -> int:
    """Runs the campaign and prints its counts; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="numbers of combinations, separated by commas")
    parser.add_argument("--here", action="store_true", help="in this process")
    args = parser.parse_args(argv)
    root = args.workdir.resolve()
    numbers = [int(n) for n in args.only.split(",")] if args.only else list(range(args.count))
    if args.here:
        figure.DPI = 20  # a third of the time of a run is that of its pictures
        if not (root / "data" / "range" / "results.json").exists():
            shutil.rmtree(root / "data", ignore_errors=True)
            make_data(root / "data")
        work(numbers, args.seed, root)
        return 0
    root.mkdir(parents=True, exist_ok=True)
    (root / "flags.jsonl").touch()
    while left := sorted(set(numbers) - {line["number"] for line in read_rows(root / "flags.jsonl")}):
        share(left[:40], args.seed, root)
    own = [line for line in read_rows(root / "flags.jsonl") if line["number"] in numbers]
    failed = [line for line in own if line["failure"]]
    done = sum(line["status"] == 0 for line in own)
    print(f"{len(own)} combinations: {done} ran, {len(own) - done - len(failed)} were refused, {len(failed)} failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
