"""The weightings by name: how a configuration chooses where beta comes from, and what can be said about it at once.

To add a schedule, write a function of the step and give it a name in ``SCHEDULES``; a weight with state is a
``KLWeight`` in ``vae_jax.weighting`` and a function in ``WEIGHTINGS``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from vae_jax import objective, schedules, weighting
from vae_jax.conventions import beta_from_norm
from vae_jax.outlook import Outlook, at_beta, beta_for_distortion, beta_for_rate, slopes
from vae_jax.types import KLWeight, Objective, UserError

SCHEDULES = {  # (config, final beta) -> schedule
    "constant": lambda c, beta: schedules.constant(beta),
    "linear": lambda c, beta: schedules.linear(beta, c.warmup_steps),
    # Bowman's logistic ramp, centred, from 0.2% to 99.8% of beta over the warm-up.
    "sigmoid": lambda c, beta: schedules.sigmoid(beta, c.warmup_steps / 2, 12.5 / max(c.warmup_steps, 1)),
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


class Weighting(NamedTuple):
    """What a name means for one run.

    Attributes:
      weight: where beta comes from.
      objective: ``all_mean -> Objective`` where the weighting changes the loss itself, else None.
      beta: the final weight; for a controller that of a linear model with the same target, None where none is known.
      said: what is done with the weight, for the headline.
      warnings: what may not work out.
    """

    weight: KLWeight
    objective: Callable[[Callable], Objective] | None
    beta: float | None
    said: str
    warnings: list[str]


def choose(config, outlook: Outlook | None, data_dim: int) -> tuple[object, Weighting]:
    """The weighting of a configuration, and the configuration with the gains that it left to the theory.

    Args:
      config: resolved.
      outlook: what the linear theory asks of this run; None for a family it does not know.
      data_dim: D.

    Raises:
      UserError: a flag that the weighting needs is missing.
    """
    beta = config.beta
    if config.beta_norm is not None:
        beta = beta_from_norm(config.beta_norm, data_dim, config.latent_dim)
    needed = NEEDS.get(config.weighting)
    if needed and getattr(config, needed) is None:
        raise UserError(
            f"--weighting={config.weighting} needs --{needed}, in nats per example; "
            f"python -m experiments.weigh --dataset={config.dataset} says what is within reach"
        )
    return WEIGHTINGS[config.weighting](config, outlook, beta)


def _scheduled(name, config, outlook, beta):
    schedule = SCHEDULES[name](config, beta)
    weight = weighting.from_schedule(schedule)
    return config, Weighting(weight, None, beta, f"beta = {beta:g}", _ends(config, beta, schedule))


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
    if beta != 1 and config.objective == "iwae":
        warnings.append("with a beta other than 1 the importance-weighted objective bounds nothing")
    return warnings


def _free_bits(config, outlook, beta):
    floor, warnings = config.free_nats, []
    free = floor * config.latent_dim
    rate = math.inf if outlook is None else at_beta(outlook, beta).rate
    if free > rate:
        warnings.append(
            f"the free nats of {config.latent_dim} latents are {free:.3g} together and a linear model would pay "
            f"{rate:.3g} without them: the floor, not the data, will decide the rate"
        )
    change = lambda all_mean: objective.free_bits(floor, all_mean)  # noqa: E731
    said = f"beta = {beta:g} above {floor:g} free nats for each latent"
    return config, Weighting(weighting.from_schedule(schedules.constant(beta)), change, beta, said, warnings)


class Held(NamedTuple):
    """What the linear theory says about holding a target.

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


def _hold(config, outlook, what, target, share) -> Held:
    beta, warnings = None, []
    # Half the latents at work, at beta = 1: what a family without a linear theory is taken for.
    slope = config.latent_dim / 4
    inverse = beta_for_rate if what == "rate" else beta_for_distortion
    if outlook is not None:
        try:
            beta = inverse(outlook, target) or None
        except ValueError as error:
            warnings.append(f"no linear model has a {what} of {target:g} nats ({error}); a deep one may differ")
            # What a linear model lacks in latents, a deep one makes up for by its curves.
            outlook = outlook._replace(latent_dim=len(outlook.eigenvalues))
            with suppress(ValueError):
                beta = inverse(outlook, target) or None
        if beta is not None:
            slope = max(0.5, slopes(outlook, beta)[what == "distortion"])
    return Held(what, target, beta, max(100.0, share * config.num_steps), slope, warnings)


