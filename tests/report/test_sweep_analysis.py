"""The analysis of a sweep: knee, onset, best setting and order, from numbers made by hand; its findings in words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_sweeps import BETAS, CASES, SWEEPS, fixed, grid, lost, plain, row, summary, theory

from vae_jax.report.formatting import program
from vae_jax.report.reading.finding import as_lines
from vae_jax.report.sweep import recommendation, terminal_lines
from vae_jax.report.sweep.collapse import Onset, agrees, collapse, onset_of
from vae_jax.report.sweep.frontier_shape import knee_of as knee
from vae_jax.report.sweep.frontier_shape import violations
from vae_jax.report.sweep.grouping import MOST_GROUPS, arrange
from vae_jax.report.sweep.linear_theory import predicted_collapse
from vae_jax.report.sweep.sweep_findings import compare_methods, methods, read_sweep
from vae_jax.report.sweep.sweep_tables import table_lines


def findings(sweep):
    by_topic = {f.topic: f for f in read_sweep(sweep)}
    assert len(by_topic) == len(read_sweep(sweep))
    return by_topic


def finding_of(topic, rows, **changes):
    return findings(arrange(rows, summary(rows, **changes))).get(topic)


def best(rows):
    return recommendation.best(arrange(rows))


def onset(rows):
    return onset_of(arrange(rows).settings)


def monotone(rows):
    (group,) = arrange(rows).groups("beta")
    return violations(group)


# The analysis, from numbers made by hand


def test_the_knee_of_a_hyperbola_is_where_it_has_the_slope_of_its_chord():
    # y = 1 / x from 1/4 to 4, a chord of slope -1: the point furthest below it has x = 1
    x = np.array([4.0, 0.25, 2.0, 0.5, 1.0])
    assert knee(np.stack([x, 1 / x], 1)) == 4
    assert knee(np.stack([1e-3 * x, 1e5 / x], 1)) == 4  # no unit matters
    # y = (1 - x)^4 on [0, 1]: slope -1 at 1 - 4^(-1/3)
    x = np.linspace(0, 1, 1001)
    assert x[knee(np.stack([x, (1 - x) ** 4], 1))] == pytest.approx(1 - 4 ** (-1 / 3), abs=1e-3)


def test_what_has_no_knee():
    x = np.linspace(0, 1, 9)
    for line in (
        np.stack([x, 1 - x], 1),  # straight
        np.stack([x, 1 - x**3], 1),  # bends the other way
        np.stack([x, 1 - x - 0.04 * np.sin(np.pi * x)], 1),  # bends too little
        np.stack([x, x], 1),  # rises
        np.zeros((5, 2)),
        np.zeros((2, 2)),
        np.zeros((0, 2)),
    ):
        assert knee(line) is None


@pytest.mark.parametrize(
    ("rates", "bracket"),
    [
        ({1: [5, 5], 2: [1, 1], 4: [0, 0], 8: [0, 0]}, Onset(2, 4)),
        ({1: [5, 5], 2: [0, 1], 4: [0, 0]}, Onset(2, 4, (2,))),  # one seed lives: it is not where all are collapsed
        ({1: [5, 5], 2: [0, 0], 4: [1, 1], 8: [0, 0]}, Onset(4, 8, (2,))),  # a failure below is no onset
        ({1: [5, 5], 2: [4, 4]}, Onset(2, None)),
        ({1: [0, 0], 2: [0, 0]}, Onset(None, 1)),
        ({1: [5, 5], 2: [None, None], 4: [0, 0]}, Onset(1, 4)),  # runs that diverged have no say
        ({}, Onset(None, None)),
    ],
)
def test_the_onset_of_collapse_is_bracketed(rates, bracket):
    runs = [
        plain(float(b), s, rate=r, **({"status": "diverged"} if r is None else {}))
        for b, seeds in rates.items()
        for s, r in enumerate(seeds)
    ]
    assert onset(runs[::-1]) == bracket


def test_a_code_without_an_active_latent_is_collapsed_at_any_rate():
    assert onset([plain(1.0), plain(2.0, active_units=0, rate=3.0)]) == Onset(1.0, 2.0)


def test_agreement_within_a_factor_of_two():
    assert agrees(Onset(2.0, 8.0), 8.0) == (True, 2.0)  # the geometric mean of the bracket is 4
    assert agrees(Onset(2.0, 8.0), 8.1)[0] is False and agrees(Onset(2.0, 8.0), 1.99)[0] is False
    assert agrees(Onset(1.0, 100.0), 90.0) == (True, 9.0)  # inside a wide bracket
    assert agrees(Onset(2.0, None), 3.0) is None and agrees(Onset(None, 2.0), 3.0) is None


def line(rates, errors=None, spread=0.0):
    """Two seeds a weight, ``spread`` apart in rate: a standard deviation of spread / sqrt(2)."""
    errors = errors or [0.1 * (i + 1) for i in range(len(rates))]
    return [
        plain(2.0**i, s, rate=r + (s - 0.5) * spread, mse=e**2)
        for i, (r, e) in enumerate(zip(rates, errors))
        for s in (0, 1)
    ]


def test_a_falling_rate_and_a_rising_error_are_monotone():
    assert monotone(line([9, 5, 2, 1])) == []
    assert monotone(line([9, 5, 5, 1], [0.1, 0.2, 0.2, 0.4])) == []  # equal is no violation


def test_a_planted_violation_is_found_with_its_size():
    (v,) = monotone(line([9, 2, 5, 1]))
    assert (v.quantity, v.low, v.high) == ("rate", 2.0, 4.0) and v.by == pytest.approx(3.0)
    (v,) = monotone(line([9, 5, 2, 1], [0.1, 0.3, 0.2, 0.4]))
    assert (v.quantity, v.low, v.high) == ("RMS error", 2.0, 4.0) and v.by == pytest.approx(0.1)
    # against the lowest so far: a slow rise is not lost between neighbours
    assert [v.by for v in monotone(line([90, 2, 3, 4, 1], spread=2.0))] == []
    slow = monotone(line([90, 2, 4, 6, 8], spread=2.0))
    assert [(v.low, v.high) for v in slow] == [(2.0, 16.0)] and slow[0].by == pytest.approx(6.0)


def test_the_spread_over_seeds_excuses_a_violation_up_to_two_combined_deviations():
    # seeds that are a apart: standard deviation a / sqrt 2, of the difference a, so that 2 a is the limit
    rates = [9.0, 2.0, 3.0, 1.0]
    assert monotone(line(rates, spread=0.49)) and not monotone(line(rates, spread=0.51))
    assert monotone(line(rates, spread=0.49))[0].spread == pytest.approx(0.49)
    assert not monotone(line([2000.0, 2.0, 3.0, 1.0]))  # half a thousandth of the range


def test_the_best_and_what_cannot_be_told_from_it():
    def seeds(beta, *values):
        return [plain(beta, s, elbo=v) for s, v in enumerate(values)]

    # standard deviations 1, 1 and 1: the limit is 2 sqrt 2 = 2.83
    runs = [*seeds(1.0, 9, 10, 11), *seeds(2.0, 6.2, 7.2, 8.2), *seeds(4.0, 6.1, 7.1, 8.1)]
    b = best(runs)
    assert (b.setting.flags, b.mean, b.spread) == ({"beta": 1.0}, 10.0, 1.0)
    assert [s.flags["beta"] for s in b.tied] == [2.0]
    assert best([plain(1.0, status="diverged", rate=None)]) is None
    alone = best(seeds(1.0, 5.0) + seeds(2.0, 4.999))
    assert alone.spread is None and alone.tied == []
    assert best([plain(1.0, elbo=3.0), plain(2.0, elbo=9.0, status="stopped")]).mean == 3.0  # not at the same step


def test_the_best_is_by_the_calibrated_bound():
    runs = [plain(1.0, elbo=50.0, calibrated_elbo=10.0), plain(2.0, elbo=-90.0, calibrated_elbo=11.0)]
    assert best(runs).setting.flags == {"beta": 2.0}
    (_, measured) = arrange(runs).rows
    assert measured["common_distortion"] == -12.0 and measured["common_elbo"] == 11.0
    assert arrange([plain(1.0, mse=0.25)]).rows[0]["rms"] == 0.5


def test_two_methods_are_compared_at_equal_flags():
    many = [plain(b, s, rate=10 / b + s, elbo=-1.0) for b in (1.0, 2.0) for s in (0, 1)]
    one = [plain(b * (1 + 1e-9), method="multi_rate", rate=10 / b + d, elbo=-1.5) for b, d in ((1.0, 1.5), (2.0, -2.5))]
    differences = compare_methods(arrange(many + one + [plain(7.0, method="multi_rate")]))
    assert [d.rate for d in differences] == pytest.approx([1.0, -3.0])
    assert [d.elbo for d in differences] == pytest.approx([-0.5, -0.5])
    text = methods(arrange(many + one)).text
    assert "at 2 settings" in text and "-3.0 nats at most (beta = 2)" in text and "-0.50 nats" in text
    assert compare_methods(arrange(many)) == [] and methods(arrange(many)) is None
    assert best([*many, plain(9.0, method="multi_rate", elbo=99.0)]).setting.method == "separate"


# Settings and groups


def test_groups_are_what_is_asked_apart_from_the_weight():
    rows, made = CASES["two_latents"][0], SWEEPS["two_latents"].groups()
    assert [(g.name, len(g.settings)) for g in made] == [("latent_dim = 5", 13), ("latent_dim = 20", 13)]
    assert all(len(s.runs) == 2 for g in made for s in g.settings) and len(SWEEPS["two_latents"].settings) == 26
    assert [s.flags["beta"] for s in arrange(rows[::-1]).groups()[0].settings] == BETAS
    assert [g.name for g in SWEEPS["multi_rate"].groups()] == ["trained separately", "one network for all"]


def test_what_a_sweep_runs_along():
    expected = {"plain": "beta", "one_beta": "beta", "learning_rate": "learning_rate", "models": "model"}
    assert {name: SWEEPS[name].along(numeric=False) for name in expected} == expected
    assert SWEEPS["models"].along() == "beta" and SWEEPS["random"].along() == "beta"
    normed = arrange([plain(b, asked={"beta_norm": b / 8, "seed": 0}) for b in (1.0, 2.0)])
    assert normed.along() == "beta"
    assert [s.name for s in normed.groups()[0].settings] == ["beta_norm = 0.125", "beta_norm = 0.25"]


def test_weights_of_several_fixed_sigmas_share_one_frontier_and_not_one_onset():
    rows = fixed((0.2, 1.0), (0.5, 2.0, 8.0, 64.0, 256.0))
    (one,) = arrange(rows).groups(levels=True)
    levels = [s.flags["beta"] * s.flags["sigma"] ** 2 for s in one.settings]
    assert one.along == "water_level" and levels == sorted(levels) and len(levels) == 10
    groups = arrange(rows).groups()
    assert [g.name for g in groups] == ["sigma = 0.2", "sigma = 1"]
    assert [onset_of(g.settings) for g in groups] == [Onset(64.0, 256.0), Onset(2.0, 8.0)]
    assert [predicted_collapse({}, g.done) for g in groups] == pytest.approx([5.1 / 0.04, 5.1])
    words = finding_of("Collapse", rows, reference=[]).text
    assert words.count("they agree within a factor of 2") == 2 and words.startswith("sigma = 0.2: the code lives")
    noise = [r for r in rows if r["beta"] == 2.0]
    for r in noise:
        r["asked"] = {"sigma": r["sigma"], "seed": 0}
    assert arrange(noise).along() == "sigma"
    assert predicted_collapse({}, noise, "sigma") == pytest.approx(math.sqrt(5.1 / 2))


# The findings


def test_the_findings_of_a_linear_sweep_agree_with_its_theory():
    made = findings(SWEEPS["plain"])
    texts = {topic: f.text for topic, f in made.items()}
    assert list(texts) == ["Recommendation", "Knee", "Collapse", "Monotone"]
    assert not any(f.attention for f in made.values())
    assert "beta = 56.2 and is collapsed on every seed from 100 on" in texts["Collapse"]
    assert "inside that bracket: they agree" in texts["Collapse"] and "beta = 83.6" in texts["Collapse"]
    far = finding_of("Collapse", CASES["plain"][0], reference=[{**theory(), "collapse_beta": 20.0}])
    assert far.attention and "0.267 times the middle of that bracket: they do not agree" in far.text
    alive = finding_of("Collapse", grid(BETAS[:9]), reference=[{**theory(), "collapse_beta": 3.0}])
    assert alive.attention and "lower by more than a factor of 2: they do not agree" in alive.text
    assert "--dataset=mnist --pixels=dequantised --num_steps=3000 --beta=1" in texts["Recommendation"]
    assert "3 seeds" in texts["Recommendation"] and "no ordering is claimed" in texts["Recommendation"]


def test_the_command_names_the_flags_of_the_best_and_no_others():
    rows = [row(4.0, 0, {"beta": 4.0, "latent_dim": 5, "seed": 0}, latents=5)]
    flags = {"dataset": "my set", "beta": [1, 4], "seed": [0], "halving": True, "hidden": None}
    typed = recommendation.command(arrange(rows).settings[0], {"flags": flags, "workdir": "w"})
    assert typed == program("train") + " '--dataset=my set' --beta=4 --latent_dim=5 --workdir=w/best"
    given = {"dataset": "mnist", "beta": "0.1,4", "method": "both", "halving": "4", "num_steps": "3000"}  # as typed
    assert recommendation.command(arrange(rows).settings[0], {"flags": given}).endswith(
        "train --dataset=mnist --num_steps=3000 --beta=4 --latent_dim=5 --workdir=runs/best"
    )
    text = finding_of("Recommendation", rows).text
    assert "no bound on log p(x)" in text and "is scored at beta = 1" in text


def test_a_best_weight_that_is_not_one_is_explained():
    rows = fixed((0.05,), (1.0, 12.0))
    for r, value in zip(rows, (100.0, 110.0)):
        r.update(calibrated_elbo=value, train={"mse": r["mse"]}, asked={"beta": r["beta"], "seed": 0})
    text = finding_of("Recommendation", rows).text
    effective = 12.0 * 0.05**2 / rows[1]["mse"]
    assert f"this is beta = {effective:.3g}" in text and "Against beta = 1 it gains 10.0 nats" in text


def test_a_planted_violation_is_in_words():
    rows = [{**r, "rate": r["rate"] + 20.0} if r["beta"] == 10.0 else r for r in grid()]
    finding = finding_of("Not monotone", rows)
    assert finding.attention and "Between beta = 5.62 and 10 the rate rises by 13" in finding.text
    assert finding_of("Monotone", rows) is None


def test_all_collapsed_and_failures_below_the_onset():
    finding = finding_of("Collapse", CASES["collapsed"][0])
    assert finding.attention and "Every run is collapsed, from beta = 100 on" in finding.text
    assert "training that failed" not in finding.text
    assert "training that failed" in finding_of("Collapse", grid([1.0], rate=0.0)).text
    rows = [{**r, "rate": 0.0} if r["beta"] == BETAS[2] and r["seed"] == 1 else r for r in grid()]
    assert "at beta = 0.316: there it is the training" in finding_of("Collapse", rows).text


def test_runs_that_diverged_are_named_and_left_out():
    texts = {topic: f.text for topic, f in findings(SWEEPS["damaged"]).items()}
    assert texts["Diverged"].startswith("4 of 39 runs") and "beta=56.2_seed=1 at step 1200" in texts["Diverged"]
    assert "stopped 9 of 39 runs (at step 750 9 stopped and 30 went on); 17%" in texts["Halving"]
    assert "1 min 42 s" in texts["Halving"] and texts["From the sweep"] == CASES["damaged"][1]["notes"][0]
    every = [lost(r) for r in grid([1.0, 2.0])]
    assert "no run came to its end" in finding_of("Recommendation", every).text
    assert (
        "more" not in finding_of("Diverged", every).text
        and "and 31 more" in finding_of("Diverged", [lost(r) for r in grid()]).text
    )


def test_families_are_not_ranked_in_silence():
    rows = [row(1.0, 0, {"likelihood": f, "seed": 0}, likelihood=f) for f in ("gaussian", "laplace")]
    finding = finding_of("Recommendation", rows)
    assert finding.attention and "--likelihood differ between runs" in finding.text


def test_the_text_for_a_terminal():
    for sweep in SWEEPS.values():
        table, lines = table_lines(sweep), terminal_lines(sweep)
        assert lines == table + as_lines(read_sweep(sweep)) and all("\n" not in text for text in lines)
        assert len(table) == 2 + len(sweep.settings) and max(map(len, table)) <= 120
    table = table_lines(SWEEPS["damaged"])
    assert table[0].split()[:3] == ["setting", "seeds", "rate"] and table[1].startswith("---")
    assert "0 of 3" in table[2] and "3 stopped" in table[2] and "1 done, 2 diverged" in table[-1]
    assert "198.7 +- 0.3" in table[6] and table[6].startswith("beta = 1 ")


def test_a_reader_never_speaks_of_very_many_groups():
    assert len(SWEEPS["random"].groups()) > MOST_GROUPS
    assert collapse(SWEEPS["random"]).text.startswith("No beta up to")
