"""The flags of ``weigh``."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from vae_jax.runs.choices import PRECISIONS
from vae_jax.runs.flag_words import ALIASES
from vae_jax.runtime.config import option
from vae_jax.runtime.fields import Words

RECON = ("squared_error", "half_squared_error", "bce")
REDUCTIONS = ("sum", "mean", "sum+batch_sum", "mean+batch_sum")
_GROUPS = {
    "a loss as written": "loss recon recon_reduction kl_reduction weight recon_weight batch_size pixel_scale data_dim "
    "latent_dim",
    "data": "dataset pixels patch channels validation test data_dir plugin seed",
    "the weight to mark": "beta beta_norm sigma precision target_kl tolerance",
    "run": "workdir known",
}
_KL = "--weight is the factor before the KL of a loss as written, --beta a weight as train takes it"
_INSTEAD = dict.fromkeys((name for name, flag in ALIASES.items() if flag == "beta"), _KL)
WORDS = Words(
    {heading: tuple(flags.split()) for heading, flags in _GROUPS.items()},
    {name: flag for name, flag in ALIASES.items() if flag != "beta"} | {"kl_reduce": "kl_reduction"},
    _INSTEAD,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Every flag."""

    WORDS: ClassVar[Words] = WORDS

    workdir: str | None = option(
        None, "where weigh.json and the figure go (default: runs/weigh_DATASET with --dataset)"
    )
    known: bool = option(False, "the table of known implementations")
    loss: str | None = option(
        None, "a loss as code has it: mean_se + 0.00025*sum_kl, l1*sum + 1e-6*kl.sum (see vae_jax/theory/README.md)"
    )
    recon: str | None = option(None, "a loss as written: its error term", RECON)
    recon_reduction: str | None = option(None, "over an example's values; +batch_sum: the batch is summed", REDUCTIONS)
    kl_reduction: str | None = option(None, "the same over the latents", REDUCTIONS)
    weight: float | None = option(None, "the factor before the KL, as written (default 1)")
    recon_weight: float | None = option(None, "the factor before the error, as written (default 1)")
    batch_size: int | None = option(
        None, "needed where one term is summed over the batch and the other averaged", least=1
    )
    pixel_scale: float | None = option(None, "the loss saw this times [0, 1] pixels: 255, or 2 for [-1, 1] (default 1)")
    data_dim: int | None = option(None, "D, channels counted; with --dataset it is known", least=1)
    dataset: str | None = option(None, "what train takes: digits, sprites, a TFDS name, FILE.npz, a folder of images")
    validation: float | None = option(
        None, "the share held out of train for validation, as train's: what is left is looked at", least=0, below=1
    )
    test: float | None = option(None, "the share held out as the test split, as train's", above=0, below=1)
    data_dir: str | None = option(None, "where prepared TFDS data sets are", identity=False)
    plugin: str | None = option(None, "FILE.py of one's own that names data sets")
    pixels: str = option("grey", "what x is made of", ("grey", "binary", "sampled", "dequantised"))
    patch: int | None = option(
        None, "the stride of a spatial autoencoder: what codes of patches of so many pixels squared can keep", least=1
    )
    channels: int | None = option(None, "the numbers that it has for each patch", least=1, most=10**6)
    latent_dim: int | None = option(None, "M, the number of latents (default 20 with --dataset)", least=1, most=10**6)
    beta: float | None = option(None, "a weight to mark, as train takes it", least=0)
    beta_norm: float | None = option(None, "the same in Higgins' units, beta * latent_dim / data_dim", least=0)
    sigma: float | None = option(None, "the sigma of --precision=fixed (default 0.1), in [0, 1] pixel units", above=0)
    precision: str | None = option(None, "where a Gaussian's sigma comes from (default learned)", PRECISIONS)
    target_kl: float | None = option(None, "a rate that is wanted, nats per example", above=0)
    tolerance: float | None = option(
        None, "an error that is wanted: root mean square of a pixel, in [0, 1] units", above=0
    )
    seed: int = option(0, "of --pixels=sampled and dequantised", least=0, most=2**32 - 1)
