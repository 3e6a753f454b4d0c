"""How near E[x|z] is to x for an eye: PSNR and SSIM, both of pixels on [0, 1].

Both are of the mean of p(x|z) as it is, not clipped to [0, 1], at one draw of z from q(z|x): the z whose squared error
``bounds.py`` reports. Both are means of numbers per image: by Jensen's inequality the mean PSNR is at least
-10 log10 of the mean squared error, and not equal to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation.batches import Evaluator, gather, in_batches
from vae_jax.gaussian import at_least_float32
from vae_jax.objective import infer
from vae_jax.types import Array, Event, value_of

WINDOW, SPREAD = 11, 1.5  # of the Gaussian window, in pixels (Wang 2004, IEEE TIP 13, section III.C)
C1, C2 = 0.01**2, 0.03**2  # (K L)^2 with K1 = 0.01, K2 = 0.03 and L = 1, the range of the pixels


class Fidelity(NamedTuple):
    """Per-image numbers, ``[n]``: ``psnr`` in dB, ``ssim`` at most 1 (None where an example is no image)."""

    psnr: Any
    ssim: Any


def psnr(x: Array, y: Array) -> Array:
    """Returns -10 log10 of one image's mean squared error, dB; pixels on [0, 1], infinite where the two are equal."""
    return -10.0 * jnp.log10(jnp.mean(jnp.square(at_least_float32(x) - at_least_float32(y))))


def window_size(event: Event) -> int:
    """Returns the side of the SSIM window for images ``[h, w, c]``: 11, or the largest odd number that fits."""
    side = min(event[0], event[1], WINDOW)
    return side if side % 2 else side - 1


def ssim(x: Array, y: Array) -> Array:
    """Returns the structural similarity of two images ``[h, w, c]``, pixels on [0, 1] (Wang 2004, IEEE TIP 13, eq. 13).

    A Gaussian window of standard deviation 1.5 pixels and side ``window_size``, its weights summing to 1, only where
    it lies inside the image; K1 = 0.01, K2 = 0.03; weighted variances without Bessel's correction. The mean over
    places and channels: 1 for equal images. In float32 it is within 1e-4 of its value in float64.

    Images below 11 pixels get a smaller window: their numbers compare only with others of the same size.
    """
    x, y = at_least_float32(x), at_least_float32(y)
    side = window_size(x.shape)
    rows, columns = (_windows(length, side, x.dtype) for length in x.shape[:2])

    def blur(image):
        return jnp.einsum("ih,hwc,jw->ijc", rows, image, columns, precision=jax.lax.Precision.HIGHEST)

    mean_x, mean_y = blur(x), blur(y)
    # A difference of rounded numbers, which on a flat patch may come out below 0.
    variance_x = jnp.maximum(blur(x * x) - mean_x * mean_x, 0.0)
    variance_y = jnp.maximum(blur(y * y) - mean_y * mean_y, 0.0)
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2.0 * mean_x * mean_y + C1) / (mean_x * mean_x + mean_y * mean_y + C1)
    return jnp.mean(luminance * (2.0 * covariance + C2) / (variance_x + variance_y + C2))


def _windows(length: int, side: int, dtype) -> Array:
    """Returns the window at every place where it fits, as rows of a matrix ``[length - side + 1, length]``."""
    offset = np.arange(side) - (side - 1) / 2
    weight = np.exp(-0.5 * np.square(offset / SPREAD))
    matrix = np.zeros((length - side + 1, length))
    for i in range(len(matrix)):
        matrix[i, i : i + side] = weight / weight.sum()
    return jnp.asarray(matrix, dtype)


def make_fidelity(evaluator: Evaluator) -> Callable[..., Fidelity]:
    """Makes ``(params, data[n, *event], key, limit=None) -> Fidelity`` of numpy arrays, for pixels on [0, 1]."""

    def measure(params, x, key):
        theta = infer(evaluator.vae, params, x, jax.random.fold_in(key, 0))[2][0]
        mean = evaluator.likelihood.mean(params["likelihood"], at_least_float32(theta))
        x = value_of(x)
        return Fidelity(psnr(x, mean), ssim(x, mean) if x.ndim == 3 else None)

    parts = in_batches(evaluator, measure)
    return lambda params, data, key, limit=None: gather(parts(params, data, key, limit))


def summarise_fidelity(values: Fidelity, event: Event) -> dict[str, Any]:
    """Returns ``psnr`` (dB) and ``ssim``, means of the images' numbers, and ``ssim_window`` (pixels); plain numbers.

    The last two are None where an example is no image.
    """
    return {
        "psnr": float(np.mean(np.asarray(values.psnr, np.float64))),
        "ssim": None if values.ssim is None else float(np.mean(np.asarray(values.ssim, np.float64))),
        "ssim_window": None if values.ssim is None else window_size(event),
    }
