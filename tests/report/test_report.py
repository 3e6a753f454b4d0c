"""The report: made runs in, sentences, figures and a page out."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from experiments.papers.figures import comparison, table_lines
from vae_jax.report import Run, load, read, summary_lines, write_report
from vae_jax.report.formatting import duration, number, setting
from vae_jax.report.image_grids import interpolations, tempered, traversals
from vae_jax.report.latent_figures import THRESHOLD, embedding
from vae_jax.report.page import typeset
from vae_jax.report.reliability_figure import reliability
from vae_jax.report.training_curves import limits
from vae_jax.types import UserError

D, M, STEPS = 64, 16, 3000
FIGURES = tuple(
    f"{name}.png"
    for name in (
        "reconstructions samples temperatures traversals interpolations kl_per_latent embedding reliability curves "
        "weight"
    ).split()
)


def results(**changes):
    """A healthy run with a learned sigma; the numbers agree with each other."""
    rate, mse, sigma = 17.42, 0.0121, 0.1093
    distortion = 0.5 * D * (math.log(2 * math.pi * sigma**2) + mse / sigma**2)
    kl = [2.31, 2.05, 1.92, 1.77, 1.7, 1.66, 1.41, 1.33, 1.12, 0.93, 0.66, 0.49, 0.07, 0.001, 3e-4, 0.0]
    made = {
        "step": STEPS,
        "elbo": -(rate + distortion),
        "rate": rate,
        "distortion": distortion,
        "iw_nll": rate + distortion - 1.31,
        "iw_samples": 500,
        "bits_per_dim": None,
        "mse": mse,
        "beta": 1.0,
        "beta_norm": M / D,
        "sigma": sigma,
        "water_level": sigma**2,
        "calibration": mse / sigma**2,
        "active_units": 13,
        "kl_per_latent": kl,
        "examples_per_second": 61234.0,
        "seconds": 48.3,
        "data_dim": D,
        "latent_dim": M,
        "lambda_max": 0.7002,
        "predicted_active": 12,
        "train": {
            "elbo": -(rate + distortion) + 0.7,
            "rate": 17.5,
            "distortion": distortion - 0.8,
            "mse": 0.01188,
            "calibration": 0.9945,
        },
        "warnings": [],
        "headline": "Squared error of noise 0.1093 (learned), weight 1: water level 0.01195 on [0, 1] pixels.",
        "second_moment": [1.0 + 0.03 * (-1) ** i for i in range(M)],
        "sigma_at_bound": None,
        "protocol": "1,437 training and 360 test digits, 8x8; one sample of z per example, all of the split.",
    }
    return {**made, **changes}


def config(**changes):
    made = {
        "dataset": "digits",
        "pixels": "grey",
        "likelihood": "gaussian",
        "precision": "learned",
        "sigma": 0.1,
        "weighting": "linear",
        "beta": 1.0,
        "beta_norm": None,
        "warmup_steps": 600,
        "objective": "elbo",
        "num_samples": 1,
        "model": "mlp",
        "latent_dim": M,
        "hidden": 256,
        "num_steps": STEPS,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "seed": 0,
    }
    return {**made, **changes}


def metrics(steps: int = STEPS, every: int = 20, warmup: int = 600, sigma: bool = True):
    """Smooth noisy curves whose first values are huge; a test line after every tenth training line."""
    rng = np.random.default_rng(0)
    lines = []
    for step in range(0, steps, every):
        beta, t = min(1.0, step / warmup), step / steps
        std = 0.1093 + 0.25 * math.exp(-12 * t)
        rate = 17.4 * (1 - math.exp(-14 * t)) + 14 * math.exp(-((step / 500) ** 2)) * t * 14 + rng.normal(0, 0.15)
        mse = 0.0121 + 0.12 * math.exp(-20 * t)
        distortion = 0.5 * D * (math.log(2 * math.pi * std**2) + mse / std**2) + 9000 * math.exp(-150 * t)
        distortion += rng.normal(0, 0.8)
        line = {
            "step": step,
            "split": "train",
            "loss": distortion + beta * rate,
            "elbo": -(distortion + rate),
            "rate": rate,
            "distortion": distortion,
            "beta": beta,
            "learning_rate": 1e-3,
            "grad_norm": 3.0,
            "sigma": std if sigma else None,
            "clipped": 0.01,
        }
        lines.append(line)
        if step and step % (every * 10) == 0:
            test = {"rate": rate - 0.1, "distortion": distortion + 2.0, "elbo": -(distortion + rate + 1.9)}
            lines.append({"step": step, "split": "test", **test})
    return lines


def digits_pictures(n: int = 40):
    from sklearn.datasets import load_digits

    images = (load_digits().images / 16.0).astype(np.float32)
    flat = images.reshape(-1, D)
    mean = flat.mean(axis=0)
    _, s, v = np.linalg.svd(flat[:1400] - mean, full_matrices=False)
    code = (flat[-n:] - mean) @ v[:12].T
    drawn = np.random.default_rng(1).normal(size=(64, 12)) * s[:12] / math.sqrt(1400)
    shape = (-1, 8, 8, 1)
    back = [np.clip(c @ v[:12] + mean, 0, 1).reshape(shape).astype(np.float32) for c in (code, drawn)]
    return {"inputs": images[-n:].reshape(shape), "reconstructions": back[0], "samples": back[1]}


def write_run(workdir, results=None, config=None, metrics=None, pictures=None, torn=False):
    workdir.mkdir(parents=True, exist_ok=True)
    for name, value in (("results.json", results), ("config.json", config)):
        if value is not None:
            (workdir / name).write_text(json.dumps(value))
    if metrics is not None:
        text = "".join(json.dumps(line) + "\n" for line in metrics)
        (workdir / "metrics.jsonl").write_text(text + ('{"step": 2999, "spl' if torn else ""))
    if pictures is not None:
        np.savez(workdir / "pictures.npz", **pictures)
    return workdir


class Page(HTMLParser):
    """Checks that tags are balanced and nothing is fetched; keeps the text."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, source):
        super().__init__()
        self.open, self.words, self.images = [], [], []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "iframe")
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert value.startswith("data:image/png;base64,")
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page_of(workdir):
    return Page(write_report(workdir).read_text(encoding="utf-8"))


