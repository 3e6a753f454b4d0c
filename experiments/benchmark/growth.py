"""How time and memory grow: a size at a time over a factor of at least 8, each exponent beside the theoretical one.

Theory is what the cost comes to where the size decides it. ``counted`` is the exponent of the operations that XLA
counts over the same sizes, so it knows what does not grow (the optimiser, the encoder where samples of z are many), and
time should be at that one where arithmetic decides. Memory is what the compiler plans for one call: arguments, data
among them, and temporaries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from vae_jax.runs.build import Run

from . import cases
from .operations import step_flops
from .timing import Timer, alternate

TOLERANCE = 0.25  # between a fitted exponent and the theoretical one: caches, dispatch and what does not grow


class Axis(NamedTuple):
    """A size that grows.

    Attributes:
      name: what it is.
      sizes: over a factor of at least 8.
      time, memory: theoretical exponents of the time of an update and of the memory.
      make: ``size -> run``.
      steps: updates of a call.
      is_sweep: whether the size is the number of runs of a sweep.
    """

    name: str
    sizes: tuple[int, ...]
    time: float
    memory: float
    make: Callable[[int], Run]
    steps: int = 4
    is_sweep: bool = False


def _mlp(count: int = cases.EXAMPLES, **flags) -> Run:
    return cases.make("mlp", flags, count=count).run


def _conv(side: int) -> Run:
    return cases.make("conv", {"batch_size": 16}, (side, side, 1), 256).run


AXES = (
    Axis("batch", (128, 256, 512, 1024), 1.0, 1.0, lambda n: _mlp(batch_size=n)),
    Axis("latents", (8, 16, 32, 64), 0.0, 0.0, lambda n: _mlp(latent_dim=n)),
    Axis("image side (conv)", (16, 32, 64, 128), 2.0, 2.0, _conv),
    Axis("samples of z", (4, 8, 16, 32), 1.0, 1.0, lambda n: _mlp(num_samples=n)),
    Axis("runs in a sweep", (1, 2, 4, 8), 1.0, 1.0, lambda n: _mlp(), is_sweep=True),
    # As many updates as between two log lines: every chunk shuffles an epoch or two.
    Axis("number of data", (16384, 32768, 65536, 131072), 0.0, 1.0, _mlp, 100),
)


class Fit(NamedTuple):
    """An exponent and its standard error."""

    exponent: float
    error: float


def fit(sizes: Any, values: Any) -> Fit:
    """Returns the exponent p of ``values [n]`` proportional to ``sizes [n] ** p``: least squares of the logarithms."""
    from scipy import stats

    line = stats.linregress(np.log(np.asarray(sizes, np.float64)), np.log(np.asarray(values, np.float64)))
    return Fit(float(line.slope), float(line.stderr))


def agrees(found: Fit, theory: float) -> bool:
    """Returns whether an exponent is the theoretical one, within ``TOLERANCE`` and two standard errors."""
    return abs(found.exponent - theory) <= TOLERANCE + 2 * found.error


def measure(repeats: int, seconds: float, axes: tuple[Axis, ...] | None = None) -> Iterator[dict[str, Any]]:
    """Yields what benchmark.json has under ``growth``, an entry for each axis, and prints each.

    Args:
      repeats, seconds: as for the rows; the sizes of an axis are timed in alternation.
      axes: what grows (default: ``AXES``).
    """
    print("growth with           sizes             time ~ n^p (theory, counted)     memory ~ n^p (theory)")
    for axis in AXES if axes is None else axes:
        timers, memory, flops = zip(*prepared(axis))
        rates = alternate(dict(zip(axis.sizes, timers)), repeats, seconds)
        taken = [float(np.median(1.0 / rates[size])) for size in axis.sizes]
        entry = {"name": axis.name, "sizes": list(axis.sizes), "seconds": taken, "bytes": memory, "flops": flops}
        for what, values, theory in (("time", taken, axis.time), ("memory", memory, axis.memory)):
            fitted = fit(axis.sizes, values)
            entry[what] = fitted._asdict() | {"theory": theory, "agrees": agrees(fitted, theory)}
        entry["counted"] = fit(axis.sizes, flops).exponent
        print(
            f"{axis.name:20s}{axis.sizes[0]:7d} to {axis.sizes[-1]:<7d}"
            "{exponent:7.2f} +- {error:.2f} ({theory:g}, ".format(**entry["time"])
            + f"{entry['counted']:.2f})        "
            + "{exponent:7.2f} +- {error:.2f} ({theory:g})".format(**entry["memory"]),
            flush=True,
        )
        yield entry


def prepared(axis: Axis) -> Iterator[tuple[Timer, float, float]]:
    """Yields for each size the timer of an update, the bytes that a call plans to hold, and the operations of it."""
    for size in axis.sizes:
        r = axis.make(size)
        program = cases.together(r, size) if axis.is_sweep else cases.alone(r)
        compiled = program.chunk.lower(program.state, program.data, axis.steps).compile()
        plan = compiled.memory_analysis()
        held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
        # The length is no argument of what has been compiled for it.
        run = program._replace(chunk=lambda state, data, _, compiled=compiled: compiled(state, data))
        timer = run.timer(axis.steps, axis.steps)
        timer.run(1)
        yield timer, float(held + plan.temp_size_in_bytes), step_flops(r) * (size if axis.is_sweep else 1)
