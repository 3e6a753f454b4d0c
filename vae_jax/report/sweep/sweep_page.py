"""Turns a sweep's workdir into two figures and one page."""

from __future__ import annotations

from pathlib import Path

from vae_jax.report import page
from vae_jax.report.reading.finding import as_lines
from vae_jax.report.sweep import sweep_tables
from vae_jax.report.sweep.beta_profile import beta_profile
from vae_jax.report.sweep.frontier_figure import frontier
from vae_jax.report.sweep.grouping import Sweep
from vae_jax.report.sweep.sweep_files import load_sweep
from vae_jax.report.sweep.sweep_findings import read_sweep
from vae_jax.runtime.files import write_atomic


def _title(sweep: Sweep) -> str:
    dataset = sweep.summary.get("dataset") or sweep.rows[0].get("dataset")
    on = f" on {Path(str(dataset)).name}" if dataset else ""
    separate = len({row["run"] for row in sweep.rows if row["method"] != "multi_rate"})
    shared = len({row["run"] for row in sweep.rows if row["method"] == "multi_rate"})
    counted = ((separate, "VAE", ""), (shared, "VAE", " for all weights"))
    parts = [(f"one {what}" if n == 1 else f"{n} {what}s") + rest for n, what, rest in counted if n]
    return f"A sweep of {' and '.join(parts)}{on}"


def write_sweep_report(workdir) -> Path:
    """Writes ``frontier.png``, ``beta_profile.png`` and ``report.html``, each all at once; returns the page's path.

    Args:
      workdir: a sweep's directory with ``sweep.jsonl`` and, if there, ``sweep.json``.

    Raises:
      UserError: where the sweep has no runs yet, or a file cannot be read.
    """
    workdir = Path(workdir)
    sweep = load_sweep(workdir)
    figures, findings = [frontier(sweep), beta_profile(sweep)], read_sweep(sweep)
    page.write_figures(workdir, figures)
    shown = {"title": _title(sweep), "sweep": sweep, "tables": sweep_tables, "findings": findings, "figures": figures}
    made = page.render("sweep.html", **shown)
    write_atomic(workdir / "report.html", made)
    return workdir / "report.html"


def terminal_lines(sweep: Sweep) -> list[str]:
    """Returns the table and the findings as plain text for a terminal; "!" marks what needs attention."""
    return sweep_tables.table_lines(sweep) + as_lines(read_sweep(sweep))
