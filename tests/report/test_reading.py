"""The reading of a run: numbers in, sentences out; and numbers as a person reads them."""

from __future__ import annotations

import itertools
import math
import re
import sys

import pytest
from helpers.made_runs import D, M, config, metrics, results

from vae_jax.report import read, summary_lines
from vae_jax.report.formatting import duration, number, program, setting
from vae_jax.report.reading.finding import is_collapsed, trend_of


def find(topic, results, config=None, metrics=()):
    findings = [f for f in read(results, config, metrics) if f.topic == topic]
    assert len(findings) <= 1
    return findings[0] if findings else None


def test_a_healthy_run_needs_no_attention():
    findings = read(results(), config(), metrics())
    assert not [f for f in findings if f.attention]
    assert [f.topic for f in findings] == [
        *("Collapse", "Weight", "Calibration", "Latents", "Generalisation", "Posterior")
    ]


RATE, CAP = 10.0, 9.21
DEAD = {"rate": 0.003, "active_units": 0}
HELD = {"target_kl": 20.0, "target_distortion": -30.0, "beta_max": 5.0}
ALIVE = {"rate": RATE, "distortion": 70.0, "active_units": 5}


def parts(mutual, total, each):
    values = {"mutual_information": mutual, "total_correlation": total, "dimension_wise_kl": each}
    return ALIVE | {"rate_parts": {"cap": CAP} | {k: {"value": v, "error": 0.01} for k, v in values.items()}}


def of_few(count):
    return {"rate_parts": {"cap": math.log(count)}}


def lines_of(*elbos):
    """Test lines of these ELBOs, 100 steps apart."""
    return [{"split": "test", "step": 100 * (i + 1), "elbo": elbo} for i, elbo in enumerate(elbos)]


RISING, FLAT, FALLING = lines_of(-90, -60, -50, -40, -30), lines_of(-9, 29, 30, 30, 30), lines_of(-9, 36.0, 34, 32, 30)
OVERFIT = {"elbo": 30.0, "train": {"elbo": 38.0}}


def trained(train, test):
    return {"calibration": test, "train": {"calibration": train}}


def coverage(share):
    return {"reliability": {"levels": [0.5, 0.9], "coverage": [0.5, share]}}


def knows(accuracy):
    return {"condition": [{"name": "label", "accuracy": accuracy, "majority": 0.1}]}


