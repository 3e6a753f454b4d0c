"""What a data set promises: what arrays become, what is refused and how it is said; the two that are built in."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from data_inputs import IMAGES, PLAIN, ROWS, refused

from vae_jax import data
from vae_jax.data import dataset
from vae_jax.data.dataset import Dataset, from_arrays, validate
from vae_jax.data.rows import held_out


@pytest.mark.parametrize(
    "array, dtype, event, levels",
    [
        (IMAGES, np.uint8, (4, 4, 1), 256),
        (IMAGES[..., None], np.uint8, (4, 4, 1), 256),
        (np.repeat(IMAGES[..., None], 3, -1), np.uint8, (4, 4, 3), 256),
        (IMAGES % 2, np.uint8, (4, 4, 1), 2),
        (IMAGES % 2 == 1, np.uint8, (4, 4, 1), 2),
        (IMAGES.astype(np.int64), np.uint8, (4, 4, 1), 256),
        (IMAGES.reshape(10, 16), np.uint8, (16,), 256),
        (IMAGES / 255, np.float32, (4, 4, 1), None),
        (ROWS.astype(np.float16), np.float32, (3,), None),
        (5 - 100 * ROWS.astype(np.float64), np.float32, (3,), None),
    ],
)
def test_arrays_become_grey_levels_or_float32(array, dtype, event, levels):
    d = from_arrays("mine", array, array[:2])
    assert d.train.dtype == d.test.dtype == dtype
    assert (d.event, d.levels, len(d.train), len(d.test)) == (event, levels, 10, 2)
    np.testing.assert_array_equal(d.train.reshape(-1), array.reshape(-1).astype(dtype))


def test_levels_are_those_of_both_splits_however_they_are_stored():
    assert from_arrays("mine", IMAGES % 2, IMAGES).levels == 256
    plain, stored = (from_arrays("x", scale * (IMAGES % 2), scale * (IMAGES % 2)) for scale in (np.uint8(1), 255))
    assert plain.levels == stored.levels == 2
    np.testing.assert_array_equal(plain.train, stored.train)


WITH_NAN = ROWS.copy()
WITH_NAN[3, 1:], WITH_NAN[4, 0] = np.nan, -np.inf


@pytest.mark.parametrize(
    "train, test, match",
    [
        (IMAGES[:0], IMAGES, "train has shape (0, 4, 4), so it holds no examples"),
        (IMAGES, IMAGES[:0], "test has shape (0, 4, 4), so it holds no examples"),
        (IMAGES, IMAGES[:, :3], "one train example has shape (4, 4, 1) and one test example (3, 4, 1)"),
        (ROWS, WITH_NAN, "test holds 2 NaN and 1 infinite values among 30"),
        (ROWS.astype(np.float64) * 1e300, ROWS, "train holds 0 NaN and 29 infinite values"),
        (ROWS, IMAGES.reshape(10, 16), "train holds floats and test 0..255 integers"),
        (IMAGES.astype(np.int16) - 1, IMAGES, "train holds integers from -1 to 158"),
        (IMAGES.astype(np.uint16) + 200, IMAGES, "train holds integers from 200 to 359"),
        (IMAGES.astype(object), IMAGES, "train has dtype object"),
        (np.array([["a"]]), IMAGES, "train has dtype <U1"),
        (ROWS[:, :0], ROWS[:, :0], "holds no examples"),
        (IMAGES, IMAGES.reshape(10, 16), "they must be equal"),
        (ROWS.astype(complex), ROWS, "train has dtype complex128"),
        (np.arange(5.0), ROWS, "train has shape (5,); it must be images [n, h, w, c] or rows [n, f]"),
    ],
)
def test_arrays_that_are_refused(train, test, match):
    assert match in refused(from_arrays, "mine", train, test)


def test_factors():
    d = from_arrays("mine", ROWS, ROWS, np.arange(10), np.zeros((10, 1)))
    assert d.train_factors.shape == (10, 1) and d.factor_names == ("factor_0",)
    for train, test, match in (
        (None, np.arange(9), "test_factors has dtype int64 and shape (9, 1)"),
        (np.zeros((10, 2)), np.zeros((10, 3)), "(10, 2)"),
        (np.array(["a"] * 10), None, "train_factors has dtype <U1"),
        (np.full(10, np.nan), None, "NaN"),
    ):
        assert match in refused(from_arrays, "mine", ROWS, ROWS, train, test)


def test_validate_a_data_set_made_by_hand():
    images = IMAGES[..., None]
    assert "holds the value 159, above its 17 grey levels" in refused(validate, Dataset("d", images, images, 17))
    assert "does not go with levels=None" in refused(validate, Dataset("d", images, images))
    assert "dtype int32" in refused(validate, Dataset("d", images.astype(np.int32), images))


@pytest.mark.parametrize("array", [IMAGES, IMAGES[::-2, 1:], IMAGES.astype(np.float32), IMAGES.astype(np.uint16).T])
def test_the_fingerprint_of_an_array_is_the_crc_of_its_bytes(array, monkeypatch):
    monkeypatch.setattr(dataset, "BLOCK", 100)  # blocks of several rows and of less than one
    levels = 256 if array.dtype == np.uint8 else None
    assert Dataset("d", array, array, levels).fingerprints["all data"] == zlib.crc32(array.tobytes())


def test_a_name_stands_for_a_function_that_returns_a_data_set():
    names = {"mine": lambda: from_arrays("mine", ROWS, ROWS), "broken": lambda: (ROWS, ROWS), **data.DATASETS}
    np.testing.assert_array_equal(data.load("mine", datasets=names).train, ROWS)
    assert data.load("digits", datasets=names).levels == 17
    names["bad"] = lambda: Dataset("bad", WITH_NAN, ROWS)
    assert "bad: train holds 2 NaN" in refused(data.load, "bad", datasets=names)
    assert "--dataset=broken: its function returns tuple" in refused(data.load, "broken", datasets=names)
    assert "did you mean mine" in refused(data.load, "mien", datasets=names)


# ---- built in ----


def test_held_out_is_a_fixed_partition():
    kept, others = held_out(20, 5)
    np.testing.assert_array_equal(others, [1, 8, 10, 18, 19])  # the same for ever, on every machine
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, others])), np.arange(20))


def test_digits():
    from sklearn.datasets import load_digits

    d = data.load("digits", PLAIN)
    assert (d.train.dtype, d.levels, d.train.max(), d.event) == (np.uint8, 17, 16, (8, 8, 1))
    original = load_digits()
    kept, others = held_out(1797, 360)
    np.testing.assert_array_equal(d.train[..., 0], original.images[kept])
    np.testing.assert_array_equal(d.test[..., 0], original.images[others])
    np.testing.assert_array_equal(d.test_factors[:, 0], original.target[others])
    assert d.factor_names == ("label",) and set(d.test_factors[:, 0]) == set(range(10))


def test_sprites_are_a_full_factorial_of_distinct_whole_shapes():
    d = data.load("sprites", PLAIN)
    assert d.train.shape == (5530, 64, 64, 1) and d.test.shape == (614, 64, 64, 1)
    assert (d.levels, d.train.dtype, d.factor_names) == (2, np.uint8, ("shape", "scale", "orientation", "x", "y"))
    images = np.concatenate([d.train, d.test])[..., 0]
    factors = np.concatenate([d.train_factors, d.test_factors])
    order = np.lexsort(factors.T[::-1])
    assert len(np.unique(factors, axis=0)) == len(images) == np.prod(factors.max(axis=0) + 1)
    assert len({np.packbits(image).tobytes() for image in images}) == len(images)
    # Whole and inside: nothing touches the frame, and moving a shape loses none of its pixels.
    grid = images[order].reshape(3, 4, 8, 8, 8, 64, 64)
    assert not (images[:, [0, -1]].any() or images[:, :, [0, -1]].any())
    area = grid.sum(axis=(-2, -1), dtype=np.int64)  # [shape, scale, orientation, x, y]
    assert (area == area[..., :1, :1]).all()
    assert (np.diff(area[..., 0, 0].astype(int), axis=1) > 0).all()  # scales are in order
    # x and y are what they say: one class is four pixels to the right, or down.
    np.testing.assert_array_equal(grid[..., 1, :, :, 4:], grid[..., 0, :, :, :-4])
    np.testing.assert_array_equal(grid[..., 1, 4:, :], grid[..., 0, :-4, :])
    # Orientation can be told: no two of the 96 glyphs are equal, wherever they are.
    crops = set()
    for glyph in grid[:, :, :, 3, 3].reshape(-1, 64, 64):
        rows, columns = np.nonzero(glyph)
        crop = glyph[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        crops.add((crop.shape, crop.tobytes()))
    assert len(crops) == 96
