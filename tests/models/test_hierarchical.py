"""Hierarchies of latents: two linear layers against their closed form, and what the flags make of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.claims import ladders
from experiments.claims.ladders import EVENT, LAYERS, LIKELIHOOD
from experiments.claims.ledger import excess
from vae_jax import objective, priors
from vae_jax.models import hierarchy, ladder
from vae_jax.models.hierarchical import Hierarchy
from vae_jax.types import Given, UserError

KEY = jax.random.key(8)


@pytest.fixture(scope="module")
def exact():
    """Returns terms in double precision of a linear ladder whose q is the posterior."""
    with jax.enable_x64(True):
        yield jax.tree.map(np.asarray, ladders.terms_of(ladders.exact_ladder()))


@pytest.mark.parametrize("name", ["a_linear_ladder_is_exact", "the_top_of_a_ladder_carries_its_share"])
def test_a_linear_ladder_has_its_closed_form(name):
    claim = next(claim for claim in ladders.CLAIMS if claim.name == name)
    with jax.enable_x64(True):
        assert excess(claim, claim.run(None).value) == 0.0


def test_a_ladder_that_forgets_its_top_is_not_exact():
    with jax.enable_x64(True):
        assert ladders.a_linear_ladder_is_exact(None, layers=1).value > 0.01


@pytest.mark.parametrize("make", [ladder, hierarchy])
def test_the_rate_is_unbiased_and_the_prior_s_samples_have_its_density(make):
    vae = make(EVENT, EVENT, 5, (4, 3), layers=LAYERS)
    params = {"model": vae.init(KEY), "likelihood": LIKELIHOOD.init(EVENT)}
    x = jax.random.normal(KEY, EVENT)
    t = objective.terms(vae, LIKELIHOOD, params, x, KEY, 4000)
    ratio = t.log_qz - t.log_pz
    # Both are means over the same 4,000 samples of quantities with one expectation; five standard errors of the wider.
    assert abs(objective.rate(t) - jnp.mean(ratio)) < 5 * jnp.std(ratio) / 4000**0.5
    # E_p[exp(log q - log p)] is 1 over samples of the prior.
    prior = priors.of(vae)
    z = jax.vmap(lambda key: prior.sample(params["model"], key, 5, None))(jax.random.split(KEY, 4000))
    log_p = jax.vmap(lambda z: prior.log_prob(params["model"], z, None))(z)
    other = jax.vmap(lambda z: jnp.sum(-0.5 * (z**2 + jnp.log(2 * jnp.pi))))(z)
    weights = jnp.exp(other - log_p)
    assert abs(jnp.mean(weights) - 1) < 5 * jnp.std(weights) / 4000**0.5


def test_rates_of_layers_add_up_and_a_weight_of_one_layer_charges_that_layer(exact):
    t = exact
    layers = objective.rate_of_layers(t, LAYERS)
    np.testing.assert_allclose(sum(layers), objective.rate(t), rtol=1e-6)
    both = objective.weighted_layers(LAYERS, (1.0, 1.0))(t, 0.7)
    np.testing.assert_allclose(both, objective.elbo(t, 0.7), rtol=1e-6)
    first = objective.weighted_layers(LAYERS, (1.0, 0.0))(t, 0.7)
    np.testing.assert_allclose(first - both, 0.7 * np.mean(layers[1]), rtol=1e-5)


def test_an_upward_inference_depends_on_x_and_the_layer_below_only():
    net = Hierarchy(EVENT, EVENT, LAYERS, (4, 3))
    params = net.init(KEY, plain=True)
    zeros = net.upwards(params, jnp.ones(EVENT), lambda i, q: jnp.zeros_like(q.mean))
    others = net.upwards(params, jnp.zeros(EVENT), lambda i, q: jnp.zeros_like(q.mean))
    np.testing.assert_array_equal(zeros[1][1].mean, others[1][1].mean)
    assert not np.array_equal(zeros[0][1].mean, others[0][1].mean)


@pytest.mark.parametrize("make", [ladder, hierarchy])
def test_for_each_condition_it_is_the_ladder_whose_biases_hold_c(make):
    """A layer that reads c beside h is one that reads h, with c's share in its bias: all terms are equal."""
    c, x = jnp.asarray([0.7, -1.2]), jax.random.normal(KEY, EVENT)
    told, plain = (make(EVENT, EVENT, 5, (4, 3), layers=LAYERS, condition=n) for n in (2, 0))
    params = told.init(KEY)

    def with_c(block):
        first = block["Dense_0"]
        own = {"kernel": first["kernel"][:-2], "bias": first["bias"] + c @ first["kernel"][-2:]}
        return {**block, "Dense_0": own}

    known = {side: {name: with_c(block) for name, block in params[side].items()} for side in params}
    own = LIKELIHOOD.init(EVENT)
    found, expected = (
        objective.terms(vae, LIKELIHOOD, {"model": model, "likelihood": own}, given, KEY, 3)
        for vae, model, given in ((told, params, Given(x, c)), (plain, known, x))
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
    other = objective.terms(told, LIKELIHOOD, {"model": params, "likelihood": own}, Given(x, -c), KEY, 3)
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(other)))
    z = [priors.of(told).sample(params, KEY, 5, some) for some in (c, -c)]
    np.testing.assert_allclose(z[0], priors.of(plain).sample(known, KEY, 5, None), rtol=1e-5, atol=1e-5)
    assert np.array_equal(z[0][-2:], z[1][-2:]) and not np.array_equal(z[0], z[1])


@pytest.mark.parametrize(
    "options, words",
    [
        ({"layers": (3, 3)}, "two layers"),
        ({"layers": (5,)}, "two layers"),
        ({"layers": LAYERS, "hidden": (4, 4, 4)}, "one width"),
        ({"layers": LAYERS, "hidden": (4, 4), "beta_range": (0.1, 1.0)}, "one weight"),
    ],
)
def test_shapes_that_do_not_go_together_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        ladder(EVENT, EVENT, 5, **{"hidden": (), **options})
