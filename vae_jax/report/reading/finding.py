"""What a reading is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

COLLAPSED_RATE = 0.1  # nats per example; less than this and the code says nothing worth having

Numbers = Mapping[str, Any]


class Finding(NamedTuple):
    """One sentence or a few about a ``topic``; ``attention`` where something should be changed or known."""

    topic: str
    attention: bool
    text: str


def is_collapsed(results: Numbers) -> bool:
    """Whether the code carries nothing: no active latent, or a rate below ``COLLAPSED_RATE``."""
    rate = results.get("rate")
    return results.get("active_units") == 0 or (rate is not None and rate < COLLAPSED_RATE)


def unfinished(results: Numbers, config: Numbers) -> bool:
    """Whether the run ended inside the warm-up of its weight."""
    ramped = config.get("weighting") in ("linear", "sigmoid", "cosine", "cyclical", "capacity")
    return ramped and (results.get("step") or 0) < (config.get("warmup_steps") or 0)
