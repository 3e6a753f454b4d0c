"""The fields of a configuration: what each may be, and the check of what a flag or a file gives it."""

from __future__ import annotations

import dataclasses
import json
import typing
import unicodedata
from collections.abc import Sequence
from typing import Any, TypeVar

from vae_jax.types import UserError

MOST = 2**31 - 1  # of a whole number: steps and sizes are 32-bit integers on the device
LARGEST, SMALLEST = 3.4e38, 1.2e-38  # magnitudes that a float32 holds, 0 apart
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_NO_NAME = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of a letter, breaks: what no name of anything holds

C = TypeVar("C")


def option(
    default: Any, help: str, choices: Sequence[str] | None = None, identity: bool = True, most: int = MOST
) -> Any:
    """A field of a configuration.

    Args:
      default: its value where the flag is not given.
      help: one line for ``--help``.
      choices: the names that a string may have.
      identity: False for what says where things are and not what the run is: it may differ when a run is continued.
      most: the largest whole number.
    """
    metadata = {"help": help, "choices": choices, "identity": identity, "most": most}
    return dataclasses.field(default=default, metadata=metadata)


def kinds(cls: type) -> dict[str, tuple[type, bool]]:
    """The type of each field, and whether it may be None."""
    hints = typing.get_type_hints(cls)
    found = {}
    for field in dataclasses.fields(cls):
        parts = typing.get_args(hints[field.name]) or (hints[field.name],)
        found[field.name] = next(k for k in parts if k is not type(None)), type(None) in parts
    return found


def check_values(config: Any) -> None:
    """Refuses a configuration with a value that its field cannot have, before anything is made of it.

    Raises:
      UserError: naming the flag: a number that is not finite or that the device cannot hold, a text that is empty or
        holds what no name should.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        wrong = _wrong(field, *kinds(type(config))[field.name], value)
        if wrong:
            raise UserError(f"--{field.name}={_shown(value)} {wrong}")


def from_dict(cls: type[C], found: dict[str, Any], where: str) -> C:
    """The configuration that a dict holds, as ``config.json`` has it; what is newer than the file has its default.

    Args:
      cls: the dataclass.
      found: name -> value.
      where: whose it is, for the message.

    Raises:
      UserError: a name that ``cls`` has not, or a value of another type than its field or out of its range.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(found) - set(fields))
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UserError(f"{where} is of another version: it has {', '.join(unknown[:5])}{more}, not known here")
    own, kept = kinds(cls), {}
    for name, value in found.items():
        wrong = _wrong(fields[name], *own[name], value)
        if wrong:
            raise UserError(f"{where}: {name} is {_shown(value)}, which {wrong}")
        kept[name] = float(value) if own[name][0] is float and value is not None else value
    return cls(**kept)


def _wrong(field: dataclasses.Field, kind: type, optional: bool, value: Any) -> str | None:
    """What is wrong with the value of a field, as the end of a sentence; None where nothing is."""
    if value is None:
        return None if optional else f"must be {_KINDS[kind]}"
    if not isinstance(value, (int, float) if kind is float else kind) or (isinstance(value, bool) and kind is not bool):
        return f"must be {_KINDS[kind]}"
    choices, most = field.metadata["choices"], field.metadata["most"]
    if choices and value not in choices:
        return f"must be one of {', '.join(choices)}"
    if kind is int and not -most <= value <= most:
        return f"must be at most {most}" if value > 0 else f"must be at least {-most}"
    if kind is float and value != 0 and not SMALLEST <= abs(value) <= LARGEST:  # nor is NaN
        return f"must be a number between {SMALLEST:g} and {LARGEST:g}, or 0: single precision holds no other"
    if kind is str and not value:
        return "is empty: give it a value, or leave the flag out for its default"
    if kind is str and any(unicodedata.category(letter) in _NO_NAME for letter in value):
        return "holds a line break, a control character or bytes that are no UTF-8"
    return None


def _shown(value: Any) -> str:
    """A value as a message may have it."""
    if isinstance(value, int) and value.bit_length() > 200:  # Python refuses to write very long ones at all
        return f"a number of about {int(0.30103 * value.bit_length())} digits"
    return value if isinstance(value, str) else json.dumps(value)[:100]
