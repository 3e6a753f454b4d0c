"""A text as a ``Dataset``: rows of token ids, the words of the vocabulary in place of grey levels."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np

from vae_jax.data.dataset import Dataset
from vae_jax.data.text.sources import (
    SPLITS,
    Labels,
    Sentences,
    find_ptb,
    has_text,
    read_folder,
    read_splitting,
    share,
)
from vae_jax.data.text.vocabulary import SPECIAL, UNKNOWN, by_frequency, encode
from vae_jax.types import UserError

GRAMMAR_SIZES = {"train": 20_000, "valid": 2_000, "test": 2_000}


def is_text(name: str) -> bool:
    """Whether ``name`` is that of a text: grammar, ptb, FILE.txt, or a folder with train.txt."""
    path = os.path.expanduser(name)
    return name in ("grammar", "ptb") or path.endswith(".txt") or has_text(path)


def load_text(
    name: str, max_length: int = 100, max_words: int = 20_000, data_dir: str | None = None, rare_words: int = 1
) -> Dataset:
    """Finds a text by what the user wrote, and turns it into tokens.

    Words are what stands between white space, in the case in which it is written. Lines without words are skipped. A
    file NAME.labels beside NAME.txt has a label for each line; of the grammar it is what a sentence is about, its
    number and its tense.

    Args:
      name: "grammar" (``grammar.english``, drawn from fixed seeds), "ptb" (Penn Treebank as prepared by Mikolov,
        ptb.train.txt or train.txt and so on in a folder ``ptb``), FILE.txt (a sentence a line; a fixed choice of a
        tenth is test and another tenth validation), or a folder with train.txt, test.txt and, unless a tenth of train
        is to serve, valid.txt.
      max_length: longer sentences are cut to so many tokens, ``EOS`` included.
      max_words: so many words of the training split are kept, the most frequent ones, alphabetically among equals; the
        others become ``UNKNOWN``.
      data_dir: where the folder ``ptb`` is; else $VAE_JAX_DATA_DIR, else $VAE_JAX_RAW_DIR.
      rare_words: where the training split has no unknown words to learn from, those that it holds fewer times than
        this become ``UNKNOWN`` as well; 1 for none.

    Returns:
      A ``Dataset`` of token ids ``[n, t]``, uint16 or uint32, the same t for its three splits.

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
    path = os.path.expanduser(name)
    if name == "grammar":
        return _draw_grammar(max_length, max_words)
    if name == "ptb":
        sentences, labels, notes = read_folder(*find_ptb(data_dir))
    elif os.path.isdir(path):
        sentences, labels, notes = read_folder(path)
    elif path.endswith(".txt"):
        sentences, labels, notes = read_splitting(path)
    elif os.sep in path:
        raise UserError(f"{path}: there is no such folder; give one with train.txt and test.txt, or a FILE.txt")
    else:
        raise UserError(
            f"--dataset={name} is no text: give grammar, ptb, FILE.txt (a sentence a line), or a folder with "
            "train.txt, valid.txt and test.txt"
        )
    return _labelled(_tokenize(name, sentences, max_length, max_words, notes, rare_words), labels)


def _labelled(text: Dataset, labels: Labels) -> Dataset:
    """Returns the text with labels as a factor of each split that has some."""
    if not labels:
        return text
    classes = sorted(set().union(*labels.values()))
    code = {name: i for i, name in enumerate(classes)}
    of_split = {split: np.array([[code[name]] for name in names], np.float64) for split, names in labels.items()}
    return text._replace(
        train_factors=of_split.get("train"),
        validation_factors=of_split.get("valid"),
        test_factors=of_split.get("test"),
        factor_names=("label",),
        class_names=tuple(classes),
    )


def _draw_grammar(max_length: int, max_words: int) -> Dataset:
    from vae_jax.data.text import grammar

    width, words = grammar.longest() + 1, len(grammar.english().words)
    if max_length < width or max_words < words:
        raise UserError(
            f"--dataset=grammar has sentences of up to {width} tokens and {words} words, and its entropy is that of "
            f"all of them: give --max_length of at least {width} and --max_words of at least {words}"
        )
    drawn = {
        split: grammar.draw(np.random.RandomState(seed), GRAMMAR_SIZES[split]) for seed, split in enumerate(SPLITS)
    }
    entropy = grammar.entropy()
    own = -np.mean([grammar.log_prob(sentence) for sentence, _ in drawn["test"]])
    note = (
        f"a sentence has an entropy of {entropy:.4f} nats, {grammar.global_entropy():.4f} of them in what its words "
        f"agree on; no model has a lower expected NLL, and the true NLL of this test split is {own:.4f}"
    )
    sentences = {split: [line.split() for line, _ in drawn[split]] for split in SPLITS}
    names = grammar.choices()
    labels = {split: [names[choice] for _, choice in drawn[split]] for split in SPLITS}
    text = _tokenize("grammar", sentences, max_length, max_words, [note], width=width)
    return _labelled(text, labels)._replace(entropy=entropy)


def _tokenize(
    name: str,
    sentences: Sentences,
    max_length: int,
    max_words: int,
    notes: list[str],
    rare_words: int = 1,
    width: int = 0,
) -> Dataset:
    """The ``Dataset`` of three splits of sentences, at least ``width`` tokens wide."""
    cut = {split: [words[: max_length - 1] for words in sentences[split]] for split in SPLITS}
    notes = [*notes, *_notes_of_cuts(sentences, cut, max_length)]
    counts = Counter(word for words in cut["train"] for word in words if word not in SPECIAL)
    if len(counts) < 2:
        what = "one word, again and again" if counts else "no word that is known"
        raise UserError(f"{name}: the training split holds {what}; with fewer than 2 words there is nothing to model")
    known = {word: count for word, count in counts.items() if count >= rare_words}
    # A model that never saw an unknown word gives it no probability, which looks like overfitting.
    if 2 <= len(known) < len(counts) <= max_words and not any(SPECIAL[UNKNOWN] in words for words in cut["train"]):
        what = share(len(counts) - len(known), len(counts), "words")
        notes.append(f"{what} are in train fewer than {rare_words} times, and learned as one, {SPECIAL[UNKNOWN]}")
        counts = known
    vocabulary = by_frequency(counts, max_words)
    if len(counts) > max_words:
        notes.append(f"the vocabulary is the {max_words:,} most frequent of the {len(counts):,} words of train")
    width = max(width, 1 + max(len(words) for split in SPLITS for words in cut[split]))
    tokens = {split: encode(cut[split], vocabulary, width) for split in SPLITS}
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
    return Dataset(
        name,
        tokens["train"],
        tokens["test"],
        len(vocabulary),
        words=vocabulary,
        notes=tuple(notes),
        validation=tokens["valid"],
    )


def _notes_of_cuts(sentences: Sentences, cut: Sentences, max_length: int) -> list[str]:
    notes = []
    for split in SPLITS:
        longer = sum(len(words) >= max_length for words in sentences[split])
        if longer:
            total = sum(map(len, sentences[split]))
            words = share(total - sum(map(len, cut[split])), total, "words")
            what = share(longer, len(cut[split]), "sentences")
            notes.append(f"{split}: {what} were cut to {max_length} tokens with the end, which lost {words}")
    return notes
