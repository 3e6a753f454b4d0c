"""The numbers of a trained run that are of its codes: the rate taken apart, and disentanglement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from vae_jax import priors
from vae_jax.data.dataset import Dataset
from vae_jax.evaluation import Estimate, Scores, decompose
from vae_jax.evaluation.disentanglement import disentanglement
from vae_jax.randomness import RATE, purpose_key
from vae_jax.runs.build import Run
from vae_jax.types import Params

READ = 5000  # training codes that a linear reading is fitted to
# Fewer examples say little about disentanglement.
LEAST_ROWS = 1000


def rate_parts(r: Run, params: Params, scores: Scores, key: jax.Array, samples: int) -> dict[str, Any] | None:
    """Returns the rate of a split taken apart, as JSON can hold it; ``key`` is the split's.

    None where q(z|x) is no diagonal Gaussian: the aggregate posterior is then no mixture that can be summed exactly.
    And where the prior depends on a condition: there is then another aggregate posterior for each.
    """
    if not r.vae.diagonal or (r.config.condition is not None and not priors.of(r.vae).standard):
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


def left_out(r: Run) -> str:
    """Returns which numbers of the latents are null, and why; nothing of N(0, I) and a diagonal Gaussian."""
    said = []
    if r.vae.latents is not None:
        said += ["kl_per_latent is null where the rate is known of all latents together only"]
    if not priors.of(r.vae).standard:
        said += ["second_moment is null, as a prior that is not N(0, I) has any scale"]
    if not r.vae.diagonal:
        said += ["rate_parts is null, as no exact sum over the aggregate of posteriors that are not Gaussian is made"]
    return "; ".join(said)


def _plain(value):
    if isinstance(value, Estimate):
        return {k: np.asarray(v).tolist() for k, v in value._asdict().items()}
    return float(value)


def condition_in_codes(codes: Sequence[np.ndarray], dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    """Returns what a linear reading of the codes tells of the condition, on the test split; nothing without one.

    Of classes it is the accuracy of a logistic regression, beside the share of the class that is the most frequent in
    training; of numbers the R^2 of a linear regression.

    Args:
      codes: posterior means of the first training and test examples, ``[n, d]`` each.
      dataset: with the conditions of these.
    """
    if dataset.condition is None:
        return {}
    from sklearn.linear_model import LinearRegression, LogisticRegression

    train, test = (np.nan_to_num(np.asarray(part, np.float64)) for part in codes)
    some = np.linspace(0, len(train) - 1, min(len(train), READ)).astype(int)
    centre, spread = train[some].mean(axis=0), train[some].std(axis=0) + 1e-12
    train, test = (train[some] - centre) / spread, (test - centre) / spread
    found, start = [], 0
    for name, levels in zip(dataset.condition.names, dataset.condition.levels):
        columns = slice(start, start := start + (len(levels) or 1))
        known, asked = dataset.train_c[some][:, columns], dataset.test_c[: len(test)][:, columns]
        if levels:
            known, asked = known.argmax(axis=1), asked.argmax(axis=1)
            frequent = np.bincount(known).argmax()
            told = np.full(len(asked), frequent)
            if len(np.unique(known)) > 1:
                told = LogisticRegression(max_iter=300).fit(train, known).predict(test)
            numbers = {"accuracy": float(np.mean(told == asked)), "majority": float(np.mean(asked == frequent))}
        else:
            left = asked - LinearRegression().fit(train, known).predict(test)
            numbers = {"r2": float(1.0 - np.sum(left**2) / max(np.sum((asked - asked.mean()) ** 2), 1e-12))}
        found.append({"name": name, **numbers})
    return {"condition": found}


def scorable(factors: Sequence[np.ndarray | None], rows: int) -> bool:
    """Tells whether codes of so many ``rows`` can be scored: there are two factors, ``[n, k]`` of each split."""
    return not any(f is None or f.shape[1] < 2 for f in factors) and rows >= LEAST_ROWS


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
    if not scorable(factors, sum(map(len, codes))):
        return None
    factors = np.concatenate([f[: len(means)] for f, means in zip(factors, codes)])
    return disentanglement(np.concatenate(codes), factors, names, seed, subset)
