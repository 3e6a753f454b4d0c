"""All claims in the order of the ledger. A new one is a function in a file of its family and a line in its table."""

from __future__ import annotations

from . import (
    codes,
    collapse,
    estimators,
    factors,
    fixed_points,
    golden,
    identities,
    images,
    ladders,
    normalising,
    samples,
    sequences,
    theory,
    waking,
)
from .ledger import Claim

FAMILIES = (
    *(normalising, golden, identities, theory, samples, codes, estimators),
    *(fixed_points, waking, images, collapse, sequences, factors, ladders),
)
CLAIMS: list[Claim] = [claim for family in FAMILIES for claim in family.CLAIMS]
