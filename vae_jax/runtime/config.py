"""Configuration: one flat frozen dataclass <-> absl flags <-> config.json. The only place that imports absl.

What comes from outside, a flag or a file, is checked here against its field before anything is made of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sys
import traceback
import typing
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vae_jax.runtime.files import read_object, write_json
from vae_jax.types import UserError

__all__ = [
    "check_values",
    "claim_workdir",
    "define_flags",
    "from_dict",
    "launch",
    "option",
    "parse",
    "read_config",
]

LARGEST_FILE = 1 << 20  # bytes of a config.json: a thousand times what ours have
C = TypeVar("C")


def define_flags(cls: type, values: Any = None) -> None:
    """Defines one absl flag for each field of the dataclass ``cls``, in ``values`` (default: absl's own)."""
    from absl import flags

    values = flags.FLAGS if values is None else values
    define = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float}
    for field, (kind, _) in zip(dataclasses.fields(cls), kinds(cls).values()):
        help, choices = field.metadata["help"], field.metadata["choices"]
        if not field.metadata["flag"]:
            continue
        if field.metadata["extensible"]:
            flags.DEFINE_string(field.name, field.default, f"{help}: {', '.join(choices)}", flag_values=values)
        elif choices:
            flags.DEFINE_enum(field.name, field.default, list(choices), help, flag_values=values)
        else:
            define.get(kind, flags.DEFINE_string)(field.name, field.default, help, flag_values=values)


def parse(cls: type[C], argv: Sequence[str], values: Any) -> C:
    """The configuration that a command line asks for.

    Args:
      cls: the dataclass, whose flags ``values`` has.
      argv: the program and its arguments.
      values: absl's, of ``define_flags``.

    Raises:
      UserError: a flag that there is not, an argument that is none, or a value that its field cannot have.
    """
    from absl import flags

    try:
        rest = values(argv)
    except (flags.Error, ValueError) as error:  # the latter from a --flagfile that is no text
        raise UserError(" ".join(str(error).removeprefix("flag ").split()) + " (see --help)") from None
    if len(rest) > 1:
        raise UserError(f"not a flag: {' '.join(rest[1:])}; flags are written --name=value (see --help)")
    config = cls(**{f.name: getattr(values, f.name) for f in dataclasses.fields(cls) if f.metadata["flag"]})
    check_values(config)
    return config


def launch(main: Callable[[Any], None], cls: type) -> None:
    """Runs ``main(config)`` as an absl program whose flags are the fields of ``cls``.

    What cannot be done ends with one line on standard error and exit status 2; an interruption with status 130.
    """
    from absl import app, flags

    define_flags(cls)
    logging.getLogger("jax").setLevel(logging.WARNING)  # absl's handler would print jax's search for accelerators
    with contextlib.suppress(AttributeError):  # a name may hold letters that the terminal has not
        sys.stdout.reconfigure(errors="backslashreplace")

    def read(argv):
        try:
            return parse(cls, argv, flags.FLAGS)
        except UserError as error:
            _fail(str(error))

    def run(config):
        from vae_jax.runtime.compilation_cache import remember

        try:
            remember()
            main(config)
        except UserError as error:
            _fail(str(error))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            _leave(130)
        except BrokenPipeError:  # the reader of our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            if error.errno is None:
                raise
            where = f" ({error.filename})" if error.filename else ""
            _fail(f"{os.strerror(error.errno)}{where}; what was saved before is kept")
        except Exception as error:
            _check_peers(error)
            if not _is_out_of_memory(error):
                traceback.print_exc()
                _leave(1)
            _fail("the memory is full: lower --batch_size, --num_samples or --hidden; what was saved before is kept")

    app.run(run, flags_parser=read)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)  # the latter is XLA's word for it


def _fail(message: str) -> typing.NoReturn:
    print(f"error: {message}", file=sys.stderr)
    _leave(2)


def _check_peers(error: Exception) -> None:
    """Ends the program where ``error`` is that another process of the run has gone: a scheduler continues such work."""
    processes = sys.modules.get("vae_jax.devices.processes")
    if processes is not None and processes.is_lost_peer(error):
        print("error: another process of this run has gone; the same command continues it", file=sys.stderr)
        processes.leave(processes.TO_BE_CONTINUED)


def _leave(status: int) -> typing.NoReturn:
    processes = sys.modules.get("vae_jax.devices.processes")  # not there: then there are no others either
    if processes is not None:
        processes.leave(status)
    sys.exit(status)


