"""Where sentences come from: files and folders, each sentence a list of words."""

from __future__ import annotations

import codecs
import os

from vae_jax.data.rows import held_out
from vae_jax.data.splits import by_split, split_of
from vae_jax.types import UserError

SPLITS = ("train", "valid", "test")
Sentences = dict[str, list[list[str]]]  # of each split


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


def read_folder(folder: str, prefix: str = "") -> tuple[Sentences, list[str]]:
    """The sentences of each split of a folder, and notes; a tenth of train is valid where there is none."""
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
    sentences = {split: _read(path, notes) for split, path in paths.items()}
    if "valid" not in sentences:
        whole = sentences["train"]
        if len(whole) < 2:
            raise UserError(f"{paths['train']}: only one sentence; without a valid.txt it needs at least 2")
        sentences["train"], sentences["valid"] = _take(whole, *held_out(len(whole), max(1, len(whole) // 10)))
        what = share(len(sentences["valid"]), len(whole), "sentences")
        notes.append(f"{folder}: no {prefix}valid.txt, so {what} of train serve as valid")
    return sentences, notes


def read_splitting(path: str) -> tuple[Sentences, list[str]]:
    """The sentences of one file, split 80 / 10 / 10 by a fixed choice of lines, and notes."""
    notes: list[str] = []
    whole = _read(path, notes)
    if len(whole) < 3:
        raise UserError(f"{path}: {len(whole)} sentences, a line each; train, valid and test need at least 3")
    kept, others = held_out(len(whole), 2 * max(1, len(whole) // 10))
    sentences = dict(zip(SPLITS, _take(whole, kept, others[::2], others[1::2])))
    sizes = " / ".join(f"{len(sentences[split]):,}" for split in SPLITS)
    known = {tuple(words) for words in sentences["train"]}
    twins = sum(tuple(words) in known for split in ("valid", "test") for words in sentences[split])
    notes.append(
        f"{path} was split into {sizes} sentences for {' / '.join(SPLITS)}, a fixed choice of lines"
        + (f"; {twins:,} of valid and test are in train as well" if twins else "")
    )
    return sentences, notes


def _take(sentences, *choices):
    return [[sentences[i] for i in chosen] for chosen in choices]


def _read(path: str, notes: list[str]) -> list[list[str]]:
    """The sentences of one file; what a person should know of them joins ``notes``."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not raw:
        raise UserError(f"{path}: the file is empty")
    lines = _text(path, raw).replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    sentences = [words for words in map(str.split, lines) if words]
    if not sentences:
        raise UserError(f"{path}: no words, only white space")
    if len(sentences) < len(lines):
        notes.append(f"{path}: {share(len(lines) - len(sentences), len(lines), 'lines')} are empty and were skipped")
    return sentences


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
