"""Known losses of images: ``known_losses`` says what a row is."""

from __future__ import annotations

import math

from vae_jax.conventions import Form
from vae_jax.theory.known_loss import KnownLoss

_SUM = Form("squared_error", "sum", "sum")
_HALF = Form("half_squared_error", "sum", "sum")
_MEAN_SUM = Form("squared_error", "mean", "sum")
_BCE = Form("bce", "sum", "sum")
_MNIST, _FACES, _SPRITES = 28 * 28, 64 * 64 * 3, 64 * 64
_SOFT_CLIP = (1.0 + math.exp(-6.0)) ** -2  # 1 / sigma^2 where log sigma = 0 is clipped softly at -6: softplus(6) - 6
_GREY = "a BCE on grey levels is no likelihood: it has a floor, the pixels' entropy"
_PYTORCH_VAE, _PYTHAE = "a6896b944c918dd7030e7d795a8c13e5c6345ec7", "6419e21558f2a6abc2da99944bddda846ded30f4"
_LDM = "a506df5756472e2ebaf9078affdde2c4f1502cd4"
_LDM_REMARK = (
    "pixels in [-1, 1]; an LPIPS is added to the error of each number, and a discriminator later; the log variance in "
    "the loss is no parameter of an optimiser and stays 0"
)
# The latents of a map of r x r are counted for each pixel of it.
_NVAE_LATENTS = 20 * (5 * 4**2 + 10 * 8**2)
_VDVAE_LATENTS = 16 * (1 + 3 * 4**2 + 6 * 8**2 + 11 * 16**2 + 22 * 32**2)

