"""A text as a ``Dataset``: rows of token ids, the words of the vocabulary in place of grey levels."""

from __future__ import annotations

import os

from vae_jax.data.dataset import Dataset
from vae_jax.data.text import load_text


def is_text(name: str) -> bool:
    """Whether ``name`` is that of a text: grammar, ptb, FILE.txt, or a folder with train.txt."""
    path = os.path.expanduser(name)
    return name in ("grammar", "ptb") or path.endswith(".txt") or os.path.isfile(os.path.join(path, "train.txt"))


def read(name: str, data_dir: str | None, max_length: int, max_words: int) -> Dataset:
    """The training and the test split of a text, uint16 (uint32 with very many words) ``[n, t]``.

    The validation split is left alone: nothing is chosen by it here.

    Args:
      name, data_dir, max_length, max_words: as for ``text.load_text``.

    Raises:
      UserError: as ``text.load_text``.
    """
    text = load_text(name, max_length, max_words, data_dir)
    return Dataset(
        name=text.name,
        train=text.train,
        test=text.test,
        levels=len(text.vocabulary),
        words=text.vocabulary,
        entropy=text.entropy,
        notes=text.notes,
    )
