"""Units do not matter: the same data in other units end at the same model, after the change of variables."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from vae_jax.evaluation import summarise
from vae_jax.randomness import TEST, purpose_key
from vae_jax.runs.build import build, first_state, training_chunk
from vae_jax.runs.results import make_instruments
from vae_jax.runs.settings import Config

STEPS = 30
TABLES = {name: load().data for name, load in (("wine", load_wine), ("cancer", load_breast_cancer))}
TABLES["diabetes"] = np.column_stack([load_diabetes(scaled=False).data, load_diabetes().target])[:, [0, *range(2, 11)]]
CHANGES = ("kilo and milli", "a far offset", "each its own", "each its own, backwards")


def ended(tmp_path, name: str, train, test, **flags):
    """Trains a little run: what training said first, and the numbers of the test split."""
    np.savez(tmp_path / f"{name}.npz", train=train, test=test)
    small = {"hidden": "16", "latent_dim": 3, "batch_size": 64, "num_steps": STEPS, "validation": 0.0, "keep": "last"}
    r = build(Config(dataset=str(tmp_path / f"{name}.npz"), workdir=str(tmp_path / name), **small | flags))
    state, metrics = training_chunk(r)(first_state(r), jnp.asarray(r.dataset.train), STEPS)
    scores = make_instruments(r).scores(state.params, r.dataset.test, purpose_key(r.key, TEST), 4)
    return jax.tree.map(np.asarray, metrics), summarise(scores, r.data_dim), r


def units(change: str, x):
    """The scale and the offset of each column; an offset is at most 1e7 spreads, or float64 itself has no digits."""
    rng, f = np.random.default_rng(CHANGES.index(change)), x.shape[1]
    if change == "kilo and milli":
        return np.resize([1e3, 1e-3], f), np.zeros(f)
    if change == "a far offset":
        return np.ones(f), 1e7 * np.minimum(1, x.std(axis=0))
    scale = 10.0 ** rng.uniform(-6, 6, f) * (-1 if "backwards" in change else 1)
    return scale, rng.uniform(-1, 1, f) * np.minimum(1e7, 1e7 * np.abs(scale) * x.std(axis=0))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The run of each table in its own units, made once."""
    made = {}

    def of(name):
        if name not in made:
            x = TABLES[name]
            made[name] = ended(tmp_path_factory.mktemp(name), name, x[::2], x[1::2])[:2]
        return made[name]

    return of


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_in_other_units_ends_at_the_same_model(tmp_path, plain, name, change):
    x = TABLES[name]
    scale, offset = units(change, x)
    y = x * scale + offset
    # The sign of a column is no unit, and the network sees it: the same data, turned back.
    y = y if "backwards" not in change else 2 * offset - y
    metrics, summary, r = ended(tmp_path, name, y[::2], y[1::2])
    first, own = plain(name)
    volume = np.log(np.abs(scale)).sum()
    assert np.isfinite(metrics["loss"]).all() and metrics["loss"][0] == pytest.approx(
        first["loss"][0] + volume, abs=1e-3
    )
    for key, change in (("elbo", volume), ("distortion", -volume), ("rate", 0.0), ("iw_nll", -volume)):
        assert abs(summary[key] + change - own[key]) < 1e-3, key
    assert summary["calibration"] == pytest.approx(own["calibration"], rel=1e-4)
    np.testing.assert_allclose(summary["rmse_per_column"], own["rmse_per_column"] * np.abs(scale), rtol=1e-3)
    np.testing.assert_allclose(summary["mse"], np.mean(np.square(summary["rmse_per_column"])), rtol=1e-5)
    assert not any("raw units" in line or "far from 0" in line for line in r.warnings)


def test_the_density_is_that_of_the_columns_own_units(tmp_path, plain):
    """A planted mistake, the constant with the other sign or none at all, is more than a nat away."""
    x, scale = TABLES["wine"], np.full(13, 1e3)
    _, summary, r = ended(tmp_path, "wine", (x * scale)[::2], (x * scale)[1::2])
    own, volume = plain("wine")[1], np.log(scale).sum()
    assert abs(summary["elbo"] + volume - own["elbo"]) < 1e-3 < 1 < abs(summary["elbo"] - own["elbo"])
    assert summary["log_scale"] == pytest.approx(np.log(r.dataset.table.scale).sum(), rel=1e-5)


def test_grey_images_are_the_same_model_in_0_to_1_0_to_255_and_minus_1_to_1(tmp_path):
    """Floats against bytes too: the numbers are the same, so the models are."""
    grey = np.round(load_digits().images * 255 / 16).astype(np.uint8)[:400]
    forms = {"bytes": grey, "unit": grey / 255.0, "255": grey.astype(float), "signed": grey / 127.5 - 1, "single": None}
    forms["single"] = forms["unit"].astype(np.float32)
    scales = {"255": 255.0, "signed": 2.0}
    elbos = {}
    for name, x in forms.items():
        metrics, summary, r = ended(tmp_path, name, x[:300], x[300:])
        assert np.isfinite(metrics["loss"]).all()
        elbos[name] = summary["elbo"] + 64 * np.log(scales.get(name, 1.0))
        assert (r.dataset.table is None) == (name not in scales)
    assert np.ptp(list(elbos.values())) < 1e-3, elbos


def test_rows_of_pixels_are_the_same_model_in_any_units(tmp_path):
    rows = load_digits().data[:400]
    elbos = [
        ended(tmp_path, str(a), a * rows[:300] + b, a * rows[300:] + b) for a, b in ((1, 0), (255 / 16, 0), (1 / 8, -1))
    ]
    assert 0 < (rows[:300].std(axis=0) == 0).sum() > (rows.std(axis=0) == 0).sum()  # constant in training alone
    found = [m[1]["elbo"] + 64 * np.log(a) for m, a in zip(elbos, (1, 255 / 16, 1 / 8))]
    assert np.ptp(found) < 1e-3, found


def test_none_is_the_units_of_the_data(tmp_path):
    x = TABLES["wine"] / TABLES["wine"].max(axis=0)
    _, summary, r = ended(tmp_path, "wine", x[::2], x[1::2], standardise="none")
    np.testing.assert_array_equal(r.dataset.train, np.float32(x[::2]))
    assert r.dataset.table is None and r.likelihood.units is None and "standardised_mse" not in summary
