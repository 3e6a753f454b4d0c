"""Losses of today: our bound against what PyTorch computes for the same thing, values and gradients.

``torch_losses.py`` wrote the numbers, in float64. Each loss that the grammar reads is trained here by the flags that
``weigh`` prints for it; its gradient is K times that of our bound, K being the weight of its KL.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_losses

from vae_jax import objective
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import gaussian, laplace, log_spectrum, mel_filters, on_features, product
from vae_jax.runs import families
from vae_jax.runs.settings import Config
from vae_jax.theory.loss_weights import weigh
from vae_jax.theory.losses import parse_loss
from vae_jax.types import Terms

GOLDEN = json.loads((Path(__file__).parent / "torch_losses.json").read_text())
B, D, M = torch_losses.BATCH, torch_losses.DIM, torch_losses.LATENTS
WRITTEN = [name for name in GOLDEN if "mean" in GOLDEN[name]]


def as_config(flags: str) -> Config:
    """The configuration that a line of flags is."""
    given, kinds = {}, {field.name: field.default for field in dataclasses.fields(Config)}
    for word in flags.split():
        name, _, value = word.removeprefix("--").partition("=")
        given[name] = True if not value else value if isinstance(kinds[name], str) else float(value)
    return Config(**given)


@pytest.fixture
def data(x64):
    return {name: jnp.asarray(rows, jnp.float64) for name, rows in torch_losses.inputs().items()}


def bound(text: str, x):
    """``(xhat, mean, logvar) -> loss`` of ours, made of the flags that weigh prints, and K, and the constants."""
    found = weigh(parse_loss(text), D, M, B)
    c = as_config(found.flags)
    likelihood = families.LIKELIHOODS[c.likelihood](c, None)
    # A run holds its own parameters in float32; here they are what the flags say.
    own = jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), likelihood.init((D,)))
    over, inside = found.floor[1:] if found.floor else ("each", "batch")
    maximised = objective.free_bits(found.floor[0], over=over, inside=inside) if found.floor else objective.elbo

    def loss(xhat, mean, logvar):
        theta = jnp.log(xhat / (1 - xhat)) if c.likelihood == "bernoulli" else xhat
        log_px = jax.vmap(lambda t, x: likelihood.log_prob(own, t, x))(theta, x)
        terms = Terms(DiagGaussian(mean, logvar), None, log_px[:, None], None, None)
        return -maximised(terms, c.beta)

    # What the density has besides the error: log Z, and in ours a Charbonnier error starts from 0.
    peak = 0.0 if c.likelihood == "bernoulli" else float(likelihood.log_prob(own, x[0], x[0]))
    start = sum(error.weight * error.width * D for error in found.errors if error.kind == "charbonnier")
    # Where the whole of the written loss is a sum over the batch, so is its gradient.
    batch = B if all(term.batch == "sum" for term in parse_loss(text).terms) else 1
    factor = batch * (found.kl_weight / c.beta)
    return loss, factor, factor * peak + start


@pytest.mark.parametrize("text", WRITTEN)
def test_the_flags_that_weigh_prints_train_the_written_loss(text, data):
    loss, factor, constant = bound(text, data["x"])
    value, gradients = jax.value_and_grad(loss, (0, 1, 2))(data["xhat"], data["mean"], data["logvar"])
    golden = GOLDEN[text]
    for name, ours in zip(("xhat", "mean", "logvar"), gradients):
        theirs = np.asarray(golden[name]).reshape(ours.shape)
        np.testing.assert_allclose(factor * ours, theirs, rtol=1e-6, atol=1e-9)
    if "balance" not in text:  # whose value has the part that trains nothing here
        assert factor * float(value) + constant == pytest.approx(golden["value"], rel=1e-6, abs=1e-8)


def test_a_wrong_weight_is_another_direction(data):
    """The planted mistake: a mean over the latents read as their sum."""
    text = "0.5*||x-y||^2 + 2*kl_per_element"
    loss, *_ = bound(text.replace("_per_element", ""), data["x"])
    ours = jax.grad(loss, (0, 1))(data["xhat"], data["mean"], data["logvar"])
    ratios = [np.ravel(o) / np.asarray(GOLDEN[text][name]) for o, name in zip(ours, ("xhat", "mean"))]
    assert np.ptp(ratios[0]) < 1e-6 and abs(ratios[1].mean() / ratios[0].mean() - M) < 1e-5


def features_of_ours():
    """The errors of features as likelihoods: name -> (likelihood, what is before its negative log)."""
    spectrum = log_spectrum(torch_losses.WINDOW, torch_losses.HOP)
    mel = log_spectrum(torch_losses.WINDOW, torch_losses.HOP, filters=mel_filters(3, torch_losses.WINDOW, 16.0))
    root = jnp.sqrt(jnp.arange(1.0, D + 1) / D)
    first = jnp.sin(jnp.arange(D * 5.0).reshape(D, 5))
    second = jnp.cos(jnp.arange(15.0).reshape(5, 3))
    half = gaussian("fixed", math.sqrt(0.5))
    return {
        "stft_l2": on_features(half, spectrum),
        "stft_l1": on_features(laplace(1.0, False), spectrum),
        "mel_l1": on_features(laplace(1.0, False), mel),
        "weighted": on_features(half, lambda x: root * x),
        "layers": product(
            [
                on_features(gaussian("fixed", 0.3), lambda x: jnp.tanh(x @ first)),
                on_features(gaussian("fixed", 0.7), lambda x: jnp.tanh(jnp.tanh(x @ first) @ second)),
            ]
        ),
    }


@pytest.mark.parametrize("name", ["stft_l2", "stft_l1", "mel_l1", "weighted", "layers"])
def test_errors_of_features(name, data):
    likelihood = features_of_ours()[name]
    own = jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), likelihood.init((D,)))
    if name == "layers":  # a sigma is held as a float32
        own = {"0": {"log_sigma": jnp.log(0.3)}, "1": {"log_sigma": jnp.log(0.7)}}
    elif name in ("stft_l2", "weighted"):
        own = {"log_sigma": 0.5 * jnp.log(0.5)}

    def loss(xhat):
        return -jnp.sum(jax.vmap(lambda t, x: likelihood.log_prob(own, t, x))(xhat, data["x"]))

    value, gradient = jax.value_and_grad(loss)(data["xhat"])
    np.testing.assert_allclose(np.ravel(gradient), GOLDEN[name]["xhat"], rtol=1e-6, atol=1e-8)
    # The constants of a density of the features; PyTorch's Normal has its own.
    constant = 0.0 if name == "layers" else float(loss(data["x"]))
    assert float(value) - constant == pytest.approx(GOLDEN[name]["value"], rel=1e-6)
    assert likelihood.theta_shape((D,)) == (D,) and likelihood.support == "real"


def test_a_focal_error_is_a_weight_and_no_density(data):
    """A focal error weighs a pixel by (1 - p)^2: at p = 1/2 its pull is not that of a BCE, at any constant weight."""

    def focal(y, x):
        p = x * y + (1 - x) * (1 - y)
        return -jnp.sum((1 - p) ** 2 * jnp.log(p))

    value, gradient = jax.value_and_grad(focal)(data["xhat"], data["x"])
    assert float(value) == pytest.approx(GOLDEN["focal"]["value"], rel=1e-6)
    np.testing.assert_allclose(np.ravel(gradient), GOLDEN["focal"]["xhat"], rtol=1e-6, atol=1e-9)
    # Of a binary pixel, the probabilities exp(-error) of its two values do not add up to a number.
    total = [sum(math.exp(-float(focal(jnp.asarray(y), jnp.asarray(x)))) for x in (0.0, 1.0)) for y in (0.5, 0.9)]
    assert abs(total[0] - total[1]) > 0.05


def test_pytorch_still_says_so():
    torch = pytest.importorskip("torch")
    for name, numbers in torch_losses.compute(torch).items():
        for key, value in numbers.items():
            np.testing.assert_allclose(value, GOLDEN[name][key], rtol=1e-7, atol=1e-9)


def test_learned_sigmas_balance_several_terms():
    """Each part's sigma^2 settles at its own mean squared error, whatever the units of the features."""
    x, xhat = jax.random.normal(jax.random.key(0), (2, 64))
    parts = [on_features(gaussian(), lambda x, c=c: c * x) for c in (1.0, 5.0)]
    likelihood = product(parts)
    own = likelihood.init((64,))
    assert not likelihood.frozen and sorted(own) == ["0", "1"]

    @jax.jit
    def step(own):
        return jax.tree.map(
            lambda v, g: v + 0.2 * jnp.clip(g / 64, -1.0, 1.0), own, jax.grad(likelihood.log_prob)(own, xhat, x)
        )

    for _ in range(300):
        own = step(own)
    error = float(jnp.mean(jnp.square(x - xhat)))
    for part, c in zip("01", (1.0, 5.0)):
        assert float(parts[0].sigma(own[part])) ** 2 == pytest.approx(c * c * error, rel=1e-3)


def test_what_has_no_features_is_refused():
    with pytest.raises(ValueError, match="solved for"):
        on_features(gaussian("optimal"), jnp.sin)
    with pytest.raises(ValueError, match="one parameter"):
        on_features(gaussian("predicted"), jnp.sin).theta_shape((3,))
    with pytest.raises(ValueError, match="at least one"):
        product([])
    with pytest.raises(ValueError, match="different outputs"):
        product([gaussian(), gaussian("predicted")]).theta_shape((3,))
    with pytest.raises(ValueError, match="no frame"):
        log_spectrum(16, 4)(jnp.zeros(8))
    with pytest.raises(ValueError, match="free bits are"):
        objective.free_bits(0.1, over="every")
