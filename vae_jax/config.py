"""Configuration: one flat frozen dataclass <-> absl flags <-> config.json. The only place that imports absl."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vae_jax.types import UserError


def option(default: Any, help: str, choices: Sequence[str] | None = None, identity: bool = True) -> Any:
    """A field of a configuration.

    Args:
      default: its value where the flag is not given.
      help: one line for ``--help``.
      choices: the names that a string may have.
      identity: False for what says where things are and not what the run is: it may differ when a run is continued.
    """
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "identity": identity})


def define_flags(cls: type) -> None:
    """Defines one absl flag for each field of the dataclass ``cls``."""
    from absl import flags

    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        help, choices = field.metadata["help"], field.metadata["choices"]
        kinds = [k for k in typing.get_args(hints[field.name]) or (hints[field.name],) if k is not type(None)]
        if choices:
            flags.DEFINE_enum(field.name, field.default, list(choices), help)
        elif kinds[0] is bool:
            flags.DEFINE_bool(field.name, field.default, help)
        elif kinds[0] is int:
            flags.DEFINE_integer(field.name, field.default, help)
        elif kinds[0] is float:
            flags.DEFINE_float(field.name, field.default, help)
        else:
            flags.DEFINE_string(field.name, field.default, help)


def launch(main: Callable[[Any], None], cls: type) -> None:
    """Runs ``main(config)`` as an absl program whose flags are the fields of ``cls``.

    What cannot be done ends with one line on standard error and exit status 2; an interruption with status 130.
    """
    from absl import app, flags

    define_flags(cls)
    logging.getLogger("jax").setLevel(logging.WARNING)  # absl's handler would print jax's search for accelerators

    def parse(argv):
        try:
            rest = flags.FLAGS(argv)
        except flags.Error as error:
            _fail(" ".join(str(error).removeprefix("flag ").split()) + " (see --help)")
        if len(rest) > 1:
            _fail(f"not a flag: {' '.join(rest[1:])}; flags are written --name=value (see --help)")
        return rest

    def run(_):
        config = cls(**{f.name: getattr(flags.FLAGS, f.name) for f in dataclasses.fields(cls)})
        try:
            main(config)
        except UserError as error:
            _fail(str(error))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:  # the reader of our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            if error.errno is None:
                raise
            where = f" ({error.filename})" if error.filename else ""
            _fail(f"{os.strerror(error.errno)}{where}; what was saved before is kept")

    app.run(run, flags_parser=parse)


def _fail(message: str) -> typing.NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as JSON, all or nothing; keys keep their order, and NaN is refused."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
    os.replace(temporary, path)


def claim_workdir(workdir: Path, config: Any) -> None:
    """Makes ``workdir`` this configuration's own, or finds that it is already.

    Raises:
      UserError: the folder cannot be written, or holds another configuration; the flags that differ are named.
    """
    path = workdir / "config.json"
    asked = dataclasses.asdict(config)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        there = json.loads(path.read_text()) if path.exists() else None
        if there is None:
            write_json(path, asked)
    except json.JSONDecodeError:
        raise UserError(f"{path} is not readable as JSON; remove it or choose another --workdir") from None
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be written: {os.strerror(error.errno)}") from error
    if there is None:
        return
    foreign = sorted(set(there) - {f.name for f in dataclasses.fields(config)})
    if foreign:
        raise UserError(
            f"--workdir={workdir} holds the work of another binary or version, with the flag --{foreign[0]}; choose "
            "another --workdir"
        )
    # A flag that is newer than the run had its default.
    there = {f.name: f.default for f in dataclasses.fields(config)} | there
    fields = [f.name for f in dataclasses.fields(config) if f.metadata["identity"]]
    differing = [name for name in fields if there[name] != asked[name]]
    if differing:
        raise UserError(
            f"--workdir={workdir} holds another run: "
            + ", ".join(f"--{name} is {there[name]} there and {asked[name]} here" for name in differing)
            + "; repeat its flags to continue it, or choose another --workdir"
        )
