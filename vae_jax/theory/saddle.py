"""The collapsed saddle of a linear VAE: how fast each direction leaves it, from which size, and how fast it arrives.

At w = v = 0 and tau = 1 the gradient flow of a direction with eigenvalue lambda is linear,

    d(w, v)/dt = [[-tau / sigma^2, lambda / sigma^2], [lambda / sigma^2, -beta lambda]] (w, v)

whose determinant is negative, so that the direction grows, if and only if lambda > beta sigma^2 (at tau = 1).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np


class Start(NamedTuple):
    """The size of each mode before the first update, in the order of the eigenvalues.

    Attributes:
      decoder, encoder: ``[k]``, the weights w and v of each mode.
      logvar: log tau of all latents.
      spread: ``[k]`` or a number, the share of each mode's square that is outside of the latent it has most of.
    """

    decoder: np.ndarray
    encoder: np.ndarray
    logvar: float = 0.0
    spread: np.ndarray | float = 0.0


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


def start_of(w, v, eigenvectors, eigenvalues, beta: float, sigma2: float) -> Start:
    """Returns the sizes that given matrices start the modes with.

    A mode is a vector of M numbers in W and one in V. What grows of it points somewhere among the latents; modes that
    wake first take their directions, and from then on it is only outside of these that the next can grow. So the sizes
    are those of the growing vectors' parts outside of all earlier ones (Gram and Schmidt).

    Args:
      w: ``[D, M]``, the decoder's matrix.
      v: ``[M, D]``, the encoder's.
      eigenvectors: ``[D, D]``, a column each, in the order of ``eigenvalues [D]``.
      beta, sigma2: at the start.
    """
    k = min(np.shape(w))
    values = np.asarray(eigenvalues, np.float64)[:k]
    basis = np.asarray(eigenvectors, np.float64)[:, :k]
    decoder, encoder = basis.T @ np.asarray(w, np.float64), (np.asarray(v, np.float64) @ basis).T  # [k, M]
    p, q = _growing(values, beta, sigma2)
    towards, sizes = np.linalg.qr((p[:, None] * decoder + q[:, None] * encoder).T)
    towards = towards * np.where(np.diag(sizes) < 0, -1.0, 1.0)
    spread, taken = np.empty(k), np.zeros(len(towards), bool)
    for i, square in enumerate(np.square(towards.T)):
        own = np.argmax(np.where(taken, -1.0, square))
        spread[i], taken[own] = 1.0 - square[own], True
    return Start(np.einsum("km,mk->k", decoder, towards), np.einsum("km,mk->k", encoder, towards), 0.0, spread)


def expected_start(
    eigenvalues,
    latent_dim: int,
    beta: float,
    sigma2: float,
    decoder_std: float | None = None,
    encoder_std: float | None = None,
) -> Start:
    """Returns the sizes that random matrices start the modes with, about: the i-th has M - i latents left.

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
    return Start(length * p * decoder_std**2 / std, length * q * encoder_std**2 / std, 0.0, _spread(latent_dim, k))


def _spread(latent_dim: int, k: int) -> np.ndarray:
    """Returns about how much of a random direction is outside of the largest coordinate that earlier ones have left."""
    left = latent_dim - np.arange(k)
    # The median of the largest of n squared normal numbers, of which the sum over all latents is about M.
    largest = [NormalDist().inv_cdf(0.5 + 0.5 * 0.5 ** (1.0 / n)) ** 2 for n in left]
    return 1.0 - np.minimum(np.array(largest) / latent_dim, 1.0)


def _growing(values: np.ndarray, beta: float, sigma2: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the direction (w, v) of unit length that grows, or decays slowest, for each eigenvalue."""
    # The matrix is symmetric, so this is what a state is projected on as well.
    p, q = values / sigma2, growth_rate(values, beta, sigma2) + 1.0 / sigma2
    size = np.hypot(p, q)
    return p / size, q / size
