"""Which model a run reports, and when it stops: the best evaluation so far, as a part of the state.

Being in the state it is saved, resumed, divided among devices and stacked over the runs of a sweep as the parameters
are, and a decision needs nothing but the state and the evaluation at hand: a run that is killed and resumed makes the
same ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.types import Best, Params, TrainState


class Rule(NamedTuple):
    """How a run decides.

    Attributes:
      keep: "best", or "last": the model of the last evaluation, whatever its bound.
      first: the first step whose evaluation counts, for the best and for patience: the weight is final there.
      num_steps: the last one, whose evaluation is taken where none has counted.
      patience: so many evaluations in a row without a better bound stop the run; None for never.
    """

    keep: str
    first: int
    num_steps: int
    patience: int | None = None


class Evaluation(NamedTuple):
    """What an evaluation found: the parameters as they would be reported, and the numbers of ``Best`` of them."""

    params: Params
    elbo: float
    factor: float
    calibration: float


def nothing_yet(params: Params, weight_state: Any) -> Best:
    """Returns the ``Best`` before the first evaluation, its parameters zeros in the shapes of the state's own."""
    zeros = jax.tree.map(jnp.zeros_like, (params, weight_state))
    # An array of its own for each: a chunk may consume them, and none twice.
    numbers = {name: jnp.full((), -1, jnp.int32) for name in ("step", "misses", "stopped_at")}
    numbers |= {name: jnp.ones((), jnp.float32) for name in ("elbo", "factor", "calibration")}
    return Best(*zeros, **numbers)


def considered(rule: Rule, state: TrainState, found: Evaluation) -> Best:
    """Returns the ``Best`` after an evaluation of ``state``; of one that has stopped, the same.

    What is new of it are copies and numpy scalars: the next chunk consumes the state's own buffers.
    """
    best, step, elbo = state.best, int(state.step), np.float32(found.elbo)
    if has_stopped(best):
        return best
    counts, at_end, seen = step >= rule.first, step >= rule.num_steps, int(best.misses) >= 0
    better = counts and math.isfinite(elbo) and not (seen and elbo <= float(best.elbo))
    misses = 0 if better else int(best.misses) + (1 if counts and seen else 0)
    ends = rule.patience is not None and misses >= rule.patience and not at_end
    best = best._replace(misses=np.int32(misses), stopped_at=np.int32(step if ends else -1))
    best = best._replace(elbo=elbo) if better else best
    if not (better or rule.keep == "last" or (at_end and not seen)):
        return best
    params, weight_state = _copied((found.params, state.weight_state))
    numbers = {"factor": np.float32(found.factor), "calibration": np.float32(found.calibration)}
    return best._replace(params=params, weight_state=weight_state, step=np.int32(step), **numbers)


@jax.jit
def _copied(tree):
    return jax.tree.map(jnp.copy, tree)


def has_stopped(best: Best | None) -> bool:
    """Says whether patience has ended the run."""
    return best is not None and int(best.stopped_at) >= 0


def reported(state: TrainState) -> TrainState:
    """Returns the state with the parameters, the weight's state and the step that the run reports."""
    best = state.best
    if best is None or int(best.step) < 0:
        return state
    return state._replace(params=best.params, weight_state=best.weight_state, step=best.step)


def beside(chunk: Callable) -> Callable:
    """Returns a chunk that leaves ``best`` where it is: the compiled program is that of a run without one."""

    def advance(state: TrainState, *rest):
        after, metrics = chunk(state._replace(best=None), *rest)
        return after._replace(best=state.best), metrics

    return advance
