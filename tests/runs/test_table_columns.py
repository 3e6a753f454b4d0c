"""What a run finds in its data before it trains: constant dimensions, missing values, and what the encoder sees."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from helpers.binaries import results
from sklearn.datasets import load_wine

import vae_jax
from vae_jax.data.dataset import Dataset, from_arrays
from vae_jax.data.digits import digits
from vae_jax.runs.build import build, material
from vae_jax.runs.parsing import parse_constants, parse_missing
from vae_jax.runs.run import run
from vae_jax.runs.settings import Config
from vae_jax.types import UserError

FAST = {"hidden": "16", "latent_dim": 3, "num_steps": 60, "log_every": 10, "iw_samples": 4, "validation": 0.0}


def made(dataset, **flags):
    config = Config(**FAST | flags)
    return build(config, material(config, dataset))


def test_constants_and_missing_columns_are_read_as_they_are_written():
    assert parse_constants("0-2=0.0,60=0.25") == ((0, 0.0), (1, 0.0), (2, 0.0), (60, 0.25))
    assert parse_constants("none") == parse_constants(None) == ()
    assert (parse_missing(None), parse_missing(""), parse_missing("0,3")) == (None, (), (0, 3))
    for parse, text in ((parse_constants, "0-2"), (parse_constants, "a=1"), (parse_missing, "x")):
        with pytest.raises(UserError):
            parse(text)


def test_constant_pixels_are_left_out_where_each_has_a_sigma():
    data = digits()
    constant = (data.train == data.train[0]).all(axis=0).ravel()
    r = made(data, precision="per_dimension")
    assert [i for i, _ in r.config.constants] == np.flatnonzero(constant).tolist() and constant.any()
    assert any("of 64 pixels are constant" in line and "left out" in line for line in r.warnings)
    # The same flags again give the same; config.json holds them.
    assert build(r.config.flags, material(r.config.flags, data)).config.constants == r.config.constants
    own = r.likelihood.init(r.event)
    x = r.preprocess(None, data.train[0])
    assert (r.likelihood.counted(x).ravel() == ~constant).all()
    for flags in ({}, {"precision": "fixed"}, {"precision": "per_dimension", "standardise": "none"}):
        plain = made(data, **flags)
        assert plain.config.constants == () and plain.likelihood.counted is None
    assert own["u"].shape == r.event


ROWS = np.float32(np.random.default_rng(0).gamma(2.0, size=(600, 6)))


def _table():
    """Real, positive, count, class, 0/1 and a constant column, a fifth of three of them missing."""
    rng, x = np.random.default_rng(1), ROWS.copy()
    x[:, 2], x[:, 3], x[:, 4], x[:, 5] = np.floor(1e3 * x[:, 2]), np.floor(x[:, 3]) % 3, x[:, 4] > 1.5, 7.0
    x[:, 1] *= 1e-9
    for column in (0, 2, 3):
        x[rng.random(len(x)) < 0.2, column] = np.nan
    return Dataset("table", x[:500], x[500:])


COLUMNS = "gaussian:1,log_normal:1,negative_binomial:1,categorical(3):1,bernoulli:1,gaussian:1"


def test_a_table_of_all_kinds_with_missing_values(tmp_path):
    data, workdir = _table(), tmp_path / "run"
    config = Config(**FAST, columns=COLUMNS, workdir=str(workdir))
    run(config, material(config, data))
    numbers = results(workdir)
    there = 5 - np.isnan(data.test).sum(axis=1).mean()
    assert numbers["counted_dim"] == pytest.approx(there)
    assert all(math.isfinite(numbers[k]) for k in ("elbo", "iw_nll", "rate", "mse", "bits_per_dim", "accuracy"))
    assert numbers["bits_per_dim"] == pytest.approx(-numbers["elbo"] / (there * math.log(2)))
    assert [v is None for v in numbers["accuracy_per_column"]] == [True, True, True, False, True, True]
    assert any("1 of 6 columns are constant" in line for line in numbers["warnings"])
    assert any("% of the training values are missing, in 3 of 6 columns" in line for line in numbers["warnings"])
    assert dict(build(config, material(config, data)).config.count_means)[2] == pytest.approx(2000, rel=0.1)
    assert not any("leave them out" in line for line in numbers["warnings"])
    # Its model is used where the data are not: NaN is a value that is missing, the constant column is what it is.
    model = vae_jax.load(workdir)
    rows = data.test[:20]
    mean, std = model.encode(rows)
    assert np.isfinite(mean).all() and np.isfinite(std).all() and np.isfinite(model.elbo(rows)).all()
    filled = model.reconstruct(rows)
    assert np.isfinite(filled).all() and (filled[:, 5] == 7.0).all() and (filled[:, 1:3] > 0).all()
    nothing = np.full((1, 6), np.nan, np.float32)
    assert np.isfinite(model.elbo(nothing)).all() and model.elbo(nothing)[0] <= 0


def test_the_encoder_of_plain_rows_is_what_it_was():
    x = np.float32(load_wine().data)
    data = from_arrays("wine", x[:150], x[150:])
    for flags in ({}, {"columns": "gaussian:13"}, {"columns": "gaussian:13", "standardise": "none"}):
        r = made(data, **flags, batch_size=32)
        kernel = next(iter(r.vae.init(r.key)["encoder"].values()))["kernel"]
        assert kernel.shape[0] == 13 and r.likelihood.counted is None and r.config.missing is None
    codes = from_arrays("codes", np.floor(x[:150] % 3), np.floor(x[150:] % 3))
    for standardise, width in (("auto", 39), ("none", 13)):  # no run from before had anything but the codes
        r = made(codes, columns="categorical(3):13", standardise=standardise, batch_size=32)
        assert next(iter(r.vae.init(r.key)["encoder"].values()))["kernel"].shape[0] == width


def test_missing_values_are_refused_where_sigma_is_solved_for():
    with pytest.raises(UserError, match="solves for sigma from complete examples"):
        made(_table()._replace(name="mine"), precision="optimal")
    every = made(_table(), precision="learned", batch_size=32)  # one family for all, x as it is but for what is missing
    assert every.config.missing == (0, 2, 3)
    assert dataclasses.replace(every.config.flags).constants == "none"
