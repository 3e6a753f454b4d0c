"""Conditions: p(x|c) of a linear Gaussian model in closed form, the theory given c, and every built-in network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import likelihoods, objective
from vae_jax.data.conditions import encoded, read, with_condition, without_condition
from vae_jax.data.dataset import from_arrays
from vae_jax.data.units import Table
from vae_jax.gaussian import DiagGaussian
from vae_jax.linear_vae import predict
from vae_jax.models import conditional, conv, mlp, recurrent, resnet
from vae_jax.posteriors import diagonal, with_latents
from vae_jax.priors import conditional as conditional_prior
from vae_jax.types import VAE, Given, UserError

SIGMA, KEY = 0.3, jax.random.key(5)
FAMILY = likelihoods.gaussian("fixed", SIGMA)


def orthogonal(rng, rows, columns):
    return np.linalg.qr(rng.normal(size=(rows, columns)))[0]


def linear_model(with_c_in_decoder=True):
    """Makes x = W z + V c + noise and its exact posterior; W has orthogonal columns, so that is diagonal."""
    rng = np.random.default_rng(0)
    w, v = orthogonal(rng, 5, 2) * [1.5, 0.7], rng.normal(size=(5, 3))
    d = 1.0 / (1.0 + np.sum(w**2, axis=0) / SIGMA**2)

    def encode(params, x):
        mean = d * (w.T @ (x.value - v @ x.c)) / SIGMA**2
        return DiagGaussian(mean, jnp.log(d))

    decode = (lambda params, z: w @ z.value + v @ z.c) if with_c_in_decoder else (lambda params, z: w @ z.value)
    x, c = rng.normal(size=(20, 5)), rng.normal(size=(20, 3))
    return VAE(lambda key: {}, encode, decode), w, v, Given(jnp.asarray(x), jnp.asarray(c))


def log_normal(x, mean, covariance):
    left = x - mean
    square = np.einsum("ni,ij,nj->n", left, np.linalg.inv(covariance), left)
    return -0.5 * (square + np.linalg.slogdet(2 * np.pi * covariance)[1])


def bound_of_each(vae, params, data, samples=3):
    def one(x, key):
        t = objective.terms(
            vae, FAMILY, {"model": params, "likelihood": {"log_sigma": jnp.asarray(np.log(SIGMA))}}, x, key, samples
        )
        return objective.iwae_per_example(t), objective.rate(t)

    return jax.vmap(one)(data, jax.random.split(KEY, len(data)))


@pytest.mark.parametrize("decoder_is_told", [True, False])
def test_a_linear_model_has_its_closed_form(decoder_is_told):
    with jax.enable_x64(True):
        vae, w, v, data = linear_model(decoder_is_told)
        exact = log_normal(data.value, data.c @ v.T, w @ w.T + SIGMA**2 * np.eye(5))
        found, rate = bound_of_each(vae, {}, data)
        # At the exact posterior every importance weight is p(x|c). A decoder that is not told c is far from that.
        error = np.abs(found - exact)
        assert (error < 1e-6 * np.abs(exact)).all() if decoder_is_told else (error > 0.1).all()
        q = jax.vmap(lambda x: vae.encode({}, x))(data)
        np.testing.assert_allclose(rate, jnp.sum(q.kl(), -1), rtol=1e-12)


def test_a_prior_of_c_has_its_closed_form():
    """p(z|c) = N(M c, S): p(x|c) = N(W M c, W S W^T + sigma^2), and KL(q || p(z|c)) the mean of log q - log p."""
    rng, d = np.random.default_rng(1), 2
    w, m, logvar = orthogonal(rng, 5, d) * [1.5, 0.7], rng.normal(size=(3, d)), np.log([0.5, 2.0])
    data = Given(jnp.asarray(rng.normal(size=(20, 5))), jnp.asarray(rng.normal(size=(20, 3))))
    precision = np.exp(-logvar) + np.sum(w**2, axis=0) / SIGMA**2

    def encode(params, x):
        mean = (w.T @ x.value / SIGMA**2 + (x.c @ m) * np.exp(-logvar)) / precision
        return DiagGaussian(mean, -jnp.log(precision))

    plain = VAE(lambda key: {}, encode, lambda params, z: w @ z.value)
    vae = with_latents(plain, conditional_prior(3, hidden=0), diagonal(), d)
    with jax.enable_x64(True):
        kernel = jnp.concatenate([jnp.asarray(m), jnp.zeros((3, d))], axis=1)
        params = {"prior": {"kernel": kernel, "bias": jnp.concatenate([jnp.zeros(d), jnp.asarray(logvar)])}}
        found, rate = bound_of_each(vae, params, data)
        exact = log_normal(data.value, data.c @ m @ w.T, w * np.exp(logvar) @ w.T + SIGMA**2 * np.eye(5))
        np.testing.assert_allclose(found, exact, rtol=1e-6)
        q, z = vae.latents(params, data[0], KEY, 200_000)
        ratio = q.log_qz - q.log_pz
        assert abs(rate[0] - ratio.mean()) < 5 * ratio.std() / len(z) ** 0.5
        # A mixture over c integrates to 1, and draws have the mean and the variance of c's own Gaussian.
        drawn = jax.vmap(lambda key: vae.prior.sample(params, key, d, data.c[0]))(jax.random.split(KEY, 20_000))
        np.testing.assert_allclose(drawn.mean(0), data.c[0] @ m, atol=5 * 1.5 / 20_000**0.5)
        np.testing.assert_allclose(drawn.var(0), np.exp(logvar), rtol=0.06)


def test_the_prior_begins_as_the_standard_normal_and_moves_with_c():
    prior = conditional_prior(3)
    params = {"prior": prior.init(KEY, 2)}
    q = DiagGaussian(jnp.array([0.3, -1.0]), jnp.array([0.1, -2.0]))
    np.testing.assert_allclose(prior.kl(params, q, jnp.ones(3)), q.kl(), rtol=1e-5)
    slope = jax.grad(lambda own: prior.kl({"prior": own}, q, jnp.ones(3)).sum())(params["prior"])
    assert np.abs(slope["kernel"]).max() > 0


def bed(n=400):
    """Rows with three directions left of x given a label of two classes, and the label."""
    rng = np.random.default_rng(2)
    label = rng.integers(0, 2, n)
    z = rng.normal(size=(n, 3)) * [1.2, 0.8, 0.1]
    x = z @ orthogonal(rng, 4, 3).T + np.outer(label, [2.0, -1.0, 0.5, 1.0]) + 0.05 * rng.normal(size=(n, 4))
    return (x - x.mean(axis=0)).astype(np.float32), label


def test_a_trained_linear_model_is_the_theory_on_the_residual_covariance():
    import optax

    x, label = bed()
    data = Given(jnp.asarray(x), jax.nn.one_hot(label, 2))
    means = np.stack([x[label == k].mean(axis=0) for k in (0, 1)])
    values = np.linalg.eigvalsh(np.cov((x - means[label]).T, ddof=0))[::-1]
    theory = predict(values, 1.0, SIGMA**2, 2)
    whole = predict(np.linalg.eigvalsh(np.cov(x.T, ddof=0))[::-1], 1.0, SIGMA**2, 2)

    def make(event, theta_shape, latent_dim):
        return mlp(event, theta_shape, latent_dim, ())

    vae, adam = conditional.beside_numbers(make, (4,), (4,), 2, 2), optax.adam(optax.cosine_decay_schedule(0.03, 3000))
    params = vae.init(KEY)

    def terms(params, key):
        keys = jax.random.split(key, len(x))
        own = {"model": params, "likelihood": {"log_sigma": jnp.asarray(np.log(SIGMA))}}
        return jax.vmap(lambda x, key: objective.terms(vae, FAMILY, own, x, key, 2))(data, keys)

    def step(state, i):
        params, opt = state
        slope = jax.grad(lambda p: -objective.elbo(terms(p, jax.random.fold_in(KEY, i))))(params)
        change, opt = adam.update(slope, opt)
        return (optax.apply_updates(params, change), opt), None

    params = jax.jit(lambda p: jax.lax.scan(step, (p, adam.init(p)), jnp.arange(3000))[0][0])(params)
    keys = jax.random.split(KEY, 50)
    found = jax.lax.map(
        lambda key: (lambda t: (objective.rate(t).mean(), objective.distortion(t).mean()))(terms(params, key)), keys
    )
    rate, distortion = (float(v.mean()) for v in found)
    constant = 2.0 * np.log(2 * np.pi * SIGMA**2)
    assert rate == pytest.approx(theory.rate, rel=0.01)
    assert distortion - constant == pytest.approx(0.5 * theory.distortion / SIGMA**2, rel=0.01)
    # Without c it would cost more: a wrong covariance is told from the right one.
    assert abs(whole.rate - theory.rate) > 0.1 * theory.rate


def test_the_covariance_given_c_is_that_within_the_classes():
    x, label = bed()
    data = from_arrays("mine", x, x[:50], label[:, None], label[:50, None], ("label",))
    data = with_condition(data, "label")
    rows = np.arange(len(x))
    left = without_condition(data, lambda: [(rows, x)])(rows, x)
    means = np.stack([x[label == k].mean(axis=0) for k in (0, 1)])
    np.testing.assert_allclose(left, x - means[label], atol=1e-5)
    # A condition that says nothing of x changes it by what chance leaves.
    shuffled = data._replace(train_c=np.random.default_rng(0).permutation(data.train_c))
    same = without_condition(shuffled, lambda: [(rows, x)])(rows, x)
    np.testing.assert_allclose(same.var(axis=0), (x - x.mean(axis=0)).var(axis=0), rtol=0.03)


def test_weights_of_zero_for_c_are_the_model_without_it():
    def make(event, theta_shape, latent_dim):
        return mlp(event, theta_shape, latent_dim, (7,))

    given = conditional.beside_numbers(make, (4,), (4,), 2, 3)
    params = given.init(KEY)
    first = {part: dict(params[part]["Dense_0"]) for part in ("encoder", "decoder")}
    zero = {"encoder": first["encoder"]["kernel"].at[4:].set(0), "decoder": first["decoder"]["kernel"].at[2:].set(0)}
    short = {"encoder": zero["encoder"][:4], "decoder": zero["decoder"][:2]}

    def with_kernels(kernels):
        return {part: {**params[part], "Dense_0": {**first[part], "kernel": kernels[part]}} for part in first}

    x, c = jax.random.normal(KEY, (6, 4)), jax.random.normal(KEY, (6, 3))
    known, _ = bound_of_each(given, with_kernels(zero), Given(x, c))
    plain, _ = bound_of_each(make((4,), (4,), 2), with_kernels(short), x)
    # The one thing that c adds is the encoder's centring at 1/2, which a weight of 0 does not see.
    np.testing.assert_allclose(known, plain, rtol=1e-6)


NETWORKS = {
    "mlp": (lambda e, t, d: mlp(e, t, d, (6,)), conditional.beside_numbers, (8, 8, 1)),
    "conv": (lambda e, t, d: conv(e, t, d, (6,)), conditional.by_event, (8, 8, 1)),
    "conv, padded": (lambda e, t, d: conv(e, t, d, (6,)), conditional.by_event, (10, 9, 3)),
    "resnet": (lambda e, t, d: resnet(e, t, d, (4,)), conditional.by_event, (8, 8, 1)),
    "recurrent": (lambda e, t, d: recurrent(e, t, d, (6,), embedding=4), conditional.after_encoder, (2, 5)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_encoder_and_decoder_of_every_network_are_told_c(name):
    make, way, event = NETWORKS[name]
    theta_shape = (5, 9) if name == "recurrent" else event
    vae = way(make, event, theta_shape, 2, 3)
    params = jax.tree.map(lambda leaf: leaf + 0.1, vae.init(KEY))  # what begins at 0 is learned
    x = jnp.ones(event) if name != "recurrent" else jnp.full(event, 4.0)
    c = jax.random.normal(KEY, (3,))

    def both(params, c):
        z = jax.tree.leaves(vae.encode(params, Given(x, c)))
        theta = vae.decode(params, Given(jnp.ones(2), c))
        given = theta if vae.decode_given is None else vae.decode_given(params, jnp.ones(2), Given(x, c))
        return sum(jnp.sum(jnp.sin(part)) for part in z), jnp.sum(jnp.sin(given)), theta

    encoder, decoder = (jax.jacobian(lambda c, i=i: both(params, c)[i])(c) for i in (0, 1))
    assert (np.abs(encoder) > 0).all() and (np.abs(decoder) > 0).all()
    assert both(params, c)[2].shape == theta_shape


CONDITION = Table(
    (0.0, 40.0), (1.0, 10.0), ("sex", "age"), ("binary", "real"), ("bernoulli", "gaussian"), (("f", "m"), ()), (0, 0)
)


def test_a_condition_is_read_by_name_by_number_and_by_row():
    expected = np.float32([[0, 1, 1.0], [0, 1, -1.0]])
    np.testing.assert_array_equal(encoded(CONDITION, np.array([[1, 50.0], [1, 30.0]])), expected)
    for given in ({"sex": "m", "age": [50, 30]}, {"age": ["50", "30"], "sex": 1}, [["m", 50], [1, 30.0]]):
        np.testing.assert_array_equal(read(CONDITION, given, 2, "sample"), expected)
    assert read(None, None, 2, "sample") is None
    for condition, given, match in (
        (CONDITION, None, "give c, such as c={'sex': 'f', 'age': 1.5}"),
        (CONDITION, {"sex": "x", "age": 1}, "sex is 'x', expected one of f, m"),
        (CONDITION, {"sex": "m"}, "no age"),
        (CONDITION, {"sex": "m", "age": [1, 2, 3]}, "3 values of age for 2 examples"),
        (None, 3, "without --condition"),
    ):
        with pytest.raises(UserError, match=match.replace("{", r"\{").replace("}", r"\}")):
            read(condition, given, 2, "sample")


def test_what_cannot_be_a_condition_is_refused():
    x, label = bed()
    plain = from_arrays("mine", x, x[:50])
    labelled = from_arrays("mine", x, x[:50], label[:, None] + 0.5, label[:50, None], ("label",))
    for data, text, match in (
        (plain, "label", "no labels and no columns"),
        (plain._replace(words=("a",)), "label", "is a text"),
        (labelled, "age", "label"),
        (labelled, "label", "whole numbers from 0 on"),
        (labelled._replace(test_factors=None), "label", "no labels of its test split"),
    ):
        with pytest.raises(UserError, match=match):
            with_condition(data, text)
