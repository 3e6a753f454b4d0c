"""Evaluation of data on the host: the numbers of data on the devices, with only the rows of a batch on their way."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax import likelihoods, models
from vae_jax.data.pixels import preprocess
from vae_jax.data.rows import Rows
from vae_jax.devices.parallel import parallel
from vae_jax.evaluation import make_fidelity, make_reliability, make_scorer, make_swapped
from vae_jax.evaluation.batches import Evaluator, gather, in_batches
from vae_jax.evaluation.pictures import pictures
from vae_jax.gaussian import DiagGaussian
from vae_jax.types import VAE

EVENT, KEY = (6, 5, 1), jax.random.key(3)
IMAGES = np.random.default_rng(0).integers(0, 256, (53, *EVENT)).astype(np.uint8)
VIEW = preprocess("dequantised", 256)


class Counted:
    """Rows of ``IMAGES`` that know how many were read at a time."""

    def __init__(self):
        self.asked = []
        self.rows = Rows(lambda indices: self.asked.extend(indices) or [IMAGES[i] for i in indices], IMAGES.shape, b"")


def model():
    likelihood = likelihoods.gaussian("learned")
    vae = models.mlp(EVENT, likelihood.theta_shape(EVENT), 3, (16,))
    return vae, likelihood, {"model": vae.init(jax.random.key(0)), "likelihood": likelihood.init(EVENT)}


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("size", [1, 20, 53, 100])
@pytest.mark.parametrize("limit", [None, 30, 99])
def test_a_batch_is_read_when_its_turn_comes(size, limit):
    counted = Counted()
    parts = in_batches(Evaluator(None, None, VIEW, size), lambda params, x, key: (jnp.sum(x), jax.random.normal(key)))
    expected = gather(parts({}, jnp.asarray(IMAGES), KEY, limit))
    n = min(limit or 53, 53)
    assert len(expected[0]) == n
    same(gather(parts({}, IMAGES, KEY, limit)), expected)
    same(gather(parts({}, counted.rows, KEY, limit)), expected)
    assert sorted(counted.asked) == list(range(n))  # each once: the padding repeats the last, which is read once
    counted.asked.clear()
    for done, (_, count) in enumerate(parts({}, counted.rows, KEY, limit)):
        assert len(counted.asked) <= (done + 1) * size and count <= size


@pytest.mark.parametrize("count", [2, 8])
def test_each_device_gets_its_part_of_a_batch(count):
    spread = parallel("jit", count, jax.devices()[:count])
    counted = Counted()
    measure = lambda params, x, key: (x, jax.random.normal(key))  # noqa: E731
    alone = gather(in_batches(Evaluator(None, None, VIEW, 20), measure)({}, IMAGES, KEY))
    parts = in_batches(Evaluator(None, None, VIEW, 20, spread.shard, spread.devices, spread.measure), measure)
    same(gather(parts({}, spread.place(IMAGES), KEY)), alone)
    same(gather(parts({}, counted.rows, KEY)), alone)
    assert sorted(set(counted.asked)) == list(range(53)) and len(counted.asked) <= 53 + count
    part, _ = next(parts({}, counted.rows, KEY))
    assert part[0].sharding.is_fully_replicated  # whoever asks has all of it


@pytest.mark.parametrize("make", [make_scorer, make_fidelity, make_reliability, make_swapped])
def test_every_instrument_takes_data_on_the_host(make):
    vae, likelihood, params = model()
    measure = make(Evaluator(vae, likelihood, VIEW, 20))
    more = {make_scorer: (5, 41), make_swapped: ()}.get(make, (41,))
    on_device, counted = measure(params, jnp.asarray(IMAGES), KEY, *more), Counted()
    for data in (IMAGES, counted.rows):
        found = measure(params, data, KEY, *more)
        if make is make_reliability:
            assert found == on_device and "coverage" in found
        else:
            same(found, on_device)
    if make is make_swapped:
        assert sorted(counted.asked) == sorted([*range(53)] * 2)  # itself, and as somebody's partner
    else:
        assert sorted(counted.asked) == list(range(41))


def test_pictures_of_data_on_the_host():
    vae, likelihood, params = model()
    show = lambda data: pictures(Evaluator(vae, likelihood, VIEW), params, data, KEY)  # noqa: E731
    expected = show(jnp.asarray(IMAGES))
    for data in (IMAGES, Counted().rows):
        found = show(data)
        assert list(found) == list(expected)
        same(found, expected)


def test_pictures_of_large_examples_are_looked_at_a_few_at_a_time(monkeypatch):
    from vae_jax.evaluation import pictures as module

    vae, likelihood, params = model()
    whole = pictures(Evaluator(vae, likelihood, VIEW), params, IMAGES, KEY)
    monkeypatch.setattr(module, "VALUES", 17 * 30)
    asked = []
    rows = Rows(lambda indices: [IMAGES[i] for i in indices], IMAGES.shape, b"")
    monkeypatch.setattr(Rows, "__getitem__", lambda self, i, get=Rows.__getitem__: asked.append(len(i)) or get(self, i))
    found = pictures(Evaluator(vae, likelihood, VIEW), params, rows, KEY)
    assert set(asked) == {17}
    for name, values in whole.items():
        if values.dtype.kind != "U":
            bound = 1 if values.dtype == np.uint8 else 1e-4  # products of other sizes round in another way
            np.testing.assert_allclose(found[name].astype(float), values.astype(float), atol=bound)


def test_a_planted_fault_would_be_seen():
    """Rows in another order are other numbers: the equalities above are not of constants."""
    vae = VAE(lambda key: {}, lambda p, x: DiagGaussian(jnp.full(1, x.mean()), jnp.zeros(1)), lambda p, z: z)
    parts = in_batches(Evaluator(None, None, VIEW, 20), lambda params, x, key: vae.encode(params, x).mean[0])
    there = gather(parts({}, IMAGES, KEY))
    assert np.abs(gather(parts({}, IMAGES[::-1], KEY)) - there).max() > 1e-3
