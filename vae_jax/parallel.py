"""Meshes and modes: the same step, compiled for one device or many, under ``jit`` or ``pmap``.

``jit`` with shardings is the default: one program sees the global batch. ``pmap`` is a mode of the same step, in
which each device sees its shard and ``all_mean`` averages; a test holds the two equal.
"""

from __future__ import annotations

import math
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


def _shares(axis: str, devices: int, batch_size: int):
    """``all_mean`` and ``split`` where each device runs the step on its share of the batch."""
    per_device = batch_size // devices

    def split(rows):
        index = jax.lax.axis_index(axis) * per_device + jnp.arange(per_device)
        return rows[index], index

    return (lambda tree: jax.lax.pmean(tree, axis)), split


def _pmap(mesh: Mesh, whole: NamedSharding, batch_size: int):
    """Each device runs the step on its share of the batch; ``all_mean`` is the only thing they exchange."""

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

    return *_shares(AXIS, mesh.size, batch_size), compile


class RunMesh(NamedTuple):
    """How the runs of a sweep are spread over a mesh (``run``, ``data``): runs first, then the batch of each.

    Attributes:
      all_mean, split: as in ``Parallel``, within a run.
      compile: ``sweep chunk -> (state, data, length) -> (state, metrics)``, jitted; the state's buffers are donated.
      place: puts a ``SweepState`` on the devices, its runs divided; copies of the last run fill the last device.
      fetch: brings it back to the host, without the copies.
      whole: puts an array on every device.
      runs, data: the mesh's shape.
      at_once: how many runs a device has, copies included.
    """

    all_mean: Callable[[Any], Any]
    split: Callable[[Array], tuple[Array, Array]]
    compile: Callable[[Callable], Callable]
    place: Callable[[Any], Any]
    fetch: Callable[[Any], Any]
    whole: Callable[[Array], Array]
    runs: int
    data: int
    at_once: int


def mesh_shape(runs: int, batch_size: int, devices: int) -> tuple[int, int]:
    """How many parts the runs and the batch are cut into: what keeps the devices busiest, else the least exchange.

    Args:
      runs, batch_size: of the sweep.
      devices: how many there are.
    """
    shapes = [(n, devices // n) for n in range(1, devices + 1) if devices % n == 0]
    shapes = [(n, m) for n, m in shapes if batch_size % m == 0] or [(devices, 1)]

    def cost(shape):
        # The time of a step: runs of a device, times its share of a batch. A batch that is cut costs an exchange of
        # gradients in every step, runs cost none: each halving has to be worth a quarter more.
        return -(-runs // shape[0]) / shape[1] * (1.0 + 0.25 * math.log2(shape[1])), shape[1]

    return min(shapes, key=cost)


def _host(devices: Sequence[jax.Device]) -> jax.Device:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX was told to leave the CPU alone
        return devices[0]


def run_mesh(runs: int, batch_size: int, devices: Sequence[jax.Device] | None = None) -> RunMesh:
    """Spreads ``runs`` runs, each with batches of ``batch_size``, over ``devices`` (default: all)."""
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(runs, batch_size, len(devices))
    mesh = jax.make_mesh(shape, ("run", "data"), axis_types=(AxisType.Auto,) * 2, devices=devices)
    whole, divided = PartitionSpec(), PartitionSpec("run")
    padding = -runs % shape[0]

    def specs(state):
        return state._replace(**{f: divided for f in state._fields if f != "step"}, step=whole)

    def place(state):
        def fill(leaf):
            return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], padding, axis=0)]) if padding else leaf

        filled = jax.tree.map(fill, tuple(state[1:]))
        rows = jax.device_put(filled, NamedSharding(mesh, divided))
        return type(state)(jax.device_put(state.step, NamedSharding(mesh, whole)), *rows)

    def fetch(state):
        # Shard by shard to the host: slices of an array on many devices would each be a program of all of them.
        state = jax.device_put(state, _host(devices))
        return type(state)(state.step, *jax.tree.map(lambda leaf: leaf[:runs], tuple(state[1:]))) if padding else state

    def compile(chunk):
        def spread(state, data, length):
            # Every device runs the same code on its runs and its share of their batches: nothing is left to guess.
            mapped = jax.shard_map(
                lambda state, data: chunk(state, data, length),
                mesh=mesh,
                in_specs=(specs(state), whole),
                out_specs=(specs(state), divided),
                check_vma=False,  # gradients are averaged by ``all_mean``, and not summed by the transpose as well
            )
            return mapped(state, data)

        return jax.jit(spread, static_argnums=2, donate_argnums=0)

    if shape[1] == 1:
        all_mean, split = (lambda tree: tree), (lambda rows: (rows, jnp.arange(rows.shape[0])))
    else:
        all_mean, split = _shares("data", shape[1], batch_size)
    whole_on = NamedSharding(mesh, whole)
    return RunMesh(
        *(all_mean, split, compile, place, fetch),
        whole=lambda array: jax.device_put(array, whole_on),
        runs=shape[0],
        data=shape[1],
        at_once=(runs + padding) // shape[0],
    )
