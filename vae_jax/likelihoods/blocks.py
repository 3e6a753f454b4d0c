"""A table with columns of different kinds: a family for each block of columns, and one explicit sum over them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from vae_jax.gaussian import at_least_float32
from vae_jax.types import Likelihood


def blocks(parts: Sequence[tuple[Likelihood, int]]) -> Likelihood:
    """Makes rows ``[f]`` whose first columns follow one family, the next another, and so on, independent given z.

    log p(x|z) is the plain sum over the blocks: every column counts by its own log density or probability, so a
    continuous column in other units weighs the same up to a constant, and nothing is balanced by hand.

    Args:
      parts: ``(family, number of columns)`` in the order of the columns.

    Returns:
      A ``Likelihood`` for the event ``(f,)``. theta is the blocks' thetas, each flattened, one after another. ``own``
      is a dict of those blocks that have parameters, by their index. A ``frozen`` block has a zero gradient; the whole
      is ``frozen`` where every block with parameters is. ``support`` is the tuple of the blocks' ``(support,
      columns)``. There is no ``sigma`` and no ``sigma_bound``: no one number is true of all columns.

    Raises:
      ValueError: for no blocks, a block without columns, or a family that is refitted in closed form, whose batch
        statistics are of a whole event; from ``theta_shape`` and ``init`` for an event of another width.
    """
    _check_parts(parts)
    families, widths = zip(*parts)
    shapes = [tuple(family.theta_shape((width,))) for family, width in parts]
    sizes = [math.prod(shape) for shape in shapes]
    # Of the blocks of classes, the most that one has.
    most = max((shape[-1] for shape, family in zip(shapes, families) if family.log_classes is not None), default=None)
    owners = [i for i, (family, width) in enumerate(parts) if family.init((width,))]

    def check(event):
        if tuple(event) != (sum(widths),):
            raise ValueError(f"the blocks describe rows of {sum(widths)} columns, not examples of shape {tuple(event)}")

    def each(own, theta):  # (family, its own, its theta) for each block
        theta, start = at_least_float32(theta), 0
        for i, (family, shape, size) in enumerate(zip(families, shapes, sizes)):
            mine = own.get(str(i), {})
            mine = jax.lax.stop_gradient(mine) if family.frozen else mine
            yield family, mine, jnp.reshape(theta[start : start + size], shape)
            start += size

    def columns(x):
        return jnp.split(x, list(itertools.accumulate(widths[:-1])))

    def log_prob(own, theta, x):
        return sum(family.log_prob(o, t, c) for (family, o, t), c in zip(each(own, theta), columns(x)))

    def terms(own, theta, x):
        return jnp.concatenate([family.terms(o, t, c) for (family, o, t), c in zip(each(own, theta), columns(x))])

    def cdf(own, theta, x):
        both = [family.cdf(o, t, c) for (family, o, t), c in zip(each(own, theta), columns(x))]
        return tuple(map(jnp.concatenate, zip(*both)))

    def log_classes(own, theta):
        rows = []
        for (family, o, t), width in zip(each(own, theta), widths):
            mine = jnp.full((width, 1), -jnp.inf) if family.log_classes is None else family.log_classes(o, t)
            rows.append(jnp.pad(mine, ((0, 0), (0, most - mine.shape[1])), constant_values=-jnp.inf))
        return jnp.concatenate(rows)

    def sample(own, theta, key):
        keys = jax.random.split(key, len(families))
        return jnp.concatenate([family.sample(o, t, k) for (family, o, t), k in zip(each(own, theta), keys)])

    return Likelihood(
        init=lambda event: check(event) or {str(i): families[i].init((widths[i],)) for i in owners},
        theta_shape=lambda event: check(event) or (sum(sizes),),
        log_prob=log_prob,
        mean=lambda own, theta: jnp.concatenate([family.mean(o, t) for family, o, t in each(own, theta)]),
        sample=sample,
        variance=lambda own, theta: jnp.concatenate([family.variance(o, t) for family, o, t in each(own, theta)]),
        support=tuple((family.support, width) for family, width in parts),
        frozen=all(families[i].frozen for i in owners),
        cdf=None if any(family.cdf is None for family in families) else cdf,
        log_classes=None if most is None else log_classes,
        terms=None if any(family.terms is None for family in families) else terms,
    )


def _check_parts(parts: Sequence[tuple[Likelihood, int]]) -> None:
    if not parts:
        raise ValueError("blocks needs at least one (family, number of columns)")
    families, widths = zip(*parts)
    if min(widths) < 1:
        raise ValueError(f"each block needs at least one column, not {min(widths)}")
    if any(family.refit is not None for family in families):
        raise ValueError("a family that is solved for in every batch cannot be a block of columns: learn its sigma")
