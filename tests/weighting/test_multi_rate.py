"""One model for every beta: its gates, its draws, and the whole water-filling curve from one training on the bed."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import BED_EIGENVALUES, BED_LATENTS
from helpers.parameters import drawn, shapes_of
from helpers.small_training import small

from experiments.claims.bed import DIM, FIXED, SIGMA2, SigmaPoints, bed_data, squared_error
from vae_jax import likelihoods, models, objective, schedules, weighting
from vae_jax.evaluation import Evaluator, make_scorer
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import bernoulli, gaussian
from vae_jax.linear_vae import predict
from vae_jax.models.rate_gates import WIDTH, log_variance_response, response
from vae_jax.train.optimizers import Rates, adam, learning_rates
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state, make_train_step
from vae_jax.types import Terms
from vae_jax.weighting.multi_rate import at_beta, at_eta, draw_etas, initial_eta, log_range, respond

RANGE = (0.1, 100.0)
# 6, 5, 4, 3, 2 and 0 latents in use; no water level is within 10% of an eigenvalue.
BETAS = (0.15, 0.3, 0.6, 1.0, 1.5, 1.8, 3.0, 4.0, 7.0, 8.5, 14.0, 16.0, 25.0, 28.0, 30.0, 90.0, 100.0)
# The gate^2 of a closed latent is about 1e-3, and 2.6e-3 at 10% above its eigenvalue (the rounding of its corner, which
# keeps it from dying), and half of that is its rate. So a thousandth of a nat for each latent counts as none.
NO_RATE = 1e-3 * BED_LATENTS
ONE = weighting.from_schedule(schedules.constant(1.0))


# ---------------------------------------------------------------- the bed


def noiseless(vae):
    """The model with the sigma points of its posterior in place of samples: nothing is random but the betas."""
    return vae._replace(encode=lambda params, x: SigmaPoints(*vae.encode(params, x)))


def gated_linear(beta_range):
    return noiseless(models.mlp((DIM,), (DIM,), BED_LATENTS, (), beta_range))


def train(vae, likelihood, beta_range, steps=1000, rate=0.1, copies=80):
    """The parameters after ``steps`` of Adam, each with ``copies`` of the bed's rows and as many betas as rows."""
    falling = optax.schedules.cosine_decay_schedule(rate, steps)
    optimizer = adam(Rates(falling, falling), likelihood)
    recipe = Recipe(vae, likelihood, optimizer, ONE, beta_range=beta_range)
    step = make_train_step(recipe)
    x = jnp.tile(bed_data().astype(jnp.float32), (copies, 1))

    @jax.jit
    def run():
        state = init_state(recipe, (DIM,), jax.random.key(0))
        state, metrics = jax.lax.scan(lambda state, _: step(state, x), state, length=steps)
        return state.params, metrics

    return run()


def curve(vae, likelihood, params, betas):
    """``[(rate, squared error, variance)]`` at each beta, of the ordinary bound with the ordinary parameters."""
    x = bed_data().astype(jnp.float32)

    def at(beta):
        here = at_beta(params, beta)
        t = jax.vmap(lambda x: objective.terms(vae, likelihood, here, x, jax.random.key(0)))(x)
        sigma = likelihood.sigma(here["likelihood"])
        return jnp.mean(objective.rate(t)), jnp.mean(objective.distortion(t)), jnp.square(sigma)

    rates, distortions, variances = np.asarray(jax.jit(lambda betas: jax.lax.map(at, betas))(jnp.array(betas)))
    return list(zip(rates, map(float, squared_error(distortions, variances)), variances))


def deviations(found, betas, sigma2=SIGMA2):
    """Relative deviations from theory ``[betas, 3]``; of a rate that is 0, in units of ``NO_RATE / 1%``."""
    rows = []
    for beta, (rate, error, variance) in zip(betas, found):
        exact = predict(BED_EIGENVALUES, beta, sigma2, BED_LATENTS)
        off = rate / exact.rate - 1 if exact.rate else 0.01 * rate / NO_RATE
        rows.append((off, error / exact.distortion - 1, variance / exact.sigma2 - 1))
    return np.array(rows)


@functools.cache
def trained():
    vae = gated_linear(RANGE)
    return vae, *train(vae, FIXED, RANGE)


