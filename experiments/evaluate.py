"""A trained run again: more importance samples, the rate taken apart, the inference gaps, or other data.

    python -m experiments.evaluate --workdir=runs/digits                      5,000 importance samples, about a minute
    python -m experiments.evaluate --workdir=runs/digits --dataset=FILE.npz   the same model on other test data

Writes evaluation.json beside the run's results.json, which stays what training left, and draws report.html again.
"""

from __future__ import annotations

from vae_jax.runs.evaluate_flags import Config
from vae_jax.runtime.config import launch


def main(config: Config) -> None:
    """Evaluates a run, writes evaluation.json, prints it and draws the report again."""
    from vae_jax.runs.evaluate import main as run

    run(config)


if __name__ == "__main__":
    launch(main, Config)
