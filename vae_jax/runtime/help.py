"""What ``--help`` prints, the flags in groups and a line each, and ``--helpfull``, with all that is said of each."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Sequence

from vae_jax.runtime.fields import bounds_in_words, kinds, words_of

WIDTH = 100  # letters of a line
_COLUMN = 31  # where the texts begin
_SHORT, _FULL = ("--help", "-help", "-h", "--helpshort", "-helpshort"), ("--helpfull", "-helpfull")
_OF_ALL = {
    "--config=FILE": "flags of a .json or .toml, as a run's config.json; typed ones win",
    "--helpfull": "the same with the whole text of each flag",
}


def asked_for(argv: Sequence[str]) -> bool | None:
    """Returns whether a command line asks for the long help; None where it asks for none."""
    arguments = list(argv[1:])
    asked = arguments[: arguments.index("--")] if "--" in arguments else arguments
    full = any(argument in _FULL for argument in asked)
    return full if full or any(argument in _SHORT for argument in asked) else None


def help_text(cls: type, about: str, full: bool = False) -> str:
    """Returns the help of a binary.

    Args:
      cls: its configuration.
      about: what the binary is, in front.
      full: whether each flag has its whole text, or what of it fits on its line.
    """
    flags = {field.name: field for field in dataclasses.fields(cls) if field.metadata["flag"]}
    groups = {heading: [n for n in names if n in flags] for heading, names in words_of(cls).groups.items()}
    rest = [name for name in flags if not any(name in names for names in groups.values())]
    groups |= {"other" if groups else "flags": rest}
    lines = [about.strip(), "", "Behind = is the default, or N for a whole number, X for a number, TEXT for a text."]
    for heading, names in groups.items():
        if names:
            lines += ["", f"{heading}:", *(_entry(cls, flags[name], full) for name in names)]
    lines += ["", *(_line(flag, text) for flag, text in _OF_ALL.items() if not (full and flag == "--helpfull"))]
    return "\n".join(lines)


def _entry(cls: type, field: dataclasses.Field, full: bool) -> str:
    kind, about = kinds(cls)[field.name][0], field.metadata
    default = field.default if about["shown"] is None else about["shown"]
    if kind is bool:
        flag = f"--[no]{field.name}" if default else f"--{field.name}"
    else:
        value = "|".join([{int: "N", float: "X", str: "TEXT"}[kind], *about["words"]]) if default is None else default
        flag = f"--{field.name}={value}"
    if full:
        bounds = bounds_in_words(about)
        text = "; ".join(part for part in (about["help"], " | ".join(about["choices"] or ()), bounds) if part)
        indent = " " * 6
        body = textwrap.fill(text, 110, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
        return f"  {flag}\n{body}"
    width, names = WIDTH - max(_COLUMN, len(flag) + 4), " | ".join(about["choices"] or ())
    # All names, where a shorter clause leaves room for them.
    text = (names and clause(about["help"], width - len(names) - 2)) or clause(about["help"], width) or about["help"]
    return _line(flag, textwrap.shorten(f"{text}: {names}" if names else text, width, placeholder=" ..."))


def _line(flag: str, text: str) -> str:
    return f"  {flag}".ljust(_COLUMN - 2) + "  " + text


def clause(text: str, width: int) -> str | None:
    """Returns the longest beginning of ``text`` that fits and ends with a clause; None where none does."""
    if len(text) <= width:
        return text
    ends = [match.start() for match in re.finditer(r"[;,:] | \(|\.$", text)]
    fits = [text[:end] for end in ends if 12 <= end <= width and text[:end].count("(") == text[:end].count(")")]
    return fits[-1] if fits else None
