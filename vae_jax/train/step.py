"""One training step: the first state, one update, and many updates as one program.

The step is one pure function of (state, batch); ``devices/parallel.py`` compiles it for one device or many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from vae_jax.randomness import INIT, batch_rows, purpose_key
from vae_jax.train.best import nothing_yet
from vae_jax.train.guard import counted, is_good, none_skipped, update_if
from vae_jax.train.loss import draws, make_loss
from vae_jax.train.microbatches import in_parts_on_cpu
from vae_jax.train.recipe import Recipe, check
from vae_jax.train.widths import narrowed
from vae_jax.types import Array, Event, TrainState


def init_state(recipe: Recipe, event: Event, key: Array, has_best: bool = False) -> TrainState:
    """The state before the first update.

    Args:
      recipe: what will be trained, and how.
      event: the shape of one example.
      key: the run's typed key, kept in the state.
      has_best: whether the state is to keep the best of its models.
    """

    @jax.jit  # or the initialisers would be compiled one by one, which takes longer than the training program itself
    def first(key):
        params = {"model": recipe.vae.init(purpose_key(key, INIT)), "likelihood": recipe.likelihood.init(event)}
        opt_state, weight_state = recipe.optimizer.init(params), recipe.weight.init()
        best = nothing_yet(params, weight_state) if has_best else None
        return TrainState(jnp.zeros((), jnp.int32), params, opt_state, weight_state, key, none_skipped(), best)

    return first(key)


def make_train_step(recipe: Recipe) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """One update as a pure function ``(state, raw[b, *event], index[b], longest) -> (state, metrics)``.

    ``index`` is the global position of each example in the batch (``arange(b)`` if left out): noise is keyed by (run
    key, step, index), so it does not depend on the number of devices. ``longest`` is the length of the longest
    sentence of the global batch, where the recipe has ``widths``; left out, the batch is as wide as it is.

    ``metrics`` are scalars of this update, before it: ``loss`` (minimised, weighted, nats), ``elbo``, ``rate``,
    ``distortion`` (nats, weight 1), ``beta`` (applied) and what else the weight logs, ``grad_norm``, ``clipped`` (0 or
    1), and ``sigma`` where the family has one. With a ``beta_range`` all are means over the batch, of which ``beta`` is
    the geometric one.

    An update whose loss or gradient is not finite is skipped: parameters, optimiser and weight stay as they are to the
    bit (so the optimiser's own count, and with it the learning rate, knows made updates only), the step goes on.
    ``skipped`` is then 1, ``skipped_in_a_row`` and ``skipped_total`` are the counts after the update.

    Raises:
      ValueError: the recipe's ``beta_range`` does not go with its other parts.
    """
    check(recipe)
    likelihood, weight = recipe.likelihood, recipe.weight
    loss = jax.grad(make_loss(recipe), has_aux=True)
    cut = recipe.microbatches == 1 and not recipe.couples_examples
    gradient = in_parts_on_cpu(lambda fixed, batch: loss(*fixed, *batch), recipe.cpu_parts if cut else 1)
    narrow = narrowed(gradient, recipe.widths)

    def step(state: TrainState, raw: Array, index: Array | None = None, longest: Array | None = None):
        index = jnp.arange(raw.shape[0]) if index is None else index
        x, keys, eta = draws(recipe, state, raw, index)
        beta = jnp.asarray(weight.value(state.weight_state, state.step), jnp.float32)
        fixed, batch = (state.params, beta), (x, keys, eta)
        whole = longest is None or not recipe.widths
        grads, (metrics, kept) = gradient(fixed, batch) if whole else narrow(fixed, batch, longest)
        grads, metrics = recipe.all_mean((grads, metrics))
        grad_norm = optax.tree.norm(grads)

        def update(before):
            params, opt_state, weight_state = before
            updates, opt_state = recipe.optimizer.update(grads, opt_state, params)
            params = optax.apply_updates(params, updates)
            if likelihood.refit is not None:
                params = {**params, "likelihood": kept}
            return params, opt_state, weight.update(weight_state, state.step, metrics)

        good = is_good(state.skipped, metrics["loss"], grad_norm)  # of averages alone, so that all devices agree
        after = update_if(good, update, (state.params, state.opt_state, state.weight_state))
        skipped = counted(good, state.skipped)
        logged = {"beta": beta} if weight.logged is None else weight.logged(state.weight_state, state.step, metrics)
        if recipe.beta_range is not None:
            logged = {"beta": beta * jnp.exp(recipe.all_mean(jnp.mean(eta)))}
        clipped = jnp.zeros(()) if recipe.clip_norm is None else (grad_norm > recipe.clip_norm).astype(jnp.float32)
        logged |= {"grad_norm": grad_norm, "clipped": clipped, "skipped": 1.0 - good.astype(jnp.float32)}
        logged |= {f"skipped_{name}": count.astype(jnp.float32) for name, count in skipped._asdict().items()}
        return TrainState(state.step + 1, *after, state.key, skipped, state.best), {**metrics, **logged}

    return step


def make_chunk(
    step: Callable,
    num_examples: int,
    batch_size: int,
    split: Callable[[Array], tuple[Array, Array]],
    take: Callable[[Array, Array], Array] = lambda data, rows: data[rows],
    blocks: int = 1,
    lengths_of: Callable[[Array], Array] | None = None,
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """Many updates as one program: ``(state, data[n, *event], length) -> (state, metrics [length])``.

    The data stays on the device; the batches of the whole chunk are arithmetic on the state's step and key.

    Args:
      step: one update.
      num_examples, batch_size: of the data; the batch is the global one.
      split: ``rows[b] -> (rows, index)`` of this device (``devices/parallel.py``).
      take: ``(data, rows) -> raw`` of this device.
      blocks: as for ``randomness.batch_rows``: the batch size where the data are divided among devices.
      lengths_of: ``data -> lengths [n]``, by which batches are made of examples that are alike; None for not.
    """

    def chunk(state: TrainState, data: Array, length: int):
        lengths = None if lengths_of is None else lengths_of(data)
        rows = batch_rows(state.key, state.step, length, num_examples, batch_size, blocks, lengths)
        # Of global batches, so that all devices take the same width.
        longest = None if lengths is None else jnp.max(lengths[rows], axis=1)

        def body(state, batch):
            rows, longest = batch
            rows, index = split(rows)
            return step(state, take(data, rows), index, longest)

        return scanned(body, state, (rows, longest))

    return chunk


def make_fed_chunk(
    step: Callable, batch_size: int, split: Callable[[Array], tuple[Array, Array]]
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """A chunk whose batches come from the host: ``(state, raw[length, b, *event], length) -> (state, metrics)``.

    Args:
      step, batch_size, split: as for ``make_chunk``; ``raw`` holds the rows that ``make_chunk`` would have taken.
    """

    def chunk(state: TrainState, raw: Array, length: int):
        del length  # that of ``raw``
        _, index = split(jnp.arange(batch_size))
        return scanned(lambda state, raw: step(state, raw, index), state, raw)

    return chunk


def scanned(body: Callable, state: TrainState, batches: Any) -> tuple[TrainState, dict[str, Array]]:
    """``jax.lax.scan`` of ``body``, ``(state, batch) -> (state, metrics)``, that writes one array a step.

    On a GPU each array that a loop writes a row of is a kernel of its own: ten metrics were ten of the hundred kernels
    of an update of a small VAE.
    """

    def packed(state, batch):
        nonlocal unpack
        state, metrics = body(state, batch)
        flat, unpack = ravel_pytree(metrics)
        return state, flat

    unpack = None
    state, rows = jax.lax.scan(packed, state, batches)
    return state, jax.vmap(unpack)(rows)
