"""Where sentences come from: files and folders, each sentence a list of words."""

from __future__ import annotations

import codecs
import os

from vae_jax.data.rows import held_out
from vae_jax.types import UserError

SPLITS = ("train", "valid", "test")


def find_ptb(data_dir):
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


def read_folder(folder, prefix=""):
    """The sentences of each split of a folder, and notes; a tenth of train is valid where there is none."""
    paths = {split: os.path.join(folder, f"{prefix}{split}.txt") for split in SPLITS}
    missing = [os.path.basename(paths[split]) for split in ("train", "test") if not os.path.isfile(paths[split])]
    if missing:
        raise UserError(
            f"{folder}: no {' and no '.join(missing)} in this folder; it needs {prefix}train.txt and {prefix}test.txt "
            f"({prefix}valid.txt is optional), a sentence a line"
        )
    notes, found = [], {}
    for split in SPLITS:
        if os.path.isfile(paths[split]):
            found[split] = _read(paths[split], notes)
    if "valid" not in found:
        whole = found["train"]
        if len(whole) < 2:
            raise UserError(f"{paths['train']}: only one sentence; without a valid.txt it needs at least 2")
        found["train"], found["valid"] = _take(whole, *held_out(len(whole), max(1, len(whole) // 10)))
        what = share(len(found["valid"]), len(whole), "sentences")
        notes.append(f"{folder}: no {prefix}valid.txt, so {what} of train serve as valid")
    return found, notes


def read_and_split(path):
    """The sentences of one file, split 80 / 10 / 10 by a fixed choice of lines, and notes."""
    notes = []
    sentences = _read(path, notes)
    if len(sentences) < 3:
        raise UserError(f"{path}: {len(sentences)} sentences, a line each; train, valid and test need at least 3")
    kept, held = held_out(len(sentences), 2 * max(1, len(sentences) // 10))
    found = dict(zip(SPLITS, _take(sentences, kept, held[::2], held[1::2])))
    sizes = " / ".join(f"{len(found[split]):,}" for split in SPLITS)
    return found, [*notes, f"{path} was split into {sizes} sentences for {' / '.join(SPLITS)}, a fixed choice of lines"]


def _take(sentences, *choices):
    return [[sentences[i] for i in chosen] for chosen in choices]


def _read(path, notes):
    """The sentences of one file."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not raw:
        raise UserError(f"{path}: the file is empty")
    start = len(codecs.BOM_UTF8) if raw.startswith(codecs.BOM_UTF8) else 0
    try:
        text = raw[start:].decode("utf-8")
        bad = text.find("\0")  # which UTF-16 is full of
        at = None if bad < 0 else start + len(text[:bad].encode())
    except UnicodeDecodeError as error:
        at = start + error.start
    if at is not None:
        line = raw.count(b"\n", 0, at) + 1
        raise UserError(
            f"{path}: not UTF-8 text: line {line} has the byte 0x{raw[at]:02x} (byte {at + 1} of the file); convert "
            "it, iconv -f ENCODING -t UTF-8"
        )
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    sentences = [words for words in map(str.split, lines) if words]
    if not sentences:
        raise UserError(f"{path}: no words, only white space")
    if len(sentences) < len(lines):
        notes.append(f"{path}: {share(len(lines) - len(sentences), len(lines), 'lines')} are empty and were skipped")
    return sentences


def share(part, whole, what):
    """``(3, 200, "words") -> "3 of 200 words (1.5%)"``."""
    return f"{part:,} of {whole:,} {what} ({100 * part / whole:.3g}%)"
