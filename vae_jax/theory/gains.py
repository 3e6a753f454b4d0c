"""The set point and the gains of a controller, from the linear theory: which weight holds a target, how fast it may go.

A controller of the weight closes a loop around a network that learns: measured rate or distortion in, log beta out.
Its time constant is 1 / (gain * slope), with the slope d target / d log beta that the forecast gives; so the gain of a
loop with the time constant T is 1 / (T * slope).
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from vae_jax.theory.forecast import beta_for_distortion, beta_for_rate, slopes

GECO_SHARE = 1 / 10  # of the run, the time constant of its loop


class Setpoint(NamedTuple):
    """A target for a controller, and what the linear theory says about holding it.

    Attributes:
      what: "rate" or "distortion".
      target: nats per example.
      beta: the weight at which a linear model, of more latents if need be, has it; None where no theory applies.
      time: the time constant that the controller should have, steps: slower than the network that it steers, done
        well before the run is.
      slope: |d what / d log beta| there, nats.
      warnings: where the target is out of reach.
    """

    what: str
    target: float
    beta: float | None
    time: float
    slope: float
    warnings: list[str]


def hold(config, forecast, what, target, share) -> Setpoint:
    """Returns the set point of a target.

    Args:
      config: with ``latent_dim`` and ``num_steps``.
      forecast: the forecast of the run; None for a family that the linear theory does not know.
      what: "rate" or "distortion".
      target: nats per example.
      share: of the run, the time constant of the loop.
    """
    beta, warnings = None, []
    # Half the latents at work, at beta = 1: what a family without a linear theory is taken for.
    slope = config.latent_dim / 4
    inverse = beta_for_rate if what == "rate" else beta_for_distortion
    if forecast is not None:
        try:
            beta = inverse(forecast, target) or None
        except ValueError as error:
            warnings.append(f"no linear model has a {what} of {target:g} nats ({error}); a deep one may differ")
            # What a linear model lacks in latents, a deep one makes up for by its curves.
            forecast = forecast._replace(latent_dim=len(forecast.eigenvalues))
            with suppress(ValueError):
                beta = inverse(forecast, target) or None
        if beta is not None:
            # A latent that is about to close has next to no slope: half a nat keeps the gain finite.
            slope = max(0.5, slopes(forecast, beta)[what == "distortion"])
    return Setpoint(what, target, beta, time_constant(config, share), slope, warnings)


def time_constant(config, share: float) -> float:
    """Returns the time constant of a controller in steps: a share of the run, and never below 100."""
    return max(100.0, share * config.num_steps)
