"""What a reading is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

COLLAPSED_RATE = 0.1  # nats per example; less than this and the code says nothing worth having

Numbers = Mapping[str, Any]


class Finding(NamedTuple):
    """One sentence or a few about a ``topic``; ``attention`` where something should be changed or known."""

    topic: str
    attention: bool
    text: str


def as_lines(findings: Iterable[Finding]) -> list[str]:
    """Findings as plain text for a terminal, one line each; "!" marks what needs attention."""
    return [" ".join(f"{'!' if f.attention else ' '} {f.topic}: {f.text}".split("\n")) for f in findings]


def is_collapsed(results: Numbers) -> bool:
    """Tells whether the code carries nothing: no active latent, or a rate below ``COLLAPSED_RATE``."""
    rate = results.get("rate")
    return results.get("active_units") == 0 or (rate is not None and rate < COLLAPSED_RATE)
