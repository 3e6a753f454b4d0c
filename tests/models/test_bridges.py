"""The bridges from Flax: an nnx model is trained as the Linen model of the same weights is."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vae_jax import likelihoods, models, schedules, weighting
from vae_jax.train import Recipe, init_state, make_train_step
from vae_jax.train.optimizers import adam, learning_rates

EVENT, HIDDEN, LATENT = (12,), 8, 3


class LinenEncoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.split(nn.Dense(2 * LATENT, name="out")(nn.silu(nn.Dense(HIDDEN, name="hidden")(x))), 2)


class Encoder(nnx.Module):
    def __init__(self, rngs):
        self.hidden, self.out = nnx.Linear(12, HIDDEN, rngs=rngs), nnx.Linear(HIDDEN, 2 * LATENT, rngs=rngs)

    def __call__(self, x):
        return jnp.split(self.out(nnx.silu(self.hidden(x))), 2)


def decoder(rngs):
    return nnx.Linear(LATENT, 12, rngs=rngs)


def test_an_nnx_model_trains_to_the_bits_of_the_linen_model_of_the_same_weights():
    linen = models.from_linen(LinenEncoder(), nn.Dense(12), EVENT, LATENT)
    ours = models.from_nnx(Encoder, decoder, EVENT, LATENT)
    likelihood = likelihoods.gaussian("learned")
    optimizer = adam(learning_rates("constant", 1e-2, 20), likelihood)
    weight = weighting.from_schedule(schedules.constant(1.0))
    x = np.random.default_rng(0).uniform(size=(16, *EVENT)).astype(np.float32)

    def names(params):
        return {"/".join(key.key for key in path): leaf for path, leaf in jax.tree.leaves_with_path(params)}

    def train(vae, same=None):
        recipe = Recipe(vae, likelihood, optimizer, weight)
        state, step = init_state(recipe, EVENT, jax.random.key(3)), make_train_step(recipe)
        if same is not None:
            paths, tree = jax.tree.flatten(state.params["model"])
            assert {leaf.dtype for leaf in paths} == {jnp.dtype("float32")}
            state.params["model"] = jax.tree.unflatten(tree, jax.tree.leaves(same))
        first = jax.device_get(state.params["model"])
        state, metrics = jax.jit(lambda state: jax.lax.scan(lambda s, _: step(s, x), state, length=10))(state)
        return first, names(state.params["model"]), metrics["loss"]

    first, expected, losses = train(linen)
    _, found, same_losses = train(ours, first)
    assert (
        list(found)
        == list(expected)
        == [
            *("decoder/bias", "decoder/kernel", "encoder/hidden/bias", "encoder/hidden/kernel"),
            *("encoder/out/bias", "encoder/out/kernel"),
        ]
    )
    for name, leaf in expected.items():
        np.testing.assert_array_equal(found[name], leaf, err_msg=name)
    np.testing.assert_array_equal(same_losses, losses)
    assert losses[-1] < losses[0] and np.isfinite(losses).all()


def test_its_first_parameters_are_those_of_the_key():
    vae = models.from_nnx(Encoder, decoder, EVENT, LATENT)
    one, again, other = (jax.tree.leaves(vae.init(jax.random.key(n))) for n in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, again))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other))


def test_a_module_with_a_state_of_its_own_is_refused():
    with pytest.raises(ValueError, match="not mean, var"):
        models.from_nnx(lambda rngs: nnx.BatchNorm(12, rngs=rngs), decoder, EVENT, LATENT)
