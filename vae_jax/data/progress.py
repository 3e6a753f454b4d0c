"""One line for whoever waits."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator


def progress(items: Iterable, total: int, what: str, patience: float = 2.0) -> Iterator:
    """Yields ``items``; when they take longer than ``patience`` seconds, says so once on standard error.

    Args:
      items: what to go through.
      total: how many there are.
      what: what is being done, e.g. "decoding 60000 images of mnist".
      patience: seconds before the line.
    """
    start = time.monotonic()
    said = False
    for done, item in enumerate(items, 1):
        yield item
        waited = time.monotonic() - start
        if not said and waited > patience and done < total:
            said = True
            left = waited * (total - done) / done
            print(f"{what}: {100 * done // total}% done, about {left:.0f} s left", file=sys.stderr)
