"""The weightings by name: how a configuration chooses where beta comes from, and what can be said about it at once."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from vae_jax import objective, schedules, weighting
from vae_jax.conventions import beta_from_norm
from vae_jax.runtime.config import LARGEST
from vae_jax.theory.forecast import Forecast, at_beta
from vae_jax.theory.gains import GECO_SHARE, Setpoint, hold, time_constant
from vae_jax.types import KLWeight, Objective, Schedule, UserError

SCHEDULES = {  # (config, final beta) -> schedule
    "constant": lambda c, beta: schedules.constant(beta),
    "linear": lambda c, beta: schedules.linear(beta, c.warmup_steps),
    # Bowman's logistic ramp, centred, from 0.2% to 99.8% of beta over the warm-up.
    "sigmoid": lambda c, beta: schedules.sigmoid(beta, c.warmup_steps / 2, 12.5 / jnp.maximum(c.warmup_steps, 1)),
    "cosine": lambda c, beta: schedules.cosine(beta, c.warmup_steps),
    "cyclical": lambda c, beta: schedules.cyclical(beta, c.warmup_steps, c.cycles, c.ratio),
}
# The flags that mean something to some weightings only, and to which.
USED_BY = {
    "warmup_steps": ("linear", "sigmoid", "cosine", "cyclical", "capacity"),
    "target_kl": ("pi", "capacity"),
    "target_distortion": ("geco",),
    "free_nats": ("free_bits",),
    "gamma": ("capacity",),
    "kp": ("pi",),
    "ki": ("pi",),
    "geco_rate": ("geco",),
}
NEEDS = {"pi": "target_kl", "capacity": "target_kl", "geco": "target_distortion"}
CONTROLLED = ("capacity", "geco", "pi")  # beta is found by the run, not given
CHANGES_LOSS = ("capacity", "free_bits")  # not only a weight in it


class Choice(NamedTuple):
    """What was settled about the weight of one run, apart from the flags.

    Attributes:
      beta: the final weight; for a controller that of a linear model with the same target, None where none is known.
      headline: what is done with the weight, in words.
      warnings: what may not work out.
    """

    beta: float | None
    headline: str
    warnings: list[str]


class Named(NamedTuple):
    """What stands behind the name of a weighting.

    Attributes:
      settle: ``(config, forecast, beta or None) -> (config, Choice)``, of plain numbers.
      make: ``(settings, beta) -> (KLWeight, objective or None)``; the numbers may be traced. The objective is
        ``all_mean -> Objective``, where the weighting changes the loss itself.
    """

    settle: Callable
    make: Callable


def settle(config, names: Mapping[str, Named], forecast: Forecast | None, data_dim: int) -> tuple[Any, Choice]:
    """Settles where beta comes from, and fills in what a configuration leaves to the theory: gains, a start.

    Args:
      config: the flags, otherwise settled.
      names: the weightings by name.
      forecast: what the linear theory asks of this run; None for a family it does not know.
      data_dim: D.

    Raises:
      UserError: a flag that the weighting needs is missing.
    """
    needed = NEEDS.get(config.weighting)
    if needed and getattr(config, needed) is None:
        from vae_jax.report.formatting import program

        hint = f"; {program('weigh')} {shlex.quote(f'--dataset={config.dataset}')} says what is within reach"
        # A text has no spectrum to weigh.
        hint = "" if config.likelihood == "tokens" else hint
        raise UserError(f"--weighting={config.weighting} needs --{needed}, in nats per example{hint}")
    given = given_beta(config, data_dim)
    if given is not None and given > LARGEST:
        raise UserError(f"--beta_norm={config.beta_norm:g} is a beta of {given:.3g} here, which no float32 holds")
    config, *choice = names[config.weighting].settle(config, forecast, given)
    return config, Choice(*choice)


def given_beta(config, data_dim: int):
    """Returns the weight that the flags name, in either unit; None where they name none."""
    if config.beta_norm is not None:
        return beta_from_norm(config.beta_norm, data_dim, config.latent_dim)
    return config.beta


def make_weight(settings) -> tuple[KLWeight, Callable[[Callable], Objective] | None]:
    """Returns where beta comes from, and the objective where the weighting changes the loss itself, else None."""
    return settings.names.weightings[settings.weighting].make(settings, given_beta(settings, settings.data_dim))


def scheduled(schedule: Callable[..., Schedule]) -> Named:
    """Returns the weighting of a schedule.

    Args:
      schedule: ``(settings, beta) -> schedule``, beta the final weight; the flags are its other numbers.
    """

    def settle_schedule(config, forecast, beta):
        if config.beta_range is None:
            return config, beta, f"beta = {beta:g}", _ends(config, beta, schedule(config, beta))
        text = f"every beta in {config.beta_range} in one network, read at beta = {beta:g}"
        return config, beta, text, _ends(config, 1.0, schedule(config, 1.0))

    def make_schedule(settings, beta):
        # With a range each example has a beta of its own, which the schedule multiplies.
        return weighting.from_schedule(schedule(settings, beta if settings.beta_range is None else 1.0)), None

    return Named(settle_schedule, make_schedule)


def _ends(config, beta, schedule) -> list[str]:
    """Warnings about a schedule that does not reach its end."""
    warnings = []
    last = float(schedule(config.num_steps - 1))
    if config.weighting not in ("constant", "cyclical") and config.warmup_steps > config.num_steps:
        warnings.append(
            f"the warm-up of {config.warmup_steps} steps ends after the last step {config.num_steps}: beta will reach "
            f"{last:.3g}, never {beta:.3g}"
        )
    elif abs(last - beta) > 0.01 * beta:
        warnings.append(f"beta is {last:.3g} at the last step, not {beta:.3g}")
    if config.weighting == "cyclical" and config.warmup_steps % config.cycles:
        warnings.append(
            f"{config.cycles} cycles do not divide {config.warmup_steps} steps: the last one is shorter than the others"
        )
    if beta != 1 and config.objective in ("iwae", "dreg", "miwae", "piwae", "vr"):
        warnings.append("with a beta other than 1 the importance-weighted objective bounds nothing")
    return warnings


def _settle_free_bits(config, forecast, beta):
    floor, warnings = config.free_nats, []
    free = floor * config.latent_dim
    rate = math.inf if forecast is None else at_beta(forecast, beta).rate
    if free > rate:
        warnings.append(
            f"the free nats of {config.latent_dim} latents are {free:.3g} together and a linear model would pay "
            f"{rate:.3g} without them: the floor, not the data, will decide the rate"
        )
    return config, beta, f"beta = {beta:g} above {floor:g} free nats for each latent", warnings


def all_together(config, choice: Choice) -> Choice:
    """Returns the words of free bits where the rate is one number: the floor is then that of all latents together."""
    if config.weighting != "free_bits":
        return choice
    known = f"{config.free_nats:g} free nats for all latents together, as their rate is one number"
    return choice._replace(headline=f"beta = {choice.beta:g} above {known}", warnings=[])


def _make_free_bits(config, beta):
    weight = weighting.from_schedule(schedules.constant(beta))
    return weight, lambda all_mean: objective.free_bits(config.free_nats, all_mean)


def _said(config, setpoint: Setpoint, how: str) -> str:
    said = f"the {setpoint.what} held at {setpoint.target:g} nats by {how}"
    return said if setpoint.beta is None else f"{said}, for which a linear model needs beta = {setpoint.beta:.3g}"


def _within(config, setpoint: Setpoint) -> list[str]:
    """Returns the warnings of a set point, and one more where its weight is outside of the controller's bounds."""
    if setpoint.beta is None or config.beta_min <= setpoint.beta <= config.beta_max:
        return setpoint.warnings
    return [
        *setpoint.warnings,
        f"a linear model needs beta = {setpoint.beta:.3g} for a {setpoint.what} of {setpoint.target:g} nats, outside "
        f"--beta_min={config.beta_min:g} and --beta_max={config.beta_max:g}: the target may be out of reach",
    ]


