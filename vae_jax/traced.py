"""Numbers that are either given, as plain numbers, or traced, one for each run of a sweep.

What makes a likelihood, a weight or an objective takes both: a given number is checked when the function is made, and a
traced one was checked by whoever put the runs together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def given(*values) -> bool:
    """Returns whether all of ``values`` are plain numbers (or None), which can be compared now; False for arrays."""
    return not any(isinstance(v, jax.Array) for v in values)


def log(value):
    """Returns the natural logarithm, -infinity of 0: a plain number of a plain number, an array of an array."""
    if not given(value):
        return jnp.log(value)
    return math.log(value) if value else -math.inf


# By fusion a product joins the sum after it and is not rounded; the others compute with numbers that are known before.
_PASSES = "fusion,algsimp,constant_folding"


def one_by_one(function: Callable) -> Callable:
    """Returns ``function`` as one program that has, on a CPU, the bits of its operations called one after another.

    It is for what is called outside of any program: each operation would be compiled by itself, 20 ms each. It cannot
    be called inside of one.
    """
    return jax.jit(function, compiler_options={"xla_disable_hlo_passes": _PASSES})
