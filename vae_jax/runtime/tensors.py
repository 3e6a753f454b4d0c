"""Parameters as a safetensors file, names and arrays alone: the only place that imports safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vae_jax.runtime.files import write_atomic
from vae_jax.types import UserError

FILE = "model.safetensors"


def names_of(tree: Any) -> dict[str, Any]:
    """Returns every leaf by its name, such as ``model/encoder/mean/kernel``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(str(getattr(key, "key", key)) for key in path): leaf for path, leaf in leaves}


def write_tensors(path: Path, tree: Any, metadata: Mapping[str, str]) -> None:
    """Writes the arrays of a tree, all or nothing."""
    from safetensors.numpy import save

    arrays = {name: np.asarray(leaf, order="C") for name, leaf in names_of(tree).items()}
    write_atomic(path, save(arrays, metadata=dict(metadata)))


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a file by their names.

    Raises:
      UserError: it is not there, damaged, or no safetensors file.
    """
    from safetensors.numpy import load_file

    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    try:
        return load_file(path)
    except Exception as error:  # of a damaged header, a short file, an unknown type: errors of many kinds
        raise UserError(f"{path} is damaged, or no safetensors file ({error}); export the run again") from None


def filled(like: Any, arrays: Mapping[str, np.ndarray], where: str) -> Any:
    """Returns the tree ``like`` with the arrays of its names.

    Raises:
      UserError: one is missing, one is left over, or has another shape; ``where`` says whose they are.
    """
    wanted = {name: tuple(leaf.shape) for name, leaf in names_of(like).items()}
    there = {name: tuple(array.shape) for name, array in arrays.items()}
    if wanted != there:
        name = next(name for name in (*wanted, *there) if wanted.get(name) != there.get(name))
        raise UserError(
            f"{where} is of another model: {name} is {there.get(name, 'missing')} there and "
            f"{wanted.get(name, 'missing')} by its configuration"
        )
    leaves = [jax.numpy.asarray(arrays[name], leaf.dtype) for name, leaf in names_of(like).items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
