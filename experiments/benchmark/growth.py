"""How time and memory grow: a size at a time over a factor of at least 8, each exponent beside the theoretical one.

Theory is what the cost comes to where the size decides it. ``counted`` is the exponent of the operations that XLA
counts over the same sizes, so it knows what does not grow (the optimiser, the encoder where samples of z are many), and
time should be at that one where arithmetic decides. Memory is what the compiler plans for one call: arguments, data
among them, and temporaries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.runs.build import Run, first_state, training_chunk

from . import cases, modes
from .operations import step_flops
from .timing import Timer, alternate, enough, stepper

TOLERANCE = 0.25  # between a fitted exponent and the theoretical one: caches, dispatch and what does not grow


class Axis(NamedTuple):
    """A size that grows.

    Attributes:
      name: what it is.
      sizes: over a factor of at least 8.
      time, memory: theoretical exponents of the time of an update and of the memory.
      make: ``size -> (run, runs of a sweep)``.
      steps: updates of a call.
    """

    name: str
    sizes: tuple[int, ...]
    time: float
    memory: float
    make: Callable[[int], tuple[Run, int]]
    steps: int = 4


def _mlp(count: int = cases.EXAMPLES, **flags) -> Run:
    return cases.make("mlp", flags, count=count).run


AXES = (
    Axis("batch", (128, 256, 512, 1024), 1.0, 1.0, lambda n: (_mlp(batch_size=n), 1)),
    Axis("latents", (8, 16, 32, 64), 0.0, 0.0, lambda n: (_mlp(latent_dim=n), 1)),
    Axis(
        "image side (conv)",
        (16, 32, 64, 128),
        2.0,
        2.0,
        lambda n: (cases.make("conv", {"batch_size": 16}, (n, n, 1), 256).run, 1),
    ),
    Axis("samples of z", (4, 8, 16, 32), 1.0, 1.0, lambda n: (_mlp(num_samples=n), 1)),
    Axis("runs in a sweep", (1, 2, 4, 8), 1.0, 1.0, lambda n: (_mlp(), n)),
    # As many updates as between two log lines: every chunk shuffles an epoch or two.
    Axis("number of data", (16384, 32768, 65536, 131072), 0.0, 1.0, lambda n: (_mlp(n), 1), 100),
)


class Fit(NamedTuple):
    """An exponent and its standard error."""

    exponent: float
    error: float


def fit(sizes: Any, values: Any) -> Fit:
    """The exponent p of ``values`` proportional to ``sizes ** p``: least squares of the logarithms.

    Args:
      sizes, values: ``[n]``, positive, n at least 3.
    """
    x, y = np.log(np.asarray(sizes, np.float64)), np.log(np.asarray(values, np.float64))
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    left = y - y.mean() - slope * x
    return Fit(slope, float(np.sqrt(left @ left / max(len(x) - 2, 1) / (x @ x))))


def agrees(found: Fit, theory: float) -> bool:
    """Whether an exponent is the theoretical one, within ``TOLERANCE`` and two standard errors."""
    return abs(found.exponent - theory) <= TOLERANCE + 2 * found.error


def measure(repeats: int, seconds: float, axes: tuple[Axis, ...] | None = None) -> Iterator[dict[str, Any]]:
    """What benchmark.json has under ``growth``: an entry for each axis, as soon as it is measured.

    Args:
      repeats, seconds: as for the rows; the sizes of an axis are timed in alternation.
      axes: what grows (default: ``AXES``).
    """
    return (_measured(axis, repeats, seconds) for axis in (AXES if axes is None else axes))


def _measured(axis: Axis, repeats: int, seconds: float) -> dict[str, Any]:
    timers, memory, flops = {}, [], []
    for size, (timer, used, operations) in zip(axis.sizes, _prepared(axis)):
        timers[str(size)] = timer
        memory.append(used)
        flops.append(operations)
    rates = alternate(timers, {name: enough(timer, seconds) for name, timer in timers.items()}, repeats)
    taken = [float(np.median(1.0 / rates[str(size)])) for size in axis.sizes]
    fits = {"time": fit(axis.sizes, taken), "memory": fit(axis.sizes, memory), "counted": fit(axis.sizes, flops)}
    theory = {"time": axis.time, "memory": axis.memory}
    return {
        "name": axis.name,
        "sizes": list(axis.sizes),
        "seconds": taken,
        "bytes": memory,
        "flops": flops,
        **{
            what: {
                "exponent": fits[what].exponent,
                "error": fits[what].error,
                "theory": theory[what],
                "agrees": agrees(fits[what], theory[what]),
            }
            for what in ("time", "memory")
        },
        "counted": fits["counted"].exponent,
    }


def _prepared(axis: Axis) -> Iterator[tuple[Timer, float, float]]:
    """For each size the timer of an update, the memory, and the operations of it."""
    for size in axis.sizes:
        r, runs = axis.make(size)
        if runs > 1 or axis.name == "runs in a sweep":
            chunk, state, data = modes.together(r, runs)
        else:
            chunk = r.spread.compile(training_chunk(r))
            state, data = r.spread.place(first_state(r)), r.spread.place(r.dataset.train)
        program = chunk.lower(state, data, axis.steps).compile()
        run = stepper(lambda state, data, length, program=program: program(state, data), state, data, axis.steps)
        run(1)
        yield Timer(run, axis.steps), _bytes(program), step_flops(r) * runs


def _bytes(program: jax.stages.Compiled) -> float:
    """What a call holds at most, as the compiler plans it."""
    plan = program.memory_analysis()
    return float(plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes) + float(
        plan.temp_size_in_bytes
    )


HEAD = "growth with           sizes             time ~ n^p (theory, counted)     memory ~ n^p (theory)"


def line(axis: dict[str, Any]) -> str:
    """What the terminal shows of an axis, below ``HEAD``."""
    time, memory = axis["time"], axis["memory"]
    return (
        f"{axis['name']:20s}{axis['sizes'][0]:7d} to {axis['sizes'][-1]:<7d}"
        f"{time['exponent']:7.2f} +- {time['error']:.2f} ({time['theory']:g}, {axis['counted']:.2f})"
        f"        {memory['exponent']:7.2f} +- {memory['error']:.2f} ({memory['theory']:g})"
    )
