"""The dynamics of a linear VAE under any schedule: how fast each latent leaves the collapsed saddle, and when.

In the eigenbasis of the data's covariance each direction is one decoder weight w, one encoder weight v and one log
posterior variance t = log tau. Its share of the loss, with eigenvalue lambda and weight beta, is

    L = [lambda (1 - w v)^2 + w^2 tau] / (2 sigma^2) + (beta / 2) (lambda v^2 + tau - t - 1)

(the linear VAE of Lucas 2019, 1911.02469; modes that do not couple as in Saxe 2013, 1312.6120). The optimiser's own
update rule is applied to these numbers, a step for a step, so gradient descent is exact but for how modes share
latents; a learned sigma couples all of them. theory/README.md derives it and says how well it holds.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.linear_vae import learned_variance
from vae_jax.theory.mode_updates import Problem, update
from vae_jax.theory.saddle import Start, expected_start
from vae_jax.types import Schedule

_COMPILED = 5000  # steps from which on a compiled loop is faster than NumPy's, its compilation included


class Optimizer(NamedTuple):
    """What moves the parameters, as the modes feel it.

    Attributes:
      rate: of the networks, a function of the step or a number.
      sigma_rate: of log sigma, where that is learned by gradient.
      adam: whether Adam moves them; plain gradient descent if not.
      b1, b2, eps: Adam's, those of ``train/optimizers.py``.
    """

    rate: Schedule | float
    sigma_rate: Schedule | float = 0.0
    adam: bool = True
    b1: float = 0.9
    b2: float = 0.99
    eps: float = 1e-8


class LinearRun(NamedTuple):
    """All that decides when the latents of a linear VAE wake, but for the schedule of beta.

    Attributes:
      eigenvalues: ``[D]``, of the data's covariance, the largest first.
      latent_dim: M; the modes are the first k = min(D, M) directions.
      sigma2: the decoder's variance before the first update.
      optimizer: what moves the parameters.
      steps: how many updates.
      precision: "fixed", "learned" (one log sigma, by gradient) or "optimal" (the error of each update).
      least: a variance below which one that is not fixed does not fall.
      start: the sizes before the first update; None for those of randomly initialised dense layers.
      free_nats: a floor below which the KL of a latent is not charged.
      batch_size: None for exact gradients; else the noise of batches, with one draw of z, is in Adam's moments.
    """

    eigenvalues: np.ndarray
    latent_dim: int
    sigma2: float
    optimizer: Optimizer
    steps: int
    precision: str = "fixed"
    least: float = 0.0
    start: Start | None = None
    free_nats: float = 0.0
    batch_size: int | None = None


class Path(NamedTuple):
    """The way of every mode; n records, k modes; with several schedules r an axis before k (before nothing: last).

    Attributes:
      step: ``[n]``, the updates made at each record: 0 first, ``run.steps`` last.
      rates: ``[n, k]``, the KL of each mode, nats.
      passed: ``[n, k]``, w v, the share of a direction that comes through.
      sigma2: ``[n]``, the decoder's variance.
      error: ``[n]``, the expected squared error of an example, all D dimensions together.
      beta: ``[n]``, the weight of the next update.
      ends: ``[k]``, what w v is at the optimum of the last weight: max(0, 1 - s / lambda).
      woke: ``[k]``, after how many updates w v first is at least half of that; inf for never, or not within the run.
      sigma_settled: after how many updates the variance stays within a tenth of its last value, to a record.
    """

    step: np.ndarray
    rates: np.ndarray
    passed: np.ndarray
    sigma2: np.ndarray
    error: np.ndarray
    beta: np.ndarray
    ends: np.ndarray
    woke: np.ndarray
    sigma_settled: np.ndarray | float


def simulate(run: LinearRun, beta, records: int = 200) -> Path:
    """Follows every mode through the run.

    Args:
      run: the linear VAE and what moves it.
      beta: the weight: a schedule, a number, an array ``[steps]``; or a list of r of these, followed side by side.
      records: about how many moments of the way are kept.

    Returns:
      A ``Path``; ``woke`` is exact to the step.

    Raises:
      ValueError: for an unknown precision, no steps, or eigenvalues of which the largest is not positive.
    """
    values = np.maximum(np.asarray(run.eigenvalues, np.float64).reshape(-1), 0.0)
    if run.precision not in ("fixed", "learned", "optimal"):
        raise ValueError(f"precision must be fixed, learned or optimal, not {run.precision!r}")
    if run.steps < 1 or run.latent_dim < 1 or not (values.size and np.isfinite(values).all() and values[0] > 0):
        raise ValueError("dynamics need at least one step, one latent and a positive largest eigenvalue")
    several = isinstance(beta, list | tuple)
    betas = np.stack([table(b, run.steps) for b in (beta if several else [beta])])  # [r, steps]
    k = min(values.size, run.latent_dim)
    start = run.start or expected_start(values, run.latent_dim, float(betas[0, 0]), run.sigma2)
    problem = Problem(
        *(values[:k], float(values[k:].sum()), float(values.size), float(run.latent_dim)),
        *(max(run.latent_dim - 1.0, 1.0), run.least, run.free_nats),
        *(1.0 / run.batch_size if run.batch_size else 0.0, run.optimizer.b1, run.optimizer.b2, run.optimizer.eps),
    )
    ends = np.stack([_ends(run, values, float(row[-1]))[:k] for row in betas])
    kept, woke, at = _follow(run, problem, start, betas, np.where(ends > 0, 0.5 * ends, np.inf), records)
    w, v, t, _, _, log_sigma = kept
    with np.errstate(all="ignore"):  # of what diverged
        rates = 0.5 * (problem.values * v * v + np.maximum(np.expm1(t) - t, 0.0))
        passed, sigma2 = w * v, np.exp(2.0 * log_sigma[..., 0])
        left = problem.values * (1.0 - passed) ** 2 + w * w * np.exp(t)  # with each mode in its own latent
        error = left.sum(-1) + problem.rest
        if run.precision == "optimal":
            sigma2 = np.maximum(error / values.size, run.least)
        settled = _settled(at, sigma2)
    shown = betas[:, np.minimum(at, run.steps - 1)].T
    pick = (lambda a: a) if several else (lambda a: a[..., 0, :])
    flat = (lambda a: a) if several else (lambda a: a[..., 0])
    return Path(
        *(at, pick(rates), pick(passed), flat(sigma2), flat(error), flat(shown)),
        *(pick(ends), pick(woke), flat(settled)),
    )


def table(schedule, steps: int) -> np.ndarray:
    """Returns the values of a schedule, a number or an array at the steps 0 to ``steps - 1``, ``[steps]``."""
    found = schedule(np.arange(steps)) if callable(schedule) else schedule
    return np.array(np.broadcast_to(np.asarray(found, np.float64), (steps,)))


def _ends(run: LinearRun, values: np.ndarray, beta: float) -> np.ndarray:
    sigma2 = run.sigma2
    if run.precision != "fixed":
        sigma2 = max(learned_variance(values, beta, run.latent_dim), run.least)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values > beta * sigma2, 1.0 - beta * sigma2 / values, 0.0)


def _settled(at: np.ndarray, sigma2: np.ndarray) -> np.ndarray:
    """Returns the first record from which on the variance ``[n, r]`` is within a tenth of its last, ``[r]``."""
    off = np.abs(sigma2 / sigma2[-1] - 1.0) > 0.1
    after = np.where(off.any(0), len(at) - np.argmax(off[::-1], axis=0), 0)
    return at[np.minimum(after, len(at) - 1)].astype(np.float64)


def _follow(run: LinearRun, problem: Problem, start: Start, betas, half, records: int):
    """Returns the records of the state ``[n, r, k]``, when the modes woke ``[r, k]``, and the steps ``[n]``."""
    stride = -(-run.steps // min(records, run.steps))
    blocks = -(-run.steps // stride)
    fill = blocks * stride - run.steps
    # What is filled up has a rate of 0: nothing moves, and the last record is the run's end.
    rates = np.pad(table(run.optimizer.rate, run.steps), (0, fill))
    sigma_rates = np.pad(table(run.optimizer.sigma_rate, run.steps), (0, fill))
    betas = np.pad(betas, ((0, 0), (0, fill)), mode="edge")
    r, k = half.shape
    w, v, t, e = (np.broadcast_to(np.asarray(a, np.float64), (r, k)) for a in start)
    one = np.zeros((r, 1))
    first = (w, v, t, one + start.logvar, e * (run.latent_dim > 1), one + 0.5 * math.log(run.sigma2))
    moments = tuple(np.zeros_like(a) for a in (w, v, t, one, one) * 2)
    state = (first, moments, np.where(first[0] * first[1] >= half, 0.0, np.inf))
    inputs = (np.arange(1.0, blocks * stride + 1), betas.T[:, :, None], rates, sigma_rates)
    inputs = tuple(a.reshape(blocks, stride, *a.shape[1:]) for a in inputs)
    kind = (run.precision, run.optimizer.adam)
    if run.steps >= _COMPILED:
        last, kept = jax.device_get(_scanned(problem, half, state, inputs, kind))
        kept = tuple(np.asarray(a, np.float64) for a in kept)
    else:
        last, kept = _looped(problem, half, state, inputs, kind)
    kept = tuple(np.concatenate([rows, end[None]]) for rows, end in zip(kept, last[0]))
    woke = np.where(last[2] <= run.steps, last[2], np.inf)
    return kept, woke, np.append(np.arange(blocks) * stride, run.steps)


def _looped(problem, half, state, inputs, kind):
    kept = []
    with np.errstate(all="ignore"):  # a rate that is too large for the data diverges, and then nothing wakes
        for block in zip(*inputs):
            kept.append(state[0])
            for each in zip(*block):
                state = update(np, problem, half, state, each, kind)
    return state, tuple(np.stack(rows) for rows in zip(*kept))


@functools.partial(jax.jit, static_argnames="kind")
def _scanned(problem, half, state, inputs, kind):
    def one(state, each):
        return update(jnp, problem, half, state, each, kind), None

    def block(state, each):
        return jax.lax.scan(one, state, each)[0], state[0]

    state = jax.tree.map(lambda a: jnp.asarray(a, float), state)
    return jax.lax.scan(block, state, jax.tree.map(lambda a: jnp.asarray(a, float), inputs))
