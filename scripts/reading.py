"""A run that is read while it trains, and one from which permission, handles or memory are taken; for fault_campaign.

As a program it is the reader, or a binary with little left of one thing once all is imported:

    python scripts/reading.py read WORKDIR                            evaluates, draws the report, opens the checkpoints
    python scripts/reading.py limit handles|memory AMOUNT train FLAGS...         so many more handles, or MB of memory
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).parents[1]))  # the package need not be installed

from vae_jax.types import UserError

_SMALL = ("--hidden=16", "--latent_dim=3", "--batch_size=64", "--log_every=10", "--iw_samples=4", "--eval_every=500")
# Long, and saved all the time, so that a reader that takes seconds meets every moment of a save.
LIVING = (*_SMALL, "--num_steps=6000", "--checkpoint_every=20")
SHORT = (*_SMALL, "--num_steps=600", "--checkpoint_every=20")
LIMITS = {"handles": (0, 1, 2, 4, 8, 16, 32), "memory": (0, 1, 8, 30, 60, 120, 250)}  # beyond what is in use


Compare = Callable[[Path, Path], list[str]]


class Rounds(NamedTuple):
    """What came of it: a line of counts, what differs from an undisturbed run, and what else is wrong."""

    counts: dict[str, int]
    differences: list[str]
    problems: list[str]


def _evaluate(workdir: str) -> None:
    from vae_jax.runs import evaluate

    evaluate.main(evaluate.Config(workdir=workdir, iw_samples=2, rate_samples=20, gap_examples=0))


def _report(workdir: str) -> None:
    from vae_jax.report import write_report

    write_report(Path(workdir))


def _open(workdir: str) -> None:
    from vae_jax.runs.build import build
    from vae_jax.runs.evaluate import Config, read_config
    from vae_jax.runs.loop import trained

    trained(build(read_config(Config(workdir=workdir))))


READS = {"evaluate": _evaluate, "report": _report, "open": _open}


def read(workdir: str) -> None:
    """Reads a run in every way, again and again, and says of each time what came of it; until it is ended."""
    for name, reads in itertools.cycle(READS.items()):
        try:
            reads(workdir)
            print(f"round: {name} done", flush=True)
        except UserError as error:
            print(f"round: {name} refused: {error}", flush=True)
            time.sleep(0.1)


def limited(what: str, amount: int, binary: str, flags: list[str]) -> None:
    """Runs a binary with so much left of one thing: ``amount`` more handles, or megabytes of address space."""
    import jax

    from vae_jax.runtime.config import launch

    module = importlib.import_module(f"experiments.{binary}")
    jax.devices()
    if what == "handles":
        kind, used = resource.RLIMIT_NOFILE, len(os.listdir("/proc/self/fd"))
    else:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        kind, used, amount = resource.RLIMIT_AS, pages * resource.getpagesize(), amount << 20
    resource.setrlimit(kind, (used + amount, resource.getrlimit(kind)[1]))
    sys.argv = [binary, *flags]
    launch(module.main, module.Config)


def _command(workdir: Path, *flags: str, binary: str = "train") -> list[str]:
    return [sys.executable, "-m", f"experiments.{binary}", f"--workdir={workdir}", *flags]


def beside_a_living_run(rounds: int, compare: Compare, root: Path, environment: dict) -> Rounds:
    """Has a second process read a run while it trains, so many times in all.

    Args:
      rounds: how many.
      compare: ``(workdir, undisturbed workdir) -> differences``.
      root: for the workdirs.
      environment: of the processes.
    """
    found = Rounds({"rounds": 0, "refused": 0, "runs": 0}, [], [])
    shared = {"env": os.environ | environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    subprocess.run(_command(root / "reference", *LIVING), check=True, **shared)
    while found.counts["rounds"] < rounds and found.counts["runs"] < 20:
        workdir = root / f"living{found.counts['runs']}"
        run = subprocess.Popen(_command(workdir, *LIVING), **shared)
        while run.poll() is None and not any(workdir.glob("checkpoints/*")):
            time.sleep(0.05)
        shutil.copy(root / "reference" / "results.json", workdir)  # without it there would be no report to draw
        log = workdir.with_suffix(".log")
        with log.open("w") as output:
            command = [sys.executable, __file__, "read", str(workdir)]
            reader = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | environment)
            said = run.communicate()[0]
            failed = reader.poll()
            reader.kill()
            reader.wait()
        lines = log.read_text().splitlines()
        found.counts["runs"] += 1
        found.counts["rounds"] += sum(line.startswith("round: ") for line in lines)
        found.counts["refused"] += sum(" refused: " in line for line in lines)
        print(f"readers: {found.counts}", file=sys.stderr, flush=True)
        if failed is not None:
            found.problems.append(f"the reader ended with status {failed}: {lines[-1:]}")
        if run.returncode:
            found.problems.append(f"the run that was read ended with status {run.returncode}: {said.strip()[-300:]}")
        else:
            found.differences.extend(compare(workdir, root / "reference"))
    return found


def taken_away(rounds: int, compare: Compare, root: Path, environment: dict, chooser: random.Random) -> Rounds:
    """Takes permission, handles or memory from who continues or evaluates a run, then gives them back and continues.

    Where that ends with status 2 nothing below ``checkpoints/`` may have changed, and the run has to end as if nothing
    had been. The arguments are those of ``beside_a_living_run``, and the ``chooser`` of all that is random.
    """
    found = Rounds({"rounds": 0, "refused": 0, "died": 0}, [], [])
    shared = {"env": os.environ | environment, "text": True, "capture_output": True, "check": False}
    subprocess.run(_command(root / "reference", *SHORT), **shared | {"check": True})
    stopped = root / "stopped"
    run = subprocess.Popen(_command(stopped, *SHORT), stdout=subprocess.DEVNULL, env=os.environ | environment)
    while run.poll() is None and not any((stopped / "checkpoints").glob("[1-9]*0")):
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    run.wait()
    for number in range(rounds):
        what, binary = ("permission", *LIMITS)[number % 3], ("train", "evaluate")[number // 3 % 2]
        workdir = root / f"taken{number}"
        shutil.copytree(stopped, workdir)
        before = _files(workdir / "checkpoints")
        where, done = _deprived(what, binary, workdir, chooser, shared)
        status, said = done.returncode, done.stdout + done.stderr
        where = f"{what} {where}, {binary}, status {status}"
        print(f"limits: {where}: {said.strip().splitlines()[-1:]}", file=sys.stderr, flush=True)
        died = status not in (0, 1, 2)
        for name, count in (("rounds", 1), ("refused", status == 2), ("died", died)):
            found.counts[name] += count
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        if "Traceback" in said or status == 1 or (status == 2 and len(lines) != 1):
            found.problems.append(f"{where}: {said.strip()[-300:]}")
        if (status == 2 or binary == "evaluate") and _files(workdir / "checkpoints") != before:
            found.differences.append(f"{where}: the checkpoints are others")
        again = subprocess.run(_command(workdir, *SHORT), **shared)
        if again.returncode:
            found.problems.append(f"{where}, and then status {again.returncode}: {again.stderr.strip()[-300:]}")
        else:
            found.differences.extend(f"{where}: {name}" for name in compare(workdir, root / "reference"))
            shutil.rmtree(workdir)
    return found


def _deprived(what: str, binary: str, workdir: Path, chooser: random.Random, shared: dict):
    """Runs a binary on a run without what is taken; returns where or how much was left, and the ended process."""
    flags = SHORT if binary == "train" else ("--iw_samples=2", "--rate_samples=20", "--gap_examples=0")
    command = _command(workdir, *flags, binary=binary)
    if what != "permission":
        amount = str(chooser.choice(LIMITS[what]))
        return amount, subprocess.run([sys.executable, __file__, "limit", what, amount, binary, *command[3:]], **shared)
    newest = max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name))
    path = chooser.choice([newest / "meta" / "metadata", *sorted(newest.rglob("*"))])
    mode = path.stat().st_mode
    path.chmod(0)
    # Root may read everything, but for a process without that right.
    less = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    done = subprocess.run([*less, *command], **shared)
    with contextlib.suppress(FileNotFoundError):  # the run went on, and has newer ones
        path.chmod(mode)
    return path.relative_to(workdir), done


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(sys.argv[2])
    else:
        limited(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5:])
