"""The collapse that the linear theory predicts, in a deep network on MNIST: minutes for three seeds each."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .images import flags_of, near
from .ledger import Measured, Settings, claim_of
from .runs import of, spread_of, sweep_rows

_SHARES = (0.9, 1.05)  # of the largest eigenvalue of the data: the water levels of one sweep


def _root(s: float, dim: int) -> float:
    return math.sqrt(s)


def _collapse(settings: Settings, share: float, sigma_of: Callable[[float, int], float]) -> np.ndarray:
    """The rates, one a seed, at a water level of ``share`` times the largest eigenvalue."""
    from vae_jax.runs.build import material
    from vae_jax.runs.settings import Config

    from ..papers.arms import AS_PUBLISHED

    small = {"latent_dim": 50, "hidden": "512,512", "num_steps": 2000, "iw_samples": 8}
    flags = flags_of(settings, small, {"num_steps": 50_000})
    spectrum = material(Config(dataset=flags["dataset"], data_dir=settings.data_dir, **AS_PUBLISHED)).spectrum
    sigmas = {of_it: f"{sigma_of(of_it * float(spectrum[0]), len(spectrum)):.9g}" for of_it in _SHARES}
    rows = sweep_rows(settings, "lucas2019", flags | {"precision": "fixed", "sigma": ",".join(sigmas.values())})
    return of([row for row in rows if near(row["asked"]["sigma"], float(sigmas[share]))], "rate")


def deep_collapse_above_the_threshold(settings: Settings, sigma_of: Callable[[float, int], float] = _root) -> Measured:
    """A deep network collapses above the largest eigenvalue of the data, as the linear theory predicts.

    At 1.05 times that eigenvalue.

    The paper shows the theory for linear VAEs and the same behaviour in deep ones. Here MNIST, grey, 50 latents,
    512-512, a fixed sigma and beta = 1. ``sigma_of`` makes the decoder's sigma of a water level and the dimensions.

    Measured: the largest rate over the seeds. 3 minutes, with those of the next claim.

    Source: Lucas 2019, 1911.02469; Li 2025, 2510.01621
    Tolerance: the noise of sampled training: .0005 nats were seen
    """
    rates = _collapse(settings, 1.05, sigma_of)
    return Measured(float(rates.max()), spread_of(rates), f"rates {', '.join(f'{r:.2g}' for r in rates)} nats")


def deep_code_below_the_threshold(settings: Settings, sigma_of: Callable[[float, int], float] = _root) -> Measured:
    """Below the largest eigenvalue the code of a deep network is alive.

    At 0.9 times that eigenvalue, so the threshold is sharp.
    A linear VAE has .0527 nats there. Measured: the least rate over the seeds.

    Source: Lucas 2019, 1911.02469; Li 2025, 2510.01621
    Tolerance: less than half of what a linear VAE has, .0527
    """
    rates = _collapse(settings, 0.9, sigma_of)
    return Measured(float(rates.min()), spread_of(rates), f"rates {', '.join(f'{r:.2g}' for r in rates)} nats")


CLAIMS = [
    claim_of(deep_collapse_above_the_threshold, "statistical", 0.0, relation="<=", tolerance=0.002, seconds=180.0),
    claim_of(deep_code_below_the_threshold, "statistical", 0.02, relation=">=", tolerance=0.0, seconds=10.0),
]