# Topic, changes of the results, changes of the flags, whether attention is asked for, words of the finding.
FINDINGS = [
    ("Collapse", DEAD | {"water_level": 392.0, "lambda_max": 5.116788}, {}, 1, "optimum of its loss|392.0|5.117"),
    ("Collapse", DEAD | {"water_level": 0.01}, {"warmup_steps": 5000}, 1, "inside the weight's warm-up of 5000"),
    ("Collapse", DEAD | {"water_level": 0.01}, {}, 1, "Collapsed|failure of optimisation|saddle"),
    ("Collapse", DEAD | {"water_level": 0.0}, {}, 1, "failure of optimisation"),
    ("Collapse", DEAD | {"water_level": 0.69}, {}, 1, "leaves almost nothing"),
    ("Collapse", DEAD | {"water_level": None}, {"likelihood": "bernoulli"}, 1, "0.2500|failure of optimisation"),
    ("Collapse", DEAD | {"water_level": None, "beta": 4.0}, {"likelihood": "bernoulli"}, 1, "a tenth of beta"),
    ("Collapse", DEAD | {"water_level": 1.0}, {"precision": "fixed"}, 1, "Lower beta or sigma."),
    ("Collapse", DEAD | {"water_level": 1.0}, {}, 1, "Lower beta."),
    ("Collapse", {"active_units": 0}, {}, 1, "no latent depends on the input"),
    ("Calibration", trained(1.01, 1.02), {}, 0, "Calibrated"),
    ("Calibration", trained(0.96, 0.97), {}, 0, "Nearly calibrated"),
    ("Calibration", trained(0.16, 0.17), {}, 1, "train longer"),
    ("Calibration", trained(4.0, 4.1), {"precision": "fixed"}, 1, "overconfident"),
    ("Calibration", trained(1.0, 1.3), {}, 1, "on the training split only|unseen data is reconstructed worse"),
    ("Calibration", trained(0.2, 0.2) | {"sigma": 1e-3}, {"min_sigma": 1e-3}, 1, "--min_sigma=0.001|scale the data"),
    ("Calibration", trained(0.16, 0.17), {"precision": "fixed", "min_sigma": 0.5}, 1, "would stop at --min_sigma=0.5"),
    ("Collapse", DEAD | {"lambda_max": 0.0}, {}, 1, "nothing to encode"),
    ("Collapse", DEAD | {"lambda_max": 1e-9, "water_level": 1e-6}, {"min_sigma": 1e-3}, 1, "scale them to a spread"),
    ("Collapse", {"active_units": 0} | of_few(1), {}, 0, "no verdict"),
    ("Collapse", ALIVE | {"active_units": 0, "swapped_distortion": 370.0}, {}, 0, "Not collapsed"),
    ("Collapse", ALIVE | {"active_units": 3, "used_latents": 0}, {}, 1, "Collapsed"),
    ("Collapse", {"active_units": 0, "used_latents": 9} | of_few(1), {}, 0, "Not collapsed"),
    ("Calibration", trained(None, 1.3), {}, 1, "on the test split"),
    ("Calibration", trained(1.0, 12358.0) | of_few(1), {}, 0, "Calibrated: SSE / (D sigma^2) is 1.000 on the training"),
    ("Weight", {}, {}, 0, "is a bound"),
    ("Weight", {"beta": 4.0, "water_level": 0.04}, {}, 0, "beta = 4|not a bound|sigma = 0.2000 at beta = 1"),
    ("Weight", {}, {"weighting": "free_bits"}, 0, "free bits"),
    ("Weight", {"beta": 4.0}, {"weighting": "pi"}, 0, "found by the controller"),
    ("Weight", {"step": 100}, {}, 1, "warm-up"),
    (
        "Target",
        {"train": {"rate": 20.3}},
        HELD | {"weighting": "pi"},
        0,
        "Met|rate of 20 nats|training split has 20.30",
    ),
    ("Target", {"train": {"rate": 22.0}}, HELD | {"weighting": "pi"}, 1, "--ki"),
    ("Target", {"train": {"rate": 22.0}, "saturated": 0.9}, HELD | {"weighting": "pi"}, 1, "90.0%|bound"),
    ("Target", {"train": {"rate": 17.0}}, HELD | {"weighting": "capacity"}, 1, "--gamma"),
    ("Target", {"train": {"distortion": -30.2}}, HELD | {"weighting": "geco"}, 0, "Met|distortion of -30 nats"),
    ("Target", {"train": {"distortion": -33.0}}, HELD | {"weighting": "geco"}, 1, "Missed"),
    # There 3 nats are worth less than 5% of the rate.
    ("Target", {"train": {"distortion": -33.0}, "beta": 20.0}, HELD | {"weighting": "geco"}, 0, "Met"),
    ("Latents", {}, {}, 0, "13 of 16 latents are used; a linear model would use 12"),
    ("Latents", {"second_moment": [1.0] * (M - 1) + [2.5]}, {}, 1, "2.500 in latent 15"),
    ("Latents", {"second_moment": [1.0] * (M - 1) + [2.5]}, {"weighting": "free_bits"}, 0, "13 of 16"),
    ("Latents", {"second_moment": [2.5] * M, "beta": 0.0}, {}, 0, "13 of 16"),
    ("Latents", {"second_moment": [1.3] * M} | of_few(50), {}, 0, "13 of 16"),
    ("Latents", {"active_units": 1, "used_latents": 13}, {}, 0, "13 of 16 latents are used|above 0.01, it would be 1"),
    ("Latents", {"used_latents": 9, "latents_split": "train"} | of_few(1), {}, 0, "9 of 16 latents are used on the tr"),
    ("Latents", {"active_units": M}, {}, 0, "a wider code"),
    ("Generalisation", {"elbo": 30.0, "train": {"elbo": 35.0}}, {}, 1, "a gap of 5.000 nats, 29% of what|verfitting"),
    ("Generalisation", {"elbo": 30.0, "train": {"elbo": 300.0}}, {}, 1, "more than all that the code carries"),
    ("Generalisation", {"elbo": 30.0, "train": {"elbo": 300.0}} | of_few(3), {}, 0, "no verdict"),
    ("Generalisation", {"elbo": 30.0, "train": {"elbo": 31.0}}, {}, 0, "a gap of 1.000"),
    ("Generalisation", {"elbo": 30.0, "train": {"elbo": 33.0}}, {}, 0, "some overfitting"),
    ("Generalisation", {"elbo": 30.0, "train": {"elbo": 60.0}, "unknown_words": 9}, {}, 0, "the 9 words of the test"),
    (
        "Words",
        {"perplexity": 18.0, "unknown_words": 9, "perplexity_known": 8.7},
        {},
        0,
        "18.00 per|it is at most 8.700",
    ),
    ("Posterior", {}, {}, 0, "1.310 nats below the negative ELBO"),
    ("Posterior", {"elbo": -100.0, "iw_nll": 110.0}, {}, 1, "looser"),
    ("Units", {"bits_per_dim": 3.2}, {}, 0, "no code length"),
    ("Units", {"bits_per_dim": 3.2}, {"pixels": "dequantised"}, 0, "a bound on the code length"),
    ("Units", {"bits_per_dim": 3.2}, {"likelihood": "bernoulli", "pixels": "sampled"}, 0, "of sampled pixels"),
    ("Units", {"bits_per_dim": 3.2}, {"likelihood": "bernoulli"}, 0, "of black and white pixels"),
    ("Units", {"bits_per_dim": None}, {"likelihood": "bernoulli", "soft_targets": True}, 1, "no density"),
    ("Units", {"bits_per_dim": 3.2}, {"likelihood": "discretized_logistic"}, 0, "comparable as it is"),
    ("Divergence", {"elbo": None, "distortion": None}, {}, 1, "elbo and distortion: not finite|learning rate"),
    ("Divergence", {"elbo": None, "lambda_max": 1e8}, {}, 1, "variance is 1.00e8; scale its columns"),
    ("Skipped updates", {"skipped": 3, "step": 300}, {}, 1, "3 of 300 updates (1.0%) were skipped"),
    ("Skipped updates", {"skipped": 151, "step": 300}, {}, 1, "more than half"),
    ("Noise at its bound", {"sigma_at_bound": 0.25}, {}, 1, "25.0%"),
    ("Noise at its bound", {"sigma_at_bound": 0.25, "nats_at_bound": 1129.0}, {}, 1, "1129 nats of the ELBO"),
    ("Clipping", {"clipped": 0.9}, {}, 1, "90.0%"),
    ("From the run", {"warnings": ["look here"]}, {}, 1, "look here"),
    ("Prior", parts(7.9, 1.0, 1.1), {}, 0, "together 2.100 nats"),
    ("Prior", parts(6.0, 2.9, 1.1), {}, 1, "together 4.000 nats|better than samples"),
    ("Prior", parts(9.2, 0.3, 0.5), {}, 0, "islands"),
    ("Prior", parts(9.2, 18.3, 0.107), {}, 0, "0.1070 nats from the prior|islands"),
    ("Prior", parts(9.2, 0.3, 1.5), {}, 1, "1.500 nats from the prior|islands|better than samples"),
    ("Decoder", ALIVE | {"swapped_distortion": 71.0}, {}, 1, "Ignores"),
    ("Decoder", ALIVE | {"swapped_distortion": 69.0}, {}, 1, "Ignores|lower"),
    ("Decoder", ALIVE | {"swapped_distortion": 74.9}, {}, 1, "Ignores"),
    ("Decoder", ALIVE | {"swapped_distortion": 75.1}, {}, 0, "Listens"),
    ("Condition", knows(0.12), {}, 0, "nearly nothing"),
    ("Condition", knows(0.9), {}, 1, "label by 90.0%|say again what is known"),
    ("Condition", knows(0.9), {"prior": "conditional"}, 0, "costs no rate"),
    ("Condition", knows(0.9), {"prior": "flow"}, 1, "say again what is known"),
    ("Intervals", coverage(0.9), {}, 0, "About right|90.0%"),
    ("Intervals", coverage(0.97), {}, 1, "Over-dispersed|97.0%|right on average"),
    ("Intervals", coverage(0.97) | trained(0.5, 0.5), {}, 1, "noise assumed is too big"),
    ("Intervals", coverage(0.82), {}, 1, "Under-dispersed|82.0%"),
]


