"""A sweep: which runs, which programs, training, evaluation, files."""
