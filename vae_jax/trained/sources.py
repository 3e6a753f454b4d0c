"""Where the examples of ``encode`` and ``sample`` come from: files, folders, or a split of the run's data.

A source is read from its beginning in parts, so that none of it has to be held.
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib

import numpy as np

from vae_jax.data import images
from vae_jax.data.conditions import with_condition
from vae_jax.data.dataset import channels_last
from vae_jax.data.fitting import Look
from vae_jax.data.image_files import DEEP, LeftOut, counted, find, of_one_depth, why, with_headers
from vae_jax.data.image_index import Index
from vae_jax.data.image_labels import find_labels
from vae_jax.data.image_set import ImageSet, check_opaque
from vae_jax.data.npz import WORDS, open_array
from vae_jax.data.reading import Reading
from vae_jax.data.resizing import alike
from vae_jax.data.table import is_table
from vae_jax.data.text import is_text, load_text
from vae_jax.runs import placement
from vae_jax.runs.names import load_dataset, names_of
from vae_jax.trained.model import TrainedVAE
from vae_jax.trained.row_sources import Part, Source, csv_file, identity, in_parts, opened, table
from vae_jax.types import Given, UserError, one_line

SPLITS = ("train", "validation", "test")
LABELS = ("labels", "factors")


def open_source(model: TrainedVAE, name: str) -> Source:
    """Opens FOLDER, FILE.npz, FILE.csv, FILE.txt (of a text), or train, validation or test of the run's own data.

    Raises:
      UserError: it is not there, or holds no examples of the model's kind.
    """
    path = os.path.expanduser(name)
    if name in SPLITS:
        return _split(model, name)
    if not os.path.exists(path):
        raise UserError(f"--input={name}: there is no such file or folder; or give one of {', '.join(SPLITS)}")
    if os.path.isdir(path):
        return _folder(model, path)
    if not os.path.isfile(path):
        raise UserError(f"--input={name} is no regular file")
    ending = os.path.splitext(path)[1].lower()
    kinds = {".npz": _npz, ".csv": csv_file, ".txt": _txt}
    if model.data.column_names and is_table(path):
        return table(model, path)
    if ending not in kinds:
        raise UserError(f"--input={name}: give a folder of images, FILE.npz, FILE.csv, FILE.txt, or a split's name")
    if (ending == ".txt") != bool(model.data.words) and ending != ".npz":
        raise UserError(f"--input={name}: {'a text is read from' if model.data.words else 'only a text is'} FILE.txt")
    return kinds[ending](model, path)


def _split(model: TrainedVAE, name: str) -> Source:
    c = model.config
    if model.data.words and is_text(c.dataset):
        dataset = load_text(c.dataset, c.max_length, c.max_words, c.data_dir, c.rare_words)
    else:
        dataset = load_dataset(names_of(c), c.dataset, Reading.of(c, placement.bytes_held()))
    dataset = with_condition(dataset, c.condition, model.data.condition)
    rows, known = getattr(dataset, name), getattr(dataset, f"{name}_c")
    if rows is None:
        raise UserError(f"--input={name}: {c.dataset} has no such split")
    if (dataset.event, dataset.levels) != (model.event, model.data.levels):
        raise UserError(f"--input={name}: {c.dataset} holds other data than those that the model was trained on")
    factors = getattr(dataset, f"{name}_factors", None)

    def parts(first, size):
        for start in range(first, len(rows), size):
            stop = min(start + size, len(rows))
            own = rows[start:stop] if dataset.table is None else dataset.table.to_own(rows[start:stop])
            own = own if known is None else Given(own, known[start:stop])
            yield Part(own, [*range(start, stop)], None if factors is None else factors[start:stop])

    names = () if factors is None else tuple(dataset.factor_names)
    identity = f"{c.dataset} {name} {len(rows)}"
    return Source(identity, len(rows), parts, names, class_names=tuple(dataset.class_names))


def _folder(model: TrainedVAE, path: str) -> Source:
    if len(model.event) != 3 or (model.data.levels is None and model.event[2] != 1):
        raise UserError(f"--input={path} is a folder of images, and {model.data.name} are none")
    height, width, channels = model.event
    left_out: LeftOut = {}
    index = Index(path)
    files = with_headers(find(path, path, left_out), path, left_out, index)
    index.save()
    files, depth = of_one_depth(files, left_out)
    if not files:
        what = f" ({counted(left_out)})" if left_out else ""
        raise UserError(f"--input={path}: no images in this folder{what}")
    look = Look.of(model.config)
    check_opaque(f"--input={path}", files, look)
    image_set = ImageSet(path, (width, height), channels, depth, look, None)
    if (model.data.levels is None) != image_set.is_float:
        kind = DEEP.get(depth, "images of 8 bits a channel")
        raise UserError(f"--input={path} holds {kind}, and {model.data.name} are others")
    labels = find_labels(path, files, left_out).coded_as(model.data.class_names)
    listing = "\n".join(f"{file.name} {file.bytes} {labels.values.get(file.name)}" for file in files)

    def decoded(file):
        try:
            return image_set.decode(file)
        except MemoryError:
            raise
        except images.OtherSize:
            return f"not {width}x{height}, the size that the model takes"
        except Exception as error:  # pillow's decoders raise errors of many kinds
            return why(error)

    def parts(first, size):
        for start in range(first, len(files), size):
            some = files[start : start + size]
            made = images.map_in_threads(decoded, some)
            for file, image in zip(some, made):
                if isinstance(image, str):
                    left_out.setdefault(image, []).append(file.name)
            sound = [(image, file) for file, image in zip(some, made) if not isinstance(image, str)]
            pixels = np.stack([image for image, _ in sound]) if sound else np.zeros((0, *model.event), np.uint8)
            if model.data.levels == 2:  # black and white, however grey the files' edges are
                pixels = (pixels > 127).astype(np.uint8)
            used = [file for _, file in sound]
            yield Part(pixels, [file.name for file in used], labels.of(used), len(some))

    identity = f"{os.path.abspath(path)} {len(files)} files {zlib.crc32(listing.encode())}"
    return Source(identity, len(files), parts, labels.names, left_out, labels.class_names, labels.notes)


def _npz(model: TrainedVAE, path: str) -> Source:
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # of a zip file: errors of many kinds
        raise UserError(f"--input={path} is damaged, or no .npz ({error})") from None
    there = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    names = [name for name in SPLITS if name in there]
    if "x" in there or not names:
        names = ["x"] if "x" in there else [name for name in there if not name.endswith((*LABELS, *WORDS))]
        if len(names) != 1:
            what = ", ".join(there) or "no array"
            raise UserError(f"--input={path} holds {what}; call the array of examples x, or train and test")
    lengths = {name: open_array(path, archive, name)[0][0] for name in names}
    labels = {name: _labels(path, archive, there, name, length) for name, length in lengths.items()}
    width = {None if part is None else part.shape[1] for part in labels.values()}
    width = width.pop() if len(width) == 1 else None
    look, layout = Look.of(model.config), model.config.layout

    def parts(first, size):
        done = 0
        for name, length in lengths.items():
            shape, dtype, file = open_array(path, archive, name)
            row = math.prod(shape[1:]) * dtype.itemsize
            for start in range(0, length, size):
                stop = min(start + size, length)
                raw = file.read((stop - start) * row)
                if done >= first:
                    values = np.frombuffer(raw, dtype).reshape(stop - start, *shape[1:])
                    values = alike(channels_last(f"--input={path}", name, values, layout), model.event, look)
                    ids = [i if len(names) == 1 else f"{name}/{i}" for i in range(start, stop)]
                    yield Part(values, ids, None if width is None else labels[name][start:stop])
                done += stop - start

    classes = tuple(_words(path, archive, there, "class_names"))
    label_names = tuple(_words(path, archive, there, "factor_names"))
    if len(label_names) != (width or 0):
        label_names = ("label",) if classes and width == 1 else tuple(f"label_{i}" for i in range(width or 0))
    return Source(identity(path), sum(lengths.values()), parts, label_names, class_names=classes)


def _words(path: str, archive: zipfile.ZipFile, there: list[str], name: str) -> list[str]:
    if name not in there:
        return []
    shape, dtype, file = open_array(path, archive, name)
    if dtype.kind != "U" or len(shape) != 1:
        raise UserError(f"--input={path}: {name} has dtype {dtype} and shape {shape}; it must be strings [n]")
    return [one_line(word, 100) for word in np.frombuffer(file.read(), dtype).tolist()]


def _labels(path: str, archive: zipfile.ZipFile, there: list[str], name: str, length: int) -> np.ndarray | None:
    """Returns the labels of an array of examples, ``[n, k]``: they are small, and held."""
    own = [label for label in (f"{name}_factors", f"{name}_labels", "labels", "factors") if label in there]
    if not own:
        return None
    shape, dtype, file = open_array(path, archive, own[0])
    values = np.frombuffer(file.read(), dtype).reshape(shape)
    if not shape or shape[0] != length or len(shape) > 2:
        raise UserError(f"--input={path}: {own[0]} has shape {shape}, and {name} holds {length} examples")
    return values.reshape(length, -1)


def _txt(model: TrainedVAE, path: str) -> Source:
    with opened(path) as file:
        count = sum(1 for line in file if line.strip())

    def parts(first, size):
        with opened(path) as file:
            lines = ((number, line.strip()) for number, line in enumerate(file, start=1) if line.strip())
            for _, some in in_parts(lines, first, size):
                yield Part([line for _, line in some], [number for number, _ in some])

    return Source(identity(path), count, parts)
