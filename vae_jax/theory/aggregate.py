"""How far the aggregate code of a trained VAE is from N(0, I), and what its noise is worth."""

from __future__ import annotations

from typing import Any

import numpy as np

from vae_jax.theory.audit import CARRIES, Latents

DETERMINISTIC = 1e-3  # a posterior variance, as a share of the code's, that only fixes the scale
MOST = 512  # latents whose correlations are computed


def aggregate(latents: Latents) -> dict[str, Any]:
    """Describes q(z) = E q(z|x) by its first two moments.

    Args:
      latents: the posteriors of n examples, in units of the prior.

    Returns:
      ``mean``, ``variance`` of each latent or channel (draws, not means); ``scale_factor``, 1 over the standard
      deviation of all values (latent diffusion's scale, Rombach 2022, 2112.10752, appendix G); ``correlation``, the
      root mean square and ``largest_correlation`` of two different channels or latents; ``gaussian_kl``, KL of the
      Gaussian with these moments to N(0, I) for one position, nats, None of too few examples; ``noise_share``, the
      posterior variance as a share of the code's, median over what carries something; ``low_frequencies``, of a code
      on a grid see ``spatial``.
    """
    mean, variance = latents.mean, latents.variance
    centre, within = mean.mean((0, 1)), variance.mean((0, 1))
    total = mean.var((0, 1)) + within
    carries = latents.kl.mean((0, 1)) > CARRIES
    every = float(mean.var() + variance.mean())
    share = np.median((within / total)[carries]) if carries.any() else 1.0
    shown = np.flatnonzero(carries)[:MOST]
    flat = (mean - centre)[..., shown].reshape(-1, len(shown))
    covariance = flat.T @ flat / max(len(flat), 1) + np.diag(within[shown])
    spread = np.sqrt(np.diag(covariance))
    off = (covariance / np.outer(spread, spread))[~np.eye(len(shown), dtype=bool)]
    divergence = None
    if len(flat) > 5 * len(shown) and 0 < len(shown):
        trace, square = np.trace(covariance), np.sum(centre[shown] ** 2)
        divergence = float(0.5 * (trace + square - len(shown) - np.linalg.slogdet(covariance)[1]))
    return {
        "mean": centre,
        "variance": total,
        "scale_factor": 1.0 / np.sqrt(every),
        "correlation": float(np.sqrt(np.mean(off**2))) if off.size else 0.0,
        "largest_correlation": float(np.max(np.abs(off))) if off.size else 0.0,
        "gaussian_kl": divergence,
        "noise_share": float(share),
    }


def spatial(mean: np.ndarray) -> float:
    """Returns the share of a code's variance over space that is in the lower half of the frequencies of each axis.

    White noise, which N(0, I) is, has the share of the frequencies that there are, and gives 1 here: the share is
    divided by that of white noise.

    Args:
      mean: ``[n, h, w, c]``, h and w at least 4.
    """
    _, h, w, _ = mean.shape
    power = np.mean(np.abs(np.fft.fft2(mean - mean.mean((0, 1, 2)), axes=(1, 2))) ** 2, axis=(0, 3))
    low = (np.abs(np.fft.fftfreq(h))[:, None] < 0.25) & (np.abs(np.fft.fftfreq(w)) < 0.25)
    return float(power[low].sum() / power.sum() / low.mean())


def verdict(noise_share: float, error_share: float) -> str:
    """Tells what the KL of this model is: "budget" or "scale".

    Args:
      noise_share: the posterior variance as a share of the code's.
      error_share: what the noise of z adds to the squared error, as a share of it.
    """
    return "scale" if noise_share < DETERMINISTIC and error_share < 0.05 else "budget"
