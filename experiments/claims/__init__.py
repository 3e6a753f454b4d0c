"""The ledger: what this project claims, checked by ``python -m experiments.claims``, each claim a plain function."""
