"""Priors p(z), one a file; the standard normal is the one that ``objective.score`` knows so far."""
