"""Timing in alternation: what several things do a second, and their ratios, on a machine that does other things too."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SIDES = {"cpu": (512, 1024, 2048), "default": (1024, 4096, 8192)}  # of the matrices of the reference


class Timer(NamedTuple):
    """Something that can be timed: ours, a peer's, or the products of matrices.

    Attributes:
      run: ``(count) -> seconds``, how long ``count`` units of the work took.
      amount: of what is wanted in one unit: examples, updates or operations.
    """

    run: Callable[[int], float]
    amount: float


def seconds_of(work: Callable[[], Any]) -> float:
    """Returns how long ``work`` took, the devices waited for."""
    started = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - started


def enough(timer: Timer, seconds: float) -> int:
    """Returns how many units take at least ``seconds``, by the time of one."""
    return max(1, math.ceil(seconds / max(timer.run(1), 1e-9)))


def alternate(
    timers: Mapping[str, Timer], repeats: int, seconds: float = 0.0, rest: float = 0.0
) -> dict[str, np.ndarray]:
    """Returns what each timer does a second, ``[repeats]``: all of them once, then all of them again.

    Args:
      timers: by name, in the order of a round; each is called once before, which compiles it if nothing else has.
      repeats: rounds.
      seconds: how long each timing takes at least; by default it is of one unit.
      rest: seconds between two of them, in which threads that wait for more work go to sleep.
    """
    counts = {name: enough(timer, seconds) for name, timer in timers.items()}
    rates = {name: np.zeros(repeats) for name in timers}
    for i in range(repeats):
        for name, timer in timers.items():
            time.sleep(rest)
            rates[name][i] = counts[name] * timer.amount / timer.run(counts[name])
    return rates


def ratio(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, list[float]]:
    """Returns ``(median, [least, greatest])`` of ours / theirs, round by round."""
    each = np.asarray(ours, np.float64) / np.asarray(theirs, np.float64)
    return float(np.median(each)), [float(each.min()), float(each.max())]


def products(side: int) -> Timer:
    """Times products of two square float32 matrices, at the precision that networks have by default; in operations."""
    rounds = max(1, round(1e9 / side**3))
    a = jnp.full((side, side), 1 / side, jnp.float32)
    # Many are one program, each the factor of the next, so that no time goes into fetching memory for a result.
    multiply = jax.jit(lambda a: jax.lax.fori_loop(0, rounds, lambda _, b: b @ a, a))
    jax.block_until_ready(multiply(a))
    return Timer(lambda count: seconds_of(lambda: [multiply(a) for _ in range(count)][-1]), rounds * 2.0 * side**3)


def best_products(seconds: float = 0.2) -> Timer:
    """Returns ``products`` of the size that this machine is quickest at."""
    sides = SIDES.get(jax.default_backend(), SIDES["default"])
    timers = {str(side): products(side) for side in sides}
    rates = alternate(timers, 3, seconds)
    return timers[max(rates, key=lambda name: np.median(rates[name]))]
