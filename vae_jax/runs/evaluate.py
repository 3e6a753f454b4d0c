"""A trained run again: more importance samples, the rate taken apart, the inference gaps, or other data."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.data.check import check
from vae_jax.data.dataset import Dataset
from vae_jax.data.rows import first
from vae_jax.evaluation import make_gaps, summarise, summarise_gaps
from vae_jax.evaluation.bounds import calibrated_elbo
from vae_jax.evaluation.disentanglement import SCORES, disentanglement
from vae_jax.randomness import GAPS, PIXELS, TEST, example_keys, purpose_key
from vae_jax.runs import placement
from vae_jax.runs.build import Run, build
from vae_jax.runs.loop import trained
from vae_jax.runs.names import load_dataset
from vae_jax.runs.results import bits_per_dim, make_instruments, rate_parts
from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runs.workdir import visited
from vae_jax.runtime.config import option
from vae_jax.runtime.config import read_config as read_config_file
from vae_jax.runtime.files import write_json
from vae_jax.types import TrainState, UserError
from vae_jax.weighting.multi_rate import at_beta

LEAST_ROWS = 1000  # fewer say little about disentanglement


@dataclasses.dataclass(frozen=True)
class Config:
    """Every flag."""

    workdir: str | None = option(None, "a run that has been trained")
    dataset: str | None = option(None, "other data of the same shape, as for train (default: the run's own)")
    data_dir: str | None = option(None, "where prepared TFDS data sets are")
    plugin: str | None = option(None, "FILE.py that the run was trained with (default: where it was then)")
    beta: float | None = option(None, "where to read a network for all beta (default: as it was trained to be read)")
    split: str = option("test", "which split", ("test", "train"))
    limit: int | None = option(None, "only the first so many examples of it (default: all)")
    iw_samples: int = option(5000, "importance samples of iw_nll; memory does not grow with them", most=10**7)
    active_threshold: float = option(0.01, "a latent is active where its posterior mean varies by more over the data")
    rate_samples: int = option(
        2000, "samples for the parts of the rate, each against the posteriors of the whole split", most=10**7
    )
    gap_examples: int = option(
        50, "examples whose own best posterior is searched for, for the inference gaps; 0 for none"
    )
    seed: int = option(0, "of the evaluation's own noise", most=2**32 - 1)


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
    """A run of --beta_range as the model at ``beta``.

    Raises:
      UserError: it was trained at one beta only, or not at this one.
    """
    found = r.config.beta_range
    if found is None or not found[0] <= beta <= found[1]:
        what = "was trained at one beta" if found is None else f"was trained for beta in {r.config.flags.beta_range}"
        raise UserError(f"--beta={beta:g}: the run in {r.config.workdir} {what}")
    config, choice = dataclasses.replace(r.config, beta=beta), r.choice._replace(beta=beta)
    return r._replace(config=config, choice=choice), state._replace(params=at_beta(state.params, beta))


def other_data(r: Run, name: str, data_dir: str | None) -> Dataset:
    """Data that the run's model can score.

    Raises:
      UserError: its shape or its values are not those that the run was made for.
    """
    if r.is_text:
        raise UserError(f"--dataset={name}: a sequence VAE is evaluated on its own text, whose vocabulary it knows")
    dataset = load_dataset(r.config.names, name, data_dir or r.config.data_dir, placement.held())
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
    for name, least in (("iw_samples", 1), ("limit", 2), ("rate_samples", 2), ("gap_examples", 0)):
        value = getattr(config, name)
        if value is not None and value < least:
            raise UserError(f"--{name}={value} must be at least {least}")
    if not (math.isfinite(config.active_threshold) and config.active_threshold >= 0):
        raise UserError(f"--active_threshold={config.active_threshold} must be at least 0")
    if config.workdir is None:
        raise UserError("--workdir=DIR is needed: a run that has been trained")
    with visited(config.workdir) as path:
        _evaluate(dataclasses.replace(config, workdir=str(path)))


def _evaluate(config: Config) -> None:
    started = time.perf_counter()
    r = build(read_config(config))
    state = trained(r)
    if config.beta is not None:
        r, state = read_at(r, state, config.beta)
    dataset = r.dataset if config.dataset is None else other_data(r, config.dataset, config.data_dir)
    test = config.split == "test"
    rows = first(dataset.test if test else dataset.train, config.limit)
    factors = dataset.test_factors if test else dataset.train_factors
    key = jax.random.fold_in(purpose_key(r.key, TEST), config.seed) if config.seed else purpose_key(r.key, TEST)
    numbers, codes = bounds(r, state, rows, key, config)
    answer: dict[str, Any] = {"step": int(state.step), **numbers}
    if factors is not None and factors.shape[1] > 1 and len(rows) >= LEAST_ROWS:
        subset = f"{dataset.name}, {config.split} split, {len(rows)} examples"
        names = dataset.factor_names
        answer["disentanglement"] = disentanglement(codes, factors[: len(rows)], names, config.seed, subset)
    if config.gap_examples and not r.is_text:  # a search that was not tried on sentences
        answer["gaps"] = gaps(r, state, rows[: config.gap_examples], key)
    answer["protocol"] = (
        f"{dataset.name}, {config.split} split, {len(rows)} examples, pixels {r.config.pixels}, beta = 1, "
        f"{config.iw_samples} importance samples, active units: variance of the posterior mean above "
        f"{config.active_threshold:g}, the rate taken apart with {config.rate_samples} samples against all {len(rows)} "
        f"posteriors, gaps of the first {min(config.gap_examples, len(rows)) if 'gaps' in answer else 0} examples, "
        f"seed {config.seed}"
    )
    answer["seconds"] = time.perf_counter() - started
    write_json(Path(config.workdir) / "evaluation.json", answer)
    print(*said(answer), f"written: {Path(config.workdir) / 'evaluation.json'}", sep="\n")
    if (Path(config.workdir) / "results.json").exists():
        from vae_jax.report import write_report

        print(f"report: {write_report(config.workdir)}")


def bounds(r: Run, state, rows, key, config: Config) -> tuple[dict[str, Any], np.ndarray]:
    """ELBO, its terms, the importance-weighted bound, units, the rate's parts; and the posterior means ``[n, d]``."""
    from tqdm import tqdm

    score = make_instruments(r).scores
    with tqdm(total=len(rows), desc="importance samples", unit=" examples", leave=False, disable=None) as bar:
        scores = score(state.params, placement.on_devices(r.spread, rows), key, config.iw_samples, watch=bar.update)
    found = summarise(scores, r.data_dim, config.active_threshold) | {"iw_samples": config.iw_samples}
    found["bits_per_dim"] = bits_per_dim(r, -found["elbo"])
    if found["bits_per_dim"] is not None:
        found["iw_bits_per_dim"] = bits_per_dim(r, found["iw_nll"])
    if r.config.likelihood == "gaussian":
        found["calibrated_elbo"] = _calibrated(r, found)
    else:
        found["calibration"] = found["sigma"] = found["sigma_at_bound"] = None
    if r.is_text:
        from vae_jax.runs.results import text_numbers

        found |= text_numbers(r, found, rows)
    found["rate_parts"] = rate_parts(scores, key, config.rate_samples)
    return found, scores.posterior_mean