def test_one_trained_network_is_the_water_filling_curve():
    vae, params, metrics = trained()
    points = curve(vae, FIXED, params, (*BETAS, *np.geomspace(*RANGE, 40)))
    found = deviations(points[: len(BETAS)], BETAS)
    assert np.abs(found[:, :2]).max() < 0.01, found
    assert params["model"]["eta"] == initial_eta(RANGE)
    rates = [rate for rate, *_ in points[len(BETAS) :]]
    assert np.all(np.diff(rates) < 1e-5)  # the rate falls with beta (math: section 13)
    np.testing.assert_allclose(metrics["beta"][-1], math.sqrt(RANGE[0] * RANGE[1]), rtol=0.02)  # the geometric mean
    assert metrics["loss"][-1] > -metrics["elbo"][-1]


def test_the_ordinary_scorer_takes_the_model_at_a_beta():
    vae = models.mlp((DIM,), (DIM,), BED_LATENTS, (), RANGE)
    _, params, _ = trained()
    scorer = make_scorer(Evaluator(vae, FIXED, batch_size=20))
    for beta in (0.6, 4.0, 28.0):
        scores = scorer(at_beta(params, beta), np.asarray(bed_data(), np.float32), jax.random.key(0))
        assert np.mean(scores.rate) == pytest.approx(predict(BED_EIGENVALUES, beta, SIGMA2, BED_LATENTS).rate, rel=0.01)


def test_a_learned_sigma_follows_the_learned_variance_of_theory():
    """Here s = beta sigma^2(beta) is no power of beta, and the bend of the latents' response has to learn it."""
    low_high, betas = (0.4, 1.6), (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
    vae, likelihood = gated_linear(low_high), respond(gaussian("learned", sigma=0.5), low_high, knots=17)
    params, metrics = train(vae, likelihood, low_high, steps=2000, rate=0.05, copies=20)
    found = deviations(curve(vae, likelihood, params, betas), betas, sigma2=None)
    assert np.abs(found).max() < 0.02, found
    assert params["likelihood"]["knots"]["u"].shape == (17,)
    assert 0.17 < metrics["sigma"][-1] < 0.45  # between those of the ends of the range


# ---------------------------------------------------------------- the gates


def test_the_responses_and_their_gradients_are_finite_everywhere():
    u = jnp.concatenate([jnp.linspace(-100.0, 100.0, 801), jnp.array([-1e-8, 1e-8, -1e15, 1e15, -WIDTH, WIDTH])])
    for function in (response, log_variance_response):
        value, slope = jax.vmap(jax.value_and_grad(function))(u)
        assert np.all(np.isfinite(value)) and np.abs(slope).max() < 1 / np.sqrt(WIDTH)
    # A closed gate is not dead, and it is closed.
    assert jax.grad(response)(3.0) < 0 and 0 < response(3.0) ** 2 < 1.1e-3
    # Planted: the response without the rounded corner has no gradient there.
    assert not np.isfinite(jax.grad(lambda u: jnp.sqrt(jnp.maximum(0.0, -jnp.expm1(u))))(0.0))


def test_a_gated_model_begins_as_the_plain_one():
    event = (8, 8, 1)
    plain, gated = models.mlp(event, event, 3, (16,)), models.mlp(event, event, 3, (16,), beta_range=(0.5, 20.0))
    old, new = jax.jit(lambda key: (plain.init(key), gated.init(key)))(jax.random.key(0))
    assert set(old) == {"encoder", "decoder"} and set(new) == {"encoder", "decoder", "level", "eta"}
    assert new["eta"].dtype == jnp.float32 and new["eta"].shape == () and new["eta"] == 0.0
    for part in old:
        assert jax.tree.all(jax.tree.map(np.array_equal, old[part], {name: new[part][name] for name in old[part]}))
    x = np.random.default_rng(0).uniform(size=event).astype(np.float32)
    z = jnp.array([0.3, -1.0, 2.0])

    @jax.jit
    def both(beta):
        here = at_beta({"model": new, "likelihood": {}}, beta)["model"]
        gate = response(jnp.log(beta / 20.0) - 1.0)
        expected = plain.encode(old, x)
        mean, logvar = gate * expected.mean, expected.logvar + log_variance_response(jnp.log(beta / 20.0) - 1.0)
        return (*gated.encode(here, x), gated.decode(here, z)), (mean, logvar, plain.decode(old, gate * z))

    for beta in (0.5, 20.0):
        for found, expected in zip(*both(beta)):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", [models.mlp, models.conv])
def test_every_leaf_but_eta_learns_at_any_beta_and_stays_in_float32(model):
    event, likelihood = (8, 8, 1), bernoulli()
    vae = model(event, event, 3, (16,), beta_range=(0.5, 20.0))
    params = {"model": drawn(shapes_of(vae, event, event, 3)), "likelihood": {}}
    x = (np.random.default_rng(0).uniform(size=(6, *event)) < 0.3).astype(np.float32)
    eta = draw_etas(jax.random.key(1), jnp.arange(6), (0.5, 20.0))

    @jax.jit
    @jax.grad
    def gradient(params):
        def example(x, eta):
            return objective.terms(vae, likelihood, at_eta(params, eta), x, jax.random.key(2))

        return -objective.elbo(jax.vmap(example)(x, eta), jnp.exp(eta))

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        name = jax.tree_util.keystr(path)
        assert np.all(np.isfinite(leaf)) and np.any(leaf != 0) == (name != "['model']['eta']"), name


# ---------------------------------------------------------------- beta as a parameter


def test_eta_begins_at_beta_one_or_next_to_it():
    assert [float(initial_eta(r)) for r in ((0.1, 10.0), (2.0, 8.0), (0.1, 0.5))] == pytest.approx(
        [0.0, math.log(2.0), math.log(0.5)]
    )
    for wrong in ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="0 < low < high"):
            log_range(wrong)


