"""The flags of a sweep: those of ``train``, which may be lists, and its own."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runtime.config import option

# Flags of ``train`` that all runs share; the others may be lists.
SHARED = (
    "dataset",
    "data_dir",
    # The data are read once for all runs.
    "validation",
    "test",
    "image_size",
    "fit",
    "alpha",
    "layout",
    "standardise",
    "condition",
    "plugin",
    "soft_targets",
    "columns",
    "iw_samples",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "deterministic",
    "coordinator",
    "num_processes",
    "process_id",
)
# Flags of ``train`` that mean nothing here: devices are the sweep's to use, and a sweep's program is not a run's.
LEFT_OUT = (
    "workdir",
    "parallel",
    "keep_checkpoints",
    "beta_range",
    "shard_params",
    "placement",
    "order",
    "profile",
    "init_from",
    "tracker",
    "plugin_sha256",
    "constants",
    "count_means",
    "missing",
)
METHODS = ("separate", "multi_rate", "both")
GOALS = ("elbo", "rate", "mig", "dci")  # as in report.sweep.goal
OWN = {
    "workdir": (str, option("runs/sweep", "where the sweep lives", identity=False)),
    # A curve from one network may be added to a sweep that is there: it is not part of what the sweep is.
    "method": (str, option("separate", "a network for each beta, one for all (Bae 2022), or both", METHODS, False)),
    # What is read from the runs, which does not change them.
    "goal": (str, option("elbo", "what beta is for; a rate, --target_kl", GOALS, False)),
    "random_runs": (int | None, option(None, "draw so many settings instead of taking all combinations", least=1)),
    "search_seed": (int, option(0, "of that draw", least=0)),
    "halving": (bool, option(False, "stop dominated runs on the way (successive halving)")),
    "halving_at": (str, option("0.25,0.5", "after which shares of the steps")),
    "halving_keep": (
        float,
        option(0.5, "the least share of the runs that goes on each time", above=0, below=1),
    ),
    "max_runs_per_program": (
        int | None,
        option(None, "default: what the devices' memory holds", identity=False, least=1),
    ),
    "side_by_side": (
        int | None,
        option(None, "runs computed at once (default: 1 on a CPU, else all)", identity=False, least=1),
    ),
}


def _listed(field: dataclasses.Field) -> dataclasses.Field:
    """Returns the same flag as text, so that it can be a list; not given, ``train`` decides."""
    meta = field.metadata
    return option(
        None, f"{meta['help']}; may be a list or a range", meta["choices"], extensible=True, shown=field.default
    )


def _fields() -> list[tuple[str, Any, dataclasses.Field]]:
    kinds, fields = typing.get_type_hints(TrainConfig), [(name, *rest) for name, rest in OWN.items()]
    for f in dataclasses.fields(TrainConfig):
        if f.name in SHARED:
            # Rows that are compared are measured alike.
            identity = {"identity": True} if f.name == "iw_samples" else {}
            fields.append((f.name, kinds[f.name], option(f.default, **f.metadata | identity)))
        elif f.name not in LEFT_OUT:
            fields.append((f.name, str | None, _listed(f)))
    return fields


_WHY = {
    "init_from": "every run of a sweep begins with its own seed's parameters; train takes those of a run",
    "tracker": "no tracker follows a sweep, which leaves sweep.jsonl and metrics.jsonl of every run; train has it",
    "beta_range": "--method=multi_rate trains one network for all --beta=...",
}
WORDS = TrainConfig.WORDS._replace(
    groups={"sweep": tuple(OWN)}
    | {name: tuple(f for f in flags if f not in OWN) for name, flags in TrainConfig.WORDS.groups.items()},
    instead=TrainConfig.WORDS.instead | dict.fromkeys(LEFT_OUT, "a sweep decides it for its runs; train has it") | _WHY,
    left_out={name: name in ("beta_range", "init_from") for name in LEFT_OUT},
)
Config = dataclasses.make_dataclass("Config", _fields(), frozen=True, namespace={"WORDS": WORDS})
Config.__doc__ = "Every flag: those of ``train``, as text where they may be lists, and the sweep's own."


def given_lists(config: Any) -> dict[str, str]:
    """Returns the flags that were given and may be lists, name -> text."""
    return {k: v for k, v in dataclasses.asdict(config).items() if k not in (*OWN, *SHARED) and v is not None}


def shared(config: Any) -> dict[str, Any]:
    """Returns the flags of ``train`` that all runs share, name -> value."""
    return {name: getattr(config, name) for name in SHARED}
