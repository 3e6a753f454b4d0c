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
    figures = [frontier(sweep), beta_profile(sweep)]
    page.write_figures(workdir, figures)
    made = page.render(
        "sweep.html",
        title=_title(sweep),
        summary=sweep_tables.one_line(sweep),
        findings=read_sweep(sweep),
        figures=figures,
        gaussian=any(row.get("calibrated_elbo") is not None for row in sweep.done),
        averaged=len(sweep.rows) > sweep_tables.SHOWN_ONE_BY_ONE,
        runs=sweep_tables.runs_table(sweep),
        timings=sweep_tables.timings(sweep),
        configuration=sweep_tables.configuration(sweep),
        protocol=next((row["protocol"] for row in sweep.rows if row.get("protocol")), None),
    )
    write_atomic(workdir / "report.html", made)
    return workdir / "report.html"


def terminal_lines(sweep: Sweep) -> list[str]:
    """Returns the table and the findings as plain text for a terminal; "!" marks what needs attention."""
    return sweep_tables.table_lines(sweep) + as_lines(read_sweep(sweep))
