"""The results of a machine: one small file, whose rows later runs replace one by one, and the table that it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vae_jax.runtime.files import read_object, write_json

from .machine import name_of

KEY = (
    *("model", "event", "dtype", "mode", "runs", "batch_size", "iw_samples"),
    *("side", "hidden", "latent_dim", "latent_map", "remat", "microbatches"),  # of large images
)
ONCE = ("growth", "start_up")  # replaced as a whole
SHARES = ("traces", "large_images")  # what a busy machine says too: shares of the time, and memory
ABOUT = ("processor", "instruction_set", "threads", "versions")
MODES = {"chunk": "training in chunks", "step": "training step by step", "sweep": "a sweep", "evaluate": "scoring"}
HEAD = ["| | examples a second | / eager | / best | of the limit |", "|---|---|---|---|---|"]


def keep(results: dict[str, Any], folder: Path) -> list[str]:
    """Writes what was measured into the file of its machine in ``folder``, and returns the machine's table.

    Rows of another model, mode, image, precision, batch or number of runs or samples stay as they are, and the rates
    of matrix products are the largest that the machine has shown; each row has the share of those of its own minutes.
    Of what a busy machine says traces and memory are kept alone.

    Raises:
      UserError: the file that is there is not one of results.
    """
    if results["busy"] and not any(results.get(name) for name in SHARES):
        return ["warning: this machine is busy: none of these figures is kept"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"benchmark_{name_of(results)}.json"
    kept = read_object(path, "move it away, and it is begun anew") if path.exists() else {}
    before = kept.get("matmul_gflops_of", {})
    rows = _merged(kept.get("rows", ()), () if results["busy"] else results["rows"])
    kept |= {name: results[name] for name in (*ABOUT, *ONCE) if results.get(name) is not None}
    kept |= {name: [*_merged(kept.get(name, ()), results[name]).values()] for name in SHARES if results.get(name)}
    rates = [before, results.get("matmul_gflops_of", {})]
    kept["matmul_gflops_of"] = {name: max(own.get(name, 0.0) for own in rates) for own in rates for name in own}
    kept["matmul_gflops"] = max(kept["matmul_gflops_of"].values(), default=None)
    order = list(dict.fromkeys(row["model"] for row in rows.values()))
    kept["rows"] = sorted(rows.values(), key=lambda row: (order.index(row["model"]), list(MODES).index(row["mode"])))
    kept = _rounded(kept)
    kept["table"] = table(kept)
    write_json(path, kept)
    return [*kept["table"], f"written: {path}"]


def table(kept: dict[str, Any]) -> list[str]:
    """Returns the lines of a machine's table, in Markdown: ours / theirs, the median and [least, greatest]."""
    about = f"{kept['processor']}, {kept['instruction_set']}, {kept['threads']} threads"
    limits = ", ".join(f"{rate:.4g} GFLOP/s of {library}" for library, rate in kept["matmul_gflops_of"].items())
    return [f"{about}; matrix products: {limits}", "", *HEAD, *map(_line, kept["rows"])]


def name_of_row(row: dict[str, Any]) -> str:
    """Returns what a row is called: its model, its data and its mode."""
    sides = "x".join(map(str, row["event"])) if len(row["event"]) == 3 else "text"
    what = MODES[row["mode"]] + (f", {row['runs']} at once" if row["runs"] > 1 else "")
    what += f", {row['iw_samples']} samples" if row["iw_samples"] else ""
    return f"{row['model']} {sides}, {what}" + ("" if row["dtype"] == "float32" else f", {row['dtype']}")


def _line(row: dict[str, Any]) -> str:
    peers = {peer["variant"]: peer for peer in row.get("peers", ()) if "ratio" in peer}
    eager, best = (_ratio(peers.get(name)) for name in ("eager", row.get("best")))
    best += f" {row['best']}" if "best" in row else ""
    rate = "{:.4g} [{:.4g}, {:.4g}]".format(row["examples_per_second"], *row["examples_per_second_spread"])
    return f"| {name_of_row(row)} | {rate} | {eager} | {best} | {100 * row['flops_share']:.0f}% |"


def _ratio(peer: dict[str, Any] | None) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(peer["ratio"], *peer["ratio_spread"]) if peer else ""


def _merged(before: Any, new: Any) -> dict[tuple, dict[str, Any]]:
    """The rows of both by their keys, the new ones in place of the old."""
    return {_key(row): row for row in [*before, *new]}


def _key(row: dict[str, Any]) -> tuple:
    return tuple(str(list(row[name]) if name == "event" and name in row else row.get(name)) for name in KEY)


def _rounded(value: Any) -> Any:
    """The same with numbers of four digits, which is more than a timing has."""
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
