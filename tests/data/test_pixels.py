"""What becomes of a pixel, and what its nats are in bits."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from conftest import golden, within_standard_errors
from data_inputs import ROWS, refused

from vae_jax.data.pixels import PIXELS, bits_offset, preprocess

KEY = jax.random.key(0)


def test_grey_fills_the_unit_interval_and_floats_pass():
    raw = np.arange(256, dtype=np.uint8)
    grey = preprocess("grey", 256)(KEY, raw)
    assert grey.dtype == np.float32
    # The compiler may multiply by 1/255 instead: one unit in the last place, but never outside [0, 1].
    np.testing.assert_array_max_ulp(np.asarray(grey), raw.astype(np.float32) / np.float32(255), maxulp=1)
    assert (grey[0], grey[-1]) == (0, 1)
    np.testing.assert_array_equal(preprocess("grey", 17)(KEY, np.arange(17)), np.arange(17, dtype=np.float32) / 16)
    np.testing.assert_array_equal(preprocess("grey", 2)(KEY, raw[:2]), [0.0, 1.0])
    np.testing.assert_array_equal(preprocess("grey", None)(KEY, 7 - 9 * ROWS), 7 - 9 * ROWS)


def test_binary_is_above_a_half():
    np.testing.assert_array_equal(preprocess("binary", 256)(KEY, np.array([0, 127, 128, 255])), [0, 0, 1, 1])
    np.testing.assert_array_equal(preprocess("binary", 17)(KEY, np.array([8, 9])), [0, 1])
    np.testing.assert_array_equal(preprocess("binary", None)(KEY, np.array([0.5, 0.51])), [0, 1])


def test_sampled_is_a_bernoulli_draw_of_the_key():
    raw = np.array([0, 1, 64, 128, 200, 254, 255], np.uint8)
    draw = jax.jit(jax.vmap(preprocess("sampled", 256), (0, None)))
    x = np.asarray(draw(jax.random.split(KEY, 20_000), raw))
    assert x.dtype == np.float32 and set(np.unique(x)) == {0.0, 1.0}
    assert within_standard_errors(x, raw / 255, 4.5)
    assert not x[:, 0].any() and x[:, -1].all()
    np.testing.assert_array_equal(draw(jax.random.split(KEY, 20_000)[:3], raw), x[:3])


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_dequantised_fills_each_level_evenly(levels):
    raw = np.arange(levels, dtype=np.uint8)
    x = jax.jit(jax.vmap(preprocess("dequantised", levels), (0, None)))(jax.random.split(KEY, 5000), raw)
    assert x.dtype == np.float32 and x.min() >= 0 and x.max() < 1
    u = np.asarray(x, np.float64) * levels - raw
    assert u.min() > -1e-6 and u.max() < 1 + 1e-6
    assert within_standard_errors(u, 0.5, 5) and within_standard_errors((u - 0.5) ** 2, 1 / 12, 5)
    if levels == 256:  # nothing is rounded: the level can be had back
        np.testing.assert_array_equal(np.floor(np.asarray(x) * 256), np.broadcast_to(raw, x.shape))


def test_pixel_modes_that_are_refused():
    assert "must be one of grey, binary, sampled, dequantised" in refused(preprocess, "gray", 256)
    assert "--pixels=dequantised needs uint8" in refused(preprocess, "dequantised", None)
    assert "must be one of" in refused(bits_offset, "gray", 256)
    assert "needs uint8" in refused(bits_offset, "dequantised", None)


def test_bits_offset():
    assert min(bits_offset(mode, 256) for mode in PIXELS) >= 0 and bits_offset("dequantised", 256) == 8
    assert bits_offset("dequantised", 17) == math.log2(17)
    assert bits_offset("grey", 256) == math.log2(255)
    assert [bits_offset(mode, 256) for mode in ("binary", "sampled")] == [0, 0]
    assert [bits_offset(mode, None) for mode in ("grey", "binary", "sampled")] == [0, 0, 0]
    assert bits_offset("grey", 2) == 0
    nll, dimensions = -1000, 3072
    assert nll / (dimensions * math.log(2)) + bits_offset("dequantised", 256) == golden("7.530372708044")
    # A uniform density is as many bits as there are to a level.
    assert 0 + bits_offset("dequantised", 17) == pytest.approx(-math.log2(1 / 17))