def test_at_beta_sets_every_eta_and_nothing_else():
    params = {
        "model": {"encoder": jnp.ones(2), "eta": jnp.zeros(())},
        "likelihood": {"eta": jnp.zeros(()), "knots": {"u": jnp.arange(3.0)}},
    }
    there = at_beta(params, 4.0)
    assert there["model"]["eta"] == there["likelihood"]["eta"] == pytest.approx(math.log(4.0))
    assert there["model"]["encoder"] is params["model"]["encoder"] and params["model"]["eta"] == 0.0
    assert there["likelihood"]["knots"] is params["likelihood"]["knots"]
    assert at_beta({**params, "likelihood": {}}, 4.0)["likelihood"] == {}
    with pytest.raises(ValueError, match="no eta"):
        at_beta({"model": {"encoder": jnp.ones(2)}, "likelihood": {}}, 4.0)


def test_a_draw_covers_the_range_evenly_and_belongs_to_the_example():
    low, high = log_range(RANGE)
    for seed in range(5):
        eta = np.asarray(draw_etas(jax.random.key(seed), jnp.arange(64), RANGE))
        assert low <= eta.min() and eta.max() < high
        u = np.sort((eta - low) / (high - low))
        gaps = np.diff(np.append(u, u[0] + 1.0))
        # The golden ratio leaves gaps of at most three sizes, the largest below 2 / n; 64 independent draws would
        # leave one of about log(64) / n.
        assert gaps.max() < 2.0 / 64
        parts = [draw_etas(jax.random.key(seed), jnp.arange(i, i + 8), RANGE) for i in range(0, 64, 8)]
        np.testing.assert_array_equal(np.concatenate(parts), eta)
    starts = jax.vmap(lambda seed: draw_etas(jax.random.key(seed), jnp.arange(1), RANGE)[0])(jnp.arange(200))
    assert np.mean((starts - low) / (high - low)) == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / 200))
    independent = np.sort(np.random.default_rng(0).uniform(size=64))
    assert np.diff(independent).max() > 2.0 / 64  # planted


