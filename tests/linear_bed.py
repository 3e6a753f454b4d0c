"""The exact test bed is the ledger's: what the tests take from it, under the names that they use."""

from __future__ import annotations

from experiments.claims.bed import (
    DIM,
    EXACT,
    FIXED,
    LINEAR,
    SIGMA2,
    WATER_LEVELS,
    basis,
    batch_terms,
    bed_data,
    bed_log_likelihood,
    bed_optimum,
    exact_terms,
    second_moments,
    squared_error,
    sse_and_rate,
)
from experiments.claims.bed import EIGENVALUES as BED_EIGENVALUES
from experiments.claims.bed import LATENTS as BED_LATENTS
from experiments.claims.bed import SigmaPoints as _SigmaPoints
from experiments.claims.bed_training import minimise, minimum, train

_basis = basis

__all__ = [
    "BED_EIGENVALUES",
    "BED_LATENTS",
    "DIM",
    "EXACT",
    "FIXED",
    "LINEAR",
    "SIGMA2",
    "WATER_LEVELS",
    "_SigmaPoints",
    "_basis",
    "batch_terms",
    "bed_data",
    "bed_log_likelihood",
    "bed_optimum",
    "exact_terms",
    "minimise",
    "minimum",
    "second_moments",
    "squared_error",
    "sse_and_rate",
    "train",
]
