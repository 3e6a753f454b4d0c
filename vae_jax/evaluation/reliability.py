"""Whether the decoder's intervals hold what they promise: coverage, from the probability integral transform.

Where x follows p(x|z), u = F(x|z) is uniform on [0, 1], and a share c of all x lies in the central interval of
probability c. A family of levels has jumps: there u = P(X < x) + v P(X = x) with v uniform (Czado 2009, Biometrics
65), or u would not be uniform even for the true model. z is a draw from q(z|x): for a model whose decoder is true and
whose q is the true posterior, (x, z) follows p(z) p(x|z) and the curve is the diagonal. z at the posterior mean would
know the noise of x too well. So a curve off the diagonal blames the decoder and the posterior together.

Where a family of levels is all but certain (the black border of binary digits), u is uniform by its randomisation,
whatever x: such values would hide the others. So only values are counted that the decoder gives a variance of more
than a binary value of probability 0.99 has. That choice is made from p(x|z) alone, without x, so it favours no level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation.batches import Evaluator, in_batches
from vae_jax.gaussian import at_least_float32
from vae_jax.likelihoods import Grid, is_discrete
from vae_jax.objective import infer
from vae_jax.types import Array, Likelihood, Params, value_of

BINS = 40  # of the histogram of u; each nominal level below is a whole number of them
LEVELS = np.arange(1, BINS // 2) / (BINS // 2)  # 5%, 10%, ... 95%
_RANDOMISED = 2**31  # folds an example's key apart from its draws of z, which count from 0


def transform(likelihood: Likelihood, own: Params, theta: Array, x: Array, key: Array) -> Array:
    """Returns the probability integral transform of one example, ``[event]``: uniform where x follows p(x|theta).

    Args:
      likelihood: with a ``cdf``.
      own, theta, x: as for ``log_prob``.
      key: consumed by the randomisation within a level; a density does not use it.
    """
    below, up_to = likelihood.cdf(own, at_least_float32(theta), x)
    return below + jax.random.uniform(key, below.shape, below.dtype) * (up_to - below)


def histogram(u: Array, counted: Array | bool = True) -> Array:
    """Counts how many of ``u`` are in each of ``BINS`` equal bins of [0, 1], int32; what is not a number is in none."""
    place = jnp.clip(jnp.floor(u * BINS), 0, BINS - 1)
    place = jnp.where(jnp.isnan(u) | ~jnp.asarray(counted), BINS, place).astype(jnp.int32)
    return jnp.zeros(BINS, jnp.int32).at[jnp.ravel(place)].add(1, mode="drop")


def _least_variance(support):
    """Returns the variance from which a value counts: 0 for a density; for levels that of two a step apart at 0.99."""
    if isinstance(support, tuple) and not isinstance(support, Grid):
        return np.concatenate([np.full(columns, _least_variance(part)) for part, columns in support])
    step = support.step if isinstance(support, Grid) else 1.0
    return 0.99 * 0.01 * step**2 if is_discrete(support) else -1.0


def coverage(counts) -> np.ndarray:
    """Returns the counts within each central interval of ``LEVELS``: ``[..., BINS] -> [..., 19]``."""
    counts = np.asarray(counts)
    left = np.cumsum(counts[..., BINS // 2 - 1 :: -1], axis=-1)  # from the middle outwards
    right = np.cumsum(counts[..., BINS // 2 :], axis=-1)
    return (left + right)[..., :-1]


def make_reliability(evaluator: Evaluator) -> Callable[..., dict[str, Any]]:
    """Makes ``(params, data[n, *event], key, limit=None) -> results`` over all n examples, or the first ``limit``.

    One z is drawn for each example, the one that ``make_scorer`` draws with the same key. What is kept is a histogram
    for each example of a batch, so memory is flat in n.

    Returns:
      The function; its results are plain numbers for results.json:
      ``levels``: the nominal levels, 0.05 to 0.95.
      ``coverage``: the share of the values of all examples inside the central interval of each level.
      ``standard_error``: of each coverage, from examples as the independent unit (values of one example are not).
      ``pit``: the share of u in each of 40 equal bins of [0, 1].
      ``error``: the mean of |coverage - level|, the expected calibration error; 0 is calibrated, 0.5 the worst.
      ``deviation``: the mean of coverage - level: below 0 the intervals are too narrow, above 0 too wide.
      ``values``: how many values were counted; ``share``: of all values, 1 for a density.
      For a family without ``cdf``, or a decoder that is certain of everything, there is only ``skipped``, the reason.
    """
    vae, likelihood = evaluator.vae, evaluator.likelihood
    if likelihood.cdf is None:
        return lambda params, data, key, limit=None: {"skipped": "this likelihood has no distribution function"}

    least = _least_variance(likelihood.support)

    def measure(params, x, key):
        own, theta = params["likelihood"], infer(vae, params, x, jax.random.fold_in(key, 0))[2][0]
        x = value_of(x)
        u = transform(likelihood, own, theta, x, jax.random.fold_in(key, _RANDOMISED))
        counted = ~(likelihood.variance(own, at_least_float32(theta)) <= least)
        if likelihood.counted is not None:
            counted &= likelihood.counted(x)
        return histogram(u, counted), jnp.sum(counted)

    parts = in_batches(evaluator, measure)

    def reliability(params: Params, data: Any, key: Array, limit: int | None = None) -> dict[str, Any]:
        sums, n = 0.0, 0
        for part, count in parts(params, data, key, limit):
            counts, total = (np.asarray(v, float)[:count] for v in part)
            inside, total = coverage(counts), total[:, None]
            moments = (counts, total, inside**2, inside * total, total**2)
            sums, n = sums + np.concatenate([m.sum(axis=0) for m in moments]), n + count
        return _results(sums, n, n * int(np.prod(data.shape[1:])))

    return reliability


def _results(sums, n: int, everything: int) -> dict[str, Any]:
    counts, total, squares, products, totals = np.split(sums, np.cumsum([BINS, 1, len(LEVELS), len(LEVELS)]))
    if not total > 0:
        return {"skipped": "the decoder is all but certain of every value"}
    share = coverage(counts) / total
    # Of a ratio of sums over examples: by their residuals, inside - share * total.
    error = np.sqrt(np.maximum(squares - 2.0 * share * products + share**2 * totals, 0.0) * n / max(n - 1, 1)) / total
    return {
        "levels": [float(v) for v in LEVELS],
        "coverage": [float(v) for v in share],
        "standard_error": [float(v) for v in error],
        "pit": [float(v) for v in counts / total],
        "error": float(np.mean(np.abs(share - LEVELS))),
        "deviation": float(np.mean(share - LEVELS)),
        "values": int(total[0]),
        "share": float(total[0] / everything),
    }
