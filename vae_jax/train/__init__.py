"""How anything is trained: the recipe, the loss, the step, the loop, the guard, optimisers, many runs at once."""

from vae_jax.train.loop import Clock, Every, Hooks, fit
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state, make_chunk, make_fed_chunk, make_train_step

__all__ = ["Clock", "Every", "Hooks", "Recipe", "fit", "init_state", "make_chunk", "make_fed_chunk", "make_train_step"]
