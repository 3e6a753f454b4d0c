"""Runs with a validation split: which model they report, when they stop, and that nothing that happens changes it."""

import dataclasses
import json
import signal
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from helpers.binaries import SMALL, call, metrics, refused, results, start

import vae_jax
from vae_jax.runs import build
from vae_jax.runs.names import BUILT_IN
from vae_jax.runs.selection import evenly, final_from
from vae_jax.runs.settings import Config
from vae_jax.runs.settling import default_eval_every, without_data

# Overfits within 60 steps: there is a mean to be learned and nothing but noise, which 72 examples are then told by.
DATA = """
import numpy as np
from vae_jax.data.dataset import from_arrays

def noise(*_, **__):
    rng = np.random.default_rng(0)
    rows = (0.3 * rng.standard_normal(64) + 0.5 * rng.standard_normal((232, 64))).astype(np.float32)
    return from_arrays("noise", rows[:72], rows[152:])._replace(validation=rows[72:152])

DATASETS = {"noise": noise}
"""
FLAGS = [*SMALL, "--dataset=noise", "--standardise=none", "--learning_rate=0.05", "--eval_every=10", "--sigma=0.6"]
FLAGS += ["--checkpoint_every=20", "--lr_schedule=constant", "--beta=0.001"]


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    plugin = tmp_path_factory.mktemp("plugin") / "noise.py"
    plugin.write_text(DATA)
    return [*FLAGS, f"--plugin={plugin}"]


