"""The train binary as a person meets it: one run, resumed, killed, refused, and every broken input."""

import functools
import json
import random
import signal
import time

import numpy as np
import pytest
from helpers.binaries import SMALL, call, exits_with_2, metrics, refused, results, start

from experiments.papers import loaiza2019


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One finished run with a ramp, checkpointed every 20 steps."""
    workdir = tmp_path_factory.mktemp("run")
    flags = [f"--workdir={workdir}", *SMALL, "--checkpoint_every=20", "--eval_every=30", "--weighting=linear"]
    flags += ["--warmup_steps=40", "--pixels=dequantised"]
    return workdir, flags, call(*flags)[0]


def test_a_run_leaves_what_the_contract_promises(finished):
    workdir, _, out = finished
    r = results(workdir)
    for key in (
        "step elbo rate distortion iw_nll iw_samples bits_per_dim mse beta beta_norm sigma water_level calibration "
        "active_units kl_per_latent"
    ).split():
        assert key in r
    assert r["step"] == 60 and r["elbo"] == -(r["rate"] + r["distortion"]) and len(r["kl_per_latent"]) == 3
    assert r["beta"] == 1.0 and abs(r["beta_norm"] - 3 / 64) < 1e-9
    assert abs(r["water_level"] - r["sigma"] ** 2) < 1e-9
    # bits per dimension of (k + u) / 17 on [0, 1]
    assert abs(r["bits_per_dim"] - (-r["elbo"] / 64 / np.log(2) + np.log2(17))) < 1e-9
    assert r["iw_nll"] <= -r["elbo"] + 0.5
    timings = json.loads((workdir / "results.json").read_text())
    assert timings["seconds"] > 0 and timings["examples_per_second"] > 0
    config = json.loads((workdir / "config.json").read_text())
    assert config["hidden"] == "16" and config["warmup_steps"] == 40
    for name in ("report.html", "pictures.npz", "checkpoints/60"):
        assert (workdir / name).exists()
    assert len(list((workdir / "figures").glob("*.png"))) == 11
    assert list(workdir.glob("events.out.tfevents.*"))
    assert "D = 64, M = 3: beta = 1 (beta_norm = 0.0469), sigma learned from 0.255" in out


def test_each_metrics_line_is_one_update(finished):
    workdir, _, _ = finished
    rows = metrics(workdir)
    assert [row["step"] for row in rows] == [0, 10, 20, 30, 40, 50, 59]
    for row in rows:
        assert abs(row["beta"] - min(1.0, row["step"] / 40)) < 1e-6
        assert abs(row["elbo"] + row["rate"] + row["distortion"]) < 1e-3
        assert abs(row["loss"] - row["distortion"] - row["beta"] * row["rate"]) < 1e-3
    assert [row["step"] for row in metrics(workdir, "validation")] == [30, 60]
    assert metrics(workdir, "test") == []  # it is scored once, at the end


def test_the_same_command_again_finds_it_finished(finished):
    workdir, flags, _ = finished
    before = (workdir / "results.json").read_bytes()
    assert "finished" in call(*flags)[0]
    assert (workdir / "results.json").read_bytes() == before


def test_evaluate_scores_a_trained_run_again(finished, tmp_path):
    workdir, _, _ = finished
    before = (workdir / "results.json").read_bytes()
    out, _ = call(f"--workdir={workdir}", "--iw_samples=4", "--gap_examples=2", binary="evaluate")
    assert "4 importance samples" in out and "mutual information" in out
    again = json.loads((workdir / "evaluation.json").read_text())
    for key in ("elbo", "rate", "distortion", "mse", "iw_nll", "kl_per_latent", "active_units"):
        assert again[key] == results(workdir)[key], key
    parts = again["rate_parts"]
    pieces = ("mutual_information", "total_correlation", "dimension_wise_kl")
    assert abs(sum(parts[k]["value"] for k in pieces) - parts["sampled_rate"]["value"]) < 1e-9
    assert abs(parts["rate"] - again["rate"]) < 1e-5 and again["gaps"]["approximation_gap"] > -0.1
    for key in ("bits_per_dim", "calibrated_elbo"):
        assert again[key] == results(workdir)[key], key
    light = results(workdir)["rate_parts"]
    assert abs(light["mutual_information"]["value"] - parts["mutual_information"]["value"]) < 0.2
    assert (workdir / "results.json").read_bytes() == before and "4 importance samples" in again["protocol"]
    np.savez(tmp_path / "other.npz", train=images(20, 8, 12), test=images(20, 8, 12))
    refused(f"--workdir={workdir}", f"--dataset={tmp_path / 'other.npz'}", match="8x8x1 and 17", binary="evaluate")
    refused(f"--workdir={tmp_path}", match="holds no run", binary="evaluate")


def test_another_configuration_is_refused_with_the_flags_that_differ(finished):
    workdir, flags, _ = finished
    before = (workdir / "config.json").read_bytes()
    refused(
        *flags, "--latent_dim=4", "--seed=1", match="--latent_dim is 3 there and 4 here, --seed is 0 there and 1 here"
    )
    assert (workdir / "config.json").read_bytes() == before


def parameters(workdir):
    """The checksum of every leaf of the last checkpoint, as stored beside it."""
    return json.loads((workdir / "checkpoints" / "60" / "meta" / "metadata").read_text())["checksums"]


def kill_after(process, path, number):
    """Sends a signal once ``path`` is there, and returns the status, the output and the errors."""
    deadline = time.time() + 120
    while process.poll() is None and not path.exists() and time.time() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def same_end(workdir, reference):
    assert results(workdir) == results(reference) and parameters(workdir) == parameters(reference)
    assert metrics(workdir) == metrics(reference) and metrics(workdir, "test") == metrics(reference, "test")


def test_killed_and_stopped_it_ends_in_the_same_bits(finished, tmp_path):
    reference, flags, _ = finished
    flags = [f"--workdir={tmp_path}", *(f for f in flags if not f.startswith("--workdir"))]
    chooser = random.Random(0)
    for _ in range(2):
        process = start(*flags)
        # From the first sign of life on, at any moment: training, saving, evaluating or drawing.
        while process.poll() is None and not (tmp_path / "config.json").exists():
            time.sleep(0.02)
        time.sleep(chooser.uniform(0.0, 4.0))
        process.kill()
        process.communicate()
    code, out, err = kill_after(start(*flags), tmp_path / "checkpoints" / "40", signal.SIGTERM)
    if code != 0:  # it may have been quick enough to finish
        # Where the checkpoint was there before, the signal may have come before the run listened.
        assert code == -signal.SIGTERM or (code == 143 and "the same command continues this run" in out), err
        assert not (tmp_path / "results.json").exists()
        assert "continuing from step" in call(*flags)[0]
    same_end(tmp_path, reference)


def test_a_controller_that_is_killed_goes_on_with_its_state(tmp_path):
    # Traps 36 and 55: the integral is part of the state. Nothing but it decides the next beta.
    flags = [*SMALL, "--checkpoint_every=10", "--weighting=pi", "--target_kl=2", "--ki=0.01"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    kill_after(start(f"--workdir={killed}", *flags), killed / "checkpoints" / "20", signal.SIGKILL)
    call(f"--workdir={whole}", *flags)
    if not (killed / "results.json").exists():  # it may have been quick enough to finish
        assert "continuing from step" in call(f"--workdir={killed}", *flags)[0]
    same_end(killed, whole)
    rows = metrics(whole)
    assert len({row["beta"] for row in rows}) == len(rows) and "saturated" in rows[0] and results(whole)["beta"] > 0


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_eight_devices_end_in_the_same_numbers(finished, tmp_path, mode):
    reference, flags, _ = finished
    flags = [f"--workdir={tmp_path}", *(f for f in flags if not f.startswith("--workdir"))]
    call(*flags, f"--parallel={mode}", devices=8)
    ours, expected = results(tmp_path), results(reference)
    for key in ("elbo", "rate", "distortion", "sigma", "mse", "iw_nll"):
        np.testing.assert_allclose(ours[key], expected[key], rtol=1e-4)


WRONG_FLAGS = [
    (["--dataset=nosuchset"], "--dataset=nosuchset is neither built in"),
    (["--likelihood=poisson"], "--likelihood=poisson"),
    (["--no_such_flag=1"], "no_such_flag"),
    (["stray"], "not a flag: stray"),
    (["--beta=1", "--beta_norm=1"], "--beta and --beta_norm"),
    (["--beta=-1"], "--beta=-1.0"),
    (["--num_steps=0"], "--num_steps=0"),
    (["--batch_size=5000"], "--batch_size=5000 is larger than the 1294 training examples"),
    (["--likelihood=bernoulli"], "--pixels=binary"),
    (["--sigma=0"], "--sigma=0.0"),
    (["--ratio=0", "--weighting=cyclical"], "--ratio=0.0"),
    (["--hidden=12,x"], "--hidden=12,x"),
    (["--weighting=geco"], "--weighting=geco needs --target_distortion"),
]


@pytest.mark.parametrize("flags, match", WRONG_FLAGS, ids=[" ".join(f) for f, _ in WRONG_FLAGS])
def test_what_cannot_be_done_is_refused_in_one_line(tmp_path, flags, match):
    workdir = tmp_path / "run"
    refused(f"--workdir={workdir}", *flags, match=match)
    assert not workdir.exists()  # nothing half-written


def images(n, *shape):
    return np.random.default_rng(n).integers(0, 256, (n, *shape)).astype(np.uint8)


def broken_files(folder):
    """Name -> (file, further flags, what the error has to say)."""
    folder.mkdir()
    np.savez(folder / "whole.npz", train=images(80, 8, 8), test=images(20, 8, 8))
    (folder / "truncated.npz").write_bytes((folder / "whole.npz").read_bytes()[:3000])
    (folder / "empty.npz").write_bytes(b"")
    np.savez(folder / "nan.npz", train=np.full((80, 6), np.nan, np.float32), test=np.zeros((20, 6), np.float32))
    np.savez(folder / "shapes.npz", train=images(80, 8, 8), test=images(20, 8, 12))
    np.savez(folder / "odd.npz", train=images(80, 1, 10), test=images(20, 1, 10))
    np.savez(folder / "range.npz", train=3 * np.ones((80, 6), np.float32), test=np.zeros((20, 6), np.float32))
    return {
        "missing": ([], "no such file"),
        "truncated": ([], "truncated.npz"),
        "empty": ([], "empty"),
        "nan": ([], "NaN"),
        "shapes": ([], "shape"),
        "odd": (["--model=conv"], "nearest size"),
        "range": (["--likelihood=continuous_bernoulli"], "[0, 1]"),
    }


def test_broken_files_are_refused_in_one_line(tmp_path):
    for name, (flags, match) in broken_files(tmp_path / "files").items():
        workdir = tmp_path / name
        refused(
            f"--workdir={workdir}", f"--dataset={tmp_path / 'files' / name}.npz", "--batch_size=16", *flags, match=match
        )
        assert not workdir.exists()


def test_a_refusal_is_one_line_and_status_2_of_the_process(tmp_path):
    exits_with_2(f"--workdir={tmp_path / 'run'}", "--dataset=nosuchset", match="neither built in")
    exits_with_2(f"--workdir={tmp_path / 'run'}", "stray", match="not a flag: stray")
    assert not (tmp_path / "run").exists()


def test_a_workdir_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    refused(f"--workdir={tmp_path / 'file' / 'run'}", *SMALL, match="cannot be written")


def test_a_warm_up_that_ends_after_the_last_step_is_warned_of(tmp_path):
    flags = [f"--workdir={tmp_path}", *SMALL, "--num_steps=3", "--weighting=linear", "--warmup_steps=10"]
    _, err = call(*flags)
    assert "ends after the last step" in err and "never 1" in err
    r = results(tmp_path)
    assert any("ends after the last step" in w for w in r["warnings"]) and abs(r["beta"] - 0.2) < 1e-6


def test_training_that_diverges_names_the_step_and_keeps_the_last_checkpoint(tmp_path):
    flags = [f"--workdir={tmp_path}", *SMALL, "--checkpoint_every=1", "--learning_rate=1e18"]
    said = exits_with_2(*flags, match="training diverged: the 10 updates from step 1 on were skipped")
    # Why, and which of the 64 examples and of the parameters.
    assert "At step 1 the first that is not finite is " in said and "for 64 of 64 examples (rows " in said
    assert "the largest parameter is " in said and not (tmp_path / "results.json").exists()
    # Of the states after which nothing worked none was saved.
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["1"]
    flags = [f"--workdir={tmp_path / 'short'}", *SMALL, "--num_steps=5", "--learning_rate=1e18"]
    exits_with_2(*flags, match="all updates from step 1 to the end, 4, were skipped")
    assert not (tmp_path / "short" / "results.json").exists()


def test_own_files_of_every_kind_train(tmp_path):
    from PIL import Image

    rows = np.random.default_rng(0).standard_normal((90, 7)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", train=rows[:70], test=rows[70:])
    folder = tmp_path / "colour"
    folder.mkdir()
    for i, image in enumerate(images(40, 8, 12, 3)):
        Image.fromarray(image).save(folder / f"{i:03}.png")
    kinds = {
        "rows": [f"--dataset={tmp_path / 'rows.npz'}", "--precision=per_dimension"],
        "images": [f"--dataset={folder}", "--precision=predicted"],
    }
    for name, flags in kinds.items():
        call(f"--workdir={tmp_path / name}", *SMALL, "--num_steps=5", "--batch_size=16", *flags)
        assert np.isfinite(results(tmp_path / name)["elbo"]) and (tmp_path / name / "report.html").exists()


def test_the_continuous_bernoulli_paper_runs_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(loaiza2019, "TrainConfig", functools.partial(loaiza2019.TrainConfig, iw_samples=4))
    call(f"--workdir={tmp_path}", "--dataset=digits", "--num_steps=300", "--hidden=32", binary="papers.loaiza2019")
    table = json.loads((tmp_path / "table.json").read_text())
    ours, as_lambda, as_mean = table.values()
    assert ours > as_mean > as_lambda
    assert results(tmp_path / "bernoulli")["bits_per_dim"] is None  # a cross-entropy is no likelihood
