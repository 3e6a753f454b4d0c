"""How fast a sequence VAE trains, against the matrix products of this machine, and what padding costs.

    python -m experiments.benchmark.sequence_speed                          the grammar, hidden 128
    python -m experiments.benchmark.sequence_speed --buckets=3               batches of sentences of similar length
    python -m experiments.benchmark.sequence_speed --dataset=ptb --max_length=40 --hidden=256 --embedding=256

One process: chunks of training steps and products of large square matrices in alternation. The operations of a step are
those of its matrix products, counted from the shapes (a multiplication and an addition are two): all of the encoder's,
the decoder's and the vocabulary's, times three for the two products of the backward pass. Words are tokens that are not
padding, ends of sentences counted.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.data.text import words_of
from vae_jax.likelihoods.tokens import lengths_of
from vae_jax.models.autoregressive import GATES
from vae_jax.randomness import epoch_rows
from vae_jax.runs.build import Run, build, recipe
from vae_jax.runtime.config import launch, option
from vae_jax.types import UserError

from .. import text
from .cases import alone
from .timing import alternate, products, ratio

SIDE = 1024  # of the square matrices of the reference


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags; the names are those of ``text``."""

    dataset: str = option("grammar", "grammar | ptb | FILE.txt | a folder with train.txt and test.txt")
    data_dir: str | None = option(None, "where the folder ptb is")
    max_length: int = option(100, "longer sentences are cut")
    cell: str = option("lstm", "of the recurrent model", tuple(GATES))
    hidden: int = option(128, "the width of the state")
    embedding: int = option(64, "the width of a word's vector")
    latent_dim: int = option(16, "the number of latents")
    batch_size: int = option(32, "sentences per update")
    buckets: int = option(1, "widths of batches of sentences of similar length", least=1)
    steps: int = option(20, "updates of each timed chunk")
    repeats: int = option(5, "alternations")


def operations(r: Run) -> float:
    """Returns the floating-point operations of the matrix products of one update."""
    c, (length, vocabulary) = r.config, r.likelihood.theta_shape(r.event)
    hidden = c.hidden[0]
    gates = GATES[c.cell] * hidden * (c.embedding + hidden)  # of a step, of either network
    each = length * (2 * gates + hidden * vocabulary)
    once = c.latent_dim * (GATES[c.cell] * hidden + hidden) + 2 * hidden * c.latent_dim
    return 3 * 2.0 * c.batch_size * (each + once)


def widths_of_batches(r: Run) -> np.ndarray:
    """Returns how wide each batch of the first epoch is computed, ``[batches]``."""
    lengths, widths = lengths_of(np.asarray(r.dataset.train)), recipe(r).widths
    if not widths:
        return np.full(1, r.dataset.train.shape[1])
    rows = np.asarray(epoch_rows(r.key, np.int32(0), len(lengths), r.config.batch_size, lengths=jnp.asarray(lengths)))
    return np.asarray(widths)[np.searchsorted(widths, lengths[rows].max(axis=1))]


def main(config: Config) -> None:
    """Measures and prints."""
    if config.steps < 1 or config.repeats < 1:
        raise UserError("--steps and --repeats must be at least 1")
    flags = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("steps", "repeats", "hidden")}
    r = build(text.Config(**flags, hidden=str(config.hidden), workdir="unused"))
    steps = alone(r).timer(config.steps, config.steps)
    steps.run(1)  # compiles
    share_of_width = np.mean(widths_of_batches(r)) / r.dataset.train.shape[1]
    done = operations(r) * share_of_width
    rates = alternate({"steps": steps, "products": products(SIDE)}, config.repeats, seconds=0.2)
    step, rate = float(np.median(1 / rates["steps"])), float(np.median(rates["products"]))
    share = ratio(rates["steps"] * done, rates["products"])[0]
    train = np.asarray(r.dataset.train)
    words = config.batch_size * words_of(train) / len(train)
    whole = config.batch_size * train.shape[1] * share_of_width
    kind = f"{config.cell} {config.hidden}, {r.dataset.levels} tokens, batch {config.batch_size}"
    print(f"{r.dataset.name}, {kind}: {jax.devices()[0].device_kind}")
    print(f"a step {1e3 * step:.1f} ms: {words / step:.0f} words a second, {whole / step:.0f} with padding")
    print(f"its products {done / 1e9:.2f} GFLOP, {done / step / 1e9:.0f} GFLOP/s: {100 * share:.0f}% of the")
    print(f"  {rate / 1e9:.0f} GFLOP/s of products of {SIDE}x{SIDE} in this process")
    print(f"padding is {100 * (1 - words / whole):.1f}% of the positions")


if __name__ == "__main__":
    launch(main, Config)
