"""Estimators of the gradient: the plain one's expectation, by quadrature over the noise, and less variance."""

from __future__ import annotations

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import estimators, objective
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import gaussian
from vae_jax.objective import terms
from vae_jax.posteriors import full_covariance, iaf, with_latents
from vae_jax.priors import standard_normal
from vae_jax.train.loss import make_loss
from vae_jax.train.recipe import Recipe
from vae_jax.types import VAE, Terms, UserError
from vae_jax.weighting import from_schedule

KEY = jax.random.key(2)
X = np.asarray([0.9, -0.4])
LIKELIHOOD = gaussian("fixed", 0.7)


def linear(d):
    """Returns a model x = W z + noise of two dimensions, whose q is the diagonal Gaussian of any numbers."""
    return VAE(
        init=lambda key: {
            "encoder": jnp.linspace(0.3, -0.9, 2 * d),
            "decoder": jnp.asarray([[1.1, 0.6], [-0.4, 0.8]])[:, :d],
        },
        encode=lambda params, x: DiagGaussian(*jnp.split(params["encoder"] * jnp.sum(x**2), 2)),
        decode=lambda params, z: params["decoder"] @ z,
    )


def gradients(bound, vae, weight, noise, params=None):
    """Returns the gradient of the bound for each of ``noise [n, s, d]``, and the bound's values ``[n]``."""
    params = {"model": vae.init(KEY), "likelihood": LIKELIHOOD.init((2,))} if params is None else params

    def value(params, noise):
        with mock.patch("jax.random.normal", lambda *args: noise):
            return bound(terms(estimators.inferred(bound, vae), LIKELIHOOD, params, jnp.asarray(X), KEY), weight)

    return jax.jit(jax.vmap(jax.value_and_grad(value), (None, 0)))(params, noise)[::-1]