# A row: name, source, commit, then data, form, weight, D, M, what else the loss has, and a remark.
# fmt: off
IMAGES: tuple[KnownLoss, ...] = (
    KnownLoss("PyTorch-VAE, VanillaVAE", "AntixK/PyTorch-VAE: models/vanilla_vae.py L139-145, configs/vae.yaml L4, L19",
              _PYTORCH_VAE, "CelebA 64x64", _MEAN_SUM, 2.5e-4, _FACES, 128,
              remark="validates with the weight 1, which is 4,000 times as large"),
    KnownLoss("PyTorch-VAE, BetaVAE (H)",
              "AntixK/PyTorch-VAE: models/beta_vae.py L137-144, configs/bhvae.yaml L4-6, L20",
              _PYTORCH_VAE, "CelebA 64x64", _MEAN_SUM, 10.0 * 2.5e-4, _FACES, 128,
              remark="its beta of 10 multiplies the KL weight of 2.5e-4"),
    KnownLoss("PyTorch-VAE, ConditionalVAE", "AntixK/PyTorch-VAE: models/cvae.py L141-146, configs/cvae.yaml L5, L19",
              _PYTORCH_VAE, "CelebA 64x64", _MEAN_SUM, 2.5e-4, _FACES, 128,
              remark="as VanillaVAE; the labels change nothing in the loss"),
    KnownLoss("PyTorch-VAE, FactorVAE", "AntixK/PyTorch-VAE: models/fvae.py L167-178, configs/factorvae.yaml L4-5, L23",
              _PYTORCH_VAE, "CelebA 64x64", _MEAN_SUM, 2.5e-4, _FACES, 128,
              remark="besides 6.4 times the total correlation, beside which the KL is next to nothing"),
    KnownLoss("PyTorch-VAE, DIPVAE", "AntixK/PyTorch-VAE: models/dip_vae.py L140-160, configs/dip_vae.yaml L4-6, L21",
              _PYTORCH_VAE, "CelebA 64x64", Form("squared_error", "sum+batch_sum", "sum+batch_sum"), 1.0, _FACES, 128,
              batch_size=64,
              remark="the batch is summed in both terms, so that the penalty of the codes' covariance counts a 64th"),
    KnownLoss("PyTorch-VAE, InfoVAE", "AntixK/PyTorch-VAE: models/info_vae.py L139-147, configs/infovae.yaml L4-8, L22",
              _PYTORCH_VAE, "CelebA 64x64", _MEAN_SUM, 10.0 * 2.5e-4, _FACES, 128, recon_weight=10.5,
              remark="alpha = -9 makes the KL's factor 10, beta = 10.5 that of the error; an MMD beside them"),
    KnownLoss("PyTorch-VAE, BetaTCVAE",
              "AntixK/PyTorch-VAE: models/betatc_vae.py L161-205, configs/betatc_vae.yaml L4-7",
              _PYTORCH_VAE, "CelebA 64x64", _SUM, 1.0, _FACES, 10,
              remark="the total correlation, a part of the KL, weighs 6; its KL has no weight of 2.5e-4"),
    KnownLoss("lightning-bolts, VAE",
              "Lightning-Universe/lightning-bolts: "
              "src/pl_bolts/models/autoencoders/basic_vae/basic_vae_module.py L50-51, L135-141",
              "34958a8892d42714edf02ba896fd5861ebb3cb7e",
              "CIFAR-10", Form("squared_error", "mean", "mean"), 0.1, 32 * 32 * 3, 256,
              remark="the mean over latents divides the KL by 256"),
    KnownLoss("podgorskiy/VAE", "podgorskiy/VAE: VAE.py L30-54, net.py L83", "ee907bc966f499ad115179f8d84e06107386a295",
              "CelebA 128x128", Form("squared_error", "mean", "mean"), 0.1, 128 * 128 * 3, 512, pixel_scale=2.0,
              remark="pixels in [-1, 1]; the error that is called BCE is a squared one"),
    KnownLoss("sigma-vae-pytorch, mse_vae", "orybkin/sigma-vae-pytorch: model.py L134-145, train_vae.py L18, L64",
              "4748a3ac1686316292607f40192c7ec2ded09893",
              "SVHN 28x28", Form("squared_error", "mean", "sum+batch_sum"), 1.0, 28 * 28 * 3, 20, batch_size=128,
              remark="a baseline there: the KL is summed over the batch, the error is averaged over everything"),
    KnownLoss("sigma-vae-pytorch, gaussian_vae",
              "orybkin/sigma-vae-pytorch: model.py L113-149, train_vae.py L18, L64",
              "4748a3ac1686316292607f40192c7ec2ded09893",
              "SVHN 28x28", Form("half_squared_error", "sum+batch_sum", "sum+batch_sum"), 1.0, 28 * 28 * 3, 20,
              recon_weight=_SOFT_CLIP, batch_size=128,
              remark="sigma is 1 but for a soft clip; sigma_vae and optimal_sigma_vae find it instead"),
    KnownLoss("pythae, VAE and BetaVAE",
              "clementchadebec/benchmark_VAE: src/pythae/models/beta_vae/beta_vae_model.py L83-100, "
              "beta_vae_config.py L18, src/pythae/models/vae/vae_config.py L17",
              _PYTHAE, "MNIST", _HALF, 1.0, _MNIST, 10,
              remark="an older version left out the half: then s = 0.5"),
    KnownLoss("pythae, FactorVAE",
              "clementchadebec/benchmark_VAE: src/pythae/models/factor_vae/factor_vae_model.py L136-155, "
              "factor_vae_config.py L17",
              _PYTHAE, "MNIST", _HALF, 1.0, _MNIST, 10,
              remark="besides twice the total correlation, which a discriminator estimates"),
    KnownLoss("Beta-VAE (1Konny), H", "1Konny/Beta-VAE: solver.py L27-29, L44-45, L164-165, main.py L38-39, L50",
              "977a1ece88e190dd8a556b4e2efb665f759d0772", "CelebA 64x64", _SUM, 4.0, _FACES, 10,
              remark="no half before the squared error: its beta of 4 is 2 at sigma = 1; on dSprites a BCE and beta 4"),
    KnownLoss("FactorVAE (1Konny)", "1Konny/FactorVAE: ops.py L7-15, solver.py L50-52, L103-109, main.py L32-33, L42",
              "8c97b1fc6150fa8f9241468b2c687b83335543d4", "CelebA 64x64", _BCE, 1.0, _FACES, 10,
              remark=f"besides 6.4 times the total correlation; {_GREY}"),
    KnownLoss("disentangling-vae, VAE, gaussian", "YannDubs/disentangling-vae: disvae/models/losses.py L431-433",
              "f0452191bab6d94eba0b4e6a065f74dcfd54ac52", "CelebA 64x64", _SUM, 1.0, _FACES, 10, recon_weight=255.0,
              remark="with --rec-dist=gaussian, not its default: the error of pixels 0..255, divided by 255"),
    KnownLoss("disentangling-vae, betaH, celeba",
              "YannDubs/disentangling-vae: disvae/models/losses.py L430, hyperparam.ini L99-101",
              "f0452191bab6d94eba0b4e6a065f74dcfd54ac52", "CelebA 64x64", _BCE, 10.0, _FACES, 10, remark=_GREY),
    KnownLoss("World Models, ConvVAE", "hardmaru/WorldModelsExperiments: carracing/vae/vae.py L14, L65-79",
              "fd982b9691a941b52c6addbde29bc801ca6202c8", "CarRacing 64x64", _SUM, 1.0, _FACES, 32,
              remark="no gradient of the KL of an example while it is below 16 nats"),
    KnownLoss("world-models (PyTorch), VAE", "ctallec/world-models: trainvae.py L23, L76-83",
              "d6abd9ce97409734a766eb67ccf0d1967ba9bf0c",
              "CarRacing 64x64", Form("squared_error", "sum+batch_sum", "sum+batch_sum"), 1.0, _FACES, 32,
              batch_size=32,
              remark="both terms are summed over the batch, which cancels"),
    KnownLoss("DreamerV2, images", "danijar/dreamerv2: dreamerv2/common/nets.py L162-180, L278-280, "
              "dreamerv2/agent.py L121-125, L176, dreamerv2/configs.yaml L42-48",
              "07d906e9c4322c6fc2cd6ed23e247ccd6b7c8c41", "frames 64x64", _HALF, 0.2, _FACES, 32,
              remark="the gradient of the KL reaches the encoder with 0.2 and the prior with 0.8; 32 latents of 32 "
              "classes; for Atari a tenth of it"),
    KnownLoss("DreamerV3, images", "danijar/dreamerv3: dreamerv3/rssm.py L125-130, L349-355, "
              "embodied/jax/outs.py L138-141, dreamerv3/agent.py L80-83, L181, dreamerv3/configs.yaml L86-91",
              "e3f02248693a79dc8b0ebd62c93683888ddaccfe", "frames 64x64", _SUM, 0.1, _FACES, 32,
              remark="the gradient of the KL reaches the encoder with 0.1 and the prior with 1; 32 latents of 64 "
              "classes; no gradient of it while it is below 1 nat"),
    KnownLoss("diffusers, train_autoencoderkl",
              "huggingface/diffusers: examples/research_projects/autoencoderkl/train_autoencoderkl.py L187-189, "
              "L428-437, L540, L620, L903-929, src/diffusers/models/autoencoders/vae.py L711-719",
              "58eb52c0803ea9af3abec60841c2a093bdf1f951",
              "images 512x512", _SUM, 1e-6, 512 * 512 * 3, 64 * 64 * 4, pixel_scale=2.0,
              remark="pixels in [-1, 1]; a discriminator later, and half an LPIPS whose gradient is not taken; the KL "
              "fixes the scale of the latents and prunes nothing"),
    KnownLoss("latent-diffusion, KL-f8",
              "CompVis/latent-diffusion: ldm/modules/losses/contperceptual.py L20, L48-60, L83, "
              "ldm/modules/distributions/distributions.py L39-46, ldm/models/autoencoder.py L386-394, "
              "ldm/data/imagenet.py L369, configs/autoencoder/autoencoder_kl_32x32x4.yaml L6-20",
              _LDM, "ImageNet 256x256", "l1.sum + 1e-6*kl.sum", 1e-6, 256 * 256 * 3, 32 * 32 * 4, pixel_scale=2.0,
              remark=_LDM_REMARK),
    KnownLoss("latent-diffusion, KL-f16",
              "CompVis/latent-diffusion: ldm/modules/losses/contperceptual.py L20, L48-60, L83, "
              "ldm/modules/distributions/distributions.py L39-46, ldm/models/autoencoder.py L386-394, "
              "ldm/data/imagenet.py L369, configs/autoencoder/autoencoder_kl_16x16x16.yaml L6, L11, L17, L33",
              _LDM, "ImageNet 256x256", "l1.sum + 1e-6*kl.sum", 1e-6, 256 * 256 * 3, 16 * 16 * 16, pixel_scale=2.0,
              remark=_LDM_REMARK),
    KnownLoss("VA-VAE, f16d32",
              "hustvl/LightningDiT: vavae/ldm/modules/losses/contperceptual.py L24, L72-84, L148, "
              "vavae/ldm/models/autoencoder.py L426-440, vavae/ldm/data/imagenet.py L15, L124-128, "
              "vavae/configs/f16d32_vfdinov2.yaml L9-31",
              "2725fed42a14898744433809949834e26957bcdd",
              "ImageNet 256x256", "l1.sum + 1e-6*kl.sum", 1e-6, 256 * 256 * 3, 16 * 16 * 32, pixel_scale=2.0,
              remark=f"and a likeness of the code to features of DINOv2; {_LDM_REMARK}"),
    KnownLoss("generative-models, KL-f8",
              "Stability-AI/generative-models: sgm/modules/autoencoding/losses/discriminator_loss.py L48-51, L88-91, "
              "L230-237, L255-259, sgm/modules/autoencoding/regularizers/__init__.py L28-30, "
              "configs/example_training/autoencoder/kl-f4/imagenet-kl_f8_8chn.yaml L14-15, L34-40",
              "0ad7de9a5cb53fd63d6d30a4f385485e72e08597",
              "ImageNet 256x256", "sum (|e| / b + log b) + sum KL", 1.0, 256 * 256 * 3, 32 * 32 * 8, pixel_scale=2.0,
              remark="of 8 channels; the scale b of all numbers is learned, so but for the LPIPS (0.25 of one beside "
              "each |e|) and the discriminator an ELBO of a Laplace family"),
    KnownLoss("disentanglement_lib, vae",
              "google-research/disentanglement_lib: disentanglement_lib/methods/unsupervised/vae.py L45-51, L118-123, "
              "L154-156, disentanglement_lib/methods/shared/losses.py L28-63, examples/model.gin L16-21",
              "86a644d4ed35c771560dc3360756363d35477357", "dSprites", _BCE, 4.0, _SPRITES, 10,
              remark="the example's beta; the study itself swept 1 to 16"),
    KnownLoss("PyTorch examples, vae", "pytorch/examples: vae/main.py L12, L81-89",
              "77f55b912142e11fcfdf5b530231fb9c52f181e8",
              "MNIST", Form("bce", "sum+batch_sum", "sum+batch_sum"), 1.0, _MNIST, 20, batch_size=128, remark=_GREY),
    KnownLoss("Keras example, VAE", "keras-team/keras-io: examples/generative/vae.py L38, L92-99",
              "09e02e17d5cbf21ecf8a47f10d91587f963fc80a", "MNIST", _BCE, 1.0, _MNIST, 2, remark=_GREY),
    KnownLoss("tensorflow-mnist-VAE (hwalsuklee)", "hwalsuklee/tensorflow-mnist-VAE: vae.py L81-89, run_main.py L23",
              "e7903ac398aa5fc3eec8470177abf6ef78d9cac1", "MNIST", _BCE, 1.0, _MNIST, 20, remark=_GREY),
    KnownLoss("generative-models (wiseodd), VAE",
              "wiseodd/generative-models: VAE/vanilla_vae/vae_pytorch.py L15, L85-87",
              "b930d5fa9e2f69adfd4ea8ec759f38f6ce6da4c2", "MNIST", _BCE, 1.0, _MNIST, 100, remark=_GREY),
    KnownLoss("Pytorch-VAE-tutorial",
              "Jackson-Kang/Pytorch-VAE-tutorial: 01_Variational_AutoEncoder.ipynb L47, L51, L210-213",
              "ae227c560ee09a92c9e57088d093022882327b46",
              "MNIST", Form("bce", "sum+batch_sum", "sum+batch_sum"), 1.0, _MNIST, 200, batch_size=100, remark=_GREY),
    KnownLoss("rlkit, ConvVAE", "rail-berkeley/rlkit: rlkit/torch/vae/conv_vae.py L115-118, L228-237, "
              "rlkit/torch/vae/vae_base.py L110-112, rlkit/torch/vae/vae_trainer.py L117, L339-347",
              "ac45a9db24b89d97369bef302487273bcc3e3d84", "frames 48x48", _BCE, 0.5, 48 * 48, None,
              remark=f"its Gaussian of identity variance is a mean of squared errors instead; {_GREY}"),
    KnownLoss("Pyro example, vae", "pyro-ppl/pyro: examples/vae/vae.py L70, L87-112, L143",
              "ff6ae1c9572591791aae8842bcd702fcf0b46fd6", "MNIST", _BCE, 1.0, _MNIST, 50,
              remark=f"its own comment calls the Bernoulli relaxed; {_GREY}"),
    KnownLoss("NumPyro example, vae", "pyro-ppl/numpyro: examples/vae.py L54-74, L83, L172",
              "0b935d488056ae1775b4ab05cbe2812f51f21a4f", "binarized MNIST", _BCE, 1.0, _MNIST, 50, remark="an ELBO"),
    KnownLoss("JAX example, mnist_vae", "jax-ml/jax: examples/mnist_vae.py L40-57",
              "062caa4ff5051383acc987e1e4a7f40cad35b2dc", "binarized MNIST", _BCE, 1.0, _MNIST, 10, remark="an ELBO"),
    KnownLoss("TensorFlow tutorial, CVAE",
              "tensorflow/docs: site/en/tutorials/generative/cvae.ipynb L157, L339-347, L395",
              "7c3650212740204359d4ceae481abc79345541be", "MNIST", _BCE, 1.0, _MNIST, 2,
              remark="pixels are thresholded at 0.5: an ELBO, sampled"),
    KnownLoss("Flax example, vae", "google/flax: examples/vae/train.py L33-60, examples/vae/configs/default.py L25",
              "18f8f311c275d57f46d95e41b15aa97b454754c0", "binarized MNIST", _BCE, 1.0, _MNIST, 20, remark="an ELBO"),
    KnownLoss("NVAE, MNIST",
              "NVlabs/NVAE: train.py L170-177, utils.py L209-251, L474-483, model.py L143-148, L486-487, "
              "datasets.py L245-250, README.md L121-125",
              "9fc1a288fb831c87d93a4e2663bc30ccf9225b29", "binarized MNIST", _BCE, 1.0, _MNIST, _NVAE_LATENTS,
              remark="an ELBO after 30% of the updates, through which the KL's weight rises, and differs among groups"),
    KnownLoss("VDVAE, CIFAR-10", "openai/vdvae: vae.py L31-47, L232-238, vae_helpers.py L52-111, hps.py L15-21",
              "ea35b490313bc33e7f8ac63dd8132f3cc1a729b4",
              "CIFAR-10", Form("nll", "sum", "sum"), 1.0, 32 * 32 * 3, _VDVAE_LATENTS,
              remark="an ELBO of discretised logistics; both terms are divided by D"),
)
# fmt: on
