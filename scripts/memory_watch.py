#!/usr/bin/env python3
"""Whether a program's memory stays flat: runs it for so many seconds and fits a line to its resident memory.

    scripts/memory_watch.py 600 -- -m experiments.train --workdir=DIR --dataset=mnist --placement=streamed \
        --num_steps=10000000

Needs /proc (Linux). The command is given to this Python; after the time it gets SIGTERM and saves. Prints a table of
samples and, from a third of the time on (compilation and full buffers are behind), the slope in MB a minute.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

EVERY = 2.0  # seconds


def resident(pid: int) -> float:
    """Returns the resident memory of a process, MB; 0 where it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmRSS:")), 0.0)


def main(argv: list[str]) -> int:
    """Runs, samples and prints."""
    if len(argv) < 3 or argv[1] != "--" or not argv[0].isdigit() or int(argv[0]) < 1:
        print(f"error: usage: {sys.argv[0]} SECONDS -- -m experiments.train ARGUMENTS", file=sys.stderr)
        return 2
    seconds, samples = int(argv[0]), []
    process = subprocess.Popen([sys.executable, *argv[2:]], stdout=subprocess.DEVNULL)
    began = time.monotonic()
    try:
        while process.poll() is None and time.monotonic() - began < seconds:
            samples.append((time.monotonic() - began, resident(process.pid)))
            time.sleep(EVERY)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    for t, m in samples[:: max(1, len(samples) // 20)]:
        print(f"{t:7.0f} s {m:9.1f} MB")
    seconds, values = np.array([(t, m) for t, m in samples if t >= samples[-1][0] / 3]).T
    slope = 60 * np.polyfit(seconds, values, 1)[0] if len(values) > 1 else 0.0
    print(
        f"after {seconds[0]:.0f} s: {values.min():.1f} to {values.max():.1f} MB, slope {slope:+.3f} MB a minute "
        f"({len(values)} samples; exit status {process.returncode})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
