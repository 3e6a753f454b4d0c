"""A run's files in, figures and ``report.html`` out. Reads files only: no model, no device."""

from vae_jax.report.reading import read, summary_lines
from vae_jax.report.reading.finding import Finding
from vae_jax.report.run_files import Run, load
from vae_jax.report.run_page import write_report

__all__ = ["Finding", "Run", "load", "read", "summary_lines", "write_report"]
