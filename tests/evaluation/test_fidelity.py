"""PSNR and SSIM against closed forms and an independent implementation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from vae_jax import likelihoods, models
from vae_jax.evaluation import Evaluator, make_scorer
from vae_jax.evaluation.fidelity import C1, Fidelity, make_fidelity, psnr, ssim, summarise_fidelity, window_size

RNG = np.random.default_rng(0)


def scipy_ssim(x, y, uniform=False):
    """Wang 2004 with scipy's filters, on one channel; ``uniform`` plants the 7 x 7 box of other codes."""

    def blur(image):
        if uniform:
            return ndimage.uniform_filter(image, 7)[3:-3, 3:-3]
        return ndimage.gaussian_filter(image, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    return np.mean((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))


def pairs(n=4, shape=(28, 21, 3)):
    x = ndimage.gaussian_filter(RNG.uniform(size=(n, *shape)), (0, 1, 1, 0))
    return x, np.clip(x + RNG.normal(0, 0.08, x.shape), 0, 1)


def test_ssim_is_scipys(x64):
    x, y = pairs()
    ours = jax.jit(jax.vmap(ssim))(jnp.asarray(x), jnp.asarray(y))
    for i in range(len(x)):
        expected = np.mean([scipy_ssim(x[i, ..., c], y[i, ..., c]) for c in range(3)])
        assert ours[i] == pytest.approx(expected, abs=1e-9)
        assert abs(ours[i] - np.mean([scipy_ssim(x[i, ..., c], y[i, ..., c], True) for c in range(3)])) > 1e-3
    single = jax.vmap(ssim)(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    np.testing.assert_allclose(single, ours, atol=1e-4)


def test_ssim_of_equal_and_of_constant_images(x64):
    x, _ = pairs(1)
    assert ssim(x[0], x[0]) == pytest.approx(1.0, abs=1e-12)
    for a, b in ((0.2, 0.7), (0.0, 1.0), (0.5, 0.5)):  # only the luminance term is left
        expected = (2 * a * b + C1) / (a * a + b * b + C1)
        assert ssim(jnp.full((16, 16, 1), a), jnp.full((16, 16, 1), b)) == pytest.approx(expected, abs=1e-12)


def test_small_images_get_the_largest_odd_window():
    assert [window_size((s, 30, 1)) for s in (1, 2, 8, 10, 11, 12, 64)] == [1, 1, 7, 9, 11, 11, 11]
    x = jnp.asarray(RNG.uniform(size=(8, 8, 1)), jnp.float32)
    assert ssim(x, x) == pytest.approx(1.0, abs=1e-5) and ssim(x, 1.0 - x) < 0.0


def test_psnr_of_a_known_error_and_its_mean_is_per_image():
    x = jnp.zeros((2, 4, 4, 1))
    y = jnp.stack([jnp.full((4, 4, 1), 0.1), jnp.full((4, 4, 1), 0.01)])
    each = jax.vmap(psnr)(x, y)
    np.testing.assert_allclose(each, [20.0, 40.0], rtol=1e-5)
    mean = summarise_fidelity(Fidelity(each, None), (16,))
    assert mean["psnr"] == pytest.approx(30.0, rel=1e-5) and mean["ssim"] is None and mean["ssim_window"] is None
    of_the_mean = -10 * np.log10(np.mean([0.01, 0.0001]))  # planted: 22.97 dB
    assert abs(mean["psnr"] - of_the_mean) > 7


@pytest.mark.parametrize("event", [(12, 12, 1), (9,)])
def test_a_split_is_scored_as_its_squared_error_is(event):
    likelihood = likelihoods.gaussian("fixed", sigma=0.3)
    vae = models.mlp(event, event, 3, (16,))
    params = {"model": vae.init(jax.random.key(0)), "likelihood": likelihood.init(event)}
    data, key = jnp.asarray(RNG.uniform(size=(23, *event)), jnp.float32), jax.random.key(1)
    found = make_fidelity(Evaluator(vae, likelihood, batch_size=10))(params, data, key)
    error = make_scorer(Evaluator(vae, likelihood))(params, data, key).squared_error / np.prod(event)
    np.testing.assert_allclose(found.psnr, -10 * np.log10(error), rtol=1e-5)
    numbers = summarise_fidelity(found, event)
    if len(event) == 3:
        assert found.ssim.shape == (23,) and numbers["ssim_window"] == 11 and -1 < numbers["ssim"] < 1
    else:
        assert found.ssim is None
    limited = make_fidelity(Evaluator(vae, likelihood, batch_size=10))(params, data, key, 10)
    np.testing.assert_allclose(limited.psnr, found.psnr[:10], rtol=1e-5)
