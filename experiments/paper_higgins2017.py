"""What a heavier KL weight does to the code: a beta-VAE measured against known factors (Higgins 2017).

    python -m experiments.paper_higgins2017 --workdir=runs/higgins2017          the embedded `sprites`
    python -m experiments.paper_higgins2017 --workdir=runs/higgins2017_subgrid --dataset=dsprites_downsampled.npz

Three to seven minutes a seed with 46,080 images on two busy CPU cores. The second form takes a file in dSprites' layout
(arrays ``imgs`` and ``latents_classes``), such as a published sub-grid of it; it also takes FILE.npz as ``train`` does,
with factors. A fixed tenth of the images is held out of the training; the scores are taken over the codes of all
images, the means of q(z|x). A sub-grid is not the data set of the paper, and these are fully connected networks trained
for minutes: the numbers are labelled so, and stand beside published ones as an illustration only. Stopped, it goes on
where it was.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from experiments import train as choices
from experiments.build import build, material
from experiments.run import run, trained
from vae_jax.config import launch, option, write_json
from vae_jax.data.split import held_out
from vae_jax.evaluation import make_scorer
from vae_jax.evaluation.disentanglement import SCORES, disentanglement
from vae_jax.randomness import TEST, TRAIN, purpose_key
from vae_jax.types import UserError

DSPRITES = ("shape", "scale", "orientation", "x", "y")  # the columns of latents_classes
WHOLE = 737_280  # images of the whole of dSprites; what has fewer is a sub-grid, and is called so


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags that all runs share."""

    workdir: str = option("runs/higgins2017", "where the runs and the table live", identity=False)
    dataset: str = option("sprites", "sprites | a file in the layout of dSprites | another set with factors")
    label: str | None = option(
        None, "what the numbers are of (default: its name; 'dSprites sub-grid' for a part of it)"
    )
    beta: float = option(4.0, "the KL weight, of nats summed over pixels and latents")
    num_steps: int = option(4000, "updates of each run")
    batch_size: int = option(128, "examples per update")
    learning_rate: float = option(1e-3, "Adam's, at its highest")
    seeds: int = option(3, "how many seeds, from 0 on")
    latent_dim: int = option(10, "the number of latents")
    hidden: str = option("512,512", "widths of the hidden layers")
    iw_samples: int = option(8, "importance samples of each run's iw_nll")


def as_train_reads_it(path: str, workdir: Path) -> str:
    """A file in the layout of dSprites, written once more into ``workdir`` in the layout that ``train`` reads.

    Returns:
      The path of that file; ``path`` itself where it has another layout.
    """
    if not zipfile.is_zipfile(path):  # missing or damaged: reading it as ``train`` does says what is wrong
        return path
    target = workdir / f"{Path(path).stem}_{zlib.crc32(Path(path).read_bytes()):08x}.npz"
    with np.load(path, allow_pickle=False) as arrays:
        if not {"imgs", "latents_classes"} <= set(arrays.files):
            return path
        if target.exists():
            return str(target)
        images, factors = arrays["imgs"], arrays["latents_classes"].astype(np.int32)
    kept, out = held_out(len(images), len(images) // 10)
    workdir.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"partial_{target.name}")
    np.savez_compressed(
        temporary, train=images[kept], test=images[out], train_factors=factors[kept], test_factors=factors[out]
    )
    temporary.replace(target)
    return str(target)


def codes_of(r) -> np.ndarray:
    """The posterior means of all examples of both splits, ``[n, d]``, train first."""
    state = trained(r)
    scores = make_scorer(r.vae, r.likelihood, r.preprocess, 250, r.spread.shard, r.spread.devices)
    splits = ((r.dataset.train, TRAIN), (r.dataset.test, TEST))
    means = [scores(state.params, r.spread.place(x), purpose_key(r.key, p)).posterior_mean for x, p in splits]
    return np.concatenate(means)


def spread_of(rows: list[dict]) -> dict[str, dict]:
    """Mean, sample standard deviation (null for one seed), least and greatest of each score over the seeds."""
    found = {}
    for name in (*SCORES, "elbo", "rate", "distortion", "active_units"):
        values = np.array([row[name] for row in rows if row[name] is not None], np.float64)
        if len(values):
            std = float(values.std(ddof=1)) if len(values) > 1 else None
            found[name] = {"mean": float(values.mean()), "std": std, "min": values.min(), "max": values.max()}
    return found


def lines_of(table: dict) -> list[str]:
    """The table as lines of text."""
    lines = [f"{table['label']}: beta = {table['beta']:g}, {len(table['rows'])} seeds, {table['num_steps']} steps"]
    lines += ["", "| score | mean | std over seeds | min | max |", "|---|---|---|---|---|"]
    for name, s in table["spread"].items():
        std = "one seed" if s["std"] is None else f"{s['std']:.4f}"
        lines.append(f"| {name} | {s['mean']:.4f} | {std} | {s['min']:.4f} | {s['max']:.4f} |")
    return [*lines, "", f"protocol: {table['rows'][0]['protocol']}"]


def main(config: Config) -> None:
    """Trains every seed, scores its codes, writes table.json and prints it."""
    root = Path(config.workdir)
    dataset = as_train_reads_it(config.dataset, root) if config.dataset.endswith(".npz") else config.dataset
    flags = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    flags = {k: v for k, v in flags.items() if k not in ("workdir", "dataset", "label", "seeds")}
    flags |= {"dataset": dataset, "model": "mlp", "likelihood": "bernoulli", "pixels": "binary"}
    shared = material(choices.resolve(choices.Config(**flags, workdir=str(root)))[0])
    data = shared.dataset
    if data.train_factors is None or data.test_factors is None:
        raise UserError(f"--dataset={config.dataset} has no factors, which the scores need")
    factors = np.concatenate([data.train_factors, data.test_factors])
    names, label = data.factor_names, config.label or Path(config.dataset).name
    if dataset != config.dataset:
        names, whole = DSPRITES, len(factors) == WHOLE
        label = config.label or ("dSprites" if whole else f"dSprites sub-grid of {len(factors)} images")
    table = {"label": label, "beta": config.beta, "num_steps": config.num_steps, "spread": {}, "rows": []}
    for seed in range(config.seeds):
        workdir = root / f"seed_{seed}"
        print(f"\n=== {label}, seed {seed}")
        ready = choices.resolve(choices.Config(**flags, seed=seed, workdir=str(workdir)))
        run(*ready, shared)
        results = json.loads((workdir / "results.json").read_text())
        codes = codes_of(build(*ready, shared))
        subset = f"{label}, all {len(codes)} images ({len(data.train)} of them trained on)"
        scores = disentanglement(codes, factors, names, seed, subset)
        kept = {key: results[key] for key in ("elbo", "rate", "distortion", "active_units", "seconds")}
        table["rows"].append({"seed": seed} | scores | kept)
        table["spread"] = spread_of(table["rows"])
        write_json(root / "table.json", table)
    print("", *lines_of(table), f"table: {root / 'table.json'}", sep="\n")


if __name__ == "__main__":
    launch(main, Config)
