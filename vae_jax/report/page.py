"""Pages from the templates: one HTML file each, which needs no network and no script. All that is shown is escaped."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from vae_jax.report.figure import Figure
from vae_jax.report.formatting import number, setting, wrapped
from vae_jax.runtime.files import write_atomic
from vae_jax.types import printable


class Table(NamedTuple):
    """A table of a page; of no rows it is not shown.

    Attributes:
      heads: of the columns.
      kinds: the CSS class of each column: "name", "value" (aligned right) or "meaning".
      rows: of cells, one for each column.
    """

    heads: Sequence[str]
    kinds: Sequence[str]
    rows: Sequence[Sequence[str]]


# The words that stand for a letter: not in a flag (--beta=1), a name (beta_norm) or a family (the beta likelihood).
_LETTERS = {"beta": "β", "sigma": "σ", "mu^2": "μ^2", "tau^2": "τ^2"}
_LETTER = re.compile(r"(?<![\w=/.\-])(beta|sigma|mu\^2|tau\^2)(?![\w/]|\.\w| likelihood)")


def typeset(value):
    """Returns ``value`` as escaped markup: Greek letters, squares, minus signs and powers of ten as in print."""
    from markupsafe import Markup, escape

    text = _LETTER.sub(lambda m: _LETTERS[m[1]], str(escape(str(value)))).replace("^2", "²")
    text = re.sub(r"(?<=\d)e(-?)(\d{1,4})\b", lambda m: f" × 10<sup>{'−' if m[1] else ''}{int(m[2])}</sup>", text)
    text = text.replace("+-", "±")
    return Markup(re.sub(r"(?<![\w.\-=/])-(?=\.?\d|log\b)| - ", lambda m: m[0].replace("-", "−"), text))


def whole_flags(markup):
    """Returns markup whose flags begin a new line sooner than break at their hyphens."""
    from markupsafe import Markup

    return Markup(re.sub(r"(?<![\w\-])--\w[^\s<]*", r'<span class="whole">\g<0></span>', str(markup)))


def undrawn(figures: Iterable[Figure]) -> list[str]:
    """Tells which figures are not drawn and why, in one sentence those that have one reason."""
    names: dict[str, list[str]] = {}
    for figure in figures:
        if figure.png is None:
            name, _, reason = figure.caption.partition(": ")
            known = names.setdefault(reason, [])
            known.append(name if not known else name[:1].lower() + name[1:])
    return [f"{', '.join(some)}: {reason}" for reason, some in names.items()]


@functools.cache
def template(name: str):
    """Returns a file of the folder templates; what it shows is printable, and escaped unless it is plain text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vae_jax.report"),
        autoescape=not name.endswith(".txt"),
        undefined=StrictUndefined,
        finalize=lambda value: type(value)(printable(value)) if isinstance(value, str) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "typeset": typeset,
        "number": number,
        "setting": setting,
        "wrapped": wrapped,
        "whole_flags": whole_flags,
        "undrawn": undrawn,
    }
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    return environment.get_template(name)


def render(name: str, **values) -> bytes:
    """Returns the page that the template ``name`` makes of ``values``, in UTF-8."""
    return template(name).render(values).encode("utf-8", "replace")  # half a letter, in a file's name, has no UTF-8


def write_figures(folder: Path, figures: Iterable[Figure]) -> None:
    """Writes each figure into ``folder``; an earlier file of one that could not be drawn is no longer true and goes."""
    for figure in figures:
        if figure.png is not None:
            write_atomic(folder / figure.name, figure.png)
        else:
            (folder / figure.name).unlink(missing_ok=True)
