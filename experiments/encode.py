"""The codes of a trained run: mean and standard deviation of q(z|x), of a split, a file or a folder of any size.

    python -m experiments.encode --workdir=runs/digits --input=test --output=codes.npz            a few seconds
    python -m experiments.encode --workdir=runs/mnist --input=IMAGES --output=codes.csv             10,000 a second

FILE.npz holds ``mean`` and ``std`` [n, d], ``ids`` (file names or row numbers), and where the input has them
``labels`` with ``label_names``: [n] of one factor, [n, f] of several. The input is streamed, so memory does not grow
with it; the same command continues after a kill.
"""

from __future__ import annotations

from vae_jax.runtime.config import launch
from vae_jax.trained.flags import Encode as Config


def main(config: Config) -> None:
    """Encodes the input, or continues with it, and writes the output."""
    from vae_jax.trained.encoding import main as run

    run(config)


if __name__ == "__main__":
    launch(main, Config)
