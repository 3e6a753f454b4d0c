"""What a loss really weighs, and what a weight will do to some data, before anything is trained."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from vae_jax.conventions import Convention, Form, beta_from_norm, canonical, equivalents
from vae_jax.linear_vae import predict
from vae_jax.report.weigh_figure import figure
from vae_jax.report.weigh_text import text
from vae_jax.runs.weigh_flags import RECON, Config
from vae_jax.runs.weigh_loss import weigh_written
from vae_jax.runtime.config import check_values
from vae_jax.runtime.files import write_atomic, write_json
from vae_jax.theory import fields, finite_data, prospects
from vae_jax.theory.known_losses import KNOWN
from vae_jax.types import UserError

WRITTEN = ("recon_reduction", "kl_reduction", "weight", "recon_weight", "batch_size", "pixel_scale")
KEPT = 2000  # eigenvalues written to weigh.json
VALUES = 2**26  # of the images whose patches are looked at
OWN = ("beta", "beta_norm", "sigma", "precision")


def check(c: Config) -> Config:
    """Refuses what cannot be and fills in the number of latents.

    Raises:
      UserError: naming the flags.
    """
    check_values(c)
    if not (c.loss or c.recon or c.known or c.dataset):
        raise UserError("nothing to weigh: give a loss (--loss=... or --recon=...), --known or --dataset=NAME")
    given = [name for name in WRITTEN if getattr(c, name) is not None]
    if given and not (c.recon or c.loss):
        raise UserError(f"--{given[0]} belongs to a loss as written; add --loss=... or --recon={'|'.join(RECON)}")
    twice = [n for n in ("recon", "recon_reduction", "kl_reduction", "recon_weight") if getattr(c, n) is not None]
    if c.loss and twice:
        raise UserError(f"--loss={c.loss} and --{twice[0]} both say what the loss is; give one of them")
    for name in ("recon_reduction", "kl_reduction"):
        if c.recon and getattr(c, name) is None:
            raise UserError(f"--recon={c.recon} needs --{name}: sum or mean, it makes all the difference")
    for name in ("data_dim", "latent_dim"):
        if (c.recon or c.loss) and not c.dataset and getattr(c, name) is None:
            flag = "recon" if c.recon else "loss"
            raise UserError(f"--{flag}={c.recon or c.loss} needs --{name} (or --dataset, which gives its own data_dim)")
    batched = [bool(r and "batch_sum" in r) for r in (c.recon_reduction, c.kl_reduction)]
    if c.recon and batched[0] != batched[1] and c.batch_size is None:
        raise UserError("one term is summed over the batch and the other averaged: add --batch_size, it is a weight")
    own = [name for name in (*OWN, "target_kl", "tolerance") if getattr(c, name) is not None]
    if own and not c.dataset:
        raise UserError(f"--{own[0]} is weighed against data; add --dataset=NAME")
    if c.beta is not None and c.beta_norm is not None:
        raise UserError("--beta and --beta_norm are the same weight in two units; give one of them")
    if (c.patch is None) != (c.channels is None) or (c.patch and not c.dataset):
        raise UserError("--patch and --channels say what a spatial autoencoder codes: give both, and --dataset=NAME")
    return dataclasses.replace(c, latent_dim=c.latent_dim or 20)


def weigh_loss(c: Config, data_dim: int, answer: dict[str, Any], table: bool = True) -> Convention | None:
    """Adds to ``answer`` what the loss of the flags weighs; returns its convention where it has one.

    That of ``--loss`` has one where it is a squared error or a BCE and nothing else.
    """
    if not c.loss:
        convention, answer["loss"] = written_loss(c, data_dim)
        return convention
    found, answer["written"] = weigh_written(c, data_dim, table)
    kinds = [error.kind for error in found.errors]
    if kinds not in (["squared_error"], ["bce"]):
        return None
    named = {"recon": kinds[0], "recon_reduction": "sum", "kl_reduction": "sum", "weight": found.kl_weight}
    named |= {"recon_weight": found.errors[0].weight, "pixel_scale": None, "batch_size": None}
    convention, answer["loss"] = written_loss(dataclasses.replace(c, **named), data_dim)
    answer["loss"] |= {"text": c.loss, "weight": answer["written"]["written_weight"]}
    return convention


def written_loss(c: Config, data_dim: int) -> tuple[Convention, dict[str, Any]]:
    """What the loss of the flags weighs, and the same loss elsewhere."""
    form = Form(c.recon, c.recon_reduction, c.kl_reduction)
    given = {name: getattr(c, name) for name in ("recon_weight", "batch_size", "pixel_scale")}
    options = {name: 1 if value is None else value for name, value in given.items()}
    weight = 1.0 if c.weight is None else c.weight
    try:
        found = canonical(*form, weight, data_dim, c.latent_dim, **options)
    except ValueError as error:
        raise UserError(f"this loss cannot be weighed: {error}") from None
    others = equivalents(found, data_dim, c.latent_dim, options["batch_size"])
    sizes = {"data_dim": data_dim, "latent_dim": c.latent_dim, "weight": weight}
    factor = f"{c.recon_weight:g}" if c.recon_weight not in (None, 1) else ""
    return found, {
        "text": form.text(f"{weight:g}" if weight != 1 else "", factor),
        **(form._asdict() | sizes | options | found._asdict()),
        "equivalents": [{"text": e.form.text(), **e.form._asdict(), "weight": e.weight} for e in others],
    }


def own_weight(c: Config, eigenvalues) -> float | None:
    """The water level of --beta and --sigma as train would take them; None where none of them was given."""
    if all(getattr(c, name) is None for name in OWN):
        return None
    beta = beta_from_norm(c.beta_norm, len(eigenvalues), c.latent_dim) if c.beta_norm is not None else c.beta
    sigma2 = (c.sigma or 0.1) ** 2 if c.precision == "fixed" else None
    return predict(eigenvalues, 1.0 if beta is None else beta, sigma2, c.latent_dim).water_level


def weigh_data(c: Config, answer: dict[str, Any]) -> None:
    """Reads the data and adds what the weights would do to it to ``answer``."""
    import jax

    from vae_jax.data.pixels import preprocess
    from vae_jax.data.reading import Reading
    from vae_jax.data.spectrum import data_spectrum, examples_for
    from vae_jax.runs import placement, settings, table_columns
    from vae_jax.runs.names import load_dataset, names_of

    dataset = load_dataset(names_of(c), c.dataset, Reading.of(c, placement.bytes_held()))
    dim, examples = math.prod(dataset.event), len(dataset.train)
    if c.data_dim not in (None, dim):
        raise UserError(f"--data_dim={c.data_dim}, but {c.dataset} has {dim} values an example; leave the flag out")
    scale = table_columns.spectrum_view(settings.Config(), dataset)
    values = data_spectrum(dataset, preprocess(c.pixels, dataset.levels), jax.random.key(c.seed), scale)
    if values[0] <= 0:
        raise UserError(f"--dataset={c.dataset}: all training examples are equal, so there is nothing to encode")
    named, convention = {}, None
    if c.recon or c.loss:
        convention = weigh_loss(c, dim, answer, dataset.levels is None)
        named["your loss"] = convention and convention.water_level
    named["your weight"] = own_weight(c, values)
    if c.sigma is not None and c.precision != "fixed":
        answer["warnings"].append(f"--sigma={c.sigma:g} is only where a learned sigma starts: add --precision=fixed")
    if dataset.levels is None:
        answer["warnings"].append(f"{c.dataset} holds floats: all errors and sigmas are in the data's own units")
    if 0.0 in named.values():
        answer["warnings"].append(
            "a weight of 0 charges nothing for the rate, which then has no bound: it is not marked"
        )
    named = {name: level for name, level in named.items() if level}
    answer["data"] = {
        "dataset": c.dataset,
        "pixels": c.pixels,
        "examples": examples,
        "data_dim": dim,
        "latent_dim": c.latent_dim,
        "trace": float(values.sum()),
        "rms": math.sqrt(values.mean()),
        "eigenvalues": [float(v) for v in values[:KEPT]],
        "directions_above": [[s, int((values > s).sum())] for s in (1.0, 0.1, 0.01)],
    }
    answer.update(prospects.prospects(values, c.latent_dim, named, c.target_kl, c.tolerance))
    if len(examples_for(examples, dim)) == examples >= 3:
        found = {m: finite_data.outlook(values, examples, m) for m in (c.latent_dim, None)}
        answer["finite"] = found[c.latent_dim]._asdict() | {"best_of_all": found[None]._asdict()}
    answer["waking"] = weigh_waking(c, values, convention.water_level if convention else None)
    if c.patch is not None:
        answer["patches"] = weigh_patches(c, dataset)
    settled = answer["calibrated"]
    if settled and settled["sigma"] < (least := settings.Config.min_sigma):
        answer["warnings"].append(
            f"the calibrated sigma, {settled['sigma']:.3g}, is below where train stops a learned one: scale the data "
            f"to a spread of about 1, or lower --min_sigma={least:g}"
        )
    if convention is not None and convention.water_level:
        for weights in filter(None, (answer["collapse"], answer["calibrated_weights"])):
            weights["yours"] = answer["loss"]["weight"] * weights["water_level"] / convention.water_level
    elif convention is not None and convention.water_level is None:
        answer["loss"]["directions_above_local"] = int((values > convention.beta / 4).sum())


def weigh_waking(c: Config, values, level: float | None) -> str | None:
    """Returns when latents wake in ``train`` at its defaults but for the weight; None where none does.

    Args:
      c: the flags, whose weight it is where one was given.
      values: the eigenvalues of the data's covariance.
      level: the water level of a loss that was given; else None.
    """
    from vae_jax.runs import settings, settling, waking_forecast

    own = {name: getattr(c, name) for name in OWN if getattr(c, name) is not None}
    given = bool(own) or level is None
    if not given:
        own = {"precision": "fixed", "sigma": math.sqrt(level)}
    beta = own.pop("beta", 1.0)
    if "beta_norm" in own:
        beta = beta_from_norm(own.pop("beta_norm"), len(values), c.latent_dim)
    config = settings.Config(latent_dim=c.latent_dim, **own)
    first = 0.1 if config.precision == "fixed" else settling.initial_sigma(config, values)
    config = dataclasses.replace(config, sigma=config.sigma or first)
    found = waking_forecast.told(waking_forecast.linear_run(config, values), beta, "linear")
    if found is None:
        return None
    which = "your weight" if c.beta is not None or (own and given) else "your loss" if not given else "beta = 1"
    return f"{which} in train's {config.num_steps:,} steps at its learning rate: {found['said']}"


def weigh_patches(c: Config, dataset) -> dict[str, Any]:
    """What a spatial autoencoder of this stride and width can keep of the images, if it is linear."""
    from vae_jax.data.rows import sample

    if len(dataset.event) != 3 or dataset.words or c.pixels != "grey":
        raise UserError(f"--patch={c.patch} is of grey or colour images as they are, and {c.dataset} holds none such")
    images = sample(dataset.train, max(64, min(20_000, VALUES // math.prod(dataset.event))))
    images = images.astype("float32") / (1 if dataset.levels is None else dataset.levels - 1)
    per_patch = c.target_kl and c.target_kl * c.patch**2 / math.prod(dataset.event[:2])
    try:
        return fields.limits(images, c.patch, c.channels, per_patch)
    except ValueError as error:
        raise UserError(f"--patch={c.patch} --channels={c.channels}: {error}") from None


def main(config: Config) -> None:
    """Prints the answer, and writes it where there is a place for it."""
    c = check(config)
    answer: dict[str, Any] = {"warnings": []}
    if c.known:
        answer["known"] = [
            {
                **k._asdict(),
                **k.convention._asdict(),
                "text": k.text,
                "laplace_scale": k.laplace_scale,
                "form": k.form if isinstance(k.form, str) else k.form._asdict(),
            }
            for k in KNOWN
        ]
    if c.dataset:
        weigh_data(c, answer)
    elif c.recon or c.loss:
        weigh_loss(c, c.data_dim, answer)
    # The answer ends with what to type: where it was written is said before.
    if c.workdir or c.dataset:
        folder = Path(c.workdir or f"runs/weigh_{Path(c.dataset).stem[:80]}")
        written = [folder / "weigh.json"]
        write_json(written[0], answer)
        if c.dataset:
            written.append(folder / "figures" / "weigh.png")
            write_atomic(written[1], figure(answer).png)
        print("written: " + ", ".join(map(str, written)) + "\n")
    print(text(answer))
