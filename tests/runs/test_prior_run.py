"""Runs with a prior that is learned: trained, measured, loaded, sampled, continued; with the VAE, or after it."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

import vae_jax
from tests.helpers.binaries import SMALL, call, metrics, refused, results
from vae_jax.runs.build import build, first_state
from vae_jax.runs.settings import Config

BASE = [*SMALL, "--likelihood=bernoulli", "--pixels=sampled", "--num_steps=20", "--prior_components=7"]


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    """A run with N(0, I) that is long enough for its codes to be something else."""
    workdir = tmp_path_factory.mktemp("standard")
    call(f"--workdir={workdir}", *BASE, "--num_steps=300", "--learning_rate=0.01", "--log_every=100")
    return workdir


@pytest.mark.parametrize("prior", ["mixture", "vamp", "flow", "autoregressive"])
def test_a_run_with_a_learned_prior_is_whole(prior, tmp_path):
    flags = [f"--workdir={tmp_path}", *BASE, f"--prior={prior}", "--lr_schedule=constant"]
    out, _ = call(*flags)
    assert f"p(z) is a {prior} that is learned; the rate is the mean of log q(z|x) - log p(z)" in out
    r = results(tmp_path)
    assert r["elbo"] == -(r["rate"] + r["distortion"]) and r["kl_per_latent"] is None and r["second_moment"] is None
    parts = r["rate_parts"]
    assert "dimension_wise_kl" not in parts and "kl_per_latent" not in parts
    together = parts["mutual_information"]["value"] + parts["prior_gap"]["value"]
    assert together == pytest.approx(parts["sampled_rate"]["value"], abs=1e-6)
    pictures = np.load(tmp_path / "pictures.npz")
    assert "tempered" not in pictures and "traversal_kl" not in pictures and pictures["samples"].std() > 0
    assert "which was learned" in (tmp_path / "report.html").read_text()
    model = vae_jax.load(tmp_path)
    drawn = model.sample(5, jax.random.key(0))
    assert drawn.shape == (5, 8, 8, 1) and not np.array_equal(drawn[0], drawn[1]) and model.active.shape == (3,)
    with pytest.raises(vae_jax.UserError, match="leave it at 1"):
        model.sample(5, jax.random.key(0), temperature=0.5)
    x = np.random.default_rng(0).integers(0, 17, (4, 8, 8)).astype(np.uint8)
    assert np.isfinite(model.log_prob(x, 8)).all() and model.rate(x).shape == (4, 1)
    call(*flags, "--num_steps=30")
    assert results(tmp_path)["step"] > r["step"] or results(tmp_path)["steps_done"] == 30


def test_one_component_has_a_rate_of_each_latent(tmp_path):
    flags = [f"--workdir={tmp_path}", *BASE, "--prior=mixture", "--prior_components=1"]
    out, _ = call(*flags, "--weighting=free_bits")
    r = results(tmp_path)
    assert len(r["kl_per_latent"]) == 3 and "the mean of log q" not in out
    assert sum(r["kl_per_latent"]) == pytest.approx(r["rate"], rel=1e-5)


def test_free_bits_of_a_rate_that_is_one_number_are_of_all_latents_together(tmp_path):
    flags = [f"--workdir={tmp_path}", *BASE, "--prior=flow", "--weighting=free_bits", "--free_nats=50"]
    out, _ = call(*flags)
    assert "above 50 free nats for all latents together" in out
    for line in metrics(tmp_path):
        assert line["rate"] < 50 and line["loss"] == pytest.approx(line["distortion"] + 50, rel=1e-6)


def test_the_second_stage_changes_the_prior_and_nothing_else(standard, tmp_path):
    after = [f"--workdir={tmp_path}", *BASE, "--prior=mixture", "--prior_stage=after", f"--init_from={standard}"]
    call(*after, "--num_steps=300", "--learning_rate=0.01", "--log_every=100")
    first, second = vae_jax.load(standard), vae_jax.load(tmp_path)
    for name in ("encoder", "decoder"):
        pairs = zip(jax.tree.leaves(first.params["model"][name]), jax.tree.leaves(second.params["model"][name]))
        assert all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)
    r, s = results(standard), results(tmp_path)
    # The same codes with the same noise: the distortion is the same, the rate lower, and so -log p(x).
    assert s["distortion"] == pytest.approx(r["distortion"], abs=1e-4)
    assert s["rate"] < r["rate"] - 0.05 and s["elbo"] > r["elbo"] + 0.05 and s["iw_nll"] < r["iw_nll"]
    # What a prior can save is the distance of the codes from N(0, I).
    gap = r["rate_parts"]["total_correlation"]["value"] + r["rate_parts"]["dimension_wise_kl"]["value"]
    assert r["rate"] - s["rate"] < gap + 3 * r["rate_parts"]["sampled_rate"]["error"]
    refused(*after, f"--workdir={tmp_path / 'other'}", "--hidden=24", match="give that run's --model, --hidden")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "flags, match",
    [
        (["--prior=categorical"], "is of discrete latents"),
        (["--kl_balance=0.8"], "nothing to learn"),
        (["--prior=flow", "--kl_balance=0.8", "--objective=iwae"], "--objective=iwae has not"),
        (["--prior=flow", "--beta_range=0.1:10"], "--beta_range sets mean and scale"),
        (["--prior=flow", "--prior_stage=after"], "--init_from=RUN"),
        (["--prior_stage=after", "--init_from=x"], "nothing to learn"),
        (["--prior=vamp", "--posterior=iaf"], "use --posterior=gaussian"),
        (["--prior=vamp", "--prior_components=0"], "at least 1"),
        (["--prior=strange"], "must be one of"),
    ],
)
def test_what_a_prior_cannot_be_combined_with_is_refused(flags, match, tmp_path):
    base = [flag for flag in BASE if not any(flag.split("=")[0] == other.split("=")[0] for other in flags)]
    refused(f"--workdir={tmp_path / 'run'}", *base, *flags, match=match)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
def test_pseudo_inputs_of_a_family_with_a_noise_level(likelihood):
    r = build(Config(likelihood=likelihood, prior="vamp", prior_components=5, hidden="8", latent_dim=2))
    own = jax.eval_shape(lambda: first_state(r)).params["model"]["prior"]
    assert own["inputs"].shape == (5, 8, 8, 1)


def test_a_plugin_brings_a_prior(tmp_path):
    plugin = tmp_path / "wide.py"
    plugin.write_text(
        "from vae_jax import priors\n"
        "def wide(settings, vae):\n"
        "    one = priors.mixture(1)\n"
        "    return one._replace(kl=None)\n"
        "PRIORS = {'wide': wide}\n"
    )
    call(f"--workdir={tmp_path / 'run'}", *BASE, "--prior=wide", f"--plugin={plugin}")
    assert json.loads((tmp_path / "run" / "results.json").read_text())["kl_per_latent"] is None
