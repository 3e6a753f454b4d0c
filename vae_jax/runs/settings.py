"""The configuration of a run: every flag of ``train``, and what is settled before anything is made of it."""

from __future__ import annotations

import dataclasses
import math

from vae_jax import likelihoods
from vae_jax.runs import families
from vae_jax.runs.families import LIKELIHOODS
from vae_jax.runs.names import MODELS, OBJECTIVES
from vae_jax.runs.weightings import CHANGES_LOSS, CONTROLLED, USED_BY, WEIGHTINGS
from vae_jax.runtime.config import check_values, option
from vae_jax.types import UserError

# Default widths by the size of one example: a network that could learn 1,437 little images by heart would.
HIDDEN = {"mlp": lambda dim: "512,512" if dim >= 256 else "128,128", "conv": lambda dim: "256,256"}
HIDDEN |= {"resnet": lambda dim: "32,64", "recurrent": lambda dim: "256"}
WIDEST, DEEPEST = 2**31 - 1, 100  # a width, and how many of them


@dataclasses.dataclass(frozen=True)
class Config:
    """Every flag of the binary; ``config.json`` holds them as run."""

    workdir: str | None = option(
        None, "where the run lives; default: runs/ and a name made of the flags", identity=False
    )
    dataset: str = option(
        "digits",
        "digits | sprites | a TFDS name | FILE.npz with train and test | a folder of images; or a text: grammar | "
        "ptb | FILE.txt | a folder with train.txt and test.txt",
    )
    data_dir: str | None = option(
        None,
        "where prepared TFDS data sets are (default: VAE_JAX_DATA_DIR, then TFDS's own place)",
        identity=False,
    )
    pixels: str = option("grey", "what x is made of", ("grey", "binary", "sampled", "dequantised"))
    soft_targets: bool = option(False, "allow a Bernoulli loss on grey pixels, which is no likelihood")
    likelihood: str = option("gaussian", "the family of p(x|z)", LIKELIHOODS)
    squeeze: float | None = option(
        None, "how far a Beta's 0 and 1 are moved inwards (default: half a grey level, 1 / (2 levels))"
    )
    components: int = option(1, "components of the discretized_logistic mixture")
    df: float = option(4.0, "degrees of freedom of the student_t, above 2")
    columns: str | None = option(None, "a table's families from the left: gaussian:3,bernoulli:2,categorical(4):1")
    precision: str = option(
        "learned",
        "where a Gaussian's sigma comes from; student_t and laplace: learned or fixed",
        likelihoods.PRECISIONS,
    )
    sigma: float | None = option(
        None,
        "the fixed (default 0.1) or initial standard deviation of a Gaussian, student_t or laplace, in [0, 1] pixel "
        "units (default: that of the data, the noise of a decoder that knows only the mean image)",
    )
    min_sigma: float = option(1e-3, "the lower bound of every sigma that is not fixed")
    weighting: str = option("constant", "where beta comes from", WEIGHTINGS)
    beta: float | None = option(
        None, "the final KL weight (default 1); where a controller starts (default: from the spectrum)"
    )
    beta_norm: float | None = option(None, "the final KL weight in Higgins' units, beta * latent_dim / data_dim")
    beta_range: str | None = option(
        None, "LOW:HIGH, one network for all beta between them (Bae 2022); --beta is then where it is read"
    )
    warmup_steps: int | None = option(
        None,
        "steps of a ramp (default: a fifth of the run; half of it for capacity), or of all cycles (default: the run)",
    )
    cycles: int = option(4, "cycles of the cyclical weighting")
    ratio: float = option(0.5, "the share of a cycle that ramps")
    target_kl: float | None = option(None, "the rate that pi and capacity hold, nats per example")
    target_distortion: float | None = option(None, "the distortion that geco holds, nats per example")
    free_nats: float | None = option(None, "nats of each latent that free_bits does not charge (default 0.25)")
    beta_min: float = option(0.0, "the lower end of a controller's beta")
    beta_max: float = option(1000.0, "the upper end of a controller's beta")
    kp: float | None = option(None, "pi's proportional gain (default: from the data's spectrum and num_steps)")
    ki: float | None = option(None, "pi's integral gain, per nat and step (default: likewise)")
    geco_rate: float | None = option(None, "the rate of geco's multiplier, per nat and step (default: likewise)")
    geco_decay: float = option(0.99, "of geco's moving average of the violation")
    gamma: float | None = option(None, "how strongly capacity holds the rate (default: 3 times a linear model's need)")
    objective: str = option("elbo", "what is maximised", OBJECTIVES)
    num_samples: int = option(1, "samples of z per example")
    model: str = option("mlp", "the encoder and decoder", MODELS)
    latent_dim: int = option(20, "the number of latents")
    hidden: str | None = option(
        None,
        "widths of the fully connected layers (default: 512,512 for an mlp, 128,128 on small data, 256,256 for conv); "
        "channels of a resnet's stages, each of which halves the image (default: 32,64)",
    )
    cell: str = option("lstm", "of the recurrent model", ("lstm", "gru"))
    embedding: int = option(128, "the width of a word's vector in the recurrent model")
    word_dropout: float = option(0.0, "the share of a text's words that the decoder may not read while it is trained")
    encoder_steps: int = option(0, "updates of the encoder alone before each of both (He 2019), at first")
    aggressive_steps: int | None = option(None, "for how many steps (default: a quarter of the run)")
    max_length: int = option(100, "of a text: longer sentences are cut to so many tokens, their end included")
    max_words: int = option(20_000, "of a text: so many different words, the most frequent ones")
    num_steps: int = option(3000, "updates")
    batch_size: int = option(128, "examples per update, over all devices")
    learning_rate: float = option(1e-3, "Adam's, at its highest")
    lr_schedule: str = option("cosine", "cosine falls to zero over the run", ("cosine", "constant"))
    clip_norm: float | None = option(None, "clip the gradient to this global norm (default: no clipping)")
    seed: int = option(0, "of everything random", most=2**32 - 1)  # a key takes no more bits
    parallel: str = option("jit", "how several devices are used", ("jit", "pmap"), identity=False)
    microbatches: int = option(1, "cut each device's batch into so many parts, to save memory", identity=False)
    dtype: str = option("float32", "of the networks while they are trained", ("float32", "bfloat16"))
    shard_params: bool = option(
        False, "divide the parameters among the devices, for models that do not fit on one", identity=False
    )
    placement: str = option(
        "auto",
        "where the training data are: whole on each device, divided among them, or streamed from the host (default: by "
        "their size)",
        ("auto", "whole", "divided", "streamed"),
        identity=False,
    )
    order: str = option(
        "auto",
        "how batches are drawn: from the shuffled whole, or an example from each of as many blocks, as divided data "
        "need (default: blocks above 1 GiB)",
        ("auto", "shuffled", "blocks"),
    )
    deterministic: bool = option(False, "the same bits each time on a GPU too, at some cost", identity=False)
    profile: bool = option(False, "trace the third chunk by JAX's profiler, into WORKDIR/profile", identity=False)
    coordinator: str | None = option(
        None, "HOST:PORT of process 0, for several processes (found by itself on Slurm, TPUs, ...)", identity=False
    )
    num_processes: int | None = option(None, "how many processes there are", identity=False)
    process_id: int | None = option(None, "which of them this one is, from 0", identity=False)
    log_every: int = option(100, "steps between lines of metrics.jsonl")
    eval_every: int = option(1000, "steps between evaluations on the test split")
    checkpoint_every: int = option(1000, "steps between checkpoints")
    keep_checkpoints: int = option(3, "how many of the last checkpoints stay")
    iw_samples: int = option(64, "importance samples of the final iw_nll", most=10**7)


