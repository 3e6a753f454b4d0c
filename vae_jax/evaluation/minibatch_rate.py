"""The parts of the rate as one batch estimates them: biased; ``rate.py`` has the exact sums.

The weights are for log q(z) = log (1/N) sum_n q(z|x_n) with B of the N examples at hand (Chen 2018, 1802.04942).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation.rate import Decomposition, estimate, posteriors, sampled_parts
from vae_jax.gaussian import LOG_2PI, DiagGaussian
from vae_jax.types import Array


def minibatch_log_weights(batch: int, num_examples: int, method: str = "mss") -> np.ndarray:
    """Log weights ``[b, b]`` of an estimate of log q(z) from one batch: row i is for the sample of example i.

    Args:
      batch: B >= 2, examples drawn without replacement.
      num_examples: N >= B.
      method: ``mss``, minibatch-stratified (Chen 2018, 1802.04942, appendix C): 1/N for the example itself, which is
        on the diagonal, (N-B+1) / (N (B-1)) for one other and 1 / (B-1) for the rest. ``mws``, minibatch-weighted:
        1 / (NB) for all. ``batch``: 1 / B, which is q(z) of the batch alone.

    Raises:
      ValueError: for an unknown method, or not 2 <= B <= N.
    """
    if not 2 <= batch <= num_examples:
        raise ValueError(f"batch must lie between 2 and the {num_examples} examples, not {batch}")
    if method in ("mws", "batch"):
        return np.full((batch, batch), -math.log(batch * (num_examples if method == "mws" else 1)))
    if method != "mss":
        raise ValueError(f"method must be mss, mws or batch, not {method!r}")
    weights = np.full((batch, batch), 1.0 / (batch - 1))
    rows = np.arange(batch)
    weights[rows, rows] = 1.0 / num_examples
    weights[rows, (rows + 1) % batch] = (num_examples - batch + 1) / (num_examples * (batch - 1))
    return np.log(weights)


def minibatch_decomposition(mean, logvar, key: Array, log_weights) -> Decomposition:
    """The parts of the rate as one batch estimates them: biased, by tens of nats where the batch is small for its rate.

    For what is only computable from batches; the numbers to report are those of ``decompose``. The rate, the sum of
    the parts, is right whatever the weights.

    Args:
      mean, logvar: the posteriors of the batch, ``[b, d]``.
      key: consumed, by one draw of z for each example.
      log_weights: ``[b, b]``, as from ``minibatch_log_weights``; for the joint density and for every marginal.

    Returns:
      A ``Decomposition`` whose ``cap`` is minus the log weight of an example's own density: log N for ``mss``,
      log NB for ``mws``, log B for ``batch``. Standard errors are of the samples and do not contain the bias.
    """
    mean, logvar = posteriors(mean, logvar)
    log_weights = np.asarray(log_weights, np.float64)
    rate, *densities = _weighted_sums(mean, logvar, key, log_weights)
    cap = -float(np.diagonal(log_weights).min())
    return Decomposition(float(rate), *(estimate(part) for part in sampled_parts(*densities)), cap=cap)


@jax.jit
def _weighted_sums(mean, logvar, key, log_weights):
    """The batch's rate, and what ``sampled_parts`` takes."""
    q = DiagGaussian(mean, logvar)
    z = q.sample(key, 1)[0]
    each = -0.5 * (jnp.square(z[:, None] - mean) * jnp.exp(-logvar) + logvar + LOG_2PI)  # [b of z, b of q, d]
    joint = jax.nn.logsumexp(jnp.sum(each, -1) + log_weights, axis=1)
    marginal = jax.nn.logsumexp(each + log_weights[:, :, None], axis=1)
    return jnp.mean(jnp.sum(q.kl(), -1)), z, jnp.diagonal(each).T, joint, marginal
