"""How long a warm-up must be: what a schedule lets grow at the saddle, and the shortest ramp that pays."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from vae_jax.theory.dynamics import LinearRun, Path, simulate
from vae_jax.theory.saddle import growth_rate
from vae_jax.types import Schedule


def log_growth(eigenvalues, beta, rate, sigma2: float) -> np.ndarray:
    """Returns the logarithm of what each direction has grown by at the saddle after each step of gradient descent.

    It is the sum of rate times ``growth_rate`` at the beta of each step, which is exact where beta moves slowly. A
    latent has woken when this is the logarithm of its final size over its first; a cycle wakes a latent only if the sum
    over the cycle is positive, whatever its length.

    Args:
      eigenvalues: ``[k]``.
      beta, rate: ``[steps]``, the weight and the learning rate of each step.
      sigma2: the decoder's variance.

    Returns:
      ``[steps, k]``.
    """
    betas, rates = np.asarray(beta, np.float64)[:, None], np.asarray(rate, np.float64)
    rates = np.broadcast_to(rates, len(betas))[:, None]
    return np.cumsum(rates * growth_rate(np.asarray(eigenvalues)[None], betas, sigma2), axis=0)


WORTH = 0.25  # nats: a longer ramp has to be worth more than this


def best_ramp(run: LinearRun, make: Callable[[int], Schedule], longest: int | None = None) -> int:
    """Returns the shortest ramp with which the run ends within ``WORTH`` of the best end that a ramp has.

    A ramp wakes latents earlier and leaves fewer steps at the weight that is asked for; what it is worth is the bound
    at that weight after the last step. Lengths of two digits are tried, from 0 on, a quarter apart.

    Args:
      run: the linear VAE and what moves it.
      make: ``length -> schedule``, such as ``lambda n: schedules.linear(beta, n)``.
      longest: the longest ramp to try; None for all of the run.
    """
    longest = run.steps if longest is None else min(longest, run.steps)
    count = max(2, 1 + math.ceil(math.log(max(longest, 2) / 5, 1.25)))
    lengths = np.unique([0, *(int(float(f"{n:.2g}")) for n in np.geomspace(5, max(longest, 5), count))])
    lengths = lengths[lengths <= longest]
    path = simulate(run, [make(int(n)) for n in lengths], records=1)
    bounds = _bound(run, path)
    return int(lengths[np.argmax(bounds >= bounds.max() - WORTH)])


def _bound(run: LinearRun, path: Path) -> np.ndarray:
    """Returns E log p(x|z) - beta KL after the last step, ``[r]``; a variance that is not fixed is the error's."""
    dim, error, beta = np.size(run.eigenvalues), path.error[-1], path.beta[-1]
    sigma2 = np.full_like(error, run.sigma2) if run.precision == "fixed" else np.maximum(error / dim, run.least)
    found = -0.5 * (dim * np.log(2.0 * math.pi * sigma2) + error / sigma2) - beta * path.rates[-1].sum(-1)
    return np.where(np.isfinite(found), found, -np.inf)  # of what diverged
