"""A sweep's files in; ``frontier.png``, ``beta_profile.png`` and ``report.html`` out. Reads files only."""

from vae_jax.report.sweep.sweep_findings import summary_lines
from vae_jax.report.sweep.sweep_page import write_sweep_report
from vae_jax.report.sweep.sweep_tables import table_lines

__all__ = ["summary_lines", "table_lines", "write_sweep_report"]
