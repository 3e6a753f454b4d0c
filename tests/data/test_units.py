"""Units of data: what brings a column to a common scale, in double precision, and back."""

from __future__ import annotations

import numpy as np
import pytest
from data_inputs import refused

from vae_jax import data
from vae_jax.data.dataset import from_arrays
from vae_jax.data.units import Table, from_json, in_units

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(200, 4)) * [1, 2, 3, 4]


def read(path, train, **reading):
    np.savez(path / "mine.npz", train=train, test=train[:20])
    return data.load(str(path / "mine.npz"), data.Reading(**reading | {"validation": 0}))


def test_columns_come_to_mean_0_and_standard_deviation_1_whatever_their_units(tmp_path):
    plain = read(tmp_path, ROWS)
    assert plain.train.dtype == np.float32
    np.testing.assert_allclose(plain.train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(plain.train.std(axis=0), 1, atol=1e-6)
    scale = 10.0 ** np.array([-6, 6, 0, 3])
    offset = scale * [1e7, -1e7, 1e7, 3]  # in spreads of the columns: more takes their digits before anybody reads them
    other = read(tmp_path, ROWS * scale + offset)
    np.testing.assert_allclose(other.train, plain.train, atol=1e-6)
    np.testing.assert_allclose(other.table.scale, plain.table.scale * scale, rtol=1e-8)
    # float32 itself could not hold such a column: that is why the work is in float64.
    assert np.abs((np.float32(ROWS * scale + offset) - offset) / scale - ROWS)[:, 0].max() > 0.1


def test_there_and_back(tmp_path):
    x = ROWS * [1e-6, 1e6, 1, 1] + [1e3, 1e7, 0, 5]
    d = read(tmp_path, x)
    np.testing.assert_array_less(np.abs(d.table.to_own(d.train) - x) / x.std(axis=0), 1e-6)
    again = Table(*d.table[:2], ("a", "b", "c", "d"), ("real",) * 4, ("gaussian",) * 4, ((),) * 4, (0,) * 4)
    as_lists = {name: [list(v) if isinstance(v, tuple) else v for v in part] for name, part in again._asdict().items()}
    assert from_json(as_lists) == again and from_json(None) is None
    for wrong in ({}, as_lists | {"scale": [0, 1, 1, 1]}, as_lists | {"shift": [1]}, as_lists | {"names": ["a"]}):
        with pytest.raises((ValueError, TypeError)):
            from_json(wrong)


@pytest.mark.parametrize(
    "reading",
    [
        {"standardise": "none"},
        {"likelihood": "bernoulli"},
        {"likelihood": "poisson"},
        {"pixels": "binary"},
        {"columns": "bernoulli:4", "likelihood": "columns"},
    ],
    ids=lambda reading: next(iter(reading.values())),
)
def test_what_has_no_other_units_stays_as_it_is(tmp_path, reading):
    x = np.float32(RNG.uniform(size=(50, 4)))
    d = read(tmp_path, x, **reading)
    np.testing.assert_array_equal(d.train, x)
    assert d.table is None


def test_values_above_0_are_scaled_and_not_moved_and_each_family_has_its_own_units(tmp_path):
    x = np.exp(ROWS)
    d = read(tmp_path, x, likelihood="log_normal")
    np.testing.assert_allclose(np.log(d.train).mean(axis=0), 0, atol=1e-5)
    assert d.table.shift == (0,) * 4 and (d.train > 0).all()
    d = read(tmp_path, x, columns="gaussian:2,log_normal:1,bernoulli:1", likelihood="columns")
    np.testing.assert_allclose(d.train[:, :2].std(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(d.train[:, 3], np.float32(x[:, 3]))


def test_constant_and_huge_columns(tmp_path):
    x = ROWS.copy()
    x[:, 0], x[:, 1] = 7.0, ROWS[:, 1] * 1e300
    d = read(tmp_path, x)
    assert (d.train[:, 0] == 0).all() and d.table.shift[0] == 7.0
    np.testing.assert_allclose(d.train[:, 1].std(), 1, rtol=1e-5)
    x[:, 1] = ROWS[:, 1]
    own = read(tmp_path, x).table.scale
    assert own[0] == pytest.approx(np.sqrt(np.mean(np.square(own[1:]))))
    x[:, 1] *= 1e300
    np.savez(tmp_path / "mine.npz", train=x, test=x)
    # Without other units float32 does not hold it.
    message = refused(data.load, str(tmp_path / "mine.npz"), data.Reading(standardise="none"))
    assert "infinite values" in message


def test_images_of_floats_have_one_scale(tmp_path):
    x = RNG.uniform(size=(30, 4, 4))
    x[0, 0, :2] = 0, 1
    grey = read(tmp_path, x)
    assert grey.table is None
    for scale, shift in ((255.0, 0.0), (2.0, -1.0)):
        other = read(tmp_path, np.float32(x * scale + shift))
        np.testing.assert_allclose(other.train, grey.train, atol=1e-6)
        assert (other.table.shift, other.table.scale) == ((shift,), (scale,))


def test_data_are_read_in_the_units_of_a_run(tmp_path):
    own = read(tmp_path, ROWS)
    other = read(tmp_path, 3 * ROWS, **data.Reading().as_of(own.table)._asdict())
    expected = 3 * own.train + 2 * np.float32(own.table.shift) / own.table.scale
    np.testing.assert_allclose(other.train, expected, atol=1e-5)
    narrow = from_arrays("mine", ROWS[:, :3], ROWS[:, :3], exact=True)
    assert "rows of 3 columns" in refused(in_units, narrow, data.Reading().as_of(own.table))
    # A run without units of its own takes other data as they are.
    plain = read(tmp_path, 3 * ROWS, **data.Reading().as_of(None)._asdict())
    np.testing.assert_array_equal(plain.train, np.float32(3 * ROWS))
