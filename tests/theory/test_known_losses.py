"""The table of known implementations: what each weighs, worked out again by hand from what its code does."""

from __future__ import annotations

import math
import re

import pytest

from vae_jax.conventions import Form, canonical
from vae_jax.theory.known_losses import KNOWN
from vae_jax.theory.losses import parse_loss
from vae_jax.types import UserError

BY_NAME = {known.name: known for known in KNOWN}
FACES, CIFAR, SVHN = 3 * 64 * 64, 3 * 32 * 32, 3 * 28 * 28  # numbers of an image

# Of a squared error: s = sigma^2 of the Gaussian whose exponent, SSE / (2 s), has the loss's ratio to the KL.
# Written as (what the KL weighs) / (2 * what one number's squared error weighs), on [0, 1] pixels.
WATER_LEVELS = {
    "PyTorch-VAE, VanillaVAE": 0.00025 / (2 * 1 / FACES),
    "PyTorch-VAE, BetaVAE (H)": 10 * 0.00025 / (2 * 1 / FACES),
    "PyTorch-VAE, ConditionalVAE": 0.00025 / (2 * 1 / FACES),
    "PyTorch-VAE, FactorVAE": 0.00025 / (2 * 1 / FACES),
    "PyTorch-VAE, DIPVAE": 64 * 1 / (2 * 64),
    "PyTorch-VAE, InfoVAE": (1 + 9) * 0.00025 / (2 * 10.5 / FACES),
    "PyTorch-VAE, BetaTCVAE": 1 / 2,
    "lightning-bolts, VAE": (0.1 / 256) / (2 * 1 / CIFAR),
    "podgorskiy/VAE": (0.1 / 512) / (2 * 2**2 / (3 * 128 * 128)),
    "sigma-vae-pytorch, mse_vae": 128 / (2 * 1 / SVHN),
    "sigma-vae-pytorch, gaussian_vae": math.exp(-6 + math.log1p(math.exp(6))) ** 2,  # softplus(6) - 6 is log sigma
    "pythae, VAE and BetaVAE": 1 / (2 * 0.5),
    "pythae, FactorVAE": 1 / (2 * 0.5),
    "Beta-VAE (1Konny), H": 4 / 2,
    "disentangling-vae, VAE, gaussian": 1 / (2 * 255**2 / 255),
    "World Models, ConvVAE": 1 / 2,
    "world-models (PyTorch), VAE": 1 / 2,
    "DreamerV2, images": (1 - 0.8) / (2 * 0.5),
    "DreamerV3, images": 0.1 / 2,
    "diffusers, train_autoencoderkl": 1e-6 / (2 * 2**2),
    "timeVAE": 1 / (2 * 3),
    "scGen": 0.00005 / 2,
    "BCQ": (0.5 / 6) / (2 * 1 / 3),
    "robomimic, BC with a VAE": 1 / (2 * 1 / 7),
    "MultiVae, MVAE": 1 / (2 * 0.5),
}
# Of a likelihood with its constants: the KL's weight beside it.
BETAS = {
    "FactorVAE (1Konny)": 1.0,
    "disentangling-vae, betaH, celeba": 10.0,
    "disentanglement_lib, vae": 4.0,
    "PyTorch examples, vae": 1.0,
    "Keras example, VAE": 1.0,
    "tensorflow-mnist-VAE (hwalsuklee)": 1.0,
    "generative-models (wiseodd), VAE": 1.0,
    "Pytorch-VAE-tutorial": 1.0,
    "rlkit, ConvVAE": 0.5,
    "Pyro example, vae": 1.0,
    "NumPyro example, vae": 1.0,
    "JAX example, mnist_vae": 1.0,
    "TensorFlow tutorial, CVAE": 1.0,
    "Flax example, vae": 1.0,
    "NVAE, MNIST": 1.0,
    "VDVAE, CIFAR-10": 1.0,
    "Optimus": 1.0,
    "Sentence-VAE (timbmg)": 1.0,
    "JT-VAE, fast_molvae": 1.0,
    "chemical_vae, zinc": (1 / 196) / (1 / 120),
    "Mult-VAE": 0.2,
    "MusicVAE, cat-mel_2bar_big": 0.5,
    "CTGAN, TVAE": 1 / 2,
    "scvi-tools, SCVI": 1.0,
    "Trajectron++": 100.0,
}
# What no form of ``canonical`` says yet; the latents are counted by hand.
TEXTS = {
    "latent-diffusion, KL-f8": 4096,
    "latent-diffusion, KL-f16": 4096,
    "VA-VAE, f16d32": 8192,
    "generative-models, KL-f8": 8192,
    "ACT": 32,
    "LeRobot, ACT": 32,
    "Stable Audio 2.0, VAE": 2048,
    "VITS": None,
}
# Of absolute errors: the scale b of exp(-|e| / b), what the KL weighs / what the error of one number weighs.
LAPLACE_SCALES = {
    "latent-diffusion, KL-f8": 1e-6 / 2,
    "latent-diffusion, KL-f16": 1e-6 / 2,
    "VA-VAE, f16d32": 1e-6 / 2,
    "ACT": 10 / (1 / 1400),
}
# beta_norm = beta * latents / numbers, where both are known.
BETA_NORMS = {
    "PyTorch-VAE, VanillaVAE": 1.536 * 128 / 12288,
    "diffusers, train_autoencoderkl": 1.25e-7 * 16384 / 786432,
    "DreamerV3, images": 0.05 * 32 / 12288,
    "NVAE, MNIST": 14400 / 784,
    "VDVAE, CIFAR-10": 412432 / 3072,
    "robomimic, BC with a VAE": 3.5 * 14 / 7,
}


