"""The noise that a model assumes, brought to the error that it makes on data that it was not trained on.

At any optimum over a shared sigma SSE / (D sigma^2) is 1 on the training data. On other data it is above that by what
was learned by heart, and the one factor of sigma that brings it back has a closed form (the maximum likelihood of
Rybkin 2021, 2006.13202, section 4, over held-out examples). Nothing but sigma changes, so no example is scored again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vae_jax.gaussian import LOG_2PI
from vae_jax.likelihoods.shared import AT_BOUND
from vae_jax.types import Event, Likelihood, Params


class Recalibrated(NamedTuple):
    """The family's own parameters, the factor of sigma that made them, and their ELBO, nats per example."""

    own: Params
    factor: float
    elbo: float


def recalibrate(likelihood: Likelihood, own: Params, event: Event, summary: Mapping[str, Any]) -> Recalibrated:
    """Returns sigma times the c that maximises the ELBO of a split, c^2 its mean standardised squared error.

    With S the standardised error summed over the n dimensions that are scaled, the ELBO gains
    -n log c - S (1 / c^2 - 1) / 2, which is n (c^2 - 1 - log c^2) / 2 at c^2 = S / n. One factor serves all
    dimensions, so that a few hundred examples determine it; those at the bound of sigma are left where they are, and
    none is brought to it.

    Args:
      likelihood: the family; where it has no ``rescale`` nothing changes.
      own: its parameters.
      event: the shape of one example.
      summary: of ``summarise``, over the split, with these parameters.
    """
    same = Recalibrated(own, 1.0, summary["elbo"])
    if likelihood.rescale is None:
        return same
    theta = np.zeros(likelihood.theta_shape(event), np.float32)
    variance = np.asarray(likelihood.variance(own, theta), np.float64)
    bound = likelihood.sigma_bound or 0.0
    variance = variance[variance > 0]  # a constant dimension that is not modelled has none
    held = np.sqrt(variance) < AT_BOUND * bound
    if held.all() or summary["calibration"] is None:
        return same
    # How many dimensions of an example are counted, and at the bound: of these the summary has the log density, which
    # is -(error + log(2 pi variance)) / 2. Where values are missing, the mean of their log variance is that of all.
    dims = summary.get("counted_dim", variance.size)
    held_dims = summary["sigma_at_bound"] * dims
    held_log = float(np.mean(np.log(variance[held]))) if held.any() else 0.0
    n, error = dims - held_dims, summary["calibration"] * dims
    error -= -2.0 * summary["nats_at_bound"] - held_dims * (held_log + LOG_2PI)
    if not (math.isfinite(error) and error > 0):
        return same
    least = AT_BOUND * bound / math.sqrt(variance[~held].min())
    factor = max(math.sqrt(error / n), least)
    gain = -n * math.log(factor) - 0.5 * error * (1.0 / factor**2 - 1.0)
    return Recalibrated(likelihood.rescale(own, factor), factor, summary["elbo"] + gain)
