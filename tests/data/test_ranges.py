"""What is said of the units of data before training, and of data in other units than a model's own."""

from __future__ import annotations

import numpy as np
import pytest
from data_inputs import IMAGES, ROWS, refused

from vae_jax.data.check import check
from vae_jax.data.dataset import from_arrays
from vae_jax.data.ranges import unlike

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((500, 3)).astype(np.float32)
BYTES = RNG.integers(0, 256, (300, 4, 4)).astype(np.uint8)


def said(train, likelihood="gaussian", support="real", **kwargs):
    d = from_arrays("mine", train, train[:20])
    return [*d.notes, *check(d, "grey", likelihood, support, **{"min_sigma": 1e-3} | kwargs)]


def scaled(scale=1.0, offset=0.0, column=2):
    x = NORMAL.astype(np.float64)
    x[:, column] = scale * x[:, column] + offset
    return x


@pytest.mark.parametrize(
    "train, match",
    [
        (scaled(300, 1000), "raw units, where the defaults are made for values of about 1: column 2 from "),
        (1e5 * NORMAL, "3 of 3 columns, counted from 0; store (x - mean) / standard deviation"),
        (scaled(1, 5000), "far from 0 for how little it varies, which float32 hardly holds: column 2"),
        (scaled(1e-3), "one sigma serves columns of unequal spread: column"),
        (6e-5 * NORMAL, "values vary by 5.9e-05, which --min_sigma=0.001 hides"),
        (scaled(0), "1 of 3 columns are constant (2, counted from 0)"),
        (np.full((50, 3), 0.5), "all training examples are equal"),
        (np.full((50, 4, 4), 7, np.uint8), "all training examples are equal"),
        (scaled(100, 1.7e9), "float32 is too coarse for 1 of 3 columns of train, counted from 0: 2 (steps of "),
        (BYTES / 255, "evaluated at the 256 values that the data take"),
        (BYTES / 127.5 - 1, "evaluated at the 256 values that the data take"),
        (BYTES * 1.0, "raw units, where the defaults are made for values of about 1: values from 0 to 255"),
    ],
)
def test_units_that_the_defaults_are_not_made_for_are_named_with_what_to_do(train, match):
    assert any(match in line and line.isprintable() for line in said(train)), said(train)


def test_sound_data_are_taken_without_a_word_of_units():
    assert said(0.2 + 0.1 * np.abs(NORMAL)) == [] and len(said(NORMAL)) == 1  # outside [0, 1], as ever
    assert said(NORMAL * 6e-5, min_sigma=None)[:1] == said(NORMAL * 6e-5, min_sigma=1e-9)[:1]
    assert said(BYTES) == [] and "evaluated at 256 grey levels" in said(BYTES, "laplace")[0]
    columns = (("real", 2), ("binary", 1))
    table = scaled(300, 1000, 0)
    table[:, 2] = table[:, 2] > 0
    (line,) = said(table, "columns", columns)
    assert "column 0 from" in line and "1 of 3 columns" in line
    assert said(np.round(ROWS), "bernoulli", "binary") == []


def test_data_in_other_units_than_the_models_own():
    own = from_arrays("own", IMAGES / 255, IMAGES / 255)
    for other in (IMAGES * 1.0, IMAGES / 255 + 9, IMAGES / 25500):
        (line,) = unlike(from_arrays("other", other, other), own)
        assert "other has values from" in line and "are they in the same units?" in line
    assert unlike(from_arrays("other", 1 - IMAGES / 255, IMAGES / 255), own) == []


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_channels_that_come_first_are_refused_with_what_to_do(channels, kind):
    x = np.zeros((10, channels, 16, 16), kind)
    assert f"is {channels}x16x16: channels first? --layout=chw" in refused(from_arrays, "mine", x, x)
    assert from_arrays("mine", np.moveaxis(x, 1, -1), np.moveaxis(x, 1, -1)).event == (16, 16, channels)
