"""Schedules: pure functions of the 0-based step. The value at step t is the one that update t applies.

A schedule has the type of ``optax.Schedule``. Each is defined past its end, and takes Python numbers or traced
arguments, so that a sweep can ``vmap`` over them. Ramps are decided by integer comparisons: a ramp reaches its
end at exactly the step that its definition names. What optax has already is re-exported, not rewritten.
"""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
from optax.schedules import join_schedules, piecewise_constant_schedule, piecewise_interpolate_schedule

from vae_jax.types import Schedule

__all__ = [
    "constant",
    "cosine",
    "cyclical",
    "join_schedules",
    "linear",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "sigmoid",
]

# f maps progress v in [0, 1] through a ramp to [0, 1] (Fu 2019, 1903.10145, section 4).
_SHAPES = {
    "linear": lambda v: v,
    "sigmoid": lambda v: jax.nn.sigmoid(12.0 * v - 6.0),
    "cosine": lambda v: 0.5 * (1.0 - jnp.cos(jnp.pi * v)),
}


SHORTEST = 1e-30  # steps of a ramp, which j / ramp can still divide by


def _float(x) -> jax.Array:
    return jnp.asarray(x, dtype=float)


def _between(start, stop, v) -> jax.Array:
    # Exact at both ends, which start + (stop - start) * v is not.
    return _float(start) * (1.0 - v) + _float(stop) * v


def _ramp(t, steps, delay) -> jax.Array:
    """Returns progress through a ramp: 0 up to ``t = delay``, 1 from ``delay + steps`` on (at once if steps is 0)."""
    done = jnp.asarray(t) - jnp.asarray(delay)
    steps = jnp.asarray(steps)
    v = jnp.clip(_float(done) / _float(jnp.maximum(steps, 1)), 0.0, 1.0)
    return jnp.where(done >= steps, 1.0, v) * (done >= 0)


def constant(value) -> Schedule:
    """Makes a schedule of ``value`` at every step."""
    return lambda t: jnp.broadcast_to(_float(value), jnp.shape(t))


def linear(stop, steps, start=0.0, delay=0) -> Schedule:
    """Makes a straight ramp: ``start`` up to step ``delay``, ``stop`` from step ``delay + steps`` on, for ever.

    Args:
      stop, start: the values at the ends; a decreasing ramp is allowed.
      steps: the ramp's length in steps; 0 means ``stop`` from step ``delay`` on.
      delay: the step at which the ramp begins.

    Example:
      >>> float(linear(1.0, 10)(5))
      0.5
    """
    return lambda t: _between(start, stop, _ramp(t, steps, delay))


def sigmoid(stop, midpoint, steepness, start=0.0) -> Schedule:
    """Makes a logistic ramp (Bowman 2015, 1511.06349).

    Its value is ``start + (stop - start) / (1 + exp(-steepness (t - midpoint)))``.

    It is not rescaled, so it approaches its ends and never equals them: with ``midpoint=2500`` and
    ``steepness=0.0025`` it begins at 0.0019.
    """
    return lambda t: _between(start, stop, jax.nn.sigmoid(steepness * (_float(t) - midpoint)))


def cosine(stop, steps, start=0.0, delay=0) -> Schedule:
    """Makes half a cosine wave from ``start`` (up to step ``delay``) to ``stop`` (from step ``delay + steps`` on)."""
    return lambda t: _between(start, stop, _SHAPES["cosine"](_ramp(t, steps, delay)))


def cyclical(stop, steps, cycles=4, ratio=0.5, shape="linear", start=0.0) -> Schedule:
    """Makes cyclical annealing (Fu 2019, 1903.10145, eq. 6 and 7), in exact integers; ``stop`` from step ``steps`` on.

    The run of ``steps`` steps is cut into ``cycles`` cycles of ``L = ceil(steps / cycles)``; within each, the weight
    ramps from ``start`` for a share ``ratio`` of the cycle, then holds ``stop``. Where ``cycles`` does not divide
    ``steps`` the last cycle is shorter; with ``ratio=1`` a ramp ends just below ``stop``.

    Args:
      stop, start: the values that a ramp ends and begins with.
      steps: the whole length T in steps.
      cycles: how many cycles, >= 1.
      ratio: the share R of a cycle that ramps, in (0, 1].
      shape: "linear", "sigmoid" (``sg(12 v - 6)``, which ends at 0.9975) or "cosine".

    Raises:
      ValueError: for an unknown shape, and for steps, cycles or a ratio (given as numbers) out of range.
    """
    if shape not in _SHAPES:
        raise ValueError(f"shape must be one of {', '.join(_SHAPES)}, not {shape!r}")
    if all(isinstance(v, int | float | Fraction) for v in (steps, cycles, ratio)):
        if steps < 1 or cycles < 1 or not 0 < ratio <= 1:
            raise ValueError(
                f"a cyclical schedule needs steps >= 1, cycles >= 1 and 0 < ratio <= 1, "
                f"not steps={steps}, cycles={cycles}, ratio={ratio}"
            )
        # R = p/q exactly (0.1 is one tenth): j C q <= p T, compared as j <= floor(p T / (C q)), cannot overflow.
        ramp = Fraction(ratio).limit_denominator(1_000_000) * Fraction(steps) / Fraction(cycles)
        ramp, last = max(float(ramp), SHORTEST), int(ramp)
    else:
        ramp = _float(ratio) * _float(steps) / _float(cycles)
        # The nearest integer counts as reached when rounding alone separates it from the ramp's end.
        nearest = jnp.round(ramp)
        last = jnp.where(jnp.abs(ramp - nearest) <= 1e-6 * ramp, nearest, jnp.floor(ramp)).astype(int)
        ramp = jnp.maximum(ramp, SHORTEST)
    length = -(-steps // cycles)

    def schedule(t):
        t = jnp.asarray(t)
        j = t % length
        v = _SHAPES[shape](jnp.clip(_float(j) / ramp, 0.0, 1.0))
        v = jnp.where((t >= steps) | (j > last), 1.0, v)
        return _between(start, stop, v)

    return schedule