def _calibrated(r: Run, found: dict[str, Any]) -> float | None:
    """The ELBO at the noise of the training error, which results.json holds; None for a run without results."""
    if not (Path(r.config.workdir) / "results.json").exists():
        return None
    from vae_jax.report import load

    train = load(r.config.workdir).results.get("train")
    return None if train is None else calibrated_elbo(found | {"data_dim": r.data_dim, "train": train})


def gaps(r: Run, state, rows, key) -> dict[str, float]:
    """The approximation and the amortisation gap (Cremer 2018, 1801.03558) of a few examples."""
    index = jnp.arange(len(rows))
    x = jax.vmap(r.preprocess)(example_keys(purpose_key(key, PIXELS), index), jnp.asarray(rows))
    return summarise_gaps(make_gaps(r.vae, r.likelihood)(state.params, x, purpose_key(key, GAPS)))


def said(answer: dict[str, Any]) -> list[str]:
    """The numbers in words, with what they may not be taken for."""
    elbo, nll, parts = answer["elbo"], answer["iw_nll"], answer["rate_parts"]
    pieces = ("mutual_information", "total_correlation", "dimension_wise_kl")
    shown = [f"{parts[k]['value']:.3f} +- {parts[k]['error']:.3f}" for k in pieces]
    bits = answer["bits_per_dim"]
    lines = [
        f"elbo {elbo:.4f} = -(rate {answer['rate']:.4f} + distortion {answer['distortion']:.4f}) nats per example",
        f"-log p(x) <= {nll:.4f} nats ({answer['iw_samples']} importance samples)",
        (f"mse {answer['mse']:.6g}" if answer["mse"] is not None else f"perplexity {answer['perplexity']:.4f}")
        + f", {answer['active_units']} active units"
        + ("" if bits is None else f", {bits:.4f} bits per dimension ({answer['iw_bits_per_dim']:.4f} by iw_nll)"),
        f"rate, taken apart: mutual information {shown[0]}, total correlation {shown[1]}, dimension-wise KL {shown[2]}",
    ]
    if parts["mutual_information"]["value"] > 0.9 * parts["cap"]:
        lines.append(
            f"  the mutual information is at its cap, log N = {parts['cap']:.3f}: these posteriors hardly overlap, so "
            "it says how many examples there are, and the total correlation is not entanglement"
        )
    if "gaps" in answer:
        g = answer["gaps"]
        lines.append(
            f"inference gaps: approximation {g['approximation_gap']:.3f} +- {g['approximation_gap_error']:.3f}, "
            f"amortisation {g['amortisation_gap']:.3f} +- {g['amortisation_gap_error']:.3f} nats (at least "
            f"{g['effective_samples']:.0f} effective samples)"
        )
    if "disentanglement" in answer:
        d = answer["disentanglement"]
        scores = ", ".join(f"{name} {d[name]:.3f}" for name in SCORES if d[name] is not None)
        lines += [f"disentanglement: {scores}", f"  {d['protocol']}", *(f"  {line}" for line in d["left_out"])]
    return lines
