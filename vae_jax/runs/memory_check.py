"""Whether a run can fit into a device's memory at all: asked before anything of it is made."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import jax

from vae_jax.devices.memory import available, size_in_words, state_bytes
from vae_jax.runs.settled import Settings
from vae_jax.types import Event, UserError

# The flags that memory grows with, and the least that each may be: the one whose least frees most is named.
LEAST = {
    "hidden": (1,),
    "latent_dim": 1,
    "embedding": 1,
    "components": 1,
    "prior_components": 1,
    "batch_size": 1,
    "num_samples": 1,
    "log_every": 1,
}
BYTES = {"float32": 4, "bfloat16": 2}
INDEX = 4  # bytes
TRAINING = 4.0  # times the parameters: themselves, their gradients, Adam's two moments
SAVING = 5.8  # the same on a CPU, where a checkpoint is copied into the memory that training is in; measured


def check(settings: Settings, make_vae: Callable, left: float | None = None) -> None:
    """Refuses what needs more memory than there is, by a lower bound: what trains is never refused.

    Args:
      settings: of the run.
      make_vae: ``(settings, theta_shape) -> VAE``.
      left: bytes of a device; None to ask it.

    Raises:
      UserError: naming the flag that asks for most.
    """
    left = available(jax.local_devices()[0]) if left is None else left
    parts = needed(settings, make_vae)
    whole = sum(parts.values())
    if whole <= left:
        return

    def without(flag):
        return sum(needed(dataclasses.replace(settings, **{flag: LEAST[flag]}), make_vae).values())

    flag = min(LEAST, key=without)
    most = sorted(((what, size) for what, size in parts.items() if size > 0.01 * whole), key=lambda item: -item[1])
    listed = ", ".join(f"{what} {size_in_words(size)}" for what, size in most)
    again = dataclasses.replace(settings, remat=settings.model == "resnet")
    advice = "add --remat, " if sum(needed(again, make_vae).values()) <= left else ""
    raise UserError(
        f"--{flag}={getattr(settings.flags, flag)} needs {size_in_words(whole)} of memory or more with these data "
        f"({listed}), and there are {size_in_words(left)}; {advice}lower it, or use a device with more memory"
    )


def needed(settings: Settings, make_vae: Callable) -> dict[str, float]:
    """Returns what one device must hold while a run trains, in bytes, a lower bound: what for -> how much."""
    s = settings
    theta = s.names.likelihoods[s.likelihood](s, s.levels).theta_shape(s.event)
    # A prior may ask the family for its support, and the family for any sigma: the parameters are as many.
    shape = Settings(**{name: getattr(s, name) for name in _SHAPES}, sigma=1.0)
    each = math.prod(s.event) + s.num_samples * (math.prod(theta) + s.code_dim)
    devices = jax.device_count()
    chunk = min(s.log_every, s.eval_every, s.checkpoint_every, s.num_steps)
    batch_of_device = s.batch_size / s.microbatches / devices
    batch = BYTES[s.dtype] * each * batch_of_device
    # A CPU takes a batch in parts that fit its cache, which may be of one example.
    held = BYTES[s.dtype] * _kept(s) * (batch_of_device if jax.default_backend() != "cpu" else 1)
    order = INDEX * s.batch_size * chunk
    # Of divided parameters not every leaf is: a little more than this.
    parameters = _parameters(make_vae, shape, theta) / (devices if s.shard_params else 1)
    model = TRAINING * parameters
    # On a CPU a checkpoint is copied into the memory that training is in; not while a batch is there.
    if jax.default_backend() == "cpu":
        model = max(model, SAVING * parameters - batch - order - held)
    parts = {"the model and its optimiser": model, "a batch": batch, "the order of a chunk": order}
    return parts | ({"what its gradient reads": held} if held else {})


def _kept(s: Settings) -> int:
    """Returns how many numbers of an example a network's gradient holds, where that is most of it."""
    if s.model != "resnet" or len(s.event) != 3:
        return 0
    from vae_jax.models.residual import kept_numbers

    return kept_numbers(s.event, s.hidden, s.remat, s.num_samples)


# What the number of parameters depends on.
_SHAPES = (
    *("latent_map", "model", "latent_dim", "hidden", "cell", "embedding", "beta_range", "event", "names"),
    *("latent_layers", "posterior", "flow_steps", "latent_classes", "prior", "prior_components", "likelihood"),
    *("levels", "columns", "condition"),
)


@functools.lru_cache(maxsize=256)  # a sweep asks for every run, and most have the same shape
def _parameters(make_vae: Callable, shape: Settings, theta: Event) -> int:
    return state_bytes(jax.eval_shape(make_vae(shape, theta).init, jax.random.key(0)))
