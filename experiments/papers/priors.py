"""What a learned prior or a freer posterior is worth (Tomczak and Welling 2018, 1705.07120; Kingma 2016, 1606.04934).

    python -m experiments.papers.priors --workdir=runs/priors --dataset=FILE.npz      five networks of 20 epochs a seed
    python -m experiments.papers.priors --workdir=runs/priors_full --dataset=FILE.npz --num_steps=500000 \\
        --batch_size=100 --learning_rate=5e-4 --warmup_steps=50000 --prior_components=500 --iw_samples=5000   for a GPU

The same networks, data, epochs and seeds: N(0, I), a mixture, the VampPrior and a flow as p(z), and an inverse
autoregressive flow as q(z|x). -log p(x) has 500 importance samples. FILE.npz has uint8 ``train`` and ``test`` of black
and white images. The second command is the budget of Tomczak and Welling, 1,000 epochs with a warm-up of 100, for which
they report 85.57 nats with the VampPrior in two layers. With ``--betas`` the arms of
``--frontier`` are trained at each weight as well, and figure.png is what beta buys under each prior; samples.png has
samples of each arm. Stopped, it goes on where it was; finished arms are read.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_jax.errors import UserError
from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import read_object, write_atomic, write_json

from . import arms

if TYPE_CHECKING:
    from vae_jax.report.figure import Figure

# name -> the flags in which it differs
ARMS: dict[str, dict[str, Any]] = {
    "N(0, I)": {},
    "mixture": {"prior": "mixture"},
    "vamp": {"prior": "vamp"},
    "flow": {"prior": "flow"},
    "iaf posterior": {"posterior": "iaf"},
}
KEYS = ("elbo", "rate", "distortion", "active_units", "seconds")


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags that all arms share."""

    workdir: str = option("runs/priors", "where the runs, the table and the figure live", identity=False)
    dataset: str = option("binarized_mnist", "as for train")
    data_dir: str | None = option(None, "where prepared TFDS data sets are", identity=False)
    num_steps: int = option(5000, "updates of each run, 20 epochs of 50,000 images")
    batch_size: int = option(200, "examples per update")
    learning_rate: float = option(2e-3, "Adam's, at its highest")
    hidden: str = option("300,300", "widths of the hidden layers")
    latent_dim: int = option(40, "the number of latents")
    prior_components: int = option(200, "of the mixture and the VampPrior")
    seeds: int = option(3, "how many seeds, from 0 on")
    only: str | None = option(None, "names of arms, separated by semicolons (default: all)")
    betas: str | None = option(None, "weights of the frontier beside 1, separated by commas (default: no frontier)")
    frontier: str = option("N(0, I);vamp", "arms of the frontier, separated by semicolons")
    iw_samples: int = option(500, "importance samples of -log p(x)")
    limit: int = option(10000, "test examples that they are of, the first ones: not a sample of all")
    warmup_steps: int = option(0, "updates in which beta rises to its value", least=0)


def main(config: Config) -> None:
    """Trains all arms, writes table.json and figure.png, prints the table."""
    from vae_jax.runs.build import material

    wanted = list(ARMS) if config.only is None else [name.strip() for name in config.only.split(";")]
    unknown = [name for name in (*wanted, *config.frontier.split(";")) if name not in ARMS]
    if unknown:
        raise UserError(f"--only, --frontier: no arm {unknown[0]!r}; they are {'; '.join(ARMS)}")
    root = Path(config.workdir)
    shared = material(TrainConfig(**_flags(config), workdir=str(root)))
    rows, seeds = [], range(config.seeds)
    for seed, name in [(seed, name) for seed in seeds for name in wanted]:
        rows.append(_row(config, root, name, 1.0, seed, shared))
    for beta in map(float, (config.betas or "").split(",") if config.betas else ()):
        rows += [_row(config, root, name, beta, 0, shared) for name in config.frontier.split(";")]
    write_atomic(root / "samples.png", samples({name: _folder(root, name, 1.0, 0) for name in wanted}))
    arms.conclude(root, rows, table_lines([row for row in rows if row["beta"] == 1]), "samples.png")
    if config.betas:
        write_atomic(root / "figure.png", frontier(rows).png)
        print(f"figure: {root / 'figure.png'}")


