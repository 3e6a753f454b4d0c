"""Doors into training: parameters of another run to begin with, and more steps for a run that has ended."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vae_jax.runs.build import Run, first_state
from vae_jax.runs.settings import Config
from vae_jax.runs.waking_forecast import AUTO
from vae_jax.runs.workdir import local_folder
from vae_jax.runtime import restore, tensors
from vae_jax.runtime.config import read_config
from vae_jax.runtime.files import read_object
from vae_jax.types import TrainState, UserError

LISTED = 5  # names in a message
STAND_IN_THE_WAY = "--lr_schedule=cosine has brought the learning rate to 0 there"


def check(r: Run) -> None:
    """Refuses --init_from where nothing of it fits, before the workdir is touched; a run that goes on needs none.

    Raises:
      UserError: it holds no parameters, or none that fit.
    """
    if r.config.init_from is not None and not restore.steps(local_folder(r.config.workdir) / "checkpoints"):
        _matching(r, jax.eval_shape(lambda: first_state(r)).params)


def begin(r: Run, state: TrainState) -> TrainState:
    """Returns the first state with the parameters of --init_from that fit by name and shape, and says which do not."""
    if r.config.init_from is None:
        return state
    taken, left = _matching(r, state.params)
    own = tensors.names_of(state.params)
    shown = f"; not taken: {', '.join(left[:LISTED])}{', ...' * (len(left) > LISTED)}" if left else ""
    print(f"starting from {r.config.init_from}: {len(taken)} of {len(own)} arrays of parameters{shown}")
    leaves = [_placed(taken[name], leaf) if name in taken else leaf for name, leaf in own.items()]
    return state._replace(params=jax.tree.unflatten(jax.tree.structure(state.params), leaves))


def _placed(array: np.ndarray, like: jax.Array) -> jax.Array:
    array = array.astype(like.dtype)
    return jax.make_array_from_callback(like.shape, like.sharding, lambda index: array[index])


def _matching(r: Run, params: Any) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the arrays that fit, and the names of those of this model, or of that one, that find no partner."""
    there, own = _arrays(r.config.init_from), tensors.names_of(params)
    # A sigma that is fixed is that of the flags; and the beta at which a network for all beta is read.
    alone = r.config.prior_stage == "after"
    fixed = r.likelihood.frozen and not alone
    kept = {n for n in own if n.endswith("/eta") or (fixed and n.startswith("likelihood/"))}
    fits = {name for name, leaf in own.items() if name in there and there[name].shape == leaf.shape} - kept
    left = [name for name in {**own, **there} if name not in fits | kept]
    lost = [name for name in own if alone and name not in fits and not name.startswith("model/prior/")]
    if lost:
        raise UserError(
            f"--prior_stage=after learns the prior of the VAE of --init_from={r.config.init_from}, which has no "
            f"{lost[0]} of this shape: give that run's --model, --hidden, --latent_dim, --posterior and likelihood"
        )
    # Biases of one width fit between any two models.
    if not any(name.startswith("model/") and len(own[name].shape) > 1 for name in fits):
        raise UserError(
            f"--init_from={r.config.init_from}: none of its parameters fits this model by name and shape (such as "
            f"{', '.join(left[:LISTED])}); give the same --model, --hidden and --latent_dim"
        )
    return {name: there[name] for name in fits}, left


def _arrays(source: str) -> dict[str, np.ndarray]:
    """Returns the parameters of a run or an export, by their names."""
    folder = Path(os.path.expanduser(source))
    if (folder / tensors.FILE).exists():
        return tensors.read_tensors(folder / tensors.FILE)
    params = restore.read_params(folder / "checkpoints")
    if params is None:
        raise UserError(f"--init_from={source} holds neither a checkpoint of a run nor an export")
    return {name: np.asarray(leaf) for name, leaf in tensors.names_of(params).items()}


def extended(config: Config) -> tuple[Config, bool]:
    """Returns the flags of a run that is to go on past its end, and whether it is one.

    The flags that were not given are the run's own, those among them that its first length had decided.

    Raises:
      UserError: a schedule of the run is not defined past its end, or its patience has ended it.
    """
    path = None if config.workdir is None else local_folder(config.workdir) / "config.json"
    if path is None or not path.is_file():
        return config, False
    try:
        before = read_config(Config, path, "remove it or choose another --workdir")
    except UserError:  # of another binary or damaged: the claim of the folder says so
        return config, False
    if config.num_steps <= before.num_steps:
        return config, False
    results = path.with_name("results.json")
    if results.is_file() and read_object(results, "remove it").get("stopped_early"):
        raise UserError(
            f"--num_steps={config.num_steps}: the run in {config.workdir} was stopped early by --patience="
            f"{before.patience} and is finished; go on in a new --workdir with --init_from={config.workdir}"
        )
    default = type(config)()
    names = [f.name for f in dataclasses.fields(Config) if f.metadata["identity"] and f.name != "num_steps"]
    own = {name: getattr(before, name) for name in names if getattr(config, name) == getattr(default, name)}
    if config.warmup_steps == AUTO:  # a ramp that has begun keeps its length
        own["warmup_steps"] = before.warmup_steps
    if own.get("lr_schedule", config.lr_schedule) == "cosine":
        raise UserError(
            f"--num_steps={config.num_steps}: the run in {config.workdir} was made for {before.num_steps} steps, and "
            f"{STAND_IN_THE_WAY}; go on in a new --workdir with --init_from={config.workdir}, or begin a run that is "
            "to be extended with --lr_schedule=constant"
        )
    own.pop("plugin_sha256", None)
    return dataclasses.replace(config, **own), True
