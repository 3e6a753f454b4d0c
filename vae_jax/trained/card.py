"""The card of an exported model: what it is of, what it weighed, and how good it was on data that it had not seen."""

from __future__ import annotations

from vae_jax.trained.model import TrainedVAE
from vae_jax.types import one_line

USE = {
    "safetensors": """import vae_jax

model = vae_jax.from_pretrained("FOLDER")
mean, std = model.encode(x)  # x: {x}
""",
    "stablehlo": """import jax  # and flatbuffers, which jax.export reads with: pip install jax flatbuffers
import numpy as np

files = [open(f"FOLDER/{{name}}.stablehlo", "rb").read() for name in ("encode", "decode")]
encode, decode = map(jax.export.deserialize, files)
mean, std = encode.call(x)  # x: {x}
made = decode.call(np.zeros((1, {d}), np.float32))
""",
}
NUMBERS = {
    "elbo": "ELBO at beta = 1, nats per example",
    "rate": "rate, the KL from the prior, nats",
    "distortion": "distortion, nats",
    "iw_nll": "importance-weighted negative log-likelihood, nats",
    "bits_per_dim": "bits per dimension",
    "perplexity": "perplexity",
    "mse": "squared error per dimension, of [0, 1] pixels or in the columns' units",
    "calibration": "calibration, squared error over the model's variance",
    "active_units": "active units",
}


_UNITS = {
    "safetensors": "the data's own, in and out; shift and scale of config.json bring them to the networks'",
    "stablehlo": "standardised: encode takes (value - shift) / scale and decode returns (value - shift) / scale, with "
    "data.table.shift and data.table.scale of config.json, a number for each column; use float64 for it",
}


def _counted(examples: tuple[int, ...]) -> str | None:
    named = [f"{n:,} {split}" for n, split in zip(examples, ("training", "test", "validation"))]
    return " and ".join([", ".join(named[:-1]), named[-1]]) + " examples" if len(named) > 1 else None


def card(model: TrainedVAE, kind: str) -> str:
    """Returns the card in Markdown; numbers that there are not are left out."""
    c, results, data = model.config, model.results or {}, model.data
    shape = "x".join(map(str, model.event))
    values = (
        "float rows" if data.levels is None else f"{data.levels} token ids" if data.words else f"0..{data.levels - 1}"
    )
    sigma = model.sigma
    facts = {
        "data": f"{one_line(data.name, 200)}, examples of {shape}, {values}; pixels {c.pixels}",
        "examples": _counted(data.examples),
        "likelihood": c.likelihood + (f", precision {c.precision}" if c.likelihood == "gaussian" else ""),
        "sigma": None if sigma is None else f"{sigma:.6g}",
        "weight": f"{c.weighting}, beta {_number(results.get('beta', c.beta))}, objective {c.objective}",
        "water level": None if results.get("water_level") is None else f"{results['water_level']:.6g} = beta sigma^2",
        "model": f"{c.model} {c.hidden}, {c.latent_dim} latents",
        "latents": None if model.vae.latents is None else f"prior {c.prior}, posterior {c.posterior}",
        "units": _UNITS[kind] if data.table is not None and data.table.is_scaled else None,
        "training": f"{results.get('step', 'unfinished')} steps of {c.batch_size} examples, seed {c.seed}",
    }
    lines = [f"* **{name}**: {fact}" for name, fact in facts.items() if fact is not None]
    rows = [
        f"| {words} | {_number(results[name])} |" for name, words in NUMBERS.items() if results.get(name) is not None
    ]
    table = (
        ["| on the test split | |", "|---|---|", *rows, "", results.get("protocol", "")] if rows else ["No results."]
    )
    x = f"sentences, [n, {shape}] token ids" if data.words else f"[n, {', '.join(map(str, model.event))}], {values}"
    code = USE[kind].format(x=x, d=model.latent_dim)
    title = f"# A variational autoencoder of {one_line(data.name, 200)}"
    return "\n".join([title, "", *lines, "", *table, "", "```python", code + "```", ""])


def _number(value) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)
