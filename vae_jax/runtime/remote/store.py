"""An object store, by fsspec: each operation happens or raises a ``StoreError``; the only place that imports fsspec."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vae_jax.types import UserError

_AT_ONCE = 8  # a checkpoint is a dozen small files, and each waits for the network


class StoreError(Exception):
    """The store did not do what it was asked; ``hopeless`` where asking again will not help."""

    def __init__(self, reason: str, hopeless: bool = False):
        super().__init__(reason)
        self.hopeless = hopeless


def one_line(error: Exception) -> str:
    """Returns the type of an error and what it says, cut."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".removesuffix(": ")


def ask(operation: Callable[..., Any], *arguments: Any, absent: tuple[type, ...] = (), **options: Any) -> Any:
    """Calls an operation of fsspec; returns None where it raises what says that an object is ``absent``.

    No operation may read a name as a pattern: the names of runs may hold ``[`` and ``*``.

    Raises:
      StoreError: whatever its clients raise: ``OSError``, botocore's and aiohttp's own, ``gcsfs.retry.HttpError``.
    """
    try:
        return operation(*arguments, **options)
    except absent:
        return None
    except Exception as error:
        raise StoreError(one_line(error), hopeless=isinstance(error, PermissionError)) from error


def at_once(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Returns ``function`` of each item, called side by side, in order; or raises the first exception."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(function, items))


def local_path(url: str) -> Path | None:
    """Returns the path that a URL such as ``file://D`` is another spelling of; None where it leads elsewhere."""
    from fsspec.implementations.local import LocalFileSystem

    fs, root = _locate(url)
    return Path(root) if isinstance(fs, LocalFileSystem) else None


def open_store(url: str) -> Any:
    """Returns fsspec's file system of what is below a URL, without a look whether it is there.

    Raises:
      UserError: fsspec knows no such store or lacks a package for it, or the URL names no place in it.
    """
    from fsspec.implementations.dirfs import DirFileSystem

    fs, root = _locate(url)
    return DirFileSystem(root.rstrip("/"), fs)


def _locate(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    scheme = url.partition("://")[0]
    if "::" in url:
        raise UserError(f"--workdir={url} is a chain of file systems; give the last of them alone")
    try:
        # Object stores have no folders to make, and s3fs would make the bucket.
        fs, root = url_to_fs(url, **({"auto_mkdir": True} if scheme in ("file", "local") else {}))
    except ImportError as error:  # fsspec says which package to install
        raise UserError(f"--workdir={url}: {one_line(error)}") from error
    except Exception as error:
        raise UserError(f"--workdir={url} is no place that fsspec can use ({one_line(error)})") from error
    if not root.strip("/"):
        raise UserError(f"--workdir={url} names no folder; write it as {scheme}://bucket/run")
    return fs, root
