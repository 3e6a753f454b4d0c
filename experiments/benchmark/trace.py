"""Where the time of a model goes: a trace of it while it is trained or scored, read by kinds of operation.

    python -m experiments.benchmark.trace --models=resnet --modes=chunk,evaluate
    python -m experiments.benchmark.trace --results=experiments/results         all, kept beside the machine's rows

For a CPU, whose trace has every operation of XLA's; for a GPU there is ``experiments.benchmark.kernels``. It is a
command of its own because it compares nothing: no peer, no rounds, and shares bear a machine that does other things.

Every instant goes to the operations that are under way in it, in equal parts, and to ``waiting`` where there is none:
XLA hands over from one operation to the next, or a thread wakes up. ``GFLOP/s`` are those of products, in their own
time. Beside that stands for how much of the time no thread, one or more of them have work. The tracer takes time
itself, which weighs most where operations are short: the seconds without it are told too.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.errors import UserError
from vae_jax.runtime.config import launch, option

from . import cases, machine, modes, table
from .instructions import CONVOLUTION, HOLDERS, KINDS, OTHER, PRODUCT, Instruction, instructions
from .timing import Timer, alternate, best_products

MODES = ("chunk", "evaluate")
WAITING = "waiting"
POOL = "XLAEigen"  # in the names of the threads that compute
SHOWN = 5  # instructions that take most


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags."""

    models: str = option("mlp,conv,resnet,lstm,gru", "which, separated by commas")
    modes: str = option("chunk,evaluate", "which of chunk (training) and evaluate (scoring), separated by commas")
    iw_samples: int = option(0, "importance samples of the scoring", least=0)
    side: int | None = option(None, "of the images, pixels (default: each model's own)", least=4)
    dtype: str = option("float32", "of the networks while they are trained", ("float32", "bfloat16"))
    calls: int = option(2, "of a chunk or of the scoring, traced together behind two that are not", least=1)
    profile: str | None = option(None, "a folder for the traces, which Perfetto shows (default: none is kept)")
    results: str | None = option(None, "a folder with a file a machine, whose traces are replaced", identity=False)


class Ran(NamedTuple):
    """An operation of a trace: when it began and ended, seconds, and what it is."""

    first: float
    last: float
    name: str
    what: Instruction


class Trace(NamedTuple):
    """What a trace says.

    Attributes:
      ran: the operations.
      busy: ``(first, last, thread)`` of the times, seconds, in which a thread had work.
    """

    ran: list[Ran]
    busy: list[tuple[float, float, int]]


def read(folder: Path, known: dict[str, Instruction], module: str) -> Trace:
    """Reads the newest trace below ``folder``.

    Args:
      folder: of ``jax.profiler.trace``.
      known: the instructions of the program that was traced.
      module: its name in the trace; operations of other programs are of the kind ``OTHER``.

    Raises:
      UserError: there is no trace, or it has no operations of a CPU.
    """
    path = max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime, default=None)
    if path is None:
        raise UserError(f"{folder}: there is no trace")
    begun, ends, busy = [], collections.defaultdict(list), []
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        for thread, line in enumerate(plane.lines if plane.name == "/host:CPU" else ()):
            region = None
            for event in sorted(line.events, key=lambda event: event.start_ns):
                first, last = 1e-9 * event.start_ns, 1e-9 * (event.start_ns + event.duration_ns)
                if event.name.startswith("end: "):
                    ends[event.name[5:]].append(first)
                elif event.name == "ThreadpoolListener::StartRegion":
                    region = first
                elif event.name == "ThreadpoolListener::StopRegion" and region is not None:
                    # The client's own thread is in one from the beginning to the end, and waits for the others.
                    if POOL in line.name:
                        busy.append((region, first, thread))
                    region = None
                elif (of := dict(event.stats)).get("hlo_op"):
                    holds = event.name.startswith(HOLDERS)
                    what = known.get(event.name) if of.get("hlo_module") == module else None
                    begun.append((first, last, event.name, what or Instruction(None if holds else OTHER, 0.0, "")))
                    busy.append((first, last, thread))
    if not begun:
        raise UserError(f"{folder}: this trace has no operations of a CPU")
    for times in ends.values():
        times.sort()
    ran = []
    for first, last, name, what in begun:
        if what.kind is not None:
            # What goes on in other threads ends where the trace says so, on whatever thread.
            at = bisect.bisect_left(ends[name], first)
            ran.append(Ran(first, max(last, ends[name][at]) if at < len(ends[name]) else last, name, what))
    return Trace(ran, busy)


