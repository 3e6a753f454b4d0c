"""Losses written differently and equal in weight train the same model; and where the weight collapses it.

The losses are written out by hand here, as other code writes them, and never through the project's likelihoods.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax import objective, schedules, weighting
from vae_jax.conventions import canonical
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import gaussian
from vae_jax.models import mlp
from vae_jax.theory.known_losses import KNOWN
from vae_jax.train.optimizers import Rates, adam
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state, make_train_step

D, M, B = 16, 8, 128  # dimensions, latents, and the batch, which is all the data here
S = 0.01  # the water level of the five losses


@functools.cache
def _digits():
    """Real digits, ``[n, 4, 4]`` by averaging 2x2 pixels, in [0, 1]."""
    from sklearn.datasets import load_digits

    return load_digits().images.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, D) / 16.0


# ---------------------------------------------------------------- losses, written out
#
# Each has x[b, D] in [0, 1], the decoder's output h[b, D] before any squashing, and mu and lv [b, M].


def kl_terms(mu, lv):
    return -0.5 * (1.0 + lv - mu**2 - jnp.exp(lv))


def half_sum_and_sum(x, h, mu, lv):
    error = 0.5 * jnp.sum((x - jax.nn.sigmoid(h)) ** 2, axis=1)
    return jnp.mean(error + 0.01 * jnp.sum(kl_terms(mu, lv), axis=1))


def mean_and_sum(x, h, mu, lv):
    """The commonest: b D / 2 is 0.01 at b = 0.00125."""
    error = jnp.mean((x - jax.nn.sigmoid(h)) ** 2)
    return error + 0.00125 * jnp.mean(jnp.sum(kl_terms(mu, lv), axis=1))


def mean_and_mean(x, h, mu, lv):
    return jnp.mean((x - jax.nn.sigmoid(h)) ** 2) + 0.01 * jnp.mean(kl_terms(mu, lv))


def bytes_batch_summed(x, h, mu, lv):
    """Pixels 0..255 and a mean over the latents, both terms summed over the batch, the error weighed by 2."""
    error = jnp.sum((255.0 * x - 255.0 * jax.nn.sigmoid(h)) ** 2)
    return 2.0 * error + 20808.0 * jnp.sum(jnp.mean(kl_terms(mu, lv), axis=1))


def tanh_and_half_mean(x, h, mu, lv):
    """Pixels -1..1; the error is averaged over pixels and summed over the batch, the KL the other way round."""
    error = 0.5 * jnp.sum(jnp.mean(((2.0 * x - 1.0) - jnp.tanh(h / 2.0)) ** 2, axis=1))
    return 10.0 * error + 3.2 * jnp.mean(jnp.sum(kl_terms(mu, lv), axis=1))


def half_the_weight(x, h, mu, lv):
    """Planted: the half of the squared error forgotten, which halves the water level."""
    error = jnp.sum((x - jax.nn.sigmoid(h)) ** 2, axis=1)
    return jnp.mean(error + 0.01 * jnp.sum(kl_terms(mu, lv), axis=1))


# The loss, and what ``canonical`` is told of it: recon, its reduction, the KL's, its weight; and the rest.
EQUAL = {
    half_sum_and_sum: (("half_squared_error", "sum", "sum", 0.01), {}),
    mean_and_sum: (("squared_error", "mean", "sum", 0.00125), {}),
    mean_and_mean: (("squared_error", "mean", "mean", 0.01), {}),
    bytes_batch_summed: (
        ("squared_error", "sum+batch_sum", "mean+batch_sum", 20808.0),
        {"recon_weight": 2.0, "pixel_scale": 255.0},
    ),
    tanh_and_half_mean: (
        ("half_squared_error", "mean+batch_sum", "sum", 3.2),
        {"recon_weight": 10.0, "pixel_scale": 2.0},
    ),
}


# Recipes as their repositories write them, on pixels in [0, 1] with our sizes; named as in ``known_losses``.


def vanilla_vae(x, h, mu, lv):
    error = jnp.mean((x - jax.nn.sigmoid(h)) ** 2)
    return error + 2.5e-4 * jnp.mean(jnp.sum(kl_terms(mu, lv), axis=1))


def bolts_vae(x, h, mu, lv):
    return jnp.mean((x - jax.nn.sigmoid(h)) ** 2) + 0.1 * jnp.mean(kl_terms(mu, lv))


def gaussian_disentangling_vae(x, h, mu, lv):
    """The squared error of pixels 0..255, divided by 255."""
    error = jnp.sum((255.0 * x - 255.0 * jax.nn.sigmoid(h)) ** 2) / 255.0 / len(x)
    return error + jnp.sum(jnp.mean(kl_terms(mu, lv), axis=0))


RECIPES = {
    "PyTorch-VAE, VanillaVAE": vanilla_vae,
    "lightning-bolts, VAE": bolts_vae,
    "disentangling-vae, VAE, gaussian": gaussian_disentangling_vae,
}


def _here(name):
    """The table's row of this name with the sizes of these tests, converted."""
    row = next(row for row in KNOWN if row.name == name)
    return row._replace(data_dim=D, latent_dim=M).convention


