"""A likelihood of what is there: missing values and constant dimensions are left out of its sum, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from vae_jax.likelihoods.shared import Grid, event_sum
from vae_jax.types import Likelihood


def partial(likelihood: Likelihood, constants: Sequence[tuple[int, float]] = ()) -> Likelihood:
    """Makes the same family without the terms of what is missing or constant.

    A missing value is a NaN in x. For a family of dimensions that are independent given z, leaving its term out is the
    marginal likelihood of the observed ones, p(x_observed|z), so the bound is one on log p(x_observed), valid where
    what is missing does not depend on the value (Mattei and Frellsen 2019, MIWAE, 1812.02633, eq. 4). An example of
    which nothing was observed has log p = 0 and no gradient.

    Args:
      likelihood: with ``terms``, the parts of its sum.
      constants: ``(index, value)`` of dimensions of the flattened event that are not modelled, because they had one
        value in all of the training data: a density of their own sigma would rise without end there. Their terms are 0,
        E[x|z] is the value, its variance is 0.

    Returns:
      A ``Likelihood`` of the same parameters, with ``counted``. Of a dimension that is not counted ``cdf`` is NaN.

    Raises:
      ValueError: for a family without ``terms``, or one that is solved for in every batch, which needs all errors.
    """
    if likelihood.terms is None:
        raise ValueError("a family whose dimensions depend on each other has no terms that could be left out")
    if likelihood.refit is not None:
        raise ValueError("a family that is solved for in every batch needs complete examples: learn its sigma")

    def fixed(shape):
        """Returns which dimensions vary, and the values of the others, ``[event]``."""
        values = np.full(int(np.prod(shape)), np.nan, np.float32)
        for index, value in constants:
            values[index] = value
        return np.isnan(values).reshape(shape), np.nan_to_num(values).reshape(shape)

    def counted(x):
        return ~jnp.isnan(x) & fixed(x.shape)[0]

    def terms(own, theta, x):
        there = counted(x)
        # A value that the family can score stands in, or the term's derivative, times 0, would not be a number.
        each = likelihood.terms(own, theta, jnp.where(there, x, _stand_in(likelihood.support, x.shape)))
        return jnp.where(there, each, 0.0)

    def cdf(own, theta, x):
        there = counted(x)
        both = likelihood.cdf(own, theta, jnp.where(there, x, _stand_in(likelihood.support, x.shape)))
        return tuple(jnp.where(there, u, jnp.nan) for u in both)

    def with_constants(function, constant_is_value=True):
        if not constants:
            return function

        def replaced(own, theta, *rest):
            result = function(own, theta, *rest)
            varies, values = fixed(result.shape)
            return jnp.where(varies, result, values.astype(result.dtype) if constant_is_value else 0.0)

        return replaced

    return likelihood._replace(
        log_prob=lambda own, theta, x: event_sum(terms(own, theta, x)),
        terms=terms,
        conditionals=None,
        counted=counted,
        mean=with_constants(likelihood.mean),
        sample=with_constants(likelihood.sample),
        variance=with_constants(likelihood.variance, constant_is_value=False),
        cdf=None if likelihood.cdf is None else cdf,
    )


def _stand_in(support, shape):
    """Returns a value in each dimension's support: 1 above 0, else 0."""
    if isinstance(support, tuple) and not isinstance(support, Grid):
        return np.concatenate([_stand_in(part, (columns,)) for part, columns in support])
    return np.full(shape, 1.0 if support == "positive" else 0.0, np.float32)
