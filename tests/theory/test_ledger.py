"""The ledger's golden numbers and theorems, as tests: one set of tables, read here in 32 and in 64 bits.

What each claim says, where it comes from and what it allows is in ``experiments/claims``; that each of them can fail
is in ``tests/experiments/test_claims.py``.
"""

from __future__ import annotations

import jax
import pytest
from conftest import golden as as_printed

from experiments.claims import fixed_points, golden, identities, normalising, theory, waking
from experiments.claims.ledger import Settings, check

# The steep discretised logistic sees the rounding of its grey level: x is the float32 that the data hold.
STEEP = {"-4.048678515014", "-9.964048713048", "-255.295722667", "-.062490318094"}


@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
@pytest.mark.parametrize("claim", golden.CLAIMS, ids=lambda claim: claim.name)
def test_golden_numbers(claim, single, monkeypatch):
    monkeypatch.setattr(golden, "misfit", list)  # the pairs themselves, in place of the largest misfit
    with jax.enable_x64(not single):
        pairs = claim.run(None)
        assert len(pairs) >= 5
        for found, text in pairs:
            if single and text in STEEP:
                assert float(found) == pytest.approx(float(text), rel=2e-5, abs=2e-5)
            else:
                assert float(found) == as_printed(text, single)


# These train what another one trains, at another target.
ALIKE = {
    "pi_whatever_its_gains",
    "capacity_multiplier",
    "collapse_above_the_threshold",
    "learned_precision_is_calibrated",
}
THEOREMS = [*identities.CLAIMS, *normalising.CLAIMS, *theory.CLAIMS, *fixed_points.CLAIMS, *waking.CLAIMS]
THEOREMS = [claim for claim in THEOREMS if claim.name not in ALIKE]


@pytest.mark.parametrize("claim", THEOREMS, ids=lambda claim: claim.name)
def test_a_theorem_holds(claim, tmp_path):
    entry, _ = check(claim, Settings(tmp_path))
    assert entry["holds"] is True, entry