def _flags(config: Config) -> dict[str, Any]:
    names = ("data_dir", "dataset", "num_steps", "batch_size", "learning_rate", "hidden", "latent_dim")
    black_and_white = {"likelihood": "bernoulli", "pixels": "binary", "iw_samples": 1, "eval_every": config.num_steps}
    rising = {"weighting": "linear", "warmup_steps": config.warmup_steps} if config.warmup_steps else {}
    return arms.AS_PUBLISHED | black_and_white | rising | {name: getattr(config, name) for name in names}


def _row(config: Config, root: Path, name: str, beta: float, seed: int, shared: Any) -> dict[str, Any]:
    """Trains one run, or reads it, and estimates its -log p(x)."""
    from vae_jax.runs import evaluate

    differs = ARMS[name] | ({"prior_components": config.prior_components} if "prior" in ARMS[name] else {})
    workdir = _folder(root, name, beta, seed)
    results = arms.train_one(workdir, _flags(config) | differs | {"beta": beta, "seed": seed}, shared)
    done = workdir / "nll.json"
    if not done.exists():
        asked = evaluate.Config(str(workdir), iw_samples=config.iw_samples, limit=config.limit, gap_examples=0)
        write_json(done, {"nll": evaluate.evaluate(asked)["iw_nll"]})
    nll = read_object(done, "remove it, and it is measured again")["nll"]
    return {"name": name, "beta": beta, "seed": seed, "nll": nll} | {key: results[key] for key in KEYS}


def _folder(root: Path, name: str, beta: float, seed: int) -> Path:
    return root / f"{''.join(c if c.isalnum() else '_' for c in name)}_{beta:g}_{seed}"


def samples(folders: dict[str, Path]) -> bytes:
    """Draws ten samples of p(z) of each run, decoded to E[x|z], a row each, as a PNG."""
    from vae_jax.report.image_grids import grid

    rows = [np.load(folder / "pictures.npz")["samples"][:10] for folder in folders.values()]
    return grid(rows, [name.replace(" posterior", "\nposterior") for name in folders])


def table_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Returns the table in Markdown: the mean over seeds ± their standard deviation, nats per example."""
    found = arms.by_arm(rows, ("nll", *KEYS))
    heads = ("", "-log p(x)", "ELBO", "rate", "distortion", "active", "seconds")
    return arms.markdown(heads, ([n, *(arms.cell(v, 2) for v in values.values())] for n, values in found.items()))


def frontier(rows: list[dict[str, Any]]) -> Figure:
    """Draws rate against distortion of each arm that was trained at several weights, a point a weight."""
    from vae_jax.report.figure import TEST, TRAIN, Figure, draw, letters

    names = [name for name in ARMS if len({row["beta"] for row in rows if row["name"] == name}) > 1]

    def paint(figure):
        left, right = figure.subplots(1, 2)
        for name, color in zip(names, (TRAIN, TEST, "#555555")):
            own = sorted((r for r in rows if r["name"] == name and r["seed"] == 0), key=lambda r: r["beta"])
            beta, rate, distortion, nll = (np.array([r[k] for r in own]) for k in ("beta", "rate", "distortion", "nll"))
            style = {"color": color, "marker": "o", "markersize": 4, "label": name}
            left.plot(rate, distortion, **style)
            for b, x, y in zip(beta, rate, distortion):
                left.annotate(f"{b:g}", (x, y), textcoords="offset points", xytext=(4, 3), fontsize=6.5, color=color)
            right.plot(beta, nll, **style)
        left.set(xlabel="rate (nats)", ylabel="distortion (nats)")
        right.set(xlabel="beta", ylabel="-log p(x), at most (nats)", xscale="log")
        right.set_xticks(beta, [f"{b:g}" for b in beta])
        right.minorticks_off()
        letters((left, right))
        left.legend()

    caption = (
        "What beta buys under each prior, on the test split: rate and distortion of a run for each weight (a; beta "
        "beside each point), and the importance-weighted bound of the same runs (b)."
    )
    return Figure("figure.png", caption, draw(paint, height=2.8))


if __name__ == "__main__":
    launch(main, Config)
