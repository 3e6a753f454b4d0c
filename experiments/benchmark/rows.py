"""The rounds: each model warm in all its modes, then ours, the peers' and matrix products in turn; a row a mode.

The limit of a row is the rate of float32 matrix products of the library that is quicker at them: XLA, or the peer's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vae_jax.types import UserError

from . import cases, modes
from .operations import step_flops
from .peers import Peer, PeerError, peers
from .timing import Timer, alternate, best_products, ratio

REST = 0.05  # seconds: threads that wait for work by spinning have gone to sleep by then
# Each mode beside the one that it should not be slower than.
BESIDE = {"chunk": "step", "sweep": "chunk"}
HEAD = "model  mode             examples/s   share       flops  compile  peak MB   ratio [least, greatest]"


def measure(config: Any, models: list[str], wanted: tuple[str, ...], results: dict, write: Callable[[], None]) -> None:
    """Fills ``results["rows"]`` and the rates of matrix products, and writes them after each model.

    Args:
      config: the flags.
      models, wanted: the names of models and modes.
      results: what benchmark.json will hold.
      write: writes it.
    """
    reference, rates = best_products(), {}
    machine = {name: results[name] for name in ("processor", "instruction_set")}
    others = results["cores_in_use_by_others"]
    used = "" if others is None else f", {others:.2g} cores in use"
    print(f"{results['processor']}, {results['instruction_set']}, {results['threads']} threads{used}")
    if results["busy"]:
        print("warning: this machine is busy: no figure of this run says how fast anything is")
    print(HEAD)
    for name in models:
        case = cases.make(name, {"dtype": config.dtype}, side=config.side)
        most = cases.samples_of(name, config.iw_samples)
        rows, update = modes.rows_of(name, wanted, most), step_flops(case.run)
        timed = [modes.warm(case, mode, config.runs, samples, update) for mode, samples in rows]
        try:
            with peers(config.peer, case, config.peer_python, most, results["busy"]) as there:
                measured = rounds(timed, there, reference, config.repeats, config.seconds)
        except PeerError as error:
            raise UserError(f"--peer={config.peer}: it failed while {name} was timed: {error}") from None
        for library, key in libraries(measured).items():
            rates.setdefault(library, []).append(measured[key])
        for one in timed:
            results["rows"].append(row(one.row, measured, there) | machine)
            print(line(results["rows"][-1]), flush=True)
        found = {library: float(np.median(np.concatenate(own))) / 1e9 for library, own in rates.items()}
        results |= {"matmul_gflops": max(found.values()), "matmul_gflops_of": found}
        write()
    print("matrix products: " + ", ".join(f"{rate:.4g} GFLOP/s of {library}" for library, rate in found.items()))


def rounds(
    timed: list[modes.Timed], others: list[Peer], reference: Timer, repeats: int, seconds: float
) -> dict[Any, np.ndarray]:
    """Returns amounts a second, ``[repeats]``, by mode, by a peer's name, variant and what it did, and "products"."""
    timers = {"products": reference} | {_name(one.row): one.timer for one in timed}
    for peer in others:
        timers |= {(peer.name, peer.variant, what): timer for what, timer in peer.timers.items()}
    return alternate(timers, repeats, seconds, REST)


def rate_of_products(repeats: int, seconds: float) -> float:
    """Returns the rate of this machine's matrix products alone, GFLOP/s."""
    return float(np.median(alternate({"products": best_products()}, repeats, seconds)["products"])) / 1e9


def libraries(rates: dict[Any, np.ndarray]) -> dict[str, Any]:
    """Returns the keys of the rates of matrix products by whose they are: "xla", and the peer's name."""
    return {"xla": "products"} | {key[0]: key for key in rates if key[-1] == "products" and key != "products"}


def _name(row: dict[str, Any]) -> str:
    return "importance" if row["iw_samples"] else row["mode"]


def row(known: dict[str, Any], rates: dict[Any, np.ndarray], peers: list[Peer]) -> dict[str, Any]:
    """Returns one row of benchmark.json.

    Args:
      known: of ``modes.Timed``.
      rates: of ``rounds``.
      peers: those that were timed.
    """
    own, there = rates[_name(known)], libraries(rates)
    limit = max(there, key=lambda library: np.median(rates[there[library]]))
    full = known | {
        "examples_per_second": float(np.median(own)),
        "examples_per_second_spread": [float(own.min()), float(own.max())],
        "flops_share": ratio(own * known["flops_per_example"], rates[there[limit]])[0],
        "limit": limit,
        "limit_gflops": float(np.median(rates[there[limit]])) / 1e9,
    }
    other = BESIDE.get(known["mode"])
    if other in rates:
        full["beside"] = {"mode": other} | _ratio(own, rates[other])
    # A mode that trains is held against the peer's training, whatever the mode.
    what = _name(known) if known["mode"] == "evaluate" else "train"
    compared = [_compared(peer, what, own, rates) for peer in peers if what in peer.timers or what in peer.failed]
    if compared:
        # The first that worked stands for all; PyTorch's is the eager one.
        worked = [c for c in compared if "ratio" in c]
        if worked:
            kept = ("peer", "peer_examples_per_second", "ratio", "ratio_spread")
            full |= {k: worked[0][k] for k in kept}
            full["best"] = max(worked, key=lambda c: c["peer_examples_per_second"])["variant"]
        full["peers"] = compared
    return full


def _ratio(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    return dict(zip(("ratio", "ratio_spread"), ratio(ours, theirs)))


def _compared(peer: Peer, what: str, own: np.ndarray, rates: dict[Any, np.ndarray]) -> dict[str, Any]:
    entry = {"peer": peer.name, "variant": peer.variant, "version": peer.version, "timed": what}
    if what in peer.failed:
        return entry | {"failed": peer.failed[what]}
    theirs = rates[peer.name, peer.variant, what]
    return entry | {"peer_examples_per_second": float(np.median(theirs))} | _ratio(own, theirs)


def mode_of(row: dict[str, Any]) -> str:
    """Returns what a row's mode is called, with the number of its runs or samples."""
    runs = f" of {row['runs']}" if row["runs"] > 1 else ""
    return row["mode"] + runs + (f", K={row['iw_samples']}" if row["iw_samples"] else "")


def line(row: dict[str, Any]) -> str:
    """Returns a row as the terminal shows it, below ``HEAD``."""
    text = (
        f"{row['model']:7s}{mode_of(row):16s}{row['examples_per_second']:11.5g}{100 * row['flops_share']:8.1f}%"
        f"{row['flops_per_step']:12.4g}{row['compile_seconds']:9.2f}{row['peak_memory_bytes'] / 1e6:9.0f}"
    )
    beside = [(row["beside"]["mode"], row["beside"])] if "beside" in row else []
    for name, other in [*beside, *((f"{p['peer']} {p['variant']}", p) for p in row.get("peers", ()))]:
        if "failed" in other:
            text += f"   {name}: {other['failed'][:80]}"
        else:
            text += "   {:.3f} [{:.3f}, {:.3f}] of {}".format(other["ratio"], *other["ratio_spread"], name)
    return text
