"""Words that somebody else chose, on the pages and in the figures of the report: they are shown, and do nothing."""

import json
import re

import numpy as np
import pytest
from helpers.made_runs import Page, config, metrics, results, write_run
from helpers.malformed import MARKUP
from made_sweeps import plain

from experiments.papers.figures import COLUMNS, annealing, comparison
from vae_jax.report import Finding, page, summary_lines, write_report
from vae_jax.report.figure import Figure, draw, label_of
from vae_jax.report.formatting import aligned
from vae_jax.report.reading.finding import as_lines
from vae_jax.report.sweep import load_sweep, terminal_lines, write_sweep_report
from vae_jax.types import UserError

FORMULAS = (
    "$x_^{$",
    r"$\frac{$",
    "a$b$c",
    r"\$x$ $",
    "_hidden",
    "日本 \U0001f600",
    "\ud800",
    "a\nb\x00\x1b[31m",
    "x" * 500,
)


def harmless(source: str) -> Page:
    """A page that runs nothing and fetches nothing, whatever names are on it."""
    assert "<img src=x" not in source and "<script" not in source
    return Page(source)


def planted(value):
    """The same lists and objects, each text, each name of an object and each end of a list with markup in it."""
    if isinstance(value, dict):
        return {key: planted(inner) for key, inner in value.items()} | {f"{MARKUP} name": MARKUP}
    if isinstance(value, list):
        return [planted(inner) for inner in value]
    return f"{value} {MARKUP}" if isinstance(value, str) else value


SAID = {"reconstructions": [[f"a {MARKUP}", MARKUP]], "samples": [MARKUP], "homotopies": [[MARKUP, "b"]]}
EVALUATION = {
    "step": 1,
    "elbo": -1.0,
    "iw_nll": 1.0,
    "protocol": MARKUP,
    "disentanglement": {MARKUP: 0.5, "mig": 0.1, "protocol": MARKUP, "left_out": [MARKUP]},
    "gaps": {"approximation_gap": 1.0, MARKUP: 1.0},
    "rate_parts": {"cap": 7.0, "mutual_information": {"value": 1.0, "error": 0.1, MARKUP: MARKUP}},
}


def pictures():
    x = np.zeros((8, 4, 4, 1), np.uint8)
    factors = np.arange(8.0)[:, None] % np.array([2, 3, 4, 5])
    return {
        "inputs": x,
        "reconstructions": x,
        "embedding": np.random.default_rng(0).standard_normal((8, 2)),
        "embedding_axes": np.array([MARKUP, r"$\frac{$"]),
        "factors": factors,
        "factor_names": np.array([MARKUP, "$x_^{$", "a$b$c", "日本"]),
        MARKUP.replace("/", ""): x,
    }


def test_the_page_of_a_run_shows_every_word_and_obeys_none(tmp_path):
    folder = tmp_path / MARKUP
    run = planted(results(warnings=["a file"], headline="h", reliability={"skipped": "why"}))
    flags = planted(config(columns="gaussian:3", data_dir="/x", workdir=str(folder)))
    write_run(folder, run, flags, metrics(100), pictures())
    (folder / "evaluation.json").write_text(json.dumps(EVALUATION))
    seen = harmless(write_report(folder).read_text())
    text = "".join(seen.words)
    for words in (*run["warnings"], run["headline"], run["protocol"], flags["dataset"], run["reliability"]["skipped"]):
        assert words.replace(" - ", " − ") in text, words
    (folder / "sentences.json").write_text(json.dumps(SAID))
    assert "".join(harmless(write_report(folder).read_text()).words).count(MARKUP) > 10
    assert all(line.isprintable() for line in summary_lines(run, flags))


