"""The flags of a sweep: those of ``train``, which may be lists, and its own."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runs.sweep.halving import stops
from vae_jax.runtime.config import option
from vae_jax.types import UserError

# Flags of ``train`` that all runs share; the others may be lists.
SHARED = (
    "dataset",
    "data_dir",
    "plugin",
    "soft_targets",
    "columns",
    "iw_samples",
    "log_every",
    "checkpoint_every",
    "deterministic",
    "coordinator",
    "num_processes",
    "process_id",
)
# Flags of ``train`` that mean nothing here: devices are the sweep's to use, and the test split is scored at the end.
LEFT_OUT = ("workdir", "parallel", "eval_every", "keep_checkpoints", "beta_range", "shard_params", "placement", "order")
LEFT_OUT += ("profile", "plugin_sha256")  # a sweep's program is not a run's


def _swept(field: dataclasses.Field) -> tuple[str, Any, dataclasses.Field]:
    """The same flag as text, so that it can be a list; not given, ``train`` decides."""
    meta = field.metadata
    names = f" ({' | '.join(meta['choices'])})" if meta["choices"] else ""
    default = "" if field.default is None else f"; default: {field.default}"
    return field.name, str | None, option(None, f"{meta['help']}{names}{default}; may be a list or a range")


def _fields() -> list[tuple[str, Any, dataclasses.Field]]:
    hints = typing.get_type_hints(TrainConfig)
    found = []
    for f in dataclasses.fields(TrainConfig):
        if f.name in LEFT_OUT:
            continue
        if f.name in SHARED:
            found.append((f.name, hints[f.name], option(f.default, **f.metadata)))
        else:
            found.append(_swept(f))
    return found


METHODS = ("separate", "multi_rate", "both")
_OWN = [
    ("workdir", str, option("runs/sweep", "where the sweep lives", identity=False)),
    # A curve from one network may be added to a sweep that is there: it is not part of what the sweep is.
    ("method", str, option("separate", "a network for each beta, one for all (Bae 2022), or both", METHODS, False)),
    ("random_runs", int | None, option(None, "draw so many settings instead of taking all combinations")),
    ("search_seed", int, option(0, "of that draw")),
    ("halving", bool, option(False, "stop dominated runs on the way (successive halving)")),
    ("halving_at", str, option("0.25,0.5", "after which shares of the steps")),
    ("halving_keep", float, option(0.5, "the least share of the runs that goes on each time")),
    ("max_runs_per_program", int | None, option(None, "default: what the devices' memory holds", identity=False)),
    ("side_by_side", int | None, option(None, "runs computed at once (default: 1 on a CPU, else all)", identity=False)),
]

Config = dataclasses.make_dataclass("Config", [*_OWN, *_fields()], frozen=True)
Config.__doc__ = "Every flag: those of ``train``, as text where they may be lists, and the sweep's own."


def asked(config) -> dict[str, str]:
    """The flags that were given and may be lists, name -> text."""
    single = {name for name, *_ in _OWN} | set(SHARED)
    return {k: v for k, v in dataclasses.asdict(config).items() if k not in single and v is not None}


def check(config) -> None:
    """Refuses flags of the sweep itself that cannot be.

    Raises:
      UserError: naming the flag.
    """
    for name in ("random_runs", "max_runs_per_program", "side_by_side", "log_every", "checkpoint_every", "iw_samples"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise UserError(f"--{name}={value} must be at least 1")
    if config.search_seed < 0:
        raise UserError(f"--search_seed={config.search_seed} must be at least 0")
    stops(config.halving_at, 100)
    if not 0 < config.halving_keep < 1:
        raise UserError(f"--halving_keep={config.halving_keep} must be between 0 and 1: the least share that goes on")


def main(config) -> None:
    """Trains, or continues, measures and reports a sweep."""
    check(config)
    from vae_jax.devices.cluster import join
    from vae_jax.runs.sweep.execution import run

    config = join(config)
    run(config, asked(config), {name: getattr(config, name) for name in SHARED})
