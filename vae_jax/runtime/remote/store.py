"""An object store as a few operations that happen or raise ``StoreError``; the only place that imports fsspec."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vae_jax.types import UserError

_PACKAGES = {
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "adlfs"),
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    "hf": "huggingface_hub",
    "oss": "ossfs",
}
_AT_ONCE = 8  # a checkpoint is a dozen small files, and each waits for the network


class StoreError(Exception):
    """The store did not do what it was asked; ``hopeless`` where asking again will not help."""

    def __init__(self, reason: str, hopeless: bool = False):
        super().__init__(reason)
        self.hopeless = hopeless


@contextlib.contextmanager
def _translated():
    """Makes one type of what clients raise: an ``OSError``, botocore's and aiohttp's own, ``gcsfs.retry.HttpError``."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(_one_line(error), hopeless=isinstance(error, PermissionError)) from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Store:
    """The objects below one URL, each by its path from there, with ``/`` between the parts.

    No operation reads a name as a pattern: the names of runs may hold ``[`` and ``*``.
    """

    def __init__(self, fs: Any, root: str):
        self._fs, self._root = fs, root

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    @_translated()
    def probe(self, name: str, empty: Path) -> None:
        """Finds out whether the store can be written, with the object ``name``, made of a local file and removed."""
        try:
            self._fs.put_file(str(empty), self._at(name))
        except FileNotFoundError as error:  # a bucket that is not there
            raise StoreError(_one_line(error), hopeless=True) from error
        self._fs.rm_file(self._at(name))

    @_translated()
    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none where there is no such folder."""
        self._fs.invalidate_cache()  # clients remember what they listed, and others write as well
        try:
            found = self._fs.ls(self._at(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted({name.rstrip("/").rpartition("/")[2] for name in found})

    @_translated()
    def files(self, folder: str) -> list[str]:
        """All objects in a folder and its folders, by path from the root; none where there is no such folder."""
        self._fs.invalidate_cache()
        return [name[len(self._root) + 1 :] for name in self._fs.find(self._at(folder))]

    @_translated()
    def read(self, name: str) -> bytes:
        """The content of a small object."""
        return self._fs.cat_file(self._at(name))

    @_translated()
    def create(self, name: str, content: bytes) -> None:
        """Makes a small object that must not be there yet."""
        self._fs.pipe_file(self._at(name), content, mode="create")

    @_translated()
    def put(self, source: Path, name: str) -> None:
        """Makes or replaces an object from a local file."""
        self._fs.put_file(str(source), self._at(name))

    @_translated()
    def get(self, name: str, target: Path) -> bool:
        """Copies an object to a local file; False where there is no such object."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._fs.get_file(self._at(name), str(target))
        except (FileNotFoundError, IsADirectoryError):
            return False
        return target.is_file()

    @_translated()
    def copy(self, source: str, target: str) -> None:
        """Makes or replaces an object from another."""
        self._fs.cp_file(self._at(source), self._at(target))

    @_translated()
    def remove(self, name: str) -> None:
        """Removes an object, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._at(name))

    @_translated()
    def remove_folder(self, folder: str) -> None:
        """Removes all objects in a folder, and the folder where the store has such a thing."""
        self._fs.invalidate_cache()
        found = self._fs.find(self._at(folder), withdirs=True, detail=True)
        folders = sorted(name for name, info in found.items() if info["type"] == "directory")
        at_once(self._forget, (name for name in found if name not in folders))
        for name in reversed(folders):
            with contextlib.suppress(Exception):  # an object store has no folders to remove
                self._fs.rmdir(name)

    def _forget(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(path)


def at_once(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """``function`` of each item, side by side; the results in order, or the first exception."""
    items = list(items)
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(_AT_ONCE, len(items))) as pool:
        return list(pool.map(function, items))


def open_store(url: str) -> Store:
    """The store at a URL, without a look whether it is there.

    Raises:
      UserError: fsspec knows no such store or lacks a package for it, or the URL names no place in it.
    """
    from fsspec.core import url_to_fs

    scheme = url.partition("://")[0]
    if "::" in url:
        raise UserError(f"--workdir={url} is a chain of file systems; give the last of them alone")
    try:
        # Object stores have no folders to make, and s3fs would make the bucket.
        fs, root = url_to_fs(url, **({"auto_mkdir": True} if scheme in ("file", "local") else {}))
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        remedy = f"needs {package}: pip install {package}" if package else f"cannot be used: {_one_line(error)}"
        raise UserError(f"--workdir={url}: {scheme}:// {remedy}") from error
    except Exception as error:
        raise UserError(f"--workdir={url} is no place that fsspec can use ({_one_line(error)})") from error
    if not root.strip("/"):
        raise UserError(f"--workdir={url} names no folder; write it as {scheme}://bucket/run")
    return Store(fs, root.rstrip("/"))
