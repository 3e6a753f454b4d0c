"""The closed forms of the linear VAE against the reference table, finite differences and the loss itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import BED_EIGENVALUES, BED_LATENTS, golden

from experiments.claims.bed import WATER_LEVELS
from vae_jax.linear_vae import beta_at, learned_variance, predict, water_level_for_error, water_level_for_rate
from vae_jax.types import UserError

DIM = len(BED_EIGENVALUES)


def bed(beta, sigma2, latents=BED_LATENTS):
    return predict(BED_EIGENVALUES, beta, sigma2, latents)


def loss_of(prediction, beta, dim=DIM):
    """NLL with its constants + beta KL, of a predicted optimum."""
    v = prediction.sigma2
    return prediction.distortion / (2 * v) + 0.5 * dim * math.log(2 * math.pi * v) + beta * prediction.rate


@pytest.mark.parametrize(
    ("s", "sse", "kl", "active"),
    WATER_LEVELS,
)
def test_water_levels(s, sse, kl, active):
    for beta in (1.0, 4.0, 0.2):  # only the product with sigma^2 counts
        got = bed(beta, s / beta)
        assert got.distortion == golden(sse)
        assert got.rate == golden(kl)
        assert got.active == active
        assert got.water_level == pytest.approx(s)
        assert got.sigma2 == s / beta
        expected = [max(0.0, 0.5 * math.log(value / s)) for value in BED_EIGENVALUES[:BED_LATENTS]]
        np.testing.assert_allclose(got.kl_per_latent, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("beta", "sigma2", "sse", "kl", "loss", "active"),
    [
        (0.25, ".026470588", ".264705882", "16.093767", ".05422187", 6),
        (0.5, ".032142857", ".321428571", "13.431857", "3.71748890", 6),
        (1.0, ".05625", ".5625", "9.673568485", "9.473207627", 6),
        (1.2, ".080357143", ".803571429", "8.056579", "11.25090864", 6),
        (1.5, ".19", "1.9", "4.871033", "13.19227910", 5),
        (1.0, 0.1, ".825", "7.947476050", "9.74893592", 6),
        (4.0, 0.1, "2.475", "4.023594781", "26.14583899", 5),
    ],
)
def test_a_learned_and_a_fixed_variance(beta, sigma2, sse, kl, loss, active):
    fixed = isinstance(sigma2, float)
    got = bed(beta, sigma2 if fixed else None)
    assert got.sigma2 == (sigma2 if fixed else golden(sigma2))
    assert got.distortion == golden(sse)
    assert got.rate == golden(kl)
    assert got.active == active
    assert loss_of(got, beta) == golden(loss)
    if not fixed:  # calibrated at every beta, and a minimum over sigma^2 of the profile loss
        assert got.distortion / (DIM * got.sigma2) == pytest.approx(1.0, rel=1e-12)
        for factor in (0.9, 0.999, 1.001, 1.1):
            assert loss_of(bed(beta, factor * got.sigma2), beta) > loss_of(got, beta)


def test_rate_falls_and_distortion_rises_with_beta():
    betas = np.geomspace(0.05, 200, 100)
    runs = [bed(beta, 0.1) for beta in betas]
    assert np.all(np.diff([r.rate for r in runs]) <= 0)
    assert np.all(np.diff([r.distortion for r in runs]) >= 0)
    best = np.array([loss_of(r, b) for r, b in zip(runs, betas)])
    slopes = np.diff(best) / np.diff(betas)
    assert np.all(np.diff(slopes) <= 1e-9)  # concave


def test_learned_variance_is_the_unique_root():
    # D sigma^2 = SSE(beta sigma^2): the profile's slope never decreases, so a bisection finds the same root.
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = np.sort(np.exp(rng.normal(size=12) * 1.5))[::-1]
        latents, beta = int(rng.integers(1, 12)), float(np.exp(rng.normal()))

        def excess(v, values=values, latents=latents, beta=beta):
            sse = np.minimum(values[:latents], beta * v).sum() + values[latents:].sum()
            return len(values) * v - sse

        low, high = 1e-12, 1e3
        if excess(low) >= 0:
            continue
        for _ in range(200):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if excess(middle) < 0 else (low, middle)
        assert learned_variance(values, beta, latents) == pytest.approx(high, rel=1e-9)


def test_a_plane_makes_the_loss_unbounded():
    """Data on an r-plane, M >= r and beta < D / r: sigma goes to 0. Above D / r it does not."""
    plane = np.array([5.0, 2.0, 1.0, 0, 0, 0, 0, 0, 0, 0])
    for beta in (0.5, 1.0, 3.0):
        got = predict(plane, beta, None, 4)
        assert got.sigma2 == 0.0 and got.distortion == 0.0 and got.rate == math.inf
    assert predict(plane, 1.0, None, 2).sigma2 == pytest.approx(1 / 8)  # fewer latents than directions: bounded
    assert predict(plane, 4.0, None, 4).sigma2 > 0  # beta > D / r


def test_as_many_latents_as_dimensions():
    assert predict(BED_EIGENVALUES, 0.9, None, DIM).sigma2 == 0.0
    # At beta = 1 every sigma^2 up to the least eigenvalue is an optimum: a Gaussian of full covariance.
    full = predict(BED_EIGENVALUES, 1.0, None, DIM)
    assert 0 < full.sigma2 <= 0.015 * (1 + 1e-12)
    full_covariance = 0.5 * (DIM * math.log(2 * math.pi * math.e) + np.log(BED_EIGENVALUES).sum())
    assert loss_of(full, 1.0) == pytest.approx(full_covariance, rel=1e-12)
    got = predict(BED_EIGENVALUES, 1.0, 0.1, 25)  # more latents than dimensions: the rest stay at the prior
    assert got.active == 7 and got.kl_per_latent.shape == (25,)
    assert np.all(got.kl_per_latent[7:] == 0)
    assert got.distortion == pytest.approx(0.7 + 0.06 + 0.03 + 0.015)


def test_white_data_are_not_unbounded():
    # All eigenvalues equal, none worth a latent: rounding must not decide (it did, for 36 of 1188 such spectra).
    for dim in range(2, 60):
        for value in (0.1, 0.3, 1 / 12):
            got = predict(np.full(dim, value), 1.0, None, min(5, dim - 1))
            assert got.sigma2 == pytest.approx(value, rel=1e-12)
            assert got.rate == pytest.approx(0.0, abs=1e-12)


def test_scale_and_order_of_the_eigenvalues():
    # x' = c x changes the water level by c^2 and nothing else (trap 7).
    got = predict(4 * BED_EIGENVALUES, 1.0, 4 * 0.1, BED_LATENTS)
    np.testing.assert_allclose(got.kl_per_latent, bed(1.0, 0.1).kl_per_latent, rtol=1e-12)
    assert got.distortion == pytest.approx(4 * bed(1.0, 0.1).distortion)
    shuffled = predict(np.random.default_rng(2).permutation(BED_EIGENVALUES), 1.0, 0.1, BED_LATENTS)
    np.testing.assert_array_equal(shuffled.kl_per_latent, bed(1.0, 0.1).kl_per_latent)


def test_weight_zero_and_round_off():
    got = bed(0.0, 0.1)
    assert got.rate == math.inf and got.distortion == pytest.approx(BED_EIGENVALUES[BED_LATENTS:].sum())
    got = predict([1.0, 0.5, -1e-17], 1.0, 0.1, 3)
    assert got.active == 2 and got.distortion == pytest.approx(0.2)


def test_nonsense_is_refused():
    good = {"eigenvalues": [1.0], "beta": 1.0, "sigma2": 0.1, "latent_dim": 2}
    wrong = [("eigenvalues", []), ("eigenvalues", [1.0, math.nan]), ("latent_dim", 0)]
    for name, value in (*wrong, *((name, v) for name in ("beta", "sigma2") for v in (-1.0, math.nan, math.inf))):
        with pytest.raises((ValueError, UserError)):
            predict(**{**good, name: value})


def test_mnist(mnist_train):
    """The spectrum of MNIST train / 255, 60,000 images, and what it predicts."""
    x = mnist_train.astype(np.float64) / 255.0
    mean = x.mean(0)
    covariance = x.T @ x / len(x) - np.outer(mean, mean)  # ddof 0
    values = np.linalg.eigvalsh(covariance)[::-1]
    assert values.sum() == golden("52.725035")
    top = "5.116788 3.741328 3.252654 2.841573 2.567075 2.273625 1.725126 1.520535 1.456281 1.242729 1.112071 1.066623"
    for value, text in zip(values, [*top.split(), ".904666"]):
        assert value == golden(text)
    for s, active in ((1.0, 12), (0.5, 23), (0.1, 69), (0.01, 251)):
        assert predict(values, 1.0, s, 784).active == active
    for latents, log_likelihood, sigma2, kl in (
        (10, "182.154681", ".034867338", "21.029773"),
        (20, "299.758428", ".024597133", "40.202907"),
        (50, "507.905384", ".012596050", "94.400647"),
    ):
        got = predict(values, 1.0, None, latents)
        assert -loss_of(got, 1.0, 784) == golden(log_likelihood)
        assert got.sigma2 == golden(sigma2)
        assert got.rate == golden(kl)
    # Mean error + sum KL, and mean + mean, as commonly written: complete collapse.
    for s in (392.0, 19.6):
        assert predict(values, 1.0, s, 20).active == 0


# ---------------------------------------------------------------- from a target back to the weight


def test_water_levels_of_rates_and_errors():
    # The bed's own table, read backwards (away from s = 10, where nothing is left to invert).
    for s, sse, kl in (
        (0.01, 0.285, 14.855231329),
        (0.1, 0.825, 7.947476050),
        (0.4, 2.475, 4.023594781),
        (3.0, 9.975, 0.634255663),
    ):
        assert water_level_for_rate(BED_EIGENVALUES, kl, BED_LATENTS) == pytest.approx(s, rel=1e-8)
        assert water_level_for_error(BED_EIGENVALUES, sse, BED_LATENTS) == pytest.approx(s, rel=1e-8)
    # GECO's multiplier on the error is 1 / (2 s*), at kappa^2 = 2.475 here; the PI controller's beta at sigma^2 = .1.
    assert 0.5 / water_level_for_error(BED_EIGENVALUES, 2.475, BED_LATENTS) == golden("1.25")
    level = water_level_for_rate(BED_EIGENVALUES, 4.023594781, BED_LATENTS)
    assert beta_at(level, BED_EIGENVALUES, BED_LATENTS, 0.1) == pytest.approx(4.0, rel=1e-8)


def test_inverses_round_trip_on_random_spectra():
    rng = np.random.default_rng(3)
    for _ in range(200):
        values = np.exp(rng.normal(size=12) * 1.5)
        values[: rng.integers(0, 4)] = 0.0
        latents = int(rng.integers(1, 15))
        s = values.max() * float(rng.uniform(1e-4, 0.999))
        got = predict(values, 1.0, s, latents)
        assert water_level_for_rate(values, got.rate, latents) == pytest.approx(s, rel=1e-12)
        if got.active:
            assert water_level_for_error(values, got.distortion, latents) == pytest.approx(s, rel=1e-9)
        assert beta_at(s, values, latents, 0.3) == pytest.approx(s / 0.3, rel=1e-15)
        if np.sort(values)[::-1][latents:].sum() > 0:  # else, at beta = D / rank, a range of sigmas is optimal
            beta = beta_at(s, values, latents, None)
            assert predict(values, beta, None, latents).water_level == pytest.approx(s, rel=1e-9)


def test_ends_of_what_can_be_reached():
    trace, tail = BED_EIGENVALUES.sum(), BED_EIGENVALUES[BED_LATENTS:].sum()
    assert water_level_for_rate(BED_EIGENVALUES, 0.0, BED_LATENTS) == pytest.approx(8.0, rel=1e-15)
    assert water_level_for_rate(BED_EIGENVALUES, math.inf, BED_LATENTS) == 0.0
    assert water_level_for_error(BED_EIGENVALUES, trace, BED_LATENTS) == pytest.approx(8.0, rel=1e-12)
    assert water_level_for_error(BED_EIGENVALUES, tail, BED_LATENTS) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match=r"6 latents leave 0\.225"):
        water_level_for_error(BED_EIGENVALUES, 0.9 * tail, BED_LATENTS)
    with pytest.raises(ValueError, match=r"it is 15\.975"):
        water_level_for_error(BED_EIGENVALUES, 1.1 * trace, BED_LATENTS)
    assert beta_at(20.0, BED_EIGENVALUES, BED_LATENTS, None) == pytest.approx(20.0 * DIM / trace)  # collapsed


def test_impossible_targets_are_refused():
    calls = [(water_level_for_rate, v, n) for v, n in ((-1.0, 3), (math.nan, 3), (1.0, 0))]
    calls += [(water_level_for_error, v, n) for v, n in ((math.nan, 3), (1.0, 0))]
    for function, target, latents in calls:
        with pytest.raises(ValueError):
            function(BED_EIGENVALUES, target, latents)
    with pytest.raises(ValueError):
        water_level_for_rate(np.zeros(3), 1.0, 2)
    for level, latents, sigma2 in ((-1.0, 3, 0.1), (1.0, 3, 0.0), (0.0, DIM, None)):
        with pytest.raises(ValueError):
            beta_at(level, BED_EIGENVALUES, latents, sigma2)
