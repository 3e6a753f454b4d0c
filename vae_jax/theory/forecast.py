"""What a weight, or a target for the weight, means for a given run before it is trained: the linear theory, in nats."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vae_jax.conventions import beta_norm
from vae_jax.linear_vae import Prediction, beta_at, predict, water_level_for_error, water_level_for_rate


class Outlook(NamedTuple):
    """All that the linear theory asks of a Gaussian run.

    Attributes:
      eigenvalues: ``[D]``, of the data's covariance.
      latent_dim: M.
      sigma2: the decoder's variance where it is fixed, None where it is learned or solved for.
    """

    eigenvalues: np.ndarray
    latent_dim: int
    sigma2: float | None


def at_beta(o: Outlook, beta: float) -> Prediction:
    """The optimum of a linear model at this weight."""
    return predict(o.eigenvalues, beta, o.sigma2, o.latent_dim)


def distortion_at(o: Outlook, beta: float) -> float:
    """-E_q log p(x|z) of that optimum, nats per example."""
    p, dim = at_beta(o, beta), len(o.eigenvalues)
    if p.sigma2 == 0.0:
        return -math.inf
    return 0.5 * dim * math.log(2 * math.pi * p.sigma2) + p.distortion / (2 * p.sigma2)


def beta_for_rate(o: Outlook, rate: float) -> float:
    """The weight at which a linear model's rate is ``rate`` nats.

    Raises:
      ValueError: for a rate that no weight gives.
    """
    return beta_at(water_level_for_rate(o.eigenvalues, rate, o.latent_dim), o.eigenvalues, o.latent_dim, o.sigma2)


def beta_for_distortion(o: Outlook, distortion: float) -> float:
    """The weight at which a linear model's distortion is ``distortion`` nats.

    Raises:
      ValueError: for a distortion that no weight gives.
    """
    dim = len(o.eigenvalues)
    if o.sigma2 is None:  # calibrated: the distortion is D/2 (1 + log 2 pi v) and the squared error D v
        error = dim * math.exp(2.0 * distortion / dim - 1.0) / (2 * math.pi)
    else:
        error = 2.0 * o.sigma2 * (distortion - 0.5 * dim * math.log(2 * math.pi * o.sigma2))
    return beta_at(water_level_for_error(o.eigenvalues, error, o.latent_dim), o.eigenvalues, o.latent_dim, o.sigma2)


def slopes(o: Outlook, beta: float) -> tuple[float, float]:
    """-d rate / d log beta and d distortion / d log beta, nats, at the optimum's sigma: what gains are made of.

    A sigma that is learned moves with beta as well. In a linear model that makes the slopes three to five times
    steeper, in deep ones it hardly does (BUILD_NOTES.md): gains made of the steeper ones were too small.
    """
    low, high = beta / 1.1, beta * 1.1
    o = o._replace(sigma2=at_beta(o, beta).sigma2)
    width = math.log(high / low)
    rate = (at_beta(o, low).rate - at_beta(o, high).rate) / width
    return rate, (distortion_at(o, high) - distortion_at(o, low)) / width


def headline(
    eigenvalues,
    latent_dim: int,
    weight: str,
    beta: float | None,
    likelihood: str,
    precision: str | None = None,
    sigma: float | None = None,
) -> str:
    """What is really being weighed, in one line.

    Args:
      eigenvalues: of the data's covariance, all D of them.
      latent_dim: M.
      weight: what is done with the weight, in words.
      beta: the final KL weight, or the one that is expected of a controller; None where none is.
      likelihood: the family's name.
      precision: the Gaussian's, None for another family.
      sigma: its fixed or initial standard deviation, in the units of x.
    """
    dim = len(eigenvalues)
    said = f"D = {dim}, M = {latent_dim}: {weight}"
    if beta is not None:
        said += f" (beta_norm = {beta_norm(beta, dim, latent_dim):.3g})"
    largest = f"the data's largest eigenvalue is {float(eigenvalues[0]):.2g}"
    if precision is None:
        return f"{said} on the {likelihood} likelihood, every constant kept, no sigma to weigh; {largest}"
    said += {
        "fixed": f", sigma fixed at {sigma:.3g}",
        "learned": f", sigma learned from {sigma:.3g}",
        "per_dimension": f", sigma learned per dimension from {sigma:.3g}",
        "predicted": f", sigma predicted by the decoder from {sigma:.3g}",
        "optimal": f", sigma solved for in every batch, from {sigma:.3g}",
    }[precision]
    if beta is None:
        return f"{said}; {largest}"
    prediction = at_beta(Outlook(eigenvalues, latent_dim, sigma**2 if precision == "fixed" else None), beta)
    above = int((eigenvalues > prediction.water_level).sum())
    active = f"so about {prediction.active} of the {latent_dim} latents would stay active in a linear model"
    if precision == "fixed":
        outlook = f"{active} ({above} directions of the data lie above the water)"
    else:
        outlook = f"{active}, whose sigma would settle at {prediction.sigma2**0.5:.3g}"
    return f"{said}, water level s = beta sigma^2 = {beta * sigma**2:.2g}; {largest}, {outlook}"
