"""The audit of a trained VAE: of a file of outputs from anywhere, or of one of our own runs."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vae_jax.data.outputs import open_outputs
from vae_jax.report import audit_page
from vae_jax.runs.audit import measure
from vae_jax.runs.audit_reading import Asked
from vae_jax.runtime.config import check_values
from vae_jax.runtime.files import read_object
from vae_jax.trained.flags import Audit as Config
from vae_jax.types import UserError


def main(config: Config) -> None:
    """Prints the audit and writes ``audit.json`` and ``report.html``."""
    check_values(config)
    c = config
    if not (c.outputs or c.workdir):
        raise UserError("nothing to audit: give --outputs=FILE.npz, or --workdir=DIR of a run (see --help)")
    asked = Asked(c.loss, _range(c.pixel_range), c.channel_axis, c.target_rate, c.target_channels, c.batch_size)
    if c.outputs:
        answer, folder = measure(open_outputs(c.outputs), asked), Path(c.workdir or _beside(c.outputs))
    else:
        folder = Path(c.workdir) / "audit"
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "outputs.npz"
            results = export(c, path)
            answer = measure(open_outputs(str(path)), asked)
        answer["outputs"] = f"{c.workdir}, {c.input}"
        answer["results"] = compare(answer, results)
    print(audit_page.text(answer))
    print("\nwritten: " + ", ".join(map(str, audit_page.write(folder, answer))))


def export(c: Config, path: Path) -> dict[str, Any]:
    """Writes the outputs of a run of ours, as another framework would, and returns its results."""
    import jax
    import jax.numpy as jnp

    from vae_jax.trained.encoding import open_run
    from vae_jax.trained.examples import own_units
    from vae_jax.trained.sources import SPLITS, open_source

    model = open_run(c.workdir, None, None, None)
    if c.input not in SPLITS:
        raise UserError(f"--input={c.input}: an audit of a run takes one of {', '.join(SPLITS)}")
    if model.data.condition is not None:
        raise UserError(f"an audit knows no c, and this run has --condition={model.config.condition}")
    if model.data.words:
        raise UserError("a text has no squared error: an audit takes images, rows and tables")
    if model.vae.latents is not None:
        raise UserError(
            f"an audit measures codes by N(0, I) and a diagonal Gaussian; this run has --prior={model.config.prior} "
            f"--posterior={model.config.posterior}"
        )
    levels, units = model.data.levels, own_units(model.config.pixels, model.data.levels)
    generator, parts = np.random.default_rng(c.seed), []
    for part in open_source(model, c.input).parts(0, 16 * model.batch_size):
        first = part.ids[0]
        mean, std = model.encode(part.examples, first=first)
        z = mean + std * generator.standard_normal((c.draws, *mean.shape)).astype(np.float32)
        keys = np.arange(first, first + len(mean))
        raw = model.read(part.examples).raw
        seen = jax.vmap(lambda row, one: model._x(model.own_key, row, one))(jnp.asarray(keys), jnp.asarray(raw))
        x_sample = np.stack([model.decode(draw) for draw in z])
        parts.append((np.asarray(units(seen)), model.decode(mean), x_sample, mean, std, z))
    names = ("x", "x_mean", "x_sample", "mean", "std", "z")
    axes = (0, 0, 1, 0, 0, 1)
    arrays = {name: np.concatenate(some, axis) for name, some, axis in zip(names, zip(*parts), axes)}
    if levels is not None:
        arrays["pixel_range"] = np.array([0.0, levels - 1.0])
    np.savez(path, **arrays)
    found = Path(c.workdir) / "results.json"
    return read_object(found, "train the run to its end") if found.exists() else {}


def compare(answer: dict[str, Any], results: dict[str, Any]) -> dict[str, list[float | None]]:
    """Sets what the audit tells of a run beside its own results: name -> [results.json, audit]."""
    pixels, sigma = answer["pixels"], results.get("sigma")
    dim, error = pixels["data_dim"], pixels["squared_error"]
    own = {"water_level": answer["water_level"], "rate": answer["rate"], "mse": error / dim}
    if isinstance(sigma, float) and results.get("water_level"):
        # The bound at the run's own sigma, where the audit's is at that of the error made.
        own["elbo"] = -0.5 * (error / sigma**2 + dim * math.log(2.0 * math.pi * sigma**2)) - answer["rate"]
    if isinstance(trained := results.get("trained_sigma"), float) and isinstance(sigma, float):
        # The weight is that of training; afterwards sigma was brought to the error made on the validation split.
        results = results | {"water_level": results["water_level"] * (trained / sigma) ** 2}
    pairs = {name: [results[name], value] for name, value in own.items() if results.get(name) is not None}
    shown = ", ".join(f"{name} {a:.5g} / {b:.5g}" for name, (a, b) in pairs.items() if b is not None)
    if shown:
        answer["findings"].append(
            {"topic": "results", "sentence": f"results.json / this audit: {shown}.", "attention": False}
        )
    return pairs


def _beside(path: str) -> Path:
    return Path(path).parent / f"audit_{Path(path).stem[:80]}"


def _range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = map(float, text.strip("[]()").split(","))
    except ValueError:
        low = high = 0.0
    if not low < high:
        raise UserError(f"--pixel_range={text}: expected the lowest and the highest value, such as 0,1 or -1,1")
    return low, high
