"""A trained run again: more importance samples, the rate taken apart, the inference gaps, or other data."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.data.check import check
from vae_jax.data.conditions import joined, with_condition
from vae_jax.data.dataset import Dataset
from vae_jax.data.ranges import unlike
from vae_jax.data.reading import Reading
from vae_jax.data.rows import first
from vae_jax.data.splits import WHOLE
from vae_jax.evaluation import make_gaps, summarise_gaps
from vae_jax.evaluation.bounds import calibrated_elbo, model_mse
from vae_jax.randomness import GAPS, PIXELS, TEST, example_keys, purpose_key
from vae_jax.runs import annealing, known_data, placement
from vae_jax.runs.build import Material, Run, build
from vae_jax.runs.code_numbers import factor_scores, rate_parts
from vae_jax.runs.evaluate_flags import Config
from vae_jax.runs.evaluation_words import in_words
from vae_jax.runs.flag_words import noted_flags
from vae_jax.runs.loop import trained
from vae_jax.runs.names import load_dataset, names_of
from vae_jax.runs.results import (
    bits_per_dim,
    make_instruments,
    refuse_infinite,
    summarise_split,
)
from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runs.workdir import existing_workdir
from vae_jax.runtime.config import check_values
from vae_jax.runtime.config import read_config as read_config_file
from vae_jax.runtime.files import read_object, write_json
from vae_jax.traced import one_by_one
from vae_jax.types import TrainState, UserError, printable
from vae_jax.weighting.multi_rate import at_beta


class Split(NamedTuple):
    """What is evaluated: the examples, their factors (or None), and whose they are, in words."""

    dataset: Dataset
    rows: Any
    factors: np.ndarray | None
    description: str


def main(config: Config) -> None:
    """Evaluates, writes evaluation.json, prints it and draws the report again."""
    check_values(config)
    if config.workdir is None:
        raise UserError("--workdir=DIR is needed: a run that has been trained")
    with existing_workdir(config.workdir) as folder:
        answer = evaluate(dataclasses.replace(config, workdir=str(folder)))
        write_json(folder / "evaluation.json", answer)
        annealing.forget(folder)
        print(*map(printable, in_words(answer)), f"written: {folder / 'evaluation.json'}", sep="\n")
        if (folder / "results.json").exists():
            from vae_jax.report import write_report

            noted = noted_flags(read_object(folder / "config.json", "train again"))
            print(f"report: {write_report(folder, noted)}")


def evaluate(config: Config) -> dict[str, Any]:
    """Returns what evaluation.json holds."""
    started = time.perf_counter()
    plan = None if config.ais is None else annealing.parse_plan(config.ais)
    (r, has_data), path = _run_of(config), Path(config.workdir) / "results.json"
    if plan is not None:
        annealing.check(r.config)
    measured = read_object(path, "train writes it anew once it is removed") if path.exists() else {}
    state = trained(r, has_data)
    if config.beta is not None:
        r, state = read_at(r, state, config.beta)
    split = choose_split(r, config if has_data else dataclasses.replace(config, dataset=None))
    key = purpose_key(r.key, TEST)
    if config.seed:
        key = jax.random.fold_in(key, config.seed)
    scores = _score(r, state, split.rows, key, config.iw_samples)
    answer = {"step": int(state.step), "iw_samples": config.iw_samples}
    answer |= summarise_split(r, scores, split.rows, config.active_threshold)
    refuse_infinite(answer, "and nothing of the run was changed")
    if answer["bits_per_dim"] is not None:
        answer["iw_bits_per_dim"] = bits_per_dim(r, answer["iw_nll"], answer.get("counted_dim"))
    if r.config.likelihood == "gaussian":
        # At the noise of the training error, where train has measured it.
        known = answer | {"data_dim": r.data_dim, "train": measured.get("train")}
        mse = model_mse(known["train"]) if isinstance(known["train"], dict) else None
        answer["calibrated_elbo"] = calibrated_elbo(known) if isinstance(mse, float) and mse > 0 else None
    answer["rate_parts"] = rate_parts(r, state.params, scores, key, config.rate_samples)
    names = split.dataset.factor_names
    disentangled = factor_scores([scores.posterior_mean], [split.factors], names, config.seed, split.description)
    if disentangled is not None:
        answer["disentanglement"] = disentangled
    # The search for the best posterior was not tried on sentences, and it is among diagonal Gaussians.
    if config.gap_examples and not r.is_text and r.vae.diagonal:
        answer["gaps"] = gaps(r, state, split.rows[: config.gap_examples], key)
    if plan is not None:
        answer["annealed"] = _annealed(r, state, split.rows[: config.examples], scores, key, plan)
    answer["protocol"] = _protocol(r, config, split, "gaps" in answer)
    return answer | {"seconds": time.perf_counter() - started}


def _run_of(config: Config) -> tuple[Run, bool]:
    """Returns the run, and whether its own data are here; where they are gone, other data may stand in their place."""
    flags, path = read_config(config), Path(config.workdir) / known_data.FILE
    try:
        r = build(flags)
    except UserError:
        if config.dataset is None or not path.exists():
            raise
        known = known_data.read(path)
        names = names_of(flags)
        reading = Reading.of(flags, placement.bytes_held(), whole=True).as_of(joined(known.table, known.condition))
        other = with_condition(load_dataset(names, config.dataset, reading), flags.condition, known.condition)
        _check_alike(config.dataset, other, known)
        flags = dataclasses.replace(flags, placement="auto")
        return build(flags, Material(other, np.asarray(known.spectrum), stands_in=True)), False
    if not path.exists():  # a run from before there was such a file
        known_data.keep(Path(config.workdir), r)
    return r, True


def read_config(config: Config) -> TrainConfig:
    """Reads the configuration of the trained run in ``config.workdir``, with the places that ``config`` gives anew.

    Raises:
      UserError: there is none, or it is not what train writes.
    """
    path = Path(config.workdir) / "config.json"
    if not os.path.exists(path):
        raise UserError(f"--workdir={config.workdir} holds no run: there is no config.json; train it first")
    trained_with = read_config_file(TrainConfig, path, "--workdir must be a run that train made")
    anew = {name: getattr(config, name) for name in ("data_dir", "plugin") if getattr(config, name) is not None}
    return dataclasses.replace(trained_with, workdir=config.workdir, **anew)


def read_at(r: Run, state: TrainState, beta: float) -> tuple[Run, TrainState]:
    """Returns a run of --beta_range as the model at ``beta``.

    Raises:
      UserError: it was trained at one beta only, or not at this one.
    """
    ends = r.config.beta_range
    if ends is None or not ends[0] <= beta <= ends[1]:
        what = "was trained at one beta" if ends is None else f"was trained for beta in {r.config.flags.beta_range}"
        raise UserError(f"--beta={beta:g}: the run in {r.config.workdir} {what}")
    config, choice = dataclasses.replace(r.config, beta=beta), r.choice._replace(beta=beta)
    return r._replace(config=config, choice=choice), state._replace(params=at_beta(state.params, beta))


def choose_split(r: Run, config: Config) -> Split:
    """Returns the examples that the flags name.

    Raises:
      UserError: they are other data, which the model cannot score, or there is no such split.
    """
    dataset = r.dataset if config.dataset is None else _other_data(r, config.dataset, config.data_dir)
    if getattr(dataset, config.split) is None:
        raise UserError(f"--split={config.split}: {dataset.name} has none here; evaluate train or test")
    rows = first(dataset.split(config.split), config.limit)
    factors = getattr(dataset, f"{config.split}_factors")
    part = "all of it" if WHOLE in dataset.notes else f"{config.split} split"
    return Split(dataset, rows, factors, f"{dataset.name}, {part}, {len(rows)} examples")


def _other_data(r: Run, name: str, data_dir: str | None) -> Dataset:
    if r.is_text:
        raise UserError(f"--dataset={name}: a sequence VAE is evaluated on its own text, whose vocabulary it knows")
    reading = Reading.of(r.config.flags, placement.bytes_held(), whole=True).as_of(
        joined(r.dataset.table, r.dataset.condition)
    )
    reading = reading._replace(data_dir=data_dir or reading.data_dir)
    dataset = load_dataset(r.config.names, name, reading)
    dataset = with_condition(dataset, r.config.flags.condition, r.dataset.condition)
    _check_alike(name, dataset, r.dataset)
    said = check(dataset, r.config.pixels, r.config.likelihood, r.likelihood.support, r.config.soft_targets)
    for line in (*dataset.notes, *(line for line in said if line not in r.warnings), *unlike(dataset, r.dataset)):
        print(f"warning: {line}", file=sys.stderr)
    return dataset


def _check_alike(name: str, dataset: Dataset, known: Dataset | known_data.KnownData) -> None:
    if dataset.event != known.event or dataset.levels != known.levels:
        shape = "x".join(map(str, known.event))
        raise UserError(
            f"--dataset={name} has examples of shape {'x'.join(map(str, dataset.event))} and {dataset.levels} levels, "
            f"the run was trained on {shape} and {known.levels}"
        )


def _score(r: Run, state: TrainState, rows, key, iw_samples: int):
    from tqdm import tqdm

    score = make_instruments(r).scores
    with tqdm(total=len(rows), desc="importance samples", unit=" examples", leave=False, disable=None) as bar:
        return score(state.params, placement.on_devices(r.spread, rows), key, iw_samples, watch=bar.update)


def gaps(r: Run, state: TrainState, rows, key) -> dict[str, float]:
    """Returns the approximation and the amortisation gap (Cremer 2018, 1801.03558) of a few examples."""
    return summarise_gaps(make_gaps(r.vae, r.likelihood)(state.params, seen(r, rows, key), purpose_key(key, GAPS)))


def seen(r: Run, rows, key) -> jax.Array:
    """Returns examples as the model sees them, ``[n, *event]``."""

    def view(raw, key):
        return jax.vmap(r.preprocess)(example_keys(purpose_key(key, PIXELS), jnp.arange(len(rows))), raw)

    return one_by_one(view)(jax.tree.map(np.asarray, rows), key)


def _annealed(r: Run, state: TrainState, rows, scores, key, plan: annealing.Plan) -> dict[str, Any]:
    """Returns the bracket of annealed chains, beside the two bounds of the same examples."""
    x, n = jax.tree.map(np.asarray, seen(r, rows, key)), len(rows)
    found = annealing.annealed(r, state.params, x, plan, Path(r.config.workdir))
    elbo = -np.mean(np.asarray(scores.rate[:n], np.float64) + scores.distortion[:n])
    bounds = {"elbo": float(elbo), "iw_log_px": -float(np.mean(scores.iw_nll[:n], dtype=np.float64))}
    return bounds | found | {"inference_gap": found["log_px"] - bounds["elbo"]}


def _protocol(r: Run, config: Config, split: Split, has_gaps: bool) -> str:
    """Returns what the numbers are of, in a sentence."""
    n = len(split.rows)
    return (
        f"{split.description}, pixels {r.config.pixels}, beta = 1, {config.iw_samples} importance samples, active "
        f"units: variance of the posterior mean above {config.active_threshold:g}, the rate taken apart with "
        f"{config.rate_samples} samples against all {n} posteriors, gaps of the first "
        f"{min(config.gap_examples, n) if has_gaps else 0} examples, seed {config.seed}"
    )
