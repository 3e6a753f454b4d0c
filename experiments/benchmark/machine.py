"""The machine that is timed: its cores, who else uses them, and the most memory that was in use."""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

import jax

BUSY = 0.25  # of the cores, kept busy by others: more and no figure means much
# The flag of each instruction set, the widest first.
ISAS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "sve": "SVE", "asimd": "NEON"}


def about() -> dict[str, Any]:
    """Returns the machine and the versions, as benchmark.json has them."""
    import platform
    from importlib.metadata import version

    others = cores_in_use()
    return {
        "device": jax.devices()[0].device_kind,
        "processor": processor(),
        "instruction_set": instruction_set(),
        "platform": jax.default_backend(),
        "threads": threads(),
        "cores_in_use_by_others": others,
        "busy": others is not None and others > BUSY * threads(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in ("jax", "jaxlib", "flax")},
    }


def processor() -> str:
    """Returns the model of the device that is timed; a CPU's family and model where its name has no number."""
    if jax.default_backend() != "cpu":
        return jax.devices()[0].device_kind
    import platform

    known = _cpuinfo()
    name = known.get("model name") or platform.processor() or platform.machine()
    return name if re.search(r"\d", name) else f"{name} {known.get('cpu family', '')}.{known.get('model', '')}"


def instruction_set() -> str:
    """Returns the widest vectors of a CPU that XLA may use, or what a GPU calls its own version."""
    if jax.default_backend() != "cpu":
        return f"compute {getattr(jax.devices()[0], 'compute_capability', 'unknown')}"
    limit = re.search(r"--xla_cpu_max_isa=(\S+)", os.environ.get("XLA_FLAGS", ""))
    if limit:
        return limit[1].upper().replace("_", "-")
    flags = _cpuinfo().get("flags", _cpuinfo().get("Features", "")).split()
    return next((name for flag, name in ISAS.items() if flag in flags), "unknown")


def name_of(results: dict[str, Any]) -> str:
    """Returns a short name of the machine of these results: what it computes with, and never what it is called."""
    text = f"{results['processor']} {results['instruction_set']} {results['threads']}"
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"\(r\)|\(tm\)|cpu|processor|@.*?ghz", "", text.lower())).strip("_")


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def threads() -> int:
    """Returns how many threads this process may use, which the peers are given too."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_in_use(seconds: float = 0.5) -> float | None:
    """Returns how many cores other work keeps busy, while this process sleeps; None where the system does not say."""

    def idle_seconds() -> float:  # of all cores since the machine was started
        idle, waiting = Path("/proc/stat").read_text().split("\n", 1)[0].split()[4:6]
        return (int(idle) + int(waiting)) / os.sysconf("SC_CLK_TCK")

    try:
        before = idle_seconds()
        time.sleep(seconds)
        return max(0.0, (os.cpu_count() or 1) - (idle_seconds() - before) / seconds)
    except (OSError, ValueError):
        return None


def forget_peak() -> None:
    """Begins the peak of memory anew, where the system can (Linux): otherwise what was used before counts as well."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_memory() -> tuple[int, str]:
    """Returns the highest use so far in bytes, and whose: of a device since the process began, else since it forgot."""
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"]), "of the device, all rows so far"
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
        return 1024 * int(lines["VmHWM"].split()[0]), "of the process, this row, what was there before included"
    except (OSError, KeyError, ValueError):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "of the process, all rows so far"


def forget_compilations() -> None:
    """Has everything compiled anew from here on: what that takes is measured, and not what reading an old one does."""
    jax.config.update("jax_enable_compilation_cache", False)