@pytest.mark.parametrize(("topic", "changes", "flags", "attention", "words"), FINDINGS)
def test_a_finding(topic, changes, flags, attention, words):
    finding = find(topic, results(**changes), config(**flags))
    assert finding.attention == bool(attention), finding.text
    assert all(word in finding.text for word in words.split("|")), finding.text
    assert topic != "Prior" or ("islands" in finding.text) == ("islands" in words)


# Where the numbers say nothing.
SILENT = [
    ("Calibration", {"calibration": None, "sigma": None, "train": {}}),
    ("Target", {}),
    ("Generalisation", {"train": {}}),
    ("Posterior", {"iw_nll": None}),
    ("Skipped updates", {"skipped": 0}),
    ("Prior", parts(7.9, 1.0, 1.1) | {"rate": 0.01}),
    ("Prior", {}),
    ("Decoder", ALIVE | {"swapped_distortion": 70.05, "active_units": 0}),
    ("Intervals", {"reliability": {"skipped": "no density"}}),
    ("Prior", parts(7.9, 1.0, 1.1) | of_few(3)),
    ("Intervals", coverage(0.82) | of_few(1)),
    ("Decoder", ALIVE | {"swapped_distortion": 70.0} | of_few(1)),
    ("Latents", of_few(1)),
    ("Latents", {"used_latents": None}),
]


