"""How every figure looks: print size, thin lines, colours that a colour-blind reader can tell apart."""

from __future__ import annotations

import io
import math
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from vae_jax.types import one_line

# Okabe and Ito's palette (2008).
TRAIN, TEST, MARK, FAINT = "#0072B2", "#D55E00", "#000000", "#999999"
WIDTH = 6.4  # inches, about the text width of a page
DPI = 180
COLUMN = 698  # CSS pixels that the text of a page is wide, as in style.css

_STYLE = Path(__file__).parent / "templates" / "figure.mplstyle"


class Figure(NamedTuple):
    """A figure of the report: its file's ``name``, its ``caption``, its ``png`` (None: nothing to draw)."""

    name: str
    caption: str
    png: bytes | None

    @property
    def alt(self) -> str:
        """The text in place of the image: the caption up to its first colon or full stop."""
        return self.caption.split(":")[0].split(".")[0]

    @property
    def width(self) -> int:
        """The width on a page in CSS pixels, so that letters are of one size in all figures; ``png`` is not None."""
        return round(COLUMN * min(1.0, int.from_bytes(self.png[16:20], "big") / (WIDTH * DPI)))


_PAINTING = threading.Lock()  # the style and the warnings' filter are those of the process, not of a thread


def draw(paint: Callable, height: float, width: float = WIDTH, layout: str | None = "constrained") -> bytes:
    """Calls ``paint(figure)`` on an empty figure of ``width`` by ``height`` inches; returns a PNG of ``DPI``.

    It uses no global figure and no display, and the same input gives the same bytes.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _PAINTING, style.context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a name in a script of its own
        figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
        FigureCanvasAgg(figure)
        paint(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def label_of(name: str, most: int = 40) -> str:
    """Returns a name that somebody gave as a figure shows it: one short line, no dollar that would start a formula."""
    name = one_line(name, max(len(name), 1))
    return (name if len(name) <= most else f"{name[: most - 3]}...").replace("$", r"\$")


def letters(panels) -> None:
    """Names panels (a), (b) ... as captions do, left above each, where neither a title nor an axis on top is."""
    for axes, letter in zip(panels, "abcdefgh" if len(panels) > 1 else ""):
        note(axes, f"({letter})", (0.0, 1.0), (-30, 5), "axes fraction", gid="letter")


def legend_above(figure, panels) -> None:
    """Writes one legend above all ``panels``, each label once."""
    handles: dict = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    if handles:
        style = {"loc": "outside upper center", "columnspacing": 1.4, "ncols": legend_columns(list(handles))}
        figure.legend(handles.values(), handles.keys(), **style)


def legend_columns(labels: Sequence[str], room: int = 105) -> int:
    """Returns the columns of a legend as wide as the figure: as few rows as ``room`` letters allow, and filled."""
    for rows in range(1, len(labels) + 1):
        count = math.ceil(len(labels) / rows)
        widths = [max(len(label) for label in labels[i : i + rows]) + 9 for i in range(0, len(labels), rows)]
        if sum(widths) <= room:
            return count
    return 1


def note(axes, text: str, at, offset, where=("axes fraction", "data"), **style) -> None:
    """Writes ``text`` at ``at``, moved by ``offset`` points; ``where`` says in which coordinates ``at`` is."""
    axes.annotate(text, at, offset, xycoords=where, textcoords="offset points", fontsize=8, **style)


def step_axis(axes, label: bool = True, nbins: int = 6) -> None:
    """Labels an x axis that counts training steps, in thousands where they are many (20k)."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    first, last = axes.dataLim.intervalx
    if axes.has_data() and last - first < 1.0:
        axes.set_xlim(first - 1.0, first + 1.0)  # a run of one line
    thousands = axes.get_xlim()[1] >= 10_000
    axes.xaxis.set_major_locator(MaxNLocator(nbins=nbins, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / 1000:g}k" if thousands and v else f"{v:g}"))
    if label:
        axes.set_xlabel("training step")
