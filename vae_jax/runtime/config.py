"""Configuration: one flat frozen dataclass <-> absl flags <-> config.json. The only place that imports absl."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import os
import sys
import traceback
import typing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vae_jax.errors import UserError
from vae_jax.runtime.command_line import LARGEST_FILE, read_flags, respelled
from vae_jax.runtime.fields import LARGEST, check_values, from_dict, kinds, option
from vae_jax.runtime.files import read_object, write_json
from vae_jax.runtime.help import asked_for, help_text

__all__ = [
    "LARGEST",
    "check_values",
    "claim_workdir",
    "define_flags",
    "from_dict",
    "kinds",
    "launch",
    "option",
    "parse",
    "read_config",
]

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
        if choices and not field.metadata["extensible"]:
            flags.DEFINE_enum(field.name, field.default, list(choices), help, flag_values=values)
        elif field.metadata["words"]:
            parser = _whole_number_or(field.metadata["words"])
            flags.DEFINE(
                parser, field.name, field.default, help, flag_values=values, serializer=flags.ArgumentSerializer()
            )
        else:
            define.get(kind, flags.DEFINE_string)(field.name, field.default, help, flag_values=values)


def _whole_number_or(words: Sequence[str]) -> Any:
    """Returns absl's parser of a whole number that also takes one of ``words`` as it is."""
    from absl import flags

    class Parser(flags.IntegerParser):
        syntactic_help = f"a whole number or {' or '.join(words)}"

        def parse(self, argument):
            return argument if argument in words else super().parse(argument)

    return Parser()


def parse(cls: type[C], argv: Sequence[str], values: Any) -> C:
    """Returns the configuration that a command line asks for.

    Args:
      cls: the dataclass, whose flags ``values`` has.
      argv: the program and its arguments.
      values: absl's, of ``define_flags``.

    Raises:
      UserError: a flag that there is not, an argument that is none, or a value that its field cannot have.
    """
    from absl import flags

    try:
        arguments, path = respelled(cls, values.read_flags_from_files(list(argv[1:])))
        rest = values([argv[0], *arguments])
    except (flags.Error, ValueError) as error:  # the latter from a --flagfile that is no text
        raise UserError(" ".join(str(error).removeprefix("flag ").split()) + " (see --help)") from None
    if len(rest) > 1:
        raise UserError(f"not a flag: {' '.join(rest[1:])}; flags are written --name=value (see --help)")
    given = {f.name: values[f.name] for f in dataclasses.fields(cls) if f.metadata["flag"]}
    filed = {} if path is None else read_flags(cls, path)
    filed = {name: value for name, value in filed.items() if name not in given or not given[name].present}
    # What a run found in its own data says nothing of another's.
    filed = {name: value for name, value in filed.items() if name in given or name == "plugin_sha256"}
    if "plugin" not in filed:  # another one than the file's was typed
        filed.pop("plugin_sha256", None)
    config = cls(**{name: flag.value for name, flag in given.items()} | filed)
    check_values(config)
    return config


def launch(main: Callable[[Any], None], cls: type) -> None:
    """Runs ``main(config)`` as an absl program whose flags are the fields of ``cls``.

    What cannot be done ends with one line on standard error and exit status 2; an interruption with status 130.
    """
    # Imports and traces make millions of objects that live on: looking through them took a tenth of a start.
    gc.set_threshold(50_000, 20, 100)
    _open_standard_streams()
    full = asked_for(sys.argv)
    if full is not None:
        return print_help(help_text(cls, sys.modules["__main__"].__doc__ or "", full))
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
            limit = _limit_of(error)
            if limit is None:
                traceback.print_exc()
                _leave(1)
            _fail(f"{limit}; lower --batch_size, --num_samples or --hidden; what was saved before is kept")

    app.run(run, flags_parser=read)


def print_help(text: str) -> None:
    """Prints ``text``, whatever the terminal cannot show, into a pager that may be left before its end."""
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="backslashreplace")
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_standard_streams() -> None:
    """Opens what the caller has closed (``2>&-``): the next file would get its number, and messages would go there."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))


def _same(one: Any, other: Any) -> bool:
    """Whether two values of a flag are the same, or two spellings of one file or folder."""
    if one == other or not (isinstance(one, str) and isinstance(other, str)):
        return one == other
    paths = [os.path.expanduser(path) for path in (one, other)]
    return all(map(os.path.exists, paths)) and os.path.samefile(*paths)


# What XLA, numpy, the loader and the kernel say of a limit on memory, threads or handles.
_LIMITS = (
    "RESOURCE_EXHAUSTED",
    "Cannot allocate memory",
    "bad_alloc",
    "failed to map segment",
    "can't start new thread",
    "Too many open files",
)


def _limit_of(error: BaseException) -> str | None:
    """Returns the limit of this machine that an error is about; None where it is about none."""
    if isinstance(error, MemoryError):
        return "the memory is full"
    words = next((words for words in _LIMITS if words in str(error)), None)
    return words and ("the memory is full" if words == _LIMITS[0] else f"a limit of this machine is reached: {words}")


def _fail(message: str, status: int = 2) -> typing.NoReturn:
    print(f"error: {message}", file=sys.stderr)
    # What could not be opened is half made, and its clean-up would print tracebacks below the line.
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore")
    _leave(status)


def _check_peers(error: Exception) -> None:
    """Ends the program where ``error`` is that another process of the run has gone: a scheduler continues such work."""
    processes = sys.modules.get("vae_jax.devices.processes")
    if processes is not None and processes.is_lost_peer(error):
        _fail("another process of this run has gone; the same command continues it", processes.TO_BE_CONTINUED)


def _leave(status: int) -> typing.NoReturn:
    processes = sys.modules.get("vae_jax.devices.processes")  # not there: then there are no others either
    if processes is not None:
        processes.leave(status)
    sys.exit(status)


def read_config(cls: type[C], path: Path, remedy: str) -> C:
    """Returns the configuration in a ``config.json``, every value checked.

    Raises:
      UserError: the file is no JSON object, larger than any of ours, or of another version; ``remedy`` says what to do.
    """
    return from_dict(cls, read_object(path, remedy, LARGEST_FILE, strict=True), str(path))


def claim_workdir(workdir: Path, config: Any, typed: Any = None, grown: Sequence[str] = ()) -> None:
    """Makes ``workdir`` this configuration's own, or finds that it is already.

    Args:
      workdir: the folder.
      config: with every default filled in.
      typed: the flags as they were given; a value that nobody gave is named only where no other differs.
      grown: flags that may be larger here than there; the folder then is that of the larger ones.

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
    differing = [name for name in fields if not _same(getattr(before, name), asked[name])]
    larger = [name for name in grown if name in differing and asked[name] > getattr(before, name)]
    differing = [name for name in differing if name not in larger]
    if larger and not differing:
        write_json(path, asked)
    if differing:
        given = type(config)() if typed is None else typed
        differing = [name for name in differing if getattr(given, name) is not None] or differing
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise UserError(
            f"--workdir={workdir} holds another run: "
            + ", ".join(f"--{name} is {getattr(before, name)} there and {asked[name]} here" for name in differing[:5])
            + f"{more}; repeat its flags to continue it, or choose another --workdir"
        )
