"""Every posterior against the mathematics: its density, its samples, its KL, and what it begins as."""

from __future__ import annotations

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import within_standard_errors

from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import gaussian
from vae_jax.models import mlp
from vae_jax.objective import terms
from vae_jax.posteriors import diagonal, full_covariance, householder, iaf, with_latents
from vae_jax.priors import standard_normal
from vae_jax.types import VAE

POSTERIORS = {
    "diagonal": diagonal(),
    "full_covariance": full_covariance(),
    "iaf": iaf(2),
    "householder": householder(2),
}
KEY = jax.random.key(5)
each = pytest.mark.parametrize("name", POSTERIORS)


def trained(name, d):
    """Returns a posterior with parameters away from their first values, and the numbers of an encoder."""
    q = POSTERIORS[name]
    own = jax.tree.map(lambda v: v + 0.15 * jax.random.normal(jax.random.key(v.size), v.shape), q.init(KEY, d))
    return q, own, 0.7 * jax.random.normal(KEY, (q.numbers(d),))


def by_jacobian(q, own, h, noise):
    """Returns log q at the sample that ``noise [d]`` becomes, by the derivative of the one by the other; and draw's."""

    def sample(noise):
        with mock.patch("jax.random.normal", lambda *args: noise[None]):
            return jax.tree.map(lambda leaf: leaf[0], q.draw(own, h, KEY, 1))

    jacobian = jax.jacfwd(lambda noise: sample(noise)[0])(noise)
    log_noise = -0.5 * jnp.sum(noise**2 + jnp.log(2 * jnp.pi))
    return log_noise - jnp.linalg.slogdet(jacobian)[1], sample(noise)[1]


@each
def test_it_begins_as_the_diagonal_gaussian(x64, name):
    q, d = POSTERIORS[name], 3
    own, h = q.init(KEY, d), jax.random.normal(KEY, (q.numbers(d),))
    z, log_q = q.draw(own, h, KEY, 4)
    expected = diagonal().draw({}, h[: 2 * d], KEY, 4)
    np.testing.assert_allclose(z, expected[0], rtol=1e-12)
    np.testing.assert_allclose(log_q, expected[1], rtol=1e-12)
    found = q.moments(own, h)
    np.testing.assert_allclose(found.mean, h[:d], rtol=1e-6)
    np.testing.assert_allclose(found.logvar, h[d : 2 * d], rtol=1e-6)


@each
def test_the_density_is_that_of_the_change_of_variables_and_of_the_inverse(x64, name):
    q, own, h = trained(name, 3)
    np.testing.assert_allclose(*by_jacobian(q, own, h, jax.random.normal(KEY, (3,))), rtol=1e-10)
    z, log_q = q.draw(own, h, KEY, 5)
    np.testing.assert_allclose(jax.vmap(lambda z: q.log_prob(own, h, z))(z), log_q, rtol=1e-9)


def test_a_flow_whose_steps_read_later_latents_is_found_out(x64):
    q, own, h = trained("iaf", 3)
    right = iaf.__globals__["scale_and_shift"]
    with mock.patch.dict(iaf.__globals__, scale_and_shift=lambda step, z, c: right(step, z[..., ::-1], c)):
        by_derivative, drawn = by_jacobian(q, own, h, jax.random.normal(KEY, (3,)))
    assert abs(by_derivative - drawn) > 1e-3


@each
def test_its_integral_is_one_and_its_moments_are_those_of_the_samples(x64, name):
    q, own, h = trained(name, 2)
    z, _ = q.draw(own, h, KEY, 20_000)
    low, high = (np.asarray(jnp.mean(z, 0) + side * 9 * jnp.std(z, 0)) for side in (-1, 1))
    axes = [np.linspace(*ends, 401) for ends in zip(low, high, strict=True)]
    grid = jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2))
    mass = jnp.exp(jax.vmap(lambda z: q.log_prob(own, h, z))(grid)) * np.prod((high - low) / 400)
    assert float(jnp.sum(mass)) == pytest.approx(1.0, abs=1e-6)
    mean = mass @ grid
    assert within_standard_errors(z, mean, 5)
    assert within_standard_errors(jnp.square(z - mean), mass @ jnp.square(grid - mean), 5)
    # The flow's are those of a fixed set of 128 draws, the others exact.
    exact, deviation = name != "iaf", jnp.sqrt(mass @ jnp.square(grid - mean))
    np.testing.assert_allclose((q.moments(own, h).mean - mean) / deviation, 0.0, atol=1e-6 if exact else 0.2)
    np.testing.assert_allclose(jnp.exp(0.5 * q.moments(own, h).logvar) / deviation, 1.0, atol=1e-6 if exact else 0.2)


