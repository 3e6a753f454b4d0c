"""Runs of digits whose posterior is not the diagonal Gaussian, from the flags to what is loaded again."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from helpers.binaries import call, metrics, refused, results

from vae_jax import load
from vae_jax.data.digits import digits

# Small shapes, and an objective each, so that the two meet.
FLAGS = ["--hidden=8", "--latent_dim=3", "--batch_size=16", "--log_every=4", "--iw_samples=4", "--lr_schedule=constant"]
RUNS = {
    "full_covariance": ["--objective=dreg", "--num_samples=4", "--encoder_steps=1"],
    "categorical": ["--latent_classes=4", "--gumbel_temperature=0.5", "--prior=categorical", "--kl_balance=0.8"],
    "iaf": ["--objective=stl", "--flow_steps=2"],
    "householder": ["--objective=piwae", "--num_samples=4", "--averages=2"],
}


@pytest.mark.parametrize("posterior", RUNS)
def test_a_run_is_made_continued_loaded_and_sampled(tmp_path, posterior):
    flags = [f"--workdir={tmp_path}", f"--posterior={posterior}", *FLAGS, *RUNS[posterior]]
    call(*flags, "--num_steps=4")
    first = metrics(tmp_path)
    call(*flags, "--num_steps=8")
    assert metrics(tmp_path)[: len(first)] == first and metrics(tmp_path)[-1]["step"] == 7
    found = results(tmp_path)
    assert np.isfinite([found["elbo"], found["rate"], found["iw_nll"]]).all()
    model = load(tmp_path)
    x = digits().test[:4]
    mean, deviation = model.encode(x)
    d = 12 if posterior == "categorical" else 3  # three groups of four classes
    assert mean.shape == deviation.shape == (4, d) and np.isfinite(mean).all() and (deviation > 0).all()
    assert model.sample(2, jax.random.key(0)).shape == (2, *x.shape[1:])
    assert np.isfinite(model.log_prob(x, num_samples=4)).all()
    rate = model.rate(x)
    assert rate.shape == (4, 1 if posterior == "iaf" else 3) and ((rate > 0).all() or posterior == "iaf")
    assert (rate < np.log(4)).all() or posterior != "categorical"


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--posterior=categorical", "--prior=mixture"], "or use --prior=categorical"),
        (["--unimix=0.1"], "is for --posterior=categorical"),
        (["--posterior=full_covariance", "--beta_range=0.1:10"], "use --prior=standard_normal --posterior=gaussian"),
        (["--objective=miwae", "--num_samples=4", "--averages=3"], "does not divide"),
        (["--objective=vr", "--vr_alpha=1"], "is the ELBO"),
        (["--objective=stl", "--posterior=categorical"], "through z alone"),
        (["--objective=iwae", "--posterior=categorical", "--gumbel_temperature=1"], "needs their density"),
        (["--gumbel_temperature=1"], "is for --posterior=categorical"),
        (["--objective=dreg", "--weighting=free_bits"], "use it with --objective=elbo"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(tmp_path, flags, match):
    refused(f"--workdir={tmp_path / 'run'}", *FLAGS, *flags, match=match)
    assert not (tmp_path / "run").exists()
