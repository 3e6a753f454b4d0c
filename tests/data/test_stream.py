"""Streams: the batches that a run with its data on the devices would see, read ahead, and nothing left behind."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from vae_jax.data import stream as stream_module
from vae_jax.data.rows import Rows
from vae_jax.data.stream import AHEAD, MOST_AHEAD, ahead_of, epoch_order, stream
from vae_jax.randomness import batch_rows
from vae_jax.types import UserError

ROOT = Path(__file__).parents[2]
KEY = jax.random.key(7)
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 4, 3, 1)).astype(np.uint8)


def rows_of(array) -> Rows:
    return Rows(lambda indices: [array[i] for i in indices], array.shape, b"mine")


@pytest.mark.parametrize("n, b, blocks", [(50, 8, 1), (50, 8, 4)])
def test_the_order_is_that_of_data_on_the_devices(n, b, blocks):
    """Over several epochs, whatever steps are asked for and in whichever order."""
    steps = 3 * (n // b) + 2
    expected = np.asarray(batch_rows(KEY, 0, steps, n, b, blocks))
    order = epoch_order(KEY, n, b, blocks)
    for step in [*range(steps), 0, steps - 1, 1, *range(steps - 1, -1, -1)]:
        np.testing.assert_array_equal(order(step), expected[step])
    later = np.asarray(batch_rows(KEY, 10**6, steps, n, b, blocks))[:3]
    np.testing.assert_array_equal([order(10**6 + i) for i in range(3)], later)
    key = jax.random.clone(KEY)
    order = epoch_order(key, n, b, blocks)
    key.delete()  # the order outlives the buffer of its key
    np.testing.assert_array_equal(order(0), expected[0])


def test_one_order_for_many_threads(monkeypatch):
    order, computed = epoch_order(KEY, 50, 5), []
    monkeypatch.setattr(
        stream_module, "_epoch", lambda *a, compute=stream_module._epoch: computed.append(a[1]) or compute(*a)
    )
    found = [None] * 60

    def ask(first):
        for step in range(first, 60, 6):
            found[step] = order(step)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found, np.asarray(batch_rows(KEY, 0, 60, 50, 5)))
    assert set(computed) == set(range(6)) and len(computed) < 60


@pytest.mark.parametrize(
    "split", [IMAGES, rows_of(IMAGES), IMAGES.astype(np.float32) / 7], ids=["uint8", "rows", "float"]
)
def test_a_stream_gives_the_rows_of_each_step(split):
    order = epoch_order(KEY, 50, 8)
    batches = list(stream(split, order, 0, 20))
    assert len(batches) == 20 and all(b.dtype == split.dtype and type(b) is np.ndarray for b in batches)
    array = split if isinstance(split, np.ndarray) else IMAGES
    np.testing.assert_array_equal(batches, array[np.asarray(batch_rows(KEY, 0, 20, 50, 8))])
    # From any step on, the same: a checkpoint needs the step alone.
    np.testing.assert_array_equal(list(stream(split, epoch_order(KEY, 50, 8), 13, 20)), batches[13:])
    assert list(stream(split, order, 20, 20)) == []


def test_the_shares_of_all_processes_are_the_batch():
    order = epoch_order(KEY, 50, 8)
    parts = [list(stream(rows_of(IMAGES), order, 2, 9, slice(2 * i, 2 * i + 2))) for i in range(4)]
    assert parts[0][0].shape == (2, 4, 3, 1)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), list(stream(IMAGES, order, 2, 9)))


class Watched:
    """Rows that count the batches that have been begun, and wait where they are told to."""

    def __init__(self, array=IMAGES):
        self.shape, self.dtype, self.array = array.shape, array.dtype, array
        self.begun, self.now, self.most, self.lock = 0, 0, 0, threading.Lock()
        self.seconds = 0.0

    def __getitem__(self, rows):
        with self.lock:
            self.begun, self.now = self.begun + 1, self.now + 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        return self.array[rows]


def settled(split: Watched, expected: int) -> int:
    """How many batches have been begun, a while after they were as many as expected."""
    deadline = time.monotonic() + 30
    while (split.now or split.begun < expected) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    return split.begun


@pytest.mark.parametrize("ahead, threads", [(2, None), (5, 3)])
def test_no_more_is_read_than_may_wait(ahead, threads):
    split = Watched()
    split.seconds = 0.002
    with contextlib.closing(stream(split, epoch_order(KEY, 50, 8), 0, 40, ahead=ahead, threads=threads)) as batches:
        assert split.begun == 0
        for taken, _ in enumerate(batches, 1):
            assert split.begun <= taken + ahead
            if taken % 10 == 0:  # whoever takes his time finds all of it waiting, and no more
                assert settled(split, min(taken + ahead, 40)) == min(taken + ahead, 40)
    assert split.most <= min(threads or 4, ahead) and split.begun == 40


def test_as_much_waits_as_its_bytes_allow():
    assert ahead_of(AHEAD // 10) == 10 and ahead_of(AHEAD) == ahead_of(10**12) == 2 and ahead_of(0) == MOST_AHEAD
    large = Watched(np.zeros((50, 2**20), np.uint8))  # a batch of 8 MiB
    with contextlib.closing(stream(large, epoch_order(KEY, 50, 8), 0, 1000)) as batches:
        next(batches)
        assert settled(large, 33) == 33


def test_an_error_comes_with_the_batch_it_is_in_and_names_its_row():
    def read(indices):
        if 13 in indices:
            raise UserError("13.png: cannot be used, truncated or damaged (no end); remove it")
        return [IMAGES[i] for i in indices]

    order = epoch_order(KEY, 50, 8)
    bad = next(step for step in range(6) if 13 in order(step))
    batches = stream(Rows(read, IMAGES.shape, b""), order, 0, 20)
    for step in range(bad):
        np.testing.assert_array_equal(next(batches), IMAGES[order(step)])
    with pytest.raises(UserError, match=r"^13\.png: cannot be used"):
        next(batches)
    with pytest.raises(StopIteration):  # and it is over
        next(batches)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("grain-prefetch")]


def gone(within=5.0) -> bool:
    deadline = time.monotonic() + within
    while readers() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not readers()


@pytest.mark.parametrize("stop", ["closed", "dropped", "ended", "failed"])
def test_no_thread_outlives_its_stream(stop):
    assert gone()
    split = Watched()
    split.seconds = 0.01
    batches = stream(split, epoch_order(KEY, 50, 8), 0, 1000 if stop != "ended" else 3)
    next(batches)
    assert readers()
    if stop == "closed":
        batches.close()
    elif stop == "dropped":
        del batches
    elif stop == "ended":
        assert len(list(batches)) == 2
    else:
        split.array = split.array[:1]
        with pytest.raises(IndexError):
            list(batches)
    assert gone()
    begun = split.begun
    time.sleep(0.05)
    assert split.begun == begun


def test_a_program_that_stops_early_ends():
    """Left in the middle of an epoch with batches being read, by an error and without a word of goodbye."""
    code = """
import time
import numpy as np
from vae_jax.data.stream import stream

class Slow:
    shape, dtype = (100, 4), np.dtype(np.uint8)
    def __getitem__(self, rows):
        time.sleep(0.2)
        return np.zeros((len(rows), 4), np.uint8)

batches = stream(Slow(), lambda step: np.arange(8), 0, 10**6)
next(batches)
raise SystemExit(7)
"""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
    assert time.monotonic() - began < 60
