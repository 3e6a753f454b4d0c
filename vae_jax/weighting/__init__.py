"""Where beta comes from: a schedule, or a controller that carries state. Each function returns a ``KLWeight``.

``free_bits`` and ``capacity`` change the loss itself: their objectives are in ``objective.py``.
"""

from vae_jax.weighting.capacity import capacity
from vae_jax.weighting.geco import geco
from vae_jax.weighting.pi import pi
from vae_jax.weighting.schedule import from_schedule

__all__ = ["capacity", "from_schedule", "geco", "pi"]
