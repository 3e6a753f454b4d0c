"""What n examples can teach, against models that were fitted to n examples and scored on the data's own covariance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vae_jax.data.digits import digits
from vae_jax.theory import finite_data
from vae_jax.theory.finite_data import in_words, marchenko_pastur_edge, outlook, sample_eigenvalue, variance_of_new_data
from vae_jax.theory.prospects import calibrated

DIM, SPIKES = 100, (40.0, 20.0, 10.0, 5.0, 3.0, 2.0)
POPULATION = np.append(SPIKES, np.ones(DIM - len(SPIKES)))
NUMBERS = (50, 100, 200, 400, 1600)


def sampled(n, population=POPULATION, seed=0):
    """Eigenvalues and vectors of a sample covariance (ddof 0), and the sample's mean."""
    x = np.random.default_rng(seed).normal(size=(n, len(population))) * np.sqrt(population)
    values, vectors = np.linalg.eigh(np.cov(x.T, ddof=0))
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1], x.mean(axis=0)


def fitted(n, latents, seed=0):
    """The ELBO of a linear VAE that was trained on n examples: on them, and exactly on all data there could be.

    The optimum of a linear VAE of beta = 1 and a learned sigma is probabilistic PCA, its bound tight everywhere (Lucas
    2019, 1911.02469).
    """
    values, vectors, mean = sampled(n, seed=seed)
    model = np.where(np.arange(DIM) < latents, values, values[latents:].mean())
    new = np.einsum("ji,j,ji->i", vectors, POPULATION, vectors) + (vectors.T @ mean) ** 2
    constant = DIM * math.log(2 * math.pi) + np.log(model).sum()
    return values, *(-0.5 * (constant + (d / model).sum()) for d in (values, new))


@pytest.mark.parametrize("n", NUMBERS)
@pytest.mark.parametrize("latents", [10, 30])
def test_the_held_out_elbo_of_a_linear_vae_is_foretold(n, latents):
    gaps = []
    for seed in range(3):
        values, train, held_out = fitted(n, latents, seed)
        found = outlook(values, n, latents)
        assert found.train == pytest.approx(train, rel=1e-9)
        assert found.held_out == pytest.approx(held_out, rel=0.02)
        gaps.append((found.gap, train - held_out))
    expected, measured = np.mean(gaps, axis=0)
    assert expected == pytest.approx(measured, rel=0.15)
    # Planted: the sample's own eigenvalues in place of the corrected ones foretell no loss at all.
    assert measured > 0.5


def test_spikes_come_out_where_the_theory_says_and_too_small_ones_do_not():
    n = 400
    values = np.mean([sampled(n, seed=seed)[0] for seed in range(5)], axis=0)
    where = [sample_eigenvalue(spike, 1.0, DIM / n) for spike in SPIKES]
    np.testing.assert_allclose(values[:5], where[:5], rtol=0.05)
    edge = marchenko_pastur_edge(1.0, DIM, n)
    assert edge == 2.25 == sample_eigenvalue(1.2, 1.0, DIM / n)
    # Above it those spikes show that exceed 1 + sqrt(D / n).
    for n in NUMBERS:
        visible = sum(spike > 1 + math.sqrt(DIM / n) for spike in SPIKES)
        found = outlook(sampled(n)[0], n, 30)
        assert abs(found.above_edge - visible) <= 1 and abs(found.best - visible) <= 1


def test_the_corrected_eigenvalues_are_those_of_new_data():
    for n in (60, 300, 2000):
        values, vectors, _ = sampled(n)
        rank = min(DIM, n - 1)
        new = np.einsum("ji,j,ji->i", vectors, POPULATION, vectors)[:rank]
        ours = variance_of_new_data(values, n)
        assert ours.shape == (rank,)
        assert np.mean(np.abs(ours - new)) < 0.35 * np.mean(np.abs(values[:rank] - new)) + 0.02
    # Many examples: nothing to correct. Noise alone: all directions are alike again.
    np.testing.assert_allclose(variance_of_new_data(POPULATION, 10**7), POPULATION, rtol=0.02)
    noise = variance_of_new_data(sampled(200, np.ones(DIM))[0], 200)
    assert noise.std() < 0.15 and noise.mean() == pytest.approx(1.0, abs=0.05)
    scaled = variance_of_new_data(1e-6 * values, 2000)
    np.testing.assert_allclose(scaled, 1e-6 * ours, rtol=1e-9)  # another unit


def test_a_spectrum_whose_end_was_spread_evenly():
    values = sampled(50, np.append(POPULATION, np.full(900, 0.5)))[0]
    spread = np.append(values[:20], np.full(len(values) - 20, values[20:].sum() / (len(values) - 20)))
    whole, rough = outlook(values, 50, 10), outlook(spread, 50, 10)
    assert rough.held_out == pytest.approx(whole.held_out, rel=0.03) and rough.train == pytest.approx(whole.train)


def test_what_it_is_on_the_examples_is_what_weigh_says():
    values = np.append(sampled(200)[0], np.zeros(30))  # directions that never vary are the model's to code, too
    found = outlook(values, 200, 10)
    assert found.train == pytest.approx(calibrated(values, 10).elbo, rel=1e-9)
    without = outlook(values[:DIM], 200, 10)
    assert found.gap > 0 and found.edge == pytest.approx(without.edge, rel=0.1)
    assert (found.best, found.above_edge) == (without.best, without.above_edge)


def test_digits_overfit_is_foretold():
    data = digits()
    pool = np.concatenate([data.train, data.test]).reshape(-1, 64) / 16.0
    foretold, measured = [], []
    for n in (100, 200, 400, 800):
        order = np.random.default_rng(0).permutation(len(pool))
        train, test = pool[order[:n]], pool[order[n:]]
        varies = train.std(axis=0) > 0  # a pixel that never changed has no density
        train, test = train[:, varies], test[:, varies]
        values, vectors = np.linalg.eigh(np.cov(train.T, ddof=0))
        values, vectors = values[::-1], vectors[:, ::-1]
        model = np.where(np.arange(len(values)) < 20, values, values[20:].mean())
        constant = len(values) * math.log(2 * math.pi) + np.log(model).sum()
        errors = np.square((test - train.mean(axis=0)) @ vectors).mean(axis=0)
        measured.append(-0.5 * (constant + (errors / model).sum()))
        foretold.append(outlook(values, n, 20).held_out)
    np.testing.assert_allclose(foretold, measured, atol=2.5)
    assert np.all(np.diff(foretold) > 0) and foretold[-1] - foretold[0] > 10


def test_what_is_said_and_when():
    few = outlook(sampled(50)[0], 50, 30)
    said = in_words(few, 50)
    assert f"with 50 examples about {30 - few.best} of the 30 directions are noise" in said and "\n" not in said
    assert in_words(outlook(sampled(100_000)[0], 100_000, 6), 100_000) is None
    held = outlook([3.0, 1.0, 0.0, 0.0], 10, 5)  # as many latents as the data vary in: sigma would be 0
    assert held.latent_dim == 1 and math.isfinite(held.held_out)
    for bad in (([0.0, 0.0], 10), ([1.0], 2), ([math.nan], 9)):
        with pytest.raises(ValueError):
            outlook(*bad, 1)
    assert outlook([1.0], 10, 3).latent_dim == 0 and finite_data.ROUNDING < 1
