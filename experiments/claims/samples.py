"""What few examples and whole fields are worth to a linear VAE: predictions from a spectrum, against the models."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from vae_jax.theory import fields, finite_data

from .ledger import Measured, Settings, claim_of

SPIKED = np.append([40.0, 20.0, 10.0, 5.0, 3.0, 2.0], np.ones(94))
EXAMPLES = (50, 100, 200, 400, 1600)


def spiked_held_out(settings: Settings, foretold: Callable = finite_data.outlook) -> Measured:
    """The ELBO of a linear VAE on new data follows from the eigenvalues of its training examples, from 50 to 1,600.

    100 dimensions, six of them with more variance than the noise; 10 latents, beta = 1, sigma learned: the optimum is
    probabilistic PCA, fitted here to n draws and scored exactly on the covariance that they were drawn from. Expected:
    the largest relative difference from the prediction over five n is 0. A second.

    Source: Ledoit and Peche 2011, 0911.3010; Tipping and Bishop 1999; Lucas 2019, 1911.02469
    Tolerance: 2%; the trace of 50 draws is itself known to 2%
    """
    dim, latents, found = len(SPIKED), 10, []
    for n in EXAMPLES:
        x = np.random.default_rng(0).normal(size=(n, dim)) * np.sqrt(SPIKED)
        values, vectors = (part[..., ::-1] for part in np.linalg.eigh(np.cov(x.T, ddof=0)))
        model = np.where(np.arange(dim) < latents, values, values[latents:].mean())
        new = np.einsum("ji,j,ji->i", vectors, SPIKED, vectors) + (vectors.T @ x.mean(axis=0)) ** 2
        held_out = -0.5 * (dim * math.log(2 * math.pi) + np.sum(np.log(model) + new / model))
        found.append((n, held_out, foretold(values, n, latents).held_out))
    detail = "; ".join(f"n = {n}: {held_out:.2f} and {said:.2f}" for n, held_out, said in found)
    return Measured(float(max(abs(said / held_out - 1) for _, held_out, said in found)), detail=detail)


def patches_are_waves(settings: Settings, spectrum_of: Callable = fields.power_spectrum) -> Measured:
    """A patch that is all of a periodic Gaussian field has the bound of the field's power spectrum.

    60,000 draws of a field of 8 x 8 whose spectrum is known; error at 40 nats by water-filling over the frequencies of
    the draws, over the eigenvalues of their covariance, and over the true spectrum. Expected: the largest relative
    difference is 0. A second.

    Source: Berger 1971, section 4.5 (reverse water-filling over frequencies)
    Tolerance: 64 eigenvalues of 60,000 draws are 0.05% off in their logarithms, on average
    """
    f = np.abs(np.fft.fftfreq(8) * 8)
    power = 0.05 / (1.0 + f[:, None] ** 2 + 0.5 * f**2 + 0.3 * np.outer(f, f)) ** 1.5
    waves = np.fft.fft2(np.random.default_rng(0).normal(size=(60_000, 8, 8))) * np.sqrt(power)
    images = (0.5 + np.fft.ifft2(waves).real)[..., None]
    exact = fields.least_error(power.ravel(), 40.0)
    spectra = fields.patch_eigenvalues(images, 8, len(images)), spectrum_of(images[:20_000], periodic=True)
    errors = [fields.least_error(values, 40.0) / exact - 1 for values in spectra]
    return Measured(float(max(map(abs, errors))), detail=f"patches {errors[0]:+.1e}, frequencies {errors[1]:+.1e}")


CLAIMS = [
    claim_of(spiked_held_out, "exact", 0.0, tolerance=0.02, seconds=1.0),
    claim_of(patches_are_waves, "exact", 0.0, tolerance=1e-3, seconds=1.0),
]