def find(topic, results, config=None, metrics=()):
    found = [f for f in read(results, config, metrics) if f.topic == topic]
    assert len(found) <= 1
    return found[0] if found else None


# The reading


def test_a_healthy_run_needs_no_attention():
    found = read(results(), config(), metrics())
    assert not [f for f in found if f.attention]
    assert [f.topic for f in found] == [
        "Collapse",
        "Weight",
        "Calibration",
        "Latents",
        "Generalisation",
        "Posterior",
    ]


@pytest.mark.parametrize(
    ("changes", "settings", "words"),
    [
        ({"water_level": 392.0, "lambda_max": 5.116788}, {}, ("optimum of its loss", "392.0", "5.117")),
        ({"water_level": 0.01}, {"warmup_steps": 5000}, ("inside the weight's warm-up of 5000",)),
        ({"water_level": 0.01}, {}, ("failure of optimisation", "saddle")),
        ({"water_level": 0.0}, {}, ("failure of optimisation",)),
        ({"water_level": 0.69}, {}, ("leaves almost nothing",)),
        (
            {"water_level": None, "sigma": None},
            {"likelihood": "bernoulli"},
            ("0.2500", "failure of optimisation"),
        ),
        ({"water_level": None, "beta": 4.0}, {"likelihood": "bernoulli"}, ("a tenth of beta",)),
    ],
)
def test_collapse_says_why(changes, settings, words):
    numbers = results(**{"rate": 0.003, "active_units": 0, "kl_per_latent": [0.0] * M, **changes})
    finding = find("Collapse", numbers, config(**settings))
    assert finding.attention and finding.text.startswith("Collapsed")
    for word in words:
        assert word in finding.text


