"""Priors: densities that integrate to 1, samples that follow them, and models whose evidence is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import objective
from vae_jax.gaussian import DiagGaussian, kl_divergence
from vae_jax.likelihoods import gaussian
from vae_jax.posteriors import diagonal, with_latents
from vae_jax.priors import autoregressive, draw, flow, log_prob, mixture, standard_normal, vamp
from vae_jax.priors.autoregressive import from_noise, to_noise
from vae_jax.priors.flow import forward, inverse
from vae_jax.priors.mixture import mixture_log_prob
from vae_jax.priors.vamp import in_range, out_of_range
from vae_jax.types import VAE

KEY = jax.random.key(5)
EVENT = (6,)


def linear(latent_dim: int, std: float = 0.5) -> VAE:
    """A linear encoder and decoder of events of six numbers."""

    def init(key):
        shape = (2, EVENT[0], latent_dim)
        return dict(zip(("encoder", "decoder"), jax.random.normal(key, shape) / EVENT[0] ** 0.5))

    def encode(params, x):
        return DiagGaussian(x @ params["encoder"], jnp.full(latent_dim, 2.0 * np.log(std)))

    return VAE(init, encode, lambda params, z: params["decoder"] @ z)


def made(name: str, latent_dim: int):
    """A model with this prior, whose parameters are anywhere, not where they begin: ``(vae, {"model": ...})``."""
    base = linear(latent_dim)
    prior = {
        "standard_normal": standard_normal,
        "gaussian": lambda: mixture(1),
        "mixture": lambda: mixture(3),
        "vamp": lambda: vamp(base, EVENT, 4, -1.0, 2.0),
        "flow": lambda: flow(4, 8),
        "autoregressive": lambda: autoregressive(3),
    }[name]()
    vae = with_latents(base, prior, diagonal(), latent_dim)
    model = vae.init(KEY)
    if "prior" in model:
        leaves, tree = jax.tree.flatten(model["prior"])
        keys = jax.random.split(jax.random.key(8), len(leaves))
        # A flow of large weights has mass far outside of any grid.
        far = {"flow": 0.1, "autoregressive": 0.1}.get(name, 0.7)
        model["prior"] = tree.unflatten(
            [leaf + far * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys)]
        )
    return vae, {"model": model}


NAMES = ("standard_normal", "gaussian", "mixture", "vamp", "flow", "autoregressive")


def grid(latent_dim: int, ends: float = 14.0, points: int = 1601):
    """Points ``[n, d]`` of a square, and the area of each, by the trapezoid rule: exact for smooth tails."""
    axis = np.linspace(-ends, ends, points if latent_dim == 1 else points // 2)
    return np.stack(np.meshgrid(*[axis] * latent_dim), -1).reshape(-1, latent_dim), (axis[1] - axis[0]) ** latent_dim


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_the_density_integrates_to_one(name, latent_dim):
    vae, params = made(name, latent_dim)
    z, area = grid(latent_dim)
    density = np.exp(np.asarray(log_prob(vae, params, jnp.asarray(z, jnp.float32)), np.float64))
    assert density.sum() * area == pytest.approx(1.0, abs=2e-4)
    # A dropped log determinant or log weight is far outside of that.
    if name in ("flow", "autoregressive") and (name, latent_dim) != ("flow", 1):
        to_e = {"flow": inverse, "autoregressive": to_noise}[name]
        e = jax.vmap(lambda z: to_e(params["model"]["prior"], z)[0])(jnp.asarray(z, jnp.float32))
        wrong = np.exp(-0.5 * np.sum(np.square(e), -1) - 0.5 * latent_dim * np.log(2 * np.pi))
        assert abs(wrong.sum() * area - 1.0) > 0.02


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_density(name):
    n, (vae, params) = 20_000, made(name, 2)
    z = np.asarray(draw(vae, params, KEY, n, 2), np.float64)
    points, area = grid(2)
    log_p = np.asarray(log_prob(vae, params, jnp.asarray(points, jnp.float32)), np.float64)
    p = np.exp(log_p) * area
    mean = p @ points
    spread = np.sqrt(p @ np.square(points - mean))
    # Five standard errors each: of the mean, of the second moment, of the mean log density (minus the entropy).
    assert (np.abs(z.mean(0) - mean) < 5 * spread / n**0.5).all()
    for values, exact in (
        (np.square(z - mean), p @ np.square(points - mean)),
        (np.prod(z - mean, 1), p @ np.prod(points - mean, 1)),
        (np.asarray(log_prob(vae, params, jnp.asarray(z, jnp.float32)), np.float64), p @ log_p),
    ):
        assert (np.abs(values.mean(0) - exact) < 5 * values.std(0) / n**0.5 + 1e-3).all()


@pytest.mark.parametrize("name", ["gaussian", "mixture", "flow", "autoregressive"])
def test_the_first_prior_is_nearly_the_standard_normal(name):
    prior = {"gaussian": mixture(1), "mixture": mixture(200), "flow": flow(), "autoregressive": autoregressive()}[name]
    z = jax.random.normal(KEY, (2000, 10))
    own = {"prior": prior.init(KEY, 10)}
    off = standard_normal().log_prob({}, z, None) - jax.vmap(lambda z: prior.log_prob(own, z, None))(z)
    # KL(N(0, I) || p): 0, or at most what the spread of the components is worth in 10 latents, 0.05 nats.
    assert abs(jnp.mean(off)) < (0.055 if name == "mixture" else 1e-5)


def test_the_flow_is_its_own_inverse_and_its_determinant_that_of_the_jacobian():
    params = made("flow", 7)[1]
    own, e = params["model"]["prior"], jax.random.normal(KEY, (7,))
    z, log_det = forward(own, e)
    back, log_det_back = inverse(own, z)
    np.testing.assert_allclose(back, e, atol=1e-5)
    assert log_det_back == pytest.approx(-float(log_det), abs=1e-5)
    exact = np.linalg.slogdet(np.asarray(jax.jacobian(lambda e: forward(own, e)[0])(e), np.float64))
    assert exact[0] == 1 and log_det == pytest.approx(exact[1], abs=1e-5) and abs(exact[1]) > 0.1


def test_an_autoregressive_step_reads_earlier_latents_only_and_is_undone_by_its_inverse():
    params = made("autoregressive", 5)[1]["model"]
    one, z = {"step_0": params["prior"]["step_0"]}, jax.random.normal(KEY, (5,))
    jacobian = np.asarray(jax.jacobian(lambda z: to_noise(one, z)[0][::-1])(z), np.float64)
    below = np.tril(np.ones((5, 5)), -1) > 0
    assert (jacobian[~below & ~np.eye(5, dtype=bool)] == 0).all() and (np.abs(jacobian[below]) > 1e-4).all()
    e, log_det = to_noise(params["prior"], z)
    np.testing.assert_allclose(from_noise(params["prior"], e), z, atol=1e-5)
    exact = np.linalg.slogdet(np.asarray(jax.jacobian(lambda z: to_noise(params["prior"], z)[0])(z), np.float64))[1]
    assert log_det == pytest.approx(exact, abs=1e-5) and abs(exact) > 0.05


def test_an_autoregressive_prior_of_a_condition_integrates_to_one_for_each():
    prior, (z, area) = autoregressive(2, context=3), grid(1)
    own = jax.tree.map(lambda v: v + 0.1 * jax.random.normal(KEY, v.shape), prior.init(KEY, 1))
    density = [
        np.exp(np.asarray(jax.vmap(lambda z, c=c: prior.log_prob({"prior": own}, z, c))(jnp.asarray(z)), np.float64))
        for c in np.eye(3, dtype=np.float32)
    ]
    for one in density:
        assert one.sum() * area == pytest.approx(1.0, abs=2e-4)
    assert np.abs(density[0] - density[1]).max() > 0.01
    drawn = jax.vmap(lambda key: prior.sample({"prior": own}, key, 1, jnp.eye(3)[1]))(jax.random.split(KEY, 4000))
    mean = np.sum(density[1] * z[:, 0]) * area
    assert abs(np.mean(drawn) - mean) < 5 * np.std(drawn) / 4000**0.5


def test_every_latent_of_a_flow_meets_every_other_one():
    params = made("flow", 7)[1]
    jacobian = jax.jacobian(lambda e: forward(params["model"]["prior"], e)[0])(jax.random.normal(KEY, (7,)))
    assert (jacobian != 0).all()


def test_the_gradient_of_a_mixture_is_that_of_its_sum():
    logits, mean, logvar, z = (
        jax.random.normal(jax.random.fold_in(KEY, i), s) for i, s in enumerate([5, (5, 3), (5, 3), (9, 3)])
    )

    def written_out(logits, mean, logvar, z):
        return jax.nn.logsumexp(jax.nn.log_softmax(logits) + DiagGaussian(mean, logvar).log_prob(z))

    def ours(logits, mean, logvar, z):
        return mixture_log_prob(jax.nn.log_softmax(logits), DiagGaussian(mean, logvar), z)

    def slopes(f):
        return jax.grad(lambda *a: jnp.sum(jax.vmap(lambda z: f(*a[:3], z))(a[3])), argnums=(0, 1, 2, 3))(
            logits, mean, logvar, z
        )

    for expected, got in zip(slopes(written_out), slopes(ours)):
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(
        jax.hessian(ours, 3)(logits, mean, logvar, z[0]),
        jax.hessian(written_out, 3)(logits, mean, logvar, z[0]),
        atol=1e-4,
    )


def test_pseudo_inputs_stay_in_the_range_of_x_and_begin_at_examples():
    low, high = np.array([0.0, 0.0, -np.inf]), np.array([1.0, np.inf, np.inf])
    anything = 20.0 * jax.random.normal(KEY, (50, 3))
    x = in_range(anything, low, high)
    assert (x >= low).all() and (x <= high).all() and jnp.isfinite(x).all()
    np.testing.assert_array_equal(x[:, 2], anything[:, 2])
    examples = jnp.array([[0.5, 3.0, -2.0], [0.25, 0.5, 7.0]])
    np.testing.assert_allclose(
        in_range(out_of_range(examples, low, high), low, high)[:, 1:], examples[:, 1:], rtol=1e-5
    )
    # At the ends of a finite range no gradient would move it: 5% inside.
    np.testing.assert_allclose(
        in_range(out_of_range(jnp.array([[0.0, 1, 1], [1.0, 1, 1]]), low, high), low, high)[:, 0],
        [0.05, 0.95],
        rtol=1e-5,
    )
    prior = vamp(linear(2), EVENT, 3, 0.0, 1.0)
    x = jax.random.uniform(KEY, (2, *EVENT))
    own = prior.from_data[1](prior.init(KEY, 2), x)
    inputs = in_range(own["inputs"], np.zeros(EVENT), np.ones(EVENT))
    np.testing.assert_allclose(inputs, (0.05 + 0.9 * x)[jnp.array([0, 1, 0])], atol=0.02)
    assert (inputs[0] != inputs[2]).all()


def exact_model(std: float, prior_mean, prior_var):
    """A linear model whose decoder has orthogonal columns, with the exact posterior of a Gaussian prior as its encoder.

    Returns the decoder's matrix, and the mean and variance of q(z|x) as functions of x: with A'A diagonal the posterior
    of N(A z, std^2 I) and N(m, diag(v)) has precision a_i^2 / std^2 + 1 / v_i.
    """
    orthogonal = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 2)))[0] * np.array([1.5, 0.6])
    precision = np.sum(orthogonal**2, 0) / std**2 + 1.0 / prior_var
    mean = lambda x: (orthogonal.T @ x / std**2 + prior_mean / prior_var) / precision  # noqa: E731
    return orthogonal, mean, 1.0 / precision


def test_a_linear_model_with_a_learned_gaussian_has_its_closed_form():
    std, m, v = 0.4, np.array([0.8, -1.1]), np.array([0.3, 2.5])
    a, mean, variance = exact_model(std, m, v)
    base = VAE(lambda key: {}, lambda params, x: DiagGaussian(mean(x), jnp.log(variance)), lambda params, z: a @ z)
    with jax.enable_x64(True):
        vae = with_latents(base, mixture(1), diagonal(), 2)
        own = {"logits": jnp.zeros(1), "mean": jnp.asarray(m)[None], "logvar": jnp.log(jnp.asarray(v))[None]}
        likelihood = gaussian("fixed", sigma=std)
        params = {"model": {"prior": own}, "likelihood": likelihood.init(EVENT)}
        x = jnp.asarray(np.random.default_rng(1).normal(size=(5, 6)))
        each = jax.vmap(lambda x, key: objective.terms(vae, likelihood, params, x, key, 3))
        t = each(x, jax.random.split(KEY, 5))
        log_px = np.asarray(objective.iwae_per_example(t))
    covariance = a @ np.diag(v) @ a.T + std**2 * np.eye(6)
    off = np.asarray(x) - a @ m
    exact = -0.5 * (np.sum(off @ np.linalg.inv(covariance) * off, 1) + np.linalg.slogdet(2 * np.pi * covariance)[1])
    # With the exact posterior every sample's weight is p(x).
    weights = sum(np.asarray(v) for v in (t.log_px_z, t.log_pz)) - np.asarray(t.log_qz)
    np.testing.assert_allclose(weights, np.repeat(exact[:, None], 3, 1), atol=1e-6)
    np.testing.assert_allclose(log_px, exact, atol=1e-6)
    # The rate is that of two Gaussians, latent by latent; N(0, I)'s is another one.
    means = np.stack([mean(one) for one in np.asarray(x)])
    q, p = DiagGaussian(means, np.log(np.broadcast_to(variance, means.shape))), DiagGaussian(m, np.log(v))
    with jax.enable_x64(True):
        rate = np.asarray(t.q.kl())
        np.testing.assert_allclose(rate, kl_divergence(q, p), atol=1e-6)
        assert rate.shape == (5, 2) and np.abs(np.sum(q.kl(), 1) - rate.sum(1)).min() > 0.05


def test_a_linear_model_with_a_mixture_has_its_closed_form():
    std, a = 0.7, np.array([[0.9], [0.3], [-0.5], [0.2], [0.0], [1.1]])
    weights, means, variances = np.array([0.3, 0.7]), np.array([-1.5, 0.9]), np.array([0.2, 0.6])
    base = VAE(lambda key: {}, lambda params, x: DiagGaussian(jnp.zeros(1), jnp.zeros(1)), lambda params, z: a @ z)
    vae, likelihood = with_latents(base, mixture(2), diagonal(), 1), gaussian("fixed", sigma=std)
    own = {"logits": jnp.log(weights), "mean": jnp.asarray(means)[:, None], "logvar": jnp.log(variances)[:, None]}
    params = {"model": {"prior": own}, "likelihood": likelihood.init(EVENT)}
    x = jnp.asarray(np.random.default_rng(2).normal(size=6))
    z, area = grid(1, 8.0)
    joint = jax.vmap(lambda z: likelihood.log_prob(params["likelihood"], a @ z, x))(z) + log_prob(
        vae, params, jnp.asarray(z)
    )
    by_quadrature = np.log(np.sum(np.exp(np.asarray(joint, np.float64))) * area)

    def part(weight, mean, variance):
        covariance = variance * a @ a.T + std**2 * np.eye(6)
        off = np.asarray(x) - a[:, 0] * mean
        return np.log(weight) - 0.5 * (
            off @ np.linalg.inv(covariance) @ off + np.linalg.slogdet(2 * np.pi * covariance)[1]
        )

    exact = np.logaddexp(*map(part, weights, means, variances))
    assert by_quadrature == pytest.approx(exact, abs=1e-5)
    # Without the log weights the components would have one half each.
    even = np.logaddexp(*map(part, [0.5, 0.5], means, variances))
    assert abs(even - exact) > 0.05


@pytest.mark.parametrize(
    "make",
    [
        lambda: mixture(0),
        lambda: flow(1),
        lambda: flow(4, 0),
        lambda: vamp(linear(2), EVENT, 0),
        lambda: autoregressive(0),
    ],
)
def test_sizes_that_make_no_prior_are_refused(make):
    with pytest.raises(ValueError, match="at least"):
        make()
