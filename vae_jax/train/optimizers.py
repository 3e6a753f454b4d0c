"""The optimiser: Adam for the networks, a faster Adam for the likelihood's own parameters."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from vae_jax.estimators import OF_INFERENCE
from vae_jax.train.averaging import averaging
from vae_jax.types import Likelihood, Schedule

# The first gradients are hundreds of times the last, because the first sigma is a guess. A second moment that remembers
# them for thousands of steps (Adam's usual 0.999) holds everything back that long: on MNIST a learned sigma that began
# three times too small ended 50 nats behind one that began right, and its calibration ratio at 0.84 instead of 1.
_B2 = 0.99


class Rates(NamedTuple):
    """Learning rates as functions of the step: of the networks, and of the likelihood's own parameters."""

    model: Schedule
    likelihood: Schedule


def learning_rates(
    name: str, learning_rate: float, num_steps: int, warmup_steps: int = 100, likelihood_factor: float = 20.0
) -> Rates:
    """``constant``, or ``cosine``: from ``learning_rate`` down to zero over the run.

    The networks' rate rises over the first steps. Adam's first steps have the size of the rate whatever the gradient
    is, rounding errors included: without the rise, one device and eight are 3e-5 apart after 20 steps, with it 5e-7.

    Adam moves a scalar by at most about the sum of its rates, so a log precision at the networks' rate would not reach
    its optimum: it has ``likelihood_factor`` times that rate, and no rise, so that it settles before the networks move.

    Raises:
      ValueError: for another name.
    """
    if name == "constant":
        base = optax.schedules.constant_schedule(learning_rate)
    elif name == "cosine":
        base = optax.schedules.cosine_decay_schedule(learning_rate, num_steps)
    else:
        raise ValueError(f"the learning rate schedule must be constant or cosine, not {name!r}")
    rise = optax.schedules.linear_schedule(1.0 / warmup_steps, 1.0, warmup_steps - 1)
    return Rates(lambda step: rise(step) * base(step), lambda step: likelihood_factor * base(step))


class Aggressive(NamedTuple):
    """Training of the encoder ahead of the decoder: for ``until`` steps the decoder moves in every ``every``-th only.

    He 2019 (1901.05534) trains the encoder to convergence before each update of the decoder, for as long as the mutual
    information rises; here both numbers are fixed, so that nothing waits for an evaluation.
    """

    every: int
    until: int

    def moves(self, step):
        """Whether the decoder is updated at ``step``."""
        return (step >= self.until) | (step % self.every == self.every - 1)


def adam(
    rates: Rates,
    likelihood: Likelihood,
    clip_norm: float | None = None,
    aggressive: Aggressive | None = None,
    weight_decay: float = 0.0,
    ema: float | None = None,
) -> optax.GradientTransformation:
    """Adam for parameters ``{"model": ..., "likelihood": ...}``.

    Args:
      rates: the learning rates.
      likelihood: decides whether its own parameters are trained at all (``frozen``).
      clip_norm: the global gradient norm above which the gradient is scaled down; None for no clipping. Clipping
        depends on the scale of the loss, so it breaks the equivalence of losses of equal water level.
      aggressive: None, or when the decoder and its moments are left as they are.
      weight_decay: of the networks' matrices and kernels, decoupled from the gradient (AdamW; Loshchilov and Hutter
        2017, 1711.05101) and times the learning rate; no bias, gate or parameter of the likelihood decays.
      ema: None, or the decay of a moving average of the parameters (``averaging.py``).
    """
    labels = own = {"model": "model", "likelihood": "frozen" if likelihood.frozen else "likelihood"}
    groups = {
        "model": optax.chain(_moments(weight_decay), optax.scale_by_learning_rate(rates.model)),
        "likelihood": optax.adam(rates.likelihood, b2=_B2),
        "frozen": optax.set_to_zero(),
    }
    if aggressive is not None:
        # The learning rate counts every step, the moments only those in which the decoder moves.
        moments = optax.conditionally_mask(_moments(weight_decay), lambda step, **_: aggressive.moves(step))
        groups["decoder"] = optax.chain(moments, optax.scale_by_learning_rate(rates.model))

        def labels(params):
            ahead = {name: "model" if name in OF_INFERENCE else "decoder" for name in params["model"]}
            return own | {"model": ahead}

    links = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    links += [optax.partition(groups, labels)] + ([] if ema is None else [averaging(ema)])
    return links[0] if len(links) == 1 else optax.chain(*links)


def _moments(weight_decay: float) -> optax.GradientTransformation:
    adam = optax.scale_by_adam(b2=_B2)
    if weight_decay == 0:
        return adam
    wide = optax.add_decayed_weights(weight_decay, lambda params: jax.tree.map(lambda p: jnp.ndim(p) > 1, params))
    return optax.chain(adam, wide)
