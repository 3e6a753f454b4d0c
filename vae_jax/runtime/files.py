"""JSON as files hold it: read with a limit, as somebody else may have written it; written without what it has not."""

from __future__ import annotations

import contextlib
import json
import math
import os
from pathlib import Path
from typing import Any

from vae_jax.types import UserError

MOST = 1 << 28  # bytes of a file of results; a configuration has a limit of its own


def read_object(path: Path, remedy: str, most: int = MOST, strict: bool = False) -> dict[str, Any]:
    """One JSON object.

    Args:
      path: a file that is there.
      remedy: what to do about a file that is none, for the message.
      most: the largest file, in bytes, that is read at all.
      strict: NaN and infinities are refused; otherwise they are None.

    Raises:
      UserError: it is no file, too large, not readable, not UTF-8, no JSON or no object.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise UserError(f"{path} is not a file; {remedy}")
        with path.open("rb") as file:
            found = file.read(most + 1)
        if len(found) > most:
            raise UserError(f"{path} is larger than {most / 1e6:.3g} MB, which is no file of ours; {remedy}")
        value = json.loads(found.decode("utf-8"), parse_constant=_refuse if strict else lambda name: None)
    except RecursionError:
        raise UserError(f"{path} cannot be read as JSON (it is nested too deeply); {remedy}") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON ({_reason(error)}); {remedy}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} should hold one JSON object, not a {type(value).__name__}; {remedy}")
    return value


def finite(value: Any) -> Any:
    """The same lists and objects with null for each number that is not finite: JSON has no such numbers."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse(name: str):
    raise ValueError(f"it holds {name}")


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as JSON, all or nothing; keys keep their order, and what is not a finite number is null."""
    text = json.dumps(finite(value), indent=2, allow_nan=False) + "\n"
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_atomic(path: Path, data: bytes) -> None:
    """Writes ``data`` to ``path`` all at once: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
