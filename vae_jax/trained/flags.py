"""The flags of the binaries that use a trained run."""

from __future__ import annotations

import dataclasses

from vae_jax.runtime.config import option

KINDS = ("linear", "spherical")  # of an interpolation


@dataclasses.dataclass(frozen=True)
class Encode:
    """Every flag of ``encode``."""

    workdir: str | None = option(None, "a run that has been trained")
    input: str = option("test", "FOLDER of images, FILE.npz, FILE.csv, FILE.txt, or train, validation or test")
    output: str | None = option(None, "FILE.npz or FILE.csv, for the codes")
    condition: str | None = option(None, "of a run of --condition: its value for all examples, 7 or age=40,sex=female")
    beta: float | None = option(None, "where to read a network for all beta", above=0)
    data_dir: str | None = option(None, "where prepared TFDS data sets are, for a split of one")
    plugin: str | None = option(None, "FILE.py that the run was trained with (default: where it was then)")


@dataclasses.dataclass(frozen=True)
class Sample:
    """Every flag of ``sample``."""

    workdir: str | None = option(None, "a run that has been trained")
    output: str | None = option(None, "FILE.npz, or of images FILE.png or FOLDER, of rows FILE.csv, of texts FILE.txt")
    num: int = option(64, "how many", least=1, most=10**6)
    condition: str | None = option(None, "of a run of --condition: its value for all samples, 7 or age=40,sex=female")
    temperature: float = option(1.0, "of the prior: below 1 for more usual examples", least=0)
    noise: bool = option(False, "draw x from p(x|z), in place of its mean")
    seed: int = option(0, "of what is drawn", least=0, most=2**32 - 1)
    reconstruct: str | None = option(None, "reconstruct the first --num examples of this in place: as encode's --input")
    interpolate: str | None = option(None, "A,B: from A to B in --num steps; image files, or numbers of test examples")
    kind: str = option("linear", "of the interpolation", KINDS)
    beta: float | None = option(None, "where to read a network for all beta", above=0)
    data_dir: str | None = option(None, "where prepared TFDS data sets are, for a split of one")
    plugin: str | None = option(None, "FILE.py that the run was trained with (default: where it was then)")


@dataclasses.dataclass(frozen=True)
class Export:
    """Every flag of ``export``."""

    workdir: str | None = option(None, "a run that has been trained")
    format: str = option("safetensors", "what to write", ("safetensors", "stablehlo", "onnx"))
    output: str | None = option(None, "FOLDER, made where it is not there")
    beta: float | None = option(None, "where to read a network for all beta", above=0)
    data_dir: str | None = option(None, "where prepared TFDS data sets are, for a run without data.json")
    plugin: str | None = option(None, "FILE.py that the run was trained with (default: where it was then)")


@dataclasses.dataclass(frozen=True)
class Compress:
    """Every flag of ``compress``."""

    workdir: str | None = option(None, "a run that has been trained, of a discrete likelihood")
    input: str | None = option(
        None, "FOLDER of images, FILE.npz, FILE.csv, FILE.txt, or train, validation or test; or the file"
    )
    output: str | None = option(None, "the file; or with --decompress FILE.npz, of a text FILE.txt, of rows FILE.csv")
    decompress: bool = option(False, "read --input, a file of compress, back into --output")
    data_dir: str | None = option(None, "where prepared TFDS data sets are, for a split of one")
    plugin: str | None = option(None, "FILE.py that the run was trained with (default: where it was then)")


@dataclasses.dataclass(frozen=True)
class Audit:
    """Every flag of ``audit``."""

    outputs: str | None = option(None, "FILE.npz: x, x_mean, x_sample, mean, logvar or std, and best z as well")
    workdir: str | None = option(
        None, "a run of train, audited itself; with --outputs where the answer goes (default: audit_FILE beside FILE)"
    )
    loss: str | None = option(None, 'the loss that was used, as written: "mse + 1e-6*kl"')
    pixel_range: str | None = option(None, "lowest,highest value of x: 0,1 or -1,1 or 0,255 (default: as x shows)")
    channel_axis: str = option("auto", "of latents [n, a, b, c]", ("auto", "first", "last"))
    target_rate: float | None = option(None, "which weight would bring the rate here, nats per example", above=0)
    target_channels: int | None = option(None, "which weight would keep so many channels or latents", least=0)
    batch_size: int | None = option(None, "of --loss, where it is summed over the batch", least=1)
    input: str = option("test", "of a run: train, validation or test, the examples to audit")
    draws: int = option(4, "of a run: draws of z for each example", least=1, most=64)
    seed: int = option(0, "of a run's draws", least=0, most=2**32 - 1)
