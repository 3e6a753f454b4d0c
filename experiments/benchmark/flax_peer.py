"""The same networks as one first writes them in Flax: batched modules, plain sums, a jitted step in a Python loop."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState

from vae_jax.models.convolutional import CHANNELS, num_levels

from .cases import AT_ONCE, Case, Program
from .timing import Timer, seconds_of


class PlainVAE(nn.Module):
    """Images ``x[b, h, w, c]`` of 0 and 1; with ``levels`` of convolutions, or fully connected with none."""

    event: Sequence[int]
    hidden: Sequence[int]
    latent_dim: int
    levels: int = 0

    @nn.compact
    def __call__(self, x, key):
        """``(logits, mean, logvar)``."""
        h = x - 0.5
        for _ in range(self.levels):
            h = nn.silu(nn.Conv(CHANNELS, (4, 4), strides=2, padding=1)(h))
        grid = h.shape[1:]
        h = h.reshape(len(h), -1)
        flat = h.shape[1]
        for width in self.hidden:
            h = nn.silu(nn.Dense(width)(h))
        mean, logvar = nn.Dense(self.latent_dim)(h), nn.Dense(self.latent_dim)(h)
        h = mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)
        for width in self.hidden[::-1]:
            h = nn.silu(nn.Dense(width)(h))
        if not self.levels:
            return nn.Dense(flat)(h).reshape(x.shape), mean, logvar
        h = nn.silu(nn.Dense(flat)(h)).reshape(-1, *grid)
        for level in range(self.levels):
            last = level == self.levels - 1
            h = nn.ConvTranspose(self.event[-1] if last else CHANNELS, (4, 4), strides=(2, 2), padding="SAME")(h)
            h = h if last else nn.silu(h)
        return h, mean, logvar


def negative_elbo(model: nn.Module, params, x, key):
    """The mean over the batch, nats."""
    logits, mean, logvar = model.apply({"params": params}, x, key)
    distortion = jnp.sum(optax.sigmoid_binary_cross_entropy(logits, x), axis=(1, 2, 3))
    rate = -0.5 * jnp.sum(1 + logvar - mean**2 - jnp.exp(logvar), axis=-1)
    return jnp.mean(distortion + rate)


def timers(case: Case) -> dict[str, Timer]:
    """``train`` and ``evaluate`` of a case, in examples."""
    r = case.run
    event, size = r.dataset.event, r.config.batch_size
    levels = num_levels(event) if case.name == "conv" else 0
    model = PlainVAE(event, r.config.hidden, r.config.latent_dim, levels)
    params = model.init(r.key, jnp.zeros((1, *event)), r.key)["params"]
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adam(1e-3, b2=0.99))
    data = jnp.asarray(r.dataset.train, jnp.float32)
    test = jnp.asarray(r.dataset.test, jnp.float32)
    order = jnp.asarray(np.random.default_rng(0).permutation(len(data)))

    @jax.jit
    def step(state, x, key):
        loss, grads = jax.value_and_grad(lambda p: negative_elbo(model, p, x, key))(state.params)
        return state.apply_gradients(grads=grads), loss

    def update(state, data, length):
        start = int(state.step) % (len(order) // size) * size
        return step(state, data[order[start : start + size]], jax.random.fold_in(r.key, state.step))

    measure = jax.jit(lambda params, x, key: negative_elbo(model, params, x, key))

    def evaluate(times: int) -> float:
        starts = range(0, len(test) - AT_ONCE + 1, AT_ONCE)
        return seconds_of(lambda: [measure(params, test[s : s + AT_ONCE], r.key) for _ in range(times) for s in starts])

    return {
        "train": Program(update, state, data).timer(1, size),
        "evaluate": Timer(evaluate, len(test) // AT_ONCE * AT_ONCE),
    }
