"""The page: one HTML file that needs no network and no script. What is not written here is escaped."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence

from vae_jax.report.style import Plate

# One column of text, tables with few rules, figures on white in both modes; on a phone meanings drop below.
_STYLE = """
:root { color-scheme: light dark;
  --ink: #1a1a1a; --paper: #fff; --soft: #595959; --rule: #999; --hair: #ddd; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e4e4; --paper: #161616; --soft: #a8a8a8; --rule: #777; --hair: #383838; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 46rem; padding: 2.5rem 1.2rem 4rem;
  color: var(--ink); background: var(--paper);
  font: 1rem/1.5 Charter, "Bitstream Charter", Georgia, "Liberation Serif", "Times New Roman", serif; }
h1 { font-size: 1.6rem; line-height: 1.25; font-weight: 600; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; font-weight: 600; margin: 2.2rem 0 .6rem; }
p { margin: .5rem 0; }
.under { color: var(--soft); margin-top: 0; } .under + table, table + .under { margin-top: .8rem; }
.headline { margin: 1.2rem 0; padding: .6rem 0; overflow-wrap: anywhere;
  border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule); }
.finding { padding-left: .8rem; border-left: 3px solid transparent; margin-left: calc(-.8rem - 3px);
  overflow-wrap: anywhere; }
.attention { border-left-color: #d55e00; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; line-height: 1.35;
  border-top: 1.5px solid var(--ink); border-bottom: 1.5px solid var(--ink); }
th, td { text-align: left; vertical-align: baseline; padding: .28rem .9rem .28rem 0; }
th { font-weight: 600; border-bottom: 1px solid var(--rule); }
tbody tr + tr td { border-top: 1px solid var(--hair); }
tr > :last-child { padding-right: 0; }
.value { text-align: right; white-space: nowrap; font-variant-numeric: lining-nums tabular-nums; }
.meaning { color: var(--soft); }
.flags { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 0 2rem; margin: 0; }
.flags div { display: flex; justify-content: space-between; gap: 1rem; padding: .22rem 0;
  border-bottom: 1px solid var(--hair); font-size: .92rem; line-height: 1.35; }
.flags dt { white-space: nowrap; } .flags dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
.flags dt { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; font-size: .86em; }
figure { margin: 1.4rem 0 1.8rem; break-inside: avoid; }
.plate { background: #fff; overflow-x: auto; }
@media (prefers-color-scheme: dark) { .plate { padding: .6rem; } }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { font-size: .9rem; line-height: 1.4; margin-top: .6rem; color: var(--soft); }
figcaption b { color: var(--ink); font-weight: 600; }
@media (max-width: 36rem) {
  .numbers thead { display: none; }
  .numbers tr { display: flex; flex-wrap: wrap; justify-content: space-between; padding: .35rem 0; }
  .numbers tbody tr + tr { border-top: 1px solid var(--hair); }
  .numbers tbody td, .numbers tbody tr + tr td { border: 0; padding: 0 0 0 .5rem; }
  .numbers tbody tr .name, .numbers tbody tr + tr .name { padding-left: 0; }
  .numbers tbody tr .meaning, .numbers tbody tr + tr .meaning { padding-left: 0; } .numbers td:empty { display: none; }
  .numbers .name { flex: 1 0 40%; } .numbers .meaning { flex: 1 0 100%; }
  .numbers [data-of]:not(:empty)::before { content: attr(data-of) " "; color: var(--soft); } }
@media print {
  :root { --ink: #000; --paper: #fff; --soft: #333; --rule: #777; --hair: #ccc; }
  @page { margin: 18mm; }
  body { padding: 0; max-width: none; font-size: 10pt; }
  h2 { break-after: avoid; } tr, .finding { break-inside: avoid; } .finding { margin-left: 0; } .plate { padding: 0; } }
"""


# The words that stand for a letter: not in a flag (--beta=1), a name (beta_norm) or a family (the beta likelihood).
_LETTERS = {"beta": "β", "sigma": "σ", "mu^2": "μ^2", "tau^2": "τ^2"}
_LETTER = re.compile(r"(?<![\w=/.\-])(beta|sigma|mu\^2|tau\^2)(?![\w/]|\.\w| likelihood)")


def text(value) -> str:
    """``value`` escaped and set: Greek letters, squares, minus signs and powers of ten as they are printed."""
    escaped = _LETTER.sub(lambda m: _LETTERS[m[1]], html.escape(str(value))).replace("^2", "²")
    escaped = re.sub(r"(?<=\d)e(-?)(\d{1,4})\b", lambda m: f" × 10<sup>{'−' if m[1] else ''}{int(m[2])}</sup>", escaped)
    return re.sub(r"(?<![\w.\-=/])-(?=\d|log\b)| - ", lambda m: m[0].replace("-", "−"), escaped)


def section(title: str, body: str) -> str:
    """A titled part of the page, empty where ``body`` is."""
    return f"<h2>{html.escape(title)}</h2>\n{body}\n" if body else ""


def paragraph(words: str, kind: str = "") -> str:
    """A paragraph of escaped words."""
    return f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def remark(topic: str, words: str, attention: bool) -> str:
    """A paragraph with a run-in head; a rule beside it where it asks for attention."""
    kind = "finding attention" if attention else "finding"
    return f'<p class="{kind}"><b>{html.escape(topic)}.</b> {text(words)}</p>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str], kind: str = "") -> str:
    """A table; ``kinds`` holds the class of each column ("value" is aligned right). Empty without rows."""
    if not rows:
        return ""
    head = "".join(f'<th class="{k}">{text(h)}</th>' for h, k in zip(heads, kinds))
    lines = []
    for row in rows:
        cells = []
        for cell, head_, k in zip(row, heads, kinds):
            of = f' data-of="{html.escape(head_.lower())}"' if k == "value" and len(heads) > 3 else ""
            cells.append(f'<td class="{k}"{of}>{text(cell)}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<table class="{kind}">\n<thead><tr>{head}</tr></thead>\n<tbody>\n' + "\n".join(lines) + "\n</tbody></table>"
    )


def pairs(items: Sequence[tuple[str, str]]) -> str:
    """Names and their values in as many columns as fit, as they were written; empty without items."""
    rows = [f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>" for name, value in items]
    return '<dl class="flags">\n' + "\n".join(rows) + "\n</dl>" if rows else ""


def plates(shown: Sequence[Plate]) -> str:
    """Figures with their numbers and captions, images inside the page; what is not drawn is a sentence."""
    parts, count = [], 0
    for plate in shown:
        if plate.png is None:
            parts.append(paragraph(plate.caption, "under"))
            continue
        count += 1
        data = base64.b64encode(plate.png).decode("ascii")
        what = html.escape(plate.caption.split(":")[0].split(".")[0])
        parts.append(
            f'<figure><div class="plate"><img alt="{what}" src="data:image/png;base64,{data}"></div>\n'
            f"<figcaption><b>Figure {count}.</b> {text(plate.caption)}</figcaption></figure>"
        )
    return "\n".join(parts)


def document(title: str, body: str) -> bytes:
    """The whole page in UTF-8."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        ""
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    ).encode("utf-8", "replace")  # half a letter, in the name of a file, has no UTF-8
