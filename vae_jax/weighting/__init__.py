"""Where beta comes from: a schedule, or a controller that carries state. Each function returns a ``KLWeight``.

``free_bits`` and ``capacity`` change the loss itself: their objectives are in ``objective.py``.
"""

from __future__ import annotations

from vae_jax.types import KLWeight, Schedule
from vae_jax.weighting.capacity import capacity
from vae_jax.weighting.geco import geco
from vae_jax.weighting.pi import pi

__all__ = ["capacity", "from_schedule", "geco", "pi"]


def from_schedule(schedule: Schedule) -> KLWeight:
    """Makes beta a function of the step alone."""
    return KLWeight(
        init=lambda: (), value=lambda state, step: schedule(step), update=lambda state, step, metrics: state
    )
