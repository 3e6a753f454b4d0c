"""How long a warm-up must be: which latents are awake when, the ramp at whose end they are, the ramp that pays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vae_jax.theory.dynamics import LinearRun, Path, simulate
from vae_jax.theory.saddle import growth_rate
from vae_jax.types import Schedule


class Ramp(NamedTuple):
    """The shortest ramp that wakes what was asked for, and what shorter ones leave asleep.

    Attributes:
      steps: its length; None where none within the run does.
      lengths: ``[n]``, all lengths that were tried, ascending.
      asleep: ``[n]``, how many of the latents that the last weight keeps are asleep at the end of each.
    """

    steps: int | None
    lengths: np.ndarray
    asleep: np.ndarray


def waking_steps(run: LinearRun, beta) -> np.ndarray:
    """Returns after how many updates each latent wakes, as ``simulate(run, beta).woke``: inf for never."""
    return simulate(run, beta, records=1).woke


def asleep_at(path: Path, step: int) -> np.ndarray:
    """Returns how many of the latents that the last weight keeps sleep after ``step`` updates, ``[]`` or ``[r]``."""
    return np.sum((path.ends > 0) & (path.woke > step), axis=-1)


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


def shortest_ramp(
    run: LinearRun, make: Callable[[int], Schedule], modes: int | None = None, longest: int | None = None
) -> Ramp:
    """Finds the shortest ramp with the first latents awake at its end: before the weight is at its full height.

    Args:
      run: the linear VAE and what moves it.
      make: ``length -> schedule``, such as ``lambda n: schedules.linear(beta, n)``.
      modes: how many latents; None for all that the last weight keeps and that wake within the run at all.
      longest: the longest ramp to try; None for all of the run.

    Raises:
      ValueError: for more latents than the last weight keeps.
    """
    longest = run.steps if longest is None else min(longest, run.steps)
    lengths = np.unique(np.append(0, np.rint(np.geomspace(min(10, longest), longest, 20)).astype(int)))
    run = run._replace(steps=longest)
    coarse = simulate(run, [make(int(n)) for n in lengths], records=1)
    kept = int((coarse.ends[-1] > 0).sum())
    if modes is None:
        modes = int(np.isfinite(coarse.woke).any(0)[:kept].sum())
    if modes > kept:
        raise ValueError(f"{modes} latents cannot wake: the last weight keeps {kept}")

    def awake(path, lengths):
        return (path.woke[:, :modes] <= lengths[:, None]).all(-1)

    left = np.array([asleep_at(path, n) for path, n in zip(_each(coarse), lengths)])
    enough = awake(coarse, lengths)
    if modes == 0 or not enough.any():
        return Ramp(0 if modes == 0 else None, lengths, left)
    first = int(np.argmax(enough))
    between = np.unique(np.linspace(lengths[max(first - 1, 0)], lengths[first], 18).astype(int))
    fine = simulate(run, [make(int(n)) for n in between], records=1)
    steps = int(between[np.argmax(awake(fine, between))])
    lengths = np.append(lengths, between)
    left = np.append(left, [asleep_at(path, n) for path, n in zip(_each(fine), between)])
    lengths, order = np.unique(lengths, return_index=True)
    return Ramp(steps, lengths, left[order])


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


def _each(path: Path) -> list[Path]:
    """Returns the ends and waking steps of each schedule as a path of its own; the rest stays that of all."""
    return [path._replace(ends=ends, woke=woke) for ends, woke in zip(path.ends, path.woke)]
