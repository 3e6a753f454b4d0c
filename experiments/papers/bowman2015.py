"""KL vanishing and its cure where they were found (Bowman 2015, 1511.06349): annealing and word dropout.

    python -m experiments.papers.bowman2015 --workdir=runs/bowman2015        the grammar, three seeds: 15 minutes, CPU
    python -m experiments.papers.bowman2015 --workdir=runs/bowman_ptb --dataset=ptb --num_steps=40000 --hidden=512 \
        --embedding=353 --latent_dim=13                       Penn Treebank, for an accelerator

Published for the test split of Penn Treebank, NLL (KL) and perplexity, as recalled: a recurrent language model 100 and
116; the VAE 101 (2) and 119; without inputs 135 and more than 600, and the VAE without inputs 125 (15) and 380. The
default data here is a grammar whose entropy is known, the network is smaller, and the ramp ends after a fifth of the
run.
"""

from __future__ import annotations

import dataclasses

from vae_jax.runtime.config import launch, option

from . import arms

ARMS = {
    "no annealing": {},
    "sigmoid": {"weighting": "sigmoid"},
    "sigmoid and word dropout": {"weighting": "sigmoid", "word_dropout": 0.4},
    "free bits": {"weighting": "free_bits", "free_nats": 0.25},
    "encoder ahead": {"encoder_steps": 9},
}


@dataclasses.dataclass(frozen=True)
class Config(arms.SequenceFlags):
    """The flags that all arms share."""

    workdir: str = option("runs/bowman2015", "where the runs, the table and the figure live", identity=False)


def main(config: Config) -> None:
    """Trains all arms, writes table.json and annealing.png, prints the table."""
    arms.compare(config, ARMS, drawn=["no annealing", "sigmoid", "sigmoid and word dropout"])


if __name__ == "__main__":
    launch(main, Config)
