"""Any image set of TFDS by its name, read without TensorFlow.

Sets are prepared once (scripts/prepare_data.sh) as array_record files, which have random access and a reader
of their own. Labels are left alone; images are decoded once into one uint8 array, or where that is too large read
while they are used.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
import logging
import os
from collections.abc import Iterable, Mapping

import numpy as np

from vae_jax.data import images
from vae_jax.data.dataset import Dataset, from_images
from vae_jax.data.decoded import remembered
from vae_jax.data.fitting import Look, named, of_shape
from vae_jax.data.reading import Reading
from vae_jax.data.rows import Rows, hold
from vae_jax.data.splits import by_split, roles
from vae_jax.types import UserError


def root(data_dir: str | None = None) -> str:
    """Where prepared sets are: the argument, else $VAE_JAX_DATA_DIR, else TFDS's own default."""
    for folder in (data_dir, os.environ.get("VAE_JAX_DATA_DIR"), os.environ.get("TFDS_DATA_DIR")):
        if folder:
            return os.path.expanduser(folder)
    return os.path.join(os.path.expanduser("~"), "tensorflow_datasets")


def known(name: str, data_dir: str | None = None) -> bool:
    """Whether TFDS has this set (``NAME``, ``NAME/CONFIG``, ``NAME:VERSION``), or one is prepared here."""
    first = name.split("/")[0].split(":")[0]
    # The list of names takes .3 s.
    return bool(first.strip(".~")) and (os.path.isdir(os.path.join(root(data_dir), first)) or first in _names())


def _names() -> list[str]:
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)  # the community's list would need a network


