"""Text in, arrays out: sentences as rows of token ids, with a vocabulary made from the training split.

A row is the words of a sentence, then ``EOS``, then ``PAD`` up to the common width. There is no ``BOS`` in it: a
decoder that is fed the previous token puts it in front.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from vae_jax.data.text.sources import SPLITS, find_ptb, read_and_split, read_folder, share
from vae_jax.likelihoods.tokens import BOS, EOS, PAD, UNKNOWN
from vae_jax.types import UserError

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "SPECIAL",
    "SPLITS",
    "UNKNOWN",
    "Bucket",
    "Text",
    "buckets",
    "decode",
    "encode",
    "from_json",
    "lengths",
    "load_text",
    "padding_share",
    "propose_widths",
    "to_json",
    "words_of",
]
GRAMMAR_SIZES = {"train": 20_000, "valid": 2_000, "test": 2_000}


class Text(NamedTuple):
    """Three splits of sentences.

    Attributes:
      name: as asked for.
      train, valid, test: ``[n, t]`` token ids, uint16, or uint32 where the vocabulary needs it; the same t for all.
      vocabulary: the word of each id, the four of ``SPECIAL`` first.
      entropy: of a sentence with its end, in nats, where it is known; else None.
      notes: what a person should know about how the text became these arrays, a sentence each.
    """

    name: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    vocabulary: tuple[str, ...]
    entropy: float | None
    notes: tuple[str, ...]


def load_text(name: str, max_length: int = 100, max_words: int = 20_000, data_dir: str | None = None) -> Text:
    """Finds a text by what the user wrote, and turns it into tokens.

    Words are what stands between white space, in the case in which it is written. Lines without words are skipped.

    Args:
      name: "grammar" (``grammar.english``, drawn from fixed seeds), "ptb" (Penn Treebank as prepared by Mikolov,
        ptb.train.txt or train.txt and so on in a folder ``ptb``), FILE.txt (a sentence a line; a fixed choice of a
        tenth is test and another tenth valid), or a folder with train.txt, test.txt and, unless a tenth of train is to
        serve, valid.txt.
      max_length: longer sentences are cut to so many tokens, ``EOS`` included.
      max_words: so many words of the training split are kept, the most frequent ones, alphabetically among equals; the
        others become ``UNKNOWN``.
      data_dir: where the folder ``ptb`` is; else $VAE_JAX_DATA_DIR, else $VAE_JAX_RAW_DIR.

    Returns:
      A ``Text``.

    Raises:
      UserError: with one line that says what is wrong and what to do.

    Example:
      >>> load_text("grammar").train.shape
      (20000, 20)
    """
    if max_length < 2:
        raise UserError(f"--max_length={max_length}: a word and the end of its sentence are 2 tokens; give at least 2")
    if max_words < 2:
        raise UserError(f"--max_words={max_words}: with fewer than 2 words there is nothing to model; give at least 2")
    if name == "grammar":
        return _from_grammar(max_length, max_words)
    if name == "ptb":
        sentences, notes = read_folder(*find_ptb(data_dir))
    else:
        path = os.path.expanduser(name)
        if os.path.isdir(path):
            sentences, notes = read_folder(path)
        elif path.endswith(".txt"):
            sentences, notes = read_and_split(path)
        elif os.sep in path:
            raise UserError(f"{path}: there is no such folder; give one with train.txt and test.txt, or a FILE.txt")
        else:
            raise UserError(
                f"--dataset={name} is no text: give grammar, ptb, FILE.txt (a sentence a line), or a folder with "
                "train.txt, valid.txt and test.txt"
            )
    return _tokenize(name, sentences, max_length, max_words, None, notes)


def _from_grammar(max_length, max_words):
    from vae_jax.data.text import grammar

    width, words = grammar.longest() + 1, len(frozenset().union(*grammar.english().alphabets))
    if max_length < width or max_words < words:
        raise UserError(
            f"--dataset=grammar has sentences of up to {width} tokens and {words} words, and its entropy is that of "
            f"all of them: give --max_length of at least {width} and --max_words of at least {words}"
        )
    drawn = {
        split: grammar.sample(np.random.RandomState(seed), GRAMMAR_SIZES[split]) for seed, split in enumerate(SPLITS)
    }
    entropy = grammar.entropy()
    own = -np.mean([grammar.log_prob(sentence) for sentence in drawn["test"]])
    notes = [
        f"a sentence has an entropy of {entropy:.4f} nats, {grammar.global_entropy():.4f} of them in what its words "
        f"agree on; no model has a lower expected NLL, and the true NLL of this test split is {own:.4f}"
    ]
    sentences = {split: [line.split() for line in drawn[split]] for split in SPLITS}
    return _tokenize("grammar", sentences, max_length, max_words, entropy, notes, width)


def _tokenize(name, sentences, max_length, max_words, entropy, notes, width=0):
    """The ``Text`` of three splits of sentences, at least ``width`` tokens wide."""
    notes, cut = list(notes), {}
    for split in SPLITS:
        cut[split] = [words[: max_length - 1] for words in sentences[split]]
        longer = sum(len(words) >= max_length for words in sentences[split])
        if longer:
            lost = sum(len(a) - len(b) for a, b in zip(sentences[split], cut[split]))
            what = share(longer, len(cut[split]), "sentences")
            words = share(lost, sum(map(len, sentences[split])), "words")
            notes.append(f"{split}: {what} were cut to {max_length} tokens with the end, which lost {words}")
    counts = Counter(word for words in cut["train"] for word in words if word not in SPECIAL)
    if len(counts) < 2:
        what = "one word, again and again" if counts else "no word that is known"
        raise UserError(f"{name}: the training split holds {what}; with fewer than 2 words there is nothing to model")
    vocabulary = (*SPECIAL, *sorted(counts, key=lambda word: (-counts[word], word))[:max_words])
    if len(counts) > max_words:
        notes.append(f"the vocabulary is the {max_words:,} most frequent of the {len(counts):,} words of train")
    width = max(width, 1 + max(len(words) for split in SPLITS for words in cut[split]))
    tokens = {split: pack(cut[split], vocabulary, width) for split in SPLITS}
    for split in SPLITS:
        total, unknown = sum(map(len, cut[split])), int((tokens[split] == UNKNOWN).sum())
        if unknown == total:
            raise UserError(
                f"{name}: no word of the {split} split is in the vocabulary of "
                f"{len(vocabulary) - len(SPECIAL):,} words made from train; are they of one language?"
            )
        written = sum(words.count(SPECIAL[UNKNOWN]) for words in cut[split])
        if unknown or split != "train":
            as_such = f", {written:,} of them written as {SPECIAL[UNKNOWN]}" if written else ""
            notes.append(f"{split}: {share(unknown, total, 'words')} are unknown{as_such}")
    return Text(name, *(tokens[split] for split in SPLITS), vocabulary, entropy, tuple(notes))


def lengths(tokens: np.ndarray) -> np.ndarray:
    """The tokens of each sentence, ``EOS`` included and ``PAD`` not, ``[n]``."""
    return np.count_nonzero(tokens != PAD, axis=-1)


def words_of(tokens: np.ndarray) -> int:
    """How many tokens count for the perplexity: all but ``PAD``, with one ``EOS`` a sentence."""
    return int(np.count_nonzero(tokens != PAD))


class Bucket(NamedTuple):
    """Sentences of similar length.

    Attributes:
      index: ``[m]``, which rows they are, ascending.
      tokens: ``[m, width]``, those rows without the columns that are ``PAD`` in all of them.
    """

    index: np.ndarray
    tokens: np.ndarray


def buckets(tokens: np.ndarray, widths: Sequence[int]) -> list[Bucket]:
    """Puts each sentence into the narrowest of ``widths`` that holds it, so that there is one compilation for each.

    Args:
      tokens: ``[n, t]``.
      widths: e.g. from ``propose_widths``.

    Returns:
      A ``Bucket`` for each width that has sentences, narrowest first; together they have every row once.

    Raises:
      ValueError: if a sentence is longer than the widest.
    """
    widths = np.unique(np.asarray(widths, np.int64))
    length = lengths(tokens)
    if length.max(initial=0) > widths[-1]:
        raise ValueError(f"a sentence has {length.max()} tokens and the widest bucket {widths[-1]}")
    which = np.searchsorted(widths, length)
    chosen = [(width, np.flatnonzero(which == i)) for i, width in enumerate(widths)]
    return [Bucket(index, tokens[index, :width]) for width, index in chosen if len(index)]


def propose_widths(tokens: np.ndarray, most: int) -> tuple[int, ...]:
    """The widths, at most ``most`` of them, that need the least padding for these sentences; ascending.

    Exact: with ``best[j]`` the least cost of the ``j`` shortest lengths in so many buckets, another bucket that ends at
    ``j`` begins at some ``i``, and its sentences all get the width of length ``j``.
    """
    values, counts = np.unique(lengths(tokens), return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])  # how many sentences are among the j shortest lengths
    cost = (below[None, 1:] - below[:-1, None]) * values[None, :].astype(np.float64)  # [i, j]: bucket of lengths i..j
    cost[np.tril_indices(len(values), -1)] = np.inf
    best, begins = cost[0], []
    for _ in range(min(most, len(values)) - 1):
        ways = np.concatenate([[np.inf], best[:-1]])[:, None] + cost
        begins.append(ways.argmin(0))
        best = ways.min(0)
    end, widths = len(values) - 1, []
    for begin in reversed(begins):
        widths.append(int(values[end]))
        end = begin[end] - 1
    return (int(values[end]), *reversed(widths))


def padding_share(tokens: np.ndarray, widths: Sequence[int]) -> tuple[float, float]:
    """The share of all positions that is padding: of ``tokens [n, t]`` as they are, and in buckets of ``widths``."""
    words = words_of(tokens)
    return 1 - words / tokens.size, 1 - words / sum(bucket.tokens.size for bucket in buckets(tokens, widths))


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
