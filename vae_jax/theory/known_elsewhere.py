"""Known losses of what is no image: text, molecules, tables, counts, time series, motion; in those data's units."""

from __future__ import annotations

from vae_jax.conventions import Form
from vae_jax.theory.known_loss import KnownLoss

_NLL = Form("nll", "sum", "sum")

# A row: name, source, commit, then data, form, weight, D, M, what else the loss has, and a remark.
# fmt: off
ELSEWHERE: tuple[KnownLoss, ...] = (
    KnownLoss("Optimus", "ChunyuanLI/Optimus: code/examples/big_ae/modules/vae.py L121-151, "
              "code/examples/big_ae/run_lm_vae_training.py L326, L352-358, L606, L619, L650, "
              "code/pytorch_transformers/modeling_gpt2.py L688-691",
              "f3190fe82578f91929ac4984aa8868b61a3eee22", "sentences", _NLL, 1.0, None, 32,
              remark="the weight's last value; a latent below 3 nats is not charged at all, one above it in full"),
    KnownLoss("Sentence-VAE (timbmg)", "timbmg/Sentence-VAE: train.py L67-87, L128, L199-205",
              "4e2c7009ff36677c40d0b252400f68a5ea114078", "Penn Treebank", _NLL, 1.0, None, 16,
              remark="an ELBO once its logistic ramp, half way at 2,500 updates, is over"),
    KnownLoss("JT-VAE, fast_molvae", "wengong-jin/icml18-jtnn: fast_jtnn/jtnn_vae.py L63, L83, L116, "
              "fast_jtnn/jtnn_dec.py L171, L184, fast_molvae/vae_train.py L28-42, L106-107",
              "d4c425a8a28fce7d0e8f5da741d27d3fce4a7ec0", "molecules", _NLL, 1.0, None, 56,
              remark="the weight's cap, which is far: 0.002 is added every 2,000 updates after 40,000"),
    KnownLoss("chemical_vae, zinc", "aspuru-guzik-group/chemical_vae: chemvae/train_vae.py L216-222, L241-268, "
              "chemvae/hyperparameters.py L25, L59-63, models/zinc/exp.json L3, L23",
              "a509dc613c4c9be54d448a34829bab25bcf09a79", "SMILES", Form("nll", "mean", "mean"), 1.0, 120, 196,
              remark="D counts characters: a mean over 120 of them beside a mean over 196 latents; the weight also "
              "scales the noise while it rises"),
    KnownLoss("Mult-VAE", "dawenl/vae_cf: VAE_ML20M_WWW2018.ipynb L747-756, L784-785, L982-984, L1076, L1214-1217",
              "ad103c506c8897a853968e1b98c30f31cf5e30f6", "MovieLens-20M", _NLL, 0.2, None, 200,
              remark="a multinomial over the items that a user chose; the ramp ends at the cap of 0.2"),
    KnownLoss("MusicVAE, cat-mel_2bar_big", "magenta/magenta: magenta/models/music_vae/base_model.py L247-262, "
              "magenta/models/music_vae/lstm_models.py L367-373, L537-551, magenta/models/music_vae/configs.py L78-91",
              "526d3eb1a39df21215d286079cb0b8fc179fd4b3", "melodies", _NLL, 0.5, None, 512,
              remark="the cap, neared as 1 - 0.99999^updates; longer ones have 0.2 and 48 free bits in all"),
    KnownLoss("CTGAN, TVAE", "sdv-dev/CTGAN: ctgan/synthesizers/tvae.py L79-103, L111-117, L177-186",
              "f4fcd21d96e291fb1d6b7a14b83236927560b81e", "tables", _NLL, 1.0, None, 128, recon_weight=2.0,
              remark="its loss_factor of 2 halves the KL; the sigma of a real column is learned"),
    KnownLoss("scvi-tools, SCVI", "scverse/scvi-tools: src/scvi/module/_vae.py L152, L159, L563-580, "
              "src/scvi/train/_trainingplans.py L65-72, L155-165",
              "93dc4fae21917406673206320c8a3002433c4a5d", "counts of genes", _NLL, 1.0, None, 10,
              remark="an ELBO of zero-inflated negative binomials after 400 epochs, through which the weight rises; a "
              "shorter run ends below 1"),
    KnownLoss("scGen", "theislab/scgen: scgen/_scgenvae.py L47, L125-130, L170-172, scgen/_scgen.py L53",
              "d79e1f04233c30f9a4eb5b8d57718127909807d7",
              "gene expression", Form("squared_error", "sum", "sum"), 0.5 * 5e-5, None, 100, recon_weight=0.5,
              remark="both terms are halved, which cancels"),
    KnownLoss("timeVAE", "abudesai/timeVAE: src/vae/vae_base.py L106-134, src/config/hyperparameters.yaml L1-8, "
              "src/data_utils.py L103-111",
              "9914576bd44a6facbc94a594a82dd14724969a50",
              "time series", Form("squared_error", "sum+batch_sum", "sum+batch_sum"), 1.0, None, 8, recon_weight=3.0,
              batch_size=16,
              remark="series scaled to [0, 1]; the error of the mean over the features is charged once more"),
    KnownLoss("Trajectron++", "StanfordASL/Trajectron-plus-plus: trajectron/model/mgcvae.py L308-316, L944-948, "
              "L997-1004, trajectron/model/components/discrete_latent.py L64-80, config/config.json L31-36, L52-55",
              "1031c7bd1a444273af378c1ec1dcca907ba59830", "paths of agents", _NLL, 100.0, None, 1,
              remark="one latent of 25 values; less the mutual information of the prior; below 0.07 nats the KL has no "
              "gradient, and a step's log density is cut off at 6"),
    KnownLoss("ACT", "tonyzhaozh/act: policy.py L28-34, L79-80, imitate_episodes.py L50, L58-59, README.md L76, "
              "detr/models/detr_vae.py L67, utils.py L73",
              "742c753c0d4a5d87076c8f69e5628c79a8cc5488", "actions", "l1.mean + 10*kl.sum", 10.0, 1400, 32,
              remark="14,000 KL beside the sum of 1,400 absolute errors, of 100 steps of 14 joints of standard "
              "deviation 1; steps past the end count as errors of 0"),
    KnownLoss("LeRobot, ACT", "huggingface/lerobot: src/lerobot/policies/act/modeling_act.py L147-162, "
              "configuration_act.py L85, L114, L123",
              "7427f31801f944f5ec9ce53cda02862ce7d1638b", "actions", "l1.mean + 10*kl.sum", 10.0, None, 32,
              remark="as ACT, with a mean over the steps that there are"),
    KnownLoss("Stable Audio 2.0, VAE",
              "Stability-AI/stable-audio-tools: stable_audio_tools/models/bottleneck.py L105-113, "
              "stable_audio_tools/configs/model_configs/autoencoders/stable_audio_2_0_vae.json L3-5, L33-35, L93-116, "
              "stable_audio_tools/training/autoencoders.py L184-194, L640-650",
              "50049e379e2fe8e35bffc99e57f23ade1c3471b7",
              "stereo audio", "STFT + 0.0001 mean KL'", 1e-4, 2 * 65536, 32 * 64,
              remark="65,536 samples; KL' has no half before it, so it is twice the KL, summed over 64 channels and "
              "averaged over 32 frames: 6.25e-6 times the KL of the 2,048 latents; the error is one of "
              "spectra, beside a discriminator"),
    KnownLoss("VITS",
              "jaywalnut310/vits: train.py L183-188, losses.py L46-61, configs/ljs_base.json L13-17, L26-28, L36",
              "2e561ba58618d021b5b8323d3765880f7e0ecfdb",
              "speech, LJ", "45 mean |mel| + sum KL / frames", 1.0, 80 * 32, None,
              remark="the error of 32 frames of 80 mel bands, the KL of all frames of 192 latents against a prior made "
              "of the text, beside a discriminator"),
    KnownLoss("BCQ", "sfujim/BCQ: continuous_BCQ/BCQ.py L97, L103, L141-143, continuous_BCQ/main.py L142",
              "4876f7e5afa9eb2981feec5daf67202514477518",
              "actions, Hopper", Form("squared_error", "mean", "mean"), 0.5, 3, 6,
              remark="twice as many latents as actions, so it is the same for every robot"),
    KnownLoss("robomimic, BC with a VAE", "ARISE-Initiative/robomimic: robomimic/models/vae_nets.py L1272-1285, "
              "robomimic/utils/loss_utils.py L39, robomimic/algo/bc.py L450-452, robomimic/config/bc_config.py L60-66",
              "d309eaecc18acf4152a830a895a6984b8ac71b05", "actions", Form("squared_error", "mean", "sum"), 1.0, 7, 14,
              remark="D as its comment has it, half of the latents; its papers' configurations use 5e-4 to 0.5"),
    KnownLoss("MultiVae, MVAE", "AgatheSenellart/MultiVae: src/multivae/models/mvae/mvae_model.py L82-113, L153-156, "
              "src/multivae/models/mvae/mvae_config.py L45-46, src/multivae/models/base/base_utils.py L62-68, "
              "src/multivae/models/base/base_ae_model.py L94, L151, src/multivae/models/base/base_config.py L33-35",
              "2822b3b7a260a93e2356f06d11f4bb2c4d6261a3",
              "modalities", Form("half_squared_error", "sum", "sum"), 1.0, None, 10,
              remark="normals of scale 1 for every modality, so the one with more numbers rules; 10 epochs of warm-up"),
)
# fmt: on
