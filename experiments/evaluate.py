"""A trained run again: more importance samples, the rate taken apart, the inference gaps, or other data.

    python -m experiments.evaluate --workdir=runs/digits                      5,000 importance samples, about a minute
    python -m experiments.evaluate --workdir=runs/digits --dataset=FILE.npz   the same model on other test data

Writes evaluation.json beside the run's results.json, which stays what training left.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import jax

from experiments import train as choices
from experiments.build import Run, build
from experiments.run import trained
from vae_jax import data
from vae_jax.config import launch, option, write_json
from vae_jax.data.check import check
from vae_jax.data.dataset import Dataset
from vae_jax.evaluation import make_scorer, summarise
from vae_jax.randomness import TEST, purpose_key
from vae_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class Config:
    """Every flag."""

    workdir: str | None = option(None, "a run that has been trained")
    dataset: str | None = option(None, "other data of the same shape, as for train (default: the run's own)")
    data_dir: str | None = option(None, "where prepared TFDS data sets are")
    split: str = option("test", "which split", ("test", "train"))
    limit: int | None = option(None, "only the first so many examples of it (default: all)")
    iw_samples: int = option(5000, "importance samples of iw_nll; memory does not grow with them")
    active_threshold: float = option(0.01, "a latent is active where its posterior mean varies by more over the data")
    seed: int = option(0, "of the evaluation's own noise")


def read_config(workdir: str | None, data_dir: str | None) -> choices.Config:
    """The configuration of a trained run.

    Raises:
      UserError: there is none, or it is not readable.
    """
    if workdir is None:
        raise UserError("--workdir=DIR is needed: a run that has been trained")
    path = Path(workdir) / "config.json"
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"--workdir={workdir} holds no run: there is no config.json; train it first") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error})") from None
    known = {f.name for f in dataclasses.fields(choices.Config)}
    unknown = sorted(set(found) - known)
    if unknown:
        raise UserError(f"{path} is of another version: it has {', '.join(unknown)}, which train does not know")
    found |= {"workdir": workdir} | ({} if data_dir is None else {"data_dir": data_dir})
    return choices.Config(**found)


def other_data(r: Run, name: str, data_dir: str | None) -> Dataset:
    """Data that the run's model can score.

    Raises:
      UserError: its shape or its values are not those that the run was made for.
    """
    dataset = data.load(name, data_dir or r.config.data_dir)
    if dataset.event != r.dataset.event or dataset.levels != r.dataset.levels:
        shape = "x".join(map(str, r.dataset.event))
        raise UserError(
            f"--dataset={name} has examples of shape {'x'.join(map(str, dataset.event))} and {dataset.levels} levels, "
            f"the run was trained on {shape} and {r.dataset.levels}"
        )
    check(dataset, r.config.pixels, r.config.likelihood, r.likelihood.support, r.config.soft_targets)
    return dataset


def main(config: Config) -> None:
    """Evaluates, writes evaluation.json and prints it."""
    started = time.perf_counter()
    for name in ("iw_samples", "limit"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise UserError(f"--{name}={value} must be at least 1")
    if not (math.isfinite(config.active_threshold) and config.active_threshold >= 0):
        raise UserError(f"--active_threshold={config.active_threshold} must be at least 0")
    ready, _ = choices.resolve(read_config(config.workdir, config.data_dir))
    r = build(ready, [])
    state = trained(r)
    dataset = r.dataset if config.dataset is None else other_data(r, config.dataset, config.data_dir)
    rows = dataset.test if config.split == "test" else dataset.train
    answer: dict[str, Any] = bounds(r, state, rows[: config.limit], config)
    answer |= {
        "step": int(state.step),
        "protocol": (
            f"{dataset.name}, {config.split} split, {len(rows[: config.limit])} examples, pixels {r.config.pixels}, "
            f"beta = 1, {config.iw_samples} importance samples, active units: variance of the posterior mean above "
            f"{config.active_threshold:g}, seed {config.seed}"
        ),
        "seconds": time.perf_counter() - started,
    }
    write_json(Path(config.workdir) / "evaluation.json", answer)
    for key in ("elbo", "rate", "distortion", "iw_nll", "mse", "active_units"):
        print(f"{key:14s} {answer[key]:.6g}")
    print(f"written: {Path(config.workdir) / 'evaluation.json'}")


def bounds(r: Run, state, rows, config: Config) -> dict[str, Any]:
    """ELBO, its terms, the importance-weighted bound and the units, over all ``rows``."""
    at_once = max(16, min(250, 200_000 // r.data_dim))
    score = make_scorer(r.vae, r.likelihood, r.preprocess, at_once, r.spread.shard, r.spread.devices)
    key = jax.random.fold_in(purpose_key(r.key, TEST), config.seed) if config.seed else purpose_key(r.key, TEST)
    scores = score(state.params, r.spread.place(rows), key, config.iw_samples)
    return summarise(scores, r.data_dim, config.active_threshold) | {"iw_samples": config.iw_samples}


if __name__ == "__main__":
    launch(main, Config)
