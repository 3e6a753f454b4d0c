"""Made runs: their files, and what is seen of their page."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser

import numpy as np

D, M, STEPS = 64, 16, 3000
ROWS, CODE = "reconstructions samples temperatures traversals interpolations", "kl_per_latent embedding reliability"
FIGURES = tuple(f"{name}.png" for name in f"{ROWS} {CODE} curves weight waking".split())


def results(**changes):
    """A healthy run with a learned sigma; the numbers agree with each other."""
    rate, mse, sigma = 17.42, 0.0121, 0.1093
    distortion = 0.5 * D * (math.log(2 * math.pi * sigma**2) + mse / sigma**2)
    train = {"rate": 17.5, "distortion": distortion - 0.8, "mse": 0.01188, "calibration": 0.9945}
    bounds = dict(elbo=-(rate + distortion), rate=rate, distortion=distortion, iw_nll=rate + distortion - 1.31)
    weights = dict(beta=1.0, beta_norm=M / D, sigma=sigma, water_level=sigma**2, calibration=mse / sigma**2)
    code = {"kl_per_latent": [2.3, 2.0, 1.9, 1.8, 1.7, 1.6, 1.4, 1.3, 1.1, 0.9, 0.7, 0.5, 0.07, 0.001, 3e-4, 0.0]}
    code |= {"second_moment": [1.0 + 0.03 * (-1) ** i for i in range(M)], "active_units": 13, "predicted_active": 12}
    words = dict(headline="Squared error of noise 0.1093 (learned), weight 1: water level 0.01195 on [0, 1] pixels.")
    words |= {"protocol": "1,437 training and 360 test digits, 8x8; one sample of z per example", "warnings": []}
    rest = dict(step=STEPS, iw_samples=500, bits_per_dim=None, mse=mse, examples_per_second=61234.0, seconds=48.3)
    rest |= dict(data_dim=D, latent_dim=M, lambda_max=0.7002, sigma_at_bound=None)
    return bounds | weights | code | words | rest | {"train": train | {"elbo": -(rate + distortion) + 0.7}} | changes


def config(**changes):
    made = dict(dataset="digits", pixels="grey", likelihood="gaussian", precision="learned", sigma=0.1, model="mlp")
    made |= dict(weighting="linear", beta=1.0, beta_norm=None, warmup_steps=600, objective="elbo", num_samples=1)
    made |= dict(latent_dim=M, hidden=256, num_steps=STEPS, batch_size=128, learning_rate=1e-3, seed=0)
    return made | changes


def metrics(steps: int = STEPS, every: int = 20, warmup: int = 600, sigma: bool = True):
    """Smooth noisy curves whose first values are huge; a test line after every tenth training line."""
    rng = np.random.default_rng(0)
    lines = []
    for step in range(0, steps, every):
        beta, t = min(1.0, step / warmup), step / steps
        std = 0.1093 + 0.25 * math.exp(-12 * t)
        rate = 17.4 * (1 - math.exp(-14 * t)) + rng.normal(0, 0.15)
        mse = 0.0121 + 0.12 * math.exp(-20 * t)
        distortion = 0.5 * D * (math.log(2 * math.pi * std**2) + mse / std**2) + 9000 * math.exp(-150 * t)
        terms = {"rate": rate, "distortion": distortion, "elbo": -(distortion + rate)}
        more = {"loss": distortion + beta * rate, "beta": beta, "sigma": std if sigma else None, "clipped": 0.01}
        lines.append({"step": step, "split": "train"} | terms | more)
        if step and step % (every * 10) == 0:
            share = np.linspace(2.0, 0.1, M) * (1 - math.exp(-14 * t))
            lines.append({"step": step, "split": "test", "rate_per_latent": share.tolist()} | terms)
    return lines


def code_pictures(event, n=40, image=True):
    """All that the figures of the code read, in the dtype that evaluation writes."""
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


def all_pictures(event=(8, 8, 1), n=40):
    shown = dict.fromkeys(("inputs", "reconstructions", "samples"))
    return code_pictures(event) | {key: np.random.default_rng(0).uniform(size=(n, *event)) for key in shown}


def curve(power=1.0):
    """A reliability curve: calibrated at power 1, too narrow above, too wide below."""
    levels = np.arange(1, 20) / 20
    pit = np.full(40, 1 / 40)
    pit[0], pit[1:] = 0.3, 0.7 / 39
    made = {"levels": levels, "coverage": levels**power, "standard_error": np.full(19, 0.01), "pit": pit}
    return {key: list(map(float, value)) for key, value in made.items()}


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
    """Checks that tags are balanced, and that a page runs nothing and fetches nothing; keeps its text."""

    def __init__(self, source):
        super().__init__()
        self.open, self.words, self.images, self.tags = [], [], [], set()
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "iframe", "object", "embed", "svg", "form", "a", "base"), tag
        for name, value in attrs:
            assert not name.startswith("on") and name not in ("href", "style"), (name, value)
            assert name != "src" or value.startswith("data:image/png;base64,")
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())
