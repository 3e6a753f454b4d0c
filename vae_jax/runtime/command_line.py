"""What a command line says in other words than the flags' own, and the files of flags that ``--config`` names."""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vae_jax.errors import UserError
from vae_jax.runtime.fields import checked, kinds, words_of
from vae_jax.runtime.files import open_plain, read_object

LARGEST_FILE = 1 << 20  # bytes: a thousand times what a config.json of ours has
# Where a run was made, which a file does not say of another one.
NOT_TAKEN = ("workdir", "coordinator", "num_processes", "process_id")


def respelled(cls: type, arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Returns the arguments with each flag under its own name, and apart from them the file that ``--config`` names.

    Raises:
      UserError: a flag that there is not, with what may have been meant; a flag under two names; two files.
    """
    flags, words = {field.name for field in dataclasses.fields(cls) if field.metadata["flag"]}, words_of(cls)
    aliases = {alias: name for alias, name in words.aliases.items() if name in flags and alias not in flags}
    spelt: dict[str, str] = {}
    kept, files, rest = [], [], list(arguments)
    while rest and rest[0].startswith("-") and rest[0].strip("-"):
        argument = rest.pop(0)
        typed, equals, value = argument.lstrip("-").partition("=")
        name = aliases.get(typed, typed)
        switch = name in flags and kinds(cls)[name][0] is bool
        # --name value; a number below 0 is one, but behind what is no flag it would rather be the next flag.
        apart = rest and (name in flags or not rest[0].startswith("-"))
        if apart and not equals and not switch and not typed.startswith("no"):
            equals, value = "=", rest.pop(0)
        if name == "config":
            files.append(value)
        elif name in flags:
            if spelt.setdefault(name, typed) != typed:
                raise UserError(f"--{spelt[name]} and --{typed} are one flag, --{name}; give one of them")
            kept.append(f"--{name}{equals}{value}")
        elif typed.removeprefix("no") in flags or typed in ("flagfile", "undefok"):
            kept.append(argument)
        else:
            raise UserError(_unknown(cls, typed, value, arguments))
    if len(files) > 1:
        raise UserError(f"--config={files[0]} and --config={files[1]}: one file of flags can be given")
    if files and not files[0]:
        raise UserError("--config needs a file: --config=FILE.json or FILE.toml")
    return kept + rest, files[0] if files else None


def _unknown(cls: type, typed: str, value: str, arguments: Sequence[str]) -> str:
    """What to say of a flag that there is not."""
    fields, words = {field.name: field for field in dataclasses.fields(cls)}, words_of(cls)
    if typed in words.instead:
        size = next((a.partition("=")[2] for a in arguments if a.startswith(("--batch_size=", "--bs="))), "")
        default = fields["batch_size"].default if "batch_size" in fields else None
        meant = words.instead[typed].format(value=value or "E", batch_size=size or default or "B")
        return f"there is no --{typed}: {meant}"
    return f"there is no --{typed}; {closest(cls, typed)}"


def closest(cls: type, typed: str) -> str:
    """Returns the flag whose name is most like ``typed``, as the end of a sentence."""
    names = {field.name: field.name for field in dataclasses.fields(cls) if field.metadata["flag"]}
    names = {alias: name for alias, name in words_of(cls).aliases.items() if name in names} | names
    near = difflib.get_close_matches(typed.lower().replace("-", "_"), names, 1)
    return f"is --{names[near[0]]} meant? (see --help)" if near else "see --help"


def read_flags(cls: type, path: str) -> dict[str, Any]:
    """Returns the flags that a file of ``--config`` holds, name -> value, checked; a run's own config.json is one.

    Raises:
      UserError: it cannot be read, or holds what is no flag, or a value that its flag cannot have.
    """
    values = dict(_read(path))
    if path.endswith(".toml") and "workdir" in values:
        raise UserError(f"--config={path}: a workdir is given on the command line, --workdir=DIR")
    fields, left_out = {field.name for field in dataclasses.fields(cls)}, words_of(cls).left_out
    for name in [*NOT_TAKEN, *left_out]:
        value = values.pop(name, None)
        if left_out.get(name) and value is not None:
            raise UserError(f"--config={path}: {name} is {value!r}, and there is no --{name} here; take it out")
    unknown = sorted(set(values) - fields)
    if unknown:
        others = f"; and {len(unknown) - 1} others that are no flags here" if len(unknown) > 1 else ""
        raise UserError(f"--config={path}: there is no --{unknown[0]}; {closest(cls, unknown[0])}{others}")
    as_text = {name: _list_text(value) for name, value in values.items() if kinds(cls)[name][0] is str}
    return checked(cls, values | as_text, f"--config={path}")


def _list_text(value: Any) -> Any:
    """Returns a value of a flag that is text as it is typed: numbers and lists of them belong to a sweep."""
    if isinstance(value, list) and value and all(isinstance(each, str | int | float) for each in value):
        return ",".join(_list_text(each) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else value


def _read(path: str) -> Mapping[str, Any]:
    remedy = "give a file of flags, name = value"
    where = Path(os.path.expanduser(path))
    try:
        if where.suffix == ".json":
            return read_object(where, remedy, LARGEST_FILE, strict=True)
        if where.suffix != ".toml":
            raise UserError(f"--config={path} must be FILE.json or FILE.toml")
        with open(open_plain(where), "rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UserError(f"--config={path} is larger than {LARGEST_FILE:,} bytes; {remedy}")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise UserError(f"--config={path} cannot be read: {os.strerror(error.errno)}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"--config={path} is no TOML: {error}; {remedy}") from None
