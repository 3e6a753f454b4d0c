"""Images of any size: what conv and resnet make of them is what they make of the padded image, cut back."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import pytest
from helpers.parameters import drawn, shapes_of

from vae_jax import models
from vae_jax.models.convolutional import inner_size
from vae_jax.types import UserError

RESNET = partial(models.resnet, hidden=(4, 8, 8))
CONV = partial(models.conv, hidden=(8,))


@pytest.mark.parametrize(
    "make, sizes",
    [
        (CONV, {(28, 28): (28, 28), (30, 45): (32, 48), (17, 17): (20, 20), (2, 8): (4, 8), (218, 178): (224, 192)}),
        (RESNET, {(28, 28): (32, 32), (30, 45): (32, 48), (17, 17): (24, 24), (4, 64): (8, 64)}),
    ],
)
def test_sizes_inside_and_the_shapes_outside(make, sizes):
    for size, inner in sizes.items():
        event, theta_shape = (*size, 3), (2, *size, 3, 5)
        vae = make(event, theta_shape, 3)
        shapes = shapes_of(vae, event, theta_shape, 3)
        large = make((*inner, 3), (2, *inner, 3, 5), 3)
        assert shapes == jax.eval_shape(large.init, jax.random.key(0)) or make is CONV
        said = f"images of {size[0]}x{size[1]} are padded to {inner[0]}x{inner[1]} inside the networks"
        assert vae.notes == ((said,) if size != inner else ()) and large.notes == ()
        if make is CONV:
            assert inner_size(event) == (*inner, 3)


@pytest.mark.parametrize("beta_range", [None, (0.1, 10.0)])
@pytest.mark.parametrize("make", [RESNET, CONV])
def test_it_is_the_network_of_the_padded_image_and_nothing_is_seen_of_what_was_added(make, beta_range):
    event, inner = (13, 10, 2), (16, 16, 2) if make is RESNET else (16, 12, 2)
    vae = make(event, (2, *event, 3), 3, beta_range=beta_range)
    large = make(inner, (2, *inner, 3), 3, beta_range=beta_range)
    params = drawn(jax.eval_shape(vae.init, jax.random.key(0)), seed=1)
    x = np.random.default_rng(0).uniform(size=event).astype(np.float32)
    rows, columns = (((n - m) // 2, n - m - (n - m) // 2) for n, m in zip(inner, event[:2]))
    own = jax.jit(vae.encode)(params, x)
    encode = jax.jit(large.encode)
    border, dark = (np.pad(x, (rows, columns, (0, 0)), mode=mode) for mode in ("edge", "constant"))
    np.testing.assert_allclose(own.mean, encode(params, border).mean, rtol=1e-5, atol=1e-6)
    assert np.abs(own.mean - encode(params, dark).mean).max() > 1e-4
    z = np.float32([0.3, -1.0, 2.0])
    theta, whole = jax.jit(vae.decode)(params, z), np.asarray(jax.jit(large.decode)(params, z))
    inside = whole[:, rows[0] : rows[0] + 13, columns[0] : columns[0] + 10]
    np.testing.assert_allclose(theta, inside, rtol=1e-5, atol=1e-6)


def test_what_is_too_small_or_no_image_is_an_error_in_one_line_with_the_nearest_size():
    for make, event, words in [
        (CONV, (1, 8, 1), "sides of at least 2, not examples of shape 1x8x1; --image_size=8x2 brings them"),
        (RESNET, (3, 3, 1), "--hidden=4,8,8 takes images with sides of at least 4, not .* --image_size=4x4 brings"),
        (CONV, (0, 4, 1), "takes images .*, not examples of shape 0x4x1; --model=mlp takes any"),
        (CONV, (28, 28), "not examples of shape 28x28; --model=mlp"),
        (RESNET, (64,), "not examples of shape 64; --model=mlp"),
    ]:
        with pytest.raises(UserError, match=words) as error:
            make(event, event, 3)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="name one or more"):
        models.resnet((28, 28, 1), (28, 28, 1), 3, ())
