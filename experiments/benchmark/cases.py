"""What is timed: five models, each on data of its own, as ``train`` would build them; their programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.data import from_arrays
from vae_jax.devices.parallel import parallel
from vae_jax.devices.run_mesh import run_mesh
from vae_jax.runs import settings
from vae_jax.runs.build import Material, Run, build, first_state, training_chunk
from vae_jax.runs.names import MODELS
from vae_jax.runs.sweep import plan, training

from .. import text
from ..papers.arms import AS_PUBLISHED
from .timing import Timer, seconds_of

BERNOULLI = {"likelihood": "bernoulli", "batch_size": 128}
# name -> flags of ``train``, the shape of an image (None: the grammar), and updates of a chunk: about a second of each.
CASES = {
    "mlp": ({"model": "mlp", "hidden": "512,512", "latent_dim": 20, **BERNOULLI}, (28, 28, 1), 100),
    "conv": ({"model": "conv", "hidden": "256,256", "latent_dim": 10, **BERNOULLI}, (64, 64, 1), 20),
    "resnet": ({"model": "resnet", **BERNOULLI}, (32, 32, 3), 5),
    "lstm": ({"cell": "lstm"}, None, 20),
    "gru": ({"cell": "gru"}, None, 20),
}
# Whose importance-weighted NLL is timed too, by how many fewer samples than --iw_samples.
IMPORTANCE = {"mlp": 1, "conv": 10, "lstm": 10, "gru": 10}
EXAMPLES, SCORED = 4096, 1000
AT_ONCE = 250  # examples that a peer scores at a time


class Case(NamedTuple):
    """A model and its data.

    Attributes:
      name: in ``CASES``.
      run: its pieces.
      length: updates of a chunk.
    """

    name: str
    run: Run
    length: int


def available() -> list[str]:
    """Returns the models that there are, in the order of the table."""
    return [name for name, (flags, _, _) in CASES.items() if flags.get("model", "mlp") in MODELS]


def samples_of(name: str, most: int) -> int:
    """Returns the importance samples that the case ``name`` is timed with."""
    return max(1, most // IMPORTANCE.get(name, 1))


def make(
    name: str,
    changes: dict[str, Any] | None = None,
    shape=None,
    count: int = EXAMPLES,
    devices: int = 1,
    side: int | None = None,
) -> Case:
    """Returns the case of that name.

    Args:
      name: in ``CASES``.
      changes: of its flags.
      shape: another shape of an image.
      count: how many images.
      devices: how many are used.
      side: another side of its images, which stay square and of as many channels.
    """
    flags, own, length = CASES[name]
    if own and side:
        shape = (side, side, own[-1])
    config = (settings if own else text).Config(**AS_PUBLISHED | flags | (changes or {}) | {"workdir": "unused"})
    spread = parallel("jit", config.batch_size, jax.devices()[:devices], remat=getattr(config, "remat", False))
    return Case(name, build(config, _noise(shape or own, count) if own else None, spread), length)


def of_flags(flags: Any, batch_size: int, devices: int) -> Run:
    """Returns the run that a binary's flags ``model``, ``hidden``, ``latent_dim`` and ``side`` describe."""
    changes = {name: getattr(flags, name) for name in ("hidden", "latent_dim")} | {"batch_size": batch_size}
    return make(flags.model, changes, (flags.side, flags.side, 1), devices=devices).run


def _noise(shape: tuple[int, ...], count: int) -> Material:
    """Black and white noise: what a network learns of it does not matter here, and no data have to be there."""
    images = np.random.default_rng(0).integers(0, 2, (count, *shape), np.uint8)
    return Material(from_arrays("noise", images, images[:SCORED]), np.full(int(np.prod(shape)), 0.25))


class Program(NamedTuple):
    """Updates as one program: ``chunk(state, data, length) -> (state, metrics)``, where it begins, and on what."""

    chunk: Callable
    state: Any
    data: Any

    def timer(self, length: int, amount: float) -> Timer:
        """Times calls of ``length`` updates, each from where the one before has ended."""
        latest = [self.state]

        def run(count: int) -> float:
            def work():
                for _ in range(count):
                    latest[0], _ = self.chunk(latest[0], self.data, length)
                return latest[0]

            return seconds_of(work)

        return Timer(run, amount)


def alone(r: Run) -> Program:
    """Returns the program of a run as ``train`` trains it."""
    chunk = r.spread.compile(training_chunk(r))
    return Program(chunk, r.spread.begin(lambda: first_state(r)), r.spread.lay(r.dataset.train))


def together(r: Run, runs: int, side_by_side: int | None = None) -> Program:
    """Returns as many runs as one program, as ``sweep`` trains them, each at a weight of its own.

    Args:
      r: one of them.
      runs: how many.
      side_by_side: how many are computed at once; None for as many as ``sweep`` would.
    """
    jobs, shared = [], Material(r.dataset, r.spectrum)
    for i, beta in enumerate(np.geomspace(0.1, 10.0, runs)):
        config = dataclasses.replace(r.config.flags, beta=float(beta))
        jobs.append(plan.Job(str(i), {}, build(config, shared, r.spread)))
    program = plan.Program(Path(), jobs)
    mesh = run_mesh(runs, r.config.batch_size, jax.devices()[: r.spread.devices], r.config.remat)
    chunk = training.compiled(program, side_by_side, mesh)
    return Program(chunk, mesh.place(training.first_sweep_state(program)), mesh.whole(r.dataset.train))
