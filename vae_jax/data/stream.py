"""Batches for training that are read while the ones before them are used: for data that do not fit on the devices.

Which rows a batch has is arithmetic on (key, step), as for data on the devices, so a stream has no state: it begins at
any step, and a checkpoint needs the step alone.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator

import jax
import numpy as np

from vae_jax.data.rows import Rows
from vae_jax.randomness import batches_per_epoch, epoch_rows

AHEAD = 2**28  # bytes of batches that have been read and wait, where two of them are not more
MOST_AHEAD = 64  # batches
AT_ONCE = 4  # batches being read at once; the rows of each are read by threads of their own
EPOCHS = 2  # orders that are kept: a batch of the next epoch is read before the last one of this epoch is done


def epoch_order(key: jax.Array, num_examples: int, batch_size: int, blocks: int = 1) -> Callable[[int], np.ndarray]:
    """Returns ``step -> rows [b]`` on the host: those of ``randomness.batch_rows``, from any number of threads.

    Args:
      key: the run's key; read now, so its buffer may be consumed afterwards.
      num_examples, batch_size, blocks: as for ``batch_rows``.
    """
    sizes = (num_examples, batch_size, blocks)
    key_data, impl = np.asarray(jax.random.key_data(key)), jax.random.key_impl(key)
    lock = threading.Lock()

    @functools.lru_cache(EPOCHS)
    def rows_of(epoch):
        with jax.default_device(_host()):
            return np.asarray(_epoch(key_data, epoch, sizes, impl))

    def rows(step):
        epoch, batch = divmod(step, batches_per_epoch(*sizes))
        with lock:  # or each thread would compute a new epoch for itself
            return rows_of(epoch)[batch]

    return rows


@functools.partial(jax.jit, static_argnums=(2, 3))
def _epoch(key_data, epoch, sizes, impl):
    return epoch_rows(jax.random.wrap_key_data(key_data, impl=impl), epoch, *sizes)


def _host() -> jax.Device | None:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX was told to leave the CPU alone
        return None


def ahead_of(batch_bytes: int) -> int:
    """How many batches of so many bytes are to be ready: ``AHEAD`` bytes of them, never fewer than two."""
    return max(2, min(MOST_AHEAD, AHEAD // max(batch_bytes, 1)))


def stream(
    rows: np.ndarray | Rows,
    order: Callable[[int], np.ndarray],
    first: int,
    last: int,
    share: slice = slice(None),
    ahead: int | None = None,
    threads: int | None = None,
) -> Iterator[np.ndarray]:
    """The batches of steps ``first`` to ``last - 1``, each ``[b, *event]`` of its own, read ahead by threads.

    Close it (``contextlib.closing``), or let go of it, to stop the reading before its end; the batches that are being
    read at that moment are read to their end and dropped.

    Args:
      rows: the training split, ``[n, *event]``.
      order: step -> the rows of its batch, such as ``epoch_order`` returns.
      first, last: the steps.
      share: which part of each batch, where every process reads its own.
      ahead: how many batches may wait, besides the one that has been handed out. None: as ``ahead_of`` says.
      threads: how many batches are read at once. None: four, or as many as may wait.

    Raises:
      UserError: from the iterator, when it comes to a batch that could not be read, as ``rows`` raised it.
    """
    if first >= last:
        return
    import grain

    count = len(order(first)[share])
    ahead = ahead or ahead_of(count * math.prod(rows.shape[1:]) * rows.dtype.itemsize)
    options = grain.ReadOptions(num_threads=min(threads or AT_ONCE, ahead), prefetch_buffer_size=ahead)
    batches = grain.MapDataset.range(first, last).map(lambda step: rows[order(int(step))[share]])
    reader = iter(batches.to_iter_dataset(options))
    try:
        yield from reader
    finally:
        reader.close()
