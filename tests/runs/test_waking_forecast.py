"""When latents wake, said before training, and a ramp as long as the linear theory asks for."""

import json

import numpy as np
import pytest
from helpers.binaries import SMALL, call, metrics, refused

from vae_jax import schedules
from vae_jax.data.dataset import from_arrays
from vae_jax.report import load
from vae_jax.report.waking_figure import half_awake, observed
from vae_jax.runs.build import build
from vae_jax.runs.checks import check
from vae_jax.runs.names import BUILT_IN
from vae_jax.runs.settings import Config
from vae_jax.runs.settling import settle
from vae_jax.runs.waking_forecast import foretell, in_words, told
from vae_jax.runtime.config import read_config
from vae_jax.theory.dynamics import LinearRun, Optimizer, simulate
from vae_jax.theory.saddle import Start, expected_start
from vae_jax.theory.waking import best_ramp
from vae_jax.train.optimizers import learning_rates

IMAGES = np.random.default_rng(0).integers(0, 17, (256, 4, 4, 1)).astype(np.uint8)
DATA = from_arrays("noise", IMAGES, IMAGES[:8])
SPECTRUM = np.geomspace(0.5, 0.01, 16)
FLAGS = {
    "latent_dim": 4,
    "num_steps": 400,
    "precision": "fixed",
    "sigma": 0.3,
    "weighting": "linear",
    "learning_rate": 0.01,
}


def settled(**flags):
    config = Config(**FLAGS | flags)
    check(config, BUILT_IN)
    return settle(config, BUILT_IN, DATA, SPECTRUM)[0]


def run_of(**changes):
    rates = learning_rates("cosine", 0.01, 400)
    first = expected_start(SPECTRUM, 4, 0.0, 0.09)
    made = LinearRun(SPECTRUM, 4, 0.09, Optimizer(rates.model, rates.likelihood), 400, least=1e-6, batch_size=128)
    made = made._replace(start=Start(1e-3 * first.decoder, 1e-3 * first.encoder))
    return made._replace(**changes)


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_auto_is_the_number_that_the_theory_gives(beta):
    expected = best_ramp(run_of(), lambda n: schedules.linear(beta, n), longest=200)
    found = settled(warmup_steps="auto", beta=beta)
    assert found.warmup_steps == found.flags.warmup_steps == expected
    again = settle(found.flags, BUILT_IN, DATA, SPECTRUM)[0]
    assert again.flags == found.flags and type(again.flags.warmup_steps) is int
    assert settled(warmup_steps=50, beta=beta).warmup_steps == 50 and settled(beta=beta).warmup_steps == 80


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--weighting=constant"], "--weighting=constant has no ramp"),
        (["--weighting=pi", "--target_kl=3"], "--weighting=pi has no ramp"),
        (["--weighting=cyclical"], "--weighting=cyclical has another length"),
        (["--weighting=linear", "--likelihood=bernoulli", "--pixels=binary"], "does not know --likelihood=bernoulli"),
        (["--weighting=linear", "--objective=iwae"], "does not know --objective=iwae"),
        (["--weighting=linear", "--posterior=iaf"], "does not know --posterior=iaf"),
    ],
)
def test_auto_is_refused_where_it_means_nothing(flags, words, tmp_path):
    refused(f"--workdir={tmp_path / 'run'}", "--warmup_steps=auto", *flags, match=words)
    assert not (tmp_path / "run").exists()


def test_a_text_has_no_such_ramp(tmp_path):
    refused(
        f"--workdir={tmp_path}", "--weighting=linear", "--warmup_steps=auto", match="--likelihood=tokens", binary="text"
    )


def test_other_words_are_no_numbers_of_steps(tmp_path):
    refused(f"--workdir={tmp_path}", "--weighting=linear", "--warmup_steps=automatic", match="warmup_steps=automatic")


