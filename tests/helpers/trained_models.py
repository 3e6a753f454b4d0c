"""Models to read: a tiny run of digits, trained once a session, and models with random parameters, made at once."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math

import jax
import numpy as np

from vae_jax.runs.known_data import KnownData
from vae_jax.runs.run import run
from vae_jax.runs.settings import Config
from vae_jax.trained.loading import assemble

SMALL = {"hidden": "8", "latent_dim": 3, "num_steps": 4, "batch_size": 16, "iw_samples": 4, "log_every": 4}
IMAGES = KnownData("images", (4, 6, 1), 256, examples=(9, 3))
TABLE = KnownData("table", (3,), None, [0.0, 0.0, 0.0], [5.0, 1.0, 3.0], column_names=("a", "b", "c"))
WORDS = ("<pad>", "<bos>", "<eos>", "<unk>", "a", "dog", "cat", "runs")
TEXT = KnownData("text", (5,), len(WORDS), words=WORDS)


def train_digits(workdir, **flags) -> None:
    """Trains a few steps on the digits, in this process."""
    with contextlib.redirect_stdout(io.StringIO()):
        run(Config(workdir=str(workdir), **SMALL | flags))


def untrained(known: KnownData = IMAGES, seed: int = 0, **flags):
    """A model of this kind of data whose parameters are random."""
    own = {"likelihood": "tokens", "model": "recurrent"} if known.words else {}
    config = Config(**SMALL | {"sigma": 0.3, "embedding": 4} | own | flags)
    model = assemble(config, known)
    params = {"model": model.vae.init(jax.random.key(seed)), "likelihood": model.likelihood.init(model.x_event)}
    return dataclasses.replace(model, params=params)


def some(known: KnownData, n: int = 5):
    """n examples of this kind of data."""
    rng = np.random.default_rng(0)
    if known.words:
        return [" ".join(rng.choice(WORDS[4:], 1 + i % 4)) for i in range(n)]
    if known.levels is not None:
        return rng.integers(0, known.levels, (n, *known.event)).astype(np.uint8)
    values = rng.uniform(size=(n, math.prod(known.event))) * np.asarray(known.high)
    values[:, 1:] = np.rint(values[:, 1:])
    return values.reshape(n, *known.event).astype(np.float32)
