"""Closed forms of the linear VAE: what a weight will do, before training.

The optimum of a linear VAE on data with covariance eigenvalues lambda is reverse water-filling at the level
s = beta * sigma^2: a latent is active if and only if its eigenvalue is above the water (Tipping and Bishop 1999; Lucas
2019, 1911.02469, at beta = 1; the general case is derived in BUILD_NOTES.md). All of it is host arithmetic in float64.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Prediction(NamedTuple):
    """The optimum of a linear VAE.

    Attributes:
      rate: the mean KL, nats per example.
      distortion: the expected squared error, summed over dimensions.
      active: how many latents are used.
      kl_per_latent: ``[d]``, nats, in the order of the eigenvalues.
      sigma2: the decoder's variance, as given or as it would be learned.
      water_level: beta * sigma2.
    """

    rate: float
    distortion: float
    active: int
    kl_per_latent: np.ndarray
    sigma2: float
    water_level: float


def _spectrum(eigenvalues) -> np.ndarray:
    values = np.sort(np.asarray(eigenvalues, np.float64).reshape(-1))[::-1]
    if values.size == 0 or not np.all(np.isfinite(values)):
        raise ValueError("eigenvalues must be a non-empty list of finite numbers")
    return np.maximum(values, 0.0)  # a covariance has none below zero but by rounding


def learned_variance(eigenvalues, beta: float, latent_dim: int) -> float:
    """The decoder's variance that a linear VAE of weight ``beta`` learns: the largest root of SSE(beta v) = D v.

    SSE(beta v) is the least, over the number q of active latents, of beta q v + (sum of the other eigenvalues), so the
    root is the least of (that sum) / (D - beta q) over the q with beta q < D. At beta = 1 it is the maximum likelihood
    of probabilistic PCA (Tipping and Bishop 1999, eq. 8).

    Returns:
      The variance; 0.0 where the data lie in so few dimensions that the loss is unbounded below.
    """
    values = _spectrum(eigenvalues)
    dim, most = values.size, min(latent_dim, values.size)
    tail = np.concatenate([np.cumsum(values[::-1])[::-1], [0.0]])[: most + 1]
    share = dim - beta * np.arange(most + 1)
    return float(np.min(tail[share > 0] / share[share > 0]))


def predict(eigenvalues, beta: float, sigma2: float | None, latent_dim: int) -> Prediction:
    """What a linear VAE would do with this weight on data of this covariance.

    Args:
      eigenvalues: of the data's covariance (ddof 0), all D of them, in any order.
      beta: the KL weight, >= 0.
      sigma2: the decoder's variance; None where it is learned.
      latent_dim: M.

    Returns:
      A ``Prediction``. Latent i <= M is active iff lambda_i > s; it then costs log(lambda_i / s) / 2 nats and leaves
      an error s; every other direction leaves lambda_i. Infinite rate where s is 0.

    Raises:
      ValueError: for a negative weight or variance, no latents, or eigenvalues that are not finite.
    """
    values = _spectrum(eigenvalues)
    if not (math.isfinite(beta) and beta >= 0) or latent_dim < 1:
        raise ValueError(f"beta must be finite and >= 0 and latent_dim >= 1, not {beta} and {latent_dim}")
    if sigma2 is None:
        sigma2 = learned_variance(values, beta, latent_dim)
    elif not (math.isfinite(sigma2) and sigma2 >= 0):
        raise ValueError(f"sigma2 must be finite and >= 0, not {sigma2}")
    s = beta * sigma2
    head = np.zeros(latent_dim)
    head[: min(latent_dim, values.size)] = values[:latent_dim]
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = np.where(head > s, 0.5 * np.log(head / s), 0.0)
    error = float(np.sum(np.minimum(head, s)) + np.sum(values[latent_dim:]))
    return Prediction(float(np.sum(kl)), error, int(np.sum(head > s)), kl, float(sigma2), float(s))