def test_a_family_that_responds_is_the_family_at_the_interpolated_parameters():
    base = gaussian("per_dimension", sigma=0.3)
    family = respond(base, (1.0, 16.0), knots=3)
    own = family.init((2,))
    assert own["knots"]["u"].shape == (3, 2) and own["eta"] == 0.0
    x, theta = jnp.array([0.2, 0.9]), jnp.array([0.1, 1.0])
    assert family.log_prob(own, theta, x) == base.log_prob(base.init((2,)), theta, x)
    own["knots"]["u"] = jnp.array([[0.0, 1.0], [2.0, 3.0], [3.0, 7.0]])
    for beta, u in ((1.0, [0, 1]), (2.0, [1, 2]), (4.0, [2, 3]), (8.0, [2.5, 5]), (16.0, [3, 7]), (64.0, [3, 7])):
        here, expected = {**own, "eta": jnp.log(beta)}, {"u": jnp.array(u, jnp.float32)}
        for name in ("log_prob", "cdf"):
            np.testing.assert_allclose(
                getattr(family, name)(here, theta, x), getattr(base, name)(expected, theta, x), rtol=1e-5
            )
        np.testing.assert_allclose(family.variance(here, theta), base.variance(expected, theta), rtol=1e-5)
        np.testing.assert_array_equal(family.mean(here, theta), theta)
        key = jax.random.key(0)
        np.testing.assert_allclose(family.sample(here, theta, key), base.sample(expected, theta, key), rtol=1e-5)


def test_what_does_not_learn_does_not_respond_and_optimal_is_refused():
    assert respond(FIXED, RANGE) is FIXED
    family = respond(bernoulli(), RANGE)
    assert family.init((3,)) == {} and family.sigma is None
    assert family.log_prob({}, jnp.zeros(3), jnp.ones(3)) == pytest.approx(-3 * math.log(2))
    with pytest.raises(ValueError, match="solved for in every batch"):
        respond(gaussian("optimal"), RANGE)
    with pytest.raises(ValueError, match="at least 2 knots"):
        respond(gaussian("learned"), RANGE, knots=1)


# ---------------------------------------------------------------- the training step


def test_the_elbo_takes_a_weight_for_each_example():
    rng = np.random.default_rng(0)
    q = DiagGaussian(jnp.asarray(rng.normal(size=(4, 2))), jnp.asarray(rng.normal(size=(4, 2))))
    log_px_z = jnp.asarray(rng.normal(size=(4, 3)))
    t = Terms(q, None, log_px_z, None, None)
    betas = jnp.array([0.1, 1.0, 3.0, 50.0])
    expected = np.mean(
        [
            objective.elbo(Terms(DiagGaussian(m, v), None, p, None, None), b)
            for m, v, p, b in zip(q.mean, q.logvar, log_px_z, betas)
        ]
    )
    assert float(objective.elbo(t, betas)) == pytest.approx(float(expected), rel=1e-6)
    assert float(objective.elbo(t, betas[::-1])) != pytest.approx(float(expected), rel=1e-2)


def test_only_the_elbo_and_a_weight_without_a_controller_are_taken():
    vae, likelihood = models.mlp((4,), (4,), 2, (), RANGE), gaussian("learned")
    optimizer = adam(learning_rates("constant", 1e-3, 10), likelihood)

    def make(likelihood=likelihood, weight=ONE, bound=objective.elbo):
        return make_train_step(Recipe(vae, likelihood, optimizer, weight, bound, beta_range=RANGE))

    make()
    with pytest.raises(ValueError, match="only the ELBO"):
        make(bound=objective.iwae)
    with pytest.raises(ValueError, match="controller"):
        make(weight=weighting.pi(10.0, 0.01, 0.01))
    with pytest.raises(ValueError, match="solved for"):
        make(likelihood=likelihoods.gaussian("optimal"))
    with pytest.raises(ValueError, match="0 < low < high"):
        make_train_step(Recipe(vae, likelihood, optimizer, ONE, beta_range=(2.0, 1.0)))


def test_one_device_and_two_under_pmap_agree():
    ends, logged = {}, {}
    for mode, devices in (("jit", 1), ("pmap", 2)):
        one = small(respond(gaussian("learned"), RANGE), ONE, mode=mode, devices=devices, beta_range=RANGE)
        state, logged[mode] = jax.device_get(one.run(one.state, 5))
        ends[mode] = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.params)])
        assert state.params["model"]["eta"] == state.params["likelihood"]["eta"] == 0.0
    np.testing.assert_allclose(ends["pmap"], ends["jit"], atol=1e-5)
    for metric in ("loss", "elbo", "rate", "distortion", "beta", "sigma"):
        np.testing.assert_allclose(logged["pmap"][metric], logged["jit"][metric], rtol=1e-4, err_msg=metric)
