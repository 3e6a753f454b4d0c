"""Whether data, pixels and likelihood go together."""

from __future__ import annotations

import numpy as np
import pytest
from data_inputs import IMAGES, ROWS, refused

from vae_jax import data
from vae_jax.data.check import check, entropy_floor
from vae_jax.data.dataset import from_arrays
from vae_jax.likelihoods import Grid

GREY = from_arrays("grey images", IMAGES, IMAGES)
BITS = from_arrays("0/1 images", IMAGES // 3 % 2, IMAGES // 3 % 2)
UNIT = from_arrays("unit rows", ROWS, ROWS)
WIDE = from_arrays("wide rows", 8 * ROWS - 3, ROWS)
BITS_AS_FLOATS = from_arrays("0/1 rows", np.round(ROWS), np.round(ROWS))
GAUSSIAN, BERNOULLI, CONTINUOUS = ("gaussian", "real"), ("bernoulli", "binary"), ("continuous_bernoulli", "unit")
BETA, STUDENT_T, LEVELS = ("beta", "unit"), ("student_t", "real"), Grid(256, 1 / 255)
INNER = from_arrays("inner rows", 0.1 + 0.8 * ROWS, 0.1 + 0.8 * ROWS)
# Two real columns, one 0/1, one on [0, 1], one of the codes 0 to 3.
CODES = np.stack([np.arange(10) - 4, 7 * np.arange(10), np.arange(10) % 2, np.arange(10) / 9, np.arange(10) % 4], 1)
TABLE = from_arrays("table", CODES, CODES[:4])
CODES = np.uint8(np.abs(CODES))
COUNTED, POSITIVE = (from_arrays(n, v, v) for n, v in (("counts", np.floor(9 * ROWS)), ("positive rows", 1e9 + ROWS)))
KINDS = (("real", 2), ("binary", 1), ("unit", 1), (Grid(4, 1.0), 1))


@pytest.mark.parametrize(
    "dataset, pixels, likelihood",
    [
        (GREY, "binary", BERNOULLI),
        (GREY, "sampled", BERNOULLI),
        (BITS, "grey", BERNOULLI),
        (BITS_AS_FLOATS, "grey", BERNOULLI),
        (UNIT, "sampled", BERNOULLI),
        (GREY, "dequantised", GAUSSIAN),
        (GREY, "dequantised", CONTINUOUS),
        (UNIT, "grey", GAUSSIAN),
        (UNIT, "grey", CONTINUOUS),
        (GREY, "grey", ("categorical", LEVELS)),
        (GREY, "grey", ("discretized_logistic", LEVELS)),
        (BITS, "binary", ("categorical", Grid(2, 1.0))),
        (BITS, "grey", ("discretized_logistic", Grid(2, 1.0))),
        (GREY, "grey", GAUSSIAN),  # the default: its report says what the bits compare with
        (UNIT, "grey", STUDENT_T),
        (INNER, "grey", BETA),
        (GREY, "dequantised", BETA),
        (GREY, "dequantised", ("laplace", "real")),
        (TABLE, "grey", ("columns", KINDS)),
        (BITS_AS_FLOATS, "grey", ("columns", (("binary", 1), (Grid(2, 1.0), 2)))),
        (COUNTED, "grey", ("poisson", "count")),
        (POSITIVE, "grey", ("log_normal", "positive")),
        (COUNTED, "grey", ("columns", (("count", 3),))),
        (from_arrays("0/1 integers", ROWS > 0.5, ROWS > 0.5), "grey", ("columns", (("binary", 3),))),
    ],
)
def test_combinations_without_a_word(dataset, pixels, likelihood):
    assert check(dataset, pixels, *likelihood) == []


@pytest.mark.parametrize(
    "dataset, pixels, likelihood, match",
    [
        (GREY, "grey", BERNOULLI, "--soft_targets"),
        (UNIT, "grey", BERNOULLI, "--pixels=binary or --pixels=sampled"),
        (WIDE, "grey", BERNOULLI, "wide rows has values from -3 to 5"),
        (GREY, "dequantised", BERNOULLI, "has grey ones"),
        (WIDE, "grey", CONTINUOUS, "a density on [0, 1], and wide rows has values from -3 to 5"),
        (WIDE, "binary", BERNOULLI, "--pixels=binary needs values in [0, 1]"),
        (WIDE, "sampled", GAUSSIAN, "--pixels=sampled needs values in [0, 1]"),
        (UNIT, "dequantised", GAUSSIAN, "--pixels=dequantised needs uint8"),
        (GREY, "gray", GAUSSIAN, "must be one of"),
        (UNIT, "grey", ("categorical", LEVELS), "unit rows holds floats"),
        (GREY, "dequantised", ("discretized_logistic", LEVELS), "--pixels=dequantised removes"),
        (BITS, "grey", ("categorical", LEVELS), "was made for 256 levels 0.00392157 apart, and 0/1 images has 2"),
        (GREY, "grey", ("categorical", Grid(256, 1.0)), "was made for 256 levels 1 apart"),
        (WIDE, "grey", BETA, "--likelihood=beta is a density on [0, 1], and wide rows has values from -3 to 5"),
        (GREY, "grey", ("columns", KINDS), "grey images holds examples of shape 4x4x1"),
        (TABLE, "grey", ("columns", KINDS[:2]), "--columns names 3 columns, and table has 5"),
        (TABLE, "grey", ("columns", (*KINDS, ("real", 1))), "--columns names 6 columns, and table has 5"),
        (from_arrays("codes", CODES, CODES), "grey", ("columns", ((Grid(9, 1.0), 5),)), "store the table as float32"),
        (GREY, "grey", ("poisson", "count"), "grey images holds grey levels on [0, 1]"),
        (UNIT, "grey", ("poisson", "count"), "defined on the counts 0, 1, 2, ..., and unit rows holds 0.0"),
        (COUNTED, "grey", ("log_normal", "positive"), "defined on values above 0, and counts holds 0; use"),
        (UNIT, "grey", ("columns", (("count", 3),)), "column 0 (counted from 0) is defined on the counts 0, 1, 2, ..."),
        (TABLE, "binary", ("columns", KINDS), "--pixels=binary"),
        (TABLE, "sampled", ("columns", KINDS), "--pixels=sampled"),
    ],
)
def test_combinations_that_are_refused(dataset, pixels, likelihood, match):
    assert match in refused(check, dataset, pixels, *likelihood)


@pytest.mark.parametrize(
    "dataset, pixels, likelihood, match",
    [
        (WIDE, "grey", GAUSSIAN, "--sigma, distortion and mse are in the data's own units"),
        (GREY, "grey", CONTINUOUS, "--pixels=dequantised makes it a bound"),
        (BITS, "grey", CONTINUOUS, "--likelihood=bernoulli is the likelihood for 0/1 pixels"),
        (GREY, "sampled", GAUSSIAN, "has no upper bound"),
        (GREY, "binary", ("categorical", LEVELS), "leaves 2 of the 256 grey levels"),
        (UNIT, "grey", BETA, "6.67% of the values are exactly 0 or 1"),
        (BITS, "grey", BETA, "--likelihood=bernoulli is the likelihood for 0/1 pixels"),
        (WIDE, "grey", STUDENT_T, "--sigma, distortion and mse are in the data's own units"),
        (GREY, "grey", ("laplace", "real"), "evaluated at 256 grey levels"),
    ],
)
def test_combinations_with_a_warning(dataset, pixels, likelihood, match):
    (warning,) = check(dataset, pixels, *likelihood)
    assert match in warning and "\n" not in warning


@pytest.mark.parametrize(
    "column, value, match",
    [
        (2, 0.5, "column 2 (counted from 0) is defined on 0 or 1, and table holds 0.5 there"),
        (3, 1.5, "column 3 (counted from 0) is defined on values in [0, 1], and table holds 1.5"),
        (4, 4.0, "column 4 (counted from 0) is defined on the class codes 0 to 3, and table holds 4"),
        (4, -1.0, "holds -1 there"),
        (4, 1.5, "holds 1.5 there"),
    ],
)
def test_each_column_is_held_against_its_own_family(column, value, match):
    for split in (0, 1):  # wherever it is
        splits = [TABLE.train.copy(), TABLE.test.copy()]
        splits[split][1, column] = value
        assert match in refused(check, from_arrays("table", *splits), "grey", "columns", KINDS)
    free = TABLE.train.copy()
    free[:, :2] = 1e6  # a real column may hold anything
    check(from_arrays("table", free, TABLE.test), "grey", "columns", KINDS)


def test_grey_and_beta_warn_of_the_levels_and_of_the_ends():
    said = check(GREY, "grey", *BETA)
    assert len(said) == 2 and "evaluated at 256 grey levels" in said[0]
    assert "0.625% of the values are exactly 0 or 1" in said[1] and "--squeeze" in said[1]


def test_soft_targets_state_their_floor():
    # Every pixel has the entropy of x = 0.1 (0.325082973 nats); 16 pixels an image.
    tenths = from_arrays("tenths", np.full((9, 4, 4), 0.1, np.float32), np.full((9, 4, 4), 0.9, np.float32))
    assert entropy_floor(tenths) == pytest.approx(16 * 0.325082973, rel=1e-6)
    (warning,) = check(tenths, "grey", *BERNOULLI, soft_targets=True)
    assert "no likelihood" in warning and "5.20 nats per example" in warning
    assert check(BITS, "grey", *BERNOULLI, soft_targets=True) == [] and entropy_floor(BITS) == 0
    assert "values from -3 to 5" in refused(check, WIDE, "grey", *BERNOULLI, soft_targets=True)
    digits = data.load("digits")
    x = digits.train.astype(np.float64) / 16
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.nan_to_num(-x * np.log(x)) + np.nan_to_num(-(1 - x) * np.log(1 - x))
    assert entropy_floor(digits) == pytest.approx(entropy.sum() / len(x))
