"""Training: the state, one step, many steps in one call, and the loop around them.

The step is one pure function of (state, batch); ``parallel.py`` compiles it for one device or many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vae_jax import objective as bounds
from vae_jax.randomness import INIT, batch_rows, purpose_key
from vae_jax.train.guard import counted, is_good, none_skipped, update_if
from vae_jax.train.loss import draws, make_loss
from vae_jax.train.microbatches import in_parts_on_cpu
from vae_jax.types import VAE, Array, Event, KLWeight, Likelihood, Objective, Skipped, TrainState
from vae_jax.weighting.multi_rate import log_range


def init_state(
    vae: VAE,
    likelihood: Likelihood,
    optimizer: optax.GradientTransformation,
    weight: KLWeight,
    event: Event,
    key: Array,
) -> TrainState:
    """The state before the first update.

    Args:
      vae, likelihood, optimizer, weight: what will be trained, and how.
      event: the shape of one example.
      key: the run's typed key, kept in the state.
    """

    @jax.jit  # or the initialisers would be compiled one by one, which takes longer than the training program itself
    def first(key):
        params = {"model": vae.init(purpose_key(key, INIT)), "likelihood": likelihood.init(event)}
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), weight.init(), key, none_skipped())

    return first(key)


def make_train_step(
    vae: VAE,
    likelihood: Likelihood,
    optimizer: optax.GradientTransformation,
    weight: KLWeight,
    objective: Objective = bounds.elbo,
    num_samples: int = 1,
    preprocess: Callable[[Array, Array], Array] = lambda key, raw: raw,
    all_mean: Callable[[Any], Any] = lambda value: value,
    clip_norm: float | None = None,
    beta_range: tuple[float, float] | None = None,
    microbatches: int = 1,
    cpu_parts: int = 1,
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """One update as a pure function ``(state, raw[b, *event], index[b]) -> (state, metrics)``.

    Args:
      vae, likelihood, optimizer, weight: the model, and how it is trained.
      objective: a function of the batch's terms and the weight, maximised.
      num_samples: samples of z for each example.
      preprocess: ``(key, raw[event]) -> x[event]``, e.g. a fresh binarisation.
      all_mean: the mean over devices of a pytree; the identity where one program sees the global batch.
      clip_norm: the optimiser's clipping norm, to report when it is active.
      beta_range: None, or (low, high) of a multi-rate model (``multi_rate.py``): each example is inferred and scored at
        a beta of its own, log beta uniform over the range, which multiplies ``weight`` (a constant 1, or a warm-up).

      microbatches: into how many parts the batch is cut to save memory (``loss.in_microbatches``).
      cpu_parts: into how many it is cut on a CPU to stay in its cache (``accumulation.py``), where nothing couples the
        examples of a batch.

    Returns:
      The step. ``index`` is the global position of each example in the batch (``arange(b)`` if left out): noise is
      keyed by (run key, step, index), so it does not depend on the number of devices. ``metrics`` are scalars of
      this update, before it: ``loss`` (minimised, weighted, nats), ``elbo``, ``rate``, ``distortion`` (nats, weight
      1), ``beta`` (applied) and what else the weight logs, ``grad_norm``, ``clipped`` (0 or 1), and ``sigma`` where
      the family has one. With ``beta_range`` all are means over the batch, of which ``beta`` is the geometric one.
      An update whose loss or gradient is not finite is skipped: parameters, optimiser and weight stay as they are to
      the bit (so the optimiser's own count, and with it the learning rate, knows made updates only), the step goes
      on. ``skipped`` is then 1, ``skipped_in_a_row`` and ``skipped_total`` are the counts after the update.

    Raises:
      ValueError: a ``beta_range`` that is none, or with another objective than the ELBO, a controller or a ``refit``.
    """
    if beta_range is not None:
        log_range(beta_range)
        _check_multi_rate(likelihood, weight, objective)

    loss_fn = make_loss(vae, likelihood, objective, num_samples, all_mean, microbatches)
    coupled = likelihood.refit is not None or objective not in bounds.SEPARABLE

    def gradient(fixed, batch):
        (params, value), (x, keys, eta) = fixed, batch
        return jax.grad(loss_fn, has_aux=True)(params, x, keys, value, eta)

    gradient = in_parts_on_cpu(gradient, 1 if coupled or microbatches > 1 else cpu_parts)

    def step(state: TrainState, raw: Array, index: Array | None = None):
        index = jnp.arange(raw.shape[0]) if index is None else index
        x, keys, eta = draws(state, raw, index, preprocess, beta_range)
        value = jnp.asarray(weight.value(state.weight_state, state.step), jnp.float32)
        grads, (metrics, kept) = gradient((state.params, value), (x, keys, eta))
        grads, metrics = all_mean((grads, metrics))
        grad_norm = optax.tree.norm(grads)
        clipped = jnp.zeros(()) if clip_norm is None else (grad_norm > clip_norm).astype(jnp.float32)

        def update(before):
            params, opt_state, weight_state = before
            updates, opt_state = optimizer.update(grads, opt_state, params)
            params = optax.apply_updates(params, updates)
            if likelihood.refit is not None:
                params = {**params, "likelihood": kept}
            return params, opt_state, weight.update(weight_state, state.step, metrics)

        good = is_good(state.skipped, metrics["loss"], grad_norm)  # of averages alone, so that all devices agree
        after = update_if(good, update, (state.params, state.opt_state, state.weight_state))
        skipped = counted(good, state.skipped)
        logged = {"beta": value} if weight.logged is None else weight.logged(state.weight_state, state.step, metrics)
        if beta_range is not None:
            logged = {"beta": value * jnp.exp(all_mean(jnp.mean(eta)))}
        logged |= {"grad_norm": grad_norm, "clipped": clipped, **_of_skipped(good, skipped)}
        return TrainState(state.step + 1, *after, state.key, skipped), {**metrics, **logged}

    return step


def _of_skipped(good: Array, skipped: Skipped) -> dict[str, Array]:
    counts = {f"skipped_{name}": value.astype(jnp.float32) for name, value in skipped._asdict().items()}
    return {"skipped": 1.0 - good.astype(jnp.float32), **counts}


def _check_multi_rate(likelihood: Likelihood, weight: KLWeight, objective: Objective) -> None:
    """Raises a ``ValueError`` for what cannot be trained at a beta for each example."""
    if objective is not bounds.elbo:
        raise ValueError("only the ELBO can be trained at a beta for each example: other objectives take one weight")
    if weight.logged is not None:
        raise ValueError("a controller holds one rate or distortion, and a batch of many betas has many")
    if likelihood.refit is not None:
        raise ValueError("a likelihood that is solved for in every batch would mix the errors of all betas")


def make_chunk(
    step: Callable,
    num_examples: int,
    batch_size: int,
    split: Callable[[Array], tuple[Array, Array]],
    take: Callable[[Array, Array], Array] = lambda data, rows: data[rows],
    blocks: int = 1,
) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """Many updates as one program: ``(state, data[n, *event], length) -> (state, metrics [length])``.

    The data stays on the device; the batches of the whole chunk are arithmetic on the state's step and key.

    Args:
      step: one update.
      num_examples, batch_size: of the data; the batch is the global one.
      split: ``rows[b] -> (rows, index)`` of this device (``parallel.py``).
      take: ``(data, rows) -> raw`` of this device.
      blocks: as for ``randomness.batch_rows``: the batch size where the data are divided among devices.
    """

    def chunk(state: TrainState, data: Array, length: int):
        rows = batch_rows(state.key, state.step, length, num_examples, batch_size, blocks)

        def body(state, rows):
            rows, index = split(rows)
            return step(state, take(data, rows), index)

        return jax.lax.scan(body, state, rows)

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
        return jax.lax.scan(lambda state, raw: step(state, raw, index), state, raw)

    return chunk
