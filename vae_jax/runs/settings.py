"""The configuration of a run: every flag of ``train``."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from vae_jax.runs import choices
from vae_jax.runs.flag_words import WORDS
from vae_jax.runtime.config import option
from vae_jax.runtime.fields import Words


@dataclasses.dataclass(frozen=True)
class Config:
    """Every flag of the binary; ``config.json`` holds them as run."""

    WORDS: ClassVar[Words] = WORDS

    workdir: str | None = option(
        None, "where the run lives; default: runs/ and a name made of the flags", identity=False
    )
    plugin: str | None = option(
        None, "FILE.py of one's own: names for likelihoods, schedules, objectives, models, data sets", identity=False
    )
    plugin_sha256: str | None = option(None, "the content of that file, which is part of what the run is", flag=False)
    dataset: str = option(
        "digits",
        "digits | sprites | a TFDS name | FILE.npz | a folder of images; an npz holds train and test; or a text: "
        "grammar | ptb | FILE.txt | a folder with train.txt and test.txt",
    )
    data_dir: str | None = option(
        None,
        "where prepared TFDS data sets are (default: VAE_JAX_DATA_DIR, then TFDS's own place)",
        identity=False,
    )
    validation: float | None = option(
        None,
        "the share of the training data that is held out for validation, where the data bring no such split; 0 for "
        "none (default: a tenth, at most 10,000 examples; none of data so small that it says nothing)",
        least=0,
        below=1,
        before=0.0,
    )
    test: float | None = option(
        None,
        "the share that is held out as the test split, where the data bring none (default: a tenth)",
        above=0,
        below=1,
    )
    image_size: str | None = option(None, "bring images to 64 x 64, or to WIDTHxHEIGHT: 64 | 64x48 (see --fit)")
    fit: str = option("crop", "how images of another shape are brought to --image_size", ("crop", "pad", "stretch"))
    alpha: str = option("white", "what transparent pixels are laid on; refuse: not read", ("white", "black", "refuse"))
    layout: str = option("hwc", "the axes of an array of images, channels last or first", ("hwc", "chw"))
    standardise: str = option(
        "auto",
        "the units in which a table is learned; auto: its real columns are brought to mean 0 and standard "
        "deviation 1 of the training split, and every number, sample and file is in the "
        "columns' own units again; none: taken as they are",
        ("auto", "none"),
        before="none",
    )
    condition: str | None = option(
        None,
        "what is known beside x, and told to encoder, decoder and prior: label, or columns of a table, which are then "
        "no part of x (age,sex), or other factors of the data",
    )
    pixels: str = option("grey", "what x is made of", ("grey", "binary", "sampled", "dequantised"))
    soft_targets: bool = option(False, "allow a Bernoulli loss on grey pixels, which is no likelihood")
    likelihood: str = option("gaussian", "the family of p(x|z)", choices.LIKELIHOODS, extensible=True)
    squeeze: float | None = option(
        None,
        "how far a Beta's 0 and 1 are moved inwards (default: half a grey level, 1 / (2 levels))",
        above=0,
        below=0.5,
    )
    components: int = option(1, "components of the discretized_logistic mixture", least=1)
    df: float = option(4.0, "degrees of freedom of the student_t, above 2", above=2)
    delta: float = option(
        1.345,
        "where huber and charbonnier turn from a squared to an absolute error, in units of their scale",
        least=1e-4,
        most=1e4,
    )
    columns: str | None = option(None, "a table's families from the left: gaussian:3,bernoulli:2,categorical(4):1")
    constants: str | None = option(None, "dimensions that are one value, and left out: 0-11=0.0,60=0.25", flag=False)
    count_means: str | None = option(None, "the means of columns of counts: 2=20.0,5=3e5", flag=False)
    missing: str | None = option(None, "the columns with missing values, where a table has any: 0,3", flag=False)
    precision: str = option(
        "learned",
        "where a Gaussian's sigma comes from; student_t, laplace, huber and charbonnier: learned or fixed",
        choices.PRECISIONS,
    )
    sigma: float | None = option(
        None,
        "the fixed (default 0.1) or initial standard deviation of a Gaussian, student_t, laplace and the like, in "
        "[0, 1] pixel units (default: that of the data, the noise of a decoder that knows only the mean image)",
        above=0,
    )
    min_sigma: float = option(1e-3, "the lower bound of every sigma that is not fixed", above=0)
    weighting: str = option("constant", "where beta comes from", choices.WEIGHTINGS, extensible=True)
    beta: float | None = option(
        None, "the final KL weight (default 1); where a controller starts (default: from the spectrum)", least=0
    )
    beta_norm: float | None = option(
        None, "the final KL weight in Higgins' units, beta * latent_dim / data_dim", least=0
    )
    beta_range: str | None = option(
        None, "LOW:HIGH, one network for all beta between them (Bae 2022); --beta is then where it is read"
    )
    warmup_steps: int | str | None = option(
        None,
        "steps of a ramp (default: a fifth of the run; half of it for capacity; auto: by the linear theory), "
        "or of all cycles (default: the run)",
        least=0,
        words=("auto",),
    )
    cycles: int = option(4, "cycles of the cyclical weighting", least=1)
    ratio: float = option(0.5, "the share of a cycle that ramps", above=0, most=1)
    target_kl: float | None = option(None, "the rate that pi and capacity hold, nats per example", least=0)
    target_distortion: float | None = option(None, "the distortion that geco holds, nats per example")
    free_nats: float | None = option(None, "nats of each latent that free_bits does not charge (default 0.25)", least=0)
    beta_min: float = option(0.0, "the lower end of a controller's beta", least=0)
    beta_max: float = option(1000.0, "the upper end of a controller's beta", above=0)
    kp: float | None = option(None, "pi's proportional gain (default: from the data's spectrum and num_steps)", least=0)
    ki: float | None = option(None, "pi's integral gain, per nat and step (default: likewise)", above=0)
    geco_rate: float | None = option(
        None, "the rate of geco's multiplier, per nat and step (default: likewise)", above=0
    )
    geco_decay: float = option(0.99, "of geco's moving average of the violation", least=0, below=1)
    gamma: float | None = option(
        None, "how strongly capacity holds the rate (default: 3 times a linear model's need)", above=0
    )
    objective: str = option("elbo", "what is maximised", choices.OBJECTIVES, extensible=True)
    num_samples: int = option(1, "samples of z per example", least=1)
    averages: int = option(1, "of miwae and piwae: the mean of so many bounds, which share num_samples", least=1)
    vr_alpha: float = option(0.5, "of vr, the Renyi bound; 0 is iwae, and towards 1 it is the elbo", least=0)
    model: str = option("mlp", "the encoder and decoder", choices.MODELS, extensible=True)
    latent_dim: int = option(20, "the number of latents", least=1)
    latent_map: bool = option(
        False, "of a resnet: the latents lie on the map of its innermost features, so many channels as fill it"
    )
    latent_layers: str | None = option(
        None,
        "of a ladder or hierarchy: the latents of each layer, the one next to x first, 2 to 5 layers (default: "
        "--latent_dim, a half and a quarter of it)",
    )
    layer_betas: str | None = option(
        None, "of a ladder or hierarchy: what beta is multiplied by in each layer (default: 1 in all)"
    )
    prior: str = option("standard_normal", "the family of p(z)", choices.PRIORS, extensible=True)
    prior_components: int = option(
        100,
        "components of the mixture (1 is a learned Gaussian), or pseudo-inputs of vamp, which the encoder reads "
        "in each step beside the batch",
        least=1,
    )
    prior_stage: str = option(
        "with",
        "when the prior is learned; after: alone, on the codes of the frozen VAE of --init_from (Dai and Wipf 2019)",
        ("with", "after"),
    )
    posterior: str = option("gaussian", "the family of q(z|x)", choices.POSTERIORS, extensible=True)
    kl_balance: float | None = option(
        None,
        "of a learned prior: the share of the KL's gradient that goes to it, the rest to the posterior (DreamerV2); "
        "DreamerV3's .5 and .1 are 0.8333 with --beta=0.6 (default: all to both)",
        above=0,
        below=1,
    )
    flow_steps: int = option(
        4, "steps of iaf and of the autoregressive prior, or pairs of reflections of householder", least=1
    )
    latent_classes: int = option(32, "classes of each of categorical's --latent_dim groups", least=2)
    unimix: float = option(
        0.01, "the share of the uniform distribution in each group of a categorical, and of its prior", least=0, below=1
    )
    gumbel_temperature: float | None = option(
        None, "train on soft codes of a categorical, at this temperature (default: one-hot, straight-through)", above=0
    )
    hidden: str | None = option(
        None,
        "widths of the fully connected layers (default: 512,512 for an mlp, 128,128 on small data, 256,256 for conv); "
        "channels of a resnet's stages, each of which halves the image (default: 32,64)",
    )
    cell: str = option("lstm", "of the recurrent model", ("lstm", "gru"))
    embedding: int = option(128, "the width of a word's vector in the recurrent model", least=1)
    word_dropout: float = option(
        0.0, "the share of a text's words that the decoder may not read, while it is trained", least=0, most=1
    )
    encoder_steps: int = option(0, "updates of the encoder alone before each of both (He 2019), at first", least=0)
    aggressive_steps: int | None = option(None, "for how many steps (default: a quarter of the run)", least=0)
    max_length: int = option(100, "of a text: longer sentences are cut to so many tokens, their end included")
    max_words: int = option(20_000, "of a text: so many different words, the most frequent ones")
    buckets: int = option(
        1,
        "of a text: batches of sentences of similar length, computed at so many widths in place of that of the longest",
        least=1,
        most=16,
    )
    rare_words: int = option(
        1, "of a text without <unk>: words seen fewer times are learned as it", least=1, identity=False
    )
    num_steps: int = option(3000, "updates; a larger number extends a run of --lr_schedule=constant", least=1)
    batch_size: int = option(128, "examples per update, over all devices", least=1)
    learning_rate: float = option(1e-3, "Adam's, at its highest", above=0)
    lr_schedule: str = option("cosine", "cosine falls to zero over the run", ("cosine", "constant"))
    weight_decay: float = option(0.0, "of the networks' parameters, decoupled from the gradient (AdamW)", least=0)
    ema: float | None = option(
        None, "evaluate and keep a moving average of the parameters over the updates, of this decay", above=0, below=1
    )
    clip_norm: float | None = option(None, "clip the gradient to this global norm (default: no clipping)", above=0)
    init_from: str | None = option(
        None, "a run or an export whose parameters are the first ones, those that fit by name and shape"
    )
    seed: int = option(0, "of everything random", most=2**32 - 1, least=0)  # a key takes no more bits
    parallel: str = option("jit", "how several devices are used", ("jit", "pmap"), identity=False)
    microbatches: int = option(1, "cut each device's batch into so many parts, to save memory", identity=False, least=1)
    remat: bool = option(
        False,
        "of a resnet: make each stage again for its gradient and hold nothing of it, to save memory",
        identity=False,
    )
    dtype: str = option("float32", "of the networks while they are trained", ("float32", "bfloat16"))
    shard_params: bool = option(
        False, "divide the parameters among the devices, for models that do not fit on one", identity=False
    )
    placement: str = option(
        "auto",
        "where the training data are; whole on each device, divided among them, or streamed from the host (default: by "
        "their size)",
        ("auto", "whole", "divided", "streamed"),
        identity=False,
    )
    order: str = option(
        "auto",
        "how batches are drawn; from the shuffled whole, or an example from each of as many blocks, as divided data "
        "need (default: blocks above 1 GiB)",
        ("auto", "shuffled", "blocks"),
    )
    deterministic: bool = option(False, "the same bits each time on a GPU too, at some cost", identity=False)
    profile: bool = option(False, "trace the third chunk by JAX's profiler, into WORKDIR/profile", identity=False)
    tracker: str = option(
        "none", "what follows the run beside TensorBoard; its package has to be installed", choices.TRACKERS, False
    )
    coordinator: str | None = option(
        None, "HOST:PORT of process 0, for several processes (found by itself on Slurm, TPUs, ...)", identity=False
    )
    num_processes: int | None = option(None, "how many processes there are", identity=False)
    process_id: int | None = option(None, "which of them this one is, from 0", identity=False)
    log_every: int = option(100, "steps between lines of metrics.jsonl", least=1)
    eval_every: int | None = option(
        None,
        "steps between evaluations on the validation split (default: a thirtieth of the run, at least 100; 1000 with "
        "--validation=0)",
        least=1,
    )
    keep: str = option(
        "best",
        "which step's model is reported and loaded; best: that of the best bound (beta = 1) on the validation split, "
        "or the last",
        ("best", "last"),
        before="last",
    )
    patience: int | None = option(
        None, "stop after so many evaluations without a better bound on the validation split (default: never)", least=1
    )
    checkpoint_every: int = option(1000, "steps between checkpoints", least=1)
    keep_checkpoints: int = option(3, "how many of the last checkpoints stay", identity=False, least=1)
    iw_samples: int = option(64, "importance samples of the final iw_nll", identity=False, most=10**7, least=1)

    @property
    def code_dim(self) -> int:
        """How many numbers a code has, d: of discrete latents the classes of all groups."""
        return self.latent_dim * (self.latent_classes if self.posterior == "categorical" else 1)


def flat(config: Config) -> dict[str, object]:
    """Returns the flags of a configuration, name -> value, without a copy of anything."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(Config)}
