"""The most memory that was in use: of a device where it says so, else of this process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import jax

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget() -> bool:
    """Begins anew, where the system can (Linux): otherwise what was used before counts as well."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def peak() -> tuple[int, str]:
    """``(bytes, whose)``: the highest use so far, of a device since the process began, else since ``forget``."""
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"]), "of the device, all rows so far"
    try:
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
        return 1024 * int(lines["VmHWM"].split()[0]), "of the process, this row, what was there before included"
    except (OSError, KeyError, ValueError):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "of the process, all rows so far"
