"""Ways out of this package: parameters with a configuration and a card, or programs that JAX alone runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from vae_jax.runs import known_data
from vae_jax.runs.settings import Config as RunConfig
from vae_jax.runtime import tensors
from vae_jax.runtime.fields import from_dict
from vae_jax.runtime.files import read_object, write_atomic, write_json
from vae_jax.trained.card import card
from vae_jax.trained.encoding import open_run
from vae_jax.trained.flags import Export as Config
from vae_jax.trained.loading import assemble, check_path
from vae_jax.trained.model import TrainedVAE
from vae_jax.types import UserError

FORMAT = 1  # of config.json
PLACES = (
    "workdir",
    "data_dir",
    "plugin",
    "coordinator",
    "num_processes",
    "process_id",
)  # of the machine it was made on
PLATFORMS = ("cpu", "cuda", "tpu")


def main(config: Config) -> None:
    """Writes an export of a run."""
    if config.output is None:
        raise UserError("--output=FOLDER is needed: where the export goes")
    folder = Path(config.output)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output={folder} is a file; an export is a folder")
    model = open_run(config.workdir, config.beta, config.data_dir, config.plugin)
    files = FORMATS[config.format](model, folder)
    print(f"{', '.join(files)}: {folder}")


def save_pretrained(model: TrainedVAE, folder: Path) -> list[str]:
    """Writes parameters, configuration and card, which ``from_pretrained`` reads; returns the names of the files."""
    flags = {name: value for name, value in dataclasses.asdict(model.config).items() if name not in PLACES}
    tensors.write_tensors(folder / tensors.FILE, model.params, {"format": "vae_jax"})
    _write_config(folder, model, flags=flags, results=model.results)
    return [tensors.FILE, *_write_card(folder, model, "safetensors")]


def from_pretrained(folder: str | Path, plugin: str | Path | None = None) -> TrainedVAE:
    """Opens an export (``--format=safetensors``). Nothing in it is executed.

    Args:
      folder: of the export.
      plugin: FILE.py that the model was trained with, where it was; its content must be what it was then.

    Raises:
      UserError: it is no such export, or damaged.
    """
    check_path("from_pretrained", folder)
    folder = Path(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no export: there is no config.json")
    value = read_object(path, "export the run again", strict=True)
    if value.get("vae_jax_export") != FORMAT or not isinstance(value.get("flags"), dict):
        raise UserError(f"{path} is no export of this version, of --format=safetensors; load opens the folder of a run")
    flags = from_dict(RunConfig, value["flags"] | {"plugin": plugin and str(plugin)}, str(path))
    model = assemble(flags, known_data.from_object(value.get("data"), str(path)))
    params = tensors.filled(model.params, tensors.read_tensors(folder / tensors.FILE), str(folder))
    results = value.get("results")
    return dataclasses.replace(model, params=params, results=results if isinstance(results, dict) else None)


def save_stablehlo(model: TrainedVAE, folder: Path) -> list[str]:
    """Writes encode and decode as programs of a symbolic batch, their parameters within; JAX alone runs them."""
    if model.data.condition is not None:
        raise UserError(
            f"--format=stablehlo is of encode(x) and decode(z), and this run has --condition={model.config.condition}; "
            "--format=safetensors keeps all of it"
        )
    raw = jnp.int32 if model.data.words else jnp.float32 if model.data.levels is None else jnp.uint8
    shapes = {"encode": ((*model.event,), raw), "decode": ((model.latent_dim,), jnp.float32)}
    for name, function in programs(model).items():
        shape, dtype = shapes[name]
        example = jax.ShapeDtypeStruct((jax.export.symbolic_shape("b")[0], *shape), dtype)
        with jax.default_matmul_precision("highest"):
            exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(example)
        write_atomic(folder / f"{name}.stablehlo", bytes(exported.serialize()))
    inputs = {name: {"shape": ["b", *shape], "dtype": jnp.dtype(dtype).name} for name, (shape, dtype) in shapes.items()}
    _write_config(folder, model, inputs=inputs)
    return ["encode.stablehlo", "decode.stablehlo", *_write_card(folder, model, "stablehlo")]


def programs(model: TrainedVAE) -> dict[str, Callable]:
    """Returns ``x [b, *event] -> (mean, std) [b, d]`` and ``z [b, d] -> E[x|z]``, in own units; token ids of a text."""
    key = model.own_key
    each = jax.vmap

    def encode(x):
        rows = jnp.arange(x.shape[0], dtype=jnp.uint32)
        return each(model.posterior, (None, None, 0, 0))(model.params, key, rows, x)

    def decode(z):
        return each(lambda z: model.mean(model.params, key, None, z))(z)

    return {"encode": encode, "decode": decode}


def save_onnx(model: TrainedVAE, folder: Path) -> list[str]:
    """Refuses: no converter was found good. Of jax2onnx 0.17.1 Linen's layers have no rule under ``vmap``."""
    raise UserError(
        "--format=onnx: jax2onnx cannot convert these models yet; --format=stablehlo runs wherever JAX does"
    )


FORMATS = {"safetensors": save_pretrained, "stablehlo": save_stablehlo, "onnx": save_onnx}


def _write_config(folder: Path, model: TrainedVAE, **more: Any) -> None:
    content = {"vae_jax_export": FORMAT, "data": known_data.as_json(model.data), **more}
    write_json(folder / "config.json", content)


def _write_card(folder: Path, model: TrainedVAE, kind: str) -> list[str]:
    write_atomic(folder / "README.md", card(model, kind))
    return ["config.json", "README.md"]
