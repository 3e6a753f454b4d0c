"""The ELBO of a squared-error model at the noise that its own training error asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def calibrated_elbo(results: Mapping[str, Any]) -> float:
    """The held-out ELBO at beta = 1 and sigma^2 = the mean squared error of the training split, nats per example.

    Weights trained on a squared error belong to no particular sigma: declared at one or another, the same model has
    ELBOs that are tens of nats apart. At the variance of its training error (the maximum likelihood, Rybkin 2021,
    2006.13202) models of any weight can be compared. The test split has no say in it.

    Args:
      results: of a run with a Gaussian likelihood, as in results.json.
    """
    dim, variance = results["data_dim"], results["train"]["mse"]
    distortion = 0.5 * dim * (math.log(2 * math.pi * variance) + results["mse"] / variance)
    return -(distortion + results["rate"])
