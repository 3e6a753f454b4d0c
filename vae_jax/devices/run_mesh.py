"""How the runs of a sweep are spread over devices: runs first, then the batch of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vae_jax.devices import processes
from vae_jax.devices.parallel import compiler_options, shares
from vae_jax.types import Array


class RunMesh(NamedTuple):
    """How the runs of a sweep are spread over a mesh (``run``, ``data``): runs first, then the batch of each.

    Attributes:
      all_mean, split: as in ``Parallel``, within a run.
      compile: ``sweep chunk -> (state, data, length) -> (state, metrics)``, jitted; the state's buffers are donated.
      place: puts a ``SweepState`` on the devices, its runs divided; copies of the last run fill the last device.
      rows: puts any pytree with an axis of runs in front on the devices, in the same way.
      fetch: brings what is there back to the host, without the copies.
      whole: puts an array on every device.
      runs, data: the mesh's shape.
      at_once: how many runs a device has, copies included.
    """

    all_mean: Callable[[Any], Any]
    split: Callable[[Array], tuple[Array, Array]]
    compile: Callable[[Callable], Callable]
    place: Callable[[Any], Any]
    rows: Callable[[Any], Any]
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


def run_mesh(runs: int, batch_size: int, devices: Sequence[jax.Device] | None = None, remat: bool = False) -> RunMesh:
    """Spreads ``runs`` runs, each with batches of ``batch_size``, over ``devices`` (default: all); ``remat`` as in
    ``parallel``.
    """
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(runs, batch_size, len(devices))
    mesh = jax.make_mesh(shape, ("run", "data"), axis_types=(AxisType.Auto,) * 2, devices=devices)
    whole, divided = PartitionSpec(), PartitionSpec("run")
    padding = -runs % shape[0]
    options = compiler_options(remat, devices[0].platform)

    def specs(state):
        return state._replace(**{f: divided for f in state._fields if f != "step"}, step=whole)

    def rows(tree):
        def fill(leaf):
            return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], padding, axis=0)]) if padding else leaf

        return processes.put(jax.tree.map(fill, tree), NamedSharding(mesh, divided))

    def place(state):
        return type(state)(processes.put(state.step, NamedSharding(mesh, whole)), *rows(tuple(state[1:])))

    def fetch(state):
        # Shard by shard to the host: slices of an array on many devices would each be a program of all of them.
        def one(leaf):
            values = processes.fetch(leaf)
            values = values if leaf.ndim == 0 else values[:runs]
            is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            return jax.random.wrap_key_data(values, impl=jax.random.key_impl(leaf)) if is_key else jnp.asarray(values)

        return jax.tree.map(one, state)

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
            state, metrics = mapped(state, data)
            if processes.count() > 1:  # every process has to read all of them
                metrics = jax.lax.with_sharding_constraint(metrics, NamedSharding(mesh, whole))
            return state, metrics

        return jax.jit(spread, static_argnums=2, donate_argnums=0, compiler_options=options)

    if shape[1] == 1:
        all_mean, split = (lambda tree: tree), (lambda rows: (rows, jnp.arange(rows.shape[0])))
    else:
        all_mean, split = shares("data", shape[1], batch_size)
    whole_on = NamedSharding(mesh, whole)
    return RunMesh(
        *(all_mean, split, compile, place, rows, fetch),
        whole=lambda array: processes.put(array, whole_on),
        runs=shape[0],
        data=shape[1],
        at_once=(runs + padding) // shape[0],
    )
