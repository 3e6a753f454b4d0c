"""What n examples can teach: which directions of the data are noise, and what a linear VAE will be worth on new data.

The eigenvalues of a sample covariance spread even where those of the data do not: of noise of variance v in D
dimensions they fill the interval v (1 -+ sqrt(D / n))^2 (Marchenko and Pastur 1967). A direction of the data shows only
where its eigenvalue comes out above that edge (Baik, Ben Arous and Peche 2005), larger than it is and turned away from
where it is (Paul 2007, Statistica Sinica 17). All that a held-out score asks is how much new data vary along the
directions that were found; Ledoit and Peche (2011, 0911.3010, theorem 4) say that for any spectrum.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vae_jax.linear_vae import left_over

ROUNDING = 1e-10  # times the largest eigenvalue: below it a direction does not vary at all


class Outlook(NamedTuple):
    """A linear VAE of M latents, beta = 1 and a learned sigma, fitted to n examples; nats per example.

    Attributes:
      latent_dim: M.
      train: its ELBO on these examples.
      held_out: the same expected on new ones.
      best: the number of latents, at most M, that is worth the most on new data; the other M - best are of noise.
      best_held_out: what a model of so many is worth there.
      edge: the largest eigenvalue that noise of that model's sigma^2 has in n samples.
      above_edge: how many of the M eigenvalues are above it.
    """

    latent_dim: int
    train: float
    held_out: float
    best: int
    best_held_out: float
    edge: float
    above_edge: int

    @property
    def gap(self) -> float:
        """What is lost on new examples, nats."""
        return self.train - self.held_out


def marchenko_pastur_edge(variance: float, dimensions: int, examples: int) -> float:
    """Returns the upper end of the sample eigenvalues of noise: variance (1 + sqrt(D / n))^2."""
    return variance * (1.0 + math.sqrt(dimensions / examples)) ** 2


def sample_eigenvalue(spike: float, variance: float, ratio: float) -> float:
    """Returns where the eigenvalue ``spike`` > variance of the data comes out in a sample covariance, ratio = D / n.

    Paul 2007, theorem 2: l (1 + ratio v / (l - v)), or the edge for a spike too small to show.
    """
    if spike <= variance * (1.0 + math.sqrt(ratio)):
        return variance * (1.0 + math.sqrt(ratio)) ** 2
    return spike * (1.0 + ratio * variance / (spike - variance))


def _varying(eigenvalues, examples: int) -> np.ndarray:
    """Returns the eigenvalues of the directions that vary, descending, as a sample of n examples has them.

    n examples span n - 1 directions. A spectrum whose end was spread evenly (``data/spectrum.py``) has more.
    """
    values = np.sort(np.asarray(eigenvalues, np.float64).reshape(-1))[::-1]
    if examples < 3 or values.size == 0 or not np.isfinite(values).all() or not values[0] > 0:
        raise ValueError("finite eigenvalues of data that vary are needed, and at least 3 examples")
    values = values[values > ROUNDING * values[0]]
    rank = examples - 1
    if values.size <= rank:
        return values
    flat = np.searchsorted(-values, -values[-1] * (1.0 + 1e-9))  # where the even part begins
    start = min(int(flat), rank - 1)
    return np.append(values[:start], np.full(rank - start, values[start:].sum() / (rank - start)))


def _hilbert(t):
    """Returns pi times the Hilbert transform of Epanechnikov's kernel of variance 1 (Ledoit and Wolf 2020, eq. 4.8)."""
    root = math.sqrt(5.0)
    near = np.where(np.abs(t) < 100.0, t, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = (1.0 - near**2 / 5.0) * np.log(np.abs((root - near) / (root + near)))
    close = -0.3 * near + 0.75 / root * np.where(np.abs(np.abs(near) - root) < 1e-12, 0.0, log)
    far = np.where(np.abs(t) < 100.0, 100.0, t)  # there the two parts cancel: its series
    return np.where(np.abs(t) < 100.0, close, -(1.0 / far + 1.0 / far**3))


def variance_of_new_data(eigenvalues, examples: int) -> np.ndarray:
    """Returns how much new data vary along the eigenvectors of a sample covariance, ``[k]``, the k that vary.

    Ledoit and Peche (2011): lambda / |1 - c - c lambda m(lambda)|^2 with c = D / n and m the Stieltjes transform of the
    sample's eigenvalues, here by a kernel (Ledoit and Wolf 2020, Annals of Statistics 48, eq. 4.7 to 4.9), as wide as
    n^(-1/3) of each eigenvalue.

    Args:
      eigenvalues: of the sample covariance, all D of them, in any order.
      examples: n.
    """
    values, free = _varying(eigenvalues, examples), examples - 1
    count = _dimensions(values, eigenvalues, examples)
    at, weight = np.unique(values, return_counts=True)  # the end of a large spectrum is one number, many times
    width = free ** (-1.0 / 3.0) * at
    t = (at[:, None] - at) / width
    density = (0.75 / math.sqrt(5.0) * np.maximum(1.0 - t**2 / 5.0, 0.0)) @ (weight / width) / count
    # What is 0 in the sample is part of its spectrum, too.
    hilbert = _hilbert(t) @ (weight / width) / count - (count - values.size) / count / at
    ratio = count / free
    shrunk = at / ((1.0 - ratio - ratio * at * hilbert) ** 2 + (math.pi * ratio * at * density) ** 2)
    return np.repeat(shrunk, weight)[::-1]


def _dimensions(values, eigenvalues, examples: int) -> int:
    """Returns D: of directions without variance in fewer examples than D it is not known whether they have none."""
    return values.size if values.size < examples - 1 else np.asarray(eigenvalues).size


def outlook(eigenvalues, examples: int, latent_dim: int | None = None) -> Outlook:
    """Foretells a linear VAE's ELBO on new data from the sample covariance of its training data alone.

    The model is probabilistic PCA (Tipping and Bishop 1999): covariance lambda_i along the first M directions and the
    mean v of the others elsewhere. On new data the score is -(1/2) [D log 2 pi + log det + sum_i d_i / (model's
    variance)], d_i of ``variance_of_new_data``; the mean of n examples adds 1 / n of it.

    Args:
      eigenvalues: of the sample covariance (ddof 0), all D of them, in any order.
      examples: n.
      latent_dim: M, cut down to one less than the n examples vary in, where sigma would fall to 0; None for the best.

    Raises:
      ValueError: for data that do not vary, or fewer than 3 examples.
    """
    values, count = _varying(eigenvalues, examples), np.asarray(eigenvalues).size
    limit = values.size - 1
    most = limit if latent_dim is None else min(latent_dim, limit)
    new = variance_of_new_data(eigenvalues, examples)
    trace = values.sum() * examples / (examples - 1)  # of new data: a sample about its own mean varies less

    def summed(parts):  # over the first 0, 1, ..., most directions
        return np.append(0.0, np.cumsum(parts[:most]))

    latents = np.arange(most + 1)
    v = left_over(values)[latents] / (count - latents)
    constant = count * math.log(2.0 * math.pi) + summed(np.log(values)) + (count - latents) * np.log(v)
    errors = (1.0 + 1.0 / examples) * (summed(new / values) + np.maximum(trace - summed(new), 0.0) / v)
    held_out = -0.5 * (constant + errors)
    best = int(np.argmax(held_out))
    m = best if latent_dim is None else most
    # The noise is in those directions that vary.
    noisy = _dimensions(values, eigenvalues, examples) - best
    edge = marchenko_pastur_edge(v[best] * (count - best) / noisy, noisy, examples)
    train, above = -0.5 * (constant[m] + count), int(np.sum(values[:m] > edge))
    return Outlook(m, float(train), float(held_out[m]), best, float(held_out[best]), float(edge), above)


def in_words(found: Outlook, examples: int) -> str | None:
    """Says what so few examples mean for a run; None where they mean little: no latent is of noise, or no nat lost."""
    noise = found.latent_dim - found.best
    if noise == 0 or found.gap < 1.0 or found.best_held_out - found.held_out < 0.1:
        return None
    return (
        f"with {examples:,} examples about {noise} of the {found.latent_dim} directions are noise: a linear model's "
        f"ELBO is {found.train:.4g} nats on them and would be {found.held_out:.4g} on new data, with {found.best} "
        f"latents {found.best_held_out:.4g}"
    )
