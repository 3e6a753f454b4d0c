"""What a written loss weighs: the table of conventions, pixel units, and what may not matter."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import golden

from vae_jax.conventions import Form, beta_from_norm, beta_norm, canonical, equivalents, written_weight
from vae_jax.likelihoods import bernoulli, continuous_bernoulli_variance
from vae_jax.likelihoods.continuous_bernoulli import continuous_bernoulli_mean
from vae_jax.likelihoods.gaussian import gaussian
from vae_jax.types import UserError

# recon, its reduction, the KL's reduction; s as a function of (a, b, D, M); s at a = b = 1 for the two sizes.
TABLE = [
    ("half_squared_error", "sum", "sum", lambda a, b, d, m: b / a, 1.0, 1.0),
    ("squared_error", "sum", "sum", lambda a, b, d, m: b / (2 * a), 0.5, 0.5),
    ("squared_error", "mean", "sum", lambda a, b, d, m: b * d / (2 * a), 392.0, 1536.0),
    ("half_squared_error", "mean", "sum", lambda a, b, d, m: b * d / a, 784.0, 3072.0),
    ("squared_error", "mean", "mean", lambda a, b, d, m: b * d / (2 * a * m), 19.6, 12.0),
    ("half_squared_error", "mean", "mean", lambda a, b, d, m: b * d / (a * m), 39.2, 24.0),
    ("squared_error", "sum", "mean", lambda a, b, d, m: b / (2 * a * m), 0.025, 0.00390625),
]
SIZES = [(784, 20), (3072, 128)]


@pytest.mark.parametrize(("recon", "over_event", "over_latents", "formula", "small", "large"), TABLE)
def test_every_row_of_the_table(recon, over_event, over_latents, formula, small, large):
    for (d, m), expected in zip(SIZES, (small, large)):
        got = canonical(recon, over_event, over_latents, 1.0, d, m)
        assert got.water_level == pytest.approx(expected, rel=1e-12)
        assert got.beta == got.water_level
        assert got.sigma == pytest.approx(math.sqrt(expected), rel=1e-12)
        assert got.beta_norm == pytest.approx(expected * m / d, rel=1e-12)
        weighed = canonical(recon, over_event, over_latents, 0.3, d, m, recon_weight=7.0)
        assert weighed.water_level == pytest.approx(formula(7.0, 0.3, d, m), rel=1e-12)
        # The same reduction of both terms over the batch is none.
        both = canonical(recon, over_event + "+batch_sum", over_latents + "+batch_sum", 1.0, d, m, batch_size=64)
        assert both.water_level == pytest.approx(expected, rel=1e-12)


def test_the_written_beta_is_not_the_effective_one():
    # The published mistake reads the factor before the KL as beta, whatever the reductions.
    assert canonical("squared_error", "mean", "sum", 1.0, 784, 20).beta == 392.0 != 1.0


def test_a_loss_of_declared_sigma_has_the_water_level_beta_sigma2():
    sigma2, beta, d, m = 0.07, 3.0, 784, 20
    got = canonical("half_squared_error", "sum", "sum", beta, d, m, recon_weight=1 / sigma2)
    assert got.water_level == pytest.approx(beta * sigma2)
    assert got.beta_norm == pytest.approx(beta * sigma2 * m / d)


def test_the_canonical_identity():
    # SSE/(2 sigma^2) + D/2 log(2 pi sigma^2) + beta KL = beta (SSE/(2s) + KL) + const(sigma), for any (SSE, KL).
    rng = np.random.default_rng(0)
    sse, kl = rng.uniform(0.1, 100, (2, 20))
    sigma2, beta, d = 0.05, 3.0, 16
    loss = sse / (2 * sigma2) + 0.5 * d * np.log(2 * np.pi * sigma2) + beta * kl
    s = canonical("half_squared_error", "sum", "sum", beta, d, 1, recon_weight=1 / sigma2).water_level
    rest = loss - beta * (sse / (2 * s) + kl)
    np.testing.assert_allclose(rest, rest[0], rtol=1e-12)


def test_one_term_summed_over_the_batch_grows_with_it():
    for b in (1, 32, 384):
        got = canonical("squared_error", "mean", "sum+batch_sum", 1.0, 784, 20, batch_size=b)
        assert got.water_level == pytest.approx(392.0 * b)
        assert got.beta_norm == pytest.approx(b * 20 / 2)
        got = canonical("squared_error", "mean+batch_sum", "sum", 1.0, 784, 20, batch_size=b)
        assert got.water_level == pytest.approx(392.0 / b)
    assert canonical("squared_error", "mean", "sum+batch_sum", 1.0, 784, 20, batch_size=384).water_level == 150_528


def test_mean_error_and_mean_kl_is_beta_norm_only_with_its_half():
    for d, m in SIZES:
        with_half = canonical("half_squared_error", "mean", "mean", 0.8, d, m, recon_weight=0.4)
        without = canonical("squared_error", "mean", "mean", 0.8, d, m, recon_weight=0.4)
        assert with_half.beta_norm == pytest.approx(2.0, rel=1e-12)  # b / a
        assert with_half.beta_norm / without.beta_norm == pytest.approx(2.0, rel=1e-12)
        # A BCE is already an NLL, and needs no half.
        assert canonical("bce", "mean", "mean", 0.8, d, m, recon_weight=0.4).beta_norm == pytest.approx(2.0)


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


@pytest.mark.parametrize(("scale", "divisor"), [(2.0, 4.0), (255.0, 65025.0), (1 / 0.3081, 1 / 0.3081**2)])
def test_pixel_units(scale, divisor):
    plain = canonical("squared_error", "mean", "sum", 1.0, 784, 20)
    scaled = canonical("squared_error", "mean", "sum", 1.0, 784, 20, pixel_scale=scale)
    assert scaled.water_level == pytest.approx(plain.water_level / divisor)
    assert scaled.beta == pytest.approx(plain.beta / divisor)
    assert scaled.beta_norm == pytest.approx(plain.beta_norm / divisor)
    assert scaled.sigma == pytest.approx(plain.sigma / scale)


def test_bce_has_a_beta_and_no_water_level():
    got = canonical("bce", "sum", "sum", 4.0, 784, 20)
    assert (got.water_level, got.sigma) == (None, None)
    assert got.beta == 4.0 and got.beta_norm == pytest.approx(4.0 * 20 / 784)
    got = canonical("bce", "mean", "sum", 1.0, 784, 20, recon_weight=2.0)
    assert got.beta == pytest.approx(392.0)  # no factor 2: a BCE is an NLL
    got = canonical("bce", "sum", "mean+batch_sum", 1.0, 784, 20, batch_size=10)
    assert got.beta == pytest.approx(0.5)


def test_curvatures_behind_the_local_water_levels(x64):
    # A BCE at its optimum has curvature 1/(x (1 - x)) in the mean; a continuous Bernoulli 1/Var, 12 in the middle.
    assert 1.0 / float(continuous_bernoulli_variance(jnp.asarray(0.0))) == pytest.approx(12.0)
    assert float(continuous_bernoulli_mean(jnp.asarray(0.0))) == 0.5
    x, step = 0.3, 1e-4
    logit = lambda p: jnp.asarray([math.log(p / (1 - p))])  # noqa: E731
    nll = [-float(bernoulli().log_prob({}, logit(x + k * step), jnp.asarray([x]))) for k in (-1, 0, 1)]
    assert (nll[0] - 2 * nll[1] + nll[2]) / step**2 == pytest.approx(1 / (x * (1 - x)), rel=1e-5)


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


def test_beta_norm_counts_channels_and_not_the_batch():
    assert beta_norm(1.0, 3072, 128) == pytest.approx(128 / 3072)
    assert beta_norm(1.0, 1024, 128) == pytest.approx(3 * beta_norm(1.0, 3072, 128))  # channels forgotten: off by 3


def test_one_set_of_weights_under_two_sigmas_has_two_elbos(x64):
    """SSE .1648 over 16 dimensions, KL 5.4632 (traps 7 and 9): the ELBO alone says nothing without its sigma."""
    x = jnp.full((16,), math.sqrt(0.1648 / 16))
    for sigma2, expected in ((0.01, "8.43514"), (1.0, "-20.24862")):
        likelihood = gaussian("fixed", sigma=math.sqrt(sigma2))
        own = {"log_sigma": jnp.asarray(0.5 * math.log(sigma2))}
        assert float(likelihood.log_prob(own, jnp.zeros(16), x)) - 5.4632 == golden(expected)
    # At the calibrated variance (the mean squared error) it is -(D/2)(1 + log 2 pi v) - KL, and larger than both.
    v = 0.1648 / 16
    own = {"log_sigma": jnp.asarray(0.5 * math.log(v))}
    calibrated = float(gaussian("fixed").log_prob(own, jnp.zeros(16), x)) - 5.4632
    assert calibrated == pytest.approx(-8 * (1 + math.log(2 * math.pi * v)) - 5.4632, rel=1e-12)
    assert calibrated > 8.43514


def test_the_entropy_floor_of_a_bce_on_grey_mnist(x64):
    """The best BCE on grey pixels is their entropy, far above zero: at one pixel here, on MNIST below."""
    for x, expected in ((0.1, ".325082973"), (0.5, ".693147181")):
        best = -bernoulli().log_prob({}, jnp.asarray([math.log(x / (1 - x))]), jnp.asarray([x]))
        assert float(best) == golden(expected)


def test_the_entropy_floor_of_mnist_test(raw_dir, x64):
    import gzip

    raw = gzip.decompress((raw_dir / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    counts = np.bincount(np.frombuffer(raw, np.uint8, offset=16), minlength=256)
    x = jnp.arange(256) / 255.0
    logits = jnp.log(x) - jnp.log1p(-x)
    floor = sum(
        0.0 if level in (0, 255) else -counts[level] * float(bernoulli().log_prob({}, logits[level], x[level]))
        for level in range(256)
    )
    assert floor / 10_000 == golden("45.5345")


@pytest.mark.parametrize(
    "change",
    [
        {"recon": "mse"},
        {"recon_reduction": "max"},
        {"kl_reduction": "batch_sum"},
        {"weight": -1.0},
        {"weight": math.nan},
        {"weight": math.inf},
        {"recon_weight": 0.0},
        {"pixel_scale": -2.0},
        {"data_dim": 0},
        {"latent_dim": 0},
        {"batch_size": 0},
        {"recon": "bce", "pixel_scale": 255.0},
    ],
)
def test_nonsense_is_refused(change):
    good = {
        "recon": "squared_error",
        "recon_reduction": "mean",
        "kl_reduction": "sum",
        "weight": 1.0,
        "data_dim": 784,
        "latent_dim": 20,
    }
    canonical(**good)
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
    for recon, over, latents, _, small, _ in TABLE:
        assert found[Form(recon, over, latents)] == pytest.approx(1.0 / small, rel=1e-12)
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
