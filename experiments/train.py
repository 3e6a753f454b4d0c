"""The main job: train a VAE whose weight you can trust; resume, evaluate, report.

    python -m experiments.train --workdir=runs/digits                       about half a minute on two CPU cores
    python -m experiments.train --workdir=runs/mnist --dataset=mnist --pixels=dequantised
    python -m experiments.train --workdir=runs/binary --dataset=binarized_mnist --model=mlp --latent_dim=50 \
        --num_steps=10000 --batch_size=128 --likelihood=bernoulli            test elbo about -95 nats, 4 minutes

The same command again continues a run that was stopped. Names become functions in tables: to add an objective or a
model, write it in a file of its own and give it a name here; likelihoods have theirs in ``families.py``, weightings in
``weights.py``.
"""

from __future__ import annotations

from vae_jax.runs.settings import Config
from vae_jax.runtime.config import launch


def main(config: Config) -> None:
    """Trains, or continues, evaluates and reports one run."""
    from vae_jax.runs.run import train

    train(config)


if __name__ == "__main__":
    launch(main, Config)
