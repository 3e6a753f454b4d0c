"""Settling a configuration, once: every default is filled in, those that depend on the data included."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vae_jax.data import DATASETS, column_words
from vae_jax.data.dataset import Dataset
from vae_jax.runs import placement, table_columns, waking_forecast, weightings
from vae_jax.runs.families import half_a_level
from vae_jax.runs.names import HIERARCHIES, Names
from vae_jax.runs.parsing import parse_beta_range, parse_layers
from vae_jax.runs.settings import Config
from vae_jax.runs.settled import Settings, parsed_settings
from vae_jax.theory.forecast import Forecast

# Default widths by the size of one example: a network that could learn 1,437 little images by heart would.
HIDDEN = {
    "mlp": lambda dim: "512,512" if dim >= 256 else "128,128",
    "conv": lambda dim: "256,256",
    "resnet": lambda dim: "32,64",
    "recurrent": lambda dim: "256",
}
# The first width of a hierarchy, of which each layer has half as much as the one below it.
FIRST_WIDTH, LEAST_WIDTH = (512, 128), 32

# What runs were named by before fewer flags said what a run is.
_NAMED = ("iw_samples", "keep_checkpoints")
# Flags that came later, each with the value at which a run is what it was before: it then keeps its name.
_LATER = {
    "plugin_sha256": None,
    "init_from": None,
    "validation": 0.0,
    "test": None,
    "image_size": None,
    "fit": "crop",
    "alpha": "white",
    "layout": "hwc",
    "standardise": "none",
    "weight_decay": 0.0,
    "ema": None,
    "delta": 1.345,
    "keep": "last",
    "patience": None,
    "constants": None,
    "count_means": None,
    "missing": None,
    "latent_layers": None,
    "latent_map": False,
    "layer_betas": None,
    "prior": "standard_normal",
    "posterior": "gaussian",
    "flow_steps": 4,
    "latent_classes": 32,
    "gumbel_temperature": None,
    "buckets": 1,
    "unimix": 0.01,
    "kl_balance": None,
    "averages": 1,
    "vr_alpha": 0.5,
    "prior_components": 100,
    "prior_stage": "with",
    "condition": None,
}


def settle(
    config: Config,
    names: Names,
    dataset: Dataset,
    spectrum: np.ndarray | None,
    check_fit: Callable[[Settings], None] = lambda settings: None,
) -> tuple[Settings, Forecast | None, weightings.Choice]:
    """Settles a configuration: every default is filled in, those that depend on the data included, and text is parsed.

    Settling again what ``Settings.flags`` holds gives the same, so a config.json is read like a command line.

    Args:
      config: as asked for; ``checks.check`` has passed it.
      names: of ``names.names_of``.
      dataset: the data.
      spectrum: the eigenvalues of its covariance; None for a text.
      check_fit: refuses settings that do not go with the data, or that no memory holds; all but the weight is settled
        when it is called.

    Returns:
      The settings; what the linear theory asks of the run, None for a family that it does not know; and what was chosen
      for the weight.

    Raises:
      UserError: a flag that the weighting needs is missing, or the data do not fit the flags.
    """
    dim = math.prod(dataset.event)
    event = (2, *dataset.event) if dataset.words else dataset.event
    flags = table_columns.with_table(without_data(config, names), dataset.table, dataset.condition)
    as_typed = dataclasses.replace(flags, dataset=config.dataset)
    flags = dataclasses.replace(flags, workdir=config.workdir or default_workdir(as_typed))
    open_ones = {"order": placement.order(flags, dataset)}
    if flags.sigma is None and spectrum is not None:
        open_ones["sigma"] = initial_sigma(flags, spectrum)
    if flags.likelihood == "beta" and flags.squeeze is None:
        open_ones["squeeze"] = half_a_level(dataset.levels)
    if flags.hidden is None:
        open_ones["hidden"] = default_hidden(flags.model, math.prod(event), len(parse_layers(flags.latent_layers)))
    flags = dataclasses.replace(flags, **open_ones)
    settings = parsed_settings(flags, names, event, dataset.levels, dim, dataset.table, dataset.condition)
    if left_out := table_columns.find(settings, dataset):
        flags = dataclasses.replace(flags, **left_out)
        settings = parsed_settings(flags, names, event, dataset.levels, dim, dataset.table, dataset.condition)
    # The theory below makes arrays of as many numbers as there are latents.
    check_fit(settings)
    forecast = None
    if flags.likelihood == "gaussian" and spectrum is not None and flags.posterior != "categorical":
        sigma2 = flags.sigma**2 if flags.precision == "fixed" else None
        # The optimum of a linear hierarchy is that of its first layer alone (theory/README.md).
        forecast = Forecast(spectrum, (*settings.latent_layers, flags.latent_dim)[0], sigma2, flags.min_sigma**2)
    if flags.warmup_steps == waking_forecast.AUTO:
        length = waking_forecast.auto_steps(flags, names.weightings, spectrum, dim)
        flags = dataclasses.replace(flags, warmup_steps=length)
    flags, choice = weightings.settle(flags, names.weightings, forecast, dim)
    return parsed_settings(flags, names, event, dataset.levels, dim, dataset.table, dataset.condition), forecast, choice


def without_data(config: Config, names: Names) -> Config:
    """Fills in the defaults that depend on other flags only."""
    # Absolute, so that the files are found again from another folder.
    plugin = None if config.plugin is None else str(Path(config.plugin).absolute())
    path = os.path.expanduser(config.dataset)
    like_path = os.sep in path or os.path.splitext(path)[1]
    is_path = like_path and os.path.exists(path) and config.dataset not in {**DATASETS, **names.datasets}
    dataset = os.path.abspath(path) if is_path else config.dataset
    c = dataclasses.replace(config, plugin=plugin, plugin_sha256=names.sha256, dataset=dataset)
    if c.init_from is not None:
        c = dataclasses.replace(c, init_from=os.path.abspath(os.path.expanduser(c.init_from)))
    if c.columns is not None and column_words.positional(c.columns) is not None:
        c = dataclasses.replace(c, likelihood="columns")
    if c.model in HIERARCHIES:
        layers = c.latent_layers or ",".join(str(max(1, c.latent_dim >> i)) for i in range(3))
        c = dataclasses.replace(c, latent_layers=layers, latent_dim=sum(parse_layers(layers)))
    if c.encoder_steps and c.aggressive_steps is None:
        c = dataclasses.replace(c, aggressive_steps=c.num_steps // 4)
    if c.eval_every is None:
        c = dataclasses.replace(c, eval_every=default_eval_every(c))
    sigma = 0.1 if c.sigma is None and c.precision == "fixed" else c.sigma
    given = c.beta is not None or c.beta_norm is not None
    beta = c.beta if given or c.weighting in weightings.CONTROLLED else 1.0
    if c.beta_range is not None and not given:
        low, high = parse_beta_range(c.beta_range)
        # Where the network is read: at 1, or at the nearest weight that was trained.
        beta = min(max(beta, low), high)
    ramp = c.num_steps // {"cyclical": 1, "capacity": 2}.get(c.weighting, 5)
    warmup = ramp if c.warmup_steps is None else c.warmup_steps
    free_nats = 0.25 if c.weighting == "free_bits" and c.free_nats is None else c.free_nats
    return dataclasses.replace(c, sigma=sigma, beta=beta, warmup_steps=warmup, free_nats=free_nats)


def default_eval_every(config: Config) -> int:
    """Returns about a thirtieth of the run, at least 100 steps, at ends of chunks; 1,000 where nothing is chosen."""
    if config.validation == 0:
        return 1000
    return config.log_every * math.ceil(max(100, config.num_steps / 30) / config.log_every)


def initial_sigma(config: Config, spectrum: Sequence[float]) -> float:
    """Returns the standard deviation of the data about their mean, averaged over dimensions, to three digits."""
    return max(float(f"{math.sqrt(spectrum.mean()):.3g}"), 2 * config.min_sigma)


def default_hidden(model: str, dim: int, layers: int = 0) -> str:
    """Returns the widths of ``--model`` for examples of ``dim`` numbers; a model without an entry takes an mlp's.

    Args:
      model, dim: which, and for how much.
      layers: of latents, in a hierarchy; 0 for other models.
    """
    if layers:
        return ",".join(str(max(LEAST_WIDTH, FIRST_WIDTH[dim < 256] >> i)) for i in range(layers))
    return HIDDEN.get(model, HIDDEN["mlp"])(dim)


def default_workdir(config: Config) -> str:
    """Returns ``runs/`` and a name made of the flags that say what the run is."""
    named = (f.name for f in dataclasses.fields(Config) if f.metadata["identity"] or f.name in _NAMED)
    identity = {name: getattr(config, name) for name in named}
    identity = {name: value for name, value in identity.items() if name not in _LATER or value != _LATER[name]}
    digest = hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()[:8]
    return f"runs/{Path(config.dataset).stem[:80]}_{config.model}_{config.likelihood}_{digest}"
