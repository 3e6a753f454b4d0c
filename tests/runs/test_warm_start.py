"""Doors into training: --init_from, and a finished run that is extended."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from helpers.binaries import results
from helpers.malformed import contents, refusal
from helpers.trained_models import SMALL, train_digits

import vae_jax
from vae_jax.runs import warm_start
from vae_jax.runs.build import build, first_state
from vae_jax.runs.settings import Config
from vae_jax.trained import export


@pytest.fixture(scope="module")
def exported(digits_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    export.save_pretrained(vae_jax.load(digits_run), folder)
    return folder


def begun(source, **flags):
    """The parameters that a run with --init_from begins with, and those it would have begun with."""
    r = build(Config(**SMALL | {"init_from": str(source)} | flags))
    state = r.spread.begin(lambda: first_state(r))
    before = jax.tree.map(np.asarray, state.params)
    return warm_start.begin(r, state).params, before


def test_a_run_and_its_export_are_the_same_start(digits_run, exported):
    expected = vae_jax.load(digits_run).params
    for source in (digits_run, exported):
        params, _ = begun(source, beta=4.0)
        jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_what_does_not_fit_is_said_and_left(digits_run, capsys):
    params, before = begun(digits_run, likelihood="discretized_logistic")
    expected = vae_jax.load(digits_run).params["model"]
    jax.tree.map(np.testing.assert_array_equal, params["model"]["encoder"], expected["encoder"])
    theta = params["model"]["decoder"]["theta"]["kernel"]
    np.testing.assert_array_equal(theta, before["model"]["decoder"]["theta"]["kernel"])
    out = capsys.readouterr().out
    assert "starting from" in out and "model/decoder/theta" in out and "likelihood/u" in out


def test_a_fixed_sigma_is_that_of_the_flags(digits_run):
    params, before = begun(digits_run, precision="fixed", sigma=0.5)
    jax.tree.map(np.testing.assert_array_equal, params["likelihood"], before["likelihood"])


def test_a_start_of_which_nothing_fits_is_refused(digits_run, tmp_path):
    other = {"hidden": "9"}
    message = refusal(lambda: train_digits(tmp_path / "run", init_from=str(digits_run), **other))
    assert "none of its parameters" in message and "--latent_dim" in message
    assert not (tmp_path / "run").exists()


def test_a_start_that_is_none_is_refused(tmp_path):
    message = refusal(lambda: train_digits(tmp_path / "run", init_from=str(tmp_path)))
    assert "neither a checkpoint" in message and not (tmp_path / "run").exists()


def test_a_run_is_extended_to_what_a_longer_one_is(tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    train_digits(whole, lr_schedule="constant", num_steps=8, warmup_steps=1, seed=3)
    train_digits(part, lr_schedule="constant", num_steps=4, warmup_steps=1, seed=3)
    train_digits(part, num_steps=8)
    assert results(part) == results(whole)
    assert json.loads((part / "config.json").read_text())["num_steps"] == 8


def test_what_stands_in_the_way_of_more_steps_is_one_line(digits_run, tmp_path):
    before = contents(digits_run) | {".lock": None}
    message = refusal(lambda: train_digits(digits_run, num_steps=8))
    assert "--lr_schedule=cosine" in message and "--init_from=" in message
    assert "another run" in refusal(lambda: train_digits(digits_run, num_steps=2))
    assert contents(digits_run) | {".lock": None} == before


def test_other_flags_do_not_extend_a_run(tmp_path):
    config = Config(**SMALL | {"workdir": str(tmp_path), "lr_schedule": "constant"})
    settled = build(config).config.flags
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(settled)))
    message = refusal(lambda: train_digits(tmp_path, num_steps=8, seed=5))
    assert "--seed is 0 there and 5 here" in message
