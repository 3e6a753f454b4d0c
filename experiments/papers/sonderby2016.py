"""Layers of latents, with and without a warm-up, beside a single layer (Sonderby 2016, 1602.02282).

    python -m experiments.papers.sonderby2016 --workdir=runs/sonderby2016 --dataset=mnist       two hours, two CPU cores
    python -m experiments.papers.sonderby2016 --workdir=runs/sonderby2016_full --dataset=mnist --num_steps=468000 \\
        --latent_layers=64,32,16,8,4 --hidden=512,256,128,64,32 --iw_samples=5000               for an accelerator

Trains one layer, a ladder and a plain hierarchy, each with beta = 1 throughout and with a beta that rises over a tenth
of the run, on binarised images (drawn afresh in each epoch); the warm-up is the deterministic one of the paper. The
second command is its budget of 2,000 epochs, for which it reports 81.74 nats with batch normalisation, which is not
here. A latent is kept where its KL given the layers above exceeds 0.01 nats. Without a warm-up a ladder puts its first
layer to sleep early (one seed: 9 nats in it after 4,000 steps, where a single layer carries 29). Stopped, it goes on
where it was.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.errors import UserError
from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_json

from . import arms

WARM = {"weighting": "linear"}
ARMS: dict[str, dict[str, Any]] = {
    "one layer": {"model": "mlp"},
    "one layer, warm-up": {"model": "mlp", **WARM},
    "ladder": {"model": "ladder"},
    "ladder, warm-up": {"model": "ladder", **WARM},
    "hierarchy": {"model": "hierarchy"},
    "hierarchy, warm-up": {"model": "hierarchy", **WARM},
}


@dataclasses.dataclass(frozen=True)
class Config(arms.ImageFlags):
    """The flags that all arms share."""

    workdir: str = option("runs/sonderby2016", "where the runs and the table live", identity=False)
    dataset: str = option("mnist", "as for train")
    only: str | None = option(None, "names of arms, separated by ; (default: all)")
    seeds: int = option(3, "how many seeds, from 0 on", least=1)
    latent_layers: str = option("32,16,8", "latents of each layer of a hierarchy")
    hidden: str = option("256,128,64", "widths of each layer's two dense layers; the single layer has two of the first")
    latent_dim: int = option(32, "latents of the single layer")
    num_steps: int = option(4700, "updates of each run; 4,700 are 20 epochs of MNIST")
    batch_size: int = option(256, "examples per update")
    iw_samples: int = option(100, "importance samples of -log p(x)")
    out: str | None = option(None, "FILE.json to write the table to as well", identity=False)


def main(config: Config) -> None:
    """Trains all arms, writes table.json and prints it."""
    from vae_jax.runs.build import material

    names = list(ARMS) if config.only is None else [name.strip() for name in config.only.split(";")]
    if unknown := [name for name in names if name not in ARMS]:
        raise UserError(f"--only={config.only}: no arm {unknown[0]!r}; they are {'; '.join(ARMS)}")
    root, rows = Path(config.workdir), []
    flags = {**config.of_train(), "pixels": "sampled", "likelihood": "bernoulli", "batch_size": config.batch_size}
    width = config.hidden.split(",")[0]
    one, several = {"hidden": f"{width},{width}"}, {"latent_layers": config.latent_layers}
    shared = material(TrainConfig(**flags | one, workdir=str(root)))
    for seed in range(config.seeds):
        for name in names:
            own = ARMS[name] | (one if ARMS[name]["model"] == "mlp" else several)
            own |= {"warmup_steps": config.num_steps // 10} if "weighting" in own else {}
            folder = root / f"{name.replace(',', '').replace(' ', '_')}_{seed}"
            results = arms.train_one(folder, flags | own | {"seed": seed}, shared)
            rows.append({"name": name, "seed": seed, **_numbers(results)})
            for path in (root / "table.json", *([Path(config.out)] if config.out else [])):
                write_json(path, {"command": _command(config), "rows": rows})
    print("", *table_lines(rows), sep="\n")


def _command(config: Config) -> str:
    asked = dataclasses.asdict(config)
    said = {f.name: asked[f.name] for f in dataclasses.fields(Config) if f.name not in ("workdir", "data_dir", "out")}
    return " ".join(["experiments.papers.sonderby2016", *(f"--{k}={v}" for k, v in said.items() if v is not None)])


def _numbers(results: dict[str, Any]) -> dict[str, Any]:
    layers = results.get("layers") or [{"rate": results["rate"], "kept_latents": results["used_latents"]}]
    numbers = {name: results[name] for name in ("elbo", "iw_nll", "rate", "distortion", "seconds")}
    return numbers | {"rates": [v["rate"] for v in layers], "kept": [v["kept_latents"] for v in layers]}


def table_lines(rows: arms.Rows) -> list[str]:
    """Returns the table in Markdown: the mean over seeds ± their standard deviation, nats."""
    found = arms.by_arm(rows, ("elbo", "iw_nll"))
    cells = []
    for name, values in found.items():
        own = [row for row in rows if row["name"] == name]
        rates, kept = (np.mean([row[key] for row in own], axis=0) for key in ("rates", "kept"))
        each = [", ".join(f"{v:.2f}" for v in rates), ", ".join(f"{v:.1f}" for v in kept)]
        cells.append([name, arms.cell(-values["elbo"], 2), arms.cell(values["iw_nll"], 2), *each])
    heads = ("", "-ELBO", "-log p(x), at most", "rate of each layer", "latents kept in each layer")
    return arms.markdown(heads, cells)


if __name__ == "__main__":
    launch(main, Config)