def test_collapse_names_the_knob_there_is():
    numbers = results(rate=0.0, active_units=0, water_level=1.0)
    assert find("Collapse", numbers, config()).text.endswith("Lower beta.")
    assert find("Collapse", numbers, config(precision="fixed")).text.endswith("Lower beta or sigma.")


def test_a_rate_that_buys_nothing_is_collapse_too():
    assert "no latent depends on the input" in find("Collapse", results(active_units=0), config()).text


def test_calibration_of_a_fixed_sigma_says_what_would_be_calibrated():
    sigma, ratio, beta = 0.3, 0.1345, 2.0
    mse = ratio * sigma**2
    numbers = results(sigma=sigma, calibration=ratio, beta=beta, mse=mse, train={"calibration": ratio, "mse": mse})
    finding = find("Calibration", numbers, config(precision="fixed"))
    assert finding.attention and "too big" in finding.text
    assert f"sigma = {number(math.sqrt(mse))}" in finding.text
    assert f"beta = {number(beta * sigma**2 / mse)}" in finding.text

    def log_likelihood(v):
        return -0.5 * D * (math.log(2 * math.pi * v) + mse / v)

    assert f"{number(log_likelihood(mse) - log_likelihood(sigma**2))} nats higher" in finding.text


@pytest.mark.parametrize(
    ("train", "test", "precision", "attention", "words"),
    [
        (1.01, 1.02, "learned", False, "Calibrated"),
        (0.96, 0.97, "learned", False, "Nearly calibrated"),
        (0.16, 0.17, "learned", True, "train longer"),
        (4.0, 4.1, "fixed", True, "overconfident"),
        (1.0, 1.3, "learned", True, "unseen data is reconstructed worse"),
        (None, 1.3, "learned", True, "on the test split"),
    ],
)
def test_calibration(train, test, precision, attention, words):
    finding = find("Calibration", results(calibration=test, train={"calibration": train}), config(precision=precision))
    assert finding.attention is attention and words in finding.text


def test_calibration_is_silent_without_a_sigma():
    assert find("Calibration", results(calibration=None, sigma=None, train={}), config()) is None


def test_the_weight():
    assert "is a bound" in find("Weight", results(), config()).text
    finding = find("Weight", results(beta=4.0, water_level=0.04), config())
    assert "beta = 4: the loss is not a bound" in finding.text and "sigma = 0.2000 at beta = 1" in finding.text
    assert "free bits" in find("Weight", results(), config(weighting="free_bits")).text
    assert find("Weight", results(step=100), config()).attention


@pytest.mark.parametrize(
    ("weighting", "train", "saturated", "attention", "words"),
    [
        ("pi", {"rate": 20.3}, 0.0, False, "Met: a rate of 20 nats was asked for and the training split has 20.30"),
        ("pi", {"rate": 22.0}, 0.0, True, "raise --ki"),
        ("pi", {"rate": 22.0}, 0.9, True, "in 90.0% of the second half of the run the weight stood at a bound"),
        ("capacity", {"rate": 17.0}, None, True, "raise --gamma"),
        ("geco", {"distortion": -30.2}, 0.0, False, "Met: a distortion of -30 nats"),
        ("geco", {"distortion": -33.0}, 0.0, True, "Missed"),
    ],
)
def test_the_target_of_a_controller(weighting, train, saturated, attention, words):
    settings = config(weighting=weighting) | {"target_kl": 20.0, "target_distortion": -30.0, "beta_max": 5.0}
    finding = find("Target", results(train=train, saturated=saturated), settings)
    assert finding.attention is attention and words in finding.text
    dear = results(train={"distortion": -33.0}, beta=20.0)  # 3 nats are worth less than 5% of the rate there
    assert find("Target", dear, config(weighting="geco") | {"target_distortion": -30.0}).text.startswith("Met")
    assert "found by the controller" in find("Weight", results(beta=4.0), config(weighting="pi")).text
    assert find("Target", results(), config()) is None


