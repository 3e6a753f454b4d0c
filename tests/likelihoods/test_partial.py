"""Missing values and constant dimensions: left out exactly, against closed forms and complete data of fewer columns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vae_jax.evaluation.batches import Evaluator
from vae_jax.evaluation.bounds import make_scorer, summarise
from vae_jax.evaluation.reliability import make_reliability
from vae_jax.gaussian import DiagGaussian, standard_normal_log_prob
from vae_jax.likelihoods import (
    bernoulli,
    beta,
    blocks,
    categorical,
    continuous_bernoulli,
    discretized_logistic,
    gaussian,
    laplace,
    log_normal,
    negative_binomial,
    partial,
    poisson,
    student_t,
    tokens,
)
from vae_jax.types import VAE
from vae_jax.weighting.multi_rate import respond

# Two columns of every family, and a value that each can take.
FAMILIES = {
    "gaussian": (gaussian(), 0.3),
    "per_dimension": (gaussian("per_dimension"), 0.3),
    "predicted": (gaussian("predicted"), 0.3),
    "laplace": (laplace(), -1.0),
    "student_t": (student_t(), 2.0),
    "bernoulli": (bernoulli(), 1.0),
    "continuous_bernoulli": (continuous_bernoulli(), 0.4),
    "beta": (beta(), 0.2),
    "categorical": (categorical(3, scale=1.0), 2.0),
    "mixture": (discretized_logistic(5, components=2), 0.5),
    "poisson": (poisson(), 7.0),
    "negative_binomial": (negative_binomial(), 3.0),
    "log_normal": (log_normal(), 2.5),
}
TABLE = partial(blocks([(family, 2) for family, _ in FAMILIES.values()]))
WHOLE = np.repeat([value for _, value in FAMILIES.values()], 2)


def test_the_parts_of_each_family_are_those_of_its_sum(x64):
    theta = jax.random.normal(jax.random.key(0), TABLE.theta_shape(WHOLE.shape)) * 3
    own = jax.tree.map(lambda v: jnp.asarray(v, float), TABLE.init(WHOLE.shape))
    own = jax.tree.map(lambda v: v + 0.3 * jnp.arange(v.size).reshape(v.shape), own)  # each column its own
    terms = jax.jit(TABLE.terms)(own, theta, WHOLE)
    start = 0
    for i, (family, value) in enumerate(FAMILIES.values()):
        mine, size = own.get(str(i), {}), int(np.prod(family.theta_shape((2,))))
        t = theta[start : start + size].reshape(family.theta_shape((2,)))
        start += size
        assert float(family.log_prob(mine, t, jnp.full(2, value))) == pytest.approx(
            float(sum(terms[2 * i : 2 * i + 2]))
        )


def test_a_missing_value_leaves_its_term_out_and_no_gradient():
    own, x = TABLE.init(WHOLE.shape), np.float32(WHOLE)
    # theta where a derivative that should not be taken overflows.
    theta = jax.random.normal(jax.random.key(1), TABLE.theta_shape(WHOLE.shape)) * 50.0

    @jax.jit
    @jax.vmap
    def everything(kept):
        missing = jnp.where(kept, x, jnp.nan)
        value, slope = jax.value_and_grad(TABLE.log_prob, (0, 1))(own, theta, missing)
        others = jax.grad(lambda own, theta: jnp.sum(TABLE.terms(own, theta, x) * kept), (0, 1))(own, theta)
        gone = jax.grad(lambda own, theta: jnp.sum(TABLE.terms(own, theta, missing) * ~kept), (0, 1))(own, theta)
        return value, slope, others, gone, jnp.sum(TABLE.terms(own, theta, missing) * ~kept)

    columns = np.eye(len(WHOLE), dtype=bool)
    value, slope, others, gone, nothing = everything(~columns)
    each = np.asarray(TABLE.terms(own, theta, x), np.float64)
    np.testing.assert_allclose(value, each.sum() - each, rtol=1e-5)
    assert not np.any(nothing)
    for mine, without, none in zip(*map(jax.tree.leaves, (slope, others, gone)), strict=True):
        assert np.isfinite(mine).all()
        np.testing.assert_allclose(mine, without, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(none, 0.0)  # what is missing pulls at nothing


def test_nothing_observed_is_nothing_said():
    own, nothing = TABLE.init(WHOLE.shape), np.full(WHOLE.shape, np.nan, np.float32)
    theta = jnp.ones(TABLE.theta_shape(WHOLE.shape))
    value, slope = jax.jit(jax.value_and_grad(TABLE.log_prob, (0, 1)))(own, theta, nothing)
    assert float(value) == 0.0 and all(not np.any(leaf) for leaf in jax.tree.leaves(slope))
    assert not TABLE.counted(nothing).any() and TABLE.counted(WHOLE).all()
    assert np.isnan(TABLE.cdf(own, theta, nothing)).all()
    # What the family says of x does not look at it.
    for function in (TABLE.mean, TABLE.variance):
        assert np.isfinite(function(own, theta)).all()
    assert np.isfinite(TABLE.sample(own, theta, jax.random.key(0))).all()


def test_what_cannot_be_taken_apart_is_refused():
    for family in (tokens(7), gaussian("optimal")):
        with pytest.raises(ValueError):
            partial(family)
    assert blocks([(tokens(7)._replace(init=lambda event: {}), 1), (bernoulli(), 1)]).terms is None


# ---------------------------------------------------------------- a linear model, whose marginal is known

DIM, LATENTS, SIGMA = 5, 2, 0.4
RNG = np.random.default_rng(0)
W, MU = RNG.normal(size=(DIM, LATENTS)), RNG.normal(size=DIM)
ROWS = RNG.normal(size=(40, LATENTS)) @ W.T + MU + SIGMA * RNG.normal(size=(40, DIM))
ROWS[RNG.random(ROWS.shape) < 0.35] = np.nan
ROWS[0] = np.nan


def _marginal(x):
    there = ~np.isnan(x)
    if not there.any():
        return 0.0
    covariance = W @ W.T + SIGMA**2 * np.eye(DIM)
    return float(stats.multivariate_normal.logpdf(x[there], MU[there], covariance[np.ix_(there, there)]))


def _posterior(x):
    """The exact posterior of z given what is observed of x, mean and covariance."""
    w = jnp.where(jnp.isnan(x)[:, None], 0.0, W)
    covariance = jnp.linalg.inv(jnp.eye(LATENTS) + w.T @ w / SIGMA**2)
    return covariance @ w.T @ jnp.where(jnp.isnan(x), 0.0, x - MU) / SIGMA**2, covariance


def test_the_bound_is_the_marginal_of_what_is_observed(x64):
    likelihood = partial(gaussian("fixed", sigma=SIGMA))
    own = {"log_sigma": jnp.log(SIGMA)}

    @jax.jit
    @jax.vmap
    def log_p(x):  # Bayes: log p(x|z) + log p(z) - log p(z|x), the same at every z
        mean, covariance = _posterior(x)
        z = mean + jnp.asarray([0.7, -1.3])
        posterior = jax.scipy.stats.multivariate_normal.logpdf(z, mean, covariance)
        return likelihood.log_prob(own, W @ z + MU, x) + standard_normal_log_prob(z) - posterior

    expected = [_marginal(x) for x in ROWS]
    np.testing.assert_allclose(log_p(ROWS), expected, rtol=1e-9, atol=1e-9)
    # Planted: zeros in place of what is missing, as often done, are another model.
    assert np.abs(np.asarray(log_p(np.nan_to_num(ROWS))) - expected).max() > 1.0


def _linear(decode=lambda params, z: jnp.asarray(W[:, :1] @ z + MU)):
    def encode(params, x):  # of one latent, so that a diagonal Gaussian is exact
        w = jnp.where(jnp.isnan(x), 0.0, W[:, 0])
        precision = 1.0 + jnp.sum(w**2) / SIGMA**2
        mean = jnp.sum(w * jnp.where(jnp.isnan(x), 0.0, x - MU)) / SIGMA**2 / precision
        return DiagGaussian(mean[None], -jnp.log(precision)[None])

    return VAE(lambda key: {}, encode, decode)


def test_results_leave_out_what_is_missing(x64):
    likelihood, params = (
        partial(gaussian("fixed", sigma=SIGMA)),
        {"model": {}, "likelihood": {"log_sigma": jnp.log(SIGMA)}},
    )
    rows = ROWS.copy()
    there = ~np.isnan(rows)
    evaluator = Evaluator(_linear(), likelihood, batch_size=16)
    scores = make_scorer(evaluator)(params, jnp.asarray(rows), jax.random.key(0), 8)
    summary = summarise(scores, DIM)
    covariance = W[:, :1] @ W[:, :1].T + SIGMA**2 * np.eye(DIM)
    exact = [
        stats.multivariate_normal.logpdf(x[t], MU[t], covariance[np.ix_(t, t)]) if t.any() else 0.0
        for x, t in zip(rows, there)
    ]
    # With q the posterior every importance sample weighs the same: L_K is log p(x).
    np.testing.assert_allclose(scores.iw_nll, -np.asarray(exact), rtol=1e-8, atol=1e-8)
    assert summary["counted_dim"] == pytest.approx(there.sum() / len(rows))
    assert summary["sigma"] == pytest.approx(SIGMA) and summary["sigma_at_bound"] == 0
    assert summary["mse"] == pytest.approx(scores.squared_error.sum() / there.sum())
    assert summary["calibration"] == pytest.approx(summary["mse"] / SIGMA**2)
    assert all(np.isfinite(v) for v in jax.tree.leaves(summary))
    # Of complete rows all numbers are those of the plain family, in the same bits but for the last.
    complete = jnp.asarray(np.nan_to_num(rows))
    plain = summarise(
        make_scorer(evaluator._replace(likelihood=gaussian("fixed", sigma=SIGMA)))(
            params, complete, jax.random.key(0), 8
        ),
        DIM,
    )
    same = summarise(make_scorer(evaluator)(params, complete, jax.random.key(0), 8), DIM)
    assert same.pop("counted_dim") == DIM
    for name, value in plain.items():
        np.testing.assert_allclose(same[name], value, rtol=1e-12, err_msg=name)
    reliability = make_reliability(evaluator)(params, jnp.asarray(rows), jax.random.key(0))
    assert reliability["values"] == there.sum() and reliability["share"] == pytest.approx(there.mean())


def test_columns_of_classes_count_what_is_there():
    likelihood = partial(blocks([(gaussian(), 1), (categorical(3, scale=1.0), 2)]))
    decode = lambda params, z: jnp.asarray([0.5, 3.0, 0, 0, 0, 0, 2.0])  # noqa: E731
    vae = VAE(lambda key: {}, lambda params, x: DiagGaussian(jnp.zeros(1), jnp.zeros(1)), decode)
    params = {"model": {}, "likelihood": likelihood.init((3,))}
    rows = jnp.asarray([[0.1, 0, jnp.nan], [jnp.nan, 1, jnp.nan], [0.9, jnp.nan, jnp.nan], [jnp.nan] * 3])
    summary = summarise(make_scorer(Evaluator(vae, likelihood))(params, rows, jax.random.key(0)), 3)
    assert summary["mse"] == pytest.approx(0.16) and summary["counted_dim"] == 1.0
    assert summary["accuracy_per_column"] == [None, 0.5, None] and summary["accuracy"] == 0.5
    nothing = summarise(
        make_scorer(Evaluator(vae, likelihood))(params, jnp.full((2, 3), jnp.nan), jax.random.key(0)), 3
    )
    assert [nothing[k] for k in ("mse", "calibration", "sigma", "accuracy")] == [None] * 4
    assert nothing["distortion"] == 0.0


# ---------------------------------------------------------------- constant dimensions


@pytest.mark.parametrize("precision", ["per_dimension", "predicted"])
def test_a_constant_pixel_has_no_term(precision):
    family = gaussian(precision, sigma=0.3)
    event, constants = (2, 3, 1), ((0, 0.0), (4, 0.25))
    likelihood = respond(partial(family, constants), (0.1, 10.0))
    own = likelihood.init(event)
    theta = jax.random.normal(jax.random.key(0), family.theta_shape(event))
    x = jax.random.uniform(jax.random.key(1), event)
    varies = np.ones(6, bool)
    varies[[0, 4]] = False
    varies = varies.reshape(event)
    assert (likelihood.counted(x) == varies).all()
    value, slope = jax.jit(jax.value_and_grad(likelihood.log_prob, 1))(own, theta, x)
    plain = np.asarray(family.terms(family.init(event), theta, x))
    assert float(value) == pytest.approx(float(plain[varies].sum()), rel=1e-6)
    assert not np.any(slope[..., ~varies]) if precision == "predicted" else not np.any(slope[~varies])
    mean, variance = likelihood.mean(own, theta), likelihood.variance(own, theta)
    np.testing.assert_array_equal(mean[~varies], np.float32([0.0, 0.25]))
    np.testing.assert_array_equal(variance[~varies], 0.0)
    assert (np.asarray(variance)[varies] > 0).all()
    np.testing.assert_array_equal(likelihood.sample(own, theta, jax.random.key(2))[~varies], np.float32([0.0, 0.25]))
