"""The floating-point operations of a program, as XLA's cost analysis counts them, all rounds of loops included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun, jaxprs_in_params

from vae_jax.runs.build import Run, first_state, training_step


def count(function: Callable, *args: Any) -> float:
    """The operations of ``function(*args)``; a multiplication and an addition are two.

    XLA counts the body of a loop once, whatever its length: those of every ``scan`` are counted here as often as they
    run. Exponentials and their like are not counted.

    Args:
      function: may be jitted.
      *args: arrays or their shapes; nothing is computed.
    """
    return _whole(jax.make_jaxpr(function)(*args))


def step_flops(r: Run) -> float:
    """The operations of one update of a run."""
    step = training_step(r, lambda tree: tree)
    state = jax.eval_shape(lambda: first_state(r))
    raw = jax.ShapeDtypeStruct((r.config.batch_size, *r.dataset.train.shape[1:]), r.dataset.train.dtype)
    return count(step, state, raw)


def _whole(program: ClosedJaxpr) -> float:
    return _as_xla_says(program) + sum(
        length * _whole(body) - _as_xla_says(body) for length, body in _scans(program.jaxpr)
    )


def _as_xla_says(program: ClosedJaxpr) -> float:
    shapes = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in program.in_avals]
    found = jax.jit(jaxpr_as_fun(program)).lower(*shapes).cost_analysis()
    return float((found or {}).get("flops", 0.0))


def _scans(jaxpr: Any) -> Iterator[tuple[int, ClosedJaxpr]]:
    """The outermost scans of a program, within its branches and calls too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation.params["length"], equation.params["jaxpr"]
        else:
            for inner in jaxprs_in_params(equation.params):
                yield from _scans(inner)
