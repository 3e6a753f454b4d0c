"""Words and token ids.

A row of tokens is the words of a sentence, then ``EOS``, then ``PAD`` up to the common width. There is no ``BOS`` in
it: a decoder that is fed the previous token puts it in front.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vae_jax.likelihoods.tokens import BOS, EOS, PAD, UNKNOWN

__all__ = ["BOS", "EOS", "PAD", "SPECIAL", "UNKNOWN", "by_frequency", "decode", "encode", "words_of"]

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")  # written in a text they all are UNKNOWN, as <unk> is in Penn Treebank


def by_frequency(counts: Mapping[str, int], most: int) -> tuple[str, ...]:
    """The word of each id: ``SPECIAL``, then the ``most`` frequent words, alphabetically among equals."""
    return (*SPECIAL, *sorted(counts, key=lambda word: (-counts[word], word))[:most])


def encode(sentences: Iterable[Sequence[str]], vocabulary: Sequence[str], width: int) -> np.ndarray:
    """Lists of words, each shorter than ``width``, as ids ``[n, width]``: uint16, or uint32 where there are more."""
    sentences = list(sentences)
    ids = {word: i for i, word in enumerate(vocabulary) if i >= len(SPECIAL)}
    tokens = np.full((len(sentences), width), PAD, np.uint16 if len(vocabulary) <= 2**16 else np.uint32)
    for row, words in zip(tokens, sentences):
        row[: len(words) + 1] = [*(ids.get(word, UNKNOWN) for word in words), EOS]
    return tokens


def decode(tokens: np.ndarray, vocabulary: Sequence[str]) -> list[str]:
    """The words of each row ``[n, t]`` up to its first ``EOS``, which is left out, with spaces between."""
    sentences = []
    for row in np.asarray(tokens).tolist():
        end = row.index(EOS) if EOS in row else len(row)
        sentences.append(" ".join(vocabulary[token] for token in row[:end]))
    return sentences


def words_of(tokens: np.ndarray) -> int:
    """How many tokens count for the perplexity: all but ``PAD``, with one ``EOS`` a sentence."""
    return int(np.count_nonzero(tokens != PAD))
