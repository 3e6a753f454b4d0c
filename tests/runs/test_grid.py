"""Flags with several values: what they mean, what is refused, which runs share a program, which are stopped."""

import math

import numpy as np
import pytest

from vae_jax.devices.parallel import parallel
from vae_jax.runs.settings import Config
from vae_jax.runs.sweep import flags, halving
from vae_jax.runs.sweep.grid import Range, differing, expand, parse, run_name
from vae_jax.runs.sweep.plan import make_jobs, make_programs, runs_that_fit
from vae_jax.types import UserError


def test_lists_and_ranges():
    assert parse("beta", "0.1,1, 10") == [0.1, 1.0, 10.0]
    assert parse("beta", "1,1.0,2") == [1.0, 2.0]  # a run is made once
    assert parse("beta", "log:0.01:100:5") == [0.01, 0.1, 1.0, 10.0, 100.0]
    assert parse("beta", "log:0.01:1:3,7") == [0.01, 0.1, 1.0, 7.0]
    assert parse("learning_rate", "lin:0.1:0.3:3") == [0.1, 0.2, 0.3]
    assert parse("warmup_steps", "log:10:1000:3") == [10, 100, 1000] and parse("latent_dim", "lin:2:4:3") == [2, 3, 4]
    assert parse("hidden", "256,256|512") == ["256,256", "512"]
    assert parse("likelihood", "gaussian,laplace") == ["gaussian", "laplace"]
    assert parse("beta", "log:0.1:10") == Range("log", 0.1, 10.0)
    ratios = np.diff(np.log(parse("beta", "log:0.01:100:13")))
    np.testing.assert_allclose(ratios, math.log(1e4) / 12, rtol=1e-4)  # six digits each


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("beta", "0.1;1", "--beta=0.1;1 is not a number"),
        ("latent_dim", "2.5", "not a whole number"),
        ("beta", "log:0:1:3", "log needs ends above 0"),
        ("beta", "log:1", "is not a range"),
        ("beta", "log:1:2:1", "is not a range"),
        ("beta", "log:1:nan:3", "is not a range"),
        ("beta", "log:1:10,3", "stands alone"),
        ("precision", "lerned", "not one of"),
        ("beta", "", "not a number"),
    ],
)
def test_what_is_no_value_is_refused_in_one_line(name, text, words):
    with pytest.raises(UserError) as caught:
        parse(name, text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_all_combinations_seeds_last():
    settings = expand({"beta": "1,2", "seed": "0,1", "likelihood": "gaussian,laplace"}, None, 0)
    assert len(settings) == 8 and settings[0] == {"beta": 1.0, "likelihood": "gaussian", "seed": 0}
    assert [s["seed"] for s in settings[:4]] == [0, 1, 0, 1]
    assert differing(settings) == ["beta", "likelihood", "seed"]
    assert differing(expand({"beta": "1", "seed": "4"}, None, 0)) == []
    assert run_name(settings[1], ["beta", "seed"]) == "beta=1_seed=1" and run_name(settings[1], []) == "only"
    names = {run_name(s, differing(settings)) for s in settings}
    assert len(names) == 8


def test_a_random_search_is_the_same_again_and_fills_its_ranges():
    asked = {"beta": "log:0.01:100", "learning_rate": "lin:0.1:0.3", "hidden": "8|16", "seed": "0,1"}
    settings = expand(asked, 200, 7)
    assert settings == expand(asked, 200, 7) and settings != expand(asked, 200, 8) and len(settings) == 400
    assert settings[0] | {"seed": 1} == settings[1]  # each draw with every seed
    logs = np.log10([s["beta"] for s in settings])
    # Uniform on [-2, 2]: mean 0 and variance 16/12; 200 draws, four standard errors.
    assert abs(logs.mean()) < 4 * math.sqrt(16 / 12 / 200) and logs.min() > -2 and logs.max() < 2
    assert abs(logs.var() - 16 / 12) < 4 * (16 / 12) * math.sqrt(0.8 / 200)
    assert {s["hidden"] for s in settings} == {"8", "16"}
    with pytest.raises(UserError, match="says no number of values"):
        expand({"beta": "log:0.1:1"}, None, 0)
    with pytest.raises(UserError, match="at most 10000"):
        expand({"beta": "log:0.1:1:101", "learning_rate": "log:0.1:1:101"}, None, 0)
    with pytest.raises(UserError, match="seeds are listed"):
        expand({"seed": "log:1:9"}, 3, 0)


def jobs_of(tmp_path, **asked):
    settings = expand(asked, None, 0)
    shared = {"dataset": "digits"}
    return make_jobs(settings, differing(settings), shared, tmp_path, parallel("jit", 8))


def test_what_differs_in_numbers_shares_a_program_and_what_differs_in_shape_does_not(tmp_path):
    given = {"hidden": "8", "batch_size": "32", "num_steps": "10"}
    jobs, _ = jobs_of(tmp_path, **given, beta="0.1,1", seed="0,1", learning_rate="1e-3,2e-3")
    assert [len(p.jobs) for p in make_programs(jobs, tmp_path, 100)] == [8]
    numbers = make_programs(jobs, tmp_path, 100)[0].numbers()
    assert sorted(numbers) == ["beta", "learning_rate"] and numbers["beta"].tolist()[:2] == [np.float32(0.1)] * 2
    for flag, text in (
        ("latent_dim", "2,3"),
        ("likelihood", "gaussian,laplace"),
        ("precision", "learned,fixed,predicted"),
        ("weighting", "constant,linear"),
        ("hidden", "8|16"),
    ):
        jobs, _ = jobs_of(tmp_path, **(given | {"beta": "0.1,1", flag: text}))
        sizes = [len(p.jobs) for p in make_programs(jobs, tmp_path, 100)]
        assert sizes == [2] * (len(jobs) // 2), flag
    jobs, _ = jobs_of(tmp_path, **given, beta="0.1,1,2", sigma="0.1,0.2", precision="fixed,predicted")
    # A predicted sigma is measured from its start by compiled code, so there each start is a program.
    assert sorted(len(p.jobs) for p in make_programs(jobs, tmp_path, 100)) == [3, 3, 6]


def test_large_sweeps_are_cut_into_programs_of_equal_size(tmp_path):
    jobs, _ = jobs_of(tmp_path, hidden="8", batch_size="32", num_steps="10", beta="log:0.1:1:7")
    programs = make_programs(jobs, tmp_path, 3)
    assert [len(p.jobs) for p in programs] == [3, 2, 2]
    assert [job.name for p in programs for job in p.jobs] == [job.name for job in jobs]
    assert len({p.folder for p in programs}) == 3
    few = runs_that_fit(jobs[0].run)
    wide, _ = jobs_of(tmp_path, hidden="2048,2048", batch_size="32", num_steps="10")
    # The state of the wide one is about 10 million numbers, that of the other a few thousand.
    assert 1 <= runs_that_fit(wide[0].run) < few / 100


def test_a_run_that_cannot_be_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--learning_rate=-1.0 must be positive \(the run learning_rate=-1\)"):
        jobs_of(tmp_path, learning_rate="0.001,-1")
    with pytest.raises(UserError, match="needs --target_kl"):
        jobs_of(tmp_path, weighting="constant,pi")
    _, warnings = jobs_of(tmp_path, hidden="8", batch_size="32", weighting="linear", warmup_steps="10,9000")
    assert any("never 1" in line and "(warmup_steps=9000)" in line for line in warnings)


def test_every_flag_of_train_is_known_to_the_sweep_or_left_out_on_purpose():
    import dataclasses

    theirs = {f.name for f in dataclasses.fields(Config)}
    ours = {f.name for f in dataclasses.fields(flags.Config)}
    assert theirs - ours == set(flags.LEFT_OUT) - {"workdir"} and set(flags.SHARED) < theirs


# ---------------------------------------------------------------- halving


def test_stops():
    assert halving.stops("0.25,0.5", 3000) == [750, 1500]
    assert halving.stops("0.1,0.2", 3) == [1]  # two stops that fall together are one
    for text in ("0.5,0.25", "0,0.5", "0.5,1", "half", ""):
        with pytest.raises(UserError, match="increasing shares"):
            halving.stops(text, 100)


def test_peels_of_a_plane_worked_out_by_hand():
    #  (rate, distortion): a, b, c on the frontier; d behind b; e behind d; f not finite
    rate = np.array([1.0, 2.0, 3.0, 2.5, 3.0, np.nan])
    distortion = np.array([3.0, 2.0, 1.0, 2.5, 3.0, 0.0])
    assert halving.peels(rate, distortion).tolist() == [0, 0, 0, 1, 2, 6]
    assert halving.peels(np.ones(3), np.ones(3)).tolist() == [0, 0, 0]  # equals do not dominate each other


def test_the_frontier_survives_and_the_best_of_the_others_fill_the_share():
    rate = np.array([1.0, 2.0, 3.0, 2.5, 3.0, np.nan])
    distortion = np.array([3.0, 2.0, 1.0, 2.5, 3.0, 0.0])
    assert halving.survivors(rate, distortion, 0.1).tolist() == [0, 1, 2]  # more than a tenth, but the frontier
    assert halving.survivors(rate, distortion, 0.6).tolist() == [0, 1, 2, 3]
    assert halving.survivors(rate, distortion, 1.0).tolist() == [0, 1, 2, 3, 4]
    assert halving.survivors(np.full(2, np.nan), np.full(2, np.nan), 0.5).tolist() == [0]
    # Among the dominated, the better ELBO goes on: (2.1, 2.1) before (2.5, 2.5), whatever their order.
    assert halving.survivors(np.array([2.5, 2.0, 2.1]), np.array([2.5, 2.0, 2.1]), 0.6).tolist() == [1, 2]