@pytest.mark.parametrize(("topic", "changes"), SILENT)
def test_no_finding(topic, changes):
    assert find(topic, results(**changes), config()) is None


# Topic, changes of the results, test lines, whether attention is asked for, words that must and must not be there.
OVER_TIME = [
    ("Generalisation", OVERFIT, RISING, 0, "46% of what the code carries; the test ELBO still rises", "overfitting"),
    ("Generalisation", OVERFIT, FLAT, 1, "overfitting. More data or a smaller network", "earlier stop"),
    ("Generalisation", OVERFIT, FALLING, 1, "highest at step 200, 36.00 nats|earlier stop", "rises"),
    ("Generalisation", OVERFIT, lines_of(30), 1, "overfitting", "earlier stop"),
    ("Collapse", DEAD | {"water_level": 0.01}, RISING, 1, "train on before reading", "failure of optimisation"),
    ("Collapse", DEAD | {"water_level": 0.01}, FLAT, 1, "failure of optimisation", "train on"),
    ("Decoder", ALIVE | {"swapped_distortion": 71.0}, RISING, 0, "so far|train on", "Weaken"),
    ("Decoder", ALIVE | {"swapped_distortion": 71.0}, FALLING, 1, "Weaken the decoder", "train on"),
    ("Calibration", trained(0.16, 0.17), FALLING, 1, "Not calibrated", "train longer"),
    ("Calibration", trained(0.9, 985.0), FALLING, 1, "too noisy) for the training split. Unseen data", "learned sigma"),
    ("Latents", {"second_moment": [1.5] * M}, FALLING, 1, "do not trust samples", "train longer"),
    ("Latents", {"active_units": M}, FALLING, 0, "16 of 16", "a wider code"),
    ("Prior", parts(6.0, 2.9, 1.1), FALLING, 1, "A heavier weight or", "longer training"),
]


@pytest.mark.parametrize(("topic", "changes", "lines", "attention", "words", "never"), OVER_TIME)
def test_a_finding_over_the_steps(topic, changes, lines, attention, words, never):
    finding = find(topic, results(**changes), config(), lines)
    assert finding.attention == bool(attention), finding.text
    assert all(word in finding.text for word in words.split("|")) and never not in finding.text, finding.text


