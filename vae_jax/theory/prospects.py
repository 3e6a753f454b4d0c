"""What every weight would do to some data, before anything is trained: the linear theory over a grid of weights.

A weight is a water level s = beta sigma^2 (``conventions.py``), and a level decides all of the linear optimum: which
latents are used, the rate, the error. So a table over levels is a table over all weights, however they are written,
and a target (a rate, a tolerance) is one row of it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from vae_jax.linear_vae import (
    beta_at,
    learned_variance,
    left_over,
    predict,
    water_level_for_error,
    water_level_for_rate,
)


class Row(NamedTuple):
    """What a linear VAE does at one water level, and the weights that put the water there.

    Attributes:
      name: why this level is shown, "" for one of the grid.
      water_level: s = beta sigma^2, in [0, 1] pixel units.
      sigma: the fixed sigma that has this level at beta = 1.
      weight: w in ``sum SE + w sum KL``; ``2 w / D`` is that of ``mean SE + w sum KL``.
      beta: the weight that has this level where sigma is learned; None where sigma would fall to 0.
      active: how many latents are used.
      rate: nats per example.
      distortion: the expected squared error, summed over dimensions.
      rms: the same as a root mean square error of one dimension.
      elbo: at beta = 1 with sigma recalibrated to this error, nats per example; None where the error is 0.
    """

    name: str
    water_level: float
    sigma: float
    weight: float
    beta: float | None
    active: int
    rate: float
    distortion: float
    rms: float
    elbo: float | None


class Target(NamedTuple):
    """A rate or a tolerance that was asked for.

    Attributes:
      row: what a linear model does there, None where it cannot get there.
      flags: what ``experiments.train`` has to be given.
      meaning: what this does, and where it may not work, in words.
    """

    row: Row | None
    flags: str
    meaning: str


def at_level(eigenvalues, water_level: float, latent_dim: int, name: str = "") -> Row:
    """Returns the ``Row`` of one water level > 0."""
    p, dim = predict(eigenvalues, 1.0, water_level, latent_dim), len(eigenvalues)
    variance = p.distortion / dim
    # At sigma^2 = error / D the squared error costs D / 2 nats, and no other sigma makes the ELBO larger.
    elbo = -0.5 * dim * (1.0 + math.log(2.0 * math.pi * variance)) - p.rate if variance > 0 else None
    beta = beta_at(water_level, eigenvalues, latent_dim, None) if variance > 0 else None
    sigma, rms = math.sqrt(water_level), math.sqrt(variance)
    return Row(name, water_level, sigma, 2.0 * water_level, beta, p.active, p.rate, p.distortion, rms, elbo)


def calibrated(eigenvalues, latent_dim: int) -> Row | None:
    """Returns the optimum at beta = 1 with a learned sigma: probabilistic PCA, its ELBO the exact log-likelihood.

    None where so many latents hold all of the data: sigma falls to 0 and the likelihood has no bound.
    """
    variance = learned_variance(eigenvalues, 1.0, latent_dim)
    return at_level(eigenvalues, variance, latent_dim, "calibrated") if variance > 0 else None


def grid(eigenvalues, latent_dim: int, named: list[Row]) -> list[Row]:
    """Makes rows at 1, 2, 5 of each decade from a tenth of the calibrated level to collapse, and the ``named`` ones.

    Args:
      eigenvalues: of the data's covariance, the largest above 0.
      latent_dim: M.
      named: rows to put between them.
    """
    values = np.sort(np.asarray(eigenvalues, np.float64))[::-1]
    # Where sigma would fall to 0, the least eigenvalue that is no rounding stands for the calibrated level.
    low = learned_variance(values, 1.0, latent_dim) or values[values > 1e-9 * values[0]][-1]
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(values[0])) + 1)
    levels = [digit * 10.0**power for power in decades for digit in (1, 2, 5)]
    beyond = next((level for level in levels if level > values[0]), levels[-1])
    rows = [at_level(values, s, latent_dim) for s in levels if 0.1 * low <= s <= beyond]
    return sorted([*rows, *named], key=lambda row: row.water_level)


def frontier(eigenvalues, latent_dim: int, points: int = 200) -> dict[str, list[float]]:
    """Returns rate against error along the water level, from 1% of the calibrated level to the largest eigenvalue."""
    largest = float(np.max(eigenvalues))
    low = 0.01 * (learned_variance(eigenvalues, 1.0, latent_dim) or 0.01 * largest)
    rows = [at_level(eigenvalues, float(s), latent_dim) for s in np.geomspace(low, largest, points)]
    return {key: [getattr(row, key) for row in rows] for key in ("water_level", "rate", "rms")}


def for_rate(eigenvalues, latent_dim: int, rate: float) -> Target:
    """Advises what to ask for to hold a rate of ``rate`` > 0 nats per example."""
    flags, level = f"--weighting=pi --target_kl={rate:g}", water_level_for_rate(eigenvalues, rate, latent_dim)
    if level < 1e-12 * float(np.max(eigenvalues)):
        meaning = f"a linear model's {latent_dim} latents carry {rate:g} nats only with next to no noise: ask for less"
        return Target(None, flags, meaning)
    row = at_level(eigenvalues, level, latent_dim, "target rate")
    meaning = (
        f"a linear model holds {rate:g} nats at the water level {row.water_level:.3g}, with {row.active} latents and "
        f"an error of {row.rms:.3g} per pixel"
    )
    if row.beta is not None:
        meaning += f"; with a learned sigma that is beta = {row.beta:.3g}"
    return Target(row, flags, meaning)


def for_tolerance(eigenvalues, latent_dim: int, tolerance: float) -> Target:
    """Advises what to ask for to hold a root mean square error of ``tolerance`` > 0 for a pixel.

    The natural sigma is the tolerance itself: the target distortion -E log p(x|z) is then D/2 (1 + log 2 pi sigma^2).
    """
    values = np.sort(np.asarray(eigenvalues, np.float64))[::-1]
    dim = len(values)
    left = np.sqrt(left_over(values) / dim)  # what the first q directions leave of the error
    distortion = 0.5 * dim * (1.0 + math.log(2.0 * math.pi * tolerance**2))
    flags = f"--precision=fixed --sigma={tolerance:g} --weighting=geco --target_distortion={distortion:.3f}"
    most = min(latent_dim, dim)
    if tolerance < left[most]:
        needed = int(np.argmax(left <= tolerance))
        meaning = (
            f"a linear model cannot: {latent_dim} latents leave an error of {left[most]:.3g} per pixel at any weight, "
            f"and {tolerance:g} takes {needed}; a nonlinear one may, so watch whether the multiplier settles"
        )
        return Target(None, flags, meaning)
    if tolerance >= left[0]:
        meaning = (
            f"nothing has to be learned for it: the mean of the data alone has an error of {left[0]:.3g} per pixel"
        )
        return Target(None, flags, meaning)
    level = water_level_for_error(values, dim * tolerance**2, latent_dim)
    if level < 1e-12 * values[0]:
        return Target(None, flags, f"it is all that {latent_dim} latents can do: only an infinite rate reaches it")
    row = at_level(values, level, latent_dim, "tolerance")
    meaning = (
        f"a linear model meets {tolerance:g} with {row.rate:.4g} nats and {row.active} latents, at the water level "
        f"{row.water_level:.3g}: beta = {row.water_level / tolerance**2:.3g} at that sigma"
    )
    return Target(row, flags, meaning)


def prospects(
    eigenvalues,
    latent_dim: int,
    named: dict[str, float],
    target_kl: float | None = None,
    tolerance: float | None = None,
) -> dict[str, Any]:
    """Collects all that can be said of this data before training, ready for a JSON file.

    Args:
      eigenvalues: ``[D]``, of the data's covariance, descending, the first above 0.
      latent_dim: M.
      named: name -> water level > 0, of weights to be marked.
      target_kl, tolerance: a rate or an error that is wanted, see ``for_rate`` and ``for_tolerance``.

    Returns:
      ``collapse`` (the weights of the largest eigenvalue), ``calibrated`` (a row) and ``calibrated_weights``, both None
      without a finite optimum, ``grid`` (rows), ``frontier`` (columns), ``advice`` (topic, said, flags of
      ``experiments.train``).
    """
    best, largest = calibrated(eigenvalues, latent_dim), float(eigenvalues[0])
    rows = [at_level(eigenvalues, level, latent_dim, name) for name, level in named.items()] + ([best] if best else [])
    meaning = "leave beta at 1 and let sigma be learned, or solved for in every batch (--precision=optimal)"
    if best is None:
        meaning += ", with fewer latents"
    advice = [{"topic": "To model the data", "said": meaning, "flags": "--precision=learned --beta=1"}]
    wanted = []
    if target_kl is not None:
        wanted.append(("To hold a rate", for_rate(eigenvalues, latent_dim, target_kl)))
    if tolerance is not None:
        wanted.append(("To hold a tolerance", for_tolerance(eigenvalues, latent_dim, tolerance)))
    for topic, target in wanted:
        advice.append({"topic": topic, "said": target.meaning, "flags": target.flags})
        rows += [target.row] if target.row else []
    return {
        "collapse": _weights(largest, len(eigenvalues)),
        "calibrated": best._asdict() if best else None,
        "calibrated_weights": _weights(best.water_level, len(eigenvalues)) if best else None,
        "grid": [row._asdict() for row in grid(eigenvalues, latent_dim, rows)],
        "frontier": frontier(eigenvalues, latent_dim),
        "advice": advice,
    }


def _weights(level, dim):
    """Expresses one water level in four units: s itself, beta at sigma = 1, w of a summed and of an averaged error."""
    return {"water_level": level, "beta": level, "sum": 2.0 * level, "mean": 2.0 * level / dim}
