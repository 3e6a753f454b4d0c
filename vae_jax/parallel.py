"""Meshes and modes: the same step, compiled for one device or many, under ``jit`` or ``pmap``.

``jit`` with shardings is the default: one program sees the global batch. ``pmap`` is a mode of the same step, in
which each device sees its shard and ``all_mean`` averages; a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vae_jax.types import Array, UserError

AXIS = "b"


class Parallel(NamedTuple):
    """How a chunk is spread over devices.

    Attributes:
      all_mean: the mean of a pytree over devices, for ``make_train_step``.
      split: ``rows[b] -> (rows, index)`` of this device, for ``make_chunk``.
      compile: ``chunk -> (state, data, length) -> (state, metrics)``, jitted; the state's buffers are donated.
      place: puts a pytree on the devices, whole on each.
      shard: puts an array on the devices, its first axis divided among them.
      devices: how many there are.
    """

    all_mean: Callable[[Any], Any]
    split: Callable[[Array], tuple[Array, Array]]
    compile: Callable[[Callable], Callable]
    place: Callable[[Any], Any]
    shard: Callable[[Array], Array]
    devices: int


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of one axis over ``devices`` (default: all)."""
    devices = jax.devices() if devices is None else devices
    # Auto axes: explicit ones, the default of newer jax, break vmapped code.
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def parallel(mode: str, batch_size: int, devices: Sequence[jax.Device] | None = None) -> Parallel:
    """The way of spreading named ``mode``.

    Args:
      mode: "jit" or "pmap".
      batch_size: the global one.
      devices: default all.

    Raises:
      UserError: the devices do not divide the batch.
      ValueError: an unknown mode.
    """
    mesh = make_mesh(devices)
    if batch_size % mesh.size:
        raise UserError(
            f"--batch_size={batch_size} cannot be divided among {mesh.size} devices; make it a multiple of {mesh.size}"
        )

    if mode not in ("jit", "pmap"):
        raise ValueError(f"parallel must be jit or pmap, not {mode!r}")
    whole, sharded = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))
    all_mean, split, compile = _jit(whole, sharded) if mode == "jit" else _pmap(mesh, whole, batch_size)
    return Parallel(
        all_mean,
        split,
        compile,
        place=lambda tree: jax.device_put(tree, whole),
        shard=lambda array: jax.device_put(array, sharded),
        devices=mesh.size,
    )


def _jit(whole: NamedSharding, sharded: NamedSharding):
    """One program sees the global batch; the compiler divides it and averages the gradients."""

    def split(rows):
        index = jnp.arange(rows.shape[0])
        return tuple(jax.lax.with_sharding_constraint(v, sharded) for v in (rows, index))

    def compile(chunk):
        return jax.jit(chunk, static_argnums=2, donate_argnums=0, out_shardings=whole)

    return (lambda tree: tree), split, compile


def _pmap(mesh: Mesh, whole: NamedSharding, batch_size: int):
    """Each device runs the step on its share of the batch; ``all_mean`` is the only thing they exchange."""
    per_device = batch_size // mesh.size

    def split(rows):
        index = jax.lax.axis_index(AXIS) * per_device + jnp.arange(per_device)
        return rows[index], index

    def compile(chunk):
        # pmap wants one mapped argument: the rank. State and data are whole on every device.
        mapped = jax.pmap(
            lambda rank, state, data, length: chunk(state, data, length),
            axis_name=AXIS,
            in_axes=(0, None, None),
            out_axes=None,
            static_broadcasted_argnums=3,
            devices=list(mesh.devices.flat),
        )
        ranks = jnp.arange(mesh.size)
        return lambda state, data, length: jax.device_put(mapped(ranks, state, data, length), whole)

    return (lambda tree: jax.lax.pmean(tree, AXIS)), split, compile