def read_config(cls: type[C], path: Path, remedy: str) -> C:
    """The configuration in a ``config.json``, every value checked.

    Raises:
      UserError: the file is no JSON object, larger than any of ours, or of another version; ``remedy`` says what to do.
    """
    return from_dict(cls, read_object(path, remedy, LARGEST_FILE, strict=True), str(path))


def claim_workdir(workdir: Path, config: Any) -> None:
    """Makes ``workdir`` this configuration's own, or finds that it is already.

    Raises:
      UserError: the folder cannot be written, or holds another configuration; the flags that differ are named.
    """
    path = workdir / "config.json"
    asked = dataclasses.asdict(config)
    remedy = "remove it or choose another --workdir"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        there = read_object(path, remedy, LARGEST_FILE, strict=True) if path.exists() else None
        if there is None:
            write_json(path, asked)
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written: {os.strerror(error.errno)}") from error
    if there is None:
        return
    foreign = sorted(set(there) - set(asked))
    if foreign:
        raise UserError(
            f"--workdir={workdir} holds the work of another binary or version, with the flag --{foreign[0]}; choose "
            "another --workdir"
        )
    # A flag that is newer than the run had its default.
    before = from_dict(type(config), there, str(path))
    fields = [f.name for f in dataclasses.fields(config) if f.metadata["identity"]]
    differing = [name for name in fields if getattr(before, name) != asked[name]]
    if differing:
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise UserError(
            f"--workdir={workdir} holds another run: "
            + ", ".join(f"--{name} is {getattr(before, name)} there and {asked[name]} here" for name in differing[:5])
            + f"{more}; repeat its flags to continue it, or choose another --workdir"
        )


MOST = 2**31 - 1  # of a whole number: steps and sizes are 32-bit integers on the device
LARGEST, SMALLEST = 3.4e38, 1.2e-38  # magnitudes that a float32 holds, 0 apart
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_NO_NAME = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of a letter, breaks: what no name of anything holds

C = TypeVar("C")


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
    """
    bounds = {"least": least, "above": above, "most": most, "below": below}
    metadata = {"help": help, "choices": choices, "identity": identity, "extensible": extensible, "flag": flag}
    return dataclasses.field(default=default, metadata=metadata | bounds)


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
    choices, most = field.metadata["choices"], field.metadata["most"] or MOST
    if choices and not field.metadata["extensible"] and value not in choices:
        return f"must be one of {', '.join(choices)}"
    if kind is int and not -most <= value <= most:
        return f"must be at most {most}" if value > 0 else f"must be at least {-most}"
    if kind is float and value != 0 and not SMALLEST <= abs(value) <= LARGEST:  # nor is NaN
        return f"must be a number between {SMALLEST:g} and {LARGEST:g}, or 0: single precision holds no other"
    if kind in (int, float) and not _within(field.metadata, value):
        return f"must be {_range(field.metadata)}"
    if kind is str and not value:
        return "is empty: give it a value, or leave the flag out for its default"
    if kind is str and any(unicodedata.category(letter) in _NO_NAME for letter in value):
        return "holds a line break, a control character or bytes that are no UTF-8"
    return None


def _within(bounds: Mapping[str, Any], value: float) -> bool:
    """Whether a number is within the bounds of its field."""
    least, above, most, below = (bounds[name] for name in ("least", "above", "most", "below"))
    low = (least is None or value >= least) and (above is None or value > above)
    return low and (most is None or value <= most) and (below is None or value < below)


def _range(bounds: Mapping[str, Any]) -> str:
    """The bounds of a field in words, to be read after "must be"."""
    least, above, most, below = (bounds[name] for name in ("least", "above", "most", "below"))
    low, high = (above if least is None else least), (below if most is None else most)
    if low is not None and high is not None:
        return f"in {'[' if above is None else '('}{low:g}, {high:g}{']' if below is None else ')'}"
    if high is not None:
        return f"at most {high:g}" if below is None else f"below {high:g}"
    return "positive" if above == 0 else f"at least {low:g}" if above is None else f"above {low:g}"


def _shown(value: Any) -> str:
    """A value as a message may have it."""
    if isinstance(value, int) and value.bit_length() > 200:  # Python refuses to write very long ones at all
        return f"a number of about {int(0.30103 * value.bit_length())} digits"
    return value if isinstance(value, str) else json.dumps(value)[:100]
