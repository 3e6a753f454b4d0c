"""Holding out what data do not bring: validation and test examples, a fixed choice by their content.

The choice depends on the examples alone, not on their order nor on a seed, and examples that are alike
(``alike.groups``) are on one side.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from vae_jax.data.alike import groups
from vae_jax.data.dataset import Dataset, validate
from vae_jax.data.reading import Reading
from vae_jax.data.rows import Rows, hold
from vae_jax.data.splits import WHOLE
from vae_jax.types import UserError

MOST = 10_000  # validation examples, unless more are asked for
FEWEST = 20  # fewer say nothing of a bound, unless they are asked for


def with_held_out(dataset: Dataset, reading: Reading) -> Dataset:
    """Returns the data with a test and a validation split, each held out of train where the data bring none.

    Args:
      dataset: what a source has; its ``test`` may be None.
      reading: ``validation`` and ``test`` are the shares of train, 0 for no validation split; None: a tenth, of
        validation at most ``MOST`` and none where that is fewer than ``FEWEST``. ``whole``: nothing is held out; data
        without a test split are their own.

    Raises:
      UserError: nothing would be left to train on, or all examples are equal.
    """
    if reading.whole:
        if dataset.test is None:
            dataset = _with(dataset, "test", dataset.train, dataset.train_factors)
            dataset = dataset._replace(notes=(*dataset.notes, WHOLE))
        return validate(dataset)
    there = [split for split in ("validation", "test") if getattr(dataset, split) is not None]
    if reading.validation == 0 and "validation" in there:
        unused = f"validation: {len(dataset.validation):,} examples, which are not used: --validation=0"
        dataset = _with(dataset, "validation", None, None)._replace(notes=(*dataset.notes, unused))
    parts, notes = choose(dataset.name, dataset.train, reading, there)
    dataset = dataset._replace(notes=(*dataset.notes, *notes))
    if len(parts) > 1:
        x, factors = dataset.train, dataset.train_factors
        for split, chosen in parts.items():
            some = hold(x.select(chosen), reading.most_held, dataset.name) if isinstance(x, Rows) else x[chosen]
            dataset = _with(dataset, split, some, None if factors is None else factors[chosen])
    return validate(dataset)


def _with(dataset: Dataset, split: str, x, factors) -> Dataset:
    return dataset._replace(**{split: x, f"{split}_factors": factors})


def choose(
    name: str, x: np.ndarray | Rows, reading: Reading, there: Collection[str] = ()
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Chooses which examples are held out.

    Args:
      name: of the data, for messages.
      x: the training examples as they came, ``[n, ...]``.
      reading: as for ``with_held_out``.
      there: the splits beside train that the data bring.

    Returns:
      The indices of ``train``, and of each split that is held out, ascending; and what was done, a sentence each.

    Raises:
      UserError: as for ``with_held_out``.
    """
    n = len(x)
    notes = [
        f"--{split} is not used: the data bring their own {split} split" for split in there if getattr(reading, split)
    ]
    wanted, none = {}, []
    if "test" not in there:
        wanted["test"] = max(1, n // 10 if reading.test is None else round(reading.test * n))
    if "validation" not in there and reading.validation != 0:
        share = min(n // 10, MOST)
        if reading.validation is not None:
            wanted["validation"] = max(1, round(reading.validation * n))
        elif share >= FEWEST:
            wanted["validation"] = share
        else:
            none.append(
                f"train has {n:,} examples, too few for a validation split: what is decided while training is decided "
                "by the test split; --validation=SHARE holds some out all the same"
            )
    if not wanted:
        return {"train": np.arange(n)}, [*notes, *none]
    if sum(wanted.values()) >= n:
        flags = " and ".join(f"--{split}={share}" for split in wanted if (share := getattr(reading, split)))
        raise UserError(
            f"{name}: of {n:,} examples {' and '.join(f'{m:,} for {split}' for split, m in wanted.items())} leave none "
            f"to train on; {f'lower {flags}' if flags else 'it needs more, or a test split of its own'}"
        )
    found = groups(x, alone="test" in wanted)
    if found.members.max() == 0 and "test" in wanted:
        raise UserError(f"{name}: all {n:,} examples are equal; there is nothing to model")
    side = _assign(found.keys, found.members, wanted)
    parts = {"train": np.flatnonzero(side == 0)}
    for i, (split, m) in enumerate(wanted.items(), start=1):
        chosen = np.flatnonzero(side == i)
        if len(chosen) == 0:
            notes.append(f"no {split} split of {m:,} of the {n:,} training examples: {found.in_words}")
            continue
        parts[split] = chosen
        notes.append(
            f"{len(chosen):,} of {n:,} training examples, a fixed choice {found.by}, are the {split} split, as the "
            "data bring none"
        )
    return parts, [*notes, *[found.in_words] * bool(found.in_words), *none]


def _assign(keys: np.ndarray, members: np.ndarray, wanted: dict[str, int]) -> np.ndarray:
    """Assigns whole groups, in the order of their keys, to splits while they fit; the first split is the first served.

    Args:
      keys: of each group.
      members: ``[n]``, the group of each example.
      wanted: how many examples each split is to have.

    Returns:
      ``[n]``: 0 for train, 1, 2, ... for the splits. A split that no group fits has the smallest one, if train keeps
      another.
    """
    sizes, order = np.bincount(members), np.argsort(keys, kind="stable")
    side = np.zeros(len(sizes), np.int64)
    for i, m in enumerate(wanted.values(), start=1):
        left = m
        for group in order[side[order] == 0]:
            if sizes[group] <= left:
                side[group], left = i, left - sizes[group]
            if left == 0:
                break
        free = order[side[order] == 0]
        if left == m and len(free) > 1:
            side[free[np.argmin(sizes[free])]] = i
    return side[members]
