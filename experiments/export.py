"""A trained run for others: parameters with a configuration and a card, or programs that JAX alone runs.

    python -m experiments.export --workdir=runs/digits --output=exported                       seconds
    python -m experiments.export --workdir=runs/digits --format=stablehlo --output=programs    a few more

The first is read by ``vae_jax.from_pretrained("exported")``; the second by ``jax.export.deserialize``, in any process
that has JAX, for any size of a batch. Nothing is pickled.
"""

from __future__ import annotations

from vae_jax.runtime.config import launch
from vae_jax.trained.flags import Export as Config


def main(config: Config) -> None:
    """Writes an export of a run."""
    from vae_jax.trained.export import main as run

    run(config)


if __name__ == "__main__":
    launch(main, Config)
