"""A sweep's files in; ``frontier.png``, ``beta_profile.png`` and ``report.html`` out. Reads files only."""

from vae_jax.report.sweep.sweep_files import load_sweep
from vae_jax.report.sweep.sweep_page import terminal_lines, write_sweep_report

__all__ = ["load_sweep", "terminal_lines", "write_sweep_report"]
