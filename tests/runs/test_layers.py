"""Hierarchies from the command line: trained, continued, loaded, sampled; what they cannot be combined with."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from helpers.binaries import SMALL, call, metrics, refused, results

from vae_jax import load

FLAGS = [f for f in SMALL if not f.startswith(("--hidden", "--latent_dim"))]
FLAGS += ["--model=ladder", "--latent_layers=3,2", "--hidden=16,8", "--layer_betas=1,0.5", "--checkpoint_every=30"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns the folder of a ladder that was trained on digits, and the first lines of its page."""
    workdir = tmp_path_factory.mktemp("ladder")
    out, _ = call(f"--workdir={workdir}", *FLAGS)
    return workdir, out


def test_each_layer_has_its_rate_everywhere(run):
    workdir, out = run
    assert "2 layers of 3, 2 latents" in out and "weighed 1, 0.5 times" in out
    layers = results(workdir)["layers"]
    assert [layer["latents"] for layer in layers] == [3, 2]
    np.testing.assert_allclose(sum(layer["rate"] for layer in layers), results(workdir)["rate"], rtol=1e-5)
    line = metrics(workdir)[-1]
    np.testing.assert_allclose(line["rate_layer_1"] + line["rate_layer_2"], line["rate"], rtol=1e-5)
    weighed = line["distortion"] + line["beta"] * (line["rate_layer_1"] + 0.5 * line["rate_layer_2"])
    np.testing.assert_allclose(weighed, line["loss"], rtol=1e-6)
    assert "Kept: above 0.01 nats" in (workdir / "report.html").read_text()


def test_the_settled_flags_are_those_of_the_same_run(run):
    workdir, _ = run
    config = json.loads((workdir / "config.json").read_text())
    assert config["latent_dim"] == 5 and config["latent_layers"] == "3,2"
    before = results(workdir)
    call(f"--workdir={workdir}", *FLAGS)
    assert results(workdir) == before


def test_a_trained_ladder_encodes_and_samples(run):
    model = load(run[0])
    x = np.zeros((2, *model.event), np.uint8)
    mean, std = model.encode(x)
    assert mean.shape == (2, 5) and (std > 0).all()
    assert model.sample(3, jax.random.key(0)).shape == (3, *model.event)


def test_a_ladder_knows_a_condition(tmp_path):
    flags = [f for f in FLAGS if not f.startswith("--layer_betas")]
    call(f"--workdir={tmp_path}", *flags, "--condition=label", "--num_steps=20")
    assert results(tmp_path)["condition"][0]["name"] == "label" and len(results(tmp_path)["layers"]) == 2
    model, key = load(tmp_path), jax.random.key(0)
    made = {c: model.sample(3, key, c=c) for c in (1, 7)}
    assert made[1].shape == (3, *model.event) and np.abs(made[1] - made[7]).max() > 0
    x = np.zeros((2, *model.event), np.uint8)
    assert (model.elbo(x, c=1) != model.elbo(x, c=7)).all()


@pytest.mark.parametrize(
    "flags, match",
    [
        (["--model=mlp", "--latent_layers=3,2"], "one layer"),
        (["--model=ladder", "--latent_layers=3"], "2 to 5"),
        (["--model=ladder", "--latent_layers=3,2", "--layer_betas=1"], "one number for each layer"),
        (["--model=ladder", "--latent_layers=3,2", "--layer_betas=1,1", "--objective=iwae"], "drop it"),
        (["--model=hierarchy", "--beta_range=0.1:1"], "one weight at a time"),
        (["--model=ladder", "--kl_balance=0.8"], "brings its own: drop it"),
        (["--model=ladder", "--hidden=16"], "one width"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(tmp_path, flags, match):
    refused(f"--workdir={tmp_path / 'run'}", *flags, match=match)
    assert not (tmp_path / "run").exists()
