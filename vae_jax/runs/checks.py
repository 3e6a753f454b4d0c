"""What flags cannot be, or cannot be together: asked before anything is read or made."""

from __future__ import annotations

import math
from typing import Any

from vae_jax.priors.discrete import UNIMIX
from vae_jax.runs import families, waking_forecast
from vae_jax.runs.names import HIERARCHIES, Names
from vae_jax.runs.parsing import parse_beta_range, parse_layer_betas, parse_layers, parse_widths
from vae_jax.runs.weightings import CHANGES_LOSS, CONTROLLED, USED_BY
from vae_jax.runtime.config import check_values
from vae_jax.types import UserError


def check(config: Any, names: Names) -> list[str]:
    """Refuses a configuration that cannot be run, and returns warnings about flags that do nothing.

    Raises:
      UserError: naming the flag.
    """
    # The values of a sweep come from lists, so no flag has checked them yet.
    check_values(config)
    tables = {
        "likelihood": names.likelihoods,
        "weighting": names.weightings,
        "objective": names.objectives,
        "model": names.models,
        "prior": names.priors,
        "posterior": names.posteriors,
    }
    for flag, table in tables.items():
        value = getattr(config, flag)
        if value not in table:
            raise UserError(f"--{flag}={value} must be one of {', '.join(table)}")
    waking_forecast.check(config)
    _check_weight(config)
    _check_objective(config)
    _check_discrete(config)
    _check_balance(config)
    _check_noise(config)
    _check_training(config)
    _check_stage(config)
    _check_range(config)
    _check_layers(config)
    _check_condition(config)
    families.check(config)
    if config.hidden is not None:
        parse_widths(config.hidden)
    return [
        f"--{name}={getattr(config, name):g} does nothing with --weighting={config.weighting}"
        for name, users in USED_BY.items()
        if getattr(config, name) is not None and config.weighting not in users
    ]


def _check_weight(config: Any) -> None:
    if config.beta is not None and config.beta_norm is not None:
        raise UserError("--beta and --beta_norm are the same weight in two units; give one of them")
    if not config.beta_min < config.beta_max:
        raise UserError(f"--beta_min={config.beta_min} must be below --beta_max={config.beta_max}")
    if config.weighting in CHANGES_LOSS and config.objective != "elbo":
        raise UserError(f"--weighting={config.weighting} changes the ELBO's own KL term; use it with --objective=elbo")
    warmup = config.num_steps if config.warmup_steps is None else config.warmup_steps
    if config.weighting == "cyclical" and warmup < config.cycles:
        raise UserError(
            f"{config.cycles} cycles do not fit into {warmup} steps; lower --cycles or raise --warmup_steps"
        )


def _check_objective(config: Any) -> None:
    if config.objective in ("miwae", "piwae") and config.num_samples % config.averages:
        raise UserError(
            f"--averages={config.averages} does not divide --num_samples={config.num_samples}: {config.objective} has "
            "as many samples in each"
        )
    if config.objective == "vr" and config.vr_alpha == 1:
        raise UserError("--vr_alpha=1 is the ELBO; use --objective=elbo, or stl for its sampled form")


def _check_discrete(config: Any) -> None:
    if config.posterior != "categorical":
        if config.gumbel_temperature is not None:
            raise UserError(f"--gumbel_temperature is for --posterior=categorical, not {config.posterior}: drop it")
        if config.unimix != UNIMIX:
            raise UserError(f"--unimix is for --posterior=categorical, not {config.posterior}: drop it")
        return
    if config.gumbel_temperature is not None and config.objective != "elbo":
        raise UserError(
            f"--gumbel_temperature trains on soft codes, and --objective={config.objective} needs their density: drop "
            "it, or use --objective=elbo, which has the KL of the classes"
        )


def _check_balance(config: Any) -> None:
    """Refuses to balance a KL whose prior or posterior does not learn, or a loss that has no KL."""
    if config.kl_balance is None:
        return
    if config.model in HIERARCHIES:
        raise UserError(f"--kl_balance is of --prior, and --model={config.model} brings its own: drop it")
    if config.prior == "standard_normal":
        raise UserError(
            "--kl_balance shares the KL's gradient with a prior that is learned, and without --prior there is nothing "
            "to learn: it would be --beta and no more; give --prior, or --beta"
        )
    if config.objective != "elbo":
        raise UserError(
            f"--kl_balance is of the KL of the ELBO, which --objective={config.objective} has not: drop one"
        )
    if config.prior_stage == "after":
        raise UserError(
            "--kl_balance shares the KL's gradient with q, which --prior_stage=after leaves as it is: drop it"
        )


