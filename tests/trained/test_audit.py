"""The audit against closed forms: a linear VAE's outputs, and files with one thing wrong, each to be named."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.helpers.binaries import call, refused
from tests.helpers.linear_outputs import outputs
from tests.helpers.trained_models import train_digits
from vae_jax.linear_vae import predict

S = 0.02


def audit(tmp_path, arrays, *flags):
    np.savez(tmp_path / "outputs.npz", **arrays)
    out, _ = call(f"--outputs={tmp_path}/outputs.npz", *flags, binary="audit")
    return json.loads((tmp_path / "audit_outputs" / "audit.json").read_text()), out


def about(answer, *topics):
    return " ".join(f["sentence"] for f in answer["findings"] if f["topic"] in topics)


@pytest.mark.parametrize("with_z", [True, False])
def test_linear_closed_form(tmp_path, with_z):
    arrays, eigenvalues = outputs(S)
    if not with_z:
        del arrays["z"]
    answer, out = audit(tmp_path, arrays)
    truth = predict(eigenvalues, 1.0, S, 5)
    # Where z is known the chance of the draws cancels; without it 20,000 squares of noise have 1%.
    assert answer["water_level"] == pytest.approx(S, rel=0.01 if with_z else 0.03)
    assert abs(answer["water_level"] - S) < 4 * answer["water_level_se"]
    assert answer["rate"] == pytest.approx(truth.rate, rel=1e-6)
    assert answer["kl_per_latent"] == pytest.approx(truth.kl_per_latent, rel=1e-6)
    assert answer["pixels"]["squared_error"] == pytest.approx(truth.distortion, rel=0.02)
    assert answer["linear"]["at_level"]["rate"] == pytest.approx(truth.rate, rel=0.03)
    assert answer["linear"]["eigenvalues"][:5] == pytest.approx(eigenvalues[:5], rel=1e-3)
    assert answer["beta_norm"] == pytest.approx(answer["water_level"] * 5 / 12, rel=1e-9)
    assert answer["sigma_at_beta_1"] ** 2 == pytest.approx(answer["water_level"], rel=1e-9)
    error = answer["pixels"]["squared_error"] / 12
    assert answer["calibrated_elbo"] == pytest.approx(-6 * (1 + np.log(2 * np.pi * error)) - answer["rate"], rel=1e-9)
    assert answer["identity_residual"] < 0.05 and not answer["suspicions"]
    assert "This model weighs" in out and (tmp_path / "audit_outputs" / "report.html").exists()
    if with_z:
        assert answer["levels"]["weights_of_means"]["squared_error"]["value"] == pytest.approx(2 * S, rel=0.05)
        assert answer["levels"]["unlinearised"]["squared_error"]["value"] == pytest.approx(2 * S, rel=0.2)
        assert answer["levels"]["per_latent"] == pytest.approx([S] * 5, rel=0.15)


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (lambda a: {"logvar": np.exp(0.5 * a["logvar"])}, "holds the standard deviation"),
        (lambda a: {"logvar": np.exp(a["logvar"])}, "holds the variance"),
        (lambda a: {"logvar": 0.5 * a["logvar"]}, "holds the log of the standard deviation"),
        (lambda a: {"logvar": 2.0 * a["logvar"]}, "holds twice the log-variance"),
        (lambda a: {"logvar": -a["logvar"]}, "log-precision"),
        (lambda a: {"logvar": a["logvar"][:, ::-1]}, "another order"),
        (lambda a: {"std": np.exp(a["logvar"])}, "`std` holds the variance"),
        (lambda a: {"std": a["logvar"]}, "no standard deviation"),
    ],
)
def test_wrong_spread_is_named(tmp_path, plant, name):
    arrays, _ = outputs(S)
    wrong = plant(arrays)
    if "std" in wrong:
        del arrays["logvar"]
    answer, _ = audit(tmp_path, arrays | wrong)
    assert name in about(answer, "logvar", "channels"), answer["findings"]


@pytest.mark.parametrize(
    "wrong", [lambda v: np.exp(0.5 * v), np.exp, lambda v: 0.5 * v, lambda v: 2.0 * v, lambda v: v[:, ::-1]]
)
def test_wrong_spread_is_seen_without_draws(tmp_path, wrong):
    arrays, _ = outputs(S)
    del arrays["z"]
    answer, _ = audit(tmp_path, arrays | {"logvar": wrong(arrays["logvar"])})
    assert about(answer, "logvar", "unconverged", "channels"), answer["findings"]
    assert answer["water_level"] is None or any(f["attention"] for f in answer["findings"] if f["topic"] != "code"), (
        answer["findings"]
    )


def test_unconverged_encoder_is_named(tmp_path):
    arrays, _ = outputs(S)
    generator = np.random.default_rng(1)
    # Variances that are all alike are those of an encoder that has hardly moved; the draws are true to them.
    variance = np.full_like(arrays["logvar"], 0.5)
    weight = np.linalg.lstsq(arrays["mean"], arrays["x_mean"] - 0.5, rcond=None)[0]
    z = arrays["mean"] + np.sqrt(variance) * generator.standard_normal(arrays["z"].shape)
    answer, _ = audit(tmp_path, arrays | {"logvar": np.log(variance), "z": z, "x_sample": 0.5 + z @ weight})
    assert "not converged" in about(answer, "unconverged") and not answer["suspicions"]
    assert answer["identity_residual"] > 0.3


def test_ranges(tmp_path):
    arrays, _ = outputs(S, n=1000)
    inside = {k: np.clip(v, 0, 1) if k.startswith("x") else v for k, v in arrays.items()}
    stretched = {k: 2 * v - 1 if k.startswith("x") else v for k, v in inside.items()}
    own, _ = audit(tmp_path, inside)
    detected, _ = audit(tmp_path, stretched)
    assert detected["pixels"]["range"] == "[-1, 1]"
    assert detected["water_level"] == pytest.approx(own["water_level"], rel=1e-9)
    stated, _ = audit(tmp_path, stretched, "--pixel_range=0,1")
    assert "said to be in [0, 1]" in about(stated, "range")
    assert stated["water_level"] == pytest.approx(own["water_level"], rel=1e-9)
    mixed, _ = audit(tmp_path, inside | {k: stretched[k] for k in ("x_mean", "x_sample")})
    assert "its reconstructions are in [-1, 1]" in about(mixed, "range")
    assert mixed["water_level"] == pytest.approx(own["water_level"], rel=1e-9)


def grid(n=400, seed=0):
    """A code [n, 4, 8, 8] of channels first that is smooth over space, its decoder a sum: x [n, 3, 8, 8]."""
    generator = np.random.default_rng(seed)
    waves = generator.standard_normal((n, 4, 3, 3))
    base = np.cos(np.pi * np.outer(np.arange(3), np.arange(8) + 0.5) / 8)
    mean = np.einsum("ncij,ih,jw->nchw", waves, base, base)
    mean *= np.sqrt(0.9) / mean.std()
    z = mean + np.sqrt(0.1) * generator.standard_normal((2, *mean.shape))
    mix = np.array([[1.0, 0, 0, 0.5], [0, 0.8, 0, 0], [0, 0, 0.6, 0]]) * 0.1
    made = [0.5 + np.array([0.2, 0.0, -0.2])[:, None, None] + np.einsum("dc,...chw->...dhw", mix, v) for v in (mean, z)]
    x = made[0] + 0.02 * generator.standard_normal(made[0].shape)
    pixels = {"x": x, "x_mean": made[0], "x_sample": made[1]}
    return pixels | {"mean": mean, "logvar": np.full_like(mean, np.log(0.1)), "z": z}


def test_layouts_and_swapped_channels(tmp_path):
    first = grid()
    last = {k: np.moveaxis(v, -3, -1) for k, v in first.items()}
    one, _ = audit(tmp_path, first)
    other, _ = audit(tmp_path, last)
    mixed, _ = audit(tmp_path, first | {k: last[k] for k in ("x", "logvar")})
    assert one["latents"] == other["latents"] and len(one["kl_per_latent"]) == 4
    assert one["code"]["low_frequencies"] > 2
    for answer in (other, mixed):
        assert answer["water_level"] == pytest.approx(one["water_level"], rel=1e-9)
        assert not answer["suspicions"]
    swapped, _ = audit(tmp_path, first, "--channel_axis=last")
    assert "channels and space look swapped" in about(swapped, "channels")
    bgr, _ = audit(tmp_path, first | {"x": first["x"][:, ::-1]})
    assert "colours of x_mean are in another order" in about(bgr, "channels")


def test_subsets(tmp_path):
    arrays, _ = outputs(S)
    encoded, _ = audit(tmp_path, {k: arrays[k] for k in ("mean", "logvar")})
    assert encoded["water_level"] is None and encoded["active"] == 5
    decoded, _ = audit(tmp_path, {k: arrays[k] for k in ("x", "x_mean", "x_sample")})
    assert decoded["rate"] is None and decoded["pixels"]["rms"] > 0


def test_stated_loss_and_targets(tmp_path):
    arrays, eigenvalues = outputs(S)
    agreed, _ = audit(tmp_path, arrays, f"--loss=mse + {2 * S / 12}*kl", "--target_rate=2", "--target_channels=3")
    assert "they agree" in about(agreed, "loss")
    assert agreed["targets"]["channels"]["water_level"] == pytest.approx(eigenvalues[3], rel=0.02)
    level = agreed["targets"]["rate"]["water_level"]
    assert predict(eigenvalues, 1.0, level, 5).rate == pytest.approx(2.0, rel=0.03)
    half, _ = audit(tmp_path, arrays, f"--loss=sse + {4 * S}*kl")
    assert "the factor is 2" in about(half, "loss")


def test_absolute_error_weight_is_exact_for_a_linear_decoder(tmp_path):
    # With x = xhat(mu) + Laplace noise of scale b, the mean of sign(delta - noise) delta over the
    # noise is |delta| (1 - exp(-|delta| / b)).
    generator, b, tau2 = np.random.default_rng(0), 0.1, 0.04
    mean = generator.standard_normal((20000, 1)) * np.sqrt(1 - tau2)
    z = mean + np.sqrt(tau2) * generator.standard_normal((1, 20000, 1))
    x = 0.5 + 0.3 * mean + generator.laplace(0, b, mean.shape)
    arrays = {"x": x, "x_mean": 0.5 + 0.3 * mean, "x_sample": 0.5 + 0.3 * z, "mean": mean, "z": z}
    answer, _ = audit(tmp_path, arrays | {"logvar": np.full_like(mean, np.log(tau2))}, "--pixel_range=0,1")
    delta = np.abs(0.3 * np.sqrt(tau2) * np.linspace(-6, 6, 20001))
    density = np.exp(-0.5 * np.linspace(-6, 6, 20001) ** 2) / np.sqrt(2 * np.pi) * 6e-4
    expected = np.sum(density * delta * (1 - np.exp(-delta / b))) / (1 - tau2)
    assert answer["levels"]["weights"]["absolute_error"]["value"] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"logvar": None}, "it needs mean with logvar or std"),
        ({"logvar": np.zeros((7, 5))}, "not all arrays are of the same examples"),
        ({"mean": np.full((2000, 5), np.nan)}, "not finite"),
        ({"pixel_range": np.array([1.0, 0.0])}, "pixel_range is"),
        ({"x": np.zeros((2000, 11))}, "do not fit each other"),
    ],
)
def test_refusals(tmp_path, change, match):
    arrays = {k: v for k, v in (outputs(S)[0] | change).items() if v is not None}
    np.savez(tmp_path / "outputs.npz", **arrays)
    refused(f"--outputs={tmp_path}/outputs.npz", match=match, binary="audit")
    assert not (tmp_path / "audit_outputs").exists()


def test_own_run_equals_its_results(tmp_path):
    train_digits(tmp_path / "run", num_steps=60, latent_dim=3, precision="fixed", sigma=0.3)
    out, _ = call(f"--workdir={tmp_path}/run", binary="audit")
    answer = json.loads((tmp_path / "run" / "audit" / "audit.json").read_text())
    pairs, chance = answer["results"], answer["pixels"]["squared_error_se"]
    # The rate has no chance in it; the error has that of other draws of z.
    assert pairs["rate"][1] == pytest.approx(pairs["rate"][0], rel=1e-5)
    assert pairs["mse"][1] == pytest.approx(pairs["mse"][0], abs=4 * chance / 64)
    assert pairs["elbo"][1] == pytest.approx(pairs["elbo"][0], abs=4 * chance / (2 * 0.3**2))
    assert "results.json / this audit" in out
