"""Peers that are timed beside us: PyTorch in a process of its own, asked line by line, and plain Flax in this one.

A peer is a function ``(case, python, samples, patient) -> context of [Peer]`` in ``PEERS``: the interpreter of PyTorch,
importance samples, and whether threads are to sleep while they wait for each other, and not to spin.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.models import convolutional, residual
from vae_jax.types import UserError

from .cases import AT_ONCE, CASES, IMPORTANCE, Case
from .machine import threads
from .timing import SIDES, Timer

CONVOLUTIONAL = ("conv", "resnet")
VARIANTS = ("eager", "compiled", "channels_last", "compiled channels_last")  # the last two of convolutions
ROWS = {"mlp": 4096, "conv": 250, "lstm": 1000, "gru": 1000}  # of z that PyTorch decodes at once for importance samples
SCRIPT = Path(__file__).with_name("torch_peer.py")


class PeerError(Exception):
    """What a peer answered in place of a time."""


class Peer(NamedTuple):
    """A peer's network, warm.

    Attributes:
      name: "torch" or "flax", as asked for.
      variant: how, such as "eager".
      version: of its library.
      timers: by what is timed: "train", "evaluate", "importance", in examples; "products" of matrices, in operations.
      failed: what could not be timed, and why.
    """

    name: str
    variant: str
    version: str
    timers: dict[str, Timer]
    failed: dict[str, str]


class Worker:
    """A process that answers lines with lines: ``load {...}`` with ``ready ...``, and so on (``torch_peer.py``)."""

    def __init__(self, command: Sequence[str], patient: bool = False):
        policy = {"OMP_WAIT_POLICY": "PASSIVE"} if patient else {}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=policy | dict(os.environ), **pipes)

    def ask(self, line: str, expected: str) -> str:
        """Returns what follows ``expected`` in the answer to ``line``.

        Raises:
          PeerError: another answer, or none.
        """
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline().strip()
        except OSError:
            answer = ""
        if not answer:
            raise PeerError(f"it ended with status {self._process.wait()}")
        verb, _, rest = answer.partition(" ")
        if verb != expected:
            raise PeerError(rest if verb == "error" else f"it answered {answer[:200]!r} to {line[:60]!r}")
        return rest

    def seconds(self, what: str, count: int) -> float:
        """Returns how long ``count`` of ``what`` took it."""
        answer = self.ask(f"time {what} {count}", "seconds")
        with suppress(ValueError):
            if 0.0 < float(answer) < float("inf"):
                return float(answer)
        raise PeerError(f"it said that {count} of {what} took {answer[:50]!r} seconds")

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


def check_python(python: str) -> None:
    """Raises a ``UserError`` unless the interpreter ``python`` has PyTorch."""
    try:
        done = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True, check=False)
        if not done.returncode:
            return
        reason = [f"status {done.returncode}", *done.stderr.strip().splitlines()][-1]
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    raise UserError(
        f"--peer=torch: {python} cannot import torch ({reason}); pip install torch there, or name an interpreter "
        "that has it by --peer_python=PYTHON"
    )


def warmed(name: str, variant: str, version: str, timers: dict[str, Timer]) -> Peer:
    """Returns the peer of those timers that work, each called twice (the first compiles), and what the others said."""
    peer = Peer(name, variant, version, {}, {})
    for what, timer in timers.items():
        try:
            timer.run(1), timer.run(1)
            peer.timers[what] = timer
        except PeerError as error:
            peer.failed[what] = str(error)
    return peer


@contextmanager
def torch_peers(case: Case, python: str | None, samples: int, patient: bool) -> Iterator[list[Peer]]:
    """Has the case in PyTorch in all its variants, each in a process of its own that waits while it is not asked."""
    variants = VARIANTS if case.name in CONVOLUTIONAL else VARIANTS[:2]
    workers = {name: Worker([python or sys.executable, str(SCRIPT)], patient) for name in variants}
    try:
        with tempfile.TemporaryDirectory() as folder:
            spec = spec_of(case, samples, Path(folder))
            yield [loaded(worker, name, spec) for name, worker in workers.items()]
    finally:
        for worker in workers.values():
            worker.close()


def loaded(worker: Worker, variant: str, spec: dict[str, Any]) -> Peer:
    """Returns the peer of a process that is told ``spec`` and the variant."""

    def timer(what: str, unit: int, amount: float) -> Timer:
        return Timer(lambda count: worker.seconds(what, count * unit), amount)

    timers = {"train": timer("train", 1, spec["batch_size"])}
    for what, size in (("evaluate", spec["evaluated_at_once"]), ("importance", spec["weighed_at_once"])):
        timers[what] = timer(what, size, size)
    if not spec["weighed"]:
        del timers["importance"]
    try:
        # The rate of products is the library's, whichever way the network is written: one variant says it.
        asked = spec | {name: name in variant.split() for name in ("compiled", "channels_last")}
        asked |= {} if variant == VARIANTS[0] else {"sides": ()}
        version, device, parameters, side = worker.ask(f"load {json.dumps(asked)}", "ready").split()
        if int(parameters) != spec["parameters"]:
            raise PeerError(f"its network has {parameters} parameters, and ours {spec['parameters']}")
        if asked["sides"]:
            timers["products"] = timer("products", 1, 2.0 * int(side) ** 3)
        return warmed("torch", variant, f"{version} {device}", timers)
    except PeerError as error:
        return Peer("torch", variant, "", {}, dict.fromkeys(timers, str(error)))


def spec_of(case: Case, samples: int, folder: Path) -> dict[str, Any]:
    """Returns what PyTorch is told of a case (``torch_peer.SPEC``), the variant apart; its data go into ``folder``."""
    r, c = case.run, case.run.config
    paths = {split: str(folder / f"{split}.npy") for split in ("train", "test")}
    for split, path in paths.items():
        np.save(path, np.asarray(getattr(r.dataset, split)))
    event = r.dataset.event
    spec = {
        "model": case.name,
        "event": (event[-1], *event[:-1]) if len(event) == 3 else event,  # channels first
        "hidden": c.hidden,
        "latent_dim": c.latent_dim,
        "batch_size": c.batch_size,
        "samples": samples,
        "evaluated_at_once": AT_ONCE,
        "weighed": case.name in IMPORTANCE,
        "weighed_at_once": 100,
        "rows": ROWS.get(case.name, AT_ONCE),
        "parameters": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(r.vae.init, r.key))),
        "threads": threads(),
        "device": "cpu" if jax.default_backend() == "cpu" else "cuda",
        "dtype": c.dtype,
        "sides": SIDES.get(jax.default_backend(), SIDES["default"]),
        **paths,
    }
    if case.name == "conv":
        spec["levels"] = convolutional.num_levels(event)
    if case.name == "resnet":
        spec["blocks"] = residual.BLOCKS
    if r.is_text:
        spec |= {"vocabulary": r.dataset.levels, "embedding": c.embedding, "clip_norm": c.clip_norm}
    return spec


@contextmanager
def flax_peers(case: Case, *_: Any) -> Iterator[list[Peer]]:
    """Has the case as one would write it in Flax at first, in this process."""
    from importlib.metadata import version

    from .flax_peer import timers

    yield [warmed("flax", "Linen", f"{version('flax')} {jax.default_backend()}", timers(case))]


# name -> the peer, and the models that it has
PEERS: dict[str, tuple[Callable, Sequence[str]]] = {
    "torch": (torch_peers, tuple(CASES)),
    "flax": (flax_peers, ("mlp", "conv")),
}


def peers(name: str, case: Case, python: str | None, samples: int, patient: bool) -> AbstractContextManager[list[Peer]]:
    """Returns the peers called ``name`` of one case; none where there are none, or they have no such network."""
    peer, models = PEERS.get(name, (None, ()))
    return peer(case, python, samples, patient) if case.name in models else nullcontext([])
