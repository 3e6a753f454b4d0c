"""What experiments/weigh says, against the closed forms, and what it refuses."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import BED_EIGENVALUES, BED_LATENTS, golden

from experiments import weigh
from vae_jax.data.spectrum import eigenvalues
from vae_jax.linear_vae import predict
from vae_jax.report.formatting import aligned
from vae_jax.report.weigh_text import text
from vae_jax.theory import prospects
from vae_jax.theory.known_losses import KNOWN
from vae_jax.types import UserError

ROOT = Path(__file__).resolve().parents[2]
DIM = len(BED_EIGENVALUES)


# ---------------------------------------------------------------- rows


def test_a_row_is_the_linear_optimum_in_every_unit():
    row = prospects.at_level(BED_EIGENVALUES, 0.4, BED_LATENTS, "mine")
    assert (row.name, row.water_level, row.active) == ("mine", 0.4, 5)
    assert row.rate == golden("4.023594781") and row.distortion == golden("2.475")
    assert row.sigma**2 == pytest.approx(0.4) and row.weight == pytest.approx(0.8)  # sum SE + w sum KL: s = w / 2
    assert row.rms == pytest.approx(math.sqrt(0.2475))
    assert predict(BED_EIGENVALUES, row.beta, None, BED_LATENTS).water_level == pytest.approx(0.4)
    variance = 0.2475  # the mean squared error: any other variance scores this optimum lower
    scores = [-0.5 * (DIM * math.log(2 * math.pi * v) + 2.475 / v) - row.rate for v in (variance, 0.9 * variance, 0.3)]
    assert row.elbo == pytest.approx(scores[0]) and row.elbo > max(scores[1:])


def test_the_calibrated_row_is_probabilistic_pca_and_no_level_beats_it():
    best = prospects.calibrated(BED_EIGENVALUES, BED_LATENTS)
    assert best.elbo == golden("-9.473207627") and best.water_level == golden(".05625")
    assert best.beta == pytest.approx(1.0)
    rows = prospects.grid(BED_EIGENVALUES, BED_LATENTS, [best])
    assert max(rows, key=lambda r: r.elbo) is best
    assert [r.water_level for r in rows] == sorted(r.water_level for r in rows)
    assert rows[0].water_level >= 0.1 * best.water_level * (1 - 1e-12) and rows[-1].active == 0
    assert [r.active for r in rows] == sorted((r.active for r in rows), reverse=True)
    assert np.all(np.diff([r.rate for r in rows]) <= 0) and np.all(np.diff([r.rms for r in rows]) >= 0)


def test_data_that_the_latents_hold_have_no_calibrated_weight():
    answer = prospects.prospects(np.array([3.0, 1.0, 0.0, 0.0]), 2, {"your weight": 0.5}, target_kl=1.0)
    assert answer["calibrated"] is None and answer["calibrated_weights"] is None
    about = {
        "dataset": "made",
        "pixels": "grey",
        "examples": 9,
        "data_dim": 4,
        "latent_dim": 2,
        "trace": 4.0,
        "rms": 1.0,
    }
    about |= {"eigenvalues": [3.0, 1.0], "directions_above": [[1.0, 1]]}
    assert "falls to 0" in text(answer | {"data": about})
    assert answer["collapse"]["water_level"] == 3.0
    json.dumps(answer, allow_nan=False)


def test_the_frontier_ends_in_collapse():
    line = prospects.frontier(BED_EIGENVALUES, BED_LATENTS)
    assert line["rate"][-1] == pytest.approx(0.0, abs=1e-12)
    assert line["rms"][-1] == pytest.approx(math.sqrt(BED_EIGENVALUES.mean()))
    assert all(np.diff(line["rate"]) <= 0)


# ---------------------------------------------------------------- targets


def test_a_target_rate_comes_back_as_the_flags_of_the_controller():
    target = prospects.for_rate(BED_EIGENVALUES, BED_LATENTS, 4.023594781)
    assert target.flags == "--weighting=pi --target_kl=4.02359"
    assert target.row.water_level == pytest.approx(0.4, rel=1e-8) and "5 latents" in target.meaning
    assert prospects.for_rate(BED_EIGENVALUES, BED_LATENTS, 1e6).row is None


def test_a_tolerance_comes_back_as_the_flags_of_geco():
    # At sigma = tolerance the target -E log p(x|z) is the Gaussian's at SSE = D tolerance^2.
    tolerance = math.sqrt(0.2475)
    target = prospects.for_tolerance(BED_EIGENVALUES, BED_LATENTS, tolerance)
    nll = 0.5 * DIM * math.log(2 * math.pi * tolerance**2) + 2.475 / (2 * tolerance**2)
    assert target.flags.endswith(f"--weighting=geco --target_distortion={nll:.3f}")
    assert target.flags.startswith("--precision=fixed --sigma=0.497494 ")
    assert target.row.water_level == pytest.approx(0.4, rel=1e-8)
    assert f"beta = {0.4 / 0.2475:.3g} at that sigma" in target.meaning


def test_tolerances_out_of_reach_are_said_to_be():
    # Six latents leave .225 of squared error, seven leave .105, in ten dimensions.
    target = prospects.for_tolerance(BED_EIGENVALUES, BED_LATENTS, 0.12)
    assert target.row is None and "a linear model cannot" in target.meaning and "takes 7" in target.meaning
    target = prospects.for_tolerance(BED_EIGENVALUES, BED_LATENTS, 1.5)
    assert target.row is None and "nothing has to be learned" in target.meaning
    assert prospects.for_tolerance(BED_EIGENVALUES, BED_LATENTS, 0.15 + 1e-6).row is not None
    for tolerance in (1e-3, 0.15, 10.0):  # the flags are there all the same: a network is not a linear model
        assert "--weighting=geco" in prospects.for_tolerance(BED_EIGENVALUES, BED_LATENTS, tolerance).flags


# ---------------------------------------------------------------- MNIST


def test_mnist(mnist_train):
    values = eigenvalues(mnist_train.astype(np.float32) / 255)
    for latents, log_likelihood in ((10, "182.154681"), (20, "299.758428"), (50, "507.905384")):
        best = prospects.calibrated(values, latents)
        assert best.elbo == golden(log_likelihood, single=True)
    answer = prospects.prospects(values, 20, {"your loss": 392.0, "your weight": 19.6})
    active = {row["name"]: row["active"] for row in answer["grid"]}
    assert (active["your loss"], active["your weight"], active["calibrated"]) == (0, 0, 20)
    assert answer["collapse"]["water_level"] == golden("5.116788", single=True)
    assert answer["collapse"]["sum"] == pytest.approx(2 * 5.116788, rel=1e-6)


# ---------------------------------------------------------------- the binary


def test_columns_are_aligned():
    lines = aligned(["name", "two\nlines", ""], [["a", "1.5", "< x"], ["longer", "10", ""]], left=(0, 2))
    assert lines.split("\n") == [
        "          two",
        "name    lines",
        "------  -----  ---",
        "a         1.5  < x",
        "longer     10",
    ]


def test_digits_from_flags_to_files(tmp_path, capsys):
    config = weigh.Config(
        workdir=str(tmp_path),
        known=True,
        dataset="digits",
        recon="squared_error",
        recon_reduction="mean",
        kl_reduction="mean",
        beta=4.0,
        precision="fixed",
        sigma=0.1,
        target_kl=20.0,
        tolerance=0.01,
    )
    weigh.main(config)
    said = capsys.readouterr().out
    answer = json.loads((tmp_path / "weigh.json").read_text())
    marked = {row["name"]: row for row in answer["grid"] if row["name"]}
    assert set(marked) == {"calibrated", "your loss", "your weight", "target rate"}  # the tolerance is out of reach
    assert marked["your loss"]["water_level"] == pytest.approx(64 / (2 * 20))
    assert marked["your weight"]["water_level"] == pytest.approx(0.04)
    assert marked["target rate"]["rate"] == pytest.approx(20.0)
    assert answer["data"]["data_dim"] == 64 and answer["data"]["trace"] == pytest.approx(
        sum(answer["data"]["eigenvalues"])
    )
    assert answer["collapse"]["yours"] == pytest.approx(answer["data"]["eigenvalues"][0] / 1.6)
    assert len(answer["known"]) == len(KNOWN)
    assert (tmp_path / "figures" / "weigh.png").read_bytes().startswith(b"\x89PNG")
    for part in (
        "a linear model cannot",
        "--weighting=pi --target_kl=20",
        "< your loss",
        "PyTorch-VAE",
        "--precision=learned",
    ):
        assert part in said
    assert max(len(line) for line in said.split("\n") if not line.startswith("written: ")) < 150


def test_a_sigma_below_the_bound_of_training_is_said(tmp_path, capsys):
    # Two directions and noise: a table is in standard units, so that its own scale does not matter.
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 4)), rng.normal(size=(40, 4))
    for scale in (1.0, 1e-5):
        rows = (signal + scale * noise).astype(np.float32)
        np.savez(tmp_path / "rows.npz", train=rows, test=rows)
        weigh.main(weigh.Config(workdir=str(tmp_path), dataset=str(tmp_path / "rows.npz"), latent_dim=2))
        assert ("is below where train stops" in capsys.readouterr().out) == (scale < 1)


def test_a_bce_has_no_water_level_but_is_weighed(tmp_path, capsys):
    config = weigh.Config(
        workdir=str(tmp_path), dataset="digits", recon="bce", recon_reduction="sum", kl_reduction="sum", weight=2.0
    )
    weigh.main(config)
    said = capsys.readouterr().out
    assert "beta = 2.000 on the Bernoulli ELBO" in said and "beta / 4 = 0.5000; 3 directions" in said
    answer = json.loads((tmp_path / "weigh.json").read_text())
    assert answer["loss"]["water_level"] is None and "yours" not in answer["collapse"]


def test_a_loss_alone_reads_no_data_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weigh.main(
        weigh.Config(
            recon="squared_error",
            recon_reduction="mean",
            kl_reduction="sum+batch_sum",
            recon_weight=2.0,
            batch_size=128,
            data_dim=2352,
            latent_dim=20,
        )
    )
    said = capsys.readouterr().out
    assert "2 mean SE + sum KL (batch sum)" in said and "s = 75264" in said and "(batches of 128)" in said
    assert list(tmp_path.iterdir()) == []


LOSS = {"recon": "squared_error", "recon_reduction": "mean", "kl_reduction": "sum", "data_dim": 784, "latent_dim": 20}


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({}, "--known"),
        ({"weight": 2.0}, "--recon"),
        ({**LOSS, "recon_reduction": None}, "--recon_reduction"),
        ({**LOSS, "data_dim": None}, "--data_dim"),
        ({**LOSS, "latent_dim": None}, "--latent_dim"),
        ({**LOSS, "latent_dim": 0}, "--latent_dim"),
        ({**LOSS, "kl_reduction": "sum+batch_sum"}, "--batch_size"),
        ({**LOSS, "weight": -1.0}, "weight"),
        ({**LOSS, "recon_weight": 0.0}, "recon_weight"),
        ({**LOSS, "recon": "bce", "pixel_scale": 255.0}, "pixel_scale"),
        ({**LOSS, "beta": 2.0}, "--dataset"),
        ({**LOSS, "tolerance": 0.1}, "--dataset"),
        ({"dataset": "digits", "beta": 2.0, "beta_norm": 1.0}, "--beta_norm"),
        ({"dataset": "digits", "beta": -2.0}, "--beta"),
        ({"dataset": "digits", "sigma": 0.0}, "--sigma"),
        ({"dataset": "digits", "target_kl": -1.0}, "--target_kl"),
        ({"dataset": "digits", "tolerance": math.nan}, "--tolerance"),
        ({"dataset": "digits", "data_dim": 65}, "--data_dim"),
        ({"dataset": "no_such_data"}, "--dataset"),
    ],
)
def test_what_cannot_be_weighed_is_refused_in_one_line(flags, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        weigh.main(weigh.Config(**flags))
    assert named in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []  # nothing half-written


def test_the_command_itself():
    """Exit status 2 and one line; and nothing heavy is imported for a loss alone."""
    run = [sys.executable, "-m", "experiments.weigh", "--weight=2"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    program = (
        "import sys; from experiments import weigh; weigh.main(weigh.Config(known=True)); "
        "print([m for m in ('flax', 'orbax', 'matplotlib', 'tensorflow_datasets', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.rstrip().endswith("[]"), done.stderr


def test_patches_and_new_data(tmp_path, capsys):
    flags = {"dataset": "digits", "patch": 4, "channels": 3, "latent_dim": 20}
    weigh.main(weigh.Config(**flags, workdir=str(tmp_path)))
    said = " ".join(capsys.readouterr().out.split())
    answer = json.loads((tmp_path / "weigh.json").read_text())
    errors, finite = [code["mse"] for code in answer["patches"]["codes"]], answer["finite"]
    assert "Patches of 4 x 4 pixels, 3 numbers each" in said and "as a stationary Gaussian field" in said
    assert errors[0] < errors[1] and errors[2] < errors[1] and "sigma" in answer["patches"]
    # What it is on the examples is the calibrated row; 1,437 examples lose it a nat.
    assert finite["train"] == pytest.approx(answer["calibrated"]["elbo"])
    assert f"has an ELBO of {finite['train']:.4g} nats on them and about {finite['held_out']:.4g} on new ones" in said
    assert finite["best"] == 20 and 0.5 < finite["train"] - finite["held_out"] < 3
    for wrong, match in (
        ({"channels": None}, "give both"),
        ({"dataset": None, "known": True}, "give both, and --dataset"),
        ({"patch": 9}, "does not fit into images of 8 x 8"),
        ({"pixels": "binary"}, "images as they are"),
    ):
        with pytest.raises(UserError, match=match):
            weigh.main(weigh.Config(**flags | {"latent_dim": None} | wrong))
