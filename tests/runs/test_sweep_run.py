"""The sweep binary as a person meets it: its files, its runs as `train` leaves them, stopped and continued."""

import csv
import json
import signal
import time

import numpy as np
import pytest
from conftest import undrawn
from helpers.binaries import SMALL, call, metrics, refused, results, start

from vae_jax.runs.sweep import finishing

SMALL = [*SMALL, "--checkpoint_every=20"]
FLAGS = [*SMALL, "--beta=0.3,1", "--seed=0,1", "--learning_rate=3e-3"]
TIMINGS = {"seconds", "examples_per_second"}


def rows(workdir):
    found = [json.loads(line) for line in (workdir / "sweep.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in found]


@pytest.fixture
def not_drawn():
    """For tests that look at no figure."""
    with undrawn():
        yield


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("sweep")
    return workdir, call(f"--workdir={workdir}", *FLAGS, binary="sweep")[0]


def test_a_sweep_leaves_what_the_contract_promises(swept):
    workdir, out = swept
    assert [row["run"] for row in rows(workdir)] == [f"beta={b}_seed={s}" for b in ("0.3", "1") for s in (0, 1)]
    config = json.loads((workdir / "runs" / "beta=1_seed=0" / "config.json").read_text())
    train = set(config) - set(finishing.PLACES)
    for row in rows(workdir):
        assert train | {"elbo", "rate", "iw_nll", "kl_per_latent", "calibrated_elbo", "disentanglement"} <= set(row)
        assert row["status"] == "done" and row["step"] == 60 and row["method"] == "separate"
    with (workdir / "sweep.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(line["elbo"]) for line in table] == [row["elbo"] for row in rows(workdir)]
    assert float(table[0]["train.elbo"]) == rows(workdir)[0]["train"]["elbo"]
    for name in ("frontier.png", "beta_profile.png", "report.html", "sweep.json", "config.json"):
        assert (workdir / name).stat().st_size > 0
    assert not (workdir / "programs").exists()
    assert "alive 4 of 4" in out and "best elbo" in out and "left" in out and "Recommendation" in out


def test_a_run_of_a_sweep_is_the_run_that_train_makes(swept, tmp_path, not_drawn):
    workdir, _ = swept
    flags = [*SMALL, "--beta=0.3", "--seed=1", "--learning_rate=3e-3"]
    call(f"--workdir={tmp_path / 'one'}", *flags)
    one, folder = results(tmp_path / "one"), workdir / "runs" / "beta=0.3_seed=1"
    ours = results(folder)
    for key, value in one.items():
        if isinstance(value, float):
            assert ours[key] == pytest.approx(value, rel=1e-5, abs=1e-6), key
    assert ours["active_units"] == one["active_units"] and ours["protocol"] == one["protocol"]
    pairs = list(zip(metrics(folder), metrics(tmp_path / "one"), strict=True))
    assert [a["step"] for a, _ in pairs] == [0, 10, 20, 30, 40, 50, 59]
    for ours, theirs in pairs:
        for key in ("loss", "rate", "distortion", "beta", "grad_norm", "learning_rate", "clipped"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-4, abs=1e-6), key


def test_evaluate_and_train_take_a_run_of_a_sweep(swept):
    folder = swept[0] / "runs" / "beta=1_seed=0"
    before = results(folder)
    assert "report: " in call(f"--workdir={folder}", "--iw_samples=4", "--gap_examples=0", binary="evaluate")[0]
    again = json.loads((folder / "evaluation.json").read_text())
    for key in ("elbo", "rate", "distortion", "mse", "iw_nll"):
        assert again[key] == before[key], key
    flags = [*SMALL, "--beta=1", "--seed=0", "--learning_rate=3e-3"]
    assert "finished" in call(f"--workdir={folder}", *flags)[0]


def test_the_same_command_again_draws_the_report_only(swept):
    workdir, _ = swept
    before = rows(workdir)
    assert "alive" not in call(f"--workdir={workdir}", *FLAGS, binary="sweep")[0] and rows(workdir) == before
    refused(f"--workdir={workdir}", *FLAGS, "--beta=2", match="--beta is 0.3,1 there and 2 here", binary="sweep")
    refused(f"--workdir={workdir}", *SMALL, match="holds the work of another binary")


def test_killed_and_interrupted_it_ends_in_the_same_bits(tmp_path, not_drawn):
    flags = [*FLAGS, "--halving", "--halving_at=0.5"]
    out, _ = call(f"--workdir={tmp_path / 'whole'}", *flags, binary="sweep")
    assert "go on, the others are dominated" in out
    killed = tmp_path / "killed"

    def until(pattern):
        process, deadline = start(f"--workdir={killed}", *flags, binary="sweep"), time.time() + 120
        while process.poll() is None and not list(killed.glob(pattern)) and time.time() < deadline:
            time.sleep(0.005)
        return process

    process = until("programs/*/rung_0/20/meta")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = until("programs/*/rung_1")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 143), err  # SIGTERM
    if process.returncode == 143:
        assert "the same command continues this sweep" in out
    process = until("runs/*/results.json")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    call(f"--workdir={killed}", *flags, binary="sweep")
    assert rows(killed) == rows(tmp_path / "whole")
    stopped = [row for row in rows(killed) if row["status"] == "stopped"]
    assert stopped and all(row["step"] == 30 for row in stopped)
    for row in rows(killed):
        folders = [workdir / "runs" / row["run"] for workdir in (killed, tmp_path / "whole")]
        assert metrics(folders[0]) == metrics(folders[1])
    saved = json.loads((killed / "sweep.json").read_text())["halving"]
    assert saved["saved_share"] == pytest.approx(len(stopped) * 30 / (4 * 60))


def test_runs_that_diverge_are_reported_and_the_others_are_well(tmp_path, not_drawn):
    flags = [*SMALL, "--learning_rate=3e-3,1e9"]
    out, _ = call(f"--workdir={tmp_path}", *flags, binary="sweep")
    assert "is not finite at step" in out and "frozen" in out
    good, bad = rows(tmp_path)
    assert good["status"] == "done" and np.isfinite(good["elbo"])
    assert bad["status"] == "diverged" and bad["elbo"] is None and bad["diverged_at"] < 60
    assert good["skipped"] == 0 and f"learning_rate=1e+09 is not finite at step {bad['diverged_at']}: frozen" in out
    assert "Diverged" in out


def test_one_network_for_all_beta_gives_a_row_for_each(tmp_path, not_drawn):
    flags = [*SMALL, "--beta=0.3,1,3", "--method=multi_rate"]
    call(f"--workdir={tmp_path}", *flags, binary="sweep")
    found = rows(tmp_path)
    assert [row["method"] for row in found] == ["multi_rate"] * 3
    assert [row["beta"] for row in found] == [0.3, 1.0, 3.0] and found[0]["beta_range"] == "0.3:3"
    assert len({row["elbo"] for row in found}) == 3
    folder = tmp_path / "runs" / "multi_rate"
    call(f"--workdir={folder}", "--beta=3", "--iw_samples=4", "--gap_examples=0", binary="evaluate")
    again = json.loads((folder / "evaluation.json").read_text())
    for key in ("elbo", "rate", "distortion", "iw_nll"):
        assert again[key] == found[2][key], key
    refused(f"--workdir={folder}", "--beta=4", match="trained for beta in 0.3:3", binary="evaluate")


def test_disentanglement_against_the_weight_in_one_command(tmp_path):
    images = np.random.default_rng(0).integers(0, 2, size=(1200, 8, 8)).astype(np.uint8)
    classes = np.stack([np.arange(1200) % k for k in (2, 3, 4, 5, 6)], axis=1)
    np.savez(tmp_path / "grid.npz", imgs=images, latents_classes=classes)
    flags = [f"--dataset={tmp_path / 'grid.npz'}", "--beta_norm=0.001,0.1", "--seed=0", "--latent_dim=3", "--hidden=8"]
    workdir = tmp_path / "higgins"
    out, _ = call(f"--workdir={workdir}", *flags, "--num_steps=5", "--iw_samples=2", binary="papers.higgins2017")
    table = json.loads((workdir / "table.json").read_text())
    assert [entry["beta_norm"] for entry in table["table"]] == pytest.approx([0.001, 0.1])
    assert all(0 <= entry["spread"]["beta_vae"]["mean"] <= 1 for entry in table["table"])
    assert (
        "dsprites_sub-grid_1200.npz, both splits, 1200 examples" in table["protocol"] and "| latents | beta_norm" in out
    )
    assert (workdir / "beta_profile.png").exists() and rows(workdir)[0]["disentanglement"]["factors"][0] == "shape"
    assert str(tmp_path) not in table["protocol"]
    # The same runs, read for other goals: nothing is trained again, and the ELBO's files are as they were.
    before, again = rows(workdir), [f"--workdir={workdir}", f"--config={workdir / 'config.json'}"]
    files = {name: (workdir / name).read_bytes() for name in ("sweep.jsonl", "sweep.csv", "config.json")}
    for goal, words in ((["--goal=dci"], "largest DCI"), (["--goal=rate", "--target_kl=1.5"], "nearest to 1.5 nats")):
        told, _ = call(*again, *goal, binary="sweep")
        assert "alive" not in told and words in told and words in (workdir / "report.html").read_text()
        assert rows(workdir) == before and "goal" in json.loads((workdir / "sweep.json").read_text())
    told, _ = call(*again, "--goal=elbo", binary="sweep")
    assert "best held-out ELBO" in told and "goal" not in json.loads((workdir / "sweep.json").read_text())
    assert files == {name: (workdir / name).read_bytes() for name in files}


def test_the_speed_of_a_sweep_is_a_command(tmp_path):
    flags = ["--runs=1,2", "--num_steps=2", "--repeats=1", "--side=8", "--hidden=8", f"--workdir={tmp_path}"]
    call(*flags, binary="benchmark.sweep_speed")
    found = json.loads((tmp_path / "sweep_speed.json").read_text())
    assert [row["runs"] for row in found["rows"]] == [1, 2] and all(row["ratio"] > 0 for row in found["rows"])


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--beta=1,x"], "--beta=x is not a number"),
        (["--beta=1", "--beta_norm=1,2"], "give one of them"),
        (["--halving", "--halving_at=2"], "increasing shares"),
        (["--halving_keep=1"], "--halving_keep=1.0"),
        (["--method=multi_rate"], "at least two"),
        (["--method=multi_rate", "--beta=1,2", "--precision=optimal"], "--precision=learned"),
        (["--max_runs_per_program=0"], "must be at least 1"),
        (["--latent_dim=2,0"], "--latent_dim=0 must be at least 1 (the run latent_dim=0)"),
        (["--dataset=nowhere.npz"], "nowhere.npz"),
        (["--parallel=pmap"], "parallel"),
        (["--goal=mig"], "--dataset=digits has one factor; it takes two factors and 1000 examples"),
        (["--goal=dci"], "scores codes by the factors of the data"),
        (["--goal=fid"], "--goal"),
        (["--goal=rate", "--beta=1,2"], "in nats: add --target_kl=25"),
        (["--goal=rate", "--target_kl=5,10"], "one number of nats above 0"),
        (["--goal=rate", "--weighting=pi", "--target_kl=5"], "holds its --target_kl by itself"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(tmp_path, flags, match):
    refused(f"--workdir={tmp_path / 'new'}", *flags, match=match, binary="sweep")
    assert not (tmp_path / "new").exists()
