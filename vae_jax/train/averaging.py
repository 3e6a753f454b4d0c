"""A moving average of the parameters over the updates, kept in the optimiser's state."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vae_jax.types import Array, Params, TrainState


class Averaged(NamedTuple):
    """The average of the parameters, and of how many updates it is."""

    count: Array
    params: Params


def averaging(decay: float) -> optax.GradientTransformation:
    """Returns the last link of an optimiser: it changes no update, and averages the parameters that they make.

    Of t updates the average is the sum of decay^(t-i) params_i, divided by the sum of its weights, so it is unbiased
    from the first one on (as Adam's moments are; Kingma and Ba 2014, 1412.6980, section 3).
    """

    def init(params):
        return Averaged(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None):
        count = state.count + 1
        share = (1.0 - decay) / -jnp.expm1(count.astype(jnp.float32) * math.log(decay))
        new = optax.apply_updates(params, updates)
        return updates, Averaged(count, jax.tree.map(lambda old, p: old + share * (p - old), state.params, new))

    return optax.GradientTransformation(init, update)


def averages(opt_state: Any) -> list[Averaged]:
    """Returns the averages in an optimiser's state: one, or none."""
    parts = jax.tree.leaves(opt_state, is_leaf=lambda part: isinstance(part, Averaged))
    return [part for part in parts if isinstance(part, Averaged)]


def averaged(state: TrainState, frozen: bool) -> Params:
    """Returns the average where the optimiser keeps one, else the parameters.

    Args:
      state: of a run, after its first update.
      frozen: whether the likelihood's own parameters have no gradient: then they are not averaged either.
    """
    kept = averages(state.opt_state)
    if not kept or int(kept[0].count) == 0:
        return state.params
    return {**kept[0].params, **({"likelihood": state.params["likelihood"]} if frozen else {})}
