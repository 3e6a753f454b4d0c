"""Why an update was skipped: the term, the examples and the parameters behind a number that is not finite.

A skipped update leaves the parameters as they were, and its noise is keyed by (key, step, example). So the update can
be computed again from the state, term by term, which training has no time for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax import objective as bounds
from vae_jax.train.loss import draws, make_loss, score_batch
from vae_jax.train.recipe import Recipe
from vae_jax.types import Array, TrainState

NAMED = 5  # rows, and gradients, that a sentence names

TERMS = (  # in the order of the computation
    "the example",
    "the encoder's mean",
    "the encoder's log variance",
    "z",
    "the decoder's output",
    "the likelihood's own parameters",
    "log p(x|z)",
    "log p(z)",
    "log q(z|x)",
    "the KL",
)
PARAMETERS = "a parameter"
OBJECTIVE = "the objective"
GRADIENT = "the gradient alone"
NORM = "the square of the gradient"


class Diagnosis(NamedTuple):
    """The first number that is not finite in an update that was computed again.

    Attributes:
      step: of the update.
      term: the first of ``TERMS`` that is not finite, or one of the four words above; None where all is finite.
      rows: the training examples that have it, where it belongs to examples.
      batch: how many examples there were.
      leaves: the paths of the gradients that are not finite; with ``PARAMETERS`` those of the parameters, with ``NORM``
        that of the largest gradient.
      num_leaves: how many leaves the parameters have.
      largest: path and value of the parameter that is the largest in size.
    """

    step: int
    term: str | None
    rows: list[int]
    batch: int
    leaves: list[str]
    num_leaves: int
    largest: tuple[str, float]


def diagnose(recipe: Recipe, state: TrainState, raw: Array, rows: Array) -> Diagnosis:
    """Computes one update again and says where it went wrong.

    Args:
      recipe: that of the update. One device computes it again, and the batch as a whole.
      state: with the parameters and the weight's state that the update had; its step is the update's.
      raw: the batch, ``[b, *event]``, in the order of training.
      rows: which training examples they are, ``[b]``.
    """
    recipe = recipe._replace(all_mean=lambda tree: tree, microbatches=1)
    params = state.params
    beta = jnp.asarray(recipe.weight.value(state.weight_state, state.step), jnp.float32)
    x, keys, eta = draws(recipe, state, raw, jnp.arange(raw.shape[0]))
    gradient = jax.grad(make_loss(recipe), has_aux=True)

    @jax.jit
    def compute(params, x, keys, eta):
        scored = score_batch(recipe, params, x, keys, eta)
        grads, (metrics, _) = gradient(params, beta, x, keys, eta)
        return _terms(x, scored), metrics["loss"], optax.tree.norm(grads), grads

    @jax.jit
    def has_bad_gradient(params, x, keys, eta):
        def alone(one):
            x, key, eta = jax.tree.map(lambda leaf: leaf[None], one)
            grads = gradient(params, beta, x, key, eta)[0]
            return ~jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(grads)]))

        return jax.lax.map(alone, (x, keys, eta))

    flags, loss, norm, grads = compute(params, x, keys, eta)
    terms = dict(zip(TERMS, flags))  # a dict that leaves a compiled function has lost its order
    term, of_row = _first_not_finite(params, terms, loss, norm, grads), np.zeros(len(rows), bool)
    if term in terms and np.ndim(terms[term]):
        of_row = ~np.asarray(terms[term])
    elif term == GRADIENT:
        of_row = np.asarray(has_bad_gradient(params, x, keys, eta))
    return Diagnosis(
        step=int(state.step),
        term=term,
        rows=[int(row) for row in np.asarray(rows)[of_row]],
        batch=len(rows),
        leaves=[_largest(grads)[0]] if term == NORM else _not_finite(params if term == PARAMETERS else grads),
        num_leaves=len(jax.tree.leaves(grads)),
        largest=_largest(params),
    )


def _terms(x, scored) -> tuple[Array, ...]:
    """Whether each of ``TERMS`` is finite: ``[b]``, or a scalar of the whole batch."""

    def each(tree):
        flags = [jnp.isfinite(leaf).reshape(x.shape[0], -1).all(axis=1) for leaf in jax.tree.leaves(tree)]
        return jnp.all(jnp.stack(flags), axis=0)

    t = scored.terms
    own = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(scored.own)]
    encoded = (each(x), each(t.q.mean), each(t.q.logvar), each(t.z))
    decoded = (each(scored.theta), jnp.all(jnp.array([True, *own])))
    return *encoded, *decoded, each(t.log_px_z), each(t.log_pz), each(t.log_qz), each(bounds.rate(t))


def _first_not_finite(params, terms, loss, norm, grads) -> str | None:
    if _not_finite(params):
        return PARAMETERS
    if not np.isfinite(loss):  # a term that does not enter the loss may be anything where the loss is well
        return next((name for name, well in terms.items() if not np.all(well)), OBJECTIVE)
    if _not_finite(grads):
        return GRADIENT
    return None if np.isfinite(norm) else NORM


def _paths(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in leaves}


def _not_finite(tree: Any) -> list[str]:
    return [path for path, leaf in _paths(tree).items() if not np.all(np.isfinite(leaf))]


def _largest(tree: Any) -> tuple[str, float]:
    def size(item):
        return float(np.nan_to_num(np.abs(item[1]), nan=np.inf).max(initial=0.0))

    path, leaf = max(_paths(tree).items(), key=size)
    return path, float(leaf.flat[np.argmax(np.nan_to_num(np.abs(leaf), nan=np.inf))])


def sentence(d: Diagnosis) -> str:
    """Writes a diagnosis as a sentence, without its full stop."""
    path, value = d.largest
    largest = f"the largest parameter is {path}, {value:.4g}"
    if d.term is None:
        return f"Computed again, every number of step {d.step} is finite; {largest}"
    if d.term == PARAMETERS:
        return f"At step {d.step} {len(d.leaves)} of {d.num_leaves} parameters are not finite: {_some(d.leaves)}"
    where = ""
    if d.rows:
        kind = "row" if len(d.rows) == 1 else "rows"
        where = f", for {len(d.rows)} of {d.batch} examples ({kind} {_some(d.rows)} of the training data)"
    gradients = f"{len(d.leaves)} of {d.num_leaves} gradients are not finite"
    if d.term == NORM:
        gradients = f"the largest gradient is that of {d.leaves[0]}"
    elif len(d.leaves) < d.num_leaves:
        gradients += f" ({_some(d.leaves)})" if d.leaves else ""
    return f"At step {d.step} the first that is not finite is {d.term}{where}; {gradients}; {largest}"


def _some(items) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(map(str, items[:NAMED])) + more
