"""The names of the command line, each with the function that it stands for, and how a plugin adds to them."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vae_jax import data, estimators, models, objective
from vae_jax.models import conditional
from vae_jax.runs.families import LIKELIHOODS
from vae_jax.runs.latent_families import POSTERIORS, PRIORS
from vae_jax.runs.weightings import WEIGHTINGS, scheduled
from vae_jax.types import UserError

OBJECTIVES = {  # settings -> objective
    "elbo": lambda s: objective.elbo,
    "iwae": lambda s: objective.iwae,
    "stl": lambda s: estimators.stl,
    "dreg": lambda s: estimators.dreg,
    "miwae": lambda s: estimators.miwae(s.averages),
    "piwae": lambda s: estimators.piwae(s.averages),
    "vr": lambda s: estimators.vr(s.vr_alpha),
}
MODELS = {"mlp": models.mlp, "conv": models.conv, "resnet": models.resnet, "recurrent": models.recurrent}
MODELS |= {"ladder": models.ladder, "hierarchy": models.hierarchy}
HIERARCHIES = ("ladder", "hierarchy")


# How the encoder of each is told a condition; that of another model by the shape of an example.
CONDITIONED = {"mlp": conditional.beside_numbers, "recurrent": conditional.after_encoder}


class Names(NamedTuple):
    """The tables of names, name -> function.

    Attributes:
      likelihoods: ``(settings, levels) -> Likelihood``.
      weightings: ``weightings.Named``; a plugin has SCHEDULES, ``(settings, beta) -> schedule``.
      objectives: ``settings -> objective``; a plugin has the objectives, ``(terms, weight) -> scalar``.
      models: ``(event, theta_shape, latent_dim, hidden, beta_range, batched_kernels) -> VAE``.
      datasets: ``() -> Dataset``.
      priors: ``(settings, vae) -> Prior``.
      posteriors: ``(settings, vae) -> Posterior``.
      sha256: of the plugin's content; None without one.
    """

    likelihoods: Mapping[str, Callable]
    weightings: Mapping[str, Any]
    objectives: Mapping[str, Callable]
    models: Mapping[str, Callable]
    datasets: Mapping[str, Callable]
    priors: Mapping[str, Callable]
    posteriors: Mapping[str, Callable]
    sha256: str | None = None


BUILT_IN = Names(LIKELIHOODS, WEIGHTINGS, OBJECTIVES, MODELS, {}, PRIORS, POSTERIORS)
# What a plugin writes more simply than its table has it.
WRAPPED = {"SCHEDULES": scheduled, "OBJECTIVES": lambda bound: lambda s: bound}
# What a plugin may define, and the table that it adds to.
TABLES = {
    "LIKELIHOODS": "likelihoods",
    "SCHEDULES": "weightings",
    "OBJECTIVES": "objectives",
    "MODELS": "models",
    "DATASETS": "datasets",
    "PRIORS": "priors",
    "POSTERIORS": "posteriors",
}


def names_of(config: Any) -> Names:
    """Returns the tables of names of a configuration: the built-in ones, and those of its --plugin.

    Args:
      config: with ``plugin``, a path; and where a run has recorded it ``plugin_sha256``, the content it must have.

    Raises:
      UserError: the file cannot be read or run, is another one than the run was made with, or defines no names.
    """
    recorded = getattr(config, "plugin_sha256", None)
    if config.plugin is None:
        if recorded is not None:
            raise UserError(f"this run was made with a plugin (sha256 {recorded[:12]}...): give it, --plugin=FILE.py")
        return BUILT_IN
    path = Path(config.plugin)
    try:
        source = path.read_bytes()
    except OSError as error:
        needed = "" if recorded is None else "; this run was made with it: give the file, wherever it is now"
        raise UserError(f"--plugin={config.plugin} cannot be read: {error.strerror}{needed}") from None
    digest = hashlib.sha256(source).hexdigest()
    if recorded not in (None, digest):
        raise UserError(
            f"--plugin={config.plugin} is not the file that this run was made with (sha256 {recorded[:12]}..., here "
            f"{digest[:12]}...): give that one, or train anew in another --workdir"
        )
    return _extended(_run(path, digest), config.plugin, digest)


def load_dataset(names: Names, name: str, reading: data.Reading) -> data.Dataset:
    """Returns the data set of that name: a plugin's, or one that ``data.load`` knows; the arguments are its.

    Raises:
      UserError: there is none, or it cannot be used.
    """
    return data.load(name, reading, {**data.DATASETS, **names.datasets})


def _run(path: Path, digest: str) -> Any:
    """Returns the file as a module, run once for each content; nothing else learns of it."""
    if digest not in _MODULES:
        spec = importlib.util.spec_from_loader(f"vae_jax_plugin_{digest[:12]}", None)
        module = importlib.util.module_from_spec(spec)
        module.__file__ = str(path)
        # A class that is made in the file looks its module up there.
        sys.modules[spec.name] = module
        try:
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
        except Exception as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"--plugin={path} cannot be run: {what}") from error
        _MODULES[digest] = module
    return _MODULES[digest]


_MODULES: dict[str, Any] = {}


def _extended(module: Any, path: str, digest: str) -> Names:
    tables = {}
    for table, field in TABLES.items():
        own = getattr(module, table, None)
        if own is None:
            continue
        if not isinstance(own, dict) or not all(isinstance(k, str) and callable(v) for k, v in own.items()):
            raise UserError(f"--plugin={path}: {table} must be a dict, name -> function")
        known = getattr(BUILT_IN, field) if table != "DATASETS" else data.DATASETS
        taken = sorted(set(own) & set(known))
        if taken:
            raise UserError(f"--plugin={path}: {table} names {taken[0]}, which is built in; give it another name")
        if table in WRAPPED:
            own = {name: WRAPPED[table](value) for name, value in own.items()}
        tables[field] = {**getattr(BUILT_IN, field), **own}
    if not tables:
        raise UserError(f"--plugin={path} defines none of {', '.join(TABLES)}: a dict, name -> function")
    return BUILT_IN._replace(**tables, sha256=digest)
