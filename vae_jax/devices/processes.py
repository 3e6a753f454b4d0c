"""Several processes as one program: how they join, what only the first does, and how they agree.

Every process runs the same commands on the same numbers; the first one alone writes, except for checkpoints, which all
write. With one process every function here is the plain one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from vae_jax.types import UserError

T = TypeVar("T")
LONGEST = 2000  # bytes of a message that one process sends to all
TO_BE_CONTINUED = 143  # the exit status of work that a scheduler is to start again: as after SIGTERM, 128 + 15
_LOST = ("gloo", "nccl", "connection", "coordination", "heartbeat", "peer", "deadline")  # in errors of a lost process


def start(cluster: Cluster | None) -> None:
    """Joins the cluster; before JAX uses a device. Only the first process speaks on standard output from here on.

    Raises:
      UserError: the others were not found.
    """
    if cluster is None:
        return
    with contextlib.suppress(AttributeError):  # a version without it
        jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is ours: ``interruption.py``
    named = {} if cluster.coordinator is None else cluster._asdict()
    if named:
        named = {"coordinator_address": named.pop("coordinator")} | {k: v for k, v in named.items() if k != "by"}
    try:
        jax.distributed.initialize(**named)
    except Exception as error:  # sockets, time limits and wrong variables raise errors of many kinds
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the processes (found by {cluster.by}) could not join: {reason}; start all of them with one coordinator"
        ) from error
    if not is_first():
        sys.stdout = open(os.devnull, "w")


def count() -> int:
    """How many processes there are."""
    # Asked before anything else: to count processes JAX would start its devices.
    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return count() == 1 or jax.process_index() == 0


def is_lost_peer(error: Exception) -> bool:
    """Whether an exchange failed because another process has gone."""
    words = str(error).lower()
    return count() > 1 and isinstance(error, jax.errors.JaxRuntimeError) and any(word in words for word in _LOST)


def leave(status: int) -> typing.NoReturn:
    """Ends this process without waiting for the others, which may never come: they stop by themselves or are ended."""
    sys.stdout.flush()
    sys.stderr.flush()
    if count() == 1:
        sys.exit(status)
    if is_first():
        time.sleep(0.5)  # the others lose their coordinator with it: let those that end as well do so first
    os._exit(status)


def first_does(action: Callable[[], T]) -> T | None:
    """What process 0 alone does: its result there, None elsewhere. Where it fails, no process goes on.

    Raises:
      UserError: on all processes, as ``action`` raised it on the first.
    """
    if count() == 1:
        return action()
    return _same_end(action if is_first() else (lambda: None))


def all_do(action: Callable[[], T]) -> T:
    """What every process does by itself, and which has to succeed on all of them.

    Raises:
      UserError: on all processes, where it failed on one.
    """
    return action() if count() == 1 else _same_end(action)


def _same_end(action):
    result, failure = None, None
    try:
        result = action()
    except Exception as error:  # whatever it is, the others must not wait for this process
        failure = error
    said = (
        "" if failure is None else f"{'' if isinstance(failure, UserError) else type(failure).__name__ + ': '}{failure}"
    )
    for rank, message in enumerate(_gather(said)):
        if message:
            raise failure if failure is not None else UserError(f"{message} (process {rank})")
    return result


def _gather(text: str) -> list[str]:
    """One string of every process, in their order."""
    from jax.experimental import multihost_utils

    packed = np.zeros(LONGEST, np.uint8)
    encoded = np.frombuffer(text.encode()[:LONGEST], np.uint8)
    packed[: len(encoded)] = encoded
    rows = np.asarray(multihost_utils.process_allgather(packed)).reshape(-1, LONGEST)
    return [bytes(row).rstrip(b"\0").decode(errors="ignore") for row in rows]


def told_by_first(value: bool) -> bool:
    """What process 0 thinks: files that it wrote may not be seen elsewhere yet."""
    if count() == 1:
        return value
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.array(value)))


def check_equal(what: str, value: str) -> None:
    """Refuses processes that were started with different ``what``.

    Raises:
      UserError: on all of them, naming the first that differs.
    """
    if count() == 1:
        return
    import hashlib

    digests = _gather(hashlib.sha256(value.encode()).hexdigest())
    other = next((i for i, digest in enumerate(digests) if digest != digests[0]), None)
    if other is not None:
        raise UserError(f"process {other} was started with other {what} than process 0; start all with the same")


def at_first(context: Callable[[], contextlib.AbstractContextManager]) -> contextlib.AbstractContextManager:
    """The context of process 0; a context of nothing elsewhere."""
    return context() if is_first() else contextlib.nullcontext()


class Agreement:
    """A question that every process answers at each chunk and none waits for: did anybody ask for a stop?

    The answers travel over the devices behind the chunk that was just dispatched, and are read when the next one has
    been: so all processes hear of a request at the same chunk, one after it was made.
    """

    def __init__(self, ask: Callable[[], bool]):
        self._ask, self._asked = ask, None
        if count() > 1:
            devices = jax.devices()
            mesh = jax.make_mesh((len(devices),), ("all",), devices=devices)
            spec = jax.sharding.PartitionSpec
            self._divided = jax.sharding.NamedSharding(mesh, spec("all"))
            self._any = jax.jit(lambda flags: flags.max(), out_shardings=jax.sharding.NamedSharding(mesh, spec()))
            self._flags = (len(devices),)

    def __call__(self) -> bool:
        """Whether all processes are to stop now."""
        if count() == 1:
            return self._ask()
        answer = self._asked is not None and bool(self._asked)
        own = np.full(1, self._ask(), np.int32)
        self._asked = self._any(jax.make_array_from_callback(self._flags, self._divided, lambda _: own))
        return answer


def put(tree: Any, sharding: Any) -> Any:
    """Puts a pytree on devices of all processes, each of which holds the same values.

    Args:
      tree: numpy and JAX arrays, typed keys among them.
      sharding: of all leaves.
    """
    if count() == 1:
        return jax.device_put(tree, sharding)
    one = isinstance(sharding, jax.sharding.Sharding)
    return jax.tree.map(
        lambda leaf, s: _put(leaf, s), tree, jax.tree.map(lambda _: sharding, tree) if one else sharding
    )


def _put(leaf, sharding):
    if isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def fetch(leaf: jax.Array) -> np.ndarray:
    """One array on the host, whole, whatever devices of whatever process hold it; a typed key by its data."""
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
        return np.asarray(jax.device_get(leaf))
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))


class Cluster(NamedTuple):
    """Who takes part: the address of process 0, how many processes there are and which one this is.

    None everywhere but in ``by`` where JAX finds them itself.
    """

    by: str
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def find(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    environ: Mapping[str, str] = os.environ,
) -> Cluster | None:
    """The cluster that this process belongs to: by the flags, by JAX_* variables, by what started it; None for none.

    Args:
      coordinator, num_processes, process_id: the flags; all or none.
      environ: the environment: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID (or the index that
        Kubernetes gives to a pod of an indexed job), Slurm's and Open MPI's variables, TPU hosts.

    Raises:
      UserError: some of the three are missing, or they cannot be.
    """
    flags = {"--coordinator": coordinator, "--num_processes": num_processes, "--process_id": process_id}
    if any(value is not None for value in flags.values()):
        return _check("flags", flags)
    if "JAX_COORDINATOR_ADDRESS" in environ:
        rank = environ.get("JAX_PROCESS_ID", environ.get("JOB_COMPLETION_INDEX"))
        names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        values = (environ["JAX_COORDINATOR_ADDRESS"], environ.get("JAX_NUM_PROCESSES"), rank)
        return _check("variables", dict(zip(names, values)))
    if _count(environ, "SLURM_NTASKS") > 1 and "SLURM_STEP_NODELIST" in environ and "SLURM_PROCID" in environ:
        return Cluster("Slurm")  # inside srun; a batch script by itself has no step
    if _count(environ, "OMPI_COMM_WORLD_SIZE") > 1:
        return Cluster("Open MPI")
    if "," in environ.get("TPU_WORKER_HOSTNAMES", ""):
        return Cluster("TPU hosts")
    return None


def _count(environ, name) -> int:
    value = environ.get(name, "")
    return int(value) if value.isdigit() else 0


def _check(by: str, given: dict[str, Any]) -> Cluster | None:
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise UserError(f"several processes need {', '.join(given)}; {missing[0]} is missing")
    (where, address), (how_many, count), (which, rank) = given.items()
    try:
        count, rank = int(count), int(rank)
    except ValueError:
        raise UserError(f"{how_many}={count} and {which}={rank} must be whole numbers") from None
    host, _, port = str(address).rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"{where}={address} must be HOST:PORT, the address of process 0")
    if count < 1 or not 0 <= rank < count:
        raise UserError(f"{which}={rank} must be from 0 to {how_many} - 1, and {how_many} is {count}")
    return Cluster(by, str(address), count, rank) if count > 1 else None


DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def join(config: Any) -> Any:
    """Joins the other processes, if there are any, and returns the configuration that all of them share.

    Args:
      config: with the flags ``deterministic``, ``coordinator``, ``num_processes`` and ``process_id``.

    Raises:
      UserError: the processes do not find each other, or were started with different flags.
    """
    if config.deterministic and DETERMINISTIC not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    start(find(config.coordinator, config.num_processes, config.process_id))
    shared = dataclasses.replace(config, coordinator=None, num_processes=None, process_id=None)
    check_equal("flags", repr(shared))
    return shared
