"""A sweep's files in; ``frontier.png``, ``beta_profile.png`` and ``report.html`` out. Reads files only.

loading, settings    the rows, and the settings that they are seeds of
analysis, theory     best, knee, onset of collapse, order; the linear theory of the same data
frontier, beta_profile (with frontier_marks, profile_axis, lines, labelling)      the figures
about_sweep, about_frontier, tables    what is said of it
writing              the page
"""

from vae_jax.report.sweep.about_sweep import summary_lines
from vae_jax.report.sweep.sweep_page import write_sweep_report
from vae_jax.report.sweep.sweep_tables import table_lines

__all__ = ["summary_lines", "table_lines", "write_sweep_report"]
