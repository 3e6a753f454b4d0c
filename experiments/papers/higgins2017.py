"""What a heavier KL weight does to the code: disentanglement against beta_norm (Higgins 2017, figure 6).

    python -m experiments.papers.higgins2017 --workdir=runs/higgins2017                 the embedded `sprites`
    python -m experiments.papers.higgins2017 --workdir=runs/higgins2017_subgrid --dataset=dsprites_downsampled.npz
    python -m experiments.papers.higgins2017 --workdir=runs/higgins2017_full --dataset=dsprites.npz --model=conv \
        --hidden=256 --batch_size=64 --num_steps=300000 --learning_rate=1e-4 --beta_norm=log:0.0006:0.08:12 \
        --seed=0,1,2,3,4,5,6,7,8,9 --latent_dim=5,10,20                                  for an accelerator

Eight weights and three seeds as one sweep. It takes a file in dSprites' layout (arrays ``imgs`` and
``latents_classes``), such as a published sub-grid of it, or FILE.npz as ``train`` does, with factors. A fixed tenth of
the images is held out of the training; the scores are taken over the codes of the images of both splits, the means of
q(z|x). The figure is beta_profile.png. The paper finds the score of its metric highest at an intermediate beta_norm,
and falling where the weight collapses the code. A sub-grid is not the data set of the paper, and the small form trains
fully connected networks for minutes: the numbers are labelled so, and stand beside published ones as an illustration
only. Stopped, it goes on where it was.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from vae_jax.errors import UserError
from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import read_rows, write_json

from .. import sweep
from .arms import AS_PUBLISHED, for_sweep, markdown

_BESIDE = ("elbo", "rate", "distortion", "active_units")


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags that all runs share, and those that may be lists, as for ``sweep``."""

    workdir: str = option("runs/higgins2017", "where the sweep and the table live", identity=False)
    dataset: str = option("sprites", "sprites | a file in the layout of dSprites | another set with factors")
    beta_norm: str = option("log:0.0006:0.08:8", "the weights, in the paper's units: beta * latent_dim / data_dim")
    seed: str = option("0,1,2", "the seeds")
    latent_dim: str = option("10", "the numbers of latents")
    model: str = option("mlp", "the encoder and decoder")
    hidden: str = option("256,256", "widths of the hidden layers")
    num_steps: int = option(3000, "updates of each run")
    batch_size: int = option(64, "examples per update")
    learning_rate: float = option(1e-3, "Adam's, at its highest")
    iw_samples: int = option(8, "importance samples of each run's iw_nll")


def spread_of(rows: list[dict]) -> dict[str, dict]:
    """Mean, sample standard deviation (null for one seed), least and greatest of each score over the seeds."""
    from vae_jax.evaluation.disentanglement import SCORES

    found = {}
    for name in (*SCORES, *_BESIDE):
        values = np.array([row[name] for row in rows if row[name] is not None], np.float64)
        if len(values):
            std = float(values.std(ddof=1)) if len(values) > 1 else None
            found[name] = {"mean": float(values.mean()), "std": std, "min": values.min(), "max": values.max()}
    return found


def table_of(rows: list[dict]) -> list[dict]:
    """One entry for each number of latents and weight: the spread of every score over the seeds that came to an end."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        if row["status"] == "done" and row["disentanglement"] is not None:
            key = (row["latent_dim"], row["beta_norm"], row["beta"])
            groups.setdefault(key, []).append(row["disentanglement"] | {k: row[k] for k in _BESIDE})
    return [
        {"latent_dim": m, "beta_norm": norm, "beta": beta, "seeds": len(group), "spread": spread_of(group)}
        for (m, norm, beta), group in groups.items()
    ]


def lines_of(table: list[dict]) -> list[str]:
    """Returns the table in Markdown: the mean over the seeds ± their standard deviation."""
    from vae_jax.evaluation.disentanglement import SCORES

    shown = [name for name in (*SCORES, "rate", "active_units") if name in table[0]["spread"]]

    def cell(name, mean, std, **_):
        digits = 1 if name in _BESIDE else 3
        return f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")

    return markdown(
        ["latents", "beta_norm", "beta", *shown],
        (
            [f"{e['latent_dim']}", *(f"{e[k]:.3g}" for k in ("beta_norm", "beta"))]
            + [cell(name, **e["spread"][name]) for name in shown]
            for e in table
        ),
    )


def main(config: Config) -> None:
    """Runs the sweep, writes table.json and prints it."""
    from .dsprites import as_train_reads_it

    root = Path(config.workdir)
    dataset = as_train_reads_it(config.dataset, root) if config.dataset.endswith(".npz") else config.dataset
    flags = {k: str(v) for k, v in dataclasses.asdict(config).items()}
    flags |= {"dataset": dataset, "iw_samples": config.iw_samples, "likelihood": "bernoulli", "pixels": "binary"}
    sweep.main(sweep.Config(**for_sweep(AS_PUBLISHED) | flags))
    rows = read_rows(root / "sweep.jsonl")
    table = table_of(rows)
    if not table:
        raise UserError(f"--dataset={config.dataset} has no factors, which the scores need, or no run came to its end")
    protocol = next(row["disentanglement"]["protocol"] for row in rows if row["disentanglement"])
    write_json(root / "table.json", {"table": table, "protocol": protocol})
    print("", *lines_of(table), "", f"protocol: {protocol}", f"figure: {root / 'beta_profile.png'}", sep="\n")


if __name__ == "__main__":
    launch(main, Config)
