"""What an encoder sees of a row: scales, classes, and what is missing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.likelihoods import Grid
from vae_jax.models import mlp
from vae_jax.models.features import row_features, seeing

COLUMNS = (("real", 2), ("positive", 1), ("count", 1), ("binary", 1), (Grid(3, 1.0), 2), (Grid(5, 0.25), 1))
ROW = jnp.asarray([-2.0, 1e7, np.e**3, np.e**2 - 1, 1.0, 2.0, 0.0, 0.75])


def test_each_column_on_its_own_scale():
    width, features = row_features(COLUMNS)
    expected = [-2.0, 1e7, 3.0, 2.0, 1.0, 0, 0, 1, 1, 0, 0, 0.75]
    np.testing.assert_allclose(features(ROW), expected, rtol=1e-6)
    assert width == len(expected) and features(ROW).dtype == ROW.dtype


def test_counts_lie_about_zero():
    _, features = row_features((("count", 2),), means={0: np.e**12 - 1})
    np.testing.assert_allclose(features(jnp.asarray([np.e**13 - 1, 0.0])), [1.0, 0.0], rtol=1e-5)
    np.testing.assert_allclose(features(jnp.asarray([jnp.nan, jnp.nan])), 0.0)


def test_what_is_missing_is_zero_and_told():
    width, features = row_features(COLUMNS, missing=(0, 5))
    assert width == 14
    np.testing.assert_allclose(features(ROW)[12:], 0.0)
    np.testing.assert_allclose(features(jnp.full(8, jnp.nan)), [*[0.0] * 12, 1.0, 1.0])
    one = features(ROW.at[5].set(jnp.nan))
    np.testing.assert_allclose(one[5:8], 0.0)
    np.testing.assert_allclose(one[12:], [0.0, 1.0])
    # A value that is missing has no gradient, and makes none that is not a number.
    slope = jax.jacobian(features)(jnp.full(8, jnp.nan))
    np.testing.assert_array_equal(slope, 0.0)
    width, features = row_features(COLUMNS, missing=(3,), as_it_is=True)
    np.testing.assert_allclose(features(ROW), [*np.asarray(ROW), 0.0])
    assert width == 9


def test_an_encoder_reads_the_features_and_the_model_is_otherwise_the_same():
    width, features = row_features(COLUMNS, missing=(1,))
    inner = mlp((width,), (8,), 2, (4,))
    vae = seeing(inner, features)
    params = vae.init(jax.random.key(0))
    row = ROW.at[1].set(jnp.nan)
    for mine, same in zip(vae.encode(params, row), inner.encode(params, features(row)), strict=True):
        np.testing.assert_array_equal(mine, same)
        assert np.isfinite(mine).all()
    assert vae.decode(params, jnp.zeros(2)).shape == (8,)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_another_unit_of_a_positive_column_is_an_offset(scale):
    _, features = row_features((("positive", 1),))
    assert float(features(jnp.asarray([3.0 * scale]))[0] - features(jnp.asarray([3.0]))[0]) == pytest.approx(
        np.log(scale), rel=1e-5
    )