def test_a_comparison_puts_the_best_first_and_gives_the_spread():
    def row(name, seed, elbo):
        other = ("calibrated_distortion", "rate", "rmse", "sigma", "beta", "active_units", "seconds")
        return {"name": name, "seed": seed, "calibrated_elbo": elbo} | dict.fromkeys(other, 0.5 + seed)

    rows = [row("worse", 0, 1.0), row("worse", 1, 2.0), row("better", 0, 3.0), row("better", 1, 5.0)]
    lines = table_lines(rows)
    assert lines[2].startswith("| better | 4.0 ± 1.4 | 1.0 ± 0.7 |") and lines[3].startswith("| worse | 1.5 ± 0.7 |")
    assert comparison(rows).png.startswith(b"\x89PNG")


def test_the_latents():
    finding = find("Latents", results(), config())
    assert "13 of 16 latents are used; a linear model would use 12" in finding.text
    moments = [1.0] * (M - 1) + [2.5]
    finding = find("Latents", results(second_moment=moments), config())
    assert finding.attention and "2.500 in latent 15" in finding.text
    assert not find("Latents", results(second_moment=moments), config(weighting="free_bits")).attention
    assert "a wider code" in find("Latents", results(active_units=M), config()).text


def test_generalisation():
    finding = find("Generalisation", results(elbo=30.0, train={"elbo": 35.0}), config())
    assert finding.attention and "a gap of 5.000 nats, 29% of what the code carries" in finding.text
    assert not find("Generalisation", results(elbo=30.0, train={"elbo": 31.0}), config()).attention
    finding = find("Generalisation", results(elbo=30.0, train={"elbo": 33.0}), config())
    assert not finding.attention and "some overfitting" in finding.text
    assert find("Generalisation", results(train={}), config()) is None


def test_the_posterior():
    assert "1.310 nats below the negative ELBO" in find("Posterior", results(), config()).text
    assert find("Posterior", results(elbo=-100.0, iw_nll=110.0), config()).attention
    assert find("Posterior", results(iw_nll=None), config()) is None


@pytest.mark.parametrize(
    ("likelihood", "pixels", "value", "words", "attention"),
    [
        ("gaussian", "grey", 3.2, "no code length", False),
        ("gaussian", "dequantised", 3.2, "a bound on the code length", False),
        ("bernoulli", "sampled", 3.2, "of sampled pixels", False),
        ("bernoulli", "grey", 3.2, "of black and white pixels", False),
        ("bernoulli", "grey", None, "no density", True),
        ("discretized_logistic", "grey", 3.2, "comparable as it is", False),
    ],
)
def test_bits_say_what_they_compare_with(likelihood, pixels, value, words, attention):
    settings = config(likelihood=likelihood, pixels=pixels) | {"soft_targets": value is None}
    finding = find("Units", results(bits_per_dim=value), settings)
    assert words in finding.text and finding.attention is attention


def test_what_else_needs_attention():
    assert find("Divergence", results(elbo=None, distortion=None)).text.startswith("elbo and distortion: not finite")
    skips = find("Skipped updates", results(skipped=3, step=300))
    assert skips.attention and skips.text.startswith("3 of 300 updates (1.0%) were skipped")
    assert "more than half" in find("Skipped updates", results(skipped=151, step=300)).text
    assert find("Skipped updates", results(skipped=0)) is None and find("Skipped updates", results()) is None
    assert "25.0%" in find("Noise at its bound", results(sigma_at_bound=0.25), config()).text
    assert "100%" in find("Clipping", results(), config(), [{**m, "clipped": 1.0} for m in metrics()]).text
    assert find("Clipping", results(clipped=0.9), config()).attention
    assert find("From the run", results(warnings=["look here"])).text == "look here"


def test_the_summary_is_the_reading_as_text():
    numbers = results(warnings=["the ramp never ended"])
    lines = summary_lines(numbers, config())
    assert "rate 17.42" in lines[0]
    assert lines[-1] == "! From the run: the ramp never ended"
    assert len(lines) == 1 + len(read(numbers, config()))
    assert all("\n" not in line for line in lines)
    assert summary_lines({}) and summary_lines(numbers)


