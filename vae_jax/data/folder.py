"""A folder of images as a ``Dataset``: held in memory, or read while it is used."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence

from vae_jax.data.dataset import Dataset, from_images
from vae_jax.data.fitting import Look
from vae_jax.data.image_files import (
    LINKS,
    OTHERS,
    SUFFIXES,
    File,
    LeftOut,
    counted,
    find,
    listed,
    of_one_depth,
    unusable,
    with_headers,
)
from vae_jax.data.image_index import Index
from vae_jax.data.image_labels import find_labels
from vae_jax.data.image_set import check_opaque, make_image_set
from vae_jax.data.reading import Reading
from vae_jax.data.splits import by_split, roles, split_of
from vae_jax.types import UserError


def read_folder(path: str, reading: Reading) -> Dataset:
    """Reads a folder of images, subfolders included.

    Its subfolders that are named as splits (``splits.SPLITS``) are the splits; otherwise all images are train. If
    every image is grey the result has one channel, else three; transparent
    pixels are laid on --alpha; photographs are turned upright; --image_size brings them to one size. Grey images of
    more than 8 bits, where most are, become float32 (``images.decode_deep``).

    Files that cannot be used are left out, and ``notes`` counts and names them: of zero bytes, truncated, no images
    whatever their name says, of more pixels than a sound image has, of another depth than most, not readable, no
    regular files. A file is read as what it holds, not as what its name says. Of a split that is not held a truncated
    file is found when its turn comes, and is then an error.

    Args:
      path: the folder.
      reading: how.

    Returns:
      A ``Dataset`` of images, named as the path, with the splits that the folder has.

    Raises:
      UserError: no such folder, no images, one image only, more unusable files than usable ones, sizes that differ (a
        file of the rarer one is named), images in no split beside splits, splits within classes, transparent pixels
        with --alpha=refuse, more images of more than 8 bits than can be held.
    """
    if not os.path.isdir(path):
        raise UserError(f"{path}: there is no such folder")
    with warnings.catch_warnings(action="ignore"):  # of pillow, about what is said here file by file
        return _read_folder(path, reading, Look.of(reading))


def _read_folder(path: str, reading: Reading, look: Look) -> Dataset:
    left_out: LeftOut = {}
    parts = _candidates(path, left_out)
    named, notes = roles(path, parts, reading)
    used = {split: parts[split] for split in dict.fromkeys(named.values())}
    index = Index(path)
    used = {split: with_headers(files, path, left_out, index) for split, files in used.items()}
    index.save()
    sound, depth = of_one_depth([file for part in used.values() for file in part], left_out)
    used = {split: [file for file in part if file.header.deep == depth] for split, part in used.items()}
    check_opaque(path, sound, look)
    # What can be used is known once all is decoded, and what it has in common only then.
    while True:
        _check_enough(path, used, left_out)
        files = [file for part in used.values() for file in part]
        image_set = make_image_set(path, files, depth, look, reading.most_held)
        broken: dict[str, str] = {}
        arrays = {split: image_set.read(part, broken) for split, part in used.items()}
        if not broken:
            labels = find_labels(path, files, left_out)
            notes = [*_notes(left_out, len(files)), *image_set.notes(files, [*arrays.values()]), *notes, *labels.notes]
            # An evaluation takes what there is for train as well.
            splits = {"train": next(iter(used)), **named}
            made = from_images(path, notes=notes, **{"test": None} | {role: arrays[s] for role, s in splits.items()})
            factors = {f"{role}_factors": labels.of(used[split]) for role, split in splits.items()}
            return made._replace(**factors, factor_names=labels.names, class_names=labels.class_names)
        del arrays
        for name, reason in sorted(broken.items()):
            left_out.setdefault(reason, []).append(name)
        used = {split: [file for file in part if file.name not in broken] for split, part in used.items()}


def _candidates(path: str, left_out: LeftOut) -> dict[str, list[File]]:
    """The images by their name, of each split that has a folder; all as ``train`` where none has.

    Raises:
      UserError: images that are in no split beside some that are, or in a split within something else.
    """
    folders = [
        name for name in os.listdir(path) if not name.startswith(".") and os.path.isdir(os.path.join(path, name))
    ]
    named = by_split(path, folders)
    parts = {split: find(os.path.join(path, name), path, left_out) for split, name in named.items()}
    if not named:
        parts = {"train": find(path, path, left_out)}
    elif strangers := {file.name.split(os.sep)[0] for file in find(path, path, {})} - {*named.values()}:
        raise UserError(
            f"{path}: beside {', '.join(named.values())} there is {listed(sorted(strangers))}, with images that are in "
            f"no split; move them into one, or away, or rename {listed([*named.values()])} if that is none"
        )
    for split, files in parts.items():
        for file in files:
            for name in os.path.dirname(file.name).split(os.sep)[len(named) > 0 :]:
                if split_of(name) not in (None, split if named else None):
                    raise UserError(
                        f"{path}: {listed([os.path.dirname(file.name)])} has a split's name within "
                        f"{'the ' + split + ' split' if named else 'a folder that is no split'}; the folders of splits "
                        "come first, those of classes within them"
                    )
    return parts


def _check_enough(path: str, usable: Mapping[str, Sequence[File]], left_out: LeftOut) -> None:
    """Refuses a folder with too few images, or with so many broken files that it is none of images."""
    count, bad = sum(map(len, usable.values())), unusable(left_out)
    broken = sum(map(len, bad.values()))
    if broken and (count < 2 or broken > count):
        raise UserError(
            f"{path}: {broken} of {count + broken} images cannot be used: {counted(bad)}; remove or replace them"
        )
    empty = next((split for split, files in usable.items() if not files and len(usable) > 1), None)
    if empty or count < 2:
        links = f"; {counted({LINKS: left_out[LINKS]})}" if LINKS in left_out else ""
        what = "only one image" if count and not empty else "no images that can be used" if broken else "no images"
        raise UserError(
            f"{path}: {what} ({', '.join(SUFFIXES)}) in this folder{f', {empty} split' if empty else ''}; it needs at "
            f"least two, or subfolders train and test{links}"
        )


def _notes(left_out: LeftOut, count: int) -> list[str]:
    """What a person should know of the files that are not among the ``count`` images of the data."""
    bad = unusable(left_out)
    broken = sum(map(len, bad.values()))
    notes = [f"{broken} of {count + broken} images are left out: {counted(bad)}"] if broken else []
    return notes + [f"left out: {counted({kind: left_out[kind]})}" for kind in (OTHERS, LINKS) if kind in left_out]
