"""Evaluation: what a run learned, on every example, with z sampled and beta = 1."""

from vae_jax.evaluation.bounds import Scores, make_scorer, summarise

__all__ = ["Scores", "make_scorer", "summarise"]