# Numbers and curves


def test_numbers_are_short():
    shown = [number(v) for v in (0.5, 1.0, 12345.678, 1234.5, 3, True, None, 0.0, 1.5e-6, -2e9, math.nan)]
    assert shown == [
        "0.5000",
        "1.000",
        "12346",
        "1234",
        "3",
        "True",
        "–",
        "0",
        "1.500e-6",
        "-2.000e9",
        "not finite",
    ]
    assert number(9999.7) == "10000" and number(999.97) == "1000" and number(25.0, 2) == "25"
    assert [setting(v) for v in (1.0, 1e-4, "mlp", None, [3, 0.5])] == ["1", "0.0001", "mlp", "–", "3, 0.5"]
    assert [duration(s) for s in (9.14, 725, 12000, None)] == ["9.14 s", "12 min 5 s", "3 h 20 min", "–"]


def test_huge_first_values_do_not_set_the_axes():
    steps = np.arange(0.0, 1000.0, 10.0)
    values = 20.0 + 1e4 * np.exp(-steps / 15.0)
    low, high = limits([(steps, values)])
    assert low <= 20.0 and high < 60.0
    low, high = limits([(np.array([7.0]), np.array([3.0]))])
    assert low < 3.0 < high
    assert limits([(np.array([0.0]), np.array([math.nan]))]) == (0.0, 1.0)


def test_the_threshold_of_a_linear_latent():
    assert pytest.approx(0.0050252, rel=1e-4) == THRESHOLD


# The page


def test_letters_and_signs_are_set_but_never_names():
    set_ = typeset("beta sigma^2 = -1.5e-6, --beta=1 --sigma=-2 beta_norm, the beta likelihood; -log p < 0, 2-3")
    assert set_ == (
        "β σ² = −1.5 × 10<sup>−6</sup>, --beta=1 --sigma=-2 beta_norm, the beta likelihood; −log p &lt; 0, 2-3"
    )


def test_a_whole_run(tmp_path):
    drawn = digits_pictures() | code_pictures((8, 8, 1))
    workdir = write_run(tmp_path / "run", results(reliability=curve()), config(), metrics(), drawn, torn=True)
    page = page_of(workdir)
    for name in FIGURES:
        assert (workdir / "figures" / name).read_bytes().startswith(b"\x89PNG")
    assert len(page.images) == len(FIGURES) and all(image["alt"] for image in page.images)
    for word in (
        results()["headline"],
        "17.42",
        "Not collapsed",
        "--learning_rate",
        "0.001",
        results()["protocol"],
    ):
        assert word in page.text
    left = sorted(p.relative_to(workdir).as_posix() for p in workdir.rglob("*") if p.is_file())
    assert left == sorted(
        [
            *(f"figures/{n}" for n in FIGURES),
            "config.json",
            "metrics.jsonl",
            "pictures.npz",
            "report.html",
            "results.json",
        ]
    )


def test_the_same_run_gives_the_same_bytes(tmp_path):
    workdir = write_run(tmp_path, results(), config(), metrics(every=300))
    assert write_report(workdir).read_bytes() == write_report(workdir).read_bytes()


def test_only_results(tmp_path):
    page = page_of(write_run(tmp_path, results(kl_per_latent=None)))
    assert not page.images and "no config.json" in page.text and "no pictures.npz" in page.text


def test_a_short_and_collapsed_run(tmp_path):
    numbers = results(
        rate=0.0,
        active_units=0,
        kl_per_latent=[0.0] * M,
        sigma=None,
        water_level=None,
        calibration=None,
        train={},
    )
    workdir = write_run(tmp_path, numbers, config(likelihood="bernoulli"), metrics(steps=20, sigma=False))
    page = page_of(workdir)
    assert len(page.images) == 3 and "Collapsed" in page.text and "no test lines" in page.text
    assert "Noise sigma" not in page.text


