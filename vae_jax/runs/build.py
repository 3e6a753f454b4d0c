"""From a configuration to the pieces of a run: data, model, likelihood, weight, optimiser. Nothing is written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from vae_jax import data
from vae_jax.data.check import check
from vae_jax.data.dataset import Dataset
from vae_jax.data.pixels import preprocess
from vae_jax.data.spectrum import eigenvalues, examples_for, parts
from vae_jax.data.text import word_dropout
from vae_jax.data.text.dataset import is_text
from vae_jax.data.text.dataset import read as read_text
from vae_jax.devices.parallel import Parallel, parallel
from vae_jax.models import mixed
from vae_jax.randomness import SPECTRUM, example_keys, purpose_key
from vae_jax.runs import memory_check, placement
from vae_jax.runs.families import LIKELIHOODS, half_a_level
from vae_jax.runs.names import MODELS, OBJECTIVES
from vae_jax.runs.settings import beta_range, default_hidden, initial_sigma
from vae_jax.runs.settings import widths as widths_of
from vae_jax.runs.weightings import Weighting, choose, given_beta, make_weight
from vae_jax.theory.forecast import Outlook, headline
from vae_jax.train.microbatches import parts_in_cache
from vae_jax.train.optimizers import Aggressive, Rates, adam, learning_rates
from vae_jax.train.step import init_state, make_chunk, make_train_step
from vae_jax.types import VAE, KLWeight, Likelihood, Objective, TrainState, UserError
from vae_jax.weighting.multi_rate import at_beta, respond


class Run(NamedTuple):
    """Everything that a configuration and its data decide, before anything is computed or written."""

    config: Any
    dataset: Dataset
    vae: VAE
    likelihood: Likelihood
    preprocess: Callable  # of evaluation
    training_preprocess: Callable
    weighting: Weighting
    outlook: Outlook | None
    rates: Rates
    spectrum: np.ndarray | None
    optimizer: optax.GradientTransformation
    spread: Parallel
    warnings: list[str]

    @property
    def key(self) -> jax.Array:
        """The run's key, a fresh one each time: training consumes the buffer that it is given."""
        return jax.random.key(self.config.seed)

    @property
    def training_vae(self) -> VAE:
        """The networks as training computes them; evaluation takes ``vae``, in float32."""
        return self.vae if self.config.dtype == "float32" else mixed(self.vae, self.config.dtype)

    @property
    def is_text(self) -> bool:
        """Whether an example is a sentence."""
        return bool(self.dataset.words)

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of x: of a sentence its targets and what the decoder reads."""
        return (2, *self.dataset.event) if self.is_text else self.dataset.event

    @property
    def data_dim(self) -> int:
        """D, channels counted."""
        return math.prod(self.dataset.event)


class Pieces(NamedTuple):
    """What the numbers of a configuration decide about an update.

    Attributes:
      likelihood, weight, rates, optimizer: as in ``make_train_step``.
      objective: ``all_mean -> Objective``.
    """

    likelihood: Likelihood
    weight: KLWeight
    objective: Callable[[Callable], Objective]
    rates: Rates
    optimizer: optax.GradientTransformation


def pieces(config, levels: int | None, data_dim: int) -> Pieces:
    """The pieces of an update.

    Args:
      config: settled, as ``Run.config``. Its numbers may be traced, as in a sweep; names and shapes may not.
      levels: of the data.
      data_dim: D.
    """
    likelihood = LIKELIHOODS[config.likelihood](config, levels)
    if config.beta_range is not None:
        likelihood = respond(likelihood, beta_range(config))
    weight, changed = make_weight(config, data_dim)
    rates = learning_rates(config.lr_schedule, config.learning_rate, config.num_steps)
    objective = changed or (lambda all_mean: OBJECTIVES[config.objective])
    ahead = Aggressive(config.encoder_steps + 1, config.aggressive_steps) if config.encoder_steps else None
    return Pieces(likelihood, weight, objective, rates, adam(rates, likelihood, config.clip_norm, ahead))


class Material(NamedTuple):
    """What runs on the same data share: a comparison reads it once. A text has no spectrum."""

    dataset: Dataset
    spectrum: np.ndarray | None


def material(config, known: Dataset | None = None, keep: int | None = None) -> Material:
    """Loads a configuration's data (unless they are ``known``), and the eigenvalues of its covariance.

    Args:
      config: resolved.
      known: data that have been loaded before.
      keep: as for ``data.load``: larger splits are read when they are asked for.
    """
    if is_text(config.dataset):
        return Material(known or read_text(config.dataset, config.data_dir, config.max_length, config.max_words), None)
    dataset = known or data.load(config.dataset, config.data_dir, keep)
    view = preprocess(config.pixels, dataset.levels)
    return Material(dataset, data_spectrum(dataset, view, jax.random.key(config.seed)))


def build(config, warnings: list[str], shared: Material | None = None, spread: Parallel | None = None) -> Run:
    """Loads the data, checks it against the likelihood, and makes the pieces.

    Args:
      config: resolved.
      warnings: said so far.
      shared: data of the same --dataset and --pixels, loaded before.
      spread: how the devices are used (default: as --parallel says).

    Raises:
      UserError: what was asked cannot be done.
    """
    dataset, spectrum = shared or material(config, keep=0 if config.placement == "streamed" else placement.held())
    event = dataset.event
    config = dataclasses.replace(config, order=placement.order(config, dataset))
    if config.batch_size > len(dataset.train):
        raise UserError(f"--batch_size={config.batch_size} is larger than the {len(dataset.train)} training examples")
    _check_kind(config, dataset)
    if config.sigma is None and spectrum is not None:
        config = dataclasses.replace(config, sigma=initial_sigma(config, spectrum))
    if config.likelihood == "beta" and config.squeeze is None:
        config = dataclasses.replace(config, squeeze=half_a_level(dataset.levels))
    likelihood = LIKELIHOODS[config.likelihood](config, dataset.levels)
    if dataset.words:
        said, view, training = [], word_dropout.prepare(), word_dropout.prepare(config.word_dropout)
        event = (2, *event)  # targets, and what the decoder reads
    else:
        said = check(dataset, config.pixels, config.likelihood, likelihood.support, config.soft_targets)
        view = training = preprocess(config.pixels, dataset.levels)
    config = dataclasses.replace(config, hidden=config.hidden or default_hidden(config.model, math.prod(event)))
    memory_check.check(config, dataset.levels, event, make_vae)
    outlook = None
    if config.likelihood == "gaussian":
        outlook = Outlook(spectrum, config.latent_dim, config.sigma**2 if config.precision == "fixed" else None)
    dim = math.prod(dataset.event)
    config, weighting = choose(config, outlook, dim)
    made = pieces(config, dataset.levels, dim)
    return Run(
        config=config,
        dataset=dataset,
        vae=make_vae(config, event, likelihood.theta_shape(event)),
        likelihood=made.likelihood,
        preprocess=view,
        training_preprocess=training,
        weighting=weighting,
        outlook=outlook,
        rates=made.rates,
        spectrum=spectrum,
        optimizer=made.optimizer,
        spread=spread or _spread(config, dataset),
        warnings=[*warnings, *said, *weighting.warnings],
    )


def _spread(config, dataset: Dataset) -> Parallel:
    """How the devices are used.

    Raises:
      UserError: the flags do not go together, or with the devices.
    """
    layout = placement.layout(config, dataset)
    spread = parallel(config.parallel, config.batch_size, None, layout, config.shard_params)
    if (config.batch_size // config.microbatches) % spread.devices:
        raise UserError(
            f"--microbatches={config.microbatches} cuts --batch_size={config.batch_size} into parts that cannot be "
            f"divided among {spread.devices} devices"
        )
    return spread


def make_vae(config, event, theta_shape, batched_kernels: bool = False) -> VAE:
    """The encoder and decoder of a settled configuration.

    Args:
      config: as ``Run.config``.
      event, theta_shape: of the data and the likelihood.
      batched_kernels: whether many models will be computed side by side; the parameters are the same.
    """
    make, widths = MODELS[config.model], widths_of(config.hidden)
    shapes = (event, theta_shape, config.latent_dim, widths, beta_range(config), batched_kernels)
    if config.model == "recurrent":
        return make(*shapes, config.cell, config.embedding)
    return make(*shapes)


def _check_kind(config, dataset: Dataset) -> None:
    """Refuses a likelihood or a model that is not for this kind of data."""
    for what, named, own in (("likelihood", config.likelihood, "tokens"), ("model", config.model, "recurrent")):
        if (named == own) != bool(dataset.words):
            kind = "a text" if dataset.words else "not a text"
            raise UserError(
                f"--{what}={named}: {dataset.name} is {kind}, and --likelihood=tokens --model=recurrent are for texts; "
                "python -m experiments.text has them as its defaults"
            )


def training_step(r: Run, config, all_mean: Callable) -> Callable:
    """One update, ``train.make_train_step``: the same for a run by itself and for each run of a sweep.

    Args:
      r: the run, or one of many that differ in numbers only.
      config: its configuration, or one whose numbers are traced.
      all_mean: of the way in which devices are used.
    """
    made = pieces(config, r.dataset.levels, r.data_dim)
    # Among several devices each part would end with an exchange of its own.
    cached = parts_in_cache(r.vae.largest_map * config.num_samples, config.batch_size) if r.spread.devices == 1 else 1
    return make_train_step(
        r.training_vae,
        made.likelihood,
        made.optimizer,
        made.weight,
        made.objective(all_mean),
        config.num_samples,
        r.training_preprocess,
        all_mean,
        config.clip_norm,
        beta_range(config),
        config.microbatches,
        cached,
    )


def training_chunk(r: Run, config, all_mean: Callable, split: Callable) -> Callable:
    """Many updates as one program, ``train.make_chunk``; ``split`` and the others as in ``training_step``."""
    step = training_step(r, config, all_mean)
    blocks = config.batch_size if config.order == "blocks" else 1
    return make_chunk(step, len(r.dataset.train), config.batch_size, split, r.spread.take, blocks)


def first_state(r: Run, config, key: jax.Array) -> TrainState:
    """The state before the first update, not placed on any device; ``config`` may be traced, as above."""
    made = pieces(config, r.dataset.levels, r.data_dim)
    state = init_state(r.vae, made.likelihood, made.optimizer, made.weight, r.dataset.event, key)
    if config.beta_range is None:
        return state
    return state._replace(params=at_beta(state.params, given_beta(config, r.data_dim)))  # where it will be read


def data_spectrum(dataset, view, key: jax.Array) -> np.ndarray:
    """The eigenvalues of the covariance of the training data as the model will see them.

    Raises:
      UserError: the values are too large to have one.
    """
    dim = math.prod(dataset.event)
    rows = examples_for(len(dataset.train), dim)
    seen = jax.jit(lambda raw, rows: jax.vmap(view)(example_keys(purpose_key(key, SPECTRUM), rows), raw))
    try:
        return eigenvalues(lambda: (np.asarray(seen(dataset.train[part], part)) for part in parts(rows, dim)))
    except ValueError as error:
        raise UserError(f"{dataset.name}: {error}; rescale them, such as to a variance of 1") from None


def weighed(r: Run) -> str:
    """The line that says what is really weighed."""
    c, w = r.config, r.weighting
    if r.is_text:
        dropped = f", {100 * c.word_dropout:g}% of the words not read in training" if c.word_dropout else ""
        return (
            f"sentences of up to {r.dataset.event[0]} tokens of {r.dataset.levels} kinds, M = {c.latent_dim}: {w.said} "
            f"on nats summed over the words of a sentence, its end included{dropped}"
        )
    gaussian = (c.precision, c.sigma) if c.likelihood == "gaussian" else ()
    return headline(r.spectrum, c.latent_dim, w.said, w.beta, c.likelihood, *gaussian)
