"""The continuous Bernoulli against the loss it replaces (Loaiza-Ganem and Cunningham 2019, 1907.06845).

    python -m experiments.papers.loaiza2019 --workdir=runs/loaiza2019         MNIST, about 10 minutes on two CPU cores

Trains one network twice on dequantised MNIST, with the continuous Bernoulli and with the Bernoulli's cross-entropy on
grey pixels, and scores both as continuous Bernoulli ELBOs on the test split: the second reads its outputs once as
lambda and once as means, through the inverse mean. Published: 1470, 1139 and 1416 nats, with lambda clipped to
[1e-4, 1 - 1e-4]. Nothing is clipped here: expect about 3150, 1180 and 2490.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runtime.config import launch, option
from vae_jax.runtime.files import write_json

from .arms import AS_PUBLISHED

if TYPE_CHECKING:
    from vae_jax.types import Likelihood


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags; the architecture and the data are the paper's."""

    workdir: str = option("runs/loaiza2019", "where the two runs and the table live", identity=False)
    dataset: str = option("mnist", "any set of grey images")
    data_dir: str | None = option(None, "where prepared TFDS data sets are", identity=False)
    num_steps: int = option(5000, "updates of each run")
    latent_dim: int = option(20, "the number of latents")
    hidden: str = option("500,500", "widths of the hidden layers")
    seed: int = option(0, "of everything random")


def through_inverse_mean() -> Likelihood:
    """The continuous Bernoulli of a decoder that outputs the logits of means, as one trained by cross-entropy does."""
    import jax

    from vae_jax import likelihoods

    family = likelihoods.continuous_bernoulli()

    def log_prob(own, theta, x):
        # The mean of a continuous Bernoulli reaches 0 and 1 only at infinite logits; 1e-4 away lambda is e^-10000.
        mean = jax.numpy.clip(jax.nn.sigmoid(theta), 1e-4, 1 - 1e-4)
        return family.log_prob(own, likelihoods.continuous_bernoulli_inverse_mean(mean), x)

    return family._replace(log_prob=log_prob, mean=lambda own, theta: jax.nn.sigmoid(theta))


def main(config: Config) -> None:
    """Trains both, scores three ways and prints the table."""
    from vae_jax import likelihoods
    from vae_jax.evaluation import Evaluator, make_scorer, summarise
    from vae_jax.randomness import TEST, purpose_key
    from vae_jax.runs.build import build
    from vae_jax.runs.loop import trained
    from vae_jax.runs.run import run

    root, rows = Path(config.workdir), {}
    shared = AS_PUBLISHED | dataclasses.asdict(config) | {"pixels": "dequantised", "lr_schedule": "cosine"}
    own, inverse = likelihoods.continuous_bernoulli(), through_inverse_mean()
    arms = {
        "continuous_bernoulli": {"continuous Bernoulli": own},
        "bernoulli": {
            "Bernoulli, outputs read as lambda": own,
            "Bernoulli, outputs through the inverse mean": inverse,
        },
    }
    for name, ways in arms.items():
        flags = shared | {"likelihood": name, "soft_targets": name == "bernoulli", "workdir": str(root / name)}
        run(TrainConfig(**flags))
        r = build(TrainConfig(**flags))
        params = trained(r).params
        for label, likelihood in ways.items():
            score = make_scorer(Evaluator(r.vae, likelihood, r.preprocess))
            rows[label] = summarise(score(params, r.dataset.test, purpose_key(r.key, TEST)), r.data_dim)["elbo"]
    write_json(root / "table.json", rows)
    print("\ntest ELBO as a continuous Bernoulli, nats per image:")
    print(*(f"  {label:45s} {elbo:9.1f}" for label, elbo in rows.items()), sep="\n")


if __name__ == "__main__":
    launch(main, Config)