def test_words_from_outside_are_escaped(tmp_path):
    bad = "<script>alert('&')</script>"
    numbers = results(warnings=[bad], headline=bad, protocol=bad, note=bad)
    page = page_of(write_run(tmp_path, numbers, config(dataset=bad, **{bad: bad})))
    assert page.text.count(bad) >= 5


def test_rows_of_a_table_and_shapes_that_cannot_be_drawn(tmp_path):
    rng = np.random.default_rng(0)
    rows = {k: rng.normal(size=(5, 13)).astype(np.float32) for k in ("inputs", "reconstructions", "samples")}
    assert len(page_of(write_run(tmp_path / "a", results(), pictures=rows)).images) == 3
    tokens = {k: np.zeros((4, 7, 3, 2, 1), np.float32) for k in rows}
    page = page_of(write_run(tmp_path / "b", results(), pictures=tokens))
    assert "7 x 3 x 2 x 1" in page.text and len(page.images) == 1


@pytest.mark.parametrize(("n", "shape"), [(1, (8, 8, 1)), (7, (12, 5, 3)), (33, (64, 64, 3))])
def test_pictures_of_any_size_and_number(tmp_path, n, shape):
    drawn = {
        k: np.random.default_rng(0).uniform(-0.1, 1.1, (n, *shape)) for k in ("inputs", "reconstructions", "samples")
    }
    drawn["samples"][0, 0, 0] = math.nan
    assert len(page_of(write_run(tmp_path, results(), pictures=drawn)).images) == 3


def code_pictures(event, n=40, image=True):
    """What the figures of the code read, in the dtype that evaluation writes."""
    rng = np.random.default_rng(2)

    def of(*lead):
        values = rng.uniform(size=(*lead, *event))
        return (255 * values).astype(np.uint8) if image else values.astype(np.float32)

    return {
        "traversals": of(3, 9),
        "traversal_latents": np.array([2, 0, 1]),
        "traversal_kl": np.array([1.5, 0.2, 0.0]),
        "traversal_z": np.linspace(-2.05, 2.05, 9),
        "interpolations": of(2, 8),
        "interpolation_ends": of(2, 2),
        "tempered": of(3, 5),
        "temperatures": np.array([0.5, 0.7, 1.0]),
        "embedding": rng.normal(size=(n, 2)).astype(np.float32),
        "embedding_axes": np.array(["component 1 (60% of the variance)", "component 2 (9% of the variance)"]),
    }


def curve(power=1.0):
    """A reliability curve: calibrated at power 1, too narrow above, too wide below."""
    levels = np.arange(1, 20) / 20
    pit = np.full(40, 1 / 40)
    pit[0], pit[1:] = 0.3, 0.7 / 39
    made = {"levels": levels, "coverage": levels**power, "standard_error": np.full(19, 0.01), "pit": pit}
    return {key: list(map(float, value)) for key, value in made.items()}


CODE = (traversals, interpolations, tempered, embedding)


@pytest.mark.parametrize("event", [(8, 8, 1), (1, 2, 3), (64, 40, 3), (13,), (1,)])
def test_figures_of_the_code(tmp_path, event):
    run = load(write_run(tmp_path, results(), config(), pictures=code_pictures(event, image=len(event) == 3)))
    plates = [figure(run) for figure in CODE]
    assert [plate.png[:4] for plate in plates] == [b"\x89PNG"] * 4
    assert len({plate.name for plate in plates}) == 4
    assert "\N{MINUS SIGN}2.0 to 2.0" in plates[0].caption and "60% of the variance" in plates[3].caption
    assert all(plate.caption.split(":")[0] for plate in plates)  # the alt text
    if event == (8, 8, 1):
        assert [figure(run).png for figure in CODE] == [plate.png for plate in plates]


