"""The names by which people call splits: what has one of them is that split, whoever reads it, and is never merged."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vae_jax.data.reading import Reading
from vae_jax.types import UserError

SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval"),
}
WHOLE = "all examples are in one split"  # the note of data that came without splits and were not cut
_SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}


def split_of(name: str) -> str | None:
    """The split that ``name`` stands for, in any letter case; None for any other name."""
    return _SPLIT_OF.get(name.lower())


def by_split(where: str, names: Iterable[str]) -> dict[str, str]:
    """``split -> name``, of those ``names`` that are names of splits.

    Raises:
      UserError: two of them stand for one split; or none does, and they look as if they were to (train2017, val2017).
    """
    names, found = sorted(names), {}
    for name in names:
        if (split := split_of(name)) is None:
            continue
        if split in found:
            raise UserError(f"{where}: {found[split]} and {name} both stand for the {split} split; keep one of them")
        found[split] = name
    if not found:
        alike = {name: {split_of(word) for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", name)} - {None} for name in names}
        if len(set().union(*alike.values())) > 1:
            meant = ", ".join(name for name, splits in alike.items() if splits)
            raise UserError(
                f"{where}: {meant} look like splits, and are not named as such; call them "
                f"{', '.join(split for split in SPLITS if any(split in splits for splits in alike.values()))}"
            )
    return found


def roles(where: str, names: Iterable[str], reading: Reading) -> tuple[dict[str, str], list[str]]:
    """Which of the splits that are there serve as which: each as itself.

    Validation takes the place of a test split that is not there where nobody wants it as such (--validation=0), and
    where data are only evaluated.

    Returns:
      ``role -> split``, train first, and what is done, a sentence each.

    Raises:
      UserError: there is none to train on, unless for an evaluation the ``whole`` is asked for.
    """
    names = [split for split in SPLITS if split in {*names}]
    if "train" not in names and not reading.whole:
        raise UserError(f"{where}: there is {' and '.join(names) or 'no split'}, and no train; training needs one")
    found, notes = {name: name for name in names}, []
    if "validation" in names and "test" not in names and (reading.whole or reading.validation == 0):
        found["test"] = "validation"
        notes.append("validation is the test split: there is no other")
    if reading.validation == 0 and found.pop("validation", None) and "test" in names:
        notes.append("validation is not used: --validation=0")
    return found, notes
