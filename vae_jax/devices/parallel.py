"""Meshes and modes: the same step, compiled for one device or many, under ``jit`` or ``pmap``.

``jit`` with shardings is the default: one program sees the global batch. ``pmap`` is a mode of the same step, in
which each device sees its shard and ``all_mean`` averages; a test holds the two equal. The devices may belong to
several processes (``processes.py``), which all run the same program.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vae_jax.devices import processes
from vae_jax.types import Array, UserError

AXIS = "b"
LAYOUTS = ("whole", "divided", "streamed")
SMALLEST_SHARD = 2**16  # values: a leaf with fewer costs more to gather than to hold


class Parallel(NamedTuple):
    """How a chunk is spread over devices.

    Attributes:
      layout: where the training data are, one of ``LAYOUTS``: whole on each device, divided among the devices (each
        holds its own part of every batch), or on the host, from which the batches of a few steps come at a time.
      all_mean: the mean of a pytree over devices, for ``train.Recipe``.
      split: ``rows[b] -> (rows, index)`` of this device, for ``make_chunk``.
      take: ``(data, rows) -> raw``, the examples of this device; nothing is exchanged.
      compile: ``chunk -> (state, data, length) -> (state, metrics)``, jitted; the state's buffers are donated.
      measure: ``jax.jit`` for evaluation, whose results every process can read.
      begin: ``(() -> state) -> state``, the first state on the devices, as training holds it.
      place: puts a pytree on the devices, whole on each.
      lay: puts the training data on the devices, as ``layout`` says.
      feed: ``raw [length, b / processes, ...] -> data`` of one call of a streamed chunk.
      shard: puts an array on the devices, its first axis divided among them.
      share: the part of each batch that this process reads.
      devices: how many there are.
    """

    layout: str
    all_mean: Callable[[Any], Any]
    split: Callable[[Array], tuple[Array, Array]]
    take: Callable[[Array, Array], Array]
    compile: Callable[[Callable], Callable]
    measure: Callable[..., Callable]
    begin: Callable[[Callable[[], Any]], Any]
    place: Callable[[Any], Any]
    lay: Callable[[Any], Array]
    feed: Callable[[Any], Array]
    shard: Callable[[Array], Array]
    share: slice
    devices: int


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of one axis over ``devices`` (default: all)."""
    devices = jax.devices() if devices is None else devices
    # Auto axes: explicit ones, the default of newer jax, break vmapped code.
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def parallel(
    mode: str,
    batch_size: int,
    devices: Sequence[jax.Device] | None = None,
    layout: str = "whole",
    shard_params: bool = False,
    remat: bool = False,
) -> Parallel:
    """The way of spreading named ``mode``.

    Args:
      mode: "jit" or "pmap".
      batch_size: the global one.
      devices: default all.
      layout: where the training data are, one of ``LAYOUTS``.
      shard_params: divide parameters and the optimiser's state among the devices, for models that do not fit on one:
        each leaf along its longest axis that can be cut, and whole where it is small. Only under jit.
      remat: whether a chunk makes again what its gradient needs, which a CPU has to be kept from undoing.

    Raises:
      UserError: the devices do not divide the batch; ``shard_params`` under pmap; pmap over several processes.
      ValueError: an unknown mode or layout.
    """
    mesh = make_mesh(devices)
    if batch_size % mesh.size:
        raise UserError(
            f"--batch_size={batch_size} cannot be divided among {mesh.size} devices; make it a multiple of {mesh.size}"
        )
    if mode not in ("jit", "pmap"):
        raise ValueError(f"parallel must be jit or pmap, not {mode!r}")
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    if mode == "pmap" and shard_params:
        raise UserError("--shard_params divides the parameters, of which pmap keeps a copy on each device; use jit")
    if mode == "pmap" and processes.count() > 1:
        raise UserError("--parallel=pmap is for the devices of one process; use --parallel=jit over several")
    whole, sharded = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(AXIS))
    per_process = batch_size // processes.count()
    parts = {
        "begin": lambda first: processes.put(first(), whole),
        "lay": lambda data: jax.tree.map(
            lambda part: _lay(part, *((sharded, batch_size) if layout == "divided" else (whole, 1))), data
        ),
        "measure": functools.partial(jax.jit, out_shardings=whole),
        "place": lambda tree: processes.put(tree, whole),
        "shard": lambda array: processes.put(array, sharded),
        "share": slice(jax.process_index() * per_process, (jax.process_index() + 1) * per_process),
        "devices": mesh.size,
    }
    if mode == "pmap":
        parts |= _pmap(mesh, batch_size, layout, whole, sharded)
    else:
        parts |= _jit(mesh, layout, shard_params, remat, whole, sharded)
    return Parallel(layout, **parts)


