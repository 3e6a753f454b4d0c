"""The kernels of one update on a GPU: counted in what XLA has compiled, for the card that is there or without one.

    python -m experiments.benchmark.kernels                  of the GPU that JAX sees, or of an H100 that need not be
    python -m experiments.benchmark.kernels --profile=DIR    in a trace that ``train --profile`` has written on a GPU

Without a card it needs JAX's CUDA plugin (pip install "jax[cuda13]"), which compiles for a described GPU. What is
described has no cuBLAS and no timings to choose algorithms by, so that products are kernels of XLA's own there.
"""

from __future__ import annotations

import collections
import dataclasses
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vae_jax.runs.build import Run, first_state, training_chunk
from vae_jax.runtime.config import launch, option
from vae_jax.types import UserError

from . import cases
from .instructions import Line, computations

UPDATES = 20  # of the chunk that is compiled
# An H100: what of a card XLA's compiler looks at (xla/tools/hlo_opt/gpu_specs/h100_sxm.txtpb of OpenXLA).
H100 = """
gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000
  l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536 registers_per_block_limit: 65536 }
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 }
"""
LAUNCHED = ("fusion", "custom-call", "copy", "dot", "convolution", "reduce", "sort", "scatter", "rng-bit-generator")
HOST = ("infeed", "outfeed", "send", "recv", "send-done", "recv-done")
COLLECTIVE = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags."""

    models: str = option("mlp,conv,resnet,lstm,gru", "which, separated by commas")
    profile: str | None = option(None, "the folder of a trace, in place of compiling", identity=False)


def device() -> Any:
    """Returns the GPU that JAX sees, or an H100 that need not be there.

    Raises:
      UserError: there is no GPU, and no plugin that compiles for one.
    """
    if jax.default_backend() == "gpu":
        return jax.devices()[0]
    from jax.experimental import topologies

    try:
        return topologies.get_topology_desc("", "cuda", target_config=H100, topology="1x1x1").devices[0]
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"no GPU, and nothing compiles for one ({reason}); pip install 'jax[cuda13]'") from None


def compiled(r: Run, target: Any) -> str:
    """Returns the compiled text of a chunk of ``UPDATES`` updates of a run on one device."""
    sharding = jax.sharding.SingleDeviceSharding(target)
    shapes = (jax.eval_shape(lambda: first_state(r)), r.dataset.train)
    placed = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes)
    index = np.arange(r.config.batch_size)
    chunk = training_chunk(r, lambda tree: tree, lambda rows: (rows, index))
    return jax.jit(chunk, static_argnums=2, donate_argnums=0).lower(*placed, UPDATES).compile().as_text()


def of_update(text: str, updates: int = UPDATES) -> collections.Counter:
    """Counts what one update launches, the rounds of its inner loops included: "fusion", "copy", a library's call, ...

    Args:
      text: of a compiled chunk, whose only loop of ``updates`` rounds at the top is that over the updates.
      updates: how many.

    Raises:
      ValueError: there is no such loop, or one whose rounds are not known.
    """
    bodies, entry = computations(text)
    loops = [bodies[body] for rounds, body in _loops(bodies[entry]) if rounds == updates]
    if not loops:
        raise ValueError(f"the program has no loop of {updates} rounds")
    return _launched(max(loops, key=len), bodies)


def _launched(body: list[Line], bodies: dict[str, list[Line]]) -> collections.Counter:
    found = collections.Counter()
    for _, _, operation, rest in body:
        target = re.search(r'custom_call_target="([^"]+)"', rest)
        if operation in LAUNCHED + HOST + COLLECTIVE:
            found[target[1] if target else operation] += 1
    for rounds, inner in _loops(body):
        for what, count in _launched(bodies[inner], bodies).items():
            found[what] += rounds * count
    return found


def _loops(body: list[Line]) -> Iterator[tuple[int, str]]:
    for _, _, operation, rest in body:
        if operation == "while":
            rounds = re.search(r'"known_trip_count":\{"n":"(\d+)"', rest)
            if not rounds:
                raise ValueError(f"a loop of unknown length: {rest[:200]}")
            yield int(rounds[1]), re.search(r"body=%?([\w.\-]+)", rest)[1]


def of_trace(folder: Path) -> dict[str, float]:
    """Returns how many kernels and copies a trace of a GPU has, and the share of the time in which none of them ran.

    Raises:
      UserError: there is no trace, or none of a GPU.
    """
    events = []
    for path in folder.rglob("*.trace.json.gz"):
        with gzip.open(path) as file:
            events += json.load(file)["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    lanes = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"}
    ran = sorted(
        (e["ts"], e["ts"] + e["dur"], lanes.get((e["pid"], e["tid"]), ""))
        for e in events
        if e.get("ph") == "X" and "/device:GPU" in names.get(e["pid"], "") and "dur" in e
    )
    ran = [event for event in ran if event[2].startswith("Stream")]  # the other lanes say the same by XLA's names
    if not ran:
        raise UserError(f"--profile={folder}: there is no trace of a GPU; train --profile writes one, on a GPU")
    busy, end = 0.0, ran[0][0]
    for first, last, _ in ran:
        busy, end = busy + max(0.0, last - max(first, end)), max(end, last)
    return {"kernels_and_copies": len(ran), "microseconds": end - ran[0][0], "idle": 1 - busy / (end - ran[0][0])}


def main(config: Config) -> None:
    """Prints a line a model, or the trace's."""
    if config.profile:
        print(json.dumps(of_trace(Path(config.profile))))
        return
    for name in config.models.split(","):
        if name not in cases.available():
            raise UserError(f"--models={config.models}: {name} is not there; choose among {cases.available()}")
    target = device()
    for name in config.models.split(","):
        found = of_update(compiled(cases.make(name, count=256).run, target))
        kinds = ", ".join(f"{count} {what}" for what, count in found.most_common())
        print(f"{name}: {sum(found.values())} launches an update on {target.device_kind}: {kinds}", flush=True)


if __name__ == "__main__":
    launch(main, Config)