def test_figures_of_the_code_that_cannot_be_drawn(tmp_path):
    nothing = load(write_run(tmp_path / "a", results()))
    tokens = load(write_run(tmp_path / "b", results(), pictures=code_pictures((7, 3, 2, 1), image=False)))
    for figure in CODE[:3]:
        assert figure(nothing).png is None and "no pictures.npz" in figure(nothing).caption
        assert figure(tokens).png is None and "7 x 3 x 2 x 1" in figure(tokens).caption
    assert embedding(nothing).png is None
    one_point = {**code_pictures((13,)), "embedding": np.zeros((40, 2))}
    assert "hardly differ" in embedding(nothing._replace(pictures=one_point)).caption


@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_the_map_is_coloured_by_factors(count):
    rng = np.random.default_rng(0)
    columns = [rng.integers(10, size=40), np.arange(40), np.zeros(40), *rng.integers(3, size=(5, 40))][:count]
    names = [f"factor {i}" for i in range(count)]
    drawn = code_pictures((13,))
    if count:
        drawn |= {"factors": np.stack(columns, axis=1), "factor_names": np.array(names)}
    plate = embedding(load_nothing()._replace(pictures=drawn))
    assert plate.png.startswith(b"\x89PNG")
    words = {0: "variance).", 1: "coloured by factor 0", 5: "one factor in each panel", 8: "one factor in each panel"}
    assert words[count] in plate.caption


def load_nothing():
    return Run(results(), config(), [], {})


def test_the_reliability_curve():
    run = load_nothing()
    assert reliability(run).png is None and "did not measure" in reliability(run).caption
    for power, words in ((1.0, "is 0."), (2.0, "too narrow on the whole"), (0.5, "too wide on the whole")):
        run.results["reliability"] = curve(power)
        plate = reliability(run)
        assert plate.png.startswith(b"\x89PNG") and words in plate.caption
    assert reliability(run).png == plate.png
    discrete = reliability(run._replace(config=config(likelihood="bernoulli")))
    assert discrete.caption.endswith("within the jump at x.")
    run.results["reliability"]["share"] = 0.125
    assert "12.5% of the values" in reliability(run._replace(config=config(likelihood="bernoulli"))).caption
    for broken in (
        {"skipped": "this likelihood has none"},
        {**curve(), "coverage": []},
        {**curve(), "pit": [None] * 40},
    ):
        run.results["reliability"] = broken
        assert reliability(run).png is None and "not drawn, because" in reliability(run).caption


def test_a_figure_that_is_no_longer_true_goes(tmp_path):
    workdir = write_run(tmp_path, results(), config(), metrics(every=300))
    write_report(workdir)
    assert (workdir / "figures" / "curves.png").exists()
    (workdir / "metrics.jsonl").unlink()
    write_report(workdir)
    assert not (workdir / "figures" / "curves.png").exists()


def test_lines_of_a_killed_and_resumed_run(tmp_path):
    lines = metrics(steps=100)
    write_run(tmp_path, results(), metrics=[*lines, {**lines[2], "rate": 99.0}, 3, {"no": "step"}], torn=True)
    read_back = load(tmp_path).metrics
    assert [m["step"] for m in read_back] == [0, 20, 40, 60, 80]
    assert read_back[2]["rate"] == 99.0


def test_numbers_that_are_not_finite_are_none(tmp_path):
    write_run(tmp_path, results(elbo=math.nan, mse=math.inf))
    assert load(tmp_path).results["elbo"] is None
    assert "The run diverged" in page_of(tmp_path).text


def test_a_run_without_results_says_so(tmp_path):
    write_run(tmp_path, config=config(), metrics=metrics(steps=100))
    with pytest.raises(UserError, match="no results yet"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="no results yet"):
        write_report(tmp_path / "nowhere")
    assert not (tmp_path / "report.html").exists()
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UserError, match=r"results\.json"):
        write_report(tmp_path)


def test_it_reads_files_only():
    code = "import sys, vae_jax.report; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"matplotlib", "flax", "orbax", "vae_jax.train", "vae_jax.models"} & set(loaded)


def test_nothing_on_the_page_names_a_host(tmp_path):
    source = write_report(write_run(tmp_path, results(), config(), metrics(every=300))).read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import", source)
