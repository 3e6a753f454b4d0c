"""Several processes as one program: what only the first does, how they agree, and arrays on all of their devices.

Every process runs the same commands on the same numbers; the first one alone writes, except for checkpoints, which all
write. With one process every function here is the plain one.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from vae_jax.types import UserError

T = TypeVar("T")
LONGEST = 2000  # bytes of a message that one process sends to all
TO_BE_CONTINUED = 143  # the exit status of work that a scheduler is to start again: as after SIGTERM, 128 + 15
_LOST = ("gloo", "nccl", "connection", "coordination", "heartbeat", "peer", "deadline")  # in errors of a lost process


def count() -> int:
    """How many processes there are."""
    # Asked before anything else: to count processes JAX would start its devices.
    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is process 0, which writes."""
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
    """Runs ``action`` on process 0 alone: returns its result there, None elsewhere. Where it fails, no process goes on.

    Raises:
      UserError: on all processes, as ``action`` raised it on the first.
    """
    if count() == 1:
        return action()
    return _same_end(action if is_first() else (lambda: None))


def all_do(action: Callable[[], T]) -> T:
    """Runs ``action``, which has to succeed on all processes, on each of them.

    Raises:
      UserError: on all processes, where it failed on one.
    """
    return action() if count() == 1 else _same_end(action)


def _same_end(action):
    result, failure, reason = None, None, ""
    try:
        result = action()
    except UserError as error:
        failure, reason = error, str(error)
    except Exception as error:  # whatever it is, the others must not wait for this process
        failure, reason = error, f"{type(error).__name__}: {error}"
    for rank, message in enumerate(_gather(reason)):
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
    """Returns the ``value`` of process 0: files that it wrote may not be seen elsewhere yet."""
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
    """Enters ``context`` on process 0, and nothing elsewhere."""
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
    return jax.tree.map(lambda leaf: _put(leaf, sharding), tree)


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