def quadrature(nodes, *shape):
    """Returns noise ``[n, *shape]`` and weights ``[n]`` of the Gauss-Hermite rule with so many nodes along each."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    count = int(np.prod(shape))
    noise = np.stack(np.meshgrid(*[x] * count, indexing="ij"), -1).reshape(-1, *shape)
    return jnp.asarray(noise), np.prod(np.meshgrid(*[w / w.sum()] * count, indexing="ij"), axis=0).reshape(-1)


def mean_and_variance(slopes, weights):
    """Returns the means of a tree's leaves under the rule's weights, and the sum of their variances."""
    mean = np.tensordot(weights, slopes, 1)
    return mean, float(np.sum(np.tensordot(weights, np.square(slopes - mean), 1)))


PAIRS = [(estimators.stl, estimators.Estimator(estimators.sampled_elbo), 1), (estimators.dreg, objective.iwae, 2)]


@pytest.mark.parametrize("weight", [1.0, 0.4, 0.0])
@pytest.mark.parametrize(("ours", "plain", "samples"), PAIRS, ids=["stl", "dreg"])
def test_the_mean_of_the_gradient_is_the_plain_one_and_the_variance_less(x64, ours, plain, samples, weight):
    noise, weights = quadrature(80, samples, 1)
    vae = linear(1)
    found, values = gradients(ours, vae, weight, noise)
    expected, plain_values = gradients(plain, vae, weight, noise)
    np.testing.assert_allclose(values, plain_values, rtol=1e-12)
    np.testing.assert_allclose(found["model"]["decoder"], expected["model"]["decoder"], rtol=1e-9, atol=1e-12)
    mean, variance = mean_and_variance(found["model"]["encoder"], weights)
    wanted, most = mean_and_variance(expected["model"]["encoder"], weights)
    np.testing.assert_allclose(mean, wanted, rtol=1e-6)
    # At weight 0 nothing depends on the density of q.
    assert variance == pytest.approx(most, rel=1e-9) if weight == 0 else variance < (0.95 if weight < 1 else 0.8) * most


def test_weights_that_are_not_squared_are_found_out(x64):
    noise, weights = quadrature(80, 2, 1)
    once = estimators.Estimator(objective.iwae, estimators.stl.inference)
    found, expected = (
        gradients(bound, linear(1), 1.0, noise)[0]["model"]["encoder"] for bound in (once, objective.iwae)
    )
    assert np.abs(weights @ (np.asarray(found) - expected)).max() > 0.1


@pytest.mark.parametrize("posterior", [iaf(2), full_covariance()], ids=["iaf", "full_covariance"])
def test_sticking_the_landing_of_a_posterior_with_parameters_of_its_own(x64, posterior):
    noise, weights = quadrature(24, 1, 2)
    inner = linear(posterior.numbers(2) // 2 + posterior.numbers(2) % 2)
    vae = with_latents(linear(2), standard_normal(), posterior, 2, inner)
    params = {"model": vae.init(KEY), "likelihood": LIKELIHOOD.init((2,))}
    params = jax.tree.map(lambda v: v + 0.1 * jax.random.normal(jax.random.key(v.size), v.shape), params)
    ours, plain = (
        gradients(bound, vae, 1.0, noise, params)[0]["model"]
        for bound in (estimators.stl, estimators.Estimator(estimators.sampled_elbo))
    )
    found, expected = (
        np.concatenate([mean_and_variance(leaf, weights)[0].ravel() for leaf in jax.tree.leaves(slopes)])
        for slopes in (ours, plain)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_where_q_is_exact_no_sample_moves_it(x64):
    vae = linear(1)
    w = vae.init(KEY)["decoder"][:, 0]
    own = jax.tree.map(lambda v: v.astype(jnp.float64), LIKELIHOOD.init((2,)))
    sigma2 = LIKELIHOOD.sigma(own) ** 2
    variance = 1 / (1 + w @ w / sigma2)
    exact = jnp.stack([variance * (w @ X) / sigma2, jnp.log(variance)]) / jnp.sum(X**2)
    params = {"model": {"encoder": exact, "decoder": w[:, None]}, "likelihood": own}
    noise = jax.random.normal(KEY, (5, 3, 1))
    for bound in (estimators.stl, estimators.dreg):
        np.testing.assert_allclose(gradients(bound, vae, 1.0, noise, params)[0]["model"]["encoder"], 0.0, atol=1e-12)
    plain = gradients(estimators.Estimator(estimators.sampled_elbo), vae, 1.0, noise, params)[0]["model"]["encoder"]
    assert np.abs(plain).min() > 1e-3


def some_terms():
    """Returns terms of three examples with six samples each."""
    return Terms(None, None, *(2.0 * jax.random.normal(jax.random.fold_in(KEY, i), (3, 6)) for i in range(3)))


def test_averages_of_importance_weighted_bounds(x64):
    t, weight = some_terms(), 0.7
    np.testing.assert_allclose(estimators.miwae(1)(t, weight), objective.iwae(t, weight), rtol=1e-12)
    np.testing.assert_allclose(estimators.miwae(6)(t, weight), estimators.sampled_elbo(t, weight), rtol=1e-12)
    w = np.exp(t.log_px_z + weight * (t.log_pz - t.log_qz)).reshape(3, 2, 3)
    np.testing.assert_allclose(estimators.miwae(2)(t, weight), np.mean(np.log(w.mean(-1))), rtol=1e-12)


def test_the_renyi_bound_is_its_definition_and_falls_with_alpha(x64):
    t, weight = some_terms(), 0.7
    w = np.exp(t.log_px_z + weight * (t.log_pz - t.log_qz))
    for alpha in (0.5, 2.0):
        expected = np.mean(np.log(np.mean(w ** (1 - alpha), -1))) / (1 - alpha)
        np.testing.assert_allclose(estimators.vr(alpha)(t, weight), expected, rtol=1e-12)
    np.testing.assert_allclose(estimators.vr(0.0)(t, weight), objective.iwae(t, weight), rtol=1e-12)
    np.testing.assert_allclose(estimators.vr(1 - 1e-7)(t, weight), estimators.sampled_elbo(t, weight), rtol=1e-5)
    with pytest.raises(ValueError, match="is the ELBO"):
        estimators.vr(1.0)


def loss_gradient(bound, params, vae):
    """Returns the loss of a batch of three and its gradient, as training has them."""
    recipe = Recipe(vae, LIKELIHOOD, None, from_schedule(lambda step: 1.0), bound, num_samples=6)
    x = jnp.asarray(X) + jnp.arange(3.0)[:, None]
    (loss, _), slope = jax.value_and_grad(make_loss(recipe), has_aux=True)(params, 0.8, x, jax.random.split(KEY, 3))
    return loss, slope["model"]


def test_the_partial_pair_has_the_decoder_of_one_bound_and_the_encoder_of_the_other(x64):
    vae = linear(1)
    params = {"model": vae.init(KEY), "likelihood": LIKELIHOOD.init((2,))}
    loss, ours = loss_gradient(estimators.piwae(2), params, vae)
    iwae_loss, iwae = loss_gradient(objective.iwae, params, vae)
    _, miwae = loss_gradient(estimators.miwae(2), params, vae)
    assert loss == pytest.approx(float(iwae_loss), rel=1e-12)
    np.testing.assert_allclose(ours["decoder"], iwae["decoder"], rtol=1e-12)
    np.testing.assert_allclose(ours["encoder"], miwae["encoder"], rtol=1e-12)
    assert np.abs(iwae["encoder"] - miwae["encoder"]).max() > 1e-3


def test_what_an_estimator_cannot_do_is_said_in_a_line():
    vae = with_latents(linear(1), standard_normal(), full_covariance()._replace(log_prob=None), 1)
    with pytest.raises(UserError, match="through z alone"):
        estimators.inferred(estimators.stl, vae)
    with pytest.raises(UserError, match="trains the encoder apart"):
        estimators.without_gradient({"model": {"w": 0.0}, "likelihood": {}}, True)
