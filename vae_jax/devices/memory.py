"""How much memory a device has and how much of it is left, as far as the system says."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

UNKNOWN = 8e9  # bytes, for a device that does not say
# Of either version of control groups: the folder, the files of limit and use, and the names in memory.stat of pages of
# files, which the kernel gives back on demand, and of the shared memory among them, which it does not.
_V1 = ("memory/", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache", "total_shmem")
_V2 = ("", "memory.max", "memory.current", "file", "shmem")


def total(device: jax.Device) -> float:
    """The memory that ``device`` may ever use, in bytes: the same number whenever it is asked for.

    A CPU has its share of what its host, or the control group around this process, allows.
    """
    if device.platform != "cpu":
        return _accelerator(device)
    return _share(min([_physical(), *(limit for limit, _ in _groups())]))


def available(device: jax.Device) -> float:
    """The memory of ``device`` that is not used yet, in bytes, or that it would have if nothing else used it.

    Of an accelerator all that JAX may take; of a CPU its share of the least of what the kernel says is available and
    what the control group around this process has left. Pages of files count as free: they are given back on demand.
    """
    if device.platform != "cpu":
        return _accelerator(device)
    return _share(host_available())


def host_available() -> float:
    """The memory of this host that is not used yet, in bytes, as far as the kernel and the control group say."""
    left = [limit - used for limit, used in _groups()]
    return max(min([_physical(), _meminfo(), *left]), 0.0)


def state_bytes(tree: Any) -> int:
    """The bytes of all leaves of a pytree of arrays or of their shapes (``jax.eval_shape``); keys count nothing."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)]
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def size_in_words(count: float) -> str:
    """Returns a number of bytes such as ``12.3 MB``."""
    unit = next((unit for unit in (1, 1e3, 1e6) if count < 1e3 * unit), 1e9)
    return f"{count / unit:.3g} {({1: 'bytes', 1e3: 'kB', 1e6: 'MB', 1e9: 'GB'})[unit]}"


def _accelerator(device: jax.Device) -> float:
    try:
        stats = device.memory_stats() or {}
    except Exception:  # a backend that has no such numbers raises what it likes
        stats = {}
    return float(stats.get("bytes_limit") or UNKNOWN)


def _share(whole: float) -> float:
    return whole / max(jax.local_device_count("cpu"), 1)


def _physical() -> float:
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):  # a system that does not say
        return UNKNOWN


def _meminfo(path: Path = Path("/proc/meminfo")) -> float:
    return 1024 * _numbers(path).get("MemAvailable:", math.inf)


def _groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[tuple[float, float]]:
    """The limit and the use, in bytes, of each control group around this process that has a limit; both versions."""
    groups = []
    for line in _lines(own):
        _, controllers, name = (*line.split(":", 2), "", "")[:3]
        if "memory" not in controllers.split(",") and controllers:
            continue
        folder, limit, use, pages, shared = _V1 if controllers else _V2
        # Any group on the way up may have the limit; inside a container the root itself is the container's group.
        way = [part for part in name.split("/") if part and part != ".."]
        for depth in range(len(way), -1, -1):
            group = root / folder / "/".join(way[:depth])
            most, used = (_number(group / file) for file in (limit, use))
            if most is not None and used is not None and most < 2**60:
                stat = _numbers(group / "memory.stat")
                groups.append((most, used - stat.get(pages, 0) + stat.get(shared, 0)))
    return groups


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []


def _number(path: Path) -> float | None:
    """The one number of a file; None where there is none ("max" is no limit)."""
    lines = _lines(path)
    return float(lines[0]) if lines and lines[0].strip().isdigit() else None


def _numbers(path: Path) -> Mapping[str, float]:
    """Names and numbers of a file that has one of each on a line."""
    pairs = (line.split() for line in _lines(path))
    return {words[0]: float(words[1]) for words in pairs if len(words) > 1 and words[1].isdigit()}
