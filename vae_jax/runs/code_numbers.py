"""The numbers of a trained run that are of its codes: the rate taken apart, and disentanglement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from vae_jax import priors
from vae_jax.evaluation import Estimate, Scores, decompose
from vae_jax.evaluation.disentanglement import disentanglement
from vae_jax.randomness import RATE, purpose_key
from vae_jax.runs.build import Run
from vae_jax.types import Params

# Fewer examples say little about disentanglement.
LEAST_ROWS = 1000


def rate_parts(r: Run, params: Params, scores: Scores, key: jax.Array, samples: int) -> dict[str, Any] | None:
    """Returns the rate of a split taken apart, as JSON can hold it; ``key`` is the split's.

    None where q(z|x) is no diagonal Gaussian: the aggregate posterior is then no mixture that can be summed exactly.
    """
    if not r.vae.diagonal:
        return None
    # A variance may have underflown.
    with np.errstate(divide="ignore"):
        logvar = np.log(scores.posterior_variance)
    given = {}
    if not priors.of(r.vae).standard:
        rate = float(np.mean(scores.rate, dtype=np.float64))
        given = {"log_prior": jax.jit(lambda z: priors.log_prob(r.vae, params, z)), "rate": rate}
    parts = decompose(scores.posterior_mean, logvar, purpose_key(key, RATE), samples, **given)
    return {name: _plain(value) for name, value in parts._asdict().items() if value is not None}


def _plain(value):
    if isinstance(value, Estimate):
        return {k: np.asarray(v).tolist() for k, v in value._asdict().items()}
    return float(value)


def factor_scores(
    codes: Sequence[np.ndarray], factors: Sequence[np.ndarray | None], names: Sequence[str], seed: int, subset: str
) -> dict[str, Any] | None:
    """Returns the disentanglement scores of codes; None without two factors or with fewer than ``LEAST_ROWS`` examples.

    Args:
      codes: of each split, ``[n, d]``.
      factors: of each split, ``[m, k]`` with m >= n, or None.
      names: of the factors.
      seed: of what the scores draw.
      subset: what the examples are, in words.
    """
    if any(f is None or f.shape[1] < 2 for f in factors) or sum(map(len, codes)) < LEAST_ROWS:
        return None
    factors = np.concatenate([f[: len(means)] for f, means in zip(factors, codes)])
    return disentanglement(np.concatenate(codes), factors, names, seed, subset)
