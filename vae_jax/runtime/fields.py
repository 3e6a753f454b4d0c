"""The fields of a configuration: a default, a line of help, what values each may have, and the check of that.

What comes from outside, a flag or a file, is checked here against its field before anything is made of it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from vae_jax.errors import UserError

C = TypeVar("C")
MOST = 2**31 - 1  # of a whole number: steps and sizes are 32-bit integers on the device
LARGEST, SMALLEST = 3.4e38, 1.2e-38  # magnitudes that a float32 holds, 0 apart
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_NO_NAME = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of a letter, breaks: what no name of anything holds


class Words(NamedTuple):
    """What is said of the flags of a configuration beside their own help; its class attribute ``WORDS``.

    Attributes:
      groups: heading -> names of flags, in the order of ``--help``.
      aliases: what else people call a flag, and mean exactly it -> its name.
      instead: names that are not quite one of the flags -> what there is in place of them; ``{value}`` is what was
        given, ``{batch_size}`` the value of that flag.
      left_out: flags of another binary, whose config.json is taken too -> whether a value of it would be missed here,
        and is refused.
    """

    groups: Mapping[str, tuple[str, ...]] = {}
    aliases: Mapping[str, str] = {}
    instead: Mapping[str, str] = {}
    left_out: Mapping[str, bool] = {}


def words_of(cls: type) -> Words:
    """Returns what is said of the flags of ``cls``: nothing where it has no ``WORDS``."""
    return getattr(cls, "WORDS", Words())


def option(
    default: Any,
    help: str,
    choices: Iterable[str] | None = None,
    identity: bool = True,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    extensible: bool = False,
    flag: bool = True,
    before: Any = None,
    shown: Any = None,
    words: tuple[str, ...] = (),
) -> Any:
    """Returns a field of a configuration.

    Args:
      default: its value where the flag is not given.
      help: one line for ``--help``.
      choices: the names that a string may have.
      identity: False for what says where things are and not what the run is: it may differ when a run is continued.
      least, above, most, below: bounds of a number; ``above`` and ``below`` are themselves excluded.
      extensible: whether there may be more names than ``choices``; who knows them all has to check.
      flag: False for what the configuration records and nobody types.
      before: what a run did that was made before there was this field, where that is not its default.
      shown: the default that ``--help`` shows, where another configuration decides it.
      words: what may be given in place of a number, which is then found later.
    """
    bounds = {"least": least, "above": above, "most": most, "below": below}
    metadata = {"help": help, "choices": choices, "identity": identity, "extensible": extensible, "flag": flag}
    metadata |= {"before": before, "shown": shown, "words": words}
    return dataclasses.field(default=default, metadata=metadata | bounds)


# Reading annotations takes a millisecond, and a configuration of eighty fields is checked field by field.
@functools.cache
def kinds(cls: type) -> dict[str, tuple[type, bool]]:
    """Returns the type of each field, and whether it may be None."""
    hints, none = typing.get_type_hints(cls), type(None)
    parts = {f.name: typing.get_args(hints[f.name]) or (hints[f.name],) for f in dataclasses.fields(cls)}
    return {name: (next(kind for kind in each if kind is not none), none in each) for name, each in parts.items()}


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


def from_dict(cls: type[C], values: dict[str, Any], where: str) -> C:
    """Returns the configuration that a dict holds, as ``config.json`` has it; what is not in it is as it was before.

    Args:
      cls: the dataclass.
      values: name -> value.
      where: whose it is, for the message.

    Raises:
      UserError: a name that ``cls`` has not, or a value of another type than its field or out of its range.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UserError(f"{where} is of another version: it has {', '.join(unknown[:5])}{more}, not known here")
    older = {f.name: f.metadata["before"] for f in fields.values() if f.metadata["before"] is not None}
    return cls(**{name: value for name, value in older.items() if name not in values} | checked(cls, values, where))


def checked(cls: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns values of fields of ``cls`` as they are read from a file, of their types.

    Raises:
      UserError: a value of another type than its field, or out of its range; ``where`` it was is said.
    """
    fields, own, kept = {field.name: field for field in dataclasses.fields(cls)}, kinds(cls), {}
    for name, value in values.items():
        wrong = _wrong(fields[name], *own[name], value)
        if wrong:
            raise UserError(f"{where}: {name} is {_shown(value)}, which {wrong}")
        kept[name] = float(value) if own[name][0] is float and value is not None else value
    return kept


def _wrong(field: dataclasses.Field, kind: type, optional: bool, value: Any) -> str | None:
    """Says what is wrong with the value of a field, as the end of a sentence; None where nothing is."""
    if value is None:
        return None if optional else f"must be {_KINDS[kind]}"
    if isinstance(value, str) and value in field.metadata["words"]:
        return None
    if not isinstance(value, (int, float) if kind is float else kind) or (isinstance(value, bool) and kind is not bool):
        return f"must be {_KINDS[kind]}"
    choices, most = field.metadata["choices"], field.metadata["most"] or MOST
    if choices and not field.metadata["extensible"] and value not in choices:
        return f"must be one of {', '.join(choices)}"
    if kind is int and not -most <= value <= most:
        return f"must be at most {most}" if value > 0 else f"must be at least {-most}"
    if kind is float and value != 0 and not SMALLEST <= abs(value) <= LARGEST:  # nor is NaN
        return f"must be a number between {SMALLEST:g} and {LARGEST:g}, or 0: single precision holds no other"
    if kind in (int, float) and not _within(field.metadata, value):
        return f"must be {bounds_in_words(field.metadata)}"
    # What a run records of itself may be nothing: no dimension that is left out, no column with missing values.
    if kind is str and not value and field.metadata["flag"]:
        return "is empty: give it a value, or leave the flag out for its default"
    if kind is str and any(unicodedata.category(letter) in _NO_NAME for letter in value):
        return "holds a line break, a control character or bytes that are no UTF-8"
    return None


def _within(bounds: Mapping[str, Any], value: float) -> bool:
    """Whether a number is within the bounds of its field."""
    least, above, most, below = (bounds[name] for name in ("least", "above", "most", "below"))
    low = (least is None or value >= least) and (above is None or value > above)
    return low and (most is None or value <= most) and (below is None or value < below)


def bounds_in_words(bounds: Mapping[str, Any]) -> str:
    """Returns the bounds of a number, to be read after "must be"; nothing where it has none."""
    least, above, most, below = (bounds[name] for name in ("least", "above", "most", "below"))
    low, high = (above if least is None else least), (below if most is None else most)
    if low is None and high is None:
        return ""
    if low is not None and high is not None:
        return f"in {'[' if above is None else '('}{low:g}, {high:g}{']' if below is None else ')'}"
    if high is not None:
        return f"at most {high:g}" if below is None else f"below {high:g}"
    return "positive" if above == 0 else f"at least {low:g}" if above is None else f"above {low:g}"


def _shown(value: Any) -> str:
    """Returns a value as a message may have it."""
    if isinstance(value, int) and value.bit_length() > 200:  # Python refuses to write very long ones at all
        return f"a number of about {int(0.30103 * value.bit_length())} digits"
    return value if isinstance(value, str) else json.dumps(value, default=str)[:100]