def _fill(config, start, setpoint: Setpoint, **gains):
    """Returns the flags with those set that were not given: ``gains``, and beta where there is no ``start``.

    They are rounded to two digits, so that they do not depend on the last bit of an eigenvalue.
    """
    if start is None:
        gains["beta"] = setpoint.beta or 1.0
    missing = {name: float(f"{value:.2g}") for name, value in gains.items() if getattr(config, name) is None}
    return dataclasses.replace(config, **missing)


def _settle_pi(config, forecast, start):
    setpoint = hold(config, forecast, "rate", config.target_kl, 1 / 30)
    gain = (setpoint.beta or 1.0) / (setpoint.time * setpoint.slope)
    c = _fill(config, start, setpoint, ki=gain, kp=10 * gain)
    return c, setpoint.beta, _said(c, setpoint, f"PI control (kp = {c.kp:g}, ki = {c.ki:g})"), _within(c, setpoint)


def _make_pi(c, start):
    return weighting.pi(c.target_kl, c.kp, c.ki, c.beta_min, c.beta_max, start), None


def _settle_geco(config, forecast, start):
    setpoint = hold(config, forecast, "distortion", config.target_distortion, GECO_SHARE)
    c = _fill(config, start, setpoint, geco_rate=1 / (setpoint.time * setpoint.slope))
    return c, setpoint.beta, _said(c, setpoint, f"GECO (rate = {c.geco_rate:g})"), _within(c, setpoint)


def _make_geco(c, start):
    # Before the network has learned anything the violation is large and no multiplier would mend it: slowly, then.
    low, slow = jnp.maximum(c.beta_min, 1e-6), 0.5 / time_constant(c, GECO_SHARE)
    return weighting.geco(c.target_distortion, c.geco_rate, c.geco_decay, low, c.beta_max, start, slow), None


def _settle_capacity(config, forecast, start):
    setpoint = hold(config, forecast, "rate", config.target_kl, 1 / 30)
    c, warnings = _fill(config, start, setpoint, gamma=3 * (setpoint.beta or 1.0)), list(setpoint.warnings)
    if setpoint.beta is not None and c.gamma < setpoint.beta:
        warnings.append(
            f"--gamma={c.gamma:g} is below the weight of {setpoint.beta:.3g} that holds a linear model at "
            f"{c.target_kl:g} nats: the rate will stay above it, as with --beta={c.gamma:g}"
        )
    if c.warmup_steps > c.num_steps:
        warnings.append(
            f"the capacity rises for {c.warmup_steps} steps and the run has {c.num_steps}: it will reach "
            f"{float(_capacity_ramp(c)(c.num_steps - 1)):.3g} nats, never {c.target_kl:g}"
        )
    return c, setpoint.beta, _said(c, setpoint, f"a capacity with gamma = {c.gamma:g}"), warnings


def _capacity_ramp(c):
    return schedules.linear(c.target_kl, c.warmup_steps)


def _make_capacity(c, start):
    return weighting.capacity(_capacity_ramp(c), c.gamma), lambda all_mean: objective.capacity(c.gamma, all_mean)


WEIGHTINGS = {
    **{name: scheduled(schedule) for name, schedule in SCHEDULES.items()},
    "capacity": Named(_settle_capacity, _make_capacity),
    "free_bits": Named(_settle_free_bits, _make_free_bits),
    "geco": Named(_settle_geco, _make_geco),
    "pi": Named(_settle_pi, _make_pi),
}
