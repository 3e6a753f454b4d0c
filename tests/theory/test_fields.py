"""The limits of codes of patches and of fields, against Gaussian fields whose spectrum is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vae_jax.linear_vae import predict
from vae_jax.theory.fields import kept, least_error, limits, patch_eigenvalues, power_spectrum

RHO, SIDE = 0.8, 8


def torus(side, seed=0):
    """A power spectrum of a field on a torus, ``[side, side]``, even in the frequency, and falling."""
    f = np.fft.fftfreq(side) * side
    return 1.0 / (1.0 + f[:, None] ** 2 + 0.5 * f[None, :] ** 2 + 0.3 * np.abs(f[:, None] * f[None, :])) ** 1.5 / 20


def field(power, n, seed=0, channels=1):
    """Draws of the Gaussian field of that power, ``[n, h, w, channels]``, about 1/2."""
    noise = np.random.default_rng(seed).normal(size=(n, *power.shape, channels))
    waves = np.fft.fft2(noise, axes=(1, 2)) * np.sqrt(power)[:, :, None]
    return 0.5 + np.fft.ifft2(waves, axes=(1, 2)).real


def covariance(power, patch):
    """The exact covariance of patches of that field, from its autocovariance."""
    r = np.fft.ifft2(power).real
    at = np.array([(i, j) for i in range(patch) for j in range(patch)])
    d = at[:, None] - at[None, :]
    return r[d[..., 0] % len(r), d[..., 1] % len(r)]


@pytest.mark.parametrize("rate", [5.0, 40.0, 120.0])
def test_the_patch_bound_is_that_of_the_power_spectrum(rate):
    """A patch that is all of a periodic field has the field's waves for eigenvectors: both bounds are one number."""
    power = torus(SIDE)
    images = field(power, 100_000)
    exact = least_error(power.ravel(), rate)
    # From draws: D / (2 n) of the error is what so many examples leave uncertain.
    assert least_error(patch_eigenvalues(images, SIDE, 10**6), rate) == pytest.approx(exact, rel=1e-3)
    assert least_error(power_spectrum(images[:20_000], periodic=True), rate) == pytest.approx(exact, rel=1e-3)
    # Planted: with no rate counted for phases the spectrum of half the waves would promise too much.
    half = least_error(power[: SIDE // 2 + 1].ravel(), rate)
    assert abs(half / exact - 1) > 0.01


def test_patches_of_a_larger_field():
    power = torus(32)
    images = field(power, 4000)
    for patch in (2, 4):
        exact = np.sort(np.linalg.eigvalsh(covariance(power, patch)))[::-1]
        np.testing.assert_allclose(patch_eigenvalues(images, patch), exact, rtol=0.02)
    errors = [least_error(np.linalg.eigvalsh(covariance(power, p)), 1.0 * p * p) for p in (1, 2, 4, 8, 16)]
    # Larger patches know more of what repeats, and none knows what the whole spectrum does.
    assert np.all(np.diff(errors) < 0) and errors[-1] > least_error(power.ravel(), 1.0 * power.size)


def test_exponential_correlations_have_closed_forms():
    """Rows of correlation rho^distance: log det of p of them is (p - 1) log(1 - rho^2), of the field log(1 - rho^2)."""
    for patch in (4, 16):
        line = RHO ** np.abs(np.subtract.outer(np.arange(patch), np.arange(patch)))
        values = np.kron(np.linalg.eigvalsh(line), np.linalg.eigvalsh(line))
        rate = 3.0 * patch**2  # the water is below all eigenvalues: each gets its share
        log_det = 2 * (patch - 1) / patch * math.log(1 - RHO**2)
        assert least_error(values, rate) == pytest.approx(math.exp(log_det - 6.0), rel=1e-9)
    f = np.arange(512) / 512
    spectrum = (1 - RHO**2) / (1 - 2 * RHO * np.cos(2 * np.pi * f) + RHO**2)
    of_field = least_error(np.outer(spectrum, spectrum).ravel(), 3.0 * 512**2)
    assert of_field == pytest.approx((1 - RHO**2) ** 2 * math.exp(-6.0), rel=1e-9)


def test_the_edges_of_images_that_do_not_repeat_are_no_power():
    power = torus(64)
    whole = field(power, 400)
    images = whole[:, :24, :24]  # a part of a field, whose opposite edges do not meet
    high = np.sort(power.ravel())[: power.size // 2].mean()
    windowed, plain = (power_spectrum(images, periodic)[24 * 24 // 2 :].mean() for periodic in (False, True))
    assert abs(windowed / high - 1) < abs(plain / high - 1) / 3
    colours = np.concatenate([whole, whole], axis=-1)  # two channels that are one: half of the power is at 0
    spectrum = power_spectrum(colours, periodic=True)
    np.testing.assert_allclose(spectrum[len(spectrum) // 2 :], 0.0, atol=1e-6)
    np.testing.assert_allclose(spectrum[: len(spectrum) // 2], 2 * power_spectrum(whole, periodic=True), rtol=1e-3)
    assert spectrum.mean() == pytest.approx(whole.var(), rel=1e-2)


def test_limits_are_in_their_order():
    images = np.clip(field(torus(32), 500, channels=3), 0, 1)
    found = limits(images, 8, 10)
    assert [found[k] for k in ("patch", "channels")] == [8, 10]
    model = predict(patch_eigenvalues(images, 8), 1.0, None, 10)
    assert found["rate"] == pytest.approx(model.rate) and found["sigma"] ** 2 == pytest.approx(model.sigma2)
    assert found["bits_per_pixel"] == pytest.approx(model.rate / 64 / math.log(2))
    never, few, many, together = (code["mse"] for code in found["codes"])
    assert few == pytest.approx(model.distortion / 192) and never < few and together < many < few
    assert found["codes"][1]["psnr"] == pytest.approx(-10 * math.log10(few)) and kept("all", 0.0).psnr is None
    more = limits(images, 8, 10, rate=2 * found["rate"])
    assert more["sigma"] is None and more["codes"][0] == found["codes"][0] and more["codes"][1]["mse"] < few


def test_what_cannot_be_is_refused():
    images = field(torus(8), 20)
    for arguments, match in (
        ((images, 9, 2), "does not fit"),
        ((images, 0, 2), "does not fit"),
        ((np.zeros((5, 8, 8, 1)), 4, 2), "all patches are equal"),
        ((np.repeat(np.repeat(images[:, ::2, ::2], 2, axis=1), 2, axis=2), 2, 2), "give a rate"),
        ((images[:1], 8, 2), "at least two"),
    ):
        with pytest.raises(ValueError, match=match):
            limits(*arguments)
