"""Errors that are not squared, and the water level that they have where they are: local, for it moves with the error.

``rho(e) / T`` stands for the penalty of one error e beside a KL of weight 1; T is the KL's weight over that of the
error, both as sums over one example. For a squared error, rho = e^2, the water level is s = T / 2 everywhere. For the
others the quadratic that touches rho at e0 with the same slope, rho'(e0) e^2 / (2 |e0|) + a constant, gives

    s(e0) = T |e0| / |rho'(e0)|

the Gaussian variance that pulls with the same force there (the half-quadratic form of Geman and Reynolds 1992, and the
weight of iteratively reweighted least squares). For |e| it is |e| ~ e^2 / (2 |e0|) + |e0| / 2, so s = T |e0|.

In the mean over residuals r of density p, E|r + d| has the curvature 2 p(0) in a common shift d, so a whole image
behaves like s = T / (2 p(0)): with the mean absolute error m, T m for Laplace residuals and T m pi / 2 for Gaussian
ones.
"""

from __future__ import annotations

import math

LIKELIHOODS = (
    "squared_error",
    "absolute_error",
    "huber",
    "charbonnier",
    "bce",
    "nll",
)  # whose exponential is a density


def local_water_level(kind: str, temperature: float, error: float, width: float = 0.0) -> float:
    """Returns the water level of a penalty where the error of one value is ``error``.

    Args:
      kind: "squared_error" e^2, "absolute_error" |e|, "huber" (e^2 / 2 up to ``width``, then width (|e| - width / 2))
        or "charbonnier" sqrt(e^2 + width^2).
      temperature: T, the KL's weight over the error's.
      error: of one value, >= 0.
      width: the delta of a Huber penalty, the epsilon of a Charbonnier.

    Raises:
      ValueError: for another kind.

    Example:
      >>> local_water_level("absolute_error", 0.01, 0.05)
      0.0005
    """
    error = abs(error)
    levels = {
        "squared_error": temperature / 2,
        "absolute_error": temperature * error,
        "huber": temperature * max(1.0, error / width if width else 1.0),
        "charbonnier": temperature * math.hypot(error, width),
    }
    if kind not in levels:
        raise ValueError(f"{kind} has no local water level that one error decides; known are {', '.join(levels)}")
    return levels[kind]


def level_of_absolute_errors(temperature: float, mean_absolute_error: float, residuals: str = "laplace") -> float:
    """Returns the water level T / (2 p(0)) of absolute errors whose mean is known, for residuals of one shape.

    Args:
      temperature: T, which is the scale b of the Laplace likelihood.
      mean_absolute_error: of one value, above 0.
      residuals: "laplace" (2 p(0) = 1 / m) or "gaussian" (2 p(0) = 2 / (pi m)).
    """
    return temperature * mean_absolute_error * {"laplace": 1.0, "gaussian": math.pi / 2}[residuals]