def test_the_trend_is_that_of_the_split_that_the_run_was_watched_on():
    watched = [line | {"split": "validation", "recalibrated_elbo": line["elbo"] + 1.0} for line in FALLING]
    trend = trend_of([*RISING, *watched], 17.0)
    assert trend.split == "validation" and trend.direction == "falls" and trend_of(RISING, 17.0).split == "test"
    assert trend.elbo == trend_of(FALLING, 17.0).elbo + 1.0


def validated(test, train=0.6, before=1.8):
    return trained(train, test) | {"validation": {"calibration": 1.0, "calibration_before": before}}


@pytest.mark.parametrize(
    ("test", "attention", "words"),
    [(0.97, False, "Calibrated on unseen data"), (1.14, False, "Calibrated on unseen data"), (1.3, True, "is unlike")],
)
def test_a_noise_that_was_recalibrated_is_judged_on_unseen_data(test, attention, words):
    found = find("Calibration", results(**validated(test), sigma=0.14, trained_sigma=0.1), config())
    assert found.attention == attention and words in found.text and "from 0.1000 to 0.1400" in found.text
    assert "1.800 at the sigma that training left" in found.text and "train longer" not in found.text


def test_what_is_reported_is_the_step_before_the_overfitting():
    best = FALLING[max(range(len(FALLING)), key=lambda i: FALLING[i]["elbo"])]["step"]
    for more, words in (({}, "or an earlier stop"), ({"best_step": best}, f"at step {best}, ")):
        text = find("Generalisation", results(**OVERFIT, **more), config(), FALLING).text
        assert words in text and ("which is reported" in text) == bool(more)


def test_the_trend_of_the_test_elbo():
    assert [trend_of(lines, 17.0).direction for lines in (RISING, FLAT, FALLING)] == ["rises", "stays", "falls"]
    assert (
        trend_of(lines_of(-5), 1.0) is None and trend_of([{"split": "test", "step": 1, "elbo": None}] * 3, 1.0) is None
    )


# Real situations: what the numbers are, how the test ELBO went, and words that must and must not be in the reading.
HALF = parts(6.0, 2.9, 1.1)
SITUATIONS = {
    "untrained": (DEAD | {"step": 700, "water_level": 0.07, "train": {"elbo": -60.0, "calibration": 0.6}}, RISING),
    "rising": (HALF | {"elbo": 30.0, "train": {"elbo": 38.0, "calibration": 0.8}, "second_moment": [0.6] * M}, RISING),
    "flat": (HALF | {"swapped_distortion": 90.0} | coverage(0.97), FLAT),
    "overfit": (
        HALF
        | {"elbo": 1.0, "calibration": 1.4, "train": {"elbo": 38.0, "calibration": 1.0, "rate": 22.0}}
        | {"second_moment": [1.6] * M, "active_units": M, "swapped_distortion": 71.0},
        FALLING,
    ),
    "collapsed": (DEAD | {"water_level": 0.01, "swapped_distortion": 70.0, "second_moment": [0.5] * M}, FLAT),
    "collapsed and falling": (DEAD | OVERFIT | {"water_level": 0.01}, FALLING),
    "tiny": (OVERFIT | {"elbo": -900.0, "second_moment": [0.5] * M} | of_few(9), FALLING),
    "one example": ({"active_units": 0, "elbo": -24717.0, "calibration": 12358.0} | of_few(1), ()),
    "no metrics": (OVERFIT | HALF | {"train": {"elbo": 900.0, "rate": 22.0, "calibration": 1.2}}, ()),
}
KINDS = ({}, {"precision": "fixed"}, {"weighting": "pi", "target_kl": 5.0}, {"likelihood": "bernoulli"})