@pytest.fixture(scope="module")
def whole(flags, tmp_path_factory):
    """A run that overfits, and all that it said."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    return workdir, "".join(call(f"--workdir={workdir}", *flags))


def bound(line):
    return line["recalibrated_elbo"]


def test_the_best_step_is_reported_and_said(whole):
    workdir, out = whole
    r, lines = results(workdir), metrics(workdir, "validation")
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60] and not metrics(workdir, "test")
    best = max(lines, key=bound)
    assert 10 < best["step"] < 60, [bound(line) for line in lines]
    assert (r["step"], r["best_step"], r["steps_done"], r["stopped_early"]) == (best["step"],) * 2 + (60, False)
    # The bound after recalibration is that of the model that is reported, on the same examples with the same noise.
    assert r["validation"]["elbo"] == pytest.approx(bound(best), abs=1e-3)
    assert r["validation"]["calibration"] == pytest.approx(1.0, abs=1e-4)
    before = r["validation"]["calibration_before"]
    assert before == pytest.approx(best["calibration"]) and abs(before - 1.0) > 0.05
    assert r["sigma"] == pytest.approx(r["trained_sigma"] * before**0.5, rel=1e-5)
    assert r["water_level"] == pytest.approx(r["beta"] * r["sigma"] ** 2)
    assert f"reported is the model at step {best['step']}, of the best bound" in r["protocol"]
    assert "the run overfits" in out and f"of step {best['step']} of 60" in out
    assert "the step that is reported" not in (workdir / "report.html").read_text()  # that is in the figure


def test_what_is_loaded_evaluated_and_begun_from_is_what_is_reported(whole, flags, tmp_path):
    workdir, _ = whole
    r, model = results(workdir), vae_jax.load(workdir)
    assert float(model.sigma) == pytest.approx(r["sigma"])
    call(f"--workdir={workdir}", "--iw_samples=4", "--gap_examples=0", binary="evaluate")
    again = json.loads((workdir / "evaluation.json").read_text())
    assert {k: again[k] for k in ("step", "elbo", "rate", "mse")} == {k: r[k] for k in ("step", "elbo", "rate", "mse")}
    out, _ = call(f"--workdir={tmp_path / 'next'}", *flags, "--num_steps=1", f"--init_from={workdir}")
    assert "11 of 11 arrays" in out
    taken = metrics(tmp_path / "next")[0]
    assert taken["sigma"] == pytest.approx(r["sigma"])


@pytest.fixture(scope="module")
def stopped(flags, tmp_path_factory):
    """The same run with some patience, and all that it said."""
    workdir = tmp_path_factory.mktemp("stopped") / "run"
    return workdir, call(f"--workdir={workdir}", *flags, "--patience=2")[0]


def test_patience_stops_and_what_has_stopped_is_finished(whole, stopped, flags):
    (workdir, _), (ended, out) = whole, stopped
    best, patient = results(workdir), [f"--workdir={ended}", *flags, "--patience=2"]
    r = results(ended)
    assert r["stopped_early"] and r["steps_done"] == r["step"] + 20 < 60 and "training stops" in out
    for key in ("step", "elbo", "rate", "mse", "sigma", "validation", "train"):
        assert r[key] == best[key], key
    assert metrics(ended, "validation") == metrics(workdir, "validation")[: r["steps_done"] // 10]
    assert "it stopped early" in call(*patient)[0]
    longer = [f for f in patient if not f.startswith("--num_steps")] + ["--num_steps=90"]
    refused(*longer, match="was stopped early by --patience=2 and is finished")


@pytest.mark.parametrize(("steps", "said"), [(60, True), (61, False), (20, True)])
def test_a_patience_that_can_stop_nothing_is_said(steps, said):
    # Evaluated every 20: the best so far at 20, and the second without a better bound is that of step 60.
    settings, dataset = SimpleNamespace(patience=2, eval_every=20, num_steps=steps), SimpleNamespace(validation=0)
    told = build._of_patience(settings, dataset)
    assert bool(told) == said and all("--patience=2 can stop nothing" in words for words in told)


def test_keep_last_reports_the_end_with_its_noise_recalibrated(flags, tmp_path):
    call(f"--workdir={tmp_path}", *flags, "--keep=last")
    r = results(tmp_path)
    assert r["step"] == r["best_step"] == 60 and r["validation"]["calibration"] == pytest.approx(1.0, abs=1e-4)


def test_killed_on_the_way_it_reports_the_same_model_to_the_bit(whole, flags, tmp_path):
    workdir, _ = whole
    process, deadline = start(f"--workdir={tmp_path}", *flags), time.time() + 120
    while process.poll() is None and not (tmp_path / "checkpoints" / "40" / "meta").exists() and time.time() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    call(f"--workdir={tmp_path}", *flags)
    assert results(tmp_path) == results(workdir)
    metas = [json.loads((w / "checkpoints" / "60" / "meta" / "metadata").read_text()) for w in (tmp_path, workdir)]
    assert metas[0]["checksums"] == metas[1]["checksums"] and any(".best.params" in p for p in metas[0]["checksums"])
    assert metrics(tmp_path, "validation") == metrics(workdir, "validation")


def test_a_warm_up_that_has_not_ended_keeps_and_stops_nothing(flags, tmp_path):
    call(f"--workdir={tmp_path}", *flags, "--weighting=linear", "--warmup_steps=40", "--patience=1")
    r, lines = results(tmp_path), metrics(tmp_path, "validation")
    after = [line for line in lines if line["step"] >= 40]
    assert len(lines) > len(after) and r["best_step"] == max(after, key=bound)["step"] >= 40
    assert r["steps_done"] > 40  # at the third of falling bounds it would have stopped


def test_a_run_of_a_sweep_keeps_what_train_keeps(stopped, flags, tmp_path):
    # One overfits and the others have too high a weight for that: they stop at different steps.
    shared = [*flags, "--patience=2", "--halving", "--halving_at=0.5"]
    call(f"--workdir={tmp_path}", *shared, "--beta=0.001,0.3,3", binary="sweep")
    rows = {row["beta"]: row for row in map(json.loads, (tmp_path / "sweep.jsonl").read_text().splitlines())}
    done = [beta for beta, row in rows.items() if row["status"] == "done"]
    for beta in {done[0], done[-1]}:
        name = f"beta={beta:g}"
        alone = stopped[0] if beta == 0.001 else tmp_path / f"alone_{beta:g}"
        if alone != stopped[0]:
            call(f"--workdir={alone}", *flags, "--patience=2", f"--beta={beta:g}")
        ours, theirs = rows[beta], results(alone)
        for key in ("step", "best_step", "steps_done", "stopped_early", "active_units"):
            assert ours[key] == theirs[key], (name, key)
        for key in ("elbo", "rate", "sigma", "trained_sigma", "calibration"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-4), (name, key)
        for split in ("train", "validation"):
            steps = [[line["step"] for line in metrics(w, split)] for w in (tmp_path / "runs" / name, alone)]
            assert steps[0] == steps[1], (name, split)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_eight_devices_keep_the_same_step(whole, flags, tmp_path, mode):
    call(f"--workdir={tmp_path}", *flags, f"--parallel={mode}", devices=8)
    ours, expected = results(tmp_path), results(whole[0])
    assert ours["best_step"] == expected["best_step"]
    for key in ("elbo", "sigma", "trained_sigma", "mse"):
        np.testing.assert_allclose(ours[key], expected[key], rtol=1e-4)


def test_the_average_and_the_decay_are_what_is_reported(whole, flags, tmp_path):
    call(f"--workdir={tmp_path}", *flags, "--ema=0.9", "--weight_decay=0.1")
    r, model = results(tmp_path), vae_jax.load(tmp_path)
    assert "the moving average of the parameters at step" in r["protocol"]
    assert float(model.sigma) == pytest.approx(r["sigma"])
    # Not the parameters of that step.
    assert r["validation"]["elbo"] != results(whole[0])["validation"]["elbo"]


def settled(**given):
    return without_data(Config(**given), BUILT_IN)


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({}, 0),
        ({"weighting": "linear"}, 200),
        ({"weighting": "sigmoid", "warmup_steps": 70}, 70),
        ({"weighting": "cosine"}, 200),
        ({"weighting": "cyclical"}, 1000),
        ({"weighting": "cyclical", "warmup_steps": 300}, 300),
        ({"weighting": "capacity", "target_kl": 5.0}, 500),
        ({"weighting": "free_bits"}, 0),
        ({"weighting": "pi", "target_kl": 5.0}, 250),
        ({"weighting": "geco", "target_distortion": 5.0}, 250),
        ({"encoder_steps": 3}, 250),
        ({"encoder_steps": 3, "aggressive_steps": 40}, 40),
        ({"encoder_steps": 3, "weighting": "linear"}, 250),
        ({"beta_range": "0.1:10"}, 0),
    ],
)
def test_the_first_step_at_which_the_weight_is_final(given, first):
    config = settled(num_steps=1000, **given)
    assert final_from(config) == first
    # That a schedule is at its end there, and just before not, is the schedule's own to say.
    if given.get("weighting") in ("linear", "sigmoid", "cosine") and "encoder_steps" not in given:
        from vae_jax.runs.weightings import SCHEDULES

        schedule = SCHEDULES[given["weighting"]](config, 1.0)
        assert float(schedule(first)) == pytest.approx(1.0, abs=3e-3) and float(schedule(0.8 * first)) < 0.99


def test_how_often_a_run_is_evaluated():
    for given, every in [({}, 100), ({"num_steps": 30_000}, 1000), ({"num_steps": 30_000, "log_every": 300}, 1200)]:
        assert settled(**given).eval_every == every
    assert settled(validation=0.0).eval_every == 1000 and settled(eval_every=7).eval_every == 7
    assert default_eval_every(dataclasses.replace(Config(), num_steps=60, log_every=10)) == 100


def test_the_examples_that_choose_are_spread_over_the_split():
    rows = np.arange(10_001)[:, None]
    some = evenly(rows, 2000)[:, 0]
    assert len(some) == 2000 and some[0] == 0 and some[-1] == 10_000 and set(np.diff(some)) <= {5, 6}
    assert evenly(rows, 20_000) is rows
    assert jax.tree.leaves(evenly(rows[:3], 2000))[0] is not None