def _jit(
    mesh: Mesh, layout: str, shard_params: bool, remat: bool, whole: NamedSharding, sharded: NamedSharding
) -> dict[str, Any]:
    """One program sees the global batch; the compiler divides it and averages the gradients."""
    over_batch = NamedSharding(mesh, PartitionSpec(None, AXIS))
    options = compiler_options(remat, mesh.devices.flat[0].platform)

    def split(rows):
        index = jnp.arange(rows.shape[0])
        return tuple(jax.lax.with_sharding_constraint(v, sharded) for v in (rows, index))

    def take(data, rows):
        if layout != "divided":
            return data[rows]
        spec = PartitionSpec(AXIS)
        # Left to itself the compiler would look for every row on every device and exchange what it finds.
        return jax.shard_map(_own_rows, mesh=mesh, in_specs=(spec, spec), out_specs=spec)(data, rows)

    def compile(chunk):
        def divided(state, data, length):
            state, metrics = chunk(state, data, length)
            return jax.lax.with_sharding_constraint(state, _parts(state, mesh)), metrics

        if shard_params:
            return jax.jit(divided, static_argnums=2, donate_argnums=0, compiler_options=options)
        return jax.jit(chunk, static_argnums=2, donate_argnums=0, out_shardings=whole, compiler_options=options)

    def begin(first):
        # Made in its parts: no device ever holds all of it.
        return jax.jit(first, out_shardings=_parts(jax.eval_shape(first), mesh))()

    def feed(raw):
        return jax.tree.map(lambda part: jax.make_array_from_process_local_data(over_batch, part), raw)

    parts = {"all_mean": lambda tree: tree, "split": split, "take": take, "compile": compile, "feed": feed}
    return parts | ({"begin": begin} if shard_params else {})


def compiler_options(remat: bool, platform: str) -> dict[str, str] | None:
    """Returns what the compiler has to be told so that ``jax.checkpoint`` holds less; None where nothing.

    XLA's CPU backend drops the barriers of ``jax.checkpoint`` first of all, and then finds that everything is there
    already: what was to be made again is held, and no byte saved.
    """
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if remat and platform == "cpu" else None


def _parts(state: Any, mesh: Mesh) -> Any:
    """How each leaf of a state is divided: along its longest axis that can be cut, or not at all."""

    def one(leaf):
        cut = [axis for axis, length in enumerate(leaf.shape) if length % mesh.size == 0]
        if math.prod(leaf.shape) < SMALLEST_SHARD or not cut:
            return NamedSharding(mesh, PartitionSpec())
        longest = max(cut, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, AXIS))

    return jax.tree.map(one, state)


def _lay(data: Any, sharding: NamedSharding, multiple: int) -> Array:
    """The first ``n`` examples on the devices, n a multiple; each process reads what its own devices hold."""
    n = len(data) // multiple * multiple
    shape = (n, *data.shape[1:])
    return jax.make_array_from_callback(shape, sharding, lambda index: np.asarray(data[slice(*index[0].indices(n))]))


def _own_rows(data: Array, rows: Array) -> Array:
    """The examples ``rows``, all of which this device holds, of data that are divided among the devices."""
    return data[rows - jax.lax.axis_index(AXIS) * data.shape[0]]


def shares(axis: str, devices: int, batch_size: int):
    """``all_mean`` and ``split`` where each device runs the step on its share of the batch."""
    per_device = batch_size // devices

    def split(rows):
        index = jax.lax.axis_index(axis) * per_device + jnp.arange(per_device)
        return rows[index], index

    return (lambda tree: jax.lax.pmean(tree, axis)), split


def _pmap(mesh: Mesh, batch_size: int, layout: str, whole: NamedSharding, sharded: NamedSharding) -> dict[str, Any]:
    """Each device runs the step on its share of the batch; ``all_mean`` is the only thing they exchange."""
    all_mean, split = shares(AXIS, mesh.size, batch_size)

    def take(data, rows):
        return _own_rows(data, rows) if layout == "divided" else data[rows]

    def compile(chunk):
        # pmap wants one mapped argument: the rank. The state is whole on every device, and the data where they fit.
        mapped = jax.pmap(
            lambda rank, state, data, length: chunk(state, data, length),
            axis_name=AXIS,
            in_axes=(0, None, None if layout == "whole" else 0),
            out_axes=None,
            static_broadcasted_argnums=3,
            devices=list(mesh.devices.flat),
        )
        ranks = jnp.arange(mesh.size)
        return lambda state, data, length: jax.device_put(mapped(ranks, state, data, length), whole)

    def lay(data):
        def cut(part):
            part = np.asarray(part[: len(part) // batch_size * batch_size])
            return part.reshape(mesh.size, -1, *part.shape[1:])

        return jax.device_put(jax.tree.map(cut, data), sharded)

    def feed(raw):
        def cut(part):
            return part.reshape(part.shape[0], mesh.size, -1, *part.shape[2:]).swapaxes(0, 1)

        return jax.device_put(jax.tree.map(cut, raw), sharded)

    parts = {"all_mean": all_mean, "split": split, "take": take, "compile": compile, "feed": feed}
    return parts | ({"lay": lay} if layout == "divided" else {})
