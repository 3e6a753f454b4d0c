"""Evaluation: exact over every example, one ELBO, and numbers whose value is known."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import likelihoods, models
from vae_jax.evaluation import Evaluator, make_scorer, make_swapped, summarise
from vae_jax.evaluation.rate import active_units, information_per_latent, used_latents
from vae_jax.gaussian import DiagGaussian
from vae_jax.runs.results import _latents
from vae_jax.types import VAE

EVENT = (4, 4, 1)
DATA = jnp.asarray(np.random.default_rng(0).random((53, *EVENT)), jnp.float32)


def noisy(key, raw):
    return jnp.clip(raw + 0.01 * jax.random.normal(key, raw.shape), 0.0, 1.0)


def small(likelihood):
    vae = models.mlp(EVENT, likelihood.theta_shape(EVENT), 3, (16,))
    return vae, {"model": vae.init(jax.random.key(0)), "likelihood": likelihood.init(EVENT)}


def test_neither_the_batch_size_nor_the_company_changes_a_score():
    # Trap 59: the mean of batch means would weigh the last of 53 = 26 + 26 + 1 examples 26 times. Trap 27: nothing of
    # evaluation is fitted to the batch being scored, the optimal variance included.
    likelihood = likelihoods.gaussian("optimal")
    vae, params = small(likelihood)
    params["likelihood"] = {"squared_error": jnp.float32(0.02), "weight": jnp.float32(0.5)}
    np.testing.assert_allclose(likelihood.sigma(params["likelihood"]), 0.2, rtol=1e-6)
    whole = make_scorer(Evaluator(vae, likelihood, noisy, 53))(params, DATA, jax.random.key(1), 7)
    scorer = make_scorer(Evaluator(vae, likelihood, noisy, 26))
    for n in (53, 1):
        other = scorer(params, DATA[:n], jax.random.key(1), 7)
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(other), strict=True):
            assert b.shape[0] == n
            np.testing.assert_allclose(a[:n], b, rtol=2e-5, atol=2e-6)  # float32 sums in another order
    mean_of_means = np.mean([whole.rate[:52].mean(), whole.rate[52:].mean()])
    assert abs(mean_of_means - whole.rate.mean()) > 1e-4


def test_the_summary_is_the_bound_and_its_parts():
    likelihood = likelihoods.gaussian("fixed", sigma=0.3)
    vae, params = small(likelihood)
    seen, scorer = [], make_scorer(Evaluator(vae, likelihood, noisy, 20))
    s = summarise(scorer(params, DATA, jax.random.key(1), 5, watch=seen.append), 16)
    assert seen == [20, 20, 13]  # progress counts every example once
    assert s["elbo"] == -(s["rate"] + s["distortion"])
    np.testing.assert_allclose(s["rate"], sum(s["kl_per_latent"]), rtol=1e-5)
    # distortion = SSE / (2 sigma^2) + D/2 log(2 pi sigma^2), and calibration = SSE / (D sigma^2)
    expected = 16 * s["mse"] / (2 * 0.09) + 8 * np.log(2 * np.pi * 0.09)
    np.testing.assert_allclose(s["distortion"], expected, rtol=1e-5)
    np.testing.assert_allclose(s["calibration"], s["mse"] / 0.09, rtol=1e-5)
    np.testing.assert_allclose(s["sigma"], 0.3, rtol=1e-5)
    assert s["iw_nll"] < -s["elbo"] + 0.5


def linear(weights, level, eigenvalues, dim):
    """The optimal linear VAE in the eigenbasis, as three plain functions (math: reverse water-filling)."""
    active = len(weights)
    v = jnp.asarray(weights / eigenvalues[:active], jnp.float32)
    logvar = jnp.log(jnp.asarray(level / eigenvalues[:active], jnp.float32))
    w = jnp.asarray(weights, jnp.float32)
    return VAE(
        init=lambda key: {},
        encode=lambda params, x: DiagGaussian(v * x[:active], logvar),
        decode=lambda params, z: jnp.zeros(dim).at[:active].set(w * z),
    )


def test_the_linear_bed_has_the_exact_likelihood_rate_units_and_calibration():
    eigenvalues = np.array([8, 4, 2, 1, 0.5, 0.25, 0.12, 0.06, 0.03, 0.015])
    variance = 0.05625  # the learned optimum at beta = 1 with 6 latents
    vae = linear(np.sqrt(eigenvalues[:6] - variance), variance, eigenvalues, 10)
    likelihood = likelihoods.gaussian("fixed", sigma=float(np.sqrt(variance)))
    # Data with exactly this covariance and mean zero.
    x = np.random.default_rng(0).standard_normal((500, 10))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / 500)).T * np.sqrt(eigenvalues)
    params = {"model": {}, "likelihood": likelihood.init((10,))}
    scorer = make_scorer(Evaluator(vae, likelihood, batch_size=64))
    # log p(x, z) / q(z|x) is constant in z, so every importance-weighted bound is the likelihood itself (trap 58). The
    # 33rd sample has a chunk to itself.
    s = summarise(scorer(params, jnp.asarray(x, jnp.float32), jax.random.key(2), 33), 10)
    assert abs(s["iw_nll"] - 9.473207627) < 1e-4
    assert abs(s["rate"] - 9.673568485) < 1e-4
    # One sample of z: the SSE of an example varies by about 0.4 of its mean, over 500 examples 0.02.
    assert abs(s["calibration"] - 1) < 0.06
    assert abs(s["elbo"] + 9.473207627) < 0.3
    assert s["active_units"] == 6
    np.testing.assert_allclose(s["second_moment"], 1.0, atol=1e-4)


def test_evaluating_at_the_mean_of_z_would_not_be_a_bound():
    # Trap 57: the sampled bound must lie below the value at z = mu on a model that reconstructs.
    eigenvalues = np.array([8, 4, 2, 1, 0.5, 0.25])
    variance = 0.05
    vae = linear(np.sqrt(eigenvalues - variance), variance, eigenvalues, 6)
    likelihood = likelihoods.gaussian("fixed", sigma=variance**0.5)
    params = {"model": {}, "likelihood": likelihood.init((6,))}
    x = jnp.asarray(np.random.default_rng(1).standard_normal((400, 6)) * np.sqrt(eigenvalues), jnp.float32)
    s = summarise(make_scorer(Evaluator(vae, likelihood))(params, x, jax.random.key(0)), 6)
    at_mean = jax.vmap(lambda x: likelihood.log_prob(params["likelihood"], vae.decode({}, vae.encode({}, x).mean), x))(
        x
    )
    assert float(at_mean.mean()) - s["rate"] > s["elbo"] + 2.0


def test_predicted_sigma_at_its_bound_is_counted():
    likelihood = likelihoods.gaussian("predicted", sigma=0.1, min_sigma=0.01)
    vae = VAE(
        init=lambda key: {},
        encode=lambda params, x: DiagGaussian(jnp.zeros(1), jnp.zeros(1)),
        decode=lambda params, z: jnp.stack([jnp.zeros(4), jnp.array([-50.0, -50.0, 0.0, 0.0])]),
    )
    scores = make_scorer(Evaluator(vae, likelihood))(
        {"model": {}, "likelihood": {}}, jnp.zeros((3, 4)), jax.random.key(0)
    )
    s = summarise(scores, 4)
    assert s["sigma_at_bound"] == 0.5  # x is the mean, so each density is that of the bound at its top
    assert s["nats_at_bound"] == pytest.approx(-2 * (math.log(0.01) + 0.5 * math.log(2 * math.pi)), rel=1e-5)


def test_a_sigma_that_the_bound_holds_back_counts_as_at_it():
    # Trained sigmas of constant dimensions stop at 1.05 to 1.2 times the bound, of which 1% saw none.
    likelihood = likelihoods.gaussian("per_dimension", sigma=0.1, min_sigma=0.01)
    vae = VAE(lambda key: {}, lambda p, x: DiagGaussian(jnp.zeros(1), jnp.zeros(1)), lambda p, z: jnp.zeros(3))
    own = {"u": jnp.log(jnp.expm1(jnp.log(jnp.array([1.05, 1.2, 2.0]))))}
    params = {"model": {}, "likelihood": own}
    s = summarise(make_scorer(Evaluator(vae, likelihood))(params, jnp.zeros((3, 3)), jax.random.key(0)), 3)
    assert s["sigma_at_bound"] == pytest.approx(2 / 3)
    expected = -math.log(0.01**2 * 1.05 * 1.2) - math.log(2 * math.pi)
    assert s["nats_at_bound"] == pytest.approx(expected, rel=1e-5) and s["nats_at_bound"] < -s["distortion"]


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_a_latent_is_used_by_what_it_carries_at_any_scale(scale):
    # Signal to noise 3 in the first latent, in the second 0.001, in the third nothing; a shift is no information.
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=(4000, 3)), np.ones(3)
    mean = scale * ((mean - mean.mean(0)) / mean.std(0) * np.sqrt([3.0, 1e-3, 0.0]) + 5.0)
    found = information_per_latent(mean, np.broadcast_to(scale**2 * variance, mean.shape))
    np.testing.assert_allclose(found, 0.5 * np.log1p([3.0, 1e-3, 0.0]), rtol=1e-9, atol=1e-12)
    assert (
        used_latents(found, 4000) == 1 and used_latents(found, 9) is None and active_units(mean).sum() == (scale == 1)
    )
    assert used_latents([np.nan, 1.0], 4000) is None


def test_few_test_examples_leave_the_verdict_to_the_training_split():
    train, test = ({"used_latents": used, "information_per_latent": [0.1 * used]} for used in (7, 3))
    for rows, expected in (((500, 900), (3, "test", 500)), ((1, 900), (7, "train", 900)), ((30, 20), (3, "test", 30))):
        found = _latents(test, train, *rows)
        assert (found["used_latents"], found["latents_split"], found["latents_rows"]) == expected


def test_swapped_codes_say_what_z_is_worth():
    likelihood = likelihoods.gaussian("fixed", sigma=0.3)
    vae, params = small(likelihood)
    key = jax.random.key(1)
    # A decoder that ignores z: nothing is lost with the code of another, whatever the rate.
    deaf = vae._replace(decode=lambda params, z: vae.decode(params, 0.0 * z))
    same = make_scorer(Evaluator(deaf, likelihood, batch_size=20))(params, DATA, key).distortion
    np.testing.assert_allclose(
        make_swapped(Evaluator(deaf, likelihood, batch_size=20))(params, DATA, key), same, rtol=1e-6
    )
    # A code that is the example: what is lost is the squared distance to another one, over 2 sigma^2.
    exact = vae._replace(
        encode=lambda params, x: DiagGaussian(x.reshape(-1), jnp.full(16, -40.0)),
        decode=lambda params, z: z.reshape(EVENT),
    )
    lost = make_swapped(Evaluator(exact, likelihood, batch_size=20))(params, DATA, key)
    lost -= 8 * np.log(2 * np.pi * 0.09)
    distances = np.square(np.asarray(DATA)[:, None] - np.asarray(DATA)[None]).sum((2, 3, 4)) / 0.18
    partner = np.argmin(np.abs(distances - lost[:, None]), axis=1)
    np.testing.assert_allclose(distances[np.arange(53), partner], lost, rtol=1e-4)
    assert sorted(partner) == list(range(53)) and not np.any(partner == np.arange(53))


def test_columns_of_classes_have_an_accuracy_and_a_log_loss_and_no_squared_error():
    # The codes 0 and 3 averaged would be a class that neither is: what is shown of z is the most probable one.
    parts = [
        (likelihoods.gaussian("fixed"), 1),
        (likelihoods.categorical(4, scale=1.0), 2),
        (likelihoods.bernoulli(), 1),
    ]
    likelihood, p = likelihoods.blocks(parts), np.array([[0.5, 0.0, 0.1, 0.4], [0.1, 0.6, 0.1, 0.2]]) + 1e-9
    theta = jnp.asarray(np.concatenate([[0.25], np.log(p).ravel(), [0.0]]), jnp.float32)
    own = likelihood.init((4,))
    np.testing.assert_allclose(likelihood.mean(own, theta), [0.25, 0.0, 1.0, 0.5])
    vae = VAE(lambda key: {}, lambda p, x: DiagGaussian(jnp.zeros(1), jnp.zeros(1)), lambda p, z: theta)
    x = np.array([[0.25, 0, 1, 1], [0.75, 3, 3, 1], [0.25, 0, 2, 0]], np.float32)
    scores = make_scorer(Evaluator(vae, likelihood))({"model": {}, "likelihood": own}, x, jax.random.key(0))
    s = summarise(scores, 4)
    assert s["mse"] == pytest.approx((0.25 + 3 * 0.25) / 6)  # of the two other columns
    loss = -np.log(p[[0, 1], np.int32(x[:, 1:3])])
    assert s["log_loss"] == pytest.approx(loss.mean(), rel=1e-5) and s["accuracy"] == pytest.approx(3 / 6)
    assert s["accuracy_per_column"] == [None, pytest.approx(2 / 3), pytest.approx(1 / 3), None]
    assert s["log_loss_per_column"][1:3] == pytest.approx(loss.mean(axis=0), rel=1e-5)
    alone = scores._replace(log_loss=scores.log_loss[:, 1:3], correct=scores.correct[:, 1:3])
    assert summarise(alone, 2)["mse"] is None and "accuracy" not in summarise(scores._replace(log_loss=None), 4)
