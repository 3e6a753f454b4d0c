"""Peers that are timed beside us: PyTorch in a process of its own, asked line by line, and plain Flax in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import jax

from vae_jax.types import UserError

from .cases import Case, spec
from .timing import Timer

SCRIPT = Path(__file__).with_name("torch_peer.py")
TORCH_MODELS = ("mlp", "conv", "lstm")
FLAX_MODELS = ("mlp", "conv")
# What a peer does against each of our modes: a mode that trains against training.
AGAINST = {"step": "train", "chunk": "train", "sweep": "train", "evaluate": "evaluate"}


class PeerError(Exception):
    """What a peer answered in place of a time."""


class Worker:
    """A process that answers lines with lines: ``load {...}`` with ``ready ...``, ``time ...`` with ``seconds S``.

    Args:
      command: what starts it.
      patient: its threads are to sleep while they wait for each other, and not to spin.
    """

    def __init__(self, command: Sequence[str], patient: bool = False):
        asked = {"OMP_WAIT_POLICY": "PASSIVE"} if patient else {}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=asked | dict(os.environ), **pipes)

    def ask(self, line: str, expected: str) -> str:
        """What follows ``expected`` in the answer to ``line``.

        Raises:
          PeerError: another answer, or none.
        """
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            said = self._process.stdout.readline().strip()
        except OSError:
            said = ""
        if not said:
            raise PeerError(f"it ended with status {self._process.wait()}")
        verb, _, rest = said.partition(" ")
        if verb != expected:
            raise PeerError(rest if verb == "error" else f"it answered {said[:200]!r} to {line[:60]!r}")
        return rest

    def seconds(self, what: str, count: int) -> float:
        """How long ``count`` of ``what`` took it."""
        said = self.ask(f"time {what} {count}", "seconds")
        try:
            taken = float(said)
        except ValueError:
            taken = 0.0
        if not 0.0 < taken < float("inf"):
            raise PeerError(f"it said that {count} of {what} took {said[:50]!r} seconds")
        return taken

    def close(self) -> None:
        """Ends it."""
        with suppress(OSError):  # it may have gone
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Peer(NamedTuple):
    """A peer's network, warm.

    Attributes:
      name: "torch" or "flax", as asked for.
      variant: how, such as "eager".
      version: of its library.
      timers: by what is timed: "train", "evaluate", "importance"; in examples.
      failed: what could not be timed, and why.
    """

    name: str
    variant: str
    version: str
    timers: dict[str, Timer]
    failed: dict[str, str]


def check_python(python: str) -> None:
    """Raises a ``UserError`` unless the interpreter ``python`` has PyTorch."""
    try:
        done = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True, check=False)
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said else f"status {done.returncode}"
    except OSError as error:
        done, reason = None, os.strerror(error.errno or 0)
    if done is None or done.returncode:
        raise UserError(
            f"--peer=torch: {python} cannot import torch ({reason}); pip install torch there, or name an interpreter "
            "that has it by --peer_python=PYTHON"
        )


def threads() -> int:
    """How many this process may use, which the peer is given too."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def warmed(timers: dict[str, Timer]) -> tuple[dict[str, Timer], dict[str, str]]:
    """The timers that work, each called twice (the first compiles), and what the others said."""
    good, failed = {}, {}
    for what, timer in timers.items():
        try:
            timer.run(1), timer.run(1)
            good[what] = timer
        except PeerError as error:
            failed[what] = str(error)
    return good, failed


@contextmanager
def torch_peers(case: Case, python: str, samples: int, patient: bool) -> Iterator[list[Peer]]:
    """The case in PyTorch, eager and compiled, each in a process of its own that waits while it is not asked."""
    if case.name not in TORCH_MODELS:
        yield []
        return
    workers = [Worker([python, str(SCRIPT)], patient) for _ in range(2)]
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield [
                _torch(worker, variant, spec(case, variant == "compiled", samples, Path(folder), threads(), device))
                for worker, variant in zip(workers, ("eager", "compiled"))
            ]
    finally:
        for worker in workers:
            worker.close()


def _torch(worker: Worker, variant: str, told: dict) -> Peer:
    amounts = {
        "train": (1, told["batch_size"]),
        "evaluate": (told["evaluated_at_once"],) * 2,
        "importance": (told["weighed_at_once"],) * 2,
    }

    def timer(what: str) -> Timer:
        units, amount = amounts[what]
        return Timer(lambda count: worker.seconds(what, count * units), amount)

    try:
        version = worker.ask(f"load {json.dumps(told)}", "ready")
    except PeerError as error:
        return Peer("torch", variant, "", {}, dict.fromkeys(amounts, str(error)))
    asked = [what for what in amounts if what != "importance" or told["weighed"]]
    return Peer("torch", variant, version, *warmed({what: timer(what) for what in asked}))


@contextmanager
def flax_peers(case: Case) -> Iterator[list[Peer]]:
    """The case as one would write it in Flax at first, in this process."""
    if case.name not in FLAX_MODELS:
        yield []
        return
    from importlib.metadata import version

    from .flax_peer import timers

    yield [Peer("flax", "Linen", f"{version('flax')} {jax.default_backend()}", *warmed(timers(case)))]


@contextmanager
def peers(name: str, case: Case, python: str | None, samples: int, patient: bool) -> Iterator[list[Peer]]:
    """The peers of one case; none where there is no such network in them.

    Args:
      name: "none", "torch" or "flax".
      case: the model.
      python: the interpreter of PyTorch (default: this one).
      samples: importance samples.
      patient: as for ``Worker``.
    """
    if name == "torch":
        with torch_peers(case, python or sys.executable, samples, patient) as found:
            yield found
    elif name == "flax":
        with flax_peers(case) as found:
            yield found
    else:
        yield []