def unknown(name: str, built_in: Iterable[str]) -> UserError:
    """The error for a name that means nothing, with the closest names that do."""
    built_in = list(built_in)
    close = difflib.get_close_matches(name.lower(), built_in + _names(), n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return UserError(
        f"--dataset={name} is neither built in ({', '.join(built_in)}), nor a TFDS name, nor an existing "
        "file or folder" + hint
    )


def read(name: str, reading: Reading) -> Dataset:
    """Reads a prepared image set.

    Its splits named as such (``splits.SPLITS``) are the splits. The classes of a feature ``label`` are the factor of
    that name, where all images are held.

    Args:
      name: a name for which ``known`` holds.
      reading: how.

    Returns:
      A ``Dataset`` of uint8 images.

    Raises:
      UserError: the set is not prepared, holds no uint8 images or images of several sizes without an --image_size, or
        its files are damaged.
    """
    import tensorflow_datasets as tfds

    data_dir, look = reading.data_dir, Look.of(reading)
    folder, resized = root(data_dir), Resized()
    with _quiet(), _own_features_only():
        try:
            builder = tfds.builder(name, data_dir=folder, file_format="array_record")
        except Exception as error:  # a bad configuration or version, damaged metadata: errors of many kinds
            again = f"; prepare it into another folder, VAE_JAX_DATA_DIR=FOLDER scripts/prepare_data.sh {name}"
            hint = again if "file format" in str(error).lower() else ""
            raise UserError(f"--dataset={name}: TFDS cannot open it: {_first_line(error)}{hint}") from error
        names = list(builder.info.splits)
        if not names:
            prefix = f"VAE_JAX_DATA_DIR={folder} " if data_dir else ""
            raise UserError(
                f"--dataset={name} is known to TFDS but not prepared (looked in {builder.data_dir}); "
                f"run {prefix}scripts/prepare_data.sh {name}"
            )
        there = by_split(f"--dataset={name}", names)
        named, notes = roles(f"--dataset={name}", there, reading)
        key, channels = _image_feature(builder.info.features, name)
        classes = Classes(builder.info.features)
        rows = {
            s: _rows(builder, there[s], key, channels, look, resized, classes) for s in dict.fromkeys(named.values())
        }
        # Which images were brought to another size is known of those alone that are decoded.
        keep = None if look.size else classes
        arrays = {split: _held(builder.name, split, some, reading.most_held, keep) for split, some in rows.items()}
        splits = {"test": None} | {role: arrays[split] for role, split in named.items()}
        dataset = from_images(name, notes=[*notes, *resized.notes(look, [*arrays.values()])], **splits)
        factors = {f"{role}_factors": classes.of(there[split]) for role, split in named.items()}
        if any(own is None for own in factors.values()):
            return dataset
        return dataset._replace(**factors, factor_names=("label",), class_names=classes.names)


class Classes:
    """The classes of the images that have been read: they come with the images, and are not read for themselves."""

    def __init__(self, features):
        import tensorflow_datasets as tfds

        fields = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
        feature = fields.get("label")
        self.names = tuple(feature.names) if isinstance(feature, tfds.features.ClassLabel) else ()
        self.seen: dict[str, np.ndarray] = {}

    def note(self, split: str, n: int, indices: Iterable[int], records: Iterable[Mapping]) -> None:
        """Remembers the classes of some records."""
        if self.names:
            own = self.seen.setdefault(split, np.full(n, -1, np.int64))
            for i, record in zip(indices, records):
                own[i] = record["label"]

    def of(self, split: str) -> np.ndarray | None:
        """Returns the classes ``[n, 1]`` of a split of which all has been read; else None."""
        own = self.seen.get(split)
        return None if own is None or (own < 0).any() else own[:, None]


class Resized:
    """Which images of a set were brought to another size: known once all of them are decoded, not before."""

    def __init__(self):
        self.sizes: dict[tuple[str, int], tuple[int, int]] = {}

    def notes(self, look: Look, splits) -> list[str]:
        """Says how many, or of ``Rows`` how."""
        if look.size is None:
            return []
        if any(isinstance(split, Rows) for split in splits):
            return [f"images of another size are brought to {named(look.size)} while they are read (--fit={look.fit})"]
        reshaped = sum(not of_shape(size, look.size) for size in self.sizes.values())
        return look.note(len(self.sizes), reshaped, sum(map(len, splits)))


def _image_feature(features, name):
    """The key and the number of channels of the image to model."""
    import tensorflow_datasets as tfds

    fields = features if isinstance(features, tfds.features.FeaturesDict) else {}
    candidates = {key: f for key, f in fields.items() if isinstance(f, tfds.features.Image)}
    if "image" in candidates:
        candidates = {"image": candidates["image"]}
    if len(candidates) != 1:
        what = f"several images an example ({', '.join(candidates)})" if candidates else "no images"
        raise UserError(f"--dataset={name} holds {what}; only sets with one image an example can be read")
    ((key, feature),) = candidates.items()
    if feature.np_dtype != np.uint8 or feature.shape[-1] not in images.MODES:
        kind = f"{np.dtype(feature.np_dtype)} images with {feature.shape[-1] or 'any number of'} channels"
        raise UserError(f"--dataset={name} holds {kind}; only uint8 ones with 1, 3 or 4 can be read")
    return key, feature.shape[-1]


def _rows(builder, split, key, channels, look, resized, classes) -> Rows:
    """The images of one split, ``[n, h, w, c]``: only the first of them is decoded, for its shape."""
    import tensorflow_datasets as tfds

    fit = look.fit if look.size else None

    def some(indices, size=None):
        # The image's bytes are decoded here: faster than through TFDS, and no choice between two decoders.
        records = source.__getitems__(list(indices))
        classes.note(split, len(source), indices, records)
        files = [io.BytesIO(record[key]) for record in records]
        for index, file in zip(indices, files) if fit else ():
            if (own := images.header(file).size) != size:
                resized.sizes[split, int(index)] = own
        return [images.decode(file, channels, size, None, fit) for file in files]

    @_sound(builder)
    def read(indices):
        try:
            return some(indices, (width, height))
        except images.OtherSize as error:
            raise UserError(
                f"--dataset={builder.name} holds images of differing sizes ({error} in {split}); "
                f"--image_size={named((width, height))} brings all to one size, and --fit says how"
            ) from error

    with _sound(builder):
        source = builder.as_data_source(split=split, decoders={key: tfds.decode.SkipDecoding()})
        if len(source) == 0:
            raise UserError(f"--dataset={builder.name}: the {split} split is empty")
        width, height = look.size or some([0])[0].shape[1::-1]
    info = builder.info.splits[split]
    identity = f"{builder.info.full_name} {split} {key} {info.num_bytes} {list(info.shard_lengths or ())}"
    identity += f" {look}" if fit else ""
    return Rows(read, (len(source), height, width, channels), identity.encode(), [*map(str, info.filepaths)])


def _held(name: str, split: str, rows: Rows, most: int | None, classes: Classes | None) -> np.ndarray | Rows:
    """As ``rows.hold``; with ``classes`` from a copy, where one was kept, that has those of the images as well."""
    held = functools.partial(hold, rows, most, f"{name} ({split})")
    if classes is None or (most is not None and rows.nbytes > most):
        return held()

    def decode():
        images, own = held(), classes.seen.get(split)
        return {"images": images} if own is None else {"images": images, "classes": own}

    found = remembered(rows.identity, rows.files, rows.shape, decode)
    if "classes" in found:
        classes.seen[split] = found["classes"]
    return found["images"]


@contextlib.contextmanager
def _sound(builder):
    """Refuses the set where its files are not what they were."""
    try:
        yield
    # Of array_record, pillow (a broken PNG is a SyntaxError) and TFDS.
    except (OSError, ValueError, IndexError, RuntimeError, SyntaxError, EOFError) as error:
        raise UserError(
            f"--dataset={builder.name}: the files in {builder.data_dir} are damaged ({_first_line(error)}); "
            f"remove that folder and run scripts/prepare_data.sh {builder.name}"
        ) from error


def _first_line(error):
    # TFDS puts the arguments of the call in front, as a dict; what matters comes after.
    return (str(error).strip() or repr(error)).splitlines()[0].split('}": ')[-1].rstrip(":.")


@contextlib.contextmanager
def _own_features_only():
    """Nothing is imported because the metadata of a set name it: they may be anybody's, and name any module."""
    from tensorflow_datasets.core.features import FeatureConnector

    find = FeatureConnector.__dict__["cls_from_name"]

    def known(cls, name):
        if not name.startswith("tensorflow_datasets.core.features."):
            raise ValueError(f"its metadata names the feature {name}, which is none of TFDS's own")
        return find.__get__(None, cls)(name)

    FeatureConnector.cls_from_name = classmethod(known)
    try:
        yield
    finally:
        FeatureConnector.cls_from_name = find


@contextlib.contextmanager
def _quiet():
    """No warnings of TFDS about what the errors here say better."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
