"""Codes on their way to a file: written part by part, so that a kill loses the last part and nothing is held.

The parts go to raw files in ``OUTPUT.part``; how far they are good, ``progress.json`` there says. At the end OUTPUT is
made of them, all at once.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_jax.runtime.files import read_object, write_json
from vae_jax.types import UserError

STREAMED = 1 << 22  # bytes at a time
EPOCH = (1980, 1, 1, 0, 0, 0)  # of the members of a .npz, so that equal codes are equal files
ENDINGS = (".npz", ".csv")


class Progress(NamedTuple):
    """How far the work has come: ``seen`` examples of the input, ``kept`` of which have codes."""

    seen: int = 0
    kept: int = 0


class CodeFile:
    """The codes of an input: ``append`` parts, then ``finish``.

    Args:
      path: FILE.npz or FILE.csv.
      identity: what the codes are of; a part of other work is begun anew.
      latent_dim: d.
      label_names: of the labels; none where there are none.
      class_names: of the values 0, 1, ... of the one that is called ``label``, where they have some.
    """

    def __init__(
        self,
        path: str,
        identity: str,
        latent_dim: int,
        label_names: tuple[str, ...] = (),
        class_names: tuple[str, ...] = (),
    ):
        self.path, self.folder = Path(path), Path(f"{path}.part")
        self.latent_dim, self.label_names = latent_dim, label_names
        self.class_names = class_names if "label" in label_names else ()
        self.identity = {"of": identity, "latents": latent_dim, "labels": [*label_names, *self.class_names]}
        self.files = ["mean", "std", "ids", *(["labels"] if label_names else [])]
        self.labels_dtype, self.id_width, self.progress = None, 0, Progress()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._continue()

    def _continue(self) -> None:
        """Reads how far an earlier try came, and cuts what was written after that."""
        at = self.folder / "progress.json"
        before = read_object(at, "remove its folder") if at.exists() else {}
        sizes = dict.fromkeys(self.files, 0)
        if before.get("identity") == self.identity:
            sizes = before["sizes"]
            self.progress = Progress(before["seen"], before["kept"])
            self.labels_dtype, self.id_width = before["labels_dtype"], before["id_width"]
        for name in self.files:
            with (self.folder / name).open("ab") as file:
                file.truncate(sizes[name])

    def append(self, seen: int, mean: np.ndarray, std: np.ndarray, ids: list[Any], labels: np.ndarray | None) -> None:
        """Adds the codes ``[n, d]`` of a part; ``seen`` examples of the input were read for it."""
        self.labels_dtype = self.labels_dtype or (None if labels is None else labels.dtype.str)
        lines = "".join(json.dumps(value) + "\n" for value in ids)
        written = [np.float32(mean).tobytes(), np.float32(std).tobytes(), lines.encode()]
        if labels is not None:
            written.append(np.ascontiguousarray(labels, self.labels_dtype).tobytes())
        for name, content in zip(self.files, written):
            with (self.folder / name).open("ab") as file:
                file.write(content)
        if ids and isinstance(ids[0], str):
            self.id_width = max(self.id_width, *map(len, ids))
        self.progress = Progress(self.progress.seen + seen, self.progress.kept + len(ids))
        sizes = {name: (self.folder / name).stat().st_size for name in self.files}
        state = {"identity": self.identity, "sizes": sizes, **self.progress._asdict()}
        write_json(
            self.folder / "progress.json", state | {"labels_dtype": self.labels_dtype, "id_width": self.id_width}
        )

    def finish(self) -> None:
        """Makes the file of the parts, which are then removed."""
        temporary = self.folder / "whole"
        (self._write_csv if self.path.suffix.lower() == ".csv" else self._write_npz)(temporary)
        os.replace(temporary, self.path)
        shutil.rmtree(self.folder)

    def _write_npz(self, path: Path) -> None:
        n, codes = self.progress.kept, np.dtype(np.float32)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name in ("mean", "std"):
                _write_array(archive, name, (n, self.latent_dim), codes, self._raw(name))
            if self.label_names:
                # What a classifier takes: of one factor a vector, of several a column each.
                shape = (n, len(self.label_names)) if len(self.label_names) > 1 else (n,)
                _write_array(archive, "labels", shape, np.dtype(self.labels_dtype or "<f4"), self._raw("labels"))
                for what, names in (("label_names", self.label_names), ("class_names", self.class_names)):
                    if names:
                        array = np.asarray(names)
                        _write_array(archive, what, array.shape, array.dtype, [array.tobytes()])
            dtype = np.dtype(f"<U{self.id_width}" if self.id_width else "<i8")
            some = (np.asarray(part, dtype).tobytes() for part in self._ids())
            _write_array(archive, "ids", (n,), dtype, some)

    def _write_csv(self, path: Path) -> None:
        d, k = self.latent_dim, len(self.label_names)
        head = ["id", *(f"mean_{i}" for i in range(d)), *(f"std_{i}" for i in range(d)), *self.label_names]
        head += ["class"] if self.class_names else []
        of_class = self.label_names.index("label") if self.class_names else 0
        types = [(np.float32, d), (np.float32, d), (np.dtype(self.labels_dtype or "<f4"), k)]
        with path.open("w", encoding="utf-8", newline="") as file, contextlib.ExitStack() as opened:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(head)
            names = [name for name in self.files if name != "ids"]
            streams = [opened.enter_context((self.folder / name).open("rb")) for name in names]
            for ids in self._ids():
                columns = []
                for stream, (dtype, width) in zip(streams, types):
                    raw = stream.read(len(ids) * width * np.dtype(dtype).itemsize)
                    columns.append(np.frombuffer(raw, dtype).reshape(len(ids), width).tolist())
                for name, *row in zip(ids, *columns):
                    cells = [f"{v:.9g}" if isinstance(v, float) else v for part in row for v in part]
                    cells += [self.class_names[int(row[-1][of_class])]] if self.class_names else []
                    writer.writerow([name, *cells])

    def _raw(self, name: str) -> Iterator[bytes]:
        with (self.folder / name).open("rb") as file:
            while block := file.read(STREAMED):
                yield block

    def _ids(self, size: int = 10_000) -> Iterator[list[Any]]:
        part = []
        with (self.folder / "ids").open(encoding="utf-8") as file:
            for line in file:
                part.append(json.loads(line))
                if len(part) == size:
                    yield part
                    part = []
        if part:
            yield part


def check_output(path: str | None) -> str:
    """Returns the path of an output, or refuses it before any work.

    Raises:
      UserError: its ending is none that can be written, or its folder is not there.
    """
    if path is None:
        raise UserError("--output=FILE.npz or FILE.csv is needed: where the codes go")
    if Path(path).suffix.lower() not in ENDINGS:
        raise UserError(f"--output={path} must end in {' or '.join(ENDINGS)}")
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise UserError(f"--output={path}: its folder is not there, or it is a folder itself")
    return path


def _write_array(archive: zipfile.ZipFile, name: str, shape, dtype: np.dtype, blocks) -> None:
    info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
    with archive.open(info, "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
        )
        for block in blocks:
            file.write(block)
