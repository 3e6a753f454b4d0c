"""Evaluation: what a run learned, on every example, with z sampled and beta = 1."""

from vae_jax.evaluation.batches import Evaluator
from vae_jax.evaluation.bounds import Scores, make_scorer, summarise
from vae_jax.evaluation.fidelity import make_fidelity, summarise_fidelity
from vae_jax.evaluation.gaps import Gaps, make_gaps, summarise_gaps
from vae_jax.evaluation.rate import Decomposition, Estimate, decompose
from vae_jax.evaluation.reliability import make_reliability
from vae_jax.evaluation.swapped import make_swapped

__all__ = [
    "Decomposition",
    "Estimate",
    "Evaluator",
    "Gaps",
    "Scores",
    "decompose",
    "make_fidelity",
    "make_gaps",
    "make_reliability",
    "make_scorer",
    "make_swapped",
    "summarise",
    "summarise_fidelity",
    "summarise_gaps",
]
