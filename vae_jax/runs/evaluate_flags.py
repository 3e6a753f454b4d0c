"""The flags of ``evaluate``."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from vae_jax.runtime.config import option
from vae_jax.runtime.fields import Words

_GROUPS = {
    "run": "workdir beta plugin data_dir",
    "data": "dataset split limit",
    "measures": "iw_samples rate_samples active_threshold gap_examples ais examples seed",
}
WORDS = Words(
    {heading: tuple(flags.split()) for heading, flags in _GROUPS.items()},
    {"data": "dataset", "num_samples": "iw_samples", "nll_samples": "iw_samples", "logdir": "workdir"},
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Every flag."""

    WORDS: ClassVar[Words] = WORDS

    workdir: str | None = option(None, "a run that has been trained")
    dataset: str | None = option(None, "other data of the same shape, as for train (default: the run's own)")
    data_dir: str | None = option(None, "where prepared TFDS data sets are")
    plugin: str | None = option(None, "FILE.py that the run was trained with (default: where it was then)")
    beta: float | None = option(None, "where to read a network for all beta (default: as it was trained to be read)")
    split: str = option("test", "which split", ("test", "validation", "train"))
    limit: int | None = option(None, "only the first so many examples of it (default: all)", least=2)
    iw_samples: int = option(5000, "importance samples of iw_nll; memory does not grow with them", least=1, most=10**7)
    active_threshold: float = option(
        0.01, "a latent is active where its posterior mean varies by more over the data", least=0
    )
    rate_samples: int = option(
        2000, "samples for the parts of the rate, each against the posteriors of the whole split", least=2, most=10**7
    )
    gap_examples: int = option(
        50, "examples whose own best posterior is searched for, for the inference gaps; 0 for none", least=0
    )
    ais: str | None = option(
        None, "CHAINS,TEMPERATURES: log p(x) by annealed importance sampling, and its bracket on simulated data"
    )
    examples: int = option(100, "examples of --ais", least=1)
    seed: int = option(0, "of the evaluation's own noise", least=0, most=2**32 - 1)
