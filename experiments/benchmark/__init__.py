"""The benchmark: how fast the project is, against this machine's matrix products and what else one might use."""
