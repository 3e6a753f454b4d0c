"""The bound as bytes: files of test examples by bits back, beside the usual compressors (Townsend 2019, 1901.04866).

    python -m experiments.papers.townsend2019 --workdir=runs/townsend2019 --cases=digits,digits_table,grammar
    python -m experiments.papers.townsend2019 --workdir=runs/townsend2019 --cases=mnist,mnist_grey,dsprites

Trains a model for each data set, compresses test examples, reads them back and counts what is wrong: 0. Expect each
file within a percent of its negative ELBO after the initial bits (Townsend 2019, table 2: binary MNIST .19 bits a
dimension, grey 1.41), and below the others where the model is good enough; a small file has its header and initial bits
to carry. --dsprites names a file in the layout of dSprites. A minute or two each on two CPU cores, mnist_grey ten.
"""

from __future__ import annotations

import csv
import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.errors import UserError
from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import read_object, write_json

from . import arms

BINARY = {"pixels": "binary", "likelihood": "bernoulli", "hidden": "256,256", "num_steps": 1500}
TEXT = {"likelihood": "tokens", "model": "recurrent", "hidden": "128", "embedding": 64, "latent_dim": 16}
LEVELS = {"likelihood": "discretized_logistic", "warmup_steps": 300}
INK = ",".join([*(f"ink_{i}:negative_binomial" for i in range(64)), "digit:categorical"])
# name -> the data set and the flags of train
CASES: dict[str, dict[str, Any]] = {
    "mnist": {"dataset": "mnist", **BINARY},
    "mnist_grey": {"dataset": "mnist", **LEVELS, "components": 5, "hidden": "256,256", "num_steps": 4000},
    "dsprites": {"dataset": "", "likelihood": "bernoulli", "latent_dim": 10, "hidden": "256,256", "num_steps": 3000},
    "digits": {"dataset": "digits", **LEVELS, "hidden": "128,128", "num_steps": 2000},
    "digits_table": {"dataset": "", "columns": INK, "hidden": "128,128", "num_steps": 1000},
    "grammar": {"dataset": "grammar", **TEXT, "num_steps": 2000, "batch_size": 32},
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags."""

    workdir: str = option("runs/townsend2019", "where the runs, the files and the table live", identity=False)
    cases: str = option(",".join(name for name in CASES if name != "dsprites"), "which data sets")
    dsprites: str | None = option(None, "FILE.npz in the layout of dSprites")
    data_dir: str | None = option(None, "where prepared TFDS data sets are", identity=False)
    examples: int = option(1000, "the first so many test examples", least=1)


def main(config: Config) -> None:
    """Trains, compresses and reads back the cases; adds them to table.json and prints it."""
    root = Path(config.workdir)
    table = root / "table.json"
    rows = read_object(table, "remove it, and it is made anew") if table.exists() else {}
    unknown = [name for name in config.cases.split(",") if name not in CASES]
    if unknown:
        raise UserError(f"--cases: there is no {unknown[0]}; choose from {', '.join(CASES)}")
    if "dsprites" in config.cases.split(",") and not os.path.exists(config.dsprites or ""):
        raise UserError("--dsprites=FILE.npz is needed for the case dsprites; or leave it out of --cases")
    for name in config.cases.split(","):
        rows[name] = case(name, config, root / name)
        write_json(table, rows)
    heads = ("", "examples", "bytes", "bits a value", "above the bound", "wrong", "gzip", "xz", "PNG", "WebP")
    print("", *arms.markdown(heads, [cells(name, row) for name, row in rows.items()]), sep="\n")


def case(name: str, config: Config, folder: Path) -> dict[str, Any]:
    """Returns the sizes of one data set, and how many examples came back otherwise."""
    from vae_jax.trained.compression import command, values
    from vae_jax.trained.compression.networks import networks
    from vae_jax.trained.loading import load
    from vae_jax.trained.sources import open_source

    from .dsprites import as_train_reads_it

    flags = dict(CASES[name])
    if name == "digits_table":
        flags["dataset"] = digits_table(folder / "digits.csv")
    if name == "dsprites":
        flags["dataset"] = as_train_reads_it(config.dsprites, folder)
    arms.train_one(folder / "run", arms.AS_PUBLISHED | {"iw_samples": 8, "data_dir": config.data_dir} | flags)
    model = load(folder / "run", data_dir=config.data_dir)
    part = next(iter(open_source(model, "test").parts(0, config.examples)))
    given, net = folder / "given.npz", networks(model)
    np.savez(given, x=part.examples)
    sizes = command.compress(model, net, str(given), str(folder / "file.bits"))
    command.decompress(model, net, str(folder / "file.bits"), str(folder / "back.npz"))
    wanted = values.stored(model, net.kinds, values.read(model, net.kinds, part.examples, name))
    back = np.load(folder / "back.npz")["x"]
    wrong = sum(not np.array_equal(*pair, equal_nan=back.dtype.kind == "f") for pair in zip(back, wanted))
    kept = ("likelihood", "model", "hidden", "latent_dim", "num_steps", "components")
    return sizes | {"wrong": wrong, "flags": {key: flags[key] for key in kept if key in flags}}


def digits_table(path: Path) -> str:
    """Writes the digits as their authors have them: counts of ink in 64 squares of 4x4 dots, and which digit it is."""
    from vae_jax.data.digits import digits

    known = digits()
    counts, labels = (
        np.concatenate(pair) for pair in ((known.train, known.test), (known.train_factors, known.test_factors))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"ink_{i}" for i in range(64)), "digit"])
        writer.writerows(np.concatenate([counts.reshape(-1, 64), labels], axis=1).tolist())
    return str(path)


def cells(name: str, row: dict[str, Any]) -> list[str]:
    """Returns a row of the table."""
    own = f"{row['bytes']:,}", f"{row['bits_per_dim']:.3f}", f"{100 * row['overhead']:.2f}%", str(row["wrong"])
    others = [f"{row['others'][other]:,}" if other in row["others"] else "" for other in ("gzip", "xz", "png", "webp")]
    return [name, f"{row['examples']:,}", *own, *others]


if __name__ == "__main__":
    launch(main, Config)