@pytest.mark.parametrize("name", ["full_covariance", "householder"])
def test_the_parts_of_the_kl_add_up_to_that_of_the_covariance(x64, name):
    d = 4
    q, own, h = trained(name, d)
    noise = jnp.concatenate([jnp.zeros((1, d)), jnp.eye(d)])
    with mock.patch("jax.random.normal", lambda *args: noise):
        z, _ = q.draw(own, h, KEY, d + 1)
    mean, factor = z[0], (z[1:] - z[0]).T
    covariance = factor @ factor.T
    expected = 0.5 * (jnp.trace(covariance) + mean @ mean - d - jnp.linalg.slogdet(covariance)[1])
    parts = q.kl(own, h)
    assert parts.shape == (d,) and (parts >= 0).all()
    np.testing.assert_allclose(jnp.sum(parts), expected, rtol=1e-12)
    if name == "full_covariance":  # z_i given those before it has the variance L_ii^2, and its mean the rest of row i
        chain = 0.5 * (mean**2 + jnp.sum(jnp.tril(factor) ** 2, 1) - 1 - 2 * jnp.log(jnp.diag(factor)))
        np.testing.assert_allclose(parts, chain, rtol=1e-12)
        assert abs(jnp.sum(parts) - jnp.sum(q.moments(own, h).kl())) > 1e-3  # those of the marginals are less


def linear_gaussian(h_of):
    """Returns the log weights of 1,000 samples and log p(x), of x = W z + noise whose posterior is correlated."""
    w, sigma, x = np.asarray([[1.0, 0.8], [0.3, 0.4], [0.5, 0.9]]), 0.6, np.asarray([0.4, -1.0, 0.7])
    precision = np.eye(2) + w.T @ w / sigma**2
    mean = np.linalg.solve(precision, w.T @ x) / sigma**2
    posterior, h = h_of(mean, precision)
    halves = DiagGaussian(*np.split(np.append(h, np.zeros(len(h) % 2)), 2))
    vae = VAE(lambda key: {}, lambda params, x: halves, lambda params, z: w @ z)
    vae = with_latents(vae, standard_normal(), posterior, 2)
    likelihood = gaussian("fixed", sigma)
    params = {"model": {"posterior": {"gains": jnp.ones((2, 2))}}, "likelihood": likelihood.init((3,))}
    t = terms(vae, likelihood, params, jnp.asarray(x), KEY, 1_000)
    marginal = sigma**2 * np.eye(3) + w @ w.T
    log_px = -0.5 * (x @ np.linalg.solve(marginal, x) + np.linalg.slogdet(2 * np.pi * marginal)[1])
    return t.log_px_z + t.log_pz - t.log_qz, log_px, precision


def test_the_bound_is_tight_where_the_posterior_is_correlated_and_the_diagonal_one_is_not(x64):
    def full(mean, precision):
        factor = np.linalg.cholesky(np.linalg.inv(precision))
        tau = np.diag(factor)
        return full_covariance(), np.asarray([*mean, *(2 * np.log(tau)), factor[1, 0] / tau[1]])

    log_w, log_px, precision = linear_gaussian(full)
    np.testing.assert_allclose(log_w, log_px, rtol=1e-6)
    # The best diagonal Gaussian has the mean, and the precision of each latent given the others.
    log_w, log_px, _ = linear_gaussian(lambda mean, p: (diagonal(), np.asarray([*mean, *-np.log(np.diag(p))])))
    gap = 0.5 * (np.sum(np.log(np.diag(precision))) - np.linalg.slogdet(precision)[1])
    assert gap > 0.1
    assert within_standard_errors(log_w, log_px - gap, 5)


@each
def test_every_posterior_trains_all_of_its_parameters(name):
    vae = with_latents(
        mlp((6,), (6,), 3, (5,)),
        standard_normal(),
        POSTERIORS[name],
        3,
        mlp((6,), (6,), -(-POSTERIORS[name].numbers(3) // 2), (5,)),
    )
    likelihood, x = gaussian("fixed"), jax.random.normal(KEY, (6,))
    params = {"model": vae.init(KEY), "likelihood": likelihood.init((6,))}
    t, slope = jax.value_and_grad(lambda p: jnp.mean(terms(vae, likelihood, p, x, KEY, 8).log_px_z))(params)
    assert np.isfinite(t)
    own = jax.tree.leaves(slope["model"].get("posterior", {}))
    assert (name == "diagonal") == (own == []) and all(np.isfinite(leaf).all() for leaf in own)
    assert name == "diagonal" or any(np.abs(leaf).max() > 0 for leaf in own)
