"""The codes of any number of examples, streamed from a source to a file; a kill loses seconds."""

from __future__ import annotations

import zlib

import jax
import numpy as np

from vae_jax.data.conditions import parsed
from vae_jax.data.image_files import counted
from vae_jax.trained.code_files import CodeFile, check_output
from vae_jax.trained.flags import Encode as Config
from vae_jax.trained.loading import load
from vae_jax.trained.model import TrainedVAE
from vae_jax.trained.sources import open_source
from vae_jax.types import UserError

BATCHES = 16  # in a part of the input


def open_run(workdir: str | None, beta: float | None, data_dir: str | None, plugin: str | None) -> TrainedVAE:
    """Opens the run that the flags of a binary name."""
    if workdir is None:
        raise UserError("--workdir=DIR is needed: a run that has been trained")
    model = load(workdir, plugin, data_dir)
    return model if beta is None else model.at(beta)


def main(config: Config) -> None:
    """Encodes the input, or continues with it, and writes the output."""
    from tqdm import tqdm

    output = check_output(config.output)
    model = open_run(config.workdir, config.beta, config.data_dir, config.plugin)
    source = open_source(model, config.input)
    c = parsed(model.data.condition, config.condition)
    names = source.label_names, source.class_names
    identity = f"{source.identity} by {_fingerprint(model)}" + (f" given {c}" if c is not None else "")
    file = CodeFile(output, identity, model.latent_dim, *names)
    first, size = file.progress.seen, BATCHES * model.batch_size
    if first:
        print(f"continuing from example {first:,}")
    with tqdm(total=source.count, initial=first, desc="encoding", unit=" examples", disable=None) as bar:
        for part in source.parts(first, size):
            seen = len(part.ids) if part.seen is None else part.seen
            mean, std = model.encode(part.examples, first=file.progress.seen, c=c)
            file.append(seen, mean, std, part.ids, part.labels)
            bar.update(seen)
    if not file.progress.kept:
        what = f": {counted(source.left_out)}" if source.left_out else ""
        raise UserError(f"--input={config.input} holds no example that the model takes{what}")
    file.finish()
    if source.left_out:
        print(f"left out: {counted(source.left_out)}")
    for note in source.notes:
        print(note)
    print(f"{file.progress.kept:,} codes of {model.latent_dim} latents: {output}")


def _fingerprint(model: TrainedVAE) -> int:
    total = 0
    for leaf in jax.tree.leaves(model.params):
        total = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), total)
    return total
