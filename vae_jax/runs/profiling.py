"""A trace of one chunk of training by JAX's profiler, for TensorBoard or Perfetto."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from vae_jax.devices import processes
from vae_jax.train.loop import Every, next_stop
from vae_jax.types import UserError

SKIPPED = 2  # chunks: the first compiles, and the second may be of another length or still fill memory


def check(config: Any, first: int) -> None:
    """Refuses ``--profile`` where the run ends before the chunk that would be traced.

    Args:
      config: of ``train``.
      first: the step that the run begins at.

    Raises:
      UserError: there are too few chunks.
    """
    if not config.profile:
        return
    step, every = first, Every(config.log_every, config.eval_every or config.num_steps, config.checkpoint_every)
    for chunk in range(SKIPPED + 1):
        if step >= config.num_steps:
            raise UserError(
                f"--profile traces chunk {SKIPPED + 1} of the run, and from step {first} to --num_steps="
                f"{config.num_steps} there are {chunk}; lower --log_every, or leave --profile out"
            )
        step = next_stop(step, config.num_steps, every)


def profiled(
    advance: Callable[[Any, int], tuple], folder: Path, say: Callable[[str], Any] = print
) -> Callable[[Any, int], tuple]:
    """``advance``, of whose calls the one after ``SKIPPED`` others is traced into ``folder``.

    The devices are waited for before and after it, so that the trace holds this chunk and nothing else. Of several
    processes the first one traces.

    Args:
      advance: ``(state, length) -> (state, metrics)``.
      folder: of the trace; ``tensorboard --logdir`` takes it, and Perfetto the ``.trace.json.gz`` within.
      say: where the sentence goes that says so.
    """
    calls = 0

    def call(state, length):
        nonlocal calls
        calls += 1
        if calls != SKIPPED + 1 or not processes.is_first():
            return advance(state, length)
        jax.block_until_ready(state)
        with jax.profiler.trace(folder):
            result = jax.block_until_ready(advance(state, length))
        say(f"profile: {length} steps traced into {folder}")
        return result

    return call
