"""The dynamics of a linear VAE under any schedule: how fast each latent leaves the collapsed saddle, and when.

With the data's covariance C, a decoder W, an encoder V and posterior variances tau, the loss of a linear VAE is

    L = [tr (I - W V) C (I - W V)' + tr W diag(tau) W'] / (2 sigma^2) + (beta / 2) [tr V C V' + sum(tau - log tau - 1)]

(Lucas 2019, 1911.02469), so the data enter by C alone. The optimiser's own update rule is applied to these matrices, a
step for a step: from given first ones that is the run itself, whatever optimiser it has. Where only sizes are known
each direction of C is followed in a latent of its own, as three numbers (the modes of Saxe 2013, 1312.6120). theory/
README.md says how well that holds.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.linear_vae import learned_variance
from vae_jax.theory.mode_updates import Problem, terms, update
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
      latent_dim: M.
      sigma2: the decoder's variance before the first update.
      optimizer: what moves the parameters.
      steps: how many updates.
      precision: "fixed", "learned" (one log sigma, by gradient) or "optimal" (the error of each update).
      least: a variance below which one that is not fixed does not fall.
      start: the matrices before the first update, or sizes; None for the sizes of randomly initialised dense layers.
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

    The modes are the first min(D, M) directions of the data or, of given matrices, all D.

    Attributes:
      step: ``[n]``, the updates made at each record: 0 first, ``run.steps`` last.
      rates: ``[n, k]``, the KL of each mode, nats; of given matrices ``[n, M]``, that of each latent.
      passed: ``[n, k]``, the share of a direction that comes through, u' W V u of the eigenvector u.
      sigma2: ``[n]``, the decoder's variance.
      error: ``[n]``, the expected squared error of an example, all D dimensions together.
      beta: ``[n]``, the weight of the next update.
      ends: ``[k]``, what passes at the optimum of the last weight: max(0, 1 - s / lambda), 0 beyond the first M.
      woke: ``[k]``, after how many updates at least half of that first does; inf for never, or not within the run.
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
      ValueError: for an unknown precision, no steps, eigenvalues of which the largest is not positive, or matrices of
        other shapes than ``[D, M]`` and ``[M, D]``.
    """
    values = np.maximum(np.asarray(run.eigenvalues, np.float64).reshape(-1), 0.0)
    if run.precision not in ("fixed", "learned", "optimal"):
        raise ValueError(f"precision must be fixed, learned or optimal, not {run.precision!r}")
    if run.steps < 1 or run.latent_dim < 1 or not (values.size and np.isfinite(values).all() and values[0] > 0):
        raise ValueError("dynamics need at least one step, one latent and a positive largest eigenvalue")
    several = isinstance(beta, list | tuple)
    betas = np.stack([table(b, run.steps) for b in (beta if several else [beta])])  # [r, steps]
    start = run.start or expected_start(values, run.latent_dim, float(betas[0, 0]), run.sigma2)
    problem, first = _problem(run, values, start)
    k = problem.axes.shape[0] * problem.axes.shape[1]
    ends = np.stack([_ends(run, values, float(row[-1]))[:k] for row in betas])
    kept, woke, at = _follow(run, problem, first, betas, np.where(ends > 0, 0.5 * ends, np.inf), records)
    n, r = len(at), len(betas)
    with np.errstate(all="ignore"):  # of what diverged
        found = terms(np, problem, *kept[:3])
        sigma2, error = np.exp(2.0 * kept[3].reshape(n, r)), found.error.reshape(n, r)
        if run.precision == "optimal":
            sigma2 = np.maximum(error / values.size, run.least)
        settled = _settled(at, sigma2)
    shown = betas[:, np.minimum(at, run.steps - 1)].T
    pick = (lambda a: a) if several else (lambda a: a[..., 0, :])
    flat = (lambda a: a) if several else (lambda a: a[..., 0])
    rates, passed = found.kl.reshape(n, r, -1), found.passed.reshape(n, r, -1)
    return Path(
        *(at, pick(rates), pick(passed), flat(sigma2), flat(error), flat(shown)),
        *(pick(ends), pick(woke), flat(settled)),
    )


