"""A sweep read for a rate or a score of disentanglement: its setting, what ties with it, its knee and its table."""

import math

import pytest
from made_sweeps import CASES, plain, summary, write

from vae_jax.report.formatting import program
from vae_jax.report.sweep import load_sweep, recommendation, terminal_lines, write_sweep_report
from vae_jax.report.sweep.frontier_figure import calibrated
from vae_jax.report.sweep.goal import GOALS, between, goal_of
from vae_jax.report.sweep.grouping import arrange
from vae_jax.report.sweep.sweep_findings import read_sweep
from vae_jax.report.sweep.sweep_tables import runs_table, table_lines
from vae_jax.runs.sweep import flags

RATE = {"name": "rate", "target": 10.0}


def for_goal(rows, goal, **changes):
    return arrange(rows, {"goal": goal if isinstance(goal, dict) else {"name": goal}} | changes)


def finding(sweep, topic="Recommendation"):
    return next(f for f in read_sweep(sweep) if f.topic == topic)


def scored(beta, *values, key="mig", **more):
    """A run for each value of a score, which are its seeds."""
    return [plain(beta, s, disentanglement={key: v}, **more) for s, v in enumerate(values)]


def rated(beta, *rates, **more):
    return [plain(beta, s, rate=r, **more) for s, r in enumerate(rates)]


def test_goals_are_those_of_the_flag_and_the_elbo_where_none_is_named():
    assert tuple(GOALS) == flags.GOALS
    assert goal_of(arrange([plain(1.0)])) == goal_of(for_goal([plain(1.0)], {"name": "rate"})) == GOALS["elbo"]
    assert goal_of(for_goal([plain(1.0)], RATE)).target == 10.0


@pytest.mark.parametrize(("goal", "key"), [("mig", "mig"), ("dci", "dci_disentanglement")])
def test_the_largest_score_and_what_cannot_be_told_from_it(goal, key):
    # Standard deviations of .01 each: the limit is 2 sqrt 2 .01 = .0283. The ELBO would choose beta = 1.
    rows = scored(1.0, 0.19, 0.20, 0.21, key=key, elbo=-1.0) + scored(4.0, 0.49, 0.50, 0.51, key=key, elbo=-3.0)
    rows += scored(8.0, 0.465, 0.475, 0.485, key=key) + scored(16.0, 0.46, 0.47, 0.48, key=key)
    best = recommendation.best(for_goal(rows, goal))
    assert (
        best.setting.flags == {"beta": 4.0} and best.mean == pytest.approx(0.5) and best.spread == pytest.approx(0.01)
    )
    assert [s.flags["beta"] for s in best.tied] == [8.0]
    assert recommendation.best(arrange(rows)).setting.flags == {"beta": 1.0}
    made = finding(for_goal([r | {"dataset": "sprites"} for r in rows], goal, workdir="w", flags={"beta": "1,4,8,16"}))
    assert f"beta = 4 has the largest {GOALS[goal].head}: 0.500 (the mean of 3 seeds, ± 0.010)" in made.text
    assert "1 of the 3 others is within 2 combined standard deviations of it (beta = 8)" in made.text
    assert "Its ELBO is 2.0 nats below the best, that of beta = 1." in made.text and not made.attention
    assert made.text.endswith(f"To train it: {program('train')} --dataset=sprites --beta=4 --workdir=w/best")


def test_one_seed_and_an_end_of_the_range_are_said():
    made = finding(for_goal(scored(1.0, 0.2) + scored(2.0, 0.3) + scored(4.0, 0.4), "mig"))
    assert made.attention and "0.400 (one seed)." in made.text and "the spread is not known" in made.text
    assert "It is the largest beta of the sweep: the best may lie beyond." in made.text
    none = finding(for_goal([plain(1.0)], "mig"))
    assert none.attention and none.text == "None: no run has a MIG."


def test_the_nearest_rate_and_the_weight_between_its_neighbours():
    # r = 22 - 3 log2 beta: 10 nats at 2^4; between 8 (13) and 32 (7) exactly half-way in log beta.
    rows = rated(2.0, 18, 20) + rated(8.0, 13, 13) + rated(32.0, 7.5, 7.5) + rated(128.0, 1, 1)
    best = recommendation.best(for_goal(rows, RATE))
    assert best.setting.flags == {"beta": 32.0} and best.tied == []
    (group,) = for_goal(rows, RATE).groups()
    line = between(group, "beta", group.settings[2], 10.0)
    assert (line.low, line.high) == (8.0, 32.0) and line.spread == 0.0 and line.rate_spread == 0.0
    assert line.weight == pytest.approx(8.0 * 4.0 ** (3.0 / 5.5))  # 13 -> 7.5, in log weight
    assert between(group, "beta", group.settings[0], 30.0) is None  # outside
    assert between(group, "beta_norm", group.settings[2], 10.0) is None  # was not swept