def under_way(spans: list[tuple[float, float, int]], groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns how long each instant is, ``[m]`` seconds, and how many spans of each group it lies in, ``[m, groups]``.

    Args:
      spans: ``(first, last, group)``.
      groups: how many there are.
    """
    times = np.array([time for first, last, _ in spans for time in (first, last)])
    change = np.zeros((len(times), groups), np.int32)
    for i, (_, _, group) in enumerate(spans):
        change[2 * i, group], change[2 * i + 1, group] = 1, -1
    order = np.argsort(times, kind="stable")
    return np.diff(times[order]), np.cumsum(change[order], axis=0)[:-1]


def own_seconds(ran: list[Ran]) -> np.ndarray:
    """Returns the time of each operation, ``[n]`` seconds, an instant with others shared with them in equal parts."""
    taken, count = under_way([(r.first, r.last, 0) for r in ran], 1)
    shared = np.where(count[:, 0] > 0, taken / np.maximum(count[:, 0], 1), 0.0)
    times = np.sort([time for r in ran for time in (r.first, r.last)])
    upto = np.concatenate([[0.0], np.cumsum(shared)])
    return np.interp([r.last for r in ran], times, upto) - np.interp([r.first for r in ran], times, upto)


def shares(trace: Trace) -> dict[str, Any]:
    """Returns the shares of the time.

    ``kinds`` has, of each of ``KINDS`` that occurs, the share, how often it ran and the operations a second of its
    products, ``waiting`` is the share of no operation, ``threads`` those of 0, 1, 2, ... threads that have work.
    """
    first, last = min(r.first for r in trace.ran), max(r.last for r in trace.ran)
    seconds, whole, kinds = own_seconds(trace.ran), last - first, {}
    for kind in KINDS:
        there = np.array([r.what.kind == kind for r in trace.ran])
        if there.any():
            own = seconds[there].sum()
            kinds[kind] = {"share": float(own / whole), "count": int(there.sum())}
            if kind in (CONVOLUTION, PRODUCT):
                kinds[kind]["gflops"] = float(sum(r.what.flops for r in trace.ran if r.what.kind == kind) / own / 1e9)
    inside = [(max(a, first), min(b, last), thread) for a, b, thread in trace.busy if a < last and b > first]
    length, work = under_way(inside, 1 + max(thread for _, _, thread in inside))
    number = (work > 0).sum(axis=1)
    threads = [float(length[number == n].sum() / whole) for n in range(number.max() + 1)]
    threads[0] = max(0.0, 1.0 - sum(threads[1:]))
    return {"kinds": kinds, WAITING: float(1.0 - seconds.sum() / whole), "threads": threads}


class Traced(NamedTuple):
    """A mode that is ready to be traced: its timer, its compiled text once it has run, and the units of a call."""

    timer: Timer
    texts: list[str]
    units: int


def prepare(case: cases.Case, mode: str, samples: int) -> Traced:
    """Returns a mode of a model, as the benchmark times it, that keeps the text of its program."""
    r, texts = case.run, []
    if mode == "chunk":
        program = cases.alone(r)
        compiled = program.chunk.lower(program.state, program.data, case.length).compile()
        texts.append(compiled.as_text())
        run = program._replace(chunk=lambda state, data, _: compiled(state, data))
        return Traced(run.timer(case.length, case.length * r.config.batch_size), texts, case.length)

    def keeping(function: Callable, **options: Any) -> Callable:
        jitted = r.spread.measure(function, **options)

        def call(*args):
            if not texts:
                texts.append(jitted.lower(*args).compile().as_text())
            return jitted(*args)

        return call

    timer = modes.scoring(r._replace(spread=r.spread._replace(measure=keeping)), samples)
    return Traced(timer, texts, int(timer.amount))


def measure(config: Config, name: str, mode: str) -> dict[str, Any]:
    """Traces a mode of a model, prints its table, and returns what the machine's file has under ``traces``."""
    case = cases.make(name, {"dtype": config.dtype}, side=config.side)
    samples = config.iw_samples if mode == "evaluate" else 0
    traced = prepare(case, mode, samples)
    traced.timer.run(1)
    plain = min(traced.timer.run(1) for _ in range(config.calls + 1))
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(config.profile or temporary) / f"{name}_{mode}"
        with jax.profiler.trace(folder, profiler_options=options):
            seconds = traced.timer.run(config.calls)
        text = traced.texts[-1]
        found = read(folder, instructions(text), text.split(",", 1)[0].split()[1])
    entry = {
        "model": name,
        "event": case.run.dataset.event,
        "dtype": config.dtype,
        "mode": mode,
        "runs": 1,
        "batch_size": case.run.config.batch_size if mode == "chunk" else None,
        "iw_samples": samples if mode == "evaluate" else None,
        "units": traced.units * config.calls,  # updates, or examples
        "seconds": plain * config.calls,
        "seconds_traced": seconds,
        **shares(found),
    }
    print("\n".join([*in_words(entry), *_largest(found)]), flush=True)
    return entry


def in_words(entry: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of the table of a trace, in Markdown."""
    what = "updates" if entry["mode"] == "chunk" else "examples"
    yield ""
    yield (
        f"{table.name_of_row(entry)}: {entry['units']} {what} in {entry['seconds']:.3g} s, "
        f"{entry['seconds_traced']:.3g} s while they were traced"
    )
    yield ""
    yield "| | of the time | times | GFLOP/s |"
    yield "|---|---|---|---|"
    for kind, own in sorted(entry["kinds"].items(), key=lambda item: -item[1]["share"]):
        rate = f"{own['gflops']:.0f}" if "gflops" in own else ""
        yield f"| {kind} | {100 * own['share']:.1f}% | {own['count']} | {rate} |"
    yield f"| {WAITING} | {100 * entry[WAITING]:.1f}% | | |"
    none, one, *more = entry["threads"] + [0.0] * 2
    yield ""
    yield f"no thread works {100 * none:.0f}% of the time, one alone {100 * one:.0f}%, more {100 * sum(more):.0f}%"


def _largest(trace: Trace) -> Iterator[str]:
    """The instructions that took most, of the time that is theirs."""
    taken, whole = collections.Counter(), max(r.last for r in trace.ran) - min(r.first for r in trace.ran)
    for r, seconds in zip(trace.ran, own_seconds(trace.ran)):
        taken[r.name, r.what] += seconds
    for (name, what), seconds in taken.most_common(SHOWN):
        yield f"  {100 * seconds / whole:5.1f}% {name} ({what.kind}): {what.source[-80:]}"


def main(config: Config) -> None:
    """Traces each model in each mode, prints the tables, and keeps them in the machine's file.

    Raises:
      UserError: a name that there is not, or no CPU.
    """
    models, wanted = ([part.strip() for part in text.split(",")] for text in (config.models, config.modes))
    for what, given, there in (("models", models, cases.available()), ("modes", wanted, MODES)):
        for name in given:
            if name not in there:
                raise UserError(f"--{what}: {name!r} is not there; choose among {', '.join(there)}")
    if jax.default_backend() != "cpu":
        raise UserError("this reads what a CPU did; for a GPU: python -m experiments.benchmark.kernels --profile=DIR")
    results = {**machine.about(), "rows": [], "traces": []}
    for name in models:
        results["traces"] += [measure(config, name, mode) for mode in MODES if mode in wanted]
    rate = float(np.median(alternate({"products": best_products()}, 3, 0.3)["products"])) / 1e9
    print(f"\nmatrix products by themselves: {rate:.4g} GFLOP/s of xla")
    if config.results:
        print(table.keep(results | {"matmul_gflops_of": {"xla": rate}}, Path(config.results))[-1])


if __name__ == "__main__":
    launch(main, Config)
