"""What a loss really weighs, and what a weight will do to some data, before anything is trained.

    python -m experiments.weigh --recon=squared_error --recon_reduction=mean --kl_reduction=sum --weight=1 \
        --data_dim=784 --latent_dim=20                   s = 392, and the same loss in every other convention
    python -m experiments.weigh --loss="l1*sum + 1e-6*kl.sum" --data_dim=12288 --latent_dim=64
                                                         a loss as code has it, and the command that trains the same
    python -m experiments.weigh --known                  what well-known implementations weigh by default
    python -m experiments.weigh --dataset=mnist          which weights collapse, which is calibrated; the exact
                                                         log-likelihood of 20 linear latents, 299.758 nats; 12 seconds
    python -m experiments.weigh --dataset=mnist --target_kl=30 --tolerance=0.2         what to ask of a controller

The three go together: a loss, or --beta and --sigma as train takes them, is then marked among the weights.
"""

from __future__ import annotations

from vae_jax.runs.weigh_flags import Config
from vae_jax.runtime.config import launch


def main(config: Config) -> None:
    """Weighs what the flags name, and prints it."""
    from vae_jax.runs.weigh import main as run

    run(config)


if __name__ == "__main__":
    launch(main, Config)