def test_the_spread_of_the_rates_is_carried_to_the_weight():
    (group,) = for_goal(rated(8.0, 12, 14) + rated(32.0, 6.5, 7.5), RATE).groups()
    line = between(group, "beta", group.settings[0], 10.0)
    s0, s1, step, eps = math.sqrt(2.0), math.sqrt(0.5), math.log(4.0), 1e-6
    assert line.weight == pytest.approx(16.0) and line.rate_spread == pytest.approx(math.hypot(s0, s1) / 2)

    def weight(r0, r1):
        return 8.0 * math.exp((10.0 - r0) / (r1 - r0) * step)

    by = (
        (weight(13 + eps, 7) - weight(13 - eps, 7)) / (2 * eps),
        (weight(13, 7 + eps) - weight(13, 7 - eps)) / (2 * eps),
    )
    assert line.spread == pytest.approx(math.hypot(by[0] * s0, by[1] * s1), rel=1e-6)
    made = finding(for_goal(rated(8.0, 12, 14) + rated(32.0, 6.5, 7.5), RATE))
    assert "beta = 8 has the rate nearest to 10.0 nats: 13.0 nats (the mean of 2 seeds, ± 1.4)" in made.text
    assert "Between beta = 8 and 32, --beta=16.00 would have 10.0 nats (± 2.9 between seeds, or ± 0.79 nats there)" in (
        made.text
    )
    assert "(beta = 32): no ordering" in made.text  # 3 nats away as well
    alone = finding(for_goal(rated(8.0, 13) + rated(32.0, 7.5), RATE)).text
    assert "(its spread is not known)" in alone and "one seed" in alone


@pytest.mark.parametrize(("target", "wider"), [(90.0, "smaller"), (0.5, "larger")])
def test_a_rate_that_no_setting_reaches(target, wider):
    made = finding(for_goal(rated(1.0, 20, 21) + rated(2.0, 9, 10), {"name": "rate", "target": target}))
    assert made.attention and f"{wider} weights would" in made.text


def test_the_knee_of_a_score_is_where_it_begins_to_cost_error():
    # MIG .1 .5 .6, then lower: the error up to the best score is all that is traded, and a far one has no say.
    rows = []
    for beta, mig, error in ((1.0, 0.1, 0.10), (2.0, 0.5, 0.11), (4.0, 0.6, 0.20), (8.0, 0.1, 0.9)):
        rows += scored(beta, mig - 0.01, mig + 0.01, mse=error**2)
    made = finding(for_goal(rows, "mig"), "Knee").text
    assert "MIG against error bends most at beta = 2. Up to there 0.40 of MIG cost an RMS error of 0.1100 for" in made
    assert "the next 0.10 cost one of 0.2000. By the 2 seeds one by one: 2, 2." in made
    one = finding(for_goal([r for r in rows if r["asked"]["seed"] == 0], "mig"), "Knee").text
    assert "How far it moves between seeds is not known." in one
    straight = [r for b, v in ((1.0, 0.1), (2.0, 0.2), (4.0, 0.3)) for r in scored(b, v, mse=v**2)]
    assert all(f.topic != "Knee" for f in read_sweep(for_goal(straight, "mig")))


def test_the_knee_of_a_rate_says_on_which_side_it_lies():
    rows = [r for x in (4.0, 2.0, 1.0, 0.5, 0.25) for r in rated(x, 1 / x, 1 / x, mse=x**2)]
    for target, words in (
        (0.5, "The 0.50 nats that are wanted lie below"),
        (3.0, "The 3.0 nats that are wanted lie above"),
    ):
        text = finding(for_goal(rows, {"name": "rate", "target": target}), "Knee").text
        assert words in text and "By the 2 seeds one by one: 1, 1." in text


def test_table_star_and_page_follow_the_goal(tmp_path):
    rows, about = CASES["bernoulli"]
    plain_lines = terminal_lines(arrange(rows, about))
    assert terminal_lines(arrange(rows, about | {"goal": None})) == plain_lines
    sweep = arrange(rows, about | {"goal": {"name": "mig"}})
    table = table_lines(sweep)
    assert "MIG" in table[0].split() and table[-1].startswith("* the setting") and max(map(len, table)) <= 120
    (line,) = [line for line in table[2:-1] if line.startswith("*")]
    assert line.split()[1:4] == ["beta", "=", "4"] and "0.350 +- 0.000" in line
    assert "MIG" in runs_table(sweep).heads and calibrated(sweep)[1] == "best MIG"
    assert calibrated(sweep)[0].flags["beta"] == pytest.approx(4.0)
    page = write_sweep_report(write(tmp_path / "w", rows, summary(rows, gaussian=False) | {"goal": RATE})).read_text()
    assert "has the rate nearest to 10.0 nats" in page
    assert goal_of(load_sweep(tmp_path / "w")).target == 10.0
