"""Whether a run can fit into a device's memory at all: asked before anything of it is made."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax

from vae_jax.devices.memory import available, state_bytes
from vae_jax.runs.families import LIKELIHOODS
from vae_jax.runs.settings import Config
from vae_jax.types import Event, UserError

# The flags that memory grows with, and the least that each may be: the one whose least frees most is named.
LEAST = {
    "hidden": "1",
    "latent_dim": 1,
    "embedding": 1,
    "components": 1,
    "batch_size": 1,
    "num_samples": 1,
    "log_every": 1,
}
BYTES = {"float32": 4, "bfloat16": 2}
INDEX = 4  # bytes
TRAINING = 4.0  # times the parameters: themselves, their gradients, Adam's two moments
SAVING = 5.8  # the same on a CPU, where a checkpoint is copied into the memory that training is in; measured


def check(config: Any, levels: int | None, event: Event, make_vae: Callable, left: float | None = None) -> None:
    """Refuses what needs more memory than there is, by a lower bound: what trains is never refused.

    Args:
      config: with ``hidden`` settled.
      levels: of the data.
      event: the shape of x.
      make_vae: ``(config, event, theta_shape) -> VAE``.
      left: bytes of a device; None to ask it.

    Raises:
      UserError: naming the flag that asks for most.
    """
    left = available(jax.local_devices()[0]) if left is None else left
    parts = needed(config, levels, event, make_vae)
    whole = sum(parts.values())
    if whole <= left:
        return

    def without(flag):
        return sum(needed(dataclasses.replace(config, **{flag: LEAST[flag]}), levels, event, make_vae).values())

    flag = min(LEAST, key=without)
    most = sorted(((what, size) for what, size in parts.items() if size > 0.01 * whole), key=lambda item: -item[1])
    said = ", ".join(f"{what} {_size(size)}" for what, size in most)
    raise UserError(
        f"--{flag}={getattr(config, flag)} needs {_size(whole)} of memory or more with these data "
        f"({said}), and there are {_size(left)}; lower it, or use a device with more memory"
    )


def needed(config: Any, levels: int | None, event: Event, make_vae: Callable) -> dict[str, float]:
    """What one device must hold while a run trains, in bytes, a lower bound: what for -> how much."""
    theta = LIKELIHOODS[config.likelihood](config, levels).theta_shape(event)
    shape = dataclasses.replace(Config(), **{name: getattr(config, name) for name in _SHAPES})
    each = math.prod(event) + config.num_samples * (math.prod(theta) + config.latent_dim)
    devices = jax.device_count()
    chunk = min(config.log_every, config.eval_every, config.checkpoint_every, config.num_steps)
    batch = BYTES[config.dtype] * each * config.batch_size / config.microbatches / devices
    order = INDEX * config.batch_size * chunk
    # Of divided parameters not every leaf is: a little more than this.
    parameters = _parameters(make_vae, shape, event, theta) / (devices if config.shard_params else 1)
    model = TRAINING * parameters
    if jax.default_backend() == "cpu":
        model = max(model, SAVING * parameters - batch - order)  # not both at once
    return {"the model and its optimiser": model, "a batch": batch, "the order of a chunk": order}


_SHAPES = ("model", "latent_dim", "hidden", "cell", "embedding", "beta_range")


@functools.lru_cache(maxsize=256)  # a sweep asks for every run, and most have the same shape
def _parameters(make_vae: Callable, config: Any, event: Event, theta: Event) -> int:
    return state_bytes(jax.eval_shape(make_vae(config, event, theta).init, jax.random.key(0)))


def _size(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"
