"""The arrays that are drawn: what each picture is of, how large the file gets, and the map of the code."""

from __future__ import annotations

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vae_jax import likelihoods
from vae_jax.evaluation import Evaluator
from vae_jax.evaluation.pictures import BYTES, QUANTILES, TEMPERATURES, Counts, counts_for, embed, pictures
from vae_jax.gaussian import DiagGaussian
from vae_jax.types import VAE

# The decoder shows z itself in its first pixels, so each picture says which z it is of.
LATENTS, PIXELS = 3, 4
SPREAD = np.array([0.1, 3.0, 1.0], np.float32)  # of the posterior means: latent 1 carries most, latent 0 least
SHOW = VAE(
    init=lambda key: {},
    encode=lambda params, x: DiagGaussian(SPREAD * x[:LATENTS], jnp.full(LATENTS, -20.0)),
    decode=lambda params, z: jnp.pad(z, (0, PIXELS - LATENTS)),
)
PARAMS = {"model": {}, "likelihood": {"log_sigma": jnp.zeros(())}}


def drawn(data, **options):
    family = likelihoods.gaussian("fixed", sigma=1.0)
    return pictures(Evaluator(SHOW, family), PARAMS, data, jax.random.key(0), **options)


def test_each_picture_is_of_its_z():
    data = np.random.default_rng(0).normal(size=(601, PIXELS)).astype(np.float32)
    factors = np.stack([np.arange(601), np.arange(601) % 7], axis=1)
    found = drawn(data, factors=factors, factor_names=("index", "rest"))
    means = SPREAD * data[:, :LATENTS]
    np.testing.assert_array_equal(found["inputs"], data[:16])
    np.testing.assert_allclose(found["reconstructions"][:, :LATENTS], means[:16], atol=1e-3)
    np.testing.assert_array_equal(found["traversal_latents"], [1, 2, 0])  # by their KL
    assert np.all(np.diff(found["traversal_kl"]) < 0)
    np.testing.assert_allclose(found["traversal_z"], stats.norm.ppf(QUANTILES), atol=1e-5)
    for latent, row in zip(found["traversal_latents"], found["traversals"]):
        expected = np.tile(means[0], (len(QUANTILES), 1))
        expected[:, latent] = found["traversal_z"]
        np.testing.assert_allclose(row[:, :LATENTS], expected, atol=1e-6)
    path, ends = found["interpolations"][..., :LATENTS], found["interpolation_ends"]
    np.testing.assert_allclose(path[:, [0, -1]], SPREAD * ends[..., :LATENTS], atol=1e-6)
    np.testing.assert_allclose(np.diff(path, 2, axis=1), 0.0, atol=1e-5)  # equal steps on a line
    for i, t in enumerate(TEMPERATURES):
        np.testing.assert_allclose(found["tempered"][i], t * found["tempered"][-1], atol=1e-6)
    np.testing.assert_array_equal(found["tempered"][-1], found["samples"][:10])
    assert found["embedding"].shape == (601, 2) and found["factor_names"].tolist() == ["index", "rest"]
    np.testing.assert_array_equal(found["factors"], factors)


def test_few_examples_are_enough_and_images_are_bytes():
    for n in (1, 2, 3):
        found = drawn(np.full((n, PIXELS), 0.5, np.float32))
        assert len(found["inputs"]) == n and ("interpolations" in found) == (n > 1)
    family = likelihoods.bernoulli()
    show = SHOW._replace(
        encode=lambda params, x: DiagGaussian(jnp.ravel(x)[:LATENTS], jnp.zeros(LATENTS)),
        decode=lambda params, z: jnp.pad(z, (0, 1)).reshape(2, 2, 1),
    )
    data = np.random.default_rng(0).integers(2, size=(30, 2, 2, 1)).astype(np.float32)
    found = pictures(Evaluator(show, family), PARAMS, data, jax.random.key(0))
    assert all(
        found[k].dtype == np.uint8 for k in ("inputs", "samples", "traversals", "interpolation_ends", "tempered")
    )
    np.testing.assert_array_equal(found["inputs"], 255 * data[:16])
    file = io.BytesIO()
    np.savez(file, **found)
    with np.load(io.BytesIO(file.getvalue()), allow_pickle=False) as read:
        assert set(read.files) == set(found)


def test_the_file_stays_small():
    for event, width in (((28, 28, 1), 1), ((64, 64, 1), 1), ((64, 64, 3), 1), ((128, 128, 3), 1), ((5000,), 4)):
        assert counts_for(event, width).pictures() * np.prod(event) * width <= BYTES
    assert counts_for((64, 64, 1), 1) == Counts() and counts_for((64, 64, 3), 1).latents > 0


def test_the_map():
    rng = np.random.default_rng(0)
    code = rng.normal(size=(500, 5)) * [0.01, 2.0, 0.02, 1.0, 0.03]
    points, names = embed(code, [0.0, 2.0, 0.0, 1.0, 0.0])
    assert names == ["latent 1", "latent 3"]  # two latents in use: themselves
    np.testing.assert_array_equal(points, code[:, [1, 3]].astype(np.float32))
    _, names = embed(1e-3 * rng.normal(size=(500, 5)), np.ones(5))  # used by what they carry, not by their scale
    assert names[0].startswith("component 1")
    code = rng.normal(size=(500, 5)) @ rng.normal(size=(5, 5))
    points, names = embed(code, np.ones(5))
    u, s, _ = np.linalg.svd(code - code.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), atol=1e-4)
    assert names[0] == f"component 1 ({100 * s[0] ** 2 / np.sum(s**2):.0f}% of the variance)"
    np.testing.assert_array_equal(embed(code, np.ones(5))[0], points)
    points, names = embed(code[:, :1], [1.0])
    assert names[0] == "latent 0" and points[:, 1].max() == pytest.approx(1 - 1 / 500)
    assert embed(np.zeros((4, 3)), np.zeros(3))[0].shape == (4, 2)
