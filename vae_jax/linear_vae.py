"""Closed forms of the linear VAE: what a weight will do, before training.

The optimum of a linear VAE on data with covariance eigenvalues lambda is reverse water-filling at the level
s = beta * sigma^2: a latent is active if and only if its eigenvalue is above the water (Tipping and Bishop 1999; Lucas
2019, 1911.02469, at beta = 1; in general: theory/README.md). All of it is host arithmetic in float64.
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


def left_over(values: np.ndarray) -> np.ndarray:
    """Returns the variance outside of the first q = 0, 1, ..., D directions, ``[D + 1]``; ``values`` descend."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)


def learned_variance(eigenvalues, beta: float, latent_dim: int) -> float:
    """Returns the decoder's variance that a linear VAE of weight ``beta`` learns: the largest v of SSE(beta v) = D v.

    SSE(beta v) is the least, over the number q of active latents, of beta q v + (sum of the other eigenvalues), so the
    root is the least of (that sum) / (D - beta q) over the q with beta q < D. At beta = 1 it is the maximum likelihood
    of probabilistic PCA (Tipping and Bishop 1999, eq. 8).

    Returns:
      The variance; 0.0 where the data lie in so few dimensions that the loss is unbounded below.
    """
    values = _spectrum(eigenvalues)
    dim, most = values.size, min(latent_dim, values.size)
    tail = left_over(values)[: most + 1]
    # Where beta q >= D the line beta q v + tail lies above D v for every v: that q has no root.
    share = dim - beta * np.arange(most + 1)
    return float(np.min(tail[share > 0] / share[share > 0]))


def predict(eigenvalues, beta: float, sigma2: float | None, latent_dim: int) -> Prediction:
    """Predicts what a linear VAE does with this weight on data of this covariance.

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
    # At s = 0 the rate is infinite, which is what the division says.
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = np.where(head > s, 0.5 * np.log(head / s), 0.0)
    error = float(np.sum(np.minimum(head, s)) + np.sum(values[latent_dim:]))
    return Prediction(float(np.sum(kl)), error, int(np.sum(head > s)), kl, float(sigma2), float(s))


def water_level_for_rate(eigenvalues, rate: float, latent_dim: int) -> float:
    """Returns the water level at which a linear VAE's rate is ``rate``: the inverse of ``predict(...).rate``.

    With q active latents the rate is half the sum over them of log(lambda_i / s), and the true rate is the largest of
    these over q; each falls with s, so the level is the largest of their roots.

    Args:
      eigenvalues: of the data's covariance, in any order.
      rate: nats per example; 0 gives lambda_1, where the last latent closes.
      latent_dim: M.

    Returns:
      s = beta sigma^2; 0.0 for an infinite rate.

    Raises:
      ValueError: for a negative rate, no latents, or data that do not vary and so can carry no rate.
    """
    values = _spectrum(eigenvalues)
    if not rate >= 0 or latent_dim < 1:
        raise ValueError(f"rate must be >= 0 and latent_dim >= 1, not {rate} and {latent_dim}")
    if values[0] == 0.0:
        raise ValueError("all eigenvalues are 0: data that do not vary carry no rate")
    head = values[:latent_dim]
    # In logarithms, as the product of many eigenvalues underflows.
    logs = np.log(head[head > 0])
    count = np.arange(1, logs.size + 1)
    return float(np.exp(np.max((np.cumsum(logs) - 2.0 * rate) / count)))


def water_level_for_error(eigenvalues, error: float, latent_dim: int) -> float:
    """Returns the water level at which a linear VAE's squared error is ``error``: the inverse of ``.distortion``.

    The error is the least, over the number q of active latents, of q s + (sum of the other eigenvalues); each rises
    with s, so the level is the largest of their roots.

    Args:
      eigenvalues: of the data's covariance, in any order.
      error: the expected squared error, summed over dimensions.
      latent_dim: M.

    Returns:
      s = beta sigma^2; lambda_1 where the error is the trace, 0.0 where it is all that M latents must leave.

    Raises:
      ValueError: for an error below what M latents leave at any weight, or above the trace, which is the most that
        any weight makes.
    """
    values = _spectrum(eigenvalues)
    if latent_dim < 1:
        raise ValueError(f"latent_dim must be >= 1, not {latent_dim}")
    most = min(latent_dim, values.size)
    tail = left_over(values)[: most + 1]
    slack = 1e-12 * tail[0]  # a sum in another order
    if not error >= tail[-1] - slack:
        raise ValueError(
            f"an expected squared error of {error:.6g} cannot be reached: {latent_dim} latents leave {tail[-1]:.6g} "
            "of a linear model's error at any weight"
        )
    if error > tail[0] + slack:
        raise ValueError(
            f"an expected squared error of {error:.6g} cannot be reached: with no information at all, at any weight "
            f"above the largest eigenvalue, it is {tail[0]:.6g}"
        )
    return float(max(np.max((error - tail[1:]) / np.arange(1, most + 1)), 0.0))


def beta_at(water_level: float, eigenvalues, latent_dim: int, sigma2: float | None) -> float:
    """Returns the weight beta that puts the water at ``water_level``.

    Args:
      water_level: s, >= 0.
      eigenvalues: of the data's covariance, in any order.
      latent_dim: M.
      sigma2: the decoder's variance; None where it is learned, as then it is SSE(s) / D.

    Raises:
      ValueError: for a negative level, a variance that is not positive, or, where it is learned, a level that leaves
        no error: sigma is 0 there, at every weight below D / M.
    """
    values = _spectrum(eigenvalues)
    if not (math.isfinite(water_level) and water_level >= 0) or latent_dim < 1:
        raise ValueError(f"water_level must be >= 0 and latent_dim >= 1, not {water_level} and {latent_dim}")
    if sigma2 is None:
        sigma2 = float(np.sum(np.minimum(values[:latent_dim], water_level)) + np.sum(values[latent_dim:])) / values.size
    if not (math.isfinite(sigma2) and sigma2 > 0):
        raise ValueError(f"no beta belongs to a decoder variance of {sigma2}")
    return water_level / sigma2