def _said(config, held: Held, how: str) -> str:
    said = f"the {held.what} held at {held.target:g} nats by {how}"
    return said if held.beta is None else f"{said}, for which a linear model needs beta = {held.beta:.3g}"


def _within(config, held: Held) -> list[str]:
    if held.beta is None or config.beta_min <= held.beta <= config.beta_max:
        return held.warnings
    return [
        *held.warnings,
        f"a linear model needs beta = {held.beta:.3g} for a {held.what} of {held.target:g} nats, outside "
        f"--beta_min={config.beta_min:g} and --beta_max={config.beta_max:g}: the target may be out of reach",
    ]


def _fill(config, **fitted):
    """Sets the flags that were not given. To two digits: they do not depend on the last bit of an eigenvalue."""
    open_ones = {k: float(f"{v:.2g}") for k, v in fitted.items() if getattr(config, k) is None}
    return dataclasses.replace(config, **open_ones)


def _pi(config, outlook, start):
    held = _hold(config, outlook, "rate", config.target_kl, 1 / 30)
    gain = (held.beta or 1.0) / (held.time * held.slope)
    c = _fill(config, ki=gain, kp=10 * gain)
    first = held.beta or 1.0 if start is None else start
    weight = weighting.pi(c.target_kl, c.kp, c.ki, c.beta_min, c.beta_max, first)
    said = _said(c, held, f"PI control (kp = {c.kp:g}, ki = {c.ki:g})")
    return c, Weighting(weight, None, held.beta, said, _within(c, held))


def _geco(config, outlook, start):
    held = _hold(config, outlook, "distortion", config.target_distortion, 1 / 10)
    first = held.beta or 1.0 if start is None else start
    c = _fill(config, geco_rate=1 / (held.time * held.slope))
    # Before the network has learned anything the violation is large and no multiplier would mend it: slowly, then.
    low, slow = max(c.beta_min, 1e-6), 0.5 / held.time
    weight = weighting.geco(c.target_distortion, c.geco_rate, c.geco_decay, low, c.beta_max, first, slow)
    said = _said(c, held, f"GECO (rate = {c.geco_rate:g})")
    return c, Weighting(weight, None, held.beta, said, _within(c, held))


def _capacity(config, outlook, start):
    held = _hold(config, outlook, "rate", config.target_kl, 1 / 30)
    c, warnings = _fill(config, gamma=3 * (held.beta or 1.0)), list(held.warnings)
    ramp = schedules.linear(c.target_kl, c.warmup_steps)
    if held.beta is not None and c.gamma < held.beta:
        warnings.append(
            f"--gamma={c.gamma:g} is below the weight of {held.beta:.3g} that holds a linear model at "
            f"{c.target_kl:g} nats: the rate will stay above it, as with --beta={c.gamma:g}"
        )
    if c.warmup_steps > c.num_steps:
        warnings.append(
            f"the capacity rises for {c.warmup_steps} steps and the run has {c.num_steps}: it will reach "
            f"{float(ramp(c.num_steps - 1)):.3g} nats, never {c.target_kl:g}"
        )
    said = _said(c, held, f"a capacity with gamma = {c.gamma:g}")
    change = lambda all_mean: objective.capacity(c.gamma, all_mean)  # noqa: E731
    return c, Weighting(weighting.capacity(ramp, c.gamma), change, held.beta, said, warnings)


WEIGHTINGS = {  # (config, outlook, beta) -> (config, Weighting)
    **{name: partial(_scheduled, name) for name in SCHEDULES},
    "capacity": _capacity,
    "free_bits": _free_bits,
    "geco": _geco,
    "pi": _pi,
}
