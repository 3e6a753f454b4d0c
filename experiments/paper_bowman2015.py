"""KL vanishing and its cure where they were found (Bowman 2015, 1511.06349): annealing and word dropout.

    python -m experiments.paper_bowman2015 --workdir=runs/bowman2015              the grammar, three seeds, on a CPU
    python -m experiments.paper_bowman2015 --workdir=runs/bowman_ptb --dataset=ptb --num_steps=40000 --hidden=512 \
        --embedding=353 --latent_dim=13                       Penn Treebank, for an accelerator

Published for the test split of Penn Treebank, NLL (KL) and perplexity, as recalled: a recurrent language model 100 and
116; the VAE 101 (2) and 119; without inputs 135 and more than 600, and the VAE without inputs 125 (15) and 380. The
default data here is a grammar whose entropy is known, the network is smaller, and the ramp ends after a fifth of the
run.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from experiments.sequence_arms import draw_annealing, run_arms, table_lines
from vae_jax.config import launch, option

ARMS = {
    "no annealing": {},
    "sigmoid": {"weighting": "sigmoid"},
    "sigmoid and word dropout": {"weighting": "sigmoid", "word_dropout": 0.4},
    "free bits": {"weighting": "free_bits", "free_nats": 0.25},
    "encoder ahead": {"encoder_steps": 9},
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags that all arms share."""

    workdir: str = option("runs/bowman2015", "where the runs, the table and the figure live", identity=False)
    dataset: str = option("grammar", "grammar | ptb | FILE.txt | a folder with train.txt and test.txt")
    data_dir: str | None = option(None, "where the folder ptb is", identity=False)
    seed: str = option("0,1,2", "the seeds")
    num_steps: int = option(4000, "updates of each run")
    batch_size: int = option(32, "sentences per update")
    learning_rate: float = option(1e-3, "Adam's, at its highest")
    clip_norm: float = option(5.0, "of the gradient")
    latent_dim: int = option(16, "the number of latents")
    hidden: int = option(128, "the width of the recurrent state")
    embedding: int = option(64, "the width of a word's vector")
    iw_samples: int = option(64, "importance samples of each run's iw_nll")


def main(config: Config) -> None:
    """Trains all arms, writes table.json and annealing.png, prints the table."""
    root = Path(config.workdir)
    shared = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("workdir", "seed")}
    rows = run_arms(root, ARMS, shared, config.seed)
    path = draw_annealing(root, ["no annealing", "sigmoid", "sigmoid and word dropout"])
    print("", *table_lines(rows), f"figure: {path}", sep="\n")


if __name__ == "__main__":
    launch(main, Config)
