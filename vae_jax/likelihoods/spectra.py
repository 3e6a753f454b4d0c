"""Log-magnitude spectra of a signal, as features: a squared or absolute error of them is a Gaussian or a Laplace."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np


def log_spectrum(window: int, hop: int, floor: float = 1e-5, filters=None) -> Callable:
    """Makes ``signal [t] -> [frames, bins]``, for ``on_features``: the short-time Fourier transform's log magnitudes.

    Frames of ``window`` values, ``hop`` apart, none padded, times a periodic Hann window; log sqrt(|S|^2 + floor^2),
    which has a slope where the signal is silent. Several resolutions are a ``product``.

    Args:
      window, hop: in samples.
      floor: the least magnitude that counts.
      filters: ``[bands, window // 2 + 1]`` that sum magnitudes before the logarithm, such as ``mel_filters``.
    """
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(window) / window)

    def features(signal):
        flat = jnp.reshape(signal, -1)
        if flat.size < window:
            raise ValueError(f"a signal of {flat.size} values has no frame of {window}")
        starts = np.arange(0, flat.size - window + 1, hop)
        frames = flat[starts[:, None] + np.arange(window)]
        spectrum = jnp.fft.rfft(frames * hann.astype(flat.dtype), axis=-1)
        power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
        if filters is None:
            return 0.5 * jnp.log(power + floor**2)
        # The root of a power that is 0 has no slope: floor^2 is inside of it too.
        return jnp.log(jnp.sqrt(power + floor**2) @ jnp.asarray(filters, power.dtype).T + floor)

    return features


def mel_filters(bands: int, window: int, rate: float, low: float = 0.0, high: float | None = None) -> np.ndarray:
    """Returns triangles ``[bands, window // 2 + 1]`` of height 1, evenly spaced in mel = 2595 log10(1 + f / 700).

    Args:
      bands: how many.
      window: of the transform, in samples.
      rate: samples a second.
      low, high: the range in Hz (default: to half the rate).
    """
    ends = 2595.0 * np.log10(1.0 + np.array([low, high or rate / 2]) / 700.0)
    corners = 700.0 * (10.0 ** (np.linspace(*ends, bands + 2) / 2595.0) - 1.0)
    frequencies = np.arange(window // 2 + 1) * rate / window
    up = (frequencies - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    down = (corners[2:, None] - frequencies) / (corners[2:] - corners[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(up, down))
