"""Samples, reconstructions and interpolations of a trained run, as arrays, images or sentences."""

from __future__ import annotations

import csv
import itertools
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vae_jax.data import images
from vae_jax.data.conditions import parsed
from vae_jax.data.fitting import Look
from vae_jax.data.image_files import File
from vae_jax.data.image_set import ImageSet
from vae_jax.runtime.files import write_atomic
from vae_jax.trained.encoding import open_run
from vae_jax.trained.flags import Sample as Config
from vae_jax.trained.model import TrainedVAE
from vae_jax.trained.sources import open_source
from vae_jax.types import UserError, value_of

GAP = 1  # pixels between the images of a grid


def main(config: Config) -> None:
    """Makes what was asked for and writes it."""
    if config.output is None:
        raise UserError("--output=FILE.npz, FILE.png or FOLDER is needed: where the samples go")
    if config.reconstruct is not None and config.interpolate is not None:
        raise UserError("--reconstruct and --interpolate are two things; ask for one of them")
    model = open_run(config.workdir, config.beta, config.data_dir, config.plugin)
    c = parsed(model.data.condition, config.condition)
    write = writer(config.output, model)
    if config.reconstruct is not None:
        given = _first(model, config.reconstruct, config.num)
        made = {"inputs": value_of(given), "reconstructions": model.reconstruct(given, c=c)}
    elif config.interpolate is not None:
        ends = _ends(model, config.interpolate)
        made = {"interpolation": model.interpolate(*ends, max(2, config.num), config.kind, c)}
    else:
        key = jax.random.key(config.seed)
        made = {"samples": model.sample(config.num, key, config.temperature, config.noise, c)}
    write(made)
    print(f"{', '.join(f'{len(values):,} {name}' for name, values in made.items())}: {config.output}")


def _first(model: TrainedVAE, name: str, count: int):
    """Returns the first ``count`` examples of an input."""
    source, parts, there = open_source(model, name), [], 0
    for part in source.parts(0, min(count, 1000)):
        parts.append(part.examples)
        there += len(part.ids)
        if there >= count:
            break
    if not there:
        raise UserError(f"--reconstruct={name} holds no example that the model takes")
    if model.data.words:
        return list(itertools.chain(*parts))[:count]
    return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)[:count]


def _ends(model: TrainedVAE, text: str) -> list[Any]:
    """Returns the two examples that --interpolate=A,B names."""
    names = text.split(",")
    if len(names) != 2:
        raise UserError(f"--interpolate={text} must be A,B: two image files, or two numbers of test examples")
    if all(name.strip().isdecimal() for name in names):
        wanted = [int(name) for name in names]
        test = _first(model, "test", max(wanted) + 1)
        if len(test) <= max(wanted):
            raise UserError(f"--interpolate={text}: the test split has {len(test)} examples, counted from 0")
        return [test[i] for i in wanted]
    if len(model.event) != 3 or model.data.levels is None:
        raise UserError(f"--interpolate={text}: of {model.data.name} give two numbers of test examples")
    height, width, channels = model.event
    image_set = ImageSet(text, (width, height), channels, "", Look.of(model.config), None)
    try:
        return [image_set.decode(File(os.path.expanduser(name.strip()), name, 0)) for name in names]
    except Exception as error:  # of a missing file, of pillow's decoders: errors of many kinds
        raise UserError(f"--interpolate={text}: no image of {width}x{height} there ({error})") from None


def writer(output: str, model: TrainedVAE):
    """Returns what writes the results; a path that cannot be is refused before anything is computed.

    Raises:
      UserError: the ending is not for this kind of data, or the folder is not there.
    """
    path = Path(output)
    pictures = not model.data.words and len(model.event) == 3 and model.event[2] in images.MODES
    kinds = {".npz": _write_npz}
    if pictures:
        kinds[".png"] = lambda path, made: _write_png(path, made, model)
        kinds[""] = lambda path, made: _write_folder(path, made, model)
    elif model.data.words:
        kinds[".txt"] = _write_txt
    elif len(model.event) == 1:
        kinds[".csv"] = lambda path, made: _write_csv(path, made, model)
    ending = "" if path.is_dir() else path.suffix.lower()
    if ending not in kinds:
        names = ", ".join(f"FILE{ending}" if ending else "FOLDER" for ending in kinds)
        raise UserError(f"--output={output}: of this model give {names}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--output={output}: its folder is not there")
    return lambda made: kinds[ending](path, made)


def _write_npz(path: Path, made: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp.npz")
    np.savez(temporary, **{name: np.asarray(values) for name, values in made.items()})
    os.replace(temporary, path)


def _write_txt(path: Path, made: dict[str, Any]) -> None:
    rows = zip(*made.values())
    write_atomic(path, "".join("\t".join(row) + "\n" for row in rows))


def _write_csv(path: Path, made: dict[str, Any], model: TrainedVAE) -> None:
    names = model.data.column_names or [f"column_{i}" for i in range(model.event[0])]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([name if kind != "inputs" else f"input_{name}" for kind in made for name in names])
        for row in zip(*(column for values in made.values() for column in _cells(model, np.asarray(values)))):
            writer.writerow(row)


def _cells(model: TrainedVAE, rows: np.ndarray) -> list[list[str]]:
    """Returns the cells of each column of rows ``[n, f]``: of classes their names, empty where a value is missing."""
    columns = rows.T if model.data.table is None else model.data.table.columns(rows).values()
    return [["" if v != v else v if isinstance(v, str) else f"{v:.9g}" for v in column.tolist()] for column in columns]


def _write_png(path: Path, made: dict[str, Any], model: TrainedVAE) -> None:
    """Writes a grid of images; reconstructions stand below their inputs."""
    rows = [as_bytes(values, model) for values in made.values()]
    n = len(rows[0])
    columns = min(n, 16) if len(rows) > 1 or "interpolation" in made else int(np.ceil(np.sqrt(n)))
    blocks = [row[start : start + columns] for start in range(0, n, columns) for row in rows]
    height, width, channels = model.event
    grid = np.full((len(blocks) * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 255, np.uint8)
    for i, block in enumerate(blocks):
        for j, image in enumerate(block):
            top, left = i * (height + GAP), j * (width + GAP)
            grid[top : top + height, left : left + width] = image
    _save(grid, path)


def _write_folder(path: Path, made: dict[str, Any], model: TrainedVAE) -> None:
    path.mkdir(exist_ok=True)
    for name, values in made.items():
        for i, image in enumerate(as_bytes(values, model)):
            _save(image, path / f"{name}_{i:05}.png")


def as_bytes(values: np.ndarray, model: TrainedVAE) -> np.ndarray:
    """Returns images in their own units as uint8, black 0 and white 255; of floats by the training data's range."""
    low, high = (0.0, model.data.levels - 1.0) if model.data.levels else (model.data.low, model.data.high)
    share = (np.asarray(values, np.float64) - low) / max(high - low, 1e-30)
    return np.rint(255 * np.clip(share, 0.0, 1.0)).astype(np.uint8)


def _save(pixels: np.ndarray, path: Path) -> None:
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    temporary = path.with_name(f".{path.name}.tmp.png")
    image.save(temporary)
    os.replace(temporary, path)