def test_a_run_holds_the_number_and_says_and_draws_when_its_latents_wake(tmp_path):
    flags = {"weighting": "linear", "warmup_steps": "auto", "validation": 0.1, "eval_every": 10, "learning_rate": 0.1}
    out, _ = call(f"--workdir={tmp_path}", *SMALL, *(f"--{name}={value}" for name, value in flags.items()))
    length = json.loads((tmp_path / "config.json").read_text())["warmup_steps"]
    assert type(length) is int and 0 <= length <= 30
    assert metrics(tmp_path)[1]["beta"] == pytest.approx(min(1.0, 10 / max(length, 1)))
    said = json.loads((tmp_path / "waking.json").read_text())
    assert said["said"] in out.splitlines() and "latents that a linear model would keep wake" in said["said"]
    # The same flags settle to the same run, and so does its own config.json.
    small = {"hidden": "16", "latent_dim": 3, "batch_size": 64, "num_steps": 60, "log_every": 10, "iw_samples": 4}
    filed = read_config(Config, tmp_path / "config.json", "remove it")
    for typed in (Config(**small, **flags, workdir=str(tmp_path)), filed):
        assert build(typed).config.flags == filed
    # What is drawn are the lines that the run wrote.
    lines = metrics(tmp_path, "validation")
    steps, rates = observed(load(tmp_path))
    assert steps.tolist() == [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60]
    assert rates.tolist() == [line["rate_per_latent"] for line in lines]
    assert np.allclose(rates.sum(1), [line["rate"] for line in lines], rtol=1e-3, atol=1e-3)
    assert (tmp_path / "figures" / "waking.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "flags",
    [{"likelihood": "bernoulli", "pixels": "binary"}, {"sigma": 9.0, "precision": "fixed"}, {"posterior": "iaf"}],
)
def test_nothing_is_foretold_of_what_the_theory_does_not_know_or_of_what_sleeps(flags):
    assert foretell(build(Config(latent_dim=3, num_steps=60, **flags))) is None


def test_weigh_says_when_latents_wake_and_not_where_none_does(tmp_path):
    flags = ["--dataset=digits", f"--workdir={tmp_path}", "--latent_dim=3"]
    out, _ = call(*flags, "--beta=1", binary="weigh")
    assert "Waking: your weight" in out and "3 of the 3 latents that a linear model would keep wake" in " ".join(
        out.split()
    )
    assert "Waking" not in call(*flags, "--beta=1e6", "--precision=fixed", binary="weigh")[0]


def test_the_sentence_counts():
    line = in_words([300, 2100, None, 900], 5, [100, 450, 900], [3, 1, 0], "linear")
    assert "3 of the 5 latents that a linear model would keep wake, at about steps 300 to 2,100" in line
    assert "a ramp of 450 steps leaves 1 of these asleep at its end, one of 900 leaves none" in line
    assert "ramp" not in in_words([300], 1, [100, 450], [1, 1], "linear")
    assert "none of the 2 latents" in in_words([None, None], 2, [100], [0], "linear")
    assert "at about step 300" in in_words([300], 1, [100, 450], [0, 0], "linear")


def test_what_is_told_is_the_simulation():
    found = told(run_of(), 1.0, "linear")
    path = simulate(run_of(), 1.0, records=120)
    assert found["woke"] == [int(step) if np.isfinite(step) else None for step in path.woke]
    assert np.allclose(found["rates"], path.rates, rtol=1e-3) and found["steps"] == path.step.tolist()
    assert told(run_of(), 100.0, "linear") is None


def test_half_awake_of_a_straight_rise_is_its_middle_and_of_a_forgotten_code_what_comes_after():
    steps = np.arange(1, 11) * 10.0
    rates = np.stack(
        [
            np.minimum(steps, 80.0),
            0.0 * steps,
            np.where(steps > 50, 1.0, 0.0),
            np.where((steps < 30) | (steps > 70), 1.0, 0.0),
        ],
        axis=1,
    )
    found = half_awake(steps, rates)
    assert found[0] == pytest.approx(40.0) and np.isnan(found[1]) and found[2] == pytest.approx(55.0)
    assert found[3] == pytest.approx(75.0)
