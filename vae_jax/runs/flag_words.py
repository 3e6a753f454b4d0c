"""How the flags of ``train`` are shown and what else people call them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from vae_jax.runtime.fields import Words

# In the order of --help: the commonest first.
GROUPS = {
    "data": "dataset pixels condition validation test data_dir image_size fit alpha layout standardise max_length "
    "max_words rare_words buckets",
    "model": "model latent_dim latent_map latent_layers prior prior_components prior_stage posterior flow_steps "
    "latent_classes unimix gumbel_temperature hidden init_from cell embedding word_dropout dtype",
    "likelihood": "likelihood precision sigma min_sigma columns components df delta squeeze soft_targets",
    "weight": "beta weighting warmup_steps layer_betas kl_balance beta_norm beta_range objective num_samples averages "
    "vr_alpha target_kl target_distortion free_nats cycles ratio beta_min beta_max kp ki geco_rate geco_decay gamma "
    "encoder_steps aggressive_steps",
    "optimiser": "num_steps batch_size learning_rate lr_schedule weight_decay ema clip_norm",
    "run": "workdir seed keep patience eval_every log_every checkpoint_every keep_checkpoints iw_samples tracker "
    "plugin profile deterministic",
    "scale": "parallel microbatches remat shard_params placement order coordinator num_processes process_id",
}
ALIASES = {
    "lr": "learning_rate",
    **dict.fromkeys(("bs", "batch", "batchsize"), "batch_size"),
    **dict.fromkeys(("z_dim", "zdim", "dim_z", "latent_size", "latents", "num_latents", "n_latents"), "latent_dim"),
    **dict.fromkeys(("kl_weight", "kl_coeff", "kld_weight", "lambda_kl", "beta_kl"), "beta"),
    **dict.fromkeys(("steps", "n_steps", "max_steps", "iterations", "num_iterations", "iters"), "num_steps"),
    **dict.fromkeys(("data", "data_path", "input_dir"), "dataset"),
    **dict.fromkeys(("logdir", "log_dir", "output_dir", "out_dir", "outdir"), "workdir"),
    **dict.fromkeys(("hidden_dims", "hidden_sizes", "layers"), "hidden"),
    **dict.fromkeys(("warmup", "annealing_steps", "kl_warmup_steps"), "warmup_steps"),
    **dict.fromkeys(("random_seed", "rng_seed"), "seed"),
    **dict.fromkeys(("arch", "architecture"), "model"),
    **dict.fromkeys(("wd", "l2"), "weight_decay"),
    **dict.fromkeys(("standardize", "normalize", "normalise"), "standardise"),
    **dict.fromkeys(("grad_clip", "gradient_clip_val", "max_grad_norm", "clip_grad_norm"), "clip_norm"),
    "optimizer_ema": "ema",
    "family": "likelihood",
    "resolution": "image_size",
    "early_stopping": "patience",
}
_EPOCHS = (
    "--num_steps counts updates; {value} epochs of N examples in batches of {batch_size} are "
    "--num_steps={value} * N / {batch_size}"
)
_WEIGHT = (
    "--beta is the weight of the KL beside a likelihood with all of its constants (1 is the ELBO); weigh says what the "
    "weight of another loss is as --beta"
)
# Flags that are not quite one of ours.
INSTEAD = {
    **dict.fromkeys(("epochs", "n_epochs", "num_epochs", "max_epochs", "epoch"), _EPOCHS),
    **dict.fromkeys(("weight", "kld_coef", "kl", "kl_lambda"), _WEIGHT),
    **dict.fromkeys(
        ("loss", "recon_loss", "reconstruction_loss", "recon"),
        "--likelihood names p(x|z), and its negative log is the loss: gaussian for squared errors, laplace for "
        "absolute ones, bernoulli for binary cross-entropy of binary x; weigh --loss=... says the flags of any loss",
    ),
    **dict.fromkeys(("optimizer", "optimiser", "opt"), "Adam is what there is; --weight_decay above 0 makes it AdamW"),
    **dict.fromkeys(("momentum", "adam_beta1", "adam_beta2"), "Adam's own numbers are fixed; --learning_rate is not"),
    **dict.fromkeys(
        ("gpu", "gpus", "device", "devices", "cuda"),
        "the devices that JAX sees are used; the environment variables JAX_PLATFORMS and CUDA_VISIBLE_DEVICES choose",
    ),
    **dict.fromkeys(("num_workers", "workers"), "data are read ahead by themselves; see --placement and --order"),
    **dict.fromkeys(
        ("resume", "resume_from", "checkpoint", "ckpt", "load"),
        "the same command continues the run in its --workdir; --init_from=RUN begins another one with its parameters",
    ),
    **dict.fromkeys(("fp16", "bf16", "mixed_precision", "amp"), "--dtype=bfloat16 is what there is"),
}
WORDS = Words({name: tuple(flags.split()) for name, flags in GROUPS.items()}, ALIASES, INSTEAD)

# What flags that nobody gave settle to, and those that say nothing about the model.
_SETTLED = {"constants": "none", "order": "shuffled"}
_BESIDE = ("workdir", "eval_every")


def noted_flags(config: Mapping[str, Any]) -> list[str]:
    """Returns the names of flags whose value, in a config.json, is not the default and has a part in the run."""
    from vae_jax.runs.settings import Config
    from vae_jax.runs.weightings import USED_BY

    defaults = {f.name: f.default for f in dataclasses.fields(Config)} | _SETTLED
    changed = [k for k, v in config.items() if v is not None and v != defaults.get(k) and k not in _BESIDE]
    return [k for k in changed if k not in USED_BY or config.get("weighting") in USED_BY[k]]