def test_each_row_is_worked_out_by_hand_and_no_other():
    assert len(KNOWN) >= 40 and len(BY_NAME) == len(KNOWN)
    assert len(WATER_LEVELS) + len(BETAS) >= 40
    assert sorted([*WATER_LEVELS, *BETAS, *TEXTS]) == sorted(BY_NAME)


@pytest.mark.parametrize("name", WATER_LEVELS)
def test_water_level(name):
    found = BY_NAME[name].convention
    assert found.water_level == pytest.approx(WATER_LEVELS[name], rel=1e-12)
    assert found.beta == found.water_level and found.sigma == pytest.approx(math.sqrt(WATER_LEVELS[name]), rel=1e-12)


@pytest.mark.parametrize("name", BETAS)
def test_beta_beside_a_likelihood(name):
    found = BY_NAME[name].convention
    assert found.beta == pytest.approx(BETAS[name], rel=1e-12) and found.water_level is None and found.sigma is None


@pytest.mark.parametrize("name", TEXTS)
def test_of_a_text_nothing_is_said_but_itself(name):
    known = BY_NAME[name]
    assert known.text == known.form and known.latent_dim == TEXTS[name] and "KL" in known.text.upper()
    assert known.convention == (None, None, None, None)
    scale = LAPLACE_SCALES.get(name)
    assert known.laplace_scale == (scale if scale is None else pytest.approx(scale, rel=1e-12))
    assert (scale is not None) == (parsed(known) == ["absolute_error", "kl"] and known.data_dim is not None)


def parsed(known):
    """The kinds of the terms of a text, none of one that the grammar of losses does not have."""
    try:
        terms = parse_loss(known.form).terms
    except UserError:
        return []
    assert terms[1].factor == known.weight
    return [term.kind for term in terms]


@pytest.mark.parametrize("name", BETA_NORMS)
def test_beta_norm(name):
    assert BY_NAME[name].convention.beta_norm == pytest.approx(BETA_NORMS[name], rel=1e-12)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_each_row_says_where_it_was_read(known):
    repository, files = known.source.split(": ", 1)
    assert re.fullmatch(r"[\w.-]+/[\w.+-]+", repository) and re.fullmatch("[0-9a-f]{40}", known.commit)
    assert re.fullmatch(r"([\w./+-]+ L\d+(-\d+)?(, L\d+(-\d+)?)*(, )?)+", files), files
    assert known.remark and known.text
    if not isinstance(known.form, str) and None in (known.data_dim, known.latent_dim):
        # Without its sizes only a loss of sums has a weight.
        assert known.form.recon_reduction.startswith("sum") and known.form.kl_reduction.startswith("sum")
        assert known.convention.beta_norm is None


def test_a_wrong_size_or_reduction_would_be_seen():
    vanilla = BY_NAME["PyTorch-VAE, VanillaVAE"]
    for wrong in (
        vanilla._replace(data_dim=64 * 64),
        vanilla._replace(form=Form("squared_error", "sum", "sum")),
        vanilla._replace(form=Form("half_squared_error", "mean", "sum")),
        vanilla._replace(form=Form("squared_error", "mean", "mean")),
        vanilla._replace(pixel_scale=2.0),
    ):
        assert wrong.convention.water_level != pytest.approx(WATER_LEVELS["PyTorch-VAE, VanillaVAE"], rel=0.1)


def test_a_likelihood_is_weighed_as_a_cross_entropy_is():
    sizes = {"data_dim": 120, "latent_dim": 7, "recon_weight": 2.0, "batch_size": 5}
    for reductions in (("sum", "mean"), ("mean", "sum+batch_sum"), ("mean+batch_sum", "mean")):
        of_bce, of_nll = (canonical(name, *reductions, 0.3, **sizes) for name in ("bce", "nll"))
        assert of_bce == of_nll
    with pytest.raises(ValueError, match="pixel_scale must be 1"):
        canonical("nll", "sum", "sum", 1.0, 3, 2, pixel_scale=2.0)
    assert Form("nll", "sum", "sum").text() == "sum NLL + w sum KL"