def _check_noise(config: Any) -> None:
    sigma = 0.1 if config.sigma is None and config.precision == "fixed" else config.sigma
    if config.likelihood == "gaussian" and config.precision != "fixed" and (sigma or math.inf) <= config.min_sigma:
        raise UserError(f"--sigma={config.sigma} must be above its lower bound --min_sigma={config.min_sigma}")


def _check_stage(config: Any) -> None:
    """Refuses a second stage of which there is no first, or in which other parameters than the prior's would change."""
    if config.prior_stage == "with":
        return
    if config.prior == "standard_normal":
        raise UserError("--prior_stage=after learns a prior, and N(0, I) has nothing to learn: give --prior=flow or so")
    if config.init_from is None:
        raise UserError("--prior_stage=after learns the prior of a trained VAE: give that run, --init_from=RUN")
    if config.weight_decay or config.encoder_steps:
        raise UserError("--prior_stage=after leaves the VAE as it is: drop --weight_decay and --encoder_steps")


def _check_training(config: Any) -> None:
    """Refuses ways of training, of using memory and of using devices that do not go together."""
    if config.encoder_steps and config.beta_range is not None:
        raise UserError("--encoder_steps trains the encoder ahead, which is not tried with --beta_range: drop one")
    if config.batch_size % config.microbatches:
        raise UserError(
            f"--microbatches={config.microbatches} cannot cut --batch_size={config.batch_size} into equal parts"
        )
    for name in ("remat", "latent_map"):
        if getattr(config, name) and config.model != "resnet":
            raise UserError(f"--{name} is for --model=resnet, not for {config.model}: drop it")
    if config.buckets > 1 and config.likelihood != "tokens":
        raise UserError(f"--buckets={config.buckets} is for texts, whose sentences differ in their length: drop it")
    if config.buckets > 1 and (config.placement in ("divided", "streamed") or config.order == "blocks"):
        raise UserError(
            f"--buckets={config.buckets} sorts a whole epoch by length: drop --placement=divided or streamed, and "
            "--order=blocks"
        )
    if config.dtype != "float32" and config.beta_range is not None:
        raise UserError(f"--dtype={config.dtype} is too coarse for the gates of --beta_range; use float32")
    if config.placement == "divided" and config.order == "shuffled":
        raise UserError(
            "--placement=divided needs --order=blocks: a device can only take examples that it holds; drop one of them"
        )


def _check_layers(config: Any) -> None:
    """Refuses layers of latents where there is one layer, and what a hierarchy cannot be combined with."""
    is_hierarchy = config.model in HIERARCHIES
    for name in ("latent_layers", "layer_betas"):
        if getattr(config, name) is not None and not is_hierarchy:
            raise UserError(f"--{name} is for --model=ladder or hierarchy; --model={config.model} has one layer")
    if not is_hierarchy:
        return
    parse_layers(config.latent_layers)
    if config.layer_betas is not None:
        if config.latent_layers is not None:
            parse_layer_betas(config.layer_betas, config.latent_layers)
        if config.objective != "elbo" or config.weighting in CHANGES_LOSS:
            raise UserError("--layer_betas weighs the KL of the ELBO: drop it, or --objective and the weighting")
    if config.prior != "standard_normal" or config.posterior != "gaussian":
        raise UserError(f"--model={config.model} brings its own prior and posterior: drop --prior and --posterior")
    if config.beta_range is not None:
        raise UserError(f"--model={config.model} is trained for one weight at a time: drop --beta_range")


def _check_condition(config: Any) -> None:
    if config.condition is None and config.prior == "conditional":
        raise UserError("--prior=conditional is p(z|c), and nothing is known beside x: give --condition, or no --prior")


def _check_range(config: Any) -> None:
    """Refuses what one network for all beta cannot be combined with."""
    ends = parse_beta_range(config.beta_range)
    if ends is None:
        return
    if config.condition is not None:
        raise UserError("--beta_range and --condition: the gates of one network for all beta know no c; drop one")
    if config.weighting in (*CONTROLLED, *CHANGES_LOSS) or config.objective != "elbo":
        raise UserError(
            "--beta_range trains a beta for each example, on the ELBO: use it with --objective=elbo and a constant, "
            "linear, sigmoid, cosine or cyclical weighting"
        )
    if config.precision == "optimal" and config.likelihood == "gaussian":
        raise UserError(
            "--precision=optimal solves for one sigma in every batch, and a batch of --beta_range holds all beta; use "
            "--precision=learned, which then depends on beta"
        )
    if config.beta_norm is not None:
        raise UserError(
            "--beta_range is in units of --beta; give --beta, where the network is read, and no --beta_norm"
        )
    if config.beta is not None and not ends[0] <= config.beta <= ends[1]:
        raise UserError(f"--beta={config.beta:g} is outside --beta_range={config.beta_range}: nothing is learned there")
