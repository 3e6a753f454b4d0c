"""From a configuration to the pieces of a run: data, model, likelihood, weight, optimiser. Nothing is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from vae_jax.data.check import check as check_data
from vae_jax.data.conditions import with_condition
from vae_jax.data.dataset import Dataset
from vae_jax.data.pixels import preprocess
from vae_jax.data.reading import Reading
from vae_jax.data.spectrum import data_spectrum
from vae_jax.data.text import is_text, load_text, word_dropout
from vae_jax.devices.parallel import Parallel, parallel
from vae_jax.estimators import inferred
from vae_jax.likelihoods.tokens import lengths_of
from vae_jax.objective import weighted_layers
from vae_jax.runs import memory_check, placement, table_columns
from vae_jax.runs.checks import check
from vae_jax.runs.names import load_dataset, names_of
from vae_jax.runs.networks import held_fixed, make_vae, rate_is_one_number, with_first_prior
from vae_jax.runs.settings import Config
from vae_jax.runs.settled import Settings
from vae_jax.runs.settling import settle
from vae_jax.runs.weightings import Choice, all_together, given_beta, make_weight
from vae_jax.theory.forecast import Forecast
from vae_jax.train.microbatches import parts_in_cache
from vae_jax.train.optimizers import Aggressive, Rates, adam, learning_rates
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state, make_chunk, make_train_step
from vae_jax.train.widths import choose_widths
from vae_jax.types import VAE, KLWeight, Likelihood, Objective, TrainState, UserError, beside_condition
from vae_jax.weighting.multi_rate import at_beta, respond


class Run(NamedTuple):
    """Everything that a configuration and its data decide, before anything is computed or written."""

    config: Settings
    dataset: Dataset
    vae: VAE
    likelihood: Likelihood
    preprocess: Callable  # of evaluation
    training_preprocess: Callable
    weight: KLWeight
    objective: Callable[[Callable], Objective]  # all_mean -> objective
    choice: Choice
    forecast: Forecast | None
    rates: Rates
    spectrum: np.ndarray | None
    optimizer: optax.GradientTransformation
    spread: Parallel
    warnings: list[str]
    batched_kernels: bool = False  # whether runs of a sweep are computed side by side

    @property
    def key(self) -> jax.Array:
        """The run's key, a fresh one each time: training consumes the buffer that it is given."""
        return jax.random.key(self.config.seed)

    @property
    def training_vae(self) -> VAE:
        """The networks as training computes them; evaluation takes ``vae``, in float32 and with one-hot codes."""
        s = self.config
        if s.dtype == "float32" and s.gumbel_temperature is None:
            return self.vae
        dtype = None if s.dtype == "float32" else s.dtype
        return make_vae(s, self.likelihood.theta_shape(s.event), self.batched_kernels, dtype, soft=True)

    @property
    def is_text(self) -> bool:
        """Whether an example is a sentence."""
        return bool(self.dataset.words)

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of x: of a sentence its targets and what the decoder reads."""
        return self.config.event

    @property
    def data_dim(self) -> int:
        """D, channels counted."""
        return self.config.data_dim


class Material(NamedTuple):
    """What runs on the same data share: a comparison reads it once. A text has no spectrum.

    It stands in for other data where a run is read and its own are gone.
    """

    dataset: Dataset
    spectrum: np.ndarray | None
    stands_in: bool = False


def material(config: Config, known: Dataset | None = None, keep: int | None = None) -> Material:
    """Loads a configuration's data (unless they are ``known``), and the eigenvalues of its covariance.

    Args:
      config: the flags.
      known: data that have been loaded before.
      keep: as for ``data.load``: larger splits are read when they are asked for.
    """
    names = names_of(config)
    if config.dataset not in names.datasets and is_text(config.dataset):
        limits = config.max_length, config.max_words, config.data_dir, config.rare_words
        text = with_condition(known or load_text(config.dataset, *limits), config.condition)
        # Before there was the flag, training looked at the test split of a text.
        return Material(text._replace(validation=None) if config.validation == 0 else text, None)
    dataset = known or load_dataset(names, config.dataset, Reading.of(config, keep))
    dataset = with_condition(dataset, config.condition)
    view = preprocess(config.pixels, dataset.levels)
    key, scale = jax.random.key(config.seed), table_columns.spectrum_view(config, dataset)
    return Material(dataset, data_spectrum(dataset, view, key, scale))


def build(config: Config, shared: Material | None = None, spread: Parallel | None = None) -> Run:
    """Loads the data, settles the configuration, and makes the pieces of the run.

    Args:
      config: the flags, as asked for or as config.json has them.
      shared: data of the same --dataset and --pixels, loaded before.
      spread: how the devices are used (default: as --parallel says).

    Raises:
      UserError: what was asked cannot be done.
    """
    names = names_of(config)
    warnings = check(config, names)
    shared = shared or material(config, keep=0 if config.placement == "streamed" else placement.bytes_held())
    dataset, spectrum, stands_in = shared
    if config.batch_size > len(dataset.train) and not stands_in:
        n = len(dataset.train)
        fits = f"; --batch_size={2 ** (n.bit_length() - 1)} is not"
        raise UserError(f"--batch_size={config.batch_size} is larger than the {n} training examples{fits}")
    _check_kind(config, dataset)
    notes = []

    def check_fit(s: Settings) -> None:
        if not dataset.words:
            support = s.names.likelihoods[s.likelihood](s, s.levels).support
            bound = None if s.precision == "fixed" else s.min_sigma
            notes.extend(check_data(dataset, s.pixels, s.likelihood, support, s.soft_targets, bound, len(s.constants)))
            notes.extend(table_columns.in_words(s, dataset))
        memory_check.check(s, make_vae)

    settings, forecast, choice = settle(config, names, dataset, spectrum, check_fit)
    decided = _decided_by_numbers(settings)
    vae = make_vae(settings, decided["likelihood"].theta_shape(settings.event))
    inferred(decided["objective"](lambda tree: tree), vae)  # refused here, before anything is written
    choice = all_together(settings, choice) if rate_is_one_number(settings, vae) else choice
    view = training = make_view(settings)
    if dataset.words:
        dropping = word_dropout.prepare(settings.word_dropout)
        training = dropping if settings.condition is None else beside_condition(dropping)
    return Run(
        config=settings,
        dataset=dataset,
        vae=vae,
        preprocess=view,
        training_preprocess=training,
        choice=choice,
        forecast=forecast,
        spectrum=spectrum,
        spread=spread or _spread(settings, dataset),
        warnings=[*warnings, *notes, *choice.warnings, *_of_patience(settings, dataset)],
        **decided,
    )


def _decided_by_numbers(s: Settings) -> dict[str, Any]:
    """Returns the fields of ``Run`` that the numbers of a configuration decide; they may be traced, as in a sweep."""
    likelihood = make_likelihood(s)
    weight, changed = make_weight(s)
    rates = learning_rates(s.lr_schedule, s.learning_rate, s.num_steps)
    base = s.names.objectives[s.objective](s)
    if s.layer_betas:
        base = weighted_layers(s.latent_layers, s.layer_betas)
    ahead = Aggressive(s.encoder_steps + 1, s.aggressive_steps) if s.encoder_steps else None
    return {
        "likelihood": likelihood,
        "weight": weight,
        "objective": changed or (lambda all_mean: base),
        "rates": rates,
        "optimizer": adam(rates, likelihood, s.clip_norm, ahead, s.weight_decay, s.ema),
    }


def with_numbers(r: Run, numbers: dict[str, Any]) -> Run:
    """Returns a run with other numbers, which may be traced: one of many that differ in nothing else."""
    config = dataclasses.replace(r.config, **numbers)
    return r._replace(config=config, **_decided_by_numbers(config))


def make_likelihood(s: Settings) -> Likelihood:
    """Makes the family of p(x|z)."""
    likelihood = held_fixed(s, table_columns.of_the_data(s.names.likelihoods[s.likelihood](s, s.levels), s))
    return likelihood if s.beta_range is None else respond(likelihood, s.beta_range)


def make_view(s: Settings) -> Callable:
    """Makes ``(key, raw[...]) -> x[event]``, how evaluation sees one example of the data."""
    view = word_dropout.prepare() if s.likelihood == "tokens" else preprocess(s.pixels, s.levels)
    return view if s.condition is None else beside_condition(view)


def _spread(config, dataset: Dataset) -> Parallel:
    """How the devices are used.

    Raises:
      UserError: the flags do not go together, or with the devices.
    """
    layout = placement.layout(config, dataset)
    spread = parallel(config.parallel, config.batch_size, None, layout, config.shard_params, config.remat)
    if (config.batch_size // config.microbatches) % spread.devices:
        raise UserError(
            f"--microbatches={config.microbatches} cuts --batch_size={config.batch_size} into parts that cannot be "
            f"divided among {spread.devices} devices"
        )
    return spread


def _of_patience(s: Settings, dataset: Dataset) -> list[str]:
    if s.patience is None:
        return []
    if dataset.validation is None:
        return [f"--patience={s.patience} does nothing: there is no validation split to be patient about"]
    # The first evaluation is the best so far, and the last one has nothing left to stop.
    never = (1 + s.patience) * s.eval_every >= s.num_steps
    why = f"{s.num_steps} steps are evaluated every {s.eval_every}; lower --eval_every"
    return [f"--patience={s.patience} can stop nothing: {why}"] * never


def _check_kind(config, dataset: Dataset) -> None:
    """Refuses a likelihood or a model that is not for this kind of data."""
    from vae_jax.report.formatting import program

    for what, named, own in (("likelihood", config.likelihood, "tokens"), ("model", config.model, "recurrent")):
        if (named == own) != bool(dataset.words):
            kind = "a text" if dataset.words else "not a text"
            raise UserError(
                f"--{what}={named}: {dataset.name} is {kind}, and --likelihood=tokens --model=recurrent are for texts; "
                f"{program('text')} has them as its defaults"
            )


def recipe(r: Run, all_mean: Callable = lambda tree: tree) -> Recipe:
    """Returns what an update does: the same for a run by itself and for each run of a sweep."""
    c = r.config
    # Among several devices each part would end with an exchange of its own.
    cached = parts_in_cache(r.vae.largest_map * c.num_samples, c.batch_size) if r.spread.devices == 1 else 1
    # Side by side every run would compute every width.
    alike = c.buckets > 1 and not r.batched_kernels
    widths = choose_widths(lengths_of(r.dataset.train), c.buckets) if alike else ()
    return Recipe(
        vae=r.training_vae,
        likelihood=r.likelihood,
        optimizer=r.optimizer,
        weight=r.weight,
        objective=r.objective(all_mean),
        num_samples=c.num_samples,
        preprocess=r.training_preprocess,
        all_mean=all_mean,
        clip_norm=c.clip_norm,
        beta_range=c.beta_range,
        microbatches=c.microbatches,
        cpu_parts=cached,
        widths=widths,
    )


def training_step(r: Run, all_mean: Callable | None = None) -> Callable:
    """Returns one update, ``train.make_train_step``; ``all_mean`` is of the run's own devices unless given."""
    return make_train_step(recipe(r, all_mean or r.spread.all_mean))


def training_chunk(r: Run, all_mean: Callable | None = None, split: Callable | None = None) -> Callable:
    """Returns many updates as one program, ``train.make_chunk``, on the run's own devices unless others are given."""
    c = r.config
    step, blocks = training_step(r, all_mean), c.batch_size if c.order == "blocks" else 1
    split, lengths = split or r.spread.split, lengths_of if c.buckets > 1 else None
    return make_chunk(step, len(r.dataset.train), c.batch_size, split, r.spread.take, blocks, lengths)


def first_state(r: Run, key: jax.Array | None = None) -> TrainState:
    """Returns the state before the first update, not placed on any device; ``key`` is the run's own unless given."""
    c = r.config
    has_best = r.dataset.validation is not None or c.ema is not None
    state = init_state(recipe(r), r.dataset.event, r.key if key is None else key, has_best)
    state = with_first_prior(r.vae, state, r.dataset.train, r.preprocess)
    if c.beta_range is None:
        return state
    return state._replace(params=at_beta(state.params, given_beta(c, c.data_dim)))  # where it will be read