def test_the_page_of_a_sweep_shows_every_word_and_obeys_none(tmp_path):
    rows = []
    for i, name in enumerate((MARKUP, "$x_^{$", "b")):
        row = plain(10.0**i, rate=5.0 - i, elbo=-40.0 - i, mse=0.01, **{"dataset": MARKUP, "protocol": MARKUP})
        asked = {"beta": 10.0**i, "likelihood": name, MARKUP: name}
        rows.append(row | {"run": f"{name} {i}", "asked": asked, "method": name, "status": "done", **asked})
    rows.append(rows[0] | {"run": MARKUP, "status": MARKUP, "asked": {"beta": MARKUP, "model": "$\\frac{"}})
    rows.append(rows[1] | {"run": MARKUP + "2", "status": "diverged", "diverged_at": 3})
    (tmp_path / "sweep.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = {"dataset": MARKUP, "flags": {MARKUP: MARKUP, "columns": MARKUP}, "notes": [MARKUP], "seconds": 1.0}
    (tmp_path / "sweep.json").write_text(json.dumps(summary))
    seen = harmless(write_sweep_report(tmp_path).read_text())
    assert "".join(seen.words).replace("\N{NO-BREAK SPACE}", " ").count("onerror=alert(1)") > 5
    assert all("\n" not in line for line in terminal_lines(load_sweep(tmp_path)))


@pytest.mark.parametrize("words", [MARKUP, "5'e9", '1"2', "1e" + "9" * 5000, "&lt;b&gt;", "\ud800", "</style>", "]]>"])
def test_every_part_of_a_page_escapes(words):
    table = page.Table((words, "a", "b", "c"), ("value",) * 4, [[words] * 4])
    section = {"title": words, "table": table, "figures": [Figure("f.png", words, None)]}
    section["findings"] = [Finding(words, True, words)]
    seen = harmless(page.render("sections.html", title=words, about=words, sections=[section]).decode())
    shown = "".join(seen.words)
    assert shown.count(words.encode("utf-8", "replace").decode()) >= 7 or "1e9" in words
    assert seen.tags <= set("html head meta title style body h1 h2 p b table thead tbody".split()) | set(
        "tr th td dl div dt dd sup".split()
    )


def test_control_characters_reach_neither_page_nor_terminal(tmp_path):
    words = "a\x1b[31m\x9b1m\u202e\x07b\x00"
    write_run(tmp_path, results(warnings=[words], headline=words), config(dataset=words, columns=words), metrics(100))
    (tmp_path / "sentences.json").write_text(json.dumps({"samples": [words]}))
    source = write_report(tmp_path).read_text()
    folder = tmp_path / "sweep"
    folder.mkdir()
    row = plain(1.0, dataset=words, protocol=words) | {"run": words, "asked": {words: words}}
    (folder / "sweep.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"asked": {words: "c"}}) + "\n")
    source += write_sweep_report(folder).read_text()
    lines = [*terminal_lines(load_sweep(folder)), *as_lines([Finding("a", True, words)]), aligned(["a"], [[words]])]
    shown = source + "\n".join(lines)
    assert shown.count("[31m") > 5 and not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_figure_shows_any_name_as_it_is(name):
    shown = label_of(name)
    assert len(shown.replace(r"\$", "$")) <= 40 and "\n" not in shown

    def paint(figure):
        axes = figure.subplots()
        axes.set_title(shown)
        axes.plot([1, 2], label=shown or "none")
        axes.set_xlabel(shown)

    assert draw(paint, 1.0, 2.0).startswith(b"\x89PNG")


def test_names_of_arms_are_drawn_as_they_are():
    row = dict.fromkeys(COLUMNS, 1.0)
    rows = [row | {"name": name, "calibrated_elbo": float(i)} for i, name in enumerate(FORMULAS)]
    assert comparison(rows).png
    lines = [{"split": "train", "step": step, "rate": 1.0, "beta": 1.0} for step in (0, 1)]
    assert annealing({name: [lines] for name in FORMULAS[:4]}).png


def test_a_message_is_one_printable_line_whatever_is_in_it():
    for words in (*FORMULAS, MARKUP * 100, "a\r\nb\u2028c\x85d\x9b31m"):
        said = str(UserError(f"--dataset={words}: no such file"))
        assert said.isprintable() and len(said) <= 600 and said.startswith("--dataset=") and said.endswith("file")
