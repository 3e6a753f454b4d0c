"""How anything is trained: the step, its loss, the loop, the guard, optimisers, many runs as one program."""

from vae_jax.train.loop import Clock, Every, Hooks, fit
from vae_jax.train.step import init_state, make_chunk, make_fed_chunk, make_train_step

__all__ = ["Clock", "Every", "Hooks", "fit", "init_state", "make_chunk", "make_fed_chunk", "make_train_step"]