def _problem(run: LinearRun, values: np.ndarray, start: Start) -> tuple[Problem, tuple]:
    """Returns what an update reads, and the first W, V and log tau, in blocks as ``mode_updates.py`` has them."""
    w, v = (np.asarray(a, np.float64) for a in (start.decoder, start.encoder))
    if w.ndim == 2:
        if w.shape != (values.size, run.latent_dim) or v.shape != w.shape[::-1]:
            raise ValueError(f"matrices of {w.shape} and {v.shape}, not [D, M] and [M, D] of {values.size} eigenvalues")
        axes = np.eye(values.size) if start.eigenvectors is None else np.asarray(start.eigenvectors, np.float64)
        blocks = (w[None], v[None], (axes * values @ axes.T)[None], axes[None])
    else:
        blocks = tuple(a[:, None, None] for a in (w, v, values[: w.size], np.ones(w.size)))
    w, v, covariance, axes = blocks
    optimizer, free = run.optimizer, np.trace(covariance, axis1=1, axis2=2).sum()
    return Problem(
        *(covariance, axes, np.eye(len(axes[0])), float(values.sum() - free), float(values.mean())),
        *(float(values.size), float(run.latent_dim), run.least, run.free_nats),
        *(1.0 / run.batch_size if run.batch_size else 0.0, optimizer.b1, optimizer.b2, optimizer.eps),
    ), (w, v, np.full(w.shape[::2], start.logvar))


def table(schedule, steps: int) -> np.ndarray:
    """Returns the values of a schedule, a number or an array at the steps 0 to ``steps - 1``, ``[steps]``."""
    found = schedule(np.arange(steps)) if callable(schedule) else schedule
    return np.array(np.broadcast_to(np.asarray(found, np.float64), (steps,)))


def _ends(run: LinearRun, values: np.ndarray, beta: float) -> np.ndarray:
    sigma2 = run.sigma2
    if run.precision != "fixed":
        sigma2 = max(learned_variance(values, beta, run.latent_dim), run.least)
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = (values > beta * sigma2) & (np.arange(values.size) < run.latent_dim)
        return np.where(kept, 1.0 - beta * sigma2 / values, 0.0)


def _settled(at: np.ndarray, sigma2: np.ndarray) -> np.ndarray:
    """Returns the first record from which on the variance ``[n, r]`` is within a tenth of its last, ``[r]``."""
    off = np.abs(sigma2 / sigma2[-1] - 1.0) > 0.1
    after = np.where(off.any(0), len(at) - np.argmax(off[::-1], axis=0), 0)
    return at[np.minimum(after, len(at) - 1)].astype(np.float64)


def _follow(run: LinearRun, problem: Problem, first, betas, half, records: int):
    """Returns the records of the matrices ``[n, r, ...]``, when the modes woke ``[r, k]``, and the steps ``[n]``."""
    stride = -(-run.steps // min(records, run.steps))
    blocks = -(-run.steps // stride)
    fill = blocks * stride - run.steps
    # What is filled up has a rate of 0: nothing moves, and the last record is the run's end.
    rates = np.pad(table(run.optimizer.rate, run.steps), (0, fill))
    sigma_rates = np.pad(table(run.optimizer.sigma_rate, run.steps), (0, fill))
    betas = np.pad(betas, ((0, 0), (0, fill)), mode="edge")
    r, half = len(half), half.reshape(len(half), *problem.axes.shape[:2])
    first = (*(np.repeat(a[None], r, 0) for a in first), np.full((r, 1, 1, 1), 0.5 * math.log(run.sigma2)))
    state = (first, tuple(np.zeros_like(a) for a in first * 2), np.full_like(half, np.inf))
    inputs = (np.arange(1.0, blocks * stride + 1), betas.T[:, :, None, None], rates, sigma_rates)
    inputs = tuple(a.reshape(blocks, stride, *a.shape[1:]) for a in inputs)
    kind = (run.precision, run.optimizer.adam, len(problem.axes) == 1, run.batch_size is not None)
    if run.steps >= _COMPILED:
        last, kept = jax.device_get(_scanned(problem, half, state, inputs, kind))
        kept = tuple(np.asarray(a, np.float64) for a in kept)
    else:
        last, kept = _looped(problem, half, state, inputs, kind)
    kept = tuple(np.concatenate([rows, end[None]]) for rows, end in zip(kept, last[0]))
    passed = terms(np, problem, *(a[-1] for a in kept[:3])).passed
    woke = np.where((passed >= half) & (last[2] > run.steps), run.steps, last[2])  # after the last update
    return kept, woke.reshape(r, -1), np.append(np.arange(blocks) * stride, run.steps)


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