def _ours(x, h, mu, lv, sigma):
    """Our bound at beta = 1. Its z only says what the distortion is of: ``h`` is its decoder's output."""

    def score(x, h, mu, lv):
        q, own = DiagGaussian(mu, lv), {"log_sigma": jnp.log(sigma)}
        return objective.score(gaussian("fixed"), own, x, q, mu[None], jax.nn.sigmoid(h)[None])

    return -objective.elbo(jax.vmap(score)(x, h, mu, lv))


def _runs():
    """What to train: every loss of this file, and how many of them with which sigma, by name."""
    written = (*EQUAL, half_the_weight, *RECIPES.values())
    losses = [lambda x, h, mu, lv, sigma, f=f: f(x, h, mu, lv) for f in written] + [_ours]
    runs = {f.__name__: (i, 1.0) for i, f in enumerate(written)}
    runs |= {f"ours for {f.__name__}": (len(written), _here(name).sigma) for name, f in RECIPES.items()}
    return losses, runs


@functools.cache
def trained():
    """What each loss ends with, by name: SSE, rate and active units, in 64 bits.

    One program, in which only the loss differs: the data, the start, the noise and Adam are the same for all. Adam's
    eps is 1e-30, because the losses differ by factors up to 10^7 and 1e-8 would not be small beside the gradients of
    the smallest.
    """
    losses, runs = _runs()
    vae, steps = mlp((D,), (D,), M, (16,)), 1000
    optimizer = optax.adam(optax.schedules.cosine_decay_schedule(1e-2, steps), eps=1e-30)

    def network(params, x, key):
        q = jax.vmap(lambda x: vae.encode(params, x))(x)
        z = q.mean + jnp.exp(0.5 * q.logvar) * jax.random.normal(key, q.mean.shape)
        return jax.vmap(lambda z: vae.decode(params, z))(z), q.mean, q.logvar

    @jax.jit
    def run(which, sigma, x):
        slopes = [jax.grad(lambda outputs, f=f: f(x, *outputs, sigma)) for f in losses]

        def update(carry, step):
            params, state = carry
            key = jax.random.fold_in(jax.random.key(1), step)
            outputs, back = jax.vjp(lambda params: network(params, x, key), params)
            (gradient,) = back(jax.lax.switch(which, slopes, outputs))
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), None

        params = jax.tree.map(lambda leaf: leaf.astype(float), vae.init(jax.random.key(0)))
        (params, _), _ = jax.lax.scan(update, (params, optimizer.init(params)), jnp.arange(steps))
        h, mu, lv = network(params, jnp.tile(x, (20, 1)), jax.random.key(2))
        sse = jnp.mean(jnp.sum((jnp.tile(x, (20, 1)) - jax.nn.sigmoid(h)) ** 2, 1))
        return sse, jnp.mean(jnp.sum(kl_terms(mu, lv), 1)), jnp.sum(jnp.var(mu, axis=0) > 0.01)

    x = jnp.asarray(_digits()[:B])
    return {name: tuple(map(float, run(*which, x))) for name, which in runs.items()}


def four_digits(numbers):
    return pytest.approx(numbers, rel=5e-5)


def test_five_losses_of_one_water_level_train_one_model(x64):
    first = trained()["half_sum_and_sum"]
    assert 1 <= first[2] < M and first[1] > 1.0  # a weight that matters: some latents are used, and not all
    for loss, (arguments, rest) in EQUAL.items():
        assert canonical(*arguments, D, M, batch_size=B, **rest).water_level == pytest.approx(S, rel=1e-12)
        assert trained()[loss.__name__] == four_digits(first), loss.__name__
    sse, rate, _ = trained()["half_the_weight"]
    assert sse < 0.95 * first[0] and rate > 1.05 * first[1]


