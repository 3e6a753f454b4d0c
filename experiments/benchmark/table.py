"""From rates to rows: medians, shares, and ratios with their spread."""

from __future__ import annotations

from typing import Any

import numpy as np

from .modes import Timed
from .peer import AGAINST, Peer
from .timing import ratio

# Each mode beside the one that it should not be slower than.
BESIDE = {"chunk": "step", "sweep": "chunk"}


def name_of(timed: Timed) -> str:
    """What a row is called while it is timed."""
    return timed.mode if not timed.samples else "importance"


def row(
    model: str, timed: Timed, batch_size: int, rates: dict[str, np.ndarray], products: np.ndarray, peers: list[Peer]
) -> dict[str, Any]:
    """One row of benchmark.json.

    Args:
      model: its name.
      timed: what was timed.
      batch_size: of its updates.
      rates: examples a second in each round, ours by ``name_of`` and a peer's by ``peer_key``.
      products: operations a second of matrix products in each round.
      peers: those that were timed.
    """
    own = rates[name_of(timed)]
    found = {
        "model": model,
        "mode": timed.mode,
        "runs": timed.runs,
        "batch_size": None if timed.mode == "evaluate" else batch_size,
        "iw_samples": timed.samples if timed.mode == "evaluate" else None,
        "examples_per_second": float(np.median(own)),
        "examples_per_second_spread": [float(own.min()), float(own.max())],
        "flops_per_step": timed.flops_per_step,
        "flops_per_example": timed.flops,
        "flops_share": ratio(own * timed.flops, products)[0],
        "compile_seconds": timed.compile_seconds,
        "peak_memory_bytes": timed.peak_memory,
        "memory_of": timed.memory_of,
    }
    other = BESIDE.get(timed.mode)
    if other in rates:
        median, spread = ratio(own, rates[other])
        found["beside"] = {"mode": other, "ratio": median, "ratio_spread": spread}
    compared = [c for c in (_compared(timed, own, rates, peer) for peer in peers) if c]
    if compared:
        # The first that worked stands for all; PyTorch's is the eager one.
        first = next((c for c in compared if "ratio" in c), None)
        found |= {k: first[k] for k in ("peer", "peer_examples_per_second", "ratio", "ratio_spread")} if first else {}
        found["peers"] = compared
    return found


def peer_key(peer: Peer, what: str) -> str:
    """What a peer's rates are called."""
    return f"{peer.name} {peer.variant} {what}"


def _compared(timed: Timed, own: np.ndarray, rates: dict[str, np.ndarray], peer: Peer) -> dict[str, Any] | None:
    what = "importance" if timed.samples else AGAINST[timed.mode]
    said = {"peer": peer.name, "variant": peer.variant, "version": peer.version, "timed": what}
    if what in peer.failed:
        return said | {"failed": peer.failed[what]}
    if what not in peer.timers:
        return None
    theirs = rates[peer_key(peer, what)]
    median, spread = ratio(own, theirs)
    return said | {"peer_examples_per_second": float(np.median(theirs)), "ratio": median, "ratio_spread": spread}


def line(found: dict[str, Any]) -> str:
    """A row as the terminal shows it."""
    mode = found["mode"] + (f" of {found['runs']}" if found["runs"] > 1 else "")
    mode += f", K={found['iw_samples']}" if found["iw_samples"] else ""
    text = (
        f"{found['model']:7s}{mode:16s}{found['examples_per_second']:11.5g}{100 * found['flops_share']:8.1f}%"
        f"{found['flops_per_step']:12.4g}{found['compile_seconds']:9.2f}{found['peak_memory_bytes'] / 1e6:9.0f}"
    )
    if "beside" in found:
        text += "   " + _ratio(found["beside"], found["beside"]["mode"])
    for peer in found.get("peers", ()):
        name = f"{peer['peer']} {peer['variant']}"
        text += f"   {name}: {peer['failed'][:80]}" if "failed" in peer else "   " + _ratio(peer, name)
    return text


HEAD = "model  mode             examples/s   share       flops  compile  peak MB   ratio [least, greatest]"


def _ratio(found: dict[str, Any], name: str) -> str:
    low, high = found["ratio_spread"]
    return f"{found['ratio']:.3f} [{low:.3f}, {high:.3f}] of {name}"
