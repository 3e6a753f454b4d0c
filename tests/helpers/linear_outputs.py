"""The outputs of a linear VAE at its optimum, in closed form: what an audit must read off them is known exactly."""

from __future__ import annotations

import numpy as np


def outputs(s: float = 0.02, n: int = 2000, draws: int = 2, seed: int = 0, latents: int = 5, dim: int = 12):
    """Returns the arrays of an audit of a linear VAE at the water level ``s``.

    x = c + U sqrt(lambda) eta in [0, 1] units, whitened so that its sample covariance is exactly U diag(lambda) U';
    latent i has the decoder ``U_i sqrt(lambda_i - s)``, the variance s / lambda_i and the mean
    ``sqrt(lambda_i - s) / lambda_i U_i' (x - c)`` (Tipping and Bishop 1999; Lucas 2019, 1911.02469).
    """
    generator = np.random.default_rng(seed)
    eigenvalues = 0.3 * 0.7 ** np.arange(dim)
    basis = np.linalg.qr(generator.standard_normal((dim, dim)))[0]
    white = generator.standard_normal((n, dim))
    white -= white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(white.T @ white / n)).T
    score, top = white * np.sqrt(eigenvalues), np.maximum(eigenvalues[:latents], s)
    weight = basis[:, :latents] * np.sqrt(top - s)
    mean = score[:, :latents] * np.sqrt(top - s) / top
    variance = np.broadcast_to(s / top, mean.shape)
    z = mean + np.sqrt(variance) * generator.standard_normal((draws, *mean.shape))
    x = 0.5 + score @ basis.T
    arrays = {"x": x, "x_mean": 0.5 + mean @ weight.T, "x_sample": 0.5 + z @ weight.T}
    arrays |= {"mean": mean, "logvar": np.log(variance), "z": z}
    return arrays, eigenvalues