@pytest.mark.parametrize("name", SITUATIONS)
def test_no_sentence_contradicts_another(name):
    changes, lines = SITUATIONS[name]
    for flags, (beta, bound) in itertools.product(KINDS, ((1.0, None), (0.0, None), (4.0, 0.2))):
        numbers = results(**changes | {"beta": beta, "sigma_at_bound": bound})
        findings = read(numbers, config(min_sigma=1e-3, **flags), lines)
        text = " ".join(f.text for f in findings)
        assert len({f.topic for f in findings}) == len(findings)
        longer = re.search("[Tt]rain (longer|on)|longer training", text)
        assert not (longer and "earlier stop" in text), text
        assert not (re.search("(?<!no )overfitting", text) and "still rises" in text), text
        assert all(float(share) <= 100.0 for share in re.findall(r"([\d.]+)%", text)), text
        assert not any(f.attention and re.match("(Nearly c|C)alibrated:", f.text) for f in findings), text
        assert not (beta == 0.0 and "E[mu^2" in text), text
        assert not ("Collapsed" in text and re.search("wider code|Listens|Not collapsed", text)), text
        if name in ("tiny", "one example"):
            assert not re.search("Collapsed|overfitting|E\\[mu|Ignores|islands", text) and "no verdict" in text, text
        if name == "untrained":
            assert "train on before reading more" in text and "failure" not in text, text


def test_of_equal_examples_nothing_is_said_but_that():
    findings = read(results(**SITUATIONS["one example"][0] | {"lambda_max": 0.0, "used_latents": 0}), config())
    assert [f.topic for f in findings] == ["Collapse"] and "all equal" in findings[0].text


def test_collapse_is_judged_by_what_is_carried():
    assert is_collapsed({"rate": 8.8, "active_units": 0})
    assert not is_collapsed({"rate": 8.8, "active_units": 0, "distortion": 1.0, "swapped_distortion": 371.0})
    assert not is_collapsed({"rate": 8.8, "active_units": 0, "used_latents": 9})
    assert is_collapsed({"rate": 27.9, "used_latents": 0, "distortion": 146.0, "swapped_distortion": 179.0})
    assert not is_collapsed({"rate": 8.8, "active_units": 0} | of_few(1)) and is_collapsed({"rate": 0.05} | of_few(1))


def test_calibration_of_a_fixed_sigma_says_what_would_be_calibrated():
    sigma, ratio, beta = 0.3, 0.1345, 2.0
    mse = ratio * sigma**2
    finding = find(
        "Calibration", results(sigma=sigma, beta=beta, mse=mse, **trained(ratio, ratio)), config(precision="fixed")
    )
    assert finding.attention and "too big" in finding.text
    assert f"sigma = {number(math.sqrt(mse))}" in finding.text
    assert f"beta = {number(beta * sigma**2 / mse)}" in finding.text
    gain = -0.5 * D * (math.log(mse) + 1.0 - math.log(sigma**2) - mse / sigma**2)  # at v = mse against sigma^2
    assert f"{number(gain)} nats higher" in finding.text


def test_clipping_is_of_the_second_half():
    lines = [{**m, "clipped": float(m["step"] > 1400)} for m in metrics()]
    assert "100% of the gradients were clipped in the second half" in find("Clipping", results(), {}, lines).text


def test_the_summary_is_the_reading_as_text():
    numbers = results(warnings=["the ramp never\nended"])
    lines = summary_lines(numbers, config())
    assert "rate 17.42" in lines[0]
    assert len(lines) == len(read(numbers, config())) and not any("ramp" in line for line in lines)  # said before
    assert read(numbers)[-1] == ("From the run", True, "the ramp never\nended")
    assert summary_lines({}) and summary_lines(numbers)


def test_a_command_can_be_pasted(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", f"{tmp_path}/my env/bin/python")
    assert program("train") == "'my env/bin/python' -m experiments.train"
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert program("train") == "python -m experiments.train"


def test_numbers_are_short():
    values = (0.5, 1.0, 12345.678, 1234.5, 3, True, None, 0.0, 1.5e-6, -2e9, math.nan)
    shown = "0.5000 1.000 12346 1234 3 True – 0 1.500e-6 -2.000e9".split()
    assert [number(v) for v in values] == [*shown, "not finite"]
    assert number(9999.7) == "10000" and number(999.97) == "1000" and number(25.0, 2) == "25"
    assert [setting(v) for v in (1.0, 1e-4, "mlp", None, [3, 0.5])] == ["1", "0.0001", "mlp", "–", "3, 0.5"]
    assert [duration(s) for s in (9.14, 725, 12000, None)] == ["9.14 s", "12 min 5 s", "3 h 20 min", "–"]
