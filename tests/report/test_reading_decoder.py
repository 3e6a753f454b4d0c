"""Findings about the code, each with the number that shows it, and evaluation.json on the page."""

import json

import pytest

from vae_jax.report import read, write_report
from vae_jax.report.reading import decoder
from vae_jax.types import UserError

RATE, CAP = 10.0, 9.21


def parts(mutual, total, each):
    values = {"mutual_information": mutual, "total_correlation": total, "dimension_wise_kl": each}
    return {"rate": RATE, "cap": CAP} | {k: {"value": v, "error": 0.01} for k, v in values.items()}


@pytest.mark.parametrize(
    "pieces, attention, words",
    [
        ((7.9, 1.0, 1.1), False, "together 2.100 nats"),
        ((6.0, 2.9, 1.1), True, "together 4.000 nats"),
        ((9.2, 0.3, 0.5), False, "islands"),
        ((9.2, 18.3, 0.107), False, "0.1070 nats from the prior"),
        ((9.2, 0.3, 1.5), True, "1.500 nats from the prior"),
    ],
)
def test_codes_far_from_the_prior(pieces, attention, words):
    results = {"rate": RATE, "active_units": 5, "rate_parts": parts(*pieces)}
    found = decoder.prior(results, {})
    assert found.attention == attention and words in found.text
    assert ("islands" in found.text) == (pieces[0] > 9) and ("better than samples" in found.text) == attention
    assert decoder.prior(results | {"rate": 0.01}, {}) is None and decoder.prior({"rate": RATE}, {}) is None


@pytest.mark.parametrize("swapped, attention", [(71.0, True), (69.0, True), (74.9, True), (75.1, False)])
def test_a_decoder_that_ignores_its_code(swapped, attention):
    results = {"rate": RATE, "distortion": 70.0, "swapped_distortion": swapped, "active_units": 5}
    found = decoder.decoder(results, {})
    assert found.attention == attention == ("Ignores" in found.text)
    assert decoder.decoder(results | {"active_units": 0}, {}) is None


@pytest.mark.parametrize("coverage, attention, word", [(0.9, 0, "About right"), (0.97, 1, "Over"), (0.82, 1, "Under")])
def test_intervals_that_hold_too_much_or_too_little(coverage, attention, word):
    results = {"reliability": {"levels": [0.5, 0.9], "coverage": [0.5, coverage]}}
    found = decoder.dispersion(results, {})
    assert found.attention == bool(attention) and found.text.startswith(word) and f"{100 * coverage:g}.0%" in found.text
    assert decoder.dispersion({"reliability": {"skipped": "no density"}}, {}) is None


def test_the_evaluation_is_on_the_page_and_its_parts_are_read(tmp_path):
    results = {"elbo": -80.0, "rate": RATE, "distortion": 70.0, "active_units": 5, "step": 9}
    (tmp_path / "results.json").write_text(json.dumps(results | {"rate_parts": parts(7.9, 1.0, 1.1)}))
    assert "<h2>Evaluation</h2>" not in write_report(tmp_path).read_text()
    gaps = {"approximation_gap": 2.465, "approximation_gap_error": 0.078, "effective_samples": 7.0}
    made = {"step": 9, "iw_nll": 77.125, "iw_samples": 5000, "rate_parts": parts(6.0, 2.9, 1.1), "gaps": gaps}
    made["disentanglement"] = {"mig": 0.3125, "sap": None, "protocol": "sub-grid of 10 <images>"}
    (tmp_path / "evaluation.json").write_text(json.dumps(made))
    text = write_report(tmp_path).read_text()
    assert "<h2>Evaluation</h2>" in text and "77.1" in text and "5000 samples" in text and "2.465" in text
    assert "0.3125" in text and "&lt;images&gt;" in text and "<images>" not in text
    assert "together 4.000 nats" in text and "older" not in text and "not of the state" not in text
    (tmp_path / "evaluation.json").write_text(json.dumps(made | {"step": 5}))
    assert "not of the state" in write_report(tmp_path).read_text()
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(UserError, match=r"evaluation\.json"):
        write_report(tmp_path)


def test_the_findings_are_part_of_the_reading():
    results = {"rate": RATE, "distortion": 70.0, "swapped_distortion": 71.0, "rate_parts": parts(6.0, 2.9, 1.1)}
    results["reliability"] = {"levels": [0.9], "coverage": [0.97]}
    topics = [f.topic for f in read(results)]
    assert {"Prior", "Decoder", "Intervals"} <= set(topics)
