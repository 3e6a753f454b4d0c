"""What well-known implementations really weigh, by default.

Each row says what the code that we read in 2026 does where nothing is changed: the loss in the terms of
``conventions.canonical``, the size of its usual data and its number of latents. Codes change, and the stored copies we
read may be older than a repository's latest version: the row names the file, so look before you rely on it. No number
of the result is written here: ``KnownLoss.convention`` computes it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from vae_jax.conventions import Convention, Form, canonical


class KnownLoss(NamedTuple):
    """One implementation.

    Attributes:
      name: what it is called there.
      source: repository and file that holds the loss.
      data: what the sizes are of.
      form: the loss as written.
      weight: the factor before the KL, as written.
      data_dim, latent_dim: D (channels counted) and M of that default.
      recon_weight, batch_size, pixel_scale: as for ``canonical``, where they matter.
      remark: what else there is to know.
    """

    name: str
    source: str
    data: str
    form: Form
    weight: float
    data_dim: int
    latent_dim: int
    recon_weight: float = 1.0
    batch_size: int = 1
    pixel_scale: float = 1.0
    remark: str = ""

    @property
    def convention(self) -> Convention:
        """What this loss really weighs, in [0, 1] pixel units."""
        rest = (self.data_dim, self.latent_dim, self.recon_weight, self.batch_size, self.pixel_scale)
        return canonical(*self.form, self.weight, *rest)

    @property
    def text(self) -> str:
        """The loss as written, with its weights."""
        a = f"{self.recon_weight:.4g}" if self.recon_weight != 1 else ""
        return self.form.text(f"{self.weight:g}" if self.weight != 1 else "", a)


_SUM = Form("squared_error", "sum", "sum")
_MEAN_SUM = Form("squared_error", "mean", "sum")
_BCE = Form("bce", "sum", "sum")
_MNIST, _FACES, _SPRITES = 28 * 28, 64 * 64 * 3, 64 * 64
_SOFT_CLIP = (1.0 + math.exp(-6.0)) ** -2  # 1 / sigma^2 where log sigma = 0 is clipped softly at -6: softplus(6) - 6

# A row: name, source, then data, form, weight, D, M, what else the loss has, and a remark.
# fmt: off
KNOWN: tuple[KnownLoss, ...] = (
    KnownLoss("PyTorch-VAE, VanillaVAE", "AntixK/PyTorch-VAE: models/vanilla_vae.py, configs/vae.yaml",
              "CelebA 64x64", _MEAN_SUM, 2.5e-4, _FACES, 128,
              remark="validates with the weight 1, which is 4,000 times as large"),
    KnownLoss("PyTorch-VAE, BetaVAE (H)", "AntixK/PyTorch-VAE: models/beta_vae.py, configs/bhvae.yaml",
              "CelebA 64x64", _MEAN_SUM, 10.0 * 2.5e-4, _FACES, 128,
              remark="its beta of 10 multiplies the KL weight of 2.5e-4"),
    KnownLoss("lightning-bolts, VAE",
              "Lightning-Universe/lightning-bolts: src/pl_bolts/models/autoencoders/basic_vae/basic_vae_module.py",
              "CIFAR-10", Form("squared_error", "mean", "mean"), 0.1, 32 * 32 * 3, 256,
              remark="the mean over latents divides the KL by 256"),
    KnownLoss("sigma-vae-pytorch, mse_vae", "orybkin/sigma-vae-pytorch: model.py, train_vae.py",
              "SVHN 28x28", Form("squared_error", "mean", "sum+batch_sum"), 1.0, 28 * 28 * 3, 20, batch_size=128,
              remark="a baseline there: the KL is summed over the batch, the error is averaged over everything"),
    KnownLoss("sigma-vae-pytorch, gaussian_vae", "orybkin/sigma-vae-pytorch: model.py, train_vae.py",
              "SVHN 28x28", Form("half_squared_error", "sum+batch_sum", "sum+batch_sum"), 1.0, 28 * 28 * 3, 20,
              recon_weight=_SOFT_CLIP, batch_size=128,
              remark="sigma is 1 but for a soft clip; sigma_vae and optimal_sigma_vae find it instead"),
    KnownLoss("pythae, VAE and BetaVAE", "clementchadebec/benchmark_VAE: src/pythae/models/beta_vae/beta_vae_model.py",
              "MNIST", Form("half_squared_error", "sum", "sum"), 1.0, _MNIST, 10,
              remark="an older version left out the half: then s = 0.5"),
    KnownLoss("Beta-VAE (1Konny), H", "1Konny/Beta-VAE: solver.py, main.py",
              "CelebA 64x64", _SUM, 4.0, _FACES, 10,
              remark="no half before the squared error: its beta of 4 is 2 at sigma = 1; on dSprites a BCE and beta 4"),
    KnownLoss("disentangling-vae, VAE, gaussian", "YannDubs/disentangling-vae: disvae/models/losses.py",
              "CelebA 64x64", _SUM, 1.0, _FACES, 10, recon_weight=255.0,
              remark="with --rec-dist=gaussian, not its default: the error of pixels 0..255, divided by 255"),
    KnownLoss("disentangling-vae, betaH, celeba", "YannDubs/disentangling-vae: disvae/models/losses.py, hyperparam.ini",
              "CelebA 64x64", _BCE, 10.0, _FACES, 10,
              remark="a BCE on grey levels is no likelihood: it has a floor, the pixels' entropy"),
    KnownLoss("World Models, ConvVAE", "hardmaru/WorldModelsExperiments: carracing/vae/vae.py",
              "CarRacing 64x64", _SUM, 1.0, _FACES, 32,
              remark="no gradient of the KL of an example while it is below 16 nats"),
    KnownLoss("world-models (PyTorch), VAE", "ctallec/world-models: trainvae.py",
              "CarRacing 64x64", Form("squared_error", "sum+batch_sum", "sum+batch_sum"), 1.0, _FACES, 32,
              batch_size=32,
              remark="both terms are summed over the batch, which cancels"),
    KnownLoss("disentanglement_lib, vae",
              "google-research/disentanglement_lib: disentanglement_lib/methods/unsupervised/vae.py, "
              "examples/model.gin",
              "dSprites", _BCE, 4.0, _SPRITES, 10,
              remark="the example's beta; the study itself swept 1 to 16"),
    KnownLoss("PyTorch examples, vae", "pytorch/examples: vae/main.py",
              "MNIST", Form("bce", "sum+batch_sum", "sum+batch_sum"), 1.0, _MNIST, 20, batch_size=128,
              remark="a BCE on grey levels is no likelihood: it has a floor, the pixels' entropy"),
    KnownLoss("Keras example, VAE", "keras-team/keras-io: examples/generative/vae.py",
              "MNIST", _BCE, 1.0, _MNIST, 2,
              remark="a BCE on grey levels is no likelihood: it has a floor, the pixels' entropy"),
    KnownLoss("TensorFlow tutorial, CVAE", "tensorflow/docs: site/en/tutorials/generative/cvae.ipynb",
              "MNIST", _BCE, 1.0, _MNIST, 2,
              remark="pixels are thresholded at 0.5: an ELBO, sampled"),
    KnownLoss("Flax example, vae", "google/flax: examples/vae/train.py",
              "binarized MNIST", _BCE, 1.0, _MNIST, 20,
              remark="an ELBO"),
)
# fmt: on