@pytest.mark.parametrize("name", RECIPES)
def test_a_copied_recipe_is_our_loss_at_the_converted_sigma(name, x64):
    theirs = trained()[RECIPES[name].__name__]
    assert theirs == four_digits(trained()[f"ours for {RECIPES[name].__name__}"])


def test_the_recipes_are_different_weights(x64):
    levels = [_here(name).water_level for name in RECIPES]
    np.testing.assert_allclose(levels, [2.5e-4 * D / 2, 0.1 * D / (2 * M), 1 / 510], rtol=1e-12)
    # Planted: 2% off in the water level (the first and the last) is seen at four digits.
    ends = [trained()[f.__name__] for f in RECIPES.values()]
    assert ends[0] != four_digits(ends[2]) and ends[1][1] < 0.5 * ends[0][1]


# ---------------------------------------------------------------- through the project's own step


def test_beta_and_sigma_with_one_product_are_one_run():
    """(beta, sigma^2) = (3, .05) and (1, .15) are one training run and (1, .05) is another: float32, 300 steps of Adam.

    A plain Adam: it divides a common factor of the loss out, and its usual eps of 1e-8 is far below the gradients of a
    loss summed over pixels. Weight decay, clipping, or SGD at one learning rate would tell the first two apart.
    """
    x = jnp.asarray(_digits()[:B], jnp.float32)
    vae, likelihood = mlp((D,), (D,), 4, (32,)), gaussian("fixed")
    optimizer = optax.partition(
        {"trained": optax.adam(1e-3), "fixed": optax.set_to_zero()}, {"model": "trained", "likelihood": "fixed"}
    )

    @jax.jit
    def run(beta, sigma2):
        recipe = Recipe(vae, likelihood, optimizer, weighting.from_schedule(schedules.constant(beta)))
        step, start = make_train_step(recipe), init_state(recipe, (D,), jax.random.key(0))
        own = {"log_sigma": 0.5 * jnp.log(sigma2)}
        state = start._replace(params={**start.params, "likelihood": own})
        state = jax.lax.scan(lambda state, _: (step(state, x)[0], None), state, length=300)[0]
        return start.params["model"], state.params["model"]

    def gap(a, b):
        return max(float(jnp.max(jnp.abs(p - q))) for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b)))

    start, first = run(3.0, 0.05)
    assert gap(first, start) > 0.05  # it did train
    assert gap(first, run(1.0, 0.15)[1]) < 1e-6
    assert gap(first, run(1.0, 0.05)[1]) > 1e-2


def test_the_rate_dies_at_the_largest_eigenvalue():
    """The gate of a nonlinear model: a rate at s = 0.9 lambda_1, and none at 1.05 lambda_1.

    Below lambda_1 the collapsed solution is a saddle, left slowly: both runs begin at a weight of 0.3 and rise to 1 in
    the first third. (At 0.95 lambda_1 nothing robust can be said.)
    """
    images = _digits()[::3]
    largest = np.linalg.eigvalsh(np.cov(images.T, ddof=0))[-1]
    x = jnp.asarray(images, jnp.float32)
    steps = 1500
    vae, likelihood = mlp((D,), (D,), 2, (16,)), gaussian("fixed")
    falling = optax.schedules.cosine_decay_schedule(1e-2, steps)
    optimizer = adam(Rates(falling, falling), likelihood)
    weight = weighting.from_schedule(schedules.linear(1.0, steps // 3, start=0.3))
    recipe = Recipe(vae, likelihood, optimizer, weight, num_samples=2)
    step = make_train_step(recipe)

    @jax.jit
    @jax.vmap
    def run(water_level):
        state = init_state(recipe, (D,), jax.random.key(0))
        state.params["likelihood"]["log_sigma"] = 0.5 * jnp.log(water_level)
        state, _ = jax.lax.scan(lambda state, _: step(state, x), state, length=steps)
        q = jax.vmap(lambda x: vae.encode(state.params["model"], x))(x)
        return jnp.mean(jnp.sum(q.kl(), -1))

    below, above = run(largest * jnp.array([0.9, 1.05]))
    assert below > 0.02
    assert above < 0.002
