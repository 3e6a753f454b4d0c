"""The stateless weight."""

from __future__ import annotations

from vae_jax.types import KLWeight, Schedule


def from_schedule(schedule: Schedule) -> KLWeight:
    """Beta as a function of the step alone."""
    return KLWeight(
        init=lambda: (), value=lambda state, step: schedule(step), update=lambda state, step, metrics: state
    )
