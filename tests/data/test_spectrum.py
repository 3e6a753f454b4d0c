"""The eigenvalues of the data's covariance: of the whole matrix, in batches, and of a randomised PCA."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import golden

from vae_jax.data import spectrum
from vae_jax.data.rows import held_out
from vae_jax.data.spectrum import eigenvalues


@pytest.mark.parametrize("shape", [(50, 6), (5, 4, 3, 1), (6, 2100), (1, 3), (1, 2100)])
def test_eigenvalues_are_those_of_the_covariance(shape):
    x = np.random.default_rng(0).normal(3.0, 1.0, shape).astype(np.float32)
    flat = x.reshape(shape[0], -1).astype(np.float64)
    expected = np.zeros(flat.shape[1])
    values = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2 / len(flat)  # ddof = 0
    expected[: len(values)] = values
    found = eigenvalues(x)
    assert found.dtype == np.float64 and (np.diff(found) <= 0).all() and (found >= 0).all()
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6 * expected[0])


def test_eigenvalues_of_a_fixed_choice_of_examples(monkeypatch):
    x = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    chosen = held_out(300, 100)[1]
    monkeypatch.setattr(spectrum, "LEAST_EXAMPLES", 50)
    monkeypatch.setattr(spectrum, "MAX_PRODUCTS", 100 * 4 * 4)
    np.testing.assert_array_equal(spectrum.examples_for(300, 4), chosen)
    np.testing.assert_array_equal(spectrum.examples_for(100, 4), np.arange(100))
    np.testing.assert_allclose(eigenvalues(x), eigenvalues(lambda: [x[chosen]]))
    monkeypatch.setattr(spectrum, "MAX_RANDOMISED", 1e9)
    assert 50 < len(spectrum.examples_for(10**6, 3072)) < 1000  # by what four passes cost
    assert len(spectrum.examples_for(10**6, 10**6)) == 50


def power_law(n, dimensions, falls, seed=0):
    """Examples whose covariance has eigenvalues near ``i ** -falls``, far from zero mean, in no special basis."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dimensions)) * np.arange(1, dimensions + 1) ** (-falls / 2)
    for _ in range(2):  # a random rotation, cheaply: signs and a Fourier transform
        x = np.fft.irfft(np.fft.rfft(x * rng.choice([-1.0, 1.0], dimensions)) * np.sqrt(dimensions), dimensions)
    return (x / dimensions + 3.0).astype(np.float32)


@pytest.mark.parametrize("dimensions", [40, 400])
def test_streamed_eigenvalues_are_those_of_the_whole(monkeypatch, dimensions):
    """Batches of any sizes, the last one ragged, as images: the same spectrum as of one array."""
    monkeypatch.setattr(spectrum, "MAX_DIMENSIONS", 300)
    x = power_law(700, dimensions, 1.0).reshape(700, dimensions // 8, 4, 2)
    visits = []

    def batches():
        visits.append(0)
        yield from (x[:256], x[256:512], x[512:697], x[697:])

    whole = eigenvalues(x)
    np.testing.assert_allclose(eigenvalues(batches), whole, rtol=1e-5, atol=1e-6 * whole[0])
    assert len(visits) == (2 if dimensions == 40 else 5)  # a look at the first batch, and one or four passes


@pytest.mark.parametrize("falls", [1.0, 1.5])
def test_randomised_eigenvalues_are_those_of_the_covariance(monkeypatch, falls):
    """More examples and dimensions than directions: the head, the trace, and an even rest (an eighth of full size)."""
    monkeypatch.setattr(spectrum, "MAX_DIMENSIONS", 300)
    monkeypatch.setattr(spectrum, "BLOCK", 48)
    x = power_law(1000, 400, falls)
    centred = x - x.mean(axis=0, dtype=np.float64)
    exact = np.linalg.eigvalsh((centred.T @ centred) / len(x))[::-1]
    found = eigenvalues(x)
    np.testing.assert_allclose(found[:12], exact[:12], rtol=1e-4)
    np.testing.assert_allclose(found[:36], exact[:36], rtol=0.01)
    np.testing.assert_allclose(found[:64], exact[:64], rtol=0.1)
    assert (found[:64] <= exact[:64] * (1 + 1e-5)).all()  # values on a subspace are never above the true ones
    assert found.sum() == pytest.approx(exact.sum(), rel=1e-6)
    assert len(found) == 400 and (np.diff(found) <= 0).all() and np.ptp(found[64:]) == 0
    assert found[12:].sum() == pytest.approx(exact[12:].sum(), rel=1e-5)  # the error that 12 latents leave


def test_eigenvalues_of_mnist(mnist_train):
    found = eigenvalues(mnist_train.astype(np.float32) / 255)
    printed = "5.116788 3.741328 3.252654 2.841573 2.567075 2.273625 1.725126 1.520535 1.456281 1.242729 1.112071"
    for value, text in zip(found, printed.split()):
        assert value == golden(text, single=True)
    assert found.sum() == golden("52.725035", single=True)
    assert [(found > s).sum() for s in (1, 0.5, 0.1, 0.01)] == [12, 23, 69, 251]