def resolve(config: Config) -> tuple[Config, list[str]]:
    """Fills in the defaults that depend on other flags, and refuses what cannot be.

    Returns:
      The configuration as it will run, and warnings.

    Raises:
      UserError: naming the flag.
    """
    check_values(config)  # a sweep's come from lists
    if not 0 <= config.word_dropout <= 1:
        raise UserError(f"--word_dropout={config.word_dropout} must be in [0, 1]: the share of words not read")
    _at_least(config, "embedding", 1)
    _at_least(config, "encoder_steps", 0)
    _at_least(config, "aggressive_steps", 0)
    for name in ("batch_size", "microbatches"):
        _at_least(config, name, 1)
    _check_spreading(config)
    if config.encoder_steps and config.beta_range is not None:
        raise UserError("--encoder_steps trains the encoder ahead, which is not tried with --beta_range: drop one")
    if config.encoder_steps and config.aggressive_steps is None:
        config = dataclasses.replace(config, aggressive_steps=config.num_steps // 4)
    for name in ("latent_dim", "num_steps", "num_samples", "cycles", "log_every", "eval_every"):
        _at_least(config, name, 1)
    for name in ("checkpoint_every", "keep_checkpoints", "iw_samples"):
        _at_least(config, name, 1)
    for name in ("beta", "beta_norm", "warmup_steps", "seed", "target_kl", "free_nats", "beta_min", "kp"):
        _at_least(config, name, 0)
    for name in ("learning_rate", "sigma", "min_sigma", "clip_norm", "ki", "geco_rate", "gamma", "beta_max"):
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UserError(f"--{name}={value} must be positive")
    if config.beta is not None and config.beta_norm is not None:
        raise UserError("--beta and --beta_norm are the same weight in two units; give one of them")
    sigma = 0.1 if config.sigma is None and config.precision == "fixed" else config.sigma
    if config.likelihood == "gaussian" and config.precision != "fixed" and (sigma or math.inf) <= config.min_sigma:
        raise UserError(f"--sigma={config.sigma} must be above its lower bound --min_sigma={config.min_sigma}")
    if not 0 < config.ratio <= 1:
        raise UserError(f"--ratio={config.ratio} must be in (0, 1]: the share of a cycle that ramps")
    if not config.beta_min < config.beta_max:
        raise UserError(f"--beta_min={config.beta_min} must be below --beta_max={config.beta_max}")
    if not 0 <= config.geco_decay < 1:
        raise UserError(f"--geco_decay={config.geco_decay} must be in [0, 1)")
    if config.target_distortion is not None and not math.isfinite(config.target_distortion):
        raise UserError(f"--target_distortion={config.target_distortion} must be finite")
    if config.weighting in CHANGES_LOSS and config.objective != "elbo":
        raise UserError(f"--weighting={config.weighting} changes the ELBO's own KL term; use it with --objective=elbo")
    _check_range(config)
    warnings = [
        f"--{name}={getattr(config, name):g} does nothing with --weighting={config.weighting}"
        for name, users in USED_BY.items()
        if getattr(config, name) is not None and config.weighting not in users
    ]
    given = config.beta is not None or config.beta_norm is not None
    beta = config.beta if given or config.weighting in CONTROLLED else 1.0
    if config.beta_range is not None and not given:
        low, high = beta_range(config)
        beta = min(max(beta, low), high)  # 1, or the nearest that was trained
    whole = config.num_steps // {"cyclical": 1, "capacity": 2}.get(config.weighting, 5)
    warmup = whole if config.warmup_steps is None else config.warmup_steps
    free_nats = 0.25 if config.weighting == "free_bits" and config.free_nats is None else config.free_nats
    if config.weighting == "cyclical" and warmup < config.cycles:
        raise UserError(
            f"{config.cycles} cycles do not fit into {warmup} steps; lower --cycles or raise --warmup_steps"
        )
    if config.hidden is not None:
        widths(config.hidden)
    config = dataclasses.replace(config, sigma=sigma, beta=beta, warmup_steps=warmup, free_nats=free_nats)
    config = families.resolve(config)
    return dataclasses.replace(config, workdir=config.workdir or _default_workdir(config)), warnings


def beta_range(config: Config) -> tuple[float, float] | None:
    """``--beta_range=0.1:10 -> (0.1, 10.0)``; None where there is none."""
    if config.beta_range is None:
        return None
    try:
        low, high = (float(end) for end in config.beta_range.split(":"))
    except ValueError:
        low = high = 0.0
    if not 0 < low < high < math.inf:
        raise UserError(f"--beta_range={config.beta_range} must be LOW:HIGH with 0 < LOW < HIGH, such as 0.1:10")
    return low, high


def _check_spreading(config: Config) -> None:
    """Refuses ways of using memory and devices that do not go together."""
    if config.batch_size % config.microbatches:
        raise UserError(
            f"--microbatches={config.microbatches} cannot cut --batch_size={config.batch_size} into equal parts"
        )
    if config.dtype != "float32" and config.beta_range is not None:
        raise UserError(f"--dtype={config.dtype} is too coarse for the gates of --beta_range; use float32")
    if config.placement == "divided" and config.order == "shuffled":
        raise UserError(
            "--placement=divided needs --order=blocks: a device can only take examples that it holds; drop one of them"
        )


def _check_range(config: Config) -> None:
    """Refuses what one network for all beta cannot be combined with."""
    found = beta_range(config)
    if found is None:
        return
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
    if config.beta is not None and not found[0] <= config.beta <= found[1]:
        raise UserError(f"--beta={config.beta:g} is outside --beta_range={config.beta_range}: nothing is learned there")


def initial_sigma(config: Config, spectrum) -> float:
    """The standard deviation of the data about their mean, averaged over dimensions: to three digits, as a flag."""
    return max(float(f"{math.sqrt(spectrum.mean()):.3g}"), 2 * config.min_sigma)


def _at_least(config: Config, name: str, least: int) -> None:
    value = getattr(config, name)
    if value is not None and not (math.isfinite(value) and value >= least):
        raise UserError(f"--{name}={value} must be at least {least}")


def default_hidden(model: str, dim: int) -> str:
    """The widths of ``--model`` for examples of ``dim`` numbers; a model that has none here takes those of an mlp."""
    return HIDDEN.get(model, HIDDEN["mlp"])(dim)


def widths(hidden: str) -> tuple[int, ...]:
    """``"512,512" -> (512, 512)``."""
    try:
        values = tuple(int(v) for v in hidden.split(","))
    except ValueError:
        values = ()
    if not values or min(values) < 1 or max(values) > WIDEST:
        raise UserError(f"--hidden={hidden} must be positive widths separated by commas, such as 512,512")
    if len(values) > DEEPEST:
        raise UserError(f"--hidden={hidden} names {len(values)} layers; the models here have at most {DEEPEST}")
    return values


def _default_workdir(config: Config) -> str:
    import hashlib
    from pathlib import Path

    identity = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.metadata["identity"]}
    digest = hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()[:8]
    return f"runs/{Path(config.dataset).stem[:80]}_{config.model}_{config.likelihood}_{digest}"
