"""What an encoder sees of a table's row: its columns on the scales and in the numbers that a network can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.likelihoods.shared import Grid
from vae_jax.types import VAE, Array, beside, condition_of, value_of


def row_features(
    columns: Sequence[tuple[str | Grid, int]],
    missing: Sequence[int] = (),
    as_it_is: bool = False,
    means: Mapping[int, float] | None = None,
) -> tuple[int, Callable[[Array], Array]]:
    """Makes ``x[f] -> features[g]``, and returns g with it.

    A value above 0 becomes its logarithm, a count log(1 + x), the code of a class a vector of zeros and one 1, and
    anything else stays as it is. A missing value, NaN in x, is 0, in all numbers of a class. What is missing is then
    told from an observed 0 by a number for each column of ``missing``, 1 where its value is not there.

    Args:
      columns: the support of each block of columns and how many it has, as of ``likelihoods.blocks``. Only a ``Grid``
        of step 1 is of classes.
      missing: the columns, counted from 0, that miss a value somewhere in the training data.
      as_it_is: leaves out all but what missing values need.
      means: of columns of counts, by their number: log(1 + mean) is taken off, or an encoder begins far from 0.
    """
    columns = tuple(columns) if not as_it_is else (("real", sum(width for _, width in columns)),)
    sizes = [width * (kind.count if is_class(kind) else 1) for kind, width in columns]

    centres = np.zeros(sum(width for _, width in columns), np.float32)
    for index, mean in (means or {}).items():
        centres[index] = np.log1p(mean)

    def features(x):
        seen, start, parts = ~jnp.isnan(x), 0, []
        for kind, width in columns:
            part, there, centre = (v[start : start + width] for v in (x, seen, centres))
            part, start = jnp.where(there, part, 1.0 if kind == "positive" else 0.0), start + width
            if is_class(kind):
                classes = jax.nn.one_hot(jnp.rint(part).astype(jnp.int32), kind.count, dtype=part.dtype)
                part = jnp.ravel(jnp.where(there[:, None], classes, 0.0))
            part = _SCALES[kind](part) if kind in _SCALES else part
            parts.append(jnp.where(there, part - centre, 0.0) if kind == "count" and means else part)
        return jnp.concatenate([*parts, ~seen[jnp.asarray(missing, int)]]).astype(x.dtype)

    return sum(sizes) + len(missing), features


_SCALES = {"positive": jnp.log, "count": jnp.log1p}


def is_class(kind: str | Grid) -> bool:
    """Says whether a support is of codes of classes, not of levels with an order."""
    return isinstance(kind, Grid) and kind.step == 1


def seeing(vae: VAE, features: Callable[[Array], Array]) -> VAE:
    """Returns the same networks, whose encoder reads ``features(x)`` in place of x."""

    def read(x):
        return beside(features(value_of(x)), condition_of(x))

    if vae.latents is not None:
        inner = vae.latents
        vae = vae._replace(latents=lambda params, x, key, n: inner(params, read(x), key, n))
    return vae._replace(encode=lambda params, x: vae.encode(params, read(x)))
