"""The bound: its terms, its identities, and its exact value on a linear VAE before and after training."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import BED_EIGENVALUES, BED_LATENTS, golden, within_standard_errors
from linear_bed import DIM, LINEAR, batch_terms, bed_data, bed_log_likelihood, bed_optimum, exact_terms, squared_error
from scipy import stats

from vae_jax import objective
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import gaussian
from vae_jax.linear_vae import predict
from vae_jax.models import mlp
from vae_jax.types import Terms

# ---------------------------------------------------------------- shapes and identities


@functools.cache
def _mlp_terms(num_samples=5):
    likelihood = gaussian("learned")
    vae = mlp((4, 2), likelihood.theta_shape((4, 2)), 3, (8,))
    params = {"model": jax.jit(vae.init)(jax.random.key(0)), "likelihood": likelihood.init((4, 2))}
    x = jax.random.uniform(jax.random.key(1), (3, 4, 2))
    return batch_terms(likelihood, params, x, jax.random.key(2), num_samples, vae), vae, likelihood, params, x


@pytest.mark.parametrize("num_samples", [1, 5])
def test_shapes_of_the_terms(num_samples):
    t, vae, likelihood, params, x = _mlp_terms(num_samples)
    assert t.q.mean.shape == t.q.logvar.shape == (3, 3)
    assert t.z.shape == (3, num_samples, 3)
    for field in (t.log_px_z, t.log_pz, t.log_qz):
        assert field.shape == (3, num_samples) and field.dtype == jnp.float32
    assert objective.rate(t).shape == objective.distortion(t).shape == objective.iwae_per_example(t).shape == (3,)
    assert objective.elbo(t).shape == objective.iwae(t).shape == ()
    key = jax.random.split(jax.random.key(2), 3)[0]
    one = jax.jit(lambda: objective.terms(vae, likelihood, params, x[0], key, num_samples))()
    assert one.z.shape == (num_samples, 3) and one.log_px_z.shape == (num_samples,)
    np.testing.assert_allclose(one.log_px_z, t.log_px_z[0], rtol=1e-5)
    assert objective.elbo(one).shape == ()


def test_each_term_is_what_it_says():
    t, vae, likelihood, params, x = _mlp_terms()
    for b in range(3):
        q = vae.encode(params["model"], x[b])
        for s in range(0, 5, 2):
            z = t.z[b, s]
            theta = vae.decode(params["model"], z)
            log_px_z = likelihood.log_prob(params["likelihood"], theta, x[b])
            assert float(t.log_px_z[b, s]) == pytest.approx(float(log_px_z), rel=1e-5)
            assert float(t.log_pz[b, s]) == pytest.approx(stats.norm.logpdf(z).sum(), rel=1e-5)
            std = np.exp(0.5 * np.asarray(q.logvar))
            assert float(t.log_qz[b, s]) == pytest.approx(stats.norm.logpdf(z, q.mean, std).sum(), rel=1e-4, abs=1e-4)
    # Every (example, sample) has its own z.
    assert len(np.unique(np.asarray(t.z)[..., 0])) == 15


def test_elbo_is_the_mean_of_minus_distortion_minus_weighted_rate():
    t, *_ = _mlp_terms()
    rate, distortion = np.asarray(objective.rate(t)), np.asarray(objective.distortion(t))
    np.testing.assert_allclose(distortion, -np.asarray(t.log_px_z).mean(1), rtol=1e-6)
    np.testing.assert_allclose(rate, np.asarray(t.q.kl()).sum(1), rtol=1e-6)
    for weight in (0.0, 0.3, 1.0, 4.0):
        assert float(objective.elbo(t, weight)) == pytest.approx(-np.mean(distortion + weight * rate), rel=1e-6)
    assert float(objective.elbo(t)) == float(objective.elbo(t, 1.0))
    assert float(objective.elbo(t, 0.0)) == pytest.approx(-distortion.mean(), rel=1e-6)  # beta 0: the NLL alone
    for weight in (0.3, 4.0):  # not ignored, not applied twice, no hidden factor
        slope = jax.grad(lambda w: -objective.elbo(t, w))(weight)
        assert float(slope) == pytest.approx(rate.mean(), rel=1e-6)


def test_the_loss_of_a_doubled_batch_is_the_loss():
    t, *_ = _mlp_terms()
    twice = jax.tree.map(lambda a: jnp.concatenate([a, a]), t)
    for bound in (objective.elbo, objective.iwae):
        assert float(bound(twice, 2.0)) == pytest.approx(float(bound(t, 2.0)), rel=1e-6)
    # One term averaged and the other summed over the batch would not pass.
    mixed = lambda t: jnp.mean(objective.distortion(t)) + jnp.sum(objective.rate(t))  # noqa: E731
    excess = float(jnp.sum(objective.rate(t)))
    assert float(mixed(twice) - mixed(t)) == pytest.approx(excess, rel=1e-2) and excess > 0.05


def test_half_precision_networks_are_scored_in_float32():
    vae = LINEAR._replace(
        encode=lambda params, x: DiagGaussian(*(f.astype(jnp.bfloat16) for f in LINEAR.encode(params, x))),
        decode=lambda params, z: LINEAR.decode(params, z).astype(jnp.bfloat16),
    )
    likelihood = gaussian("learned")
    params = {"model": vae.init(jax.random.key(0)), "likelihood": likelihood.init((DIM,))}
    t = batch_terms(likelihood, params, jnp.asarray(bed_data()[:2], jnp.float32), jax.random.key(1), 4, vae)
    assert {f.dtype for f in (t.z, t.log_px_z, t.log_pz, t.log_qz)} == {jnp.dtype("float32")}
    assert objective.elbo(t).dtype == objective.iwae(t).dtype == objective.rate(t).dtype == jnp.float32


def test_float32_terms_stay_float32_in_a_64_bit_program(x64):
    t = Terms(DiagGaussian(*2 * [jnp.zeros(2, jnp.float32)]), *(jnp.zeros(s, jnp.float32) for s in ((3, 2), 3, 3, 3)))
    assert objective.elbo(t, 0.5).dtype == objective.iwae(t, 0.5).dtype == jnp.float32


def test_analytic_rate_is_the_monte_carlo_rate():
    t, *_ = _mlp_terms(num_samples=20_000)
    for b in range(3):
        assert within_standard_errors(t.log_qz[b] - t.log_pz[b], float(objective.rate(t)[b]), 4)
    monte_carlo = t.log_px_z + t.log_pz - t.log_qz
    assert within_standard_errors(np.asarray(monte_carlo).mean(0), float(objective.elbo(t)), 4)


def test_the_same_key_gives_the_same_terms_and_another_key_others():
    first, vae, likelihood, params, x = _mlp_terms()
    again, other = (batch_terms(likelihood, params, x, jax.random.key(k), 5, vae) for k in (2, 3))
    np.testing.assert_array_equal(first.z, again.z)
    assert not np.any(np.asarray(first.z) == np.asarray(other.z))


# ---------------------------------------------------------------- importance weights


def _weights(log_w):
    """Terms of a batch with these log weights ``[b, s]``."""
    log_w = jnp.asarray(log_w, float)
    q = DiagGaussian(jnp.zeros((len(log_w), 1)), jnp.zeros((len(log_w), 1)))
    return Terms(q, jnp.zeros((*log_w.shape, 1)), log_w, jnp.zeros_like(log_w), jnp.zeros_like(log_w))


@pytest.mark.parametrize(
    ("log_w", "expected"),
    [([-100.0, -101.0, -105.0], "-100.780436859"), ([-1000.0, 0.0], "-.693147181"), ([-90.5] * 4, "-90.5")],
)
def test_iwae_golden(log_w, expected, x64):
    assert float(objective.iwae(_weights([log_w]))) == golden(expected)
    assert float(objective.iwae_per_example(_weights([log_w, log_w]))[1]) == golden(expected)
    assert float(objective.iwae(_weights([log_w]))) >= np.mean(log_w) - 1e-12
    with jax.enable_x64(False):
        assert float(objective.iwae(_weights([log_w]))) == golden(expected, single=True)


def test_iwae_does_not_pool_examples(x64):
    log_w = np.array([[-100.0, -101.0, -105.0], [-3.0, -2.0, -7.0]])
    each = np.log(np.mean(np.exp(log_w - log_w.max(1, keepdims=True)), 1)) + log_w.max(1)
    assert float(objective.iwae(_weights(log_w))) == pytest.approx(each.mean(), rel=1e-12)
    pooled = np.log(np.mean(np.exp(log_w)))
    before_the_log = np.log(np.mean(np.exp(log_w.mean(0))))
    for wrong in (pooled, before_the_log, log_w.mean()):
        assert abs(float(objective.iwae(_weights(log_w))) - wrong) > 0.1


def test_iwae_weighs_prior_and_posterior_only(x64):
    t = _weights([[-5.0, -6.0]])._replace(log_pz=jnp.array([[-1.0, -2.0]]), log_qz=jnp.array([[-0.5, 0.5]]))
    for weight in (0.0, 1.0, 3.0):
        log_w = np.array([-5.0 + weight * -0.5, -6.0 + weight * -2.5])
        assert float(objective.iwae(t, weight)) == pytest.approx(np.log(np.mean(np.exp(log_w))), rel=1e-12)


def test_iwae_gradient_is_the_weighted_mean():
    log_w = jnp.array([[-1000.0, 0.0, -1.0]])
    gradient = jax.grad(lambda w: objective.iwae(_weights(w)))(log_w)
    np.testing.assert_allclose(gradient, jax.nn.softmax(log_w), rtol=1e-6)


# ---------------------------------------------------------------- exact on the linear bed


def test_bed_data_has_exactly_the_eigenvalues(x64):
    x = np.asarray(bed_data())
    np.testing.assert_allclose(x.mean(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(x.T @ x / len(x))[::-1], BED_EIGENVALUES, rtol=1e-10)


def test_at_the_optimum_every_bound_is_the_log_likelihood(x64):
    likelihood, params, _ = bed_optimum()
    x = bed_data()
    log_p = bed_log_likelihood(params, x)
    assert log_p.mean() == golden("-9.473207627")
    exact = exact_terms(likelihood, params, x)
    assert float(objective.elbo(exact)) == pytest.approx(log_p.mean(), abs=1e-9)
    each = -(objective.distortion(exact) + objective.rate(exact))
    np.testing.assert_allclose(each, log_p, atol=1e-9)
    # Whatever the number of samples, also when it is the batch's size, and whatever z: log w is constant in z.
    t = batch_terms(likelihood, params, x, jax.random.key(0), 2000)
    assert np.std(t.log_px_z + t.log_pz - t.log_qz, axis=1).max() < 1e-11
    for k in (1, 5, 20, 50):
        some = t._replace(z=t.z[:, :k], log_px_z=t.log_px_z[:, :k], log_pz=t.log_pz[:, :k], log_qz=t.log_qz[:, :k])
        np.testing.assert_allclose(objective.iwae_per_example(some), log_p, atol=1e-6)
        assert float(objective.iwae(some)) == pytest.approx(log_p.mean(), abs=1e-6)
    # The sampled ELBO is the same up to the noise of its distortion.
    noise = -np.asarray(t.log_px_z) + np.asarray(objective.rate(t))[:, None]
    assert within_standard_errors(noise.mean(0), -log_p.mean(), 4)


def test_away_from_the_optimum_every_bound_is_below_and_grows_with_k(x64):
    likelihood, params, _ = bed_optimum()
    params["model"] = {**params["model"], "log_d": params["model"]["log_d"] + 0.7, "v": 0.9 * params["model"]["v"]}
    x = bed_data()[:4]
    log_p = bed_log_likelihood(params, x)
    elbo = float(objective.elbo(exact_terms(likelihood, params, x)))
    t = batch_terms(likelihood, params, x, jax.random.key(0), 32_000)
    bounds = {1: elbo}
    for k in (2, 8, 32):  # every k samples are one estimate; their spread gives the standard error
        groups = jax.tree.map(lambda a, k=k: a.reshape(4, -1, k), (t.log_px_z, t.log_pz, t.log_qz))
        estimates = np.asarray(jax.jit(objective.iwae_per_example)(Terms(t.q, t.z, *groups)))
        error = np.sqrt(np.sum(estimates.var(axis=1) / estimates.shape[1])) / 4
        bounds[k] = estimates.mean()
        previous = list(bounds.values())[-2]
        assert previous + 4 * error < bounds[k] < log_p.mean() + 4 * error
    assert bounds[1] < log_p.mean() - 0.5  # a gap wide enough to make the order meaningful


def test_the_value_at_the_posterior_mean_is_no_bound(x64):
    likelihood, params, _ = bed_optimum()
    x = bed_data()

    @jax.jit
    @jax.vmap
    def at_mean(x):
        q = LINEAR.encode(params["model"], x)
        z = q.mean[None]
        theta = jax.vmap(LINEAR.decode, (None, 0))(params["model"], z)
        return objective.score(likelihood, params["likelihood"], x, q, z, theta)

    log_p = bed_log_likelihood(params, x).mean()
    assert float(objective.elbo(at_mean(x))) > log_p + 1.0  # the published mistake is above log p
    t = batch_terms(likelihood, params, x, jax.random.key(0), 1000)
    assert float(objective.elbo(t)) < log_p + 0.05


def test_the_log_likelihood_needs_the_covariance_of_ddof_0(x64):
    """With ddof = 1 the 'best' likelihood is below the ELBO of the optimum, which looks like a violated bound."""
    likelihood, params, _ = bed_optimum()
    x = bed_data()
    elbo = float(objective.elbo(exact_terms(likelihood, params, x)))

    def maximum_likelihood(ddof):
        values = np.linalg.eigvalsh(np.cov(np.asarray(x).T, ddof=ddof))[::-1]
        sigma2 = predict(values, 1.0, None, BED_LATENTS).sigma2
        basis = np.linalg.eigh(np.cov(np.asarray(x).T, ddof=ddof))[1][:, ::-1][:, :BED_LATENTS]
        cov = (basis * (values[:BED_LATENTS] - sigma2)) @ basis.T + sigma2 * np.eye(DIM)
        return stats.multivariate_normal.logpdf(np.asarray(x), np.zeros(DIM), cov).mean()

    assert elbo <= maximum_likelihood(0) + 1e-9
    assert elbo > maximum_likelihood(1) + 1e-3


@pytest.mark.parametrize(("beta", "sigma2"), [(1.0, 0.1), (4.0, 0.1), (1.5, None), (0.25, None)])
def test_the_closed_form_is_stationary_and_the_slope_in_beta_is_the_rate(beta, sigma2, x64):
    likelihood, params, prediction = bed_optimum(beta, sigma2)
    x = bed_data()

    def loss(params, beta):
        return -objective.elbo(exact_terms(likelihood, params, x), beta)

    t = exact_terms(likelihood, params, x)
    assert float(jnp.mean(objective.rate(t))) == pytest.approx(prediction.rate, rel=1e-9)
    sse = squared_error(float(jnp.mean(objective.distortion(t))), prediction.sigma2)
    assert sse == pytest.approx(prediction.distortion, rel=1e-9)
    by_params, by_beta = jax.jit(jax.grad(loss, (0, 1)))(params, beta)
    for leaf in jax.tree.leaves(by_params["model"]):
        np.testing.assert_allclose(leaf, 0.0, atol=1e-9)
    assert float(by_beta) == pytest.approx(prediction.rate, rel=1e-9)
    calibrated = sigma2 is None
    assert (abs(float(by_params["likelihood"]["log_sigma"])) < 1e-8) == calibrated  # SSE = D sigma^2


# ---------------------------------------------------------------- trained on the linear bed


def _train(loss, params, optimizer, steps):
    def step(carry, key):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, key), state)
        return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(jax.random.key(9), steps)
    return jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0]


LEARNED_ROWS = [
    (0.25, ".026470588", ".264705882", "16.093767", ".05422187"),
    (0.5, ".032142857", ".321428571", "13.431857", "3.71748890"),
    (1.0, ".05625", ".5625", "9.673568485", "9.473207627"),
    (1.2, ".080357143", ".803571429", "8.056579", "11.25090864"),
    (1.5, ".19", "1.9", "4.871033", "13.19227910"),
]


def test_trained_linear_vaes_reach_the_closed_form_for_every_beta(x64):
    """Five runs as one program: Adam on the exact ELBO with a learned sigma, from small random weights."""
    likelihood, x = gaussian("learned", sigma=1.0), bed_data()
    steps = 4000
    optimizer = optax.adam(optax.schedules.cosine_decay_schedule(0.02, steps), b2=0.99)

    def terms(params):
        return exact_terms(likelihood, params, x)

    def run(beta):
        params = {"model": LINEAR.init(jax.random.key(4)), "likelihood": likelihood.init((DIM,))}
        params = jax.tree.map(lambda leaf: leaf.astype(float), params)
        params = _train(lambda params, _: -objective.elbo(terms(params), beta), params, optimizer, steps)
        t = terms(params)
        second_moment = jnp.mean(t.q.mean**2 + jnp.exp(t.q.logvar), 0)
        return (
            objective.elbo(t),
            -objective.elbo(t, beta),
            likelihood.sigma(params["likelihood"]) ** 2,
            t,
            second_moment,
        )

    betas = jnp.array([row[0] for row in LEARNED_ROWS])
    elbo, loss, sigma2, t, second_moment = jax.jit(jax.vmap(run))(betas)
    rate, distortion = jnp.mean(objective.rate(t), 1), jnp.mean(objective.distortion(t), 1)
    for i, (beta, *row) in enumerate(LEARNED_ROWS):
        expected = [float(v) for v in row]
        sse = squared_error(distortion[i], sigma2[i])
        got = [float(v) for v in (sigma2[i], sse, rate[i], loss[i])]
        np.testing.assert_allclose(got[:3], expected[:3], rtol=1e-3, err_msg=f"beta {beta}")
        assert got[3] == pytest.approx(expected[3], abs=1e-4)
        assert got[1] / (DIM * got[0]) == pytest.approx(1.0, abs=1e-4)  # calibrated at every beta
    # At a stationary point E[mu^2 + tau^2] = 1 for every latent and every beta.
    np.testing.assert_allclose(second_moment, 1.0, atol=1e-3)
    # beta = 1: the log-likelihood of probabilistic PCA, and minus the entropies of p(x|z) and p(z) plus that of q(z|x).
    assert float(elbo[2]) == pytest.approx(-9.473207627, abs=1e-4)
    normal = 0.5 * math.log(2 * math.pi * math.e)
    entropies = -DIM * (normal + 0.5 * jnp.log(sigma2[2])) + jnp.mean(jnp.sum(0.5 * t.q.logvar[2], -1))
    assert float(entropies) == pytest.approx(-9.473207627, abs=1e-3)
    # No other weight is another number for the same model: its ELBO at weight 1 is lower.
    assert np.all(np.delete(np.asarray(elbo), 2) < float(elbo[2]) - 0.05)


def test_trained_on_sampled_z_in_float32():
    """The same with the noise that training has, through ``terms``; scored without noise."""
    likelihood, x = gaussian("learned", sigma=1.0), bed_data().astype(jnp.float32)
    steps = 3000
    optimizer = optax.adam(optax.schedules.cosine_decay_schedule(0.02, steps))

    @jax.jit
    def run():
        params = {"model": LINEAR.init(jax.random.key(4)), "likelihood": likelihood.init((DIM,))}
        loss = lambda params, key: -objective.elbo(batch_terms(likelihood, params, x, key, 16))  # noqa: E731
        params = _train(loss, params, optimizer, steps)
        return objective.elbo(exact_terms(likelihood, params, x))

    # 320 draws a step leave some gradient noise in the weights: 0.004 nats here. No noise brings it above log p.
    gap = -9.473207627 - float(run())
    assert -1e-5 < gap < 0.01
