"""Lossless compression by a trained model: bits back, and back again. Needs pip install "vae_jax[compress]".

    python -m experiments.compress --workdir=runs/binary --input=test --output=test.bits           seconds for 10,000
    python -m experiments.compress --workdir=runs/binary --input=test.bits --output=test.npz --decompress

For discrete likelihoods: bernoulli, categorical, discretized_logistic, poisson, negative_binomial, tokens, --columns of
such. The file is about the negative ELBO in bits; it prints the sizes of gzip, xz, PNG and WebP beside it. What comes
back is what the model sees: with --pixels=binary thresholded images, of a text its words, unknown ones as <unk>. The
same command continues after a kill; any machine reads what another one wrote.
"""

from __future__ import annotations

from vae_jax.runtime.config import launch
from vae_jax.trained.flags import Compress as Config


def main(config: Config) -> None:
    """Writes the file, or reads it."""
    from vae_jax.trained.compression.command import main as run

    run(config)


if __name__ == "__main__":
    launch(main, Config)
