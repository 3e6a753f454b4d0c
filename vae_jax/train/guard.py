"""The guard skips and counts updates whose numbers are not finite, and too many in a row end the run.

The decision is part of the compiled step, so that neither one device nor many, neither a run by itself nor one of a
sweep, ever holds a state that such an update has touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.types import Array, Skipped, UserError

# A batch with one extreme example fails alone, and the next one succeeds. Skipped updates change no parameter, so where
# ten batches and ten draws of noise in a row have failed, the parameters themselves are at fault.
MAX_SKIPPED = 10


class Diverged(UserError):
    """Too many updates in a row were not finite.

    Attributes:
      step: the first of them.
    """

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


def none_skipped() -> Skipped:
    """The counts before the first update."""
    return Skipped(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def is_good(skipped: Skipped, loss: Array, grad_norm: Array) -> Array:
    """Whether an update may be made: its loss and gradient are finite, and the run has not ended.

    After ``MAX_SKIPPED`` in a row none is made any more, whatever follows within the same chunk: so the state keeps the
    parameters that failed for whoever asks why, and its count still says when it began.
    """
    return jnp.isfinite(loss) & jnp.isfinite(grad_norm) & (skipped.in_a_row < MAX_SKIPPED)


def update_if(good: Array, update: Callable[[Any], Any], state: Any) -> Any:
    """``update(state)`` where the update is good, else ``state`` to the bit.

    Args:
      good: a scalar.
      update: ``state -> state``, a pytree of arrays of the same shapes and types; no exchange between devices inside.
      state: the state before the update.
    """

    def updated(state):  # in the types of the state: with 64-bit arithmetic a number of the update may be wider
        return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), update(state), state)

    def branch(state):
        return jax.lax.cond(good, updated, lambda state: state, state)

    def select(state):
        return jax.tree.map(lambda new, old: jnp.where(good, new, old), updated(state), state)

    # A branch updates in place; a selection makes XLA's CPU backend copy both of Adam's moments first (9% of a step of
    # an MLP). On a GPU a branch would have the host wait for the gradient in every step.
    return jax.lax.platform_dependent(state, cpu=branch, default=select)


def counted(good: Array, skipped: Skipped) -> Skipped:
    """The counts after an update that was good, or skipped."""
    missed = 1 - good.astype(jnp.int32)
    return Skipped((skipped.in_a_row + 1) * missed, skipped.total + missed)


def in_doubt(skipped: Skipped) -> bool:
    """Whether the last update was skipped: the parameters may then be at fault, and an older checkpoint better."""
    return int(skipped.in_a_row) > 0


def check_finite(first: int, metrics: dict[str, np.ndarray], limit: int = MAX_SKIPPED) -> None:
    """Raises ``Diverged`` where ``limit`` updates in a row, of this chunk and those before it, were skipped.

    Args:
      first: the step of the chunk's first update.
      metrics: name -> ``[length]``, of ``make_train_step``.
      limit: how many are too many; above ``MAX_SKIPPED`` it is never reached before the run has ended by itself.
    """
    too_many = np.asarray(metrics["skipped_in_a_row"]) >= limit
    if np.any(too_many):
        at = int(np.argmax(too_many))
        count = int(metrics["skipped_in_a_row"][at])
        remedy = "Lower --learning_rate, set --clip_norm, or start with a larger --sigma"
        if first + at - count + 1 == 0:
            remedy = "No learning rate helps a first step: scale the data to about 1, or start with a larger --sigma"
        raise Diverged(
            f"training diverged: the {count} updates from step {first + at - count + 1} on were skipped, because the "
            f"loss (at last {metrics['loss'][at]:.6g}) or the gradient's norm ({metrics['grad_norm'][at]:.6g}) is not "
            f"finite; the last good checkpoint is kept. {remedy}, in a new --workdir",
            first + at - count + 1,
        )
