"""What a written loss weighs: the table of conventions, pixel units, and what may not matter."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import golden

from experiments.claims.golden import WRITTEN
from vae_jax.conventions import Form, beta_from_norm, beta_norm, canonical, equivalents, written_weight
from vae_jax.likelihoods import bernoulli
from vae_jax.types import UserError


def test_one_term_summed_over_the_batch_grows_with_it():
    for b in (1, 32, 384):
        got = canonical("squared_error", "mean", "sum+batch_sum", 1.0, 784, 20, batch_size=b)
        assert got.water_level == pytest.approx(392.0 * b)
        assert got.beta_norm == pytest.approx(b * 20 / 2)
        got = canonical("squared_error", "mean+batch_sum", "sum", 1.0, 784, 20, batch_size=b)
        assert got.water_level == pytest.approx(392.0 / b)
    assert canonical("squared_error", "mean", "sum+batch_sum", 1.0, 784, 20, batch_size=384).water_level == 150_528


@pytest.mark.parametrize(
    ("arguments", "water_level", "sigma"),
    [
        (("squared_error", "mean", "sum", 2.5e-4, 12288, 128), "1.536", "1.23935"),
        (("squared_error", "sum", "sum", 1.0, 12288, 128, 255.0), ".00196078", ".0442807"),
        (("squared_error", "mean", "mean", 0.1, 3072, 256), ".6", ".774597"),
    ],
)
def test_weights_shipped_by_public_code(arguments, water_level, sigma):
    got = canonical(*arguments)
    assert got.water_level == golden(water_level)
    assert got.sigma == golden(sigma)


def test_bce_has_a_beta_and_no_water_level():
    got = canonical("bce", "sum", "sum", 4.0, 784, 20)
    assert (got.water_level, got.sigma) == (None, None)
    assert got.beta == 4.0 and got.beta_norm == pytest.approx(4.0 * 20 / 784)
    got = canonical("bce", "mean", "sum", 1.0, 784, 20, recon_weight=2.0)
    assert got.beta == pytest.approx(392.0)  # no factor 2: a BCE is an NLL
    got = canonical("bce", "sum", "mean+batch_sum", 1.0, 784, 20, batch_size=10)
    assert got.beta == pytest.approx(0.5)


def test_properties_over_random_sizes():
    rng = np.random.default_rng(1)
    for _ in range(300):
        height, width, channels, m, batch = (int(v) for v in rng.integers(1, 65, 5))
        d = height * width * channels
        a, b, c = np.exp(rng.normal(size=3))
        recon = ("squared_error", "half_squared_error")[rng.integers(2)]
        over_event, over_latents = (("sum", "mean")[i] for i in rng.integers(2, size=2))
        got = canonical(recon, over_event, over_latents, b, d, m, recon_weight=a, pixel_scale=c, batch_size=batch)
        # Written out: loss = A SSE + K KL is proportional to SSE / (2 s) + KL, hence s = K / (2 A).
        big_a = a * (0.5 if recon.startswith("half") else 1.0) / (d if over_event == "mean" else 1)
        big_k = b / (m if over_latents == "mean" else 1)
        s = big_k / (2 * big_a) / c**2
        assert got.water_level == pytest.approx(s, rel=1e-12)
        assert got.beta_norm == pytest.approx(s * m / d, rel=1e-12)  # D counts channels, and no batch size enters
        assert got.sigma**2 == pytest.approx(got.water_level, rel=1e-12)
        # Batch size matters through a mismatch of the reductions only.
        without = canonical(recon, over_event, over_latents, b, d, m, recon_weight=a, pixel_scale=c)
        assert without == got
        # A common factor of the loss does not.
        scaled = canonical(recon, over_event, over_latents, 3 * b, d, m, recon_weight=3 * a, pixel_scale=c)
        assert scaled.water_level == pytest.approx(s, rel=1e-12)
        assert beta_from_norm(beta_norm(b, d, m), d, m) == pytest.approx(b, rel=1e-12)


def test_the_entropy_floor_of_mnist_test(raw_dir, x64):
    import gzip

    raw = gzip.decompress((raw_dir / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    counts = np.bincount(np.frombuffer(raw, np.uint8, offset=16), minlength=256)
    x = jnp.arange(256) / 255.0
    logits = jnp.log(x) - jnp.log1p(-x)
    entropy = -jax.vmap(lambda logit, x: bernoulli().log_prob({}, logit, x))(logits[1:-1], x[1:-1])
    floor = float(counts[1:-1] @ entropy)
    assert floor / 10_000 == golden("45.5345")


def test_nonsense_is_refused():
    good = {"recon": "squared_error", "recon_reduction": "mean", "kl_reduction": "sum", "weight": 1.0}
    good |= {"data_dim": 784, "latent_dim": 20}
    wrong = {"recon": "mse", "recon_reduction": "max", "kl_reduction": "batch_sum", "recon_weight": 0.0}
    wrong |= {"pixel_scale": -2.0, "data_dim": 0, "latent_dim": 0, "batch_size": 0}
    canonical(**good)
    weights = [{"weight": weight} for weight in (-1.0, math.nan, math.inf)]
    for change in (*weights, *({name: value} for name, value in wrong.items()), {"recon": "bce", "pixel_scale": 255.0}):
        with pytest.raises((ValueError, UserError)):
            canonical(**{**good, **change})


def test_no_weight_is_no_penalty():
    got = canonical("squared_error", "mean", "sum", 0.0, 784, 20)
    assert got.water_level == got.beta == got.beta_norm == got.sigma == 0.0


# ---------------------------------------------------------------- and back, to other people's weights


def test_equivalents_weigh_the_same():
    """``canonical(form, weight)`` of every form is the original, for random sizes, weights, batches and pixel units."""
    rng = np.random.default_rng(2)
    reductions = ("sum", "mean", "sum+batch_sum", "mean+batch_sum")
    for _ in range(100):
        d, m, batch = (int(v) for v in rng.integers(1, 500, 3))
        a, b, c, other = np.exp(rng.normal(size=4))
        recon = ("squared_error", "half_squared_error", "bce")[rng.integers(3)]
        over, latents = (reductions[i] for i in rng.integers(4, size=2))
        scale = {} if recon == "bce" else {"pixel_scale": c}
        there = {} if recon == "bce" else {"pixel_scale": other}
        original = canonical(recon, over, latents, b, d, m, recon_weight=a, batch_size=batch, **scale)
        found = equivalents(original, d, m, batch_size=batch, **there)
        assert len(found) == (4 if recon == "bce" else 8) + 2 * (batch > 1)
        for form, weight in found:
            again = canonical(*form, weight, d, m, batch_size=batch, **there)
            for got, expected in zip(again, original):
                assert got is None if expected is None else got == pytest.approx(expected, rel=1e-12)
        # The inverse of the loss's own form is its own weight.
        own = written_weight(original, Form(recon, over, latents), d, m, a, batch, **scale)
        assert own == pytest.approx(b, rel=1e-12)


def test_equivalents_against_the_table():
    plain = canonical("half_squared_error", "sum", "sum", 1.0, 784, 20)  # s = 1
    found = {e.form: e.weight for e in equivalents(plain, 784, 20)}
    for *form, small, _ in WRITTEN:
        assert found[Form(*form)] == pytest.approx(1.0 / float(small), rel=1e-12)
    slip = dict(equivalents(plain, 784, 20, batch_size=384))[Form("squared_error", "mean", "sum+batch_sum")]
    assert slip == pytest.approx(1.0 / 150_528, rel=1e-12)
    # Pixels of 0..255 there: an error 65025 times as large takes a weight 65025 times as large.
    scaled = {e.form: e.weight for e in equivalents(plain, 784, 20, pixel_scale=255.0)}
    assert scaled[Form("squared_error", "sum", "sum")] == pytest.approx(2 * 65025.0)


def test_a_bce_does_not_become_a_squared_error():
    bce = canonical("bce", "mean", "sum", 1.0, 784, 20)
    assert {e.form.recon for e in equivalents(bce, 784, 20)} == {"bce"}
    with pytest.raises(ValueError, match="different likelihoods"):
        written_weight(bce, Form("squared_error", "sum", "sum"), 784, 20)
    with pytest.raises(ValueError, match="different likelihoods"):
        written_weight(canonical("squared_error", "sum", "sum", 1.0, 784, 20), Form("bce", "sum", "sum"), 784, 20)


def test_forms_read_as_formulas():
    assert Form("squared_error", "mean", "sum").text() == "mean SE + w sum KL"
    assert Form("bce", "sum+batch_sum", "mean").text("4", "255") == "255 sum BCE (batch sum) + 4 mean KL"
