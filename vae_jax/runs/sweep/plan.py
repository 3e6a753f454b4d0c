"""From settings to programs: runs whose configurations differ in numbers only are trained together."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vae_jax.devices.memory import state_bytes, total
from vae_jax.devices.parallel import Parallel
from vae_jax.report.formatting import program
from vae_jax.runs import placement
from vae_jax.runs.build import Material, Run, build, first_state, material, training_chunk
from vae_jax.runs.settings import Config, flat
from vae_jax.runs.sweep.grid import run_name
from vae_jax.types import UserError

# What a compiled program takes as an argument. Every other flag changes shapes, code or the data.
TRACED = (
    "beta",
    "beta_norm",
    "sigma",
    "learning_rate",
    "clip_norm",
    "warmup_steps",
    "cycles",
    "ratio",
    "target_kl",
    "target_distortion",
    "free_nats",
    "beta_min",
    "beta_max",
    "kp",
    "ki",
    "geco_rate",
    "geco_decay",
    "gamma",
)
_NOISY = ("sampled", "dequantised")  # pixels whose spectrum depends on the seed


class Job(NamedTuple):
    """One run of a sweep: the folder it will have, the flags in which it differs, and its pieces."""

    name: str
    swept: dict[str, Any]
    run: Run

    @property
    def workdir(self) -> Path:
        """Where the trained run lives, as if ``train`` had made it."""
        return Path(self.run.config.workdir)


class Program(NamedTuple):
    """Runs that are trained together, and the folder of their common checkpoints."""

    folder: Path
    jobs: list[Job]

    @property
    def first(self) -> Run:
        """The run that stands for all: what is not a number is the same."""
        return self.jobs[0].run

    def numbers(self) -> dict[str, np.ndarray]:
        """Returns what differs between the runs, name -> ``[r]``, float32 or int32."""
        numbers = {}
        for name in traced_names(self.first.config):
            values = [getattr(job.run.config, name) for job in self.jobs]
            if values[0] is not None and len(set(values)) > 1:
                numbers[name] = np.asarray(values, np.int32 if isinstance(values[0], int) else np.float32)
        return numbers

    def keys(self) -> jax.Array:
        """Returns the runs' keys, ``[r]``."""
        return jax.numpy.stack([job.run.key for job in self.jobs])


def traced_names(config) -> tuple[str, ...]:
    """Returns the flags that may differ inside a program of this configuration."""
    # A predicted sigma is measured from its start by the decoder, which evaluation compiles in.
    return tuple(name for name in TRACED if not (name == "sigma" and config.precision == "predicted"))


def make_jobs(
    settings: list[dict[str, Any]], swept: list[str], shared: dict[str, Any], root: Path, spread: Parallel
) -> tuple[list[Job], list[str]]:
    """Makes the pieces of every run, its data read once; and returns the warnings, each once.

    Args:
      settings: the flags of each run, from ``grid.expand``.
      swept: the names among them that differ.
      shared: the flags that all runs share.
      root: the sweep's workdir.
      spread: how evaluation uses the devices.

    Raises:
      UserError: a run cannot be; its name is in the message where there are several.
    """
    jobs, warned, read = [], {}, {}
    for setting in settings:
        name = run_name(setting, swept)
        try:
            config = Config(**shared | setting, workdir=str(root / "runs" / name))
            r = build(config, _material(config, read), spread)
        except UserError as error:
            raise UserError(f"{error} (the run {name})" if len(settings) > 1 else str(error)) from None
        for warning in r.warnings:
            warned.setdefault(warning, []).append(name)
        jobs.append(Job(name, {key: setting[key] for key in swept}, r))
    return jobs, [_with_names(warning, names, len(jobs)) for warning, names in warned.items()]


def _with_names(warning: str, names: list[str], total: int) -> str:
    if len(names) == total:
        return warning
    return f"{warning} ({names[0]}" + (f" and {len(names) - 1} other runs)" if len(names) > 1 else ")")


def _material(config, read: dict[Any, Material]) -> Material:
    """Returns the data of a configuration, each read once."""
    for key, one in read.items():
        if key == _material_key(config, one.dataset):
            return one
    known = next((one.dataset for one in read.values() if one.dataset.levels is not None), None)
    made = material(config, known, placement.bytes_held())
    if placement.layout(config, made.dataset) != "whole":
        size = made.dataset.train.nbytes / 1e9
        raise UserError(
            f"--dataset={config.dataset}: a sweep holds its training data on each device, and these are {size:.3g} "
            f"GB; train the runs one by one, {program('train')} streams them"
        )
    read[_material_key(config, made.dataset)] = made
    return made


def _material_key(config, dataset) -> tuple:
    """Returns what decides the data of a configuration and their spectrum, among the flags that runs differ in."""
    # The eigenvalues of noisy pixels are those of the run's own seed, as ``train`` has them.
    key = (config.pixels, config.seed if config.pixels in _NOISY else None)
    # In which units floats are learned is a matter of their family.
    return key if dataset.levels is not None else (*key, config.likelihood, config.columns, config.standardise)


def make_programs(jobs: list[Job], root: Path, most: int | None) -> list[Program]:
    """Groups the runs, and cuts groups of more than ``most`` runs into parts of about equal size.

    Args:
      jobs: all runs.
      root: the sweep's workdir.
      most: the largest number of runs of a program; None for what fits into the device's memory.
    """
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(_shape(job.run.config), []).append(job)
    programs = []
    for group in groups.values():
        limit = most or runs_that_fit(group[0].run)
        for part in np.array_split(np.arange(len(group)), -(-len(group) // limit)):
            members = [group[i] for i in part]
            # Named by its runs: a sweep that is cut otherwise the next time finds no checkpoint, instead of another's.
            digest = hashlib.sha256("\n".join(job.name for job in members).encode()).hexdigest()[:12]
            programs.append(Program(root / "programs" / digest, members))
    return programs


def _shape(config) -> str:
    """Returns all that a compiled program of this configuration depends on: of a traced number whether there is one."""
    fields, names = flat(config.flags), traced_names(config)
    fields = {k: (v is None if k in names else v) for k, v in fields.items() if k not in ("workdir", "seed")}
    return repr(sorted(fields.items()))


def runs_that_fit(r: Run) -> int:
    """Returns how many runs fit into the memory of all devices, beside the data.

    A run needs its state three times (before and after a chunk, and while it is saved) and, where runs go side by side,
    its gradients and what the step keeps for them.
    """
    devices = jax.devices()
    needed = 3 * state_bytes(jax.eval_shape(lambda: first_state(r)))
    if devices[0].platform != "cpu":
        needed += _scratch(r)
    # Not what is free just now: a sweep that goes on must be cut as it was. Of a CPU's, others have their half.
    whole = total(devices[0]) * (0.5 if devices[0].platform == "cpu" else 1.0)
    return max(1, int(len(devices) * (0.8 * whole - r.dataset.train.nbytes) / needed))


def _scratch(r: Run) -> int:
    """Returns what one update of one run keeps while it works, in bytes, as the compiler says."""
    chunk = training_chunk(r, lambda tree: tree, lambda rows: (rows, jax.numpy.arange(rows.shape[0])))
    state = jax.eval_shape(lambda: first_state(r))
    data = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), r.dataset.split("train"))
    compiled = jax.jit(chunk, static_argnums=2).lower(state, data, 1).compile()
    analysis = compiled.memory_analysis()
    return 0 if analysis is None else int(analysis.temp_size_in_bytes)
