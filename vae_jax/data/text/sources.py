"""Where sentences come from: files and folders, each sentence a list of words."""

from __future__ import annotations

import codecs
import os

from vae_jax.data.rows import held_out
from vae_jax.data.splits import by_split, split_of
from vae_jax.types import UserError

SPLITS = ("train", "valid", "test")
Sentences = dict[str, list[list[str]]]  # of each split
Labels = dict[str, list[str]]  # of each split that has some


def find_ptb(data_dir: str | None) -> tuple[str, str]:
    """The folder of Penn Treebank and the prefix of its files; ``data_dir`` or what the environment names."""
    roots = [data_dir, os.environ.get("VAE_JAX_DATA_DIR"), os.environ.get("VAE_JAX_RAW_DIR")]
    folders = [os.path.join(os.path.expanduser(root), "ptb") for root in roots if root]
    for folder in folders:
        for prefix in ("ptb.", ""):
            if os.path.isfile(os.path.join(folder, f"{prefix}train.txt")):
                return folder, prefix
    looked = f"looked in {', '.join(dict.fromkeys(folders))}" if folders else "no folder was named"
    raise UserError(
        f"--dataset=ptb: no ptb.train.txt ({looked}); put ptb.train.txt, ptb.valid.txt and ptb.test.txt into "
        "FOLDER/ptb and give --data_dir=FOLDER, or set VAE_JAX_DATA_DIR or VAE_JAX_RAW_DIR to FOLDER"
    )


def has_text(folder: str) -> bool:
    """Whether ``folder`` is one with a text to train on."""
    return os.path.isdir(folder) and any(
        name.endswith(".txt") and split_of(name[:-4]) == "train" for name in os.listdir(folder)
    )


def read_folder(folder: str, prefix: str = "") -> tuple[Sentences, Labels, list[str]]:
    """The sentences of each split of a folder, labels and notes; a tenth of train is valid where there is none."""
    names = [name[len(prefix) : -4] for name in os.listdir(folder) if name.startswith(prefix) and name.endswith(".txt")]
    there = {split.removesuffix("ation"): name for split, name in by_split(folder, names).items()}
    missing = [f"{prefix}{split}.txt" for split in ("train", "test") if split not in there]
    if missing:
        raise UserError(
            f"{folder}: no {' and no '.join(missing)} in this folder; it needs {prefix}train.txt and {prefix}test.txt "
            f"({prefix}valid.txt is optional), a sentence a line"
        )
    paths = {split: os.path.join(folder, f"{prefix}{there[split]}.txt") for split in SPLITS if split in there}
    notes: list[str] = []
    found = {split: _read(path, notes) for split, path in paths.items()}
    sentences = {split: part for split, (part, _) in found.items()}
    labels = {split: part for split, (_, part) in found.items() if part}
    if "valid" not in sentences:
        whole = sentences["train"]
        if len(whole) < 2:
            raise UserError(f"{paths['train']}: only one sentence; without a valid.txt it needs at least 2")
        choices = held_out(len(whole), max(1, len(whole) // 10))
        for of_split in (sentences, labels):
            if "train" in of_split:
                of_split["train"], of_split["valid"] = _take(of_split["train"], *choices)
        what = share(len(sentences["valid"]), len(whole), "sentences")
        notes.append(f"{folder}: no {prefix}valid.txt, so {what} of train serve as valid")
    return sentences, labels, notes


def read_splitting(path: str) -> tuple[Sentences, Labels, list[str]]:
    """The sentences of one file, split 80 / 10 / 10 by a fixed choice of lines, labels and notes."""
    notes: list[str] = []
    whole, known = _read(path, notes)
    if len(whole) < 3:
        raise UserError(f"{path}: {len(whole)} sentences, a line each; train, valid and test need at least 3")
    kept, others = held_out(len(whole), 2 * max(1, len(whole) // 10))
    choices = (kept, others[::2], others[1::2])
    sentences, labels = (dict(zip(SPLITS, _take(part, *choices))) if part else {} for part in (whole, known))
    sizes = " / ".join(f"{len(sentences[split]):,}" for split in SPLITS)
    trained = {tuple(words) for words in sentences["train"]}
    twins = sum(tuple(words) in trained for split in ("valid", "test") for words in sentences[split])
    notes.append(
        f"{path} was split into {sizes} sentences for {' / '.join(SPLITS)}, a fixed choice of lines"
        + (f"; {twins:,} of valid and test are in train as well" if twins else "")
    )
    return sentences, labels, notes


def _take(sentences, *choices):
    return [[sentences[i] for i in chosen] for chosen in choices]


def _read(path: str, notes: list[str]) -> tuple[list[list[str]], list[str]]:
    """The sentences of one file, and the label of each; what a person should know of them joins ``notes``.

    Labels are the lines of a file beside it, NAME.labels of NAME.txt; none without one.
    """
    lines = _lines(path)
    kept = [i for i, line in enumerate(lines) if line.split()]
    if not kept:
        raise UserError(f"{path}: no words, only white space")
    if len(kept) < len(lines):
        what = share(len(lines) - len(kept), len(lines), "lines")
        notes.append(f"{path}: {what} are empty and were skipped")
    sentences, beside = [lines[i].split() for i in kept], f"{path.removesuffix('.txt')}.labels"
    if not os.path.isfile(beside):
        return sentences, []
    labels = [line.strip() for line in _lines(beside)]
    if len(labels) != len(lines):
        raise UserError(f"{beside}: {len(labels)} lines for the {len(lines)} of {path}; give a label for each line")
    if not all(labels[i] for i in kept):
        raise UserError(
            f"{beside}: line {1 + next(i for i in kept if not labels[i])} is empty, and its sentence is not"
        )
    return sentences, [labels[i] for i in kept]


def _lines(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not raw:
        raise UserError(f"{path}: the file is empty")
    return _text(path, raw).replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def _text(path: str, raw: bytes) -> str:
    """The text of a file's bytes, without a byte order mark.

    Raises:
      UserError: the first byte that is not UTF-8, or is NUL (which UTF-16 is full of), and its line.
    """
    start = len(codecs.BOM_UTF8) if raw.startswith(codecs.BOM_UTF8) else 0
    try:
        text = raw[start:].decode("utf-8")
        at = raw.find(b"\0", start)
    except UnicodeDecodeError as error:
        at = start + error.start
    if at >= 0:
        line = raw.count(b"\n", 0, at) + 1
        raise UserError(
            f"{path}: not UTF-8 text: line {line} has the byte 0x{raw[at]:02x} (byte {at + 1} of the file); convert "
            "it, iconv -f ENCODING -t UTF-8"
        )
    return text


def share(part: int, whole: int, what: str) -> str:
    """``(3, 200, "words") -> "3 of 200 words (1.5%)"``."""
    return f"{part:,} of {whole:,} {what} ({100 * part / whole:.3g}%)"
