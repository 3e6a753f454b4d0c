"""What a VAE trained anywhere really weighs, from its outputs: the water level of its loss, its rate, its code.

    python -m experiments.audit --outputs=outputs.npz                         the weight, and whether to believe it
    python -m experiments.audit --outputs=outputs.npz --loss="l1.sum + 1e-6*kl"           against what was meant
    python -m experiments.audit --outputs=outputs.npz --target_rate=100 --target_channels=4       the weight for it
    python -m experiments.audit --workdir=runs/digits                         a run of ours, beside its results.json

Seconds for some thousand examples. vae_jax/theory/README.md has twenty lines that write such a file from PyTorch,
Lightning, diffusers, Keras, scvi-tools and Flax.
"""

from __future__ import annotations

from vae_jax.runtime.config import launch
from vae_jax.trained.flags import Audit as Config


def main(config: Config) -> None:
    """Prints the audit and writes ``audit.json`` and ``report.html``."""
    from vae_jax.trained.audit import main as run

    run(config)


if __name__ == "__main__":
    launch(main, Config)
