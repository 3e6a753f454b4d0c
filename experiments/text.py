"""Sequence VAEs: sentences, an autoregressive decoder, and the KL term that vanishes (Bowman 2015; Fu 2019).

    python -m experiments.text --workdir=runs/grammar               the embedded grammar, about a minute
    python -m experiments.text --workdir=runs/annealed --weighting=sigmoid --word_dropout=0.4
    python -m experiments.text --workdir=runs/quick --buckets=4      sentences of similar length together: less padding
    python -m experiments.text --workdir=runs/ptb --dataset=ptb --num_steps=20000 --hidden=256 --embedding=256
                                                                    Penn Treebank, if it is there: hours on a CPU

It is ``train`` with the defaults of a text: the same flags, weightings, checkpoints, evaluation and report, and
``sweep --dataset=grammar --likelihood=tokens --model=recurrent`` sweeps it. The grammar is the project's own, and its
entropy is known: no model can have a lower expected NLL. results.json has in addition ``perplexity`` (of ``words``, the
end of each sentence counted), ``entropy`` and ``prior_distortion``, the distortion with z from the prior: what it is
above the distortion is what z explains.
"""

from __future__ import annotations

import dataclasses

from vae_jax.runs.settings import Config as TrainConfig
from vae_jax.runtime.config import launch, option


@dataclasses.dataclass(frozen=True)
class Config(TrainConfig):
    """The flags of ``train``, with other defaults."""

    dataset: str = option("grammar", "grammar | ptb | FILE.txt | a folder with train.txt and test.txt")
    likelihood: str = option("tokens", "of a text: tokens", ("tokens",))
    model: str = option("recurrent", "of a text: recurrent", ("recurrent",))
    latent_dim: int = option(16, "the number of latents", least=1)
    hidden: str | None = option("128", "the width of the recurrent state")
    embedding: int = option(64, "the width of a word's vector", least=1)
    rare_words: int = option(
        2, "words that a training text without <unk> holds fewer times are learned as it", least=1, identity=False
    )
    batch_size: int = option(32, "sentences per update, over all devices", least=1)
    clip_norm: float | None = option(5.0, "clip the gradient to this global norm", above=0)


def main(config: Config) -> None:
    """Trains, or continues, evaluates and reports one run."""
    from vae_jax.runs.run import train

    train(config)


if __name__ == "__main__":
    launch(main, Config)
