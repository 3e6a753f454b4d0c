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
from experiments.families import half_a_level
from experiments.weights import Weighting, choose
from vae_jax import data
from vae_jax.data.check import check
from vae_jax.data.dataset import Dataset
from vae_jax.data.pixels import preprocess
from vae_jax.data.spectrum import eigenvalues, examples_for
from vae_jax.headline import headline
from vae_jax.optimizers import Rates, adam, learning_rates
from vae_jax.outlook import Outlook
from vae_jax.parallel import Parallel, parallel
from vae_jax.randomness import SPECTRUM, example_keys, purpose_key
from vae_jax.types import VAE, Likelihood, UserError


class Run(NamedTuple):
    """Everything that a configuration and its data decide, before anything is computed or written."""

    config: Any
    dataset: Dataset
    vae: VAE
    likelihood: Likelihood
    preprocess: Callable
    weighting: Weighting
    outlook: Outlook | None
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


class Material(NamedTuple):
    """What runs on the same data share: a comparison reads it once."""

    dataset: Dataset
    spectrum: np.ndarray


def material(config) -> Material:
    """Loads a configuration's data, and the eigenvalues of its covariance."""
    dataset = data.load(config.dataset, config.data_dir)
    view = preprocess(config.pixels, dataset.levels)
    return Material(dataset, data_spectrum(dataset, view, jax.random.key(config.seed)))


def build(config, warnings: list[str], shared: Material | None = None) -> Run:
    """Loads the data, checks it against the likelihood, and makes the pieces.

    Args:
      config: resolved.
      warnings: said so far.
      shared: data of the same --dataset and --pixels, loaded before.

    Raises:
      UserError: what was asked cannot be done.
    """
    dataset, spectrum = shared or material(config)
    event = dataset.event
    if config.batch_size > len(dataset.train):
        raise UserError(f"--batch_size={config.batch_size} is larger than the {len(dataset.train)} training examples")
    if config.sigma is None:
        config = dataclasses.replace(config, sigma=choices.initial_sigma(config, spectrum))
    if config.likelihood == "beta" and config.squeeze is None:
        config = dataclasses.replace(config, squeeze=half_a_level(dataset.levels))
    likelihood = choices.LIKELIHOODS[config.likelihood](config, dataset.levels)
    said = check(dataset, config.pixels, config.likelihood, likelihood.support, config.soft_targets)
    config = dataclasses.replace(config, hidden=config.hidden or choices.HIDDEN[config.model](math.prod(event)))
    widths = choices.widths(config.hidden)
    vae = choices.MODELS[config.model](event, likelihood.theta_shape(event), config.latent_dim, widths)
    outlook = None
    if config.likelihood == "gaussian":
        outlook = Outlook(spectrum, config.latent_dim, config.sigma**2 if config.precision == "fixed" else None)
    config, weighting = choose(config, outlook, math.prod(event))
    rates = learning_rates(config.lr_schedule, config.learning_rate, config.num_steps)
    return Run(
        config=config,
        dataset=dataset,
        vae=vae,
        likelihood=likelihood,
        preprocess=preprocess(config.pixels, dataset.levels),
        weighting=weighting,
        outlook=outlook,
        rates=rates,
        spectrum=spectrum,
        optimizer=adam(rates, likelihood, config.clip_norm),
        spread=parallel(config.parallel, config.batch_size),
        warnings=[*warnings, *said, *weighting.warnings],
    )


def data_spectrum(dataset, view, key: jax.Array) -> np.ndarray:
    """The eigenvalues of the covariance of the training data as the model will see them."""
    rows = examples_for(len(dataset.train), math.prod(dataset.event))
    seen = jax.jit(lambda raw, rows: jax.vmap(view)(example_keys(purpose_key(key, SPECTRUM), rows), raw))
    parts = np.array_split(rows, -(-len(rows) // 4096))
    return eigenvalues(lambda: (np.asarray(seen(dataset.train[part], part)) for part in parts))


def weighed(r: Run) -> str:
    """The line that says what is really weighed."""
    c, w = r.config, r.weighting
    gaussian = (c.precision, c.sigma) if c.likelihood == "gaussian" else ()
    return headline(r.spectrum, c.latent_dim, w.said, w.beta, c.likelihood, *gaussian)
