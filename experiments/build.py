"""From a configuration to the pieces of a run: data, model, likelihood, weight, optimiser. Nothing is written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from experiments import train as choices
from vae_jax import data, weighting
from vae_jax.data.check import check
from vae_jax.data.dataset import Dataset
from vae_jax.data.pixels import preprocess
from vae_jax.data.spectrum import eigenvalues
from vae_jax.headline import headline
from vae_jax.optimizers import Rates, adam, learning_rates
from vae_jax.parallel import Parallel, parallel
from vae_jax.randomness import SPECTRUM, example_keys, purpose_key
from vae_jax.types import VAE, KLWeight, Likelihood, Schedule, UserError


class Run(NamedTuple):
    """Everything that a configuration and its data decide, before anything is computed or written."""

    config: Any
    dataset: Dataset
    vae: VAE
    likelihood: Likelihood
    preprocess: Callable
    beta: float
    schedule: Schedule
    weight: KLWeight
    rates: Rates
    spectrum: np.ndarray
    optimizer: optax.GradientTransformation
    spread: Parallel
    warnings: list[str]

    @property
    def key(self) -> jax.Array:
        """The run's key, a fresh one each time: training consumes the buffer that it is given."""
        return jax.random.key(self.config.seed)

    @property
    def data_dim(self) -> int:
        """D, channels counted."""
        return math.prod(self.dataset.event)


def build(config, warnings: list[str]) -> Run:
    """Loads the data, checks it against the likelihood, and makes the pieces.

    Raises:
      UserError: what was asked cannot be done.
    """
    dataset = data.load(config.dataset, config.data_dir)
    event = dataset.event
    if config.batch_size > len(dataset.train):
        raise UserError(f"--batch_size={config.batch_size} is larger than the {len(dataset.train)} training examples")
    view = preprocess(config.pixels, dataset.levels)
    spectrum = data_spectrum(dataset, view, jax.random.key(config.seed))
    if config.sigma is None:
        config = dataclasses.replace(config, sigma=choices.initial_sigma(config, spectrum))
    likelihood = choices.LIKELIHOODS[config.likelihood](config)
    said = check(dataset, config.pixels, config.likelihood, likelihood.support, config.soft_targets)
    config = dataclasses.replace(config, hidden=config.hidden or choices.HIDDEN[config.model](math.prod(event)))
    widths = choices.widths(config.hidden)
    vae = choices.MODELS[config.model](event, likelihood.theta_shape(event), config.latent_dim, widths)
    beta, schedule, late = choices.kl_schedule(config, math.prod(event))
    rates = learning_rates(config.lr_schedule, config.learning_rate, config.num_steps)
    return Run(
        config=config,
        dataset=dataset,
        vae=vae,
        likelihood=likelihood,
        preprocess=view,
        beta=beta,
        schedule=schedule,
        weight=weighting.from_schedule(schedule),
        rates=rates,
        spectrum=spectrum,
        optimizer=adam(rates, likelihood, config.clip_norm),
        spread=parallel(config.parallel, config.batch_size),
        warnings=[*warnings, *said, *late],
    )


def data_spectrum(dataset, view, key: jax.Array) -> np.ndarray:
    """The eigenvalues of the covariance of the training data as the model will see them."""
    n = len(dataset.train)
    rows = np.arange(n) if math.prod(dataset.event) <= 2000 else np.random.default_rng(0).permutation(n)[:2000]
    seen = jax.jit(lambda raw, rows: jax.vmap(view)(example_keys(purpose_key(key, SPECTRUM), rows), raw))
    parts = np.array_split(rows, -(-len(rows) // 10_000))
    return eigenvalues(np.concatenate([np.asarray(seen(dataset.train[part], part)) for part in parts]))


def weighed(r: Run) -> str:
    """The line that says what is really weighed."""
    c = r.config
    precision = c.precision if c.likelihood == "gaussian" else None
    return headline(r.spectrum, r.beta, c.latent_dim, precision, c.sigma, c.likelihood)
