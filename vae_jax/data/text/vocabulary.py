"""Words and ids: what stands for what, there and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np

from vae_jax.likelihoods.tokens import EOS, PAD, UNKNOWN
from vae_jax.types import UserError

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")  # written in a text they all are UNKNOWN, as <unk> is in Penn Treebank


def pack(sentences, vocabulary, width):
    """Lists of words as rows of ids ``[n, width]``, each with its ``EOS``."""
    ids = {word: i for i, word in enumerate(vocabulary) if i >= len(SPECIAL)}
    tokens = np.full((len(sentences), width), PAD, np.uint16 if len(vocabulary) <= 2**16 else np.uint32)
    for row, words in zip(tokens, sentences):
        row[: len(words) + 1] = [*(ids.get(word, UNKNOWN) for word in words), EOS]
    return tokens


def encode(lines: Iterable[str], vocabulary: Sequence[str], width: int | None = None) -> np.ndarray:
    """Sentences as token ids.

    Args:
      lines: a sentence each; one without words is ``EOS`` alone.
      vocabulary: the word of each id, as in ``Text``.
      width: t; longer sentences are cut to it. The longest sentence's where it is not given.

    Returns:
      ``[n, t]``, of the dtype that ``Text`` has.
    """
    sentences = [line.split() for line in lines]
    width = width or 1 + max(map(len, sentences), default=0)
    return pack([words[: width - 1] for words in sentences], vocabulary, width)


def decode(tokens: np.ndarray, vocabulary: Sequence[str]) -> list[str]:
    """The words of each row ``[n, t]`` up to its first ``EOS``, which is left out, with spaces between."""
    sentences = []
    for row in np.asarray(tokens).tolist():
        end = row.index(EOS) if EOS in row else len(row)
        sentences.append(" ".join(vocabulary[token] for token in row[:end]))
    return sentences


def to_json(vocabulary: Sequence[str]) -> str:
    """The vocabulary as a JSON list."""
    return json.dumps(list(vocabulary), ensure_ascii=False, indent=0)


def from_json(text: str) -> tuple[str, ...]:
    """The vocabulary that ``to_json`` wrote.

    Raises:
      UserError: if it is no list of different words that begins with ``SPECIAL``.
    """
    try:
        words = json.loads(text)
    except ValueError as error:
        raise UserError(f"the vocabulary is damaged: {error}") from error
    fine = isinstance(words, list) and all(isinstance(word, str) for word in words) and len(set(words)) == len(words)
    if not fine or tuple(words[: len(SPECIAL)]) != SPECIAL:
        raise UserError(f"the vocabulary is damaged: no list of different words that begins with {', '.join(SPECIAL)}")
    return tuple(words)
