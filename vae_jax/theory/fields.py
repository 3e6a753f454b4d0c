"""Images as fields: what a code of patches can keep of them at a rate, and what any code of a Gaussian field could.

A spatial autoencoder with a stride of p and c channels has c numbers for each patch of p x p pixels. If it is linear
and sees each patch by itself, reverse water-filling over the patch's eigenvalues says how good it can be. Patches that
are coded together can do better: of a stationary Gaussian field the eigenvectors are waves, the eigenvalues its power
spectrum, and water-filling over frequencies is its rate-distortion function (Kolmogorov 1956; Berger 1971, section
4.5), which no code of any kind beats. Images are no Gaussian field of that spectrum, and have more structure: the same
number is then what a code reaches that knows the spectrum and nothing else.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from vae_jax.linear_vae import left_over, predict, water_level_for_rate

PRODUCTS = 2e10  # multiplications for the covariance of patches: a second on two cores


class Kept(NamedTuple):
    """The least error of one kind of code at a rate.

    Attributes:
      code: what kind.
      mse: mean squared error of a value, in [0, 1] pixel units.
      psnr: the same in decibels; None where there is no error.
    """

    code: str
    mse: float
    psnr: float | None


def kept(code: str, mse: float) -> Kept:
    """Returns ``Kept`` of a mean squared error."""
    return Kept(code, float(mse), -10.0 * math.log10(mse) if mse > 0 else None)


def least_error(eigenvalues, rate: float, latent_dim: int | None = None) -> float:
    """Returns the mean squared error of a dimension, at best, at ``rate`` nats for all D of them and M numbers."""
    most = len(eigenvalues) if latent_dim is None else latent_dim
    level = water_level_for_rate(eigenvalues, rate, most)
    return predict(eigenvalues, 1.0, level, most).distortion / len(eigenvalues)


def patch_eigenvalues(images, patch: int, most: int | None = None) -> np.ndarray:
    """Returns the eigenvalues of the covariance of patches of images, ``[patch * patch * c]``, descending.

    Args:
      images: ``[n, h, w, c]``, values in [0, 1].
      patch: the side of a patch, at most h and w. Each image gives as many as fit beside each other, at a place drawn
        for it.
      most: how many patches at most; by default so many that it takes a second.

    Raises:
      ValueError: for a patch that does not fit, or fewer than two.
    """
    n, height, width, channels = images.shape
    rows, columns = height // patch if patch > 0 else 0, width // patch if patch > 0 else 0
    if rows < 1 or columns < 1:
        raise ValueError(f"a patch of {patch} x {patch} does not fit into images of {height} x {width}")
    dim = patch * patch * channels
    enough = -(-(most or int(max(PRODUCTS / dim**2, 4 * dim))) // (rows * columns))
    draw = np.random.RandomState(0)  # its stream is frozen for good
    chosen = np.arange(n) if n <= enough else np.sort(draw.permutation(n)[:enough])
    if len(chosen) * rows * columns < 2:
        raise ValueError("a covariance takes at least two patches")
    total, products = np.zeros(dim), np.zeros((dim, dim))
    shift = np.asarray(images[chosen[:1]], np.float64).mean()
    for start in range(0, len(chosen), 256):
        some = np.asarray(images[chosen[start : start + 256]], np.float32) - np.float32(shift)
        top, left = draw.randint(height - rows * patch + 1), draw.randint(width - columns * patch + 1)
        some = some[:, top : top + rows * patch, left : left + columns * patch]
        some = some.reshape(-1, rows, patch, columns, patch, channels).transpose(0, 1, 3, 2, 4, 5).reshape(-1, dim)
        total += some.sum(axis=0, dtype=np.float64)
        products += (some.T @ some).astype(np.float64)
    count = len(chosen) * rows * columns
    mean = total / count
    return np.maximum(np.linalg.eigvalsh(products / count - np.outer(mean, mean))[::-1], 0.0)


def power_spectrum(images, periodic: bool = False) -> np.ndarray:
    """Returns the power of images at each frequency, ``[h * w * c]``, descending: its mean is the variance of a value.

    Of colours it is the eigenvalues of their covariance at each frequency.

    Args:
      images: ``[n, h, w, c]``.
      periodic: whether they go on at the opposite edge; else they fade out towards their edges (a Hann window), or
        the jump between these would be power that no image has.
    """
    x = np.asarray(images, np.float32)
    n, height, width, channels = x.shape
    x = x - x.mean(axis=(0, 1, 2))
    variance = float(np.mean(np.square(x), dtype=np.float64))
    if not periodic:
        window = np.outer(*(np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 for side in (height, width)))
        x = x * window.astype(np.float32)[:, :, None]
    power = np.zeros((height, width, channels, channels), np.complex128)
    for start in range(0, n, 256):
        waves = np.fft.fft2(x[start : start + 256], axes=(1, 2), norm="ortho")
        power += np.einsum("nhwc,nhwd->hwcd", waves, waves.conj())
    values = np.sort(np.maximum(np.linalg.eigvalsh(power / n), 0.0).ravel())[::-1]
    # A window sees the middle of the images, which may vary more than their edges.
    return values if periodic or not values[0] > 0 else values * (variance / values.mean())


def limits(images, patch: int, channels: int, rate: float | None = None) -> dict[str, Any]:
    """Says what codes of these images can keep at best, ready for a JSON file.

    Args:
      images: ``[n, h, w, c]``, values in [0, 1].
      patch: the stride of a spatial autoencoder: it has one place of its code for a patch of so many pixels squared.
      channels: the numbers at that place.
      rate: nats for a patch; None for that of a linear model with a learned sigma and beta = 1.

    Returns:
      ``patch``, ``channels``, ``rate`` (nats for a patch), ``bits_per_pixel``, ``sigma`` (of that linear model, None
      where a rate was given) and ``codes``, a list of ``Kept`` as dicts.

    Raises:
      ValueError: for a patch that does not fit, channels that hold all of a patch without a rate, or images that do
        not vary.
    """
    values = patch_eigenvalues(images, patch)
    dim, height, width = len(values), *images.shape[1:3]
    sigma = None
    if values[0] == 0.0:
        raise ValueError("all patches are equal, so there is nothing to encode")
    if rate is None:
        model = predict(values, 1.0, None, channels)
        if not model.sigma2 > 1e-8 * values[0]:  # products of float32 leave so much of nothing
            raise ValueError(f"{channels} channels hold all that patches of {patch} x {patch} vary in: give a rate")
        rate, sigma = model.rate, math.sqrt(model.sigma2)
    spectrum = power_spectrum(images)
    # A field has as many nats as patches would fit into it, whole or not.
    of_field = least_error(spectrum, rate * height * width / patch**2)
    codes = [
        kept(f"each patch by {channels} numbers, at any rate", left_over(values)[min(channels, dim)] / dim),
        kept(f"each patch by {channels} numbers", least_error(values, rate, channels)),
        kept("each patch by any numbers", least_error(values, rate)),
        kept("patches together, as a stationary Gaussian field", of_field),
    ]
    return {
        "patch": patch,
        "channels": channels,
        "rate": float(rate),
        "bits_per_pixel": rate / (patch**2 * math.log(2)),
        "sigma": sigma,
        "codes": [code._asdict() for code in codes],
    }
