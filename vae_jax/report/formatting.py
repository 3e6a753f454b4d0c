"""Numbers as a person reads them."""

from __future__ import annotations

import math
import shlex
import sys
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path

from vae_jax.types import printable

MISSING = "–"
WIDTH = 110  # letters of a line in a terminal


def number(value, digits: int = 4) -> str:
    """Returns a measured number with ``digits`` significant digits; integers, words and switches as they are.

    Zeros at the end are kept (1.000, not 1): they say how well the number is known.

    Example:
      >>> number(0.5), number(12345.678), number(3), number(None)
      ('0.5000', '12346', '3', '–')
    """
    if value is None:
        return MISSING
    if isinstance(value, bool | int | str):
        return str(value)
    value = float(value)
    if not math.isfinite(value):
        return "not finite"
    if value == 0.0:
        return "0"
    if 10 ** (digits - 1) <= abs(value) < 1e7:
        return f"{value:.0f}"
    text = f"{value:#.{digits}g}".removesuffix(".")
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa}e{int(exponent)}"
    return text


def setting(value) -> str:
    """Returns a number that somebody chose, in as few digits as say it (1.0 -> "1"); anything else as text."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting(v) for v in value) or MISSING
    return MISSING if value is None or value == "" else str(value)


def nats(value: float, spread: float | None = None) -> str:
    """Returns a difference or a level in nats, one decimal, or two digits of a small one.

    One that is known to a ``spread`` has the decimals of that one's two digits, as in -13.083 ± 0.016.
    """
    if spread and abs(value) >= 1:
        return f"{value:.{min(4, max(1, 1 - math.floor(math.log10(spread))))}f} nats"
    return f"{value:.1f} nats" if abs(value) >= 1 else f"{number(value, 2)} nats"


def duration(seconds) -> str:
    """Seconds as "48 s", "12 min 5 s" or "3 h 20 min"."""
    if seconds is None:
        return MISSING
    if seconds < 100:
        return f"{number(float(seconds), 3)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Returns columns under their heads, two spaces apart: those in ``left`` to the left, the others to the right.

    A head of several lines ends on the last one.
    """
    split = [head.split("\n") for head in heads]
    height = max(len(lines) for lines in split)
    top = [[*[""] * (height - len(lines)), *lines] for lines in split]
    cells = [[lines[i] for lines in top] for i in range(height)] + [list(row) for row in rows]
    widths = [max(len(row[j]) for row in cells) for j in range(len(heads))]
    pad = [str.ljust if j in left else str.rjust for j in range(len(heads))]
    lines = ["  ".join(pad[j](row[j], widths[j]) for j in range(len(heads))).rstrip() for row in cells]
    rule = "  ".join("-" * width for width in widths)
    return printable("\n".join([*lines[:height], rule, *lines[height:]]))


def program(name: str) -> str:
    """Returns what starts the binary ``name``, to be pasted: as this program was started.

    With an interpreter that is named as such where it lies below this folder.
    """
    started, path = sys.orig_argv[1:3], Path(sys.executable)
    if started and Path(started[0]).stem == "vae-jax":
        return f"vae-jax {name}"
    inside = path.is_relative_to(Path.cwd())
    python = shlex.quote(str(path.relative_to(Path.cwd()))) if inside else "python"
    return f"{python} -m {'vae_jax ' if started == ['-m', 'vae_jax'] else 'experiments.'}{name}"


def wrapped(text: str) -> str:
    """Returns a paragraph for a terminal, what follows its first line set in."""
    return textwrap.fill(" ".join(text.split()), WIDTH, subsequent_indent="  ", break_on_hyphens=False)
