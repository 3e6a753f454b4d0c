"""Reliability: uniform transforms of a family's own draws, closed forms of a wrong sigma, and a true posterior."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import within_standard_errors
from helpers.linear_bed import bed_optimum
from scipy import stats

from experiments.claims.bed import DIM, LINEAR
from vae_jax import likelihoods
from vae_jax.evaluation.batches import Evaluator
from vae_jax.evaluation.reliability import BINS, LEVELS, coverage, histogram, make_reliability, transform
from vae_jax.gaussian import DiagGaussian
from vae_jax.types import VAE

EVENT = (120, 150, 1)  # 18,000 draws: a scale that is 6% off shows
# The 1e-4 quantile: the keys are fixed, so a test that passes once always does, and 20 of them fail by chance of 0.2%.
LIMIT = stats.chi2.isf(1e-4, BINS - 1)
ROW = likelihoods.blocks([(likelihoods.gaussian(), 1500), (likelihoods.bernoulli(), 1500), (likelihoods.beta(), 1200)])
FAMILIES = {
    "gaussian fixed": likelihoods.gaussian("fixed", 0.3),
    "gaussian learned": likelihoods.gaussian("learned", 0.3),
    "gaussian per dimension": likelihoods.gaussian("per_dimension", 0.3),
    "gaussian predicted": likelihoods.gaussian("predicted", 0.3),
    "gaussian optimal": likelihoods.gaussian("optimal", 0.3),
    "student_t": likelihoods.student_t(df=3.0),
    "laplace": likelihoods.laplace(),
    "beta": likelihoods.beta(),
    "continuous_bernoulli": likelihoods.continuous_bernoulli(),
    "bernoulli": likelihoods.bernoulli(),
    "categorical": likelihoods.categorical(5),
    "discretized_logistic": likelihoods.discretized_logistic(17),
    "discretized_logistic, 3 components": likelihoods.discretized_logistic(17, 3),
    "poisson": likelihoods.poisson(),
    "negative_binomial": likelihoods.negative_binomial(0.7),
    "log_normal": likelihoods.log_normal(),
    "blocks": ROW,
}
DISCRETE = {
    "poisson",
    "negative_binomial",
    "bernoulli",
    "categorical",
    "discretized_logistic",
    "discretized_logistic, 3 components",
}


def draw(likelihood, event=EVENT):
    """A random theta and a draw of x from it."""
    theta = jax.random.normal(jax.random.key(3), likelihood.theta_shape(event))
    own = likelihood.init(event)
    return own, theta, likelihood.sample(own, theta, jax.random.key(4))


def misfit(u):
    """The chi-square statistic of ``u`` against the uniform distribution."""
    counts = np.histogram(u, BINS, (0, 1))[0]
    expected = counts.sum() / BINS
    return float(np.sum(np.square(counts - expected)) / expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_familys_own_draws_are_uniform(name):
    likelihood, event = FAMILIES[name], (4200,) if name == "blocks" else EVENT

    @jax.jit
    def everything():
        own, theta, x = draw(likelihood, event)
        return transform(likelihood, own, theta, x, jax.random.key(5)), *likelihood.cdf(own, theta, x)

    u, below, up_to = (np.asarray(v) for v in everything())
    assert u.shape == event and u.min() >= 0 and u.max() <= 1
    assert misfit(u) < LIMIT
    share = coverage(np.histogram(u, BINS, (0, 1))[0]) / u.size
    assert np.all(np.abs(share - LEVELS) < 4 * np.sqrt(LEVELS * (1 - LEVELS) / u.size))
    if name in DISCRETE:  # planted: F(x) of a family of levels, without the randomisation
        assert np.all(up_to >= below) and misfit(up_to) > 5 * LIMIT
        assert misfit(0.5 * (below + up_to)) > LIMIT


@pytest.mark.parametrize("name", sorted(DISCRETE))
def test_the_jump_is_the_probability(name):
    likelihood = FAMILIES[name]
    own, theta, _ = draw(likelihood, (1, 1, 1))
    levels = {"binary": 2, "count": 200}.get(likelihood.support) or likelihood.support.count
    grid = jnp.arange(levels).reshape(-1, 1, 1, 1) / (1 if likelihood.support == "count" else levels - 1)
    both = jax.jit(jax.vmap(lambda x: (likelihood.cdf(own, theta, x), likelihood.log_prob(own, theta, x))))
    (below, up_to), log_p = both(grid)
    np.testing.assert_allclose((up_to - below).ravel(), np.exp(log_p), atol=1e-6)
    np.testing.assert_allclose(below.ravel()[1:], up_to.ravel()[:-1], atol=1e-6)
    assert below.ravel()[0] == 0 and up_to.ravel()[-1] == pytest.approx(1, abs=1e-6)


def test_the_distribution_functions_are_scipys():
    x = np.linspace(-1.0, 2.0, 61, dtype=np.float32)
    unit = np.linspace(0.0, 1.0, 61, dtype=np.float32)
    theta = np.full(61, 0.3, np.float32)

    def of(likelihood, theta, x):
        return likelihood.cdf(likelihood.init((61,)), jnp.asarray(theta), jnp.asarray(x))[1]

    near = dict(atol=2e-6, rtol=0)
    np.testing.assert_allclose(of(likelihoods.gaussian("fixed", 0.2), theta, x), stats.norm.cdf(x, 0.3, 0.2), **near)
    np.testing.assert_allclose(of(likelihoods.laplace(0.2), theta, x), stats.laplace.cdf(x, 0.3, 0.2), **near)
    for df in (2.5, 4.0, 7.9, 8.0, 20.0, 100.0, 1e4, 1e9):
        t = likelihoods.student_t(df, 0.2)
        np.testing.assert_allclose(
            of(t, theta, x), stats.t.cdf(np.float64(x), df, 0.3, 0.2), atol=2e-6 if df >= 8 else 1e-5
        )
    for logit in (-200.0, -3.0, -1e-3, 0.0, 1e-7, 1e-3, 3.0, 200.0):
        u = of(likelihoods.continuous_bernoulli(), np.full(61, logit, np.float32), unit)
        wide = unit.astype(float)
        exact = wide if abs(logit) < 1e-5 else 1 - np.expm1(-logit * (1 - wide)) / np.expm1(-logit)
        np.testing.assert_allclose(u, np.where(abs(logit) < 1e-5, wide, exact), **near)
    raw = np.random.default_rng(0).normal(size=(2, 61)).astype(np.float32) * 4
    family = likelihoods.beta(squeeze=1 / 512)
    mean, variance = (np.asarray(f({}, raw), float) for f in (family.mean, family.variance))
    m, v = mean * (255 / 256) + 1 / 512, variance * (255 / 256) ** 2
    total = m * (1 - m) / v - 1
    expected = stats.beta.cdf(1 / 512 + unit * (255 / 256), m * total, (1 - m) * total)
    np.testing.assert_allclose(of(family, raw, unit), expected, atol=1e-4)


def constant(theta):
    """A model whose decoder says ``theta`` whatever z is."""
    standard = DiagGaussian(jnp.zeros(2), jnp.zeros(2))
    return VAE(lambda key: {}, lambda params, x: standard, lambda params, z: theta + 0.0 * z[0])


def test_a_sigma_too_small_by_two_undercovers_as_the_closed_form_says():
    likelihood = likelihoods.gaussian("fixed", sigma=0.1)
    vae = constant(jnp.full(50, 0.5))
    params = {"model": {}, "likelihood": likelihood.init((50,))}
    x = 0.5 + 0.2 * jax.random.normal(jax.random.key(1), (1003, 50))
    run = make_reliability(Evaluator(vae, likelihood, batch_size=250))
    found = run(params, x, jax.random.key(2))
    expected = 2 * stats.norm.cdf(stats.norm.ppf(0.5 + 0.5 * LEVELS) / 2) - 1
    error = np.asarray(found["standard_error"])
    assert np.all(np.abs(found["coverage"] - expected) < 4 * error)
    # Pixels of one example are independent here, so both standard errors agree.
    np.testing.assert_allclose(error, np.sqrt(expected * (1 - expected) / x.size), rtol=0.15)
    assert found["deviation"] == pytest.approx(np.mean(expected - LEVELS), abs=4e-3) and found["error"] > 0.2
    assert found["values"] == x.size and sum(found["pit"]) == pytest.approx(1)
    assert found["pit"][0] > 3 / BINS  # both tails are too full
    other = make_reliability(Evaluator(vae, likelihood, batch_size=77))(params, x, jax.random.key(2))
    np.testing.assert_allclose(other["coverage"], found["coverage"], rtol=1e-12)
    assert run(params, x, jax.random.key(2), 250)["values"] == 250 * 50


def test_a_true_model_with_its_true_posterior_is_calibrated():
    likelihood, params, _ = bed_optimum(1.0, 0.1)
    params = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), params)
    z = jax.random.normal(jax.random.key(0), (4000, 6))
    x = z @ params["model"]["w"].T + math.sqrt(0.1) * jax.random.normal(jax.random.key(1), (4000, DIM))
    key = jax.random.key(2)
    found = make_reliability(Evaluator(LINEAR, likelihood, batch_size=2000))(params, x, key)
    counts = np.asarray(found["pit"]) * x.size
    assert np.sum(np.square(counts - x.size / BINS)) / (x.size / BINS) < LIMIT
    assert np.all(np.abs(np.asarray(found["coverage"]) - LEVELS) < 4 * np.asarray(found["standard_error"]))
    # Planted: the posterior mean in place of a sample knows the noise of x too well, and covers too much.
    sure = LINEAR._replace(encode=lambda params, x: LINEAR.encode(params, x)._replace(logvar=jnp.full(6, -60.0)))
    wrong = make_reliability(Evaluator(sure, likelihood, batch_size=2000))(params, x, key)
    assert wrong["deviation"] > 0.05 and abs(found["deviation"]) < 0.005


def test_certain_values_do_not_hide_the_others():
    # 40 of 50 pixels are black and known to be; of the rest the model says 0.9 or 0.1, and 0.7 and 0.3 are true.
    told, true = np.full(50, 1e-4), np.full(50, 0.0)
    told[:10], true[:10] = [0.9, 0.1] * 5, [0.7, 0.3] * 5
    likelihood = likelihoods.bernoulli()
    vae = constant(jnp.asarray(np.log(told / (1 - told)), jnp.float32))
    params = {"model": {}, "likelihood": {}}
    x = jax.random.bernoulli(jax.random.key(1), jnp.asarray(true), (2003, 50)).astype(jnp.float32)
    found = make_reliability(Evaluator(vae, likelihood, batch_size=500))(params, x, jax.random.key(2))
    assert found["share"] == pytest.approx(0.2) and found["values"] == 2003 * 10
    # u is uniform on (0, 0.9) with probability 0.7 and on (0.9, 1) with 0.3, or the other way round.
    half = 0.5 * LEVELS
    expected = 0.7 / 0.9 * (np.minimum(0.5 + half, 0.9) - 0.5 + half) + 3.0 * np.maximum(half - 0.4, 0.0)
    assert np.all(np.abs(found["coverage"] - expected) < 4 * np.asarray(found["standard_error"]))
    assert found["deviation"] == pytest.approx(np.mean(expected - LEVELS), abs=0.01) and found["deviation"] < -0.08
    sure = constant(jnp.full(50, -20.0))
    found = make_reliability(Evaluator(sure, likelihood, batch_size=500))(params, 0.0 * x, jax.random.key(2))
    assert "certain" in found["skipped"]


def test_what_is_not_a_number_is_outside_and_no_function_is_said():
    assert np.asarray(histogram(jnp.asarray([math.nan, 0.0, 1.0, 0.5]))).sum() == 3
    bare = likelihoods.bernoulli()._replace(cdf=None)
    assert likelihoods.blocks([(bare, 2)]).cdf is None
    assert "skipped" in make_reliability(Evaluator(LINEAR, bare))({}, jnp.zeros((3, DIM)), None)


def test_coverage_counts_bins_from_the_middle():
    counts = np.arange(BINS)
    np.testing.assert_array_equal(coverage(counts)[[0, -1]], [19 + 20, counts[1:-1].sum()])
    draws = np.random.default_rng(0).uniform(size=(2000, 30))
    each = np.stack([np.histogram(u, BINS, (0, 1))[0] for u in draws])
    assert within_standard_errors(coverage(each) / 30, LEVELS, 4)
