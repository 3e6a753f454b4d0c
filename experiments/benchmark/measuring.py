"""The rounds: each model warm in all its modes, then ours, the peers' and matrix products in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vae_jax.types import UserError

from . import cases, modes, table
from .operations import step_flops
from .peer import Peer, PeerError, peers
from .timing import Timer, alternate, best_products, enough

REST = 0.05  # seconds: threads that wait for work by spinning have gone to sleep by then


def measure(config: Any, models: list[str], wanted: tuple[str, ...], found: dict, write: Callable[[], None]) -> None:
    """Fills ``found["rows"]`` and ``found["matmul_gflops"]``, and writes them after each model.

    Args:
      config: the flags.
      models, wanted: the names of models and modes.
      found: what benchmark.json will hold.
      write: writes it.
    """
    reference, rates = best_products(), []
    others = found["cores_in_use_by_others"]
    print(f"{found['device']}, {found['threads']} threads" + ("" if others is None else f", {others:.2g} cores in use"))
    if found["busy"]:
        print("warning: this machine is busy: no figure of this run says how fast anything is")
    print(table.HEAD)
    for name in models:
        case = cases.make(name)
        rows = modes.rows_of(case, wanted, config.iw_samples)
        update = step_flops(case.run)
        timed = [modes.warm(case, mode, config.runs, samples, update) for mode, samples in rows]
        try:
            with peers(config.peer, case, config.peer_python, config.iw_samples, found["busy"]) as others:
                measured = rounds(timed, others, reference, config.repeats, config.seconds)
        except PeerError as error:
            raise UserError(f"--peer={config.peer}: it failed while {name} was timed: {error}") from None
        rates.append(measured["products"])
        for one in timed:
            row = table.row(name, one, case.run.config.batch_size, measured, measured["products"], others)
            found["rows"].append(row)
            print(table.line(row), flush=True)
        found["matmul_gflops"] = float(np.median(np.concatenate(rates))) / 1e9
        write()
    print(f"matrix products: {found['matmul_gflops']:.4g} GFLOP/s")


def rounds(
    timed: list[modes.Timed], others: list[Peer], reference: Timer, repeats: int, seconds: float
) -> dict[str, np.ndarray]:
    """Amounts a second, ``[repeats]``, by ``table.name_of``, ``table.peer_key`` and "products".

    Args:
      timed: ours.
      others: the peers.
      reference: matrix products.
      repeats, seconds: rounds, and how long each timing takes at least.
    """
    timers = {"products": reference} | {table.name_of(one): one.timer for one in timed}
    for peer in others:
        for what in list(peer.timers):
            timers[table.peer_key(peer, what)] = peer.timers[what]
    return alternate(timers, {name: enough(timer, seconds) for name, timer in timers.items()}, repeats, REST)


def rate_of_products(repeats: int, seconds: float) -> float:
    """This machine's matrix products alone, GFLOP/s."""
    reference = best_products()
    counts = {"products": enough(reference, seconds)}
    return float(np.median(alternate({"products": reference}, counts, repeats)["products"])) / 1e9
