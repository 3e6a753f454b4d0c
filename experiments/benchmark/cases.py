"""What is timed: four models, each on data of its own, as ``train`` would build them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.data import from_arrays
from vae_jax.devices.parallel import parallel
from vae_jax.runs import settings
from vae_jax.runs.build import Material, Run, build
from vae_jax.runs.names import MODELS

from .. import text

BERNOULLI = {"likelihood": "bernoulli", "batch_size": 128}
# name -> flags of ``train``, the shape of an image (None: the grammar), and updates of a chunk: about a second of each.
CASES = {
    "mlp": ({"model": "mlp", "hidden": "512,512", "latent_dim": 20, **BERNOULLI}, (28, 28, 1), 100),
    "conv": ({"model": "conv", "hidden": "256,256", "latent_dim": 10, **BERNOULLI}, (64, 64, 1), 20),
    "resnet": ({"model": "resnet", **BERNOULLI}, (32, 32, 3), 5),
    "lstm": ({}, None, 20),
}
IMPORTANCE = ("mlp",)  # whose importance-weighted NLL is timed too
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
    """The models that there are, in the order of the table."""
    return [name for name, (flags, _, _) in CASES.items() if flags.get("model", "mlp") in MODELS]


def noise(shape: tuple[int, ...], count: int = EXAMPLES) -> Material:
    """Black and white noise: what a network learns of it does not matter here, and no data have to be there."""
    images = np.random.default_rng(0).integers(0, 2, (count, *shape), np.uint8)
    return Material(from_arrays("noise", images, images[:SCORED]), np.full(int(np.prod(shape)), 0.25))


def make(name: str, changes: dict[str, Any] | None = None, shape=None, count: int = EXAMPLES) -> Case:
    """The case of that name.

    Args:
      name: in ``CASES``.
      changes: of its flags.
      shape: another shape of an image.
      count: how many images.
    """
    flags, own, length = CASES[name]
    flags = flags | (changes or {}) | {"workdir": "unused"}
    config = (settings if own else text).Config(**flags)
    spread = parallel("jit", config.batch_size, jax.devices()[:1])  # what one device does; scaling.py has many
    return Case(name, build(config, noise(shape or own, count) if own else None, spread), length)


def spec(case: Case, compiled: bool, samples: int, folder, threads: int, device: str) -> dict[str, Any]:
    """What the peer in PyTorch is told (``torch_peer.SPEC``); the data are files in ``folder``."""
    from vae_jax.models import convolutional

    r, paths = case.run, {}
    for split in ("train", "test"):
        paths[split] = str(folder / f"{case.name}_{split}.npy")
        np.save(paths[split], np.asarray(getattr(r.dataset, split)))
    event = r.dataset.event
    channels_first = (event[-1], *event[:-1]) if len(event) == 3 else event
    told = {
        "model": case.name,
        "event": channels_first,
        "hidden": r.config.hidden,
        "latent_dim": r.config.latent_dim,
        "batch_size": r.config.batch_size,
        "samples": samples,
        "evaluated_at_once": AT_ONCE,
        "weighed": case.name in IMPORTANCE,
        "weighed_at_once": 100,
        "compiled": compiled,
        "threads": threads,
        "device": device,
        **paths,
    }
    if case.name == "conv":
        told["levels"] = convolutional.num_levels(event)
    if r.is_text:
        told |= {"vocabulary": r.dataset.levels, "embedding": r.config.embedding, "clip_norm": r.config.clip_norm}
    return told
