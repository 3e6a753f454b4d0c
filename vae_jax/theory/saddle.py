"""The collapsed saddle of a linear VAE: how fast each direction leaves it, from which size, and how fast it arrives.

At w = v = 0 and tau = 1 the gradient flow of a direction with eigenvalue lambda is linear,

    d(w, v)/dt = [[-tau / sigma^2, lambda / sigma^2], [lambda / sigma^2, -beta lambda]] (w, v)

whose determinant is negative, so that the direction grows, if and only if lambda > beta sigma^2 (at tau = 1).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Start(NamedTuple):
    """The matrices before the first update, or only the size of each mode, in the order of the eigenvalues.

    Attributes:
      decoder, encoder: the matrices W ``[D, M]`` and V ``[M, D]``; or ``[k]``, the weights w and v of each mode.
      logvar: log tau of all latents.
      eigenvectors: ``[D, D]`` of the data's covariance, a column each, for matrices; None where the data's axes are it.
    """

    decoder: np.ndarray
    encoder: np.ndarray
    logvar: float = 0.0
    eigenvectors: np.ndarray | None = None


def growth_rate(eigenvalues, beta, sigma2, tau=1.0) -> np.ndarray:
    """Returns how fast each direction leaves the collapsed saddle: the larger eigenvalue of the matrix above.

    The amplitude is multiplied by exp(growth * learning rate) in a step of gradient descent. At beta = 0, as below a
    floor of free bits or a KL threshold, every direction with lambda > 0 grows.

    Args:
      eigenvalues: ``[...]``, of the data's covariance; all arguments broadcast.
      beta: the weight that is charged.
      sigma2: the decoder's variance.
      tau: the posterior's variance.

    Returns:
      The rate, one over (learning rate times step): positive if and only if lambda > tau beta sigma2.
    """
    values = np.asarray(eigenvalues, np.float64)
    decoder, encoder = tau / np.asarray(sigma2, np.float64), beta * values
    return np.hypot(0.5 * (decoder - encoder), values / sigma2) - 0.5 * (decoder + encoder)


def settling_rate(eigenvalues, beta: float, sigma2: float) -> np.ndarray:
    """Returns how fast each direction approaches its optimum in the end: the least eigenvalue of the Hessian there.

    The optimum has w^2 = lambda - s, v = w / lambda, tau = s / lambda, s = beta sigma2; the Hessian is that of (w, v,
    log tau).

    Returns:
      ``[k]``, one over (learning rate times step); nan where lambda <= s, and the direction stays asleep.
    """
    values = np.asarray(eigenvalues, np.float64).reshape(-1)
    s = beta * sigma2
    w = np.sqrt(np.maximum(values - s, 0.0))
    v, tau = w / values, s / values
    hessian = np.zeros((values.size, 3, 3))
    hessian[:, 0, 0] = (values * v * v + tau) / sigma2
    hessian[:, 0, 1] = hessian[:, 1, 0] = (2.0 * values * w * v - values) / sigma2
    hessian[:, 1, 1] = values * w * w / sigma2 + beta * values
    hessian[:, 0, 2] = hessian[:, 2, 0] = w * tau / sigma2
    hessian[:, 2, 2] = 0.5 * tau * (w * w / sigma2 + beta)
    return np.where(values > s, np.linalg.eigvalsh(hessian)[:, 0], np.nan)


def expected_start(
    eigenvalues,
    latent_dim: int,
    beta: float,
    sigma2: float,
    decoder_std: float | None = None,
    encoder_std: float | None = None,
) -> Start:
    """Returns the sizes that random matrices start the modes with, about: the i-th has M - i latents left.

    A mode is a vector of M numbers in W and one in V. What grows of it points somewhere among the latents; modes that
    wake first take their directions, and from then on it is only outside of these that the next can grow. So the sizes
    are the mean lengths of the growing vectors' parts outside of all earlier ones (Gram and Schmidt).

    Args:
      eigenvalues: ``[D]``, of the data's covariance, the largest first.
      latent_dim: M.
      beta, sigma2: at the start.
      decoder_std, encoder_std: of the entries; None for M^(-1/2) and D^(-1/2), a dense layer's (LeCun 1998).
    """
    values = np.asarray(eigenvalues, np.float64).reshape(-1)
    decoder_std = 1.0 / math.sqrt(latent_dim) if decoder_std is None else decoder_std
    encoder_std = 1.0 / math.sqrt(values.size) if encoder_std is None else encoder_std
    k = min(values.size, latent_dim)
    p, q = _growing(values[:k], beta, sigma2)
    # The mean length of a vector of n standard normal numbers.
    left = latent_dim - np.arange(k)
    length = np.array([math.sqrt(2.0) * math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2)) for n in left])
    std = np.sqrt((p * decoder_std) ** 2 + (q * encoder_std) ** 2)
    return Start(length * p * decoder_std**2 / std, length * q * encoder_std**2 / std)


def _growing(values: np.ndarray, beta: float, sigma2: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the direction (w, v) of unit length that grows, or decays slowest, for each eigenvalue."""
    # The matrix is symmetric, so this is what a state is projected on as well.
    p, q = values / sigma2, growth_rate(values, beta, sigma2) + 1.0 / sigma2
    size = np.hypot(p, q)
    return p / size, q / size
