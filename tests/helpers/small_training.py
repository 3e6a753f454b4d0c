"""One small model with its data and first state: of one shape in every test, so that compiled operations are shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from helpers.parameters import drawn

from vae_jax import likelihoods, models, schedules, weighting
from vae_jax.devices.parallel import parallel
from vae_jax.train.guard import none_skipped
from vae_jax.train.optimizers import adam, learning_rates
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import make_chunk, make_train_step
from vae_jax.types import VAE, TrainState

# The shapes of the digits and of the runs of ``many_runs.py``.
EVENT, BATCH, LATENTS, HIDDEN = (8, 8, 1), 32, 3, (16,)
DATA = np.random.default_rng(0).integers(0, 255, (96, *EVENT)).astype(np.uint8)
WHITE = 17  # a row for faults to be planted in
DATA[WHITE] = 255
RISING = weighting.from_schedule(schedules.linear(1.0, 10, start=0.25))


class Small(NamedTuple):
    """A recipe, its step, its first state, and ``(state, length) -> (state, metrics)`` on ``DATA``."""

    recipe: Recipe
    step: Callable
    state: TrainState
    run: Callable


def uniform_pixels(key, raw):
    """Dequantised pixels on [0, 1]."""
    return (raw + jax.random.uniform(key, raw.shape)) / 256.0


def first_state(recipe: Recipe, seed: int = 3) -> TrainState:
    """The state before the first update, its parameters drawn by numpy: nothing is compiled."""
    params = {"model": drawn(jax.eval_shape(recipe.vae.init, jax.random.key(0))), "likelihood": {}}
    params = jax.tree.map(jnp.asarray, params) | {"likelihood": recipe.likelihood.init(EVENT)}
    key = jax.random.key(seed)
    return TrainState(jnp.int32(0), params, recipe.optimizer.init(params), recipe.weight.init(), key, none_skipped())


def small(
    likelihood=None,
    weight=RISING,
    optimizer=None,
    change: Callable[[VAE], VAE] = lambda vae: vae,
    mode: str = "jit",
    devices: int = 1,
    preprocess: Callable = uniform_pixels,
    **options,
) -> Small:
    """A perceptron of 16 hidden units on ``DATA``; ``change`` plants something in it, ``options`` are the recipe's."""
    likelihood = likelihood or likelihoods.gaussian("learned")
    beta_range = options.get("beta_range")
    vae = change(models.mlp(EVENT, likelihood.theta_shape(EVENT), LATENTS, HIDDEN, beta_range=beta_range))
    optimizer = optimizer or adam(learning_rates("cosine", 1e-3, 200), likelihood, options.get("clip_norm"))
    spread = parallel(mode, BATCH, jax.devices()[:devices])
    recipe = Recipe(vae, likelihood, optimizer, weight, preprocess=preprocess, all_mean=spread.all_mean, **options)
    step = make_train_step(recipe)
    chunk = spread.compile(make_chunk(step, len(DATA), BATCH, spread.split))
    data = spread.place(DATA)
    return Small(recipe, step, first_state(recipe), lambda state, length: chunk(spread.place(state), data, length))
