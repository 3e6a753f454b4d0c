"""A learned prior of discrete latents against sums over every code, and the balance of the KL's two gradients."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import within_standard_errors

from vae_jax.gaussian import DiagGaussian
from vae_jax.posteriors import categorical, closed_form, diagonal, with_latents
from vae_jax.priors import flow, learned_categorical, uniform_categorical
from vae_jax.types import VAE, Given

KEY = jax.random.key(6)
GROUPS, K = 2, 3
CODES = np.asarray([np.eye(K)[list(chosen)].reshape(-1) for chosen in itertools.product(range(K), repeat=GROUPS)])
H = np.asarray([0.3, -0.8, 1.1, 0.6, 0.2, -1.4])
OWN = {"logits": np.asarray([1.0, 0.0, -2.0, 0.3, 0.3, 0.9]), "kernel": np.arange(12.0).reshape(2, 6) % 5 - 2}
C = np.asarray([0.5, -1.0])


@pytest.mark.parametrize("unimix", [0.0, 0.3])
@pytest.mark.parametrize("width", [0, 2])
def test_probabilities_of_all_codes_add_up_and_the_kl_is_their_sum(x64, width, unimix):
    prior, q = learned_categorical(K, unimix, width), categorical(K, unimix=unimix)
    params, c = {"prior": OWN}, C if width else None
    log_p = jnp.stack([prior.log_prob(params, z, c) for z in CODES])
    assert float(jnp.sum(jnp.exp(log_p))) == pytest.approx(1.0, rel=1e-12)
    logits = (OWN["logits"] + (C @ OWN["kernel"] if width else 0.0)).reshape(GROUPS, K)
    each = (1 - unimix) * jax.nn.softmax(logits) + unimix / K

    def of_codes(p):
        return jnp.prod(jnp.sum(CODES.reshape(-1, GROUPS, K) * p.reshape(GROUPS, K), -1), -1)

    np.testing.assert_allclose(jnp.exp(log_p), of_codes(each), rtol=1e-12)
    moments = q.moments({}, H)
    of_code = of_codes(moments.mean)
    parts = prior.kl(params, moments, c)
    assert parts.shape == (GROUPS,) and closed_form(prior, q)
    np.testing.assert_allclose(jnp.sum(parts), jnp.sum(of_code * (jnp.log(of_code) - log_p)), rtol=1e-12)
    drawn = jax.vmap(lambda key: prior.sample(params, key, GROUPS * K, c))(jax.random.split(KEY, 4_000))
    assert (drawn.reshape(-1, GROUPS, K).sum(-1) == 1).all() and within_standard_errors(drawn, each.reshape(-1), 5)


def test_it_begins_as_the_uniform_prior_and_is_finite_where_q_is_certain(x64):
    prior, q = learned_categorical(K, 0.0), categorical(K, unimix=0.0)
    params = {"prior": prior.init(KEY, GROUPS * K)}
    np.testing.assert_allclose(prior.kl(params, q.moments({}, H), None), q.kl({}, H), rtol=1e-9)
    np.testing.assert_allclose(
        prior.log_prob(params, CODES[4], None), uniform_categorical(K).log_prob({}, CODES[4], None), rtol=1e-12
    )
    certain = jnp.asarray([1e4, 0.0, 0.0, 0.0, 1e4, 0.0])
    of_h = lambda h: jnp.sum(prior.kl(params, q.moments({}, h), None))  # noqa: E731
    assert float(of_h(certain)) == pytest.approx(2 * np.log(3), rel=1e-9)
    assert jnp.isfinite(jax.grad(of_h)(certain)).all()


def model(name: str, balance):
    """Makes a model with a learned prior: of classes, whose KL is exact, or a flow, whose KL is of samples."""
    prior, posterior, d = {
        "classes": (learned_categorical(K), categorical(K), GROUPS * K),
        "flow": (flow(2, 4), diagonal(), 3),
    }[name]

    def encode(params, x):
        return DiagGaussian(*jnp.split(x @ params["encoder"], 2))

    def init(key):
        return {"encoder": jax.random.normal(key, (4, 6)), "decoder": jnp.ones(d)}

    vae = with_latents(VAE(init, encode, lambda params, z: z * params["decoder"]), prior, posterior, d, None, balance)
    params = vae.init(KEY)
    moved = jax.tree.map(lambda v: v + 0.3 * jax.random.normal(KEY, v.shape), params["prior"])
    return vae, {**params, "prior": moved}


@pytest.mark.parametrize("name", ["classes", "flow"])
def test_a_balanced_kl_has_the_same_value_and_shares_its_gradient(x64, name):
    x = jax.random.normal(jax.random.key(1), (4,))

    def of(balance):
        vae, params = model(name, balance)
        return jax.value_and_grad(lambda params: jnp.sum(vae.latents(params, x, KEY, 5)[0].kl()))(params)

    (plain, slopes), (value, shared) = of(None), of(0.8)
    assert float(value) == pytest.approx(float(plain), rel=1e-9)
    for part, share in (("prior", 0.8), ("encoder", 0.2)):
        assert max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(slopes[part])) > 1e-3
        for expected, got in zip(jax.tree.leaves(slopes[part]), jax.tree.leaves(shared[part])):
            np.testing.assert_allclose(got, share * expected, rtol=1e-6, atol=1e-12)


def test_a_prior_of_a_condition_is_told_it(x64):
    prior = learned_categorical(K, width=2)
    base = VAE(
        lambda key: {},
        lambda params, x: DiagGaussian(x.value[:3], x.value[3:]),
        lambda params, z: z.value,
    )
    vae = with_latents(base, prior, categorical(K), GROUPS * K)
    kl = [vae.latents({"prior": OWN}, Given(jnp.asarray(H), jnp.asarray(c)), KEY, 1)[0].kl() for c in (C, -C)]
    np.testing.assert_allclose(kl[0], prior.kl({"prior": OWN}, categorical(K).moments({}, H), C), rtol=1e-12)
    assert jnp.abs(kl[0] - kl[1]).max() > 0.1
