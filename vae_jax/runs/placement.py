"""Where the training data are while a run is trained, and in which order its batches are drawn.

The order depends on the data alone, so the numbers of a run do not depend on the machine; the place depends on both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from vae_jax.data.dataset import Dataset
from vae_jax.data.rows import Rows
from vae_jax.devices import memory, processes
from vae_jax.devices.parallel import Parallel
from vae_jax.types import UserError, value_of

IN_BLOCKS = 2**30  # bytes of training data from which batches are drawn from blocks, so that devices can divide them
SHARE = 0.4  # of a memory that the data may take


class Splits(NamedTuple):
    """The splits of a run's data as evaluation takes them: on the devices where they fit, else on the host."""

    train: Any
    validation: Any
    test: Any


def bytes_held() -> int:
    """The most bytes of a split that this process holds in the memory of its host."""
    try:
        host = jax.local_devices(backend="cpu")
    except RuntimeError:  # JAX was told to leave the CPU alone
        return 2**33
    return int(SHARE * memory.total(host[0]) * len(host))


def order(config: Any, dataset: Dataset) -> str:
    """``shuffled`` or ``blocks``, as --order says or the size of the data."""
    if config.order != "auto":
        return config.order
    large = dataset.train.nbytes > IN_BLOCKS or config.placement == "divided"
    return "blocks" if large else "shuffled"


def layout(config: Any, dataset: Dataset) -> str:
    """One of ``parallel.LAYOUTS``: as --placement says, or the first that fits.

    Args:
      config: with its ``order`` settled.
      dataset: the data.

    Raises:
      UserError: what was asked for does not fit.
    """
    size, devices = dataset.train.nbytes, jax.devices()
    room = SHARE * memory.total(devices[0])
    fits = {"whole": size <= room, "divided": size / len(devices) <= room, "streamed": True}
    if config.placement != "auto":
        if not fits[config.placement]:
            raise UserError(
                f"--placement={config.placement}: the training data are {size / 1e9:.3g} GB, and a device has room for "
                f"{room / 1e9:.3g} GB of data; use --placement=streamed, or auto"
            )
        return config.placement
    if config.buckets > 1:
        if not fits["whole"]:
            raise UserError(f"--buckets={config.buckets} needs the training data whole on each device: drop it")
        return "whole"
    if isinstance(dataset.train, Rows):  # not even the host held them
        return "streamed"
    return next(name for name in fits if fits[name] and (name != "divided" or config.order == "blocks"))


def on_devices(spread: Parallel, split: Any) -> Any:
    """A split for evaluation: whole on each device where there is room for it, else as it is, on the host."""
    if split is None:
        return None
    room = SHARE * memory.total(jax.devices()[0]) / 2  # the training data may have taken theirs
    return split if isinstance(value_of(split), Rows) or split.nbytes > room else spread.place(split)


def splits(spread: Parallel, dataset: Dataset, train: Any = None) -> Splits:
    """Returns all splits for evaluation; ``train`` where that is placed already."""
    train = on_devices(spread, dataset.split("train")) if train is None else train
    return Splits(train, *(on_devices(spread, dataset.split(name)) for name in ("validation", "test")))


def describe(layout: str, config: Any, dataset: Dataset) -> str:
    """The line that says where the data are and how batches are drawn."""
    n, devices = len(dataset.train), len(jax.devices())
    places = {
        "whole": "whole on " + ("the device" if devices == 1 else f"each of {devices} devices"),
        "divided": f"divided among {devices} devices",
        "streamed": "streamed from the host",
    }
    line = f"data: {n:,} training examples, {memory.size_in_words(dataset.train.nbytes)}, {places[layout]}"
    if processes.count() > 1:
        line += f", {processes.count()} processes"
    if config.order == "blocks":
        left = n % config.batch_size
        line += f"; batches take one example from each of {config.batch_size} blocks"
        line += f" (the last {left} examples are never drawn)" if left else ""
    return line
