"""From the folder of a run to its model."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax

from vae_jax.report.formatting import program
from vae_jax.runs import known_data
from vae_jax.runs.build import make_likelihood, make_view, material
from vae_jax.runs.checks import check
from vae_jax.runs.names import names_of
from vae_jax.runs.networks import make_vae
from vae_jax.runs.placement import bytes_held
from vae_jax.runs.settings import Config
from vae_jax.runs.workdir import existing_workdir
from vae_jax.runtime.config import read_config
from vae_jax.runtime.files import read_object
from vae_jax.runtime.restore import read_weights
from vae_jax.trained.model import TrainedVAE
from vae_jax.types import UserError


def load(workdir: str | Path, plugin: str | Path | None = None, data_dir: str | None = None) -> TrainedVAE:
    """Opens the model that a run reports, as its newest checkpoint has it. Nothing in the folder is changed.

    Args:
      workdir: of a run that ``train`` made, or of one run of a sweep (``SWEEP/runs/NAME``); it may still be training.
      plugin: FILE.py that it was trained with (default: where it was then).
      data_dir: where prepared TFDS sets are, for a run that kept nothing of its data: one without ``data.json``.

    Raises:
      UserError: there is no run, it has no checkpoint, or it kept nothing of its data and they are not here.
    """
    check_path("load", workdir)
    with existing_workdir(str(workdir), bring_back=False) as folder:
        path = folder / "config.json"
        if not path.exists():
            raise UserError(f"{workdir} holds no run: there is no config.json; train it first")
        anew = {"plugin": plugin and str(plugin), "data_dir": data_dir}
        config = read_config(Config, path, "load opens the folder of a run that train made")
        config = dataclasses.replace(config, **{name: value for name, value in anew.items() if value is not None})
        model = assemble(config, known_of(folder, config))
        there = read_weights(folder / "checkpoints", model.params)
        if there is None:
            raise UserError(f"{workdir} holds no checkpoint; train it first")
        path = folder / "results.json"
        results = read_object(path, "remove it, and train writes it anew") if path.exists() else None
    return dataclasses.replace(model, params=there[1], results=results)


def known_of(folder: Path, config: Config) -> known_data.KnownData:
    """Returns what a run knows of its data: from ``data.json``, or where it has none from the data themselves.

    Raises:
      UserError: it has none, and the data are not here.
    """
    path = folder / known_data.FILE
    if path.exists():
        return known_data.read(path)
    try:
        return known_data.describe(*material(config, keep=bytes_held())[:2])
    except UserError as error:
        raise UserError(
            f"{folder} was made before runs kept what their models have to know of the data, and these are not here "
            f"({error}); where they are, {program('evaluate')} --workdir={folder} writes {known_data.FILE}"
        ) from None


def assemble(flags: Config, known: known_data.KnownData) -> TrainedVAE:
    """Returns the model that flags and data make, its parameters shapes only.

    Raises:
      UserError: the flags make no model.
    """
    names = names_of(flags)
    check(flags, names)
    settings = known_data.settings_of(flags, names, known)
    likelihood = make_likelihood(settings)
    vae = make_vae(settings, likelihood.theta_shape(settings.event))

    def params(key):
        return {"model": vae.init(key), "likelihood": likelihood.init(settings.event)}

    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return TrainedVAE(
        vae=vae,
        likelihood=likelihood,
        params=jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
            jax.eval_shape(params, jax.random.key(0)),
        ),
        config=flags,
        results=None,
        data=known,
        view=make_view(settings),
        beta_range=settings.beta_range,
    )


def check_path(function: str, path: Any) -> None:
    """Refuses what is no path of anything."""
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise UserError(f"{function} takes the path of a folder, not {path!r}")
