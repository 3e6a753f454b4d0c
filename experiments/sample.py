"""Samples of a trained run; or reconstructions of some examples, or the way from one example to another.

    python -m experiments.sample --workdir=runs/digits --num=64 --output=grid.png                   a few seconds
    python -m experiments.sample --workdir=runs/digits --temperature=0.7 --output=samples.npz
    python -m experiments.sample --workdir=runs/digits --reconstruct=test --num=16 --output=pairs.png
    python -m experiments.sample --workdir=runs/digits --interpolate=0,7 --num=12 --output=FOLDER

Arrays are in the data's own units, E[x|z] unless --noise asks for draws of x.
"""

from __future__ import annotations

from vae_jax.runtime.config import launch
from vae_jax.trained.flags import Sample as Config


def main(config: Config) -> None:
    """Makes what was asked for and writes it."""
    from vae_jax.trained.sampling import main as run

    run(config)


if __name__ == "__main__":
    launch(main, Config)
