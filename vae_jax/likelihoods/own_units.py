"""The density of data in their own units, of a family of what they are brought to."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from vae_jax.types import Likelihood


def in_own_units(likelihood: Likelihood, units) -> Likelihood:
    """Makes the same family, of which x counts as a density of ``units * x + shift``.

    The change of variables takes log units off the log density of each dimension, whatever the shift; everything else
    stays in units of x, and ``Likelihood.units`` says what those are.

    Args:
      likelihood: a density, of dimensions that are independent given z.
      units: how many of its own units one unit of x is, ``[event]`` or ``[1]``, all above 0.

    Raises:
      ValueError: units that is not above 0.
    """
    units = np.asarray(units, np.float64)
    if not (units > 0).all():
        raise ValueError(f"units must be above 0, not {units.min()}")
    logs = np.log(units)

    def log_prob(own, theta, x):
        return likelihood.log_prob(own, theta, x) - np.sum(np.broadcast_to(logs, x.shape)).astype(np.float32)

    def terms(own, theta, x):
        return likelihood.terms(own, theta, x) - jnp.asarray(logs, jnp.float32)

    return likelihood._replace(log_prob=log_prob, terms=None if likelihood.terms is None else terms, units=units)
