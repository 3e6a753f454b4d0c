"""The recipe of a training run: the model, and everything that decides what an update does to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from vae_jax import objective as bounds
from vae_jax.estimators import Estimator
from vae_jax.types import VAE, Array, KLWeight, Likelihood, Objective
from vae_jax.weighting.multi_rate import log_range


class Recipe(NamedTuple):
    """The model, and how it is trained.

    Attributes:
      vae, likelihood: the model.
      optimizer: of parameters ``{"model": ..., "likelihood": ...}``.
      weight: where the weight of the KL comes from.
      objective: a function of the batch's terms and the weight, maximised.
      num_samples: samples of z for each example.
      preprocess: ``(key, raw[event]) -> x[event]``, e.g. a fresh binarisation.
      all_mean: the mean over devices of a pytree; the identity where one program sees the global batch.
      clip_norm: the optimiser's clipping norm, to report when it is active.
      beta_range: None, or (low, high) of a multi-rate model (``weighting/multi_rate.py``): each example is inferred and
        scored at a beta of its own, log beta uniform over the range, which multiplies ``weight`` (a constant 1, or a
        warm-up).
      microbatches: into how many parts the batch is cut to save memory (``microbatches.in_microbatches``).
      cpu_parts: into how many it is cut on a CPU to stay in its cache (``microbatches.in_parts_on_cpu``), where
        nothing couples the examples of a batch.
      widths: of sentences: those that a batch may have (``widths.narrowed``); none leaves it as wide as it is.
    """

    vae: VAE
    likelihood: Likelihood
    optimizer: optax.GradientTransformation
    weight: KLWeight
    objective: Objective = bounds.elbo
    num_samples: int = 1
    preprocess: Callable[[Array, Array], Array] = lambda key, raw: raw
    all_mean: Callable[[Any], Any] = lambda tree: tree
    clip_norm: float | None = None
    beta_range: tuple[float, float] | None = None
    microbatches: int = 1
    cpu_parts: int = 1
    widths: tuple[int, ...] = ()

    @property
    def couples_examples(self) -> bool:
        """Whether the loss of a batch is more than the mean of its examples' losses."""
        separable = isinstance(self.objective, Estimator) or self.objective in bounds.SEPARABLE
        return self.likelihood.refit is not None or not separable


def check(recipe: Recipe) -> None:
    """Refuses what cannot be trained at a beta for each example.

    Raises:
      ValueError: a ``beta_range`` that is none, or with another objective than the ELBO, a controller or a ``refit``.
    """
    if recipe.beta_range is None:
        return
    log_range(recipe.beta_range)
    if recipe.objective is not bounds.elbo:
        raise ValueError("only the ELBO can be trained at a beta for each example: other objectives take one weight")
    if recipe.weight.logged is not None:
        raise ValueError("a controller holds one rate or distortion, and a batch of many betas has many")
    if recipe.likelihood.refit is not None:
        raise ValueError("a likelihood that is solved for in every batch would mix the errors of all betas")
