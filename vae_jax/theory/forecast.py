"""What a weight, or a target for the weight, means for a given run before it is trained: the linear theory, in nats.

The linear VAE's optimum (``linear_vae.py``) stands for the network that is going to be trained. That is exact for one
linear layer on either side, and for deep ones a guide: they reach a lower error at the same rate, never a higher one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vae_jax.conventions import beta_norm
from vae_jax.linear_vae import Prediction, beta_at, predict, water_level_for_error, water_level_for_rate


class Forecast(NamedTuple):
    """All that the linear theory needs to know of a Gaussian run.

    Attributes:
      eigenvalues: ``[D]``, of the data's covariance, the largest first.
      latent_dim: M.
      sigma2: the decoder's variance where it is fixed, None where it is learned or solved for.
      least: the variance below which one that is not fixed does not fall.
    """

    eigenvalues: np.ndarray
    latent_dim: int
    sigma2: float | None
    least: float = 0.0


def at_beta(forecast: Forecast, beta: float) -> Prediction:
    """Returns the optimum of a linear model at this weight."""
    values, latent_dim, sigma2, least = forecast
    free = predict(values, beta, sigma2, latent_dim)
    return predict(values, beta, least, latent_dim) if sigma2 is None and free.sigma2 < least else free


def distortion_at(forecast: Forecast, beta: float) -> float:
    """Returns -E_q log p(x|z) of that optimum, nats per example."""
    p, dim = at_beta(forecast, beta), len(forecast.eigenvalues)
    if p.sigma2 == 0.0:
        return -math.inf
    return 0.5 * dim * math.log(2 * math.pi * p.sigma2) + p.distortion / (2 * p.sigma2)


def beta_for_rate(forecast: Forecast, rate: float) -> float:
    """Returns the weight at which a linear model's rate is ``rate`` nats.

    Raises:
      ValueError: for a rate that no weight gives.
    """
    values, latent_dim, sigma2, _ = forecast
    return beta_at(water_level_for_rate(values, rate, latent_dim), values, latent_dim, sigma2)


def beta_for_distortion(forecast: Forecast, distortion: float) -> float:
    """Returns the weight at which a linear model's distortion is ``distortion`` nats.

    Raises:
      ValueError: for a distortion that no weight gives.
    """
    values, latent_dim, sigma2, _ = forecast
    dim = len(values)
    # Both invert distortion = D/2 log(2 pi v) + error / (2 v). A learned variance is calibrated, v = error / D.
    if sigma2 is None:
        # exp overflows above 355 nats a dimension; more error than any data have is enough to be told so.
        error = dim * math.exp(min(2.0 * distortion / dim - 1.0, 700.0)) / (2 * math.pi)
    else:
        error = 2.0 * sigma2 * (distortion - 0.5 * dim * math.log(2 * math.pi * sigma2))
    return beta_at(water_level_for_error(values, error, latent_dim), values, latent_dim, sigma2)


def slopes(forecast: Forecast, beta: float) -> tuple[float, float]:
    """Returns -d rate / d log beta and d distortion / d log beta, nats, at the optimum's sigma: gains are made of them.

    A sigma that is learned moves with beta as well. In a linear model that makes the slopes three to five times
    steeper, in deep ones it hardly does (BUILD_NOTES.md): gains made of the steeper ones were too small.
    """
    low, high = beta / 1.1, beta * 1.1
    forecast = forecast._replace(sigma2=at_beta(forecast, beta).sigma2)
    width = math.log(high / low)
    rate = (at_beta(forecast, low).rate - at_beta(forecast, high).rate) / width
    return rate, (distortion_at(forecast, high) - distortion_at(forecast, low)) / width


def headline(
    eigenvalues,
    latent_dim: int,
    weight: str,
    beta: float | None,
    likelihood: str,
    precision: str | None = None,
    sigma: float | None = None,
    min_sigma: float = 0.0,
) -> str:
    """Returns one line that says what is really being weighed.

    Args:
      eigenvalues: of the data's covariance, all D of them.
      latent_dim: M.
      weight: what is done with the weight, in words.
      beta: the final KL weight, or the one that is expected of a controller; None where none is.
      likelihood: the family's name.
      precision: the Gaussian's, None for another family.
      sigma: its fixed or initial standard deviation, in the units of x.
      min_sigma: the lower bound of one that is not fixed.
    """
    dim = len(eigenvalues)
    line = f"D = {dim}, M = {latent_dim}: {weight}"
    if beta is not None:
        line += f" (beta_norm = {beta_norm(beta, dim, latent_dim):.3g})"
    largest = f"the data's largest eigenvalue is {float(eigenvalues[0]):.2g}"
    if precision is None:
        return f"{line} on the {likelihood} likelihood, every constant kept, no sigma to weigh; {largest}"
    line += {
        "fixed": f", sigma fixed at {sigma:.3g}",
        "learned": f", sigma learned from {sigma:.3g}",
        "per_dimension": f", sigma learned per dimension from {sigma:.3g}",
        "predicted": f", sigma predicted by the decoder from {sigma:.3g}",
        "optimal": f", sigma solved for in every batch, from {sigma:.3g}",
    }[precision]
    if beta is None:
        return f"{line}; {largest}"
    fixed = precision == "fixed"
    prediction = at_beta(Forecast(eigenvalues, latent_dim, sigma**2 if fixed else None, min_sigma**2), beta)
    above = int((eigenvalues > prediction.water_level).sum())
    expected = f"so about {prediction.active} of the {latent_dim} latents would stay active in a linear model"
    if fixed:
        expected += f" ({above} directions of the data lie above the water)"
    else:
        held = prediction.sigma2 <= min_sigma**2
        expected += f", whose sigma would {'stop at its lower bound' if held else 'settle at'}"
        expected += f" {prediction.sigma2**0.5:.3g}"
    return f"{line}, water level s = beta sigma^2 = {beta * sigma**2:.2g}; {largest}, {expected}"
