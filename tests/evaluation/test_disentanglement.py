"""Disentanglement: 1 for a perfect code, chance for noise, and numbers that well-known wrong forms do not give."""

import math

import numpy as np
import pytest
from conftest import golden
from scipy import stats
from threadpoolctl import threadpool_limits

from vae_jax.evaluation.disentanglement import SCORES, Sizes, dci, disentanglement
from vae_jax.evaluation.disentanglement.factors import index, prepare
from vae_jax.evaluation.disentanglement.scores import (
    beta_vae_score,
    factor_vae_score,
    mig_per_factor,
    modularity,
    mutual_information,
)
from vae_jax.types import UserError

FACTORS = np.tile(np.indices((2, 3, 4)).reshape(3, -1).T, (50, 1))  # 1,200 rows, full factorial
SMALL = Sizes(train=600, test=600, pairs=32, examples=1200, bins=20, trees=15)
GOOD = FACTORS / FACTORS.std(axis=0) + 0.1 * np.random.default_rng(1).normal(size=FACTORS.shape)
ONES = ("beta_vae", "factor_vae", "mig", "dci_disentanglement", "dci_completeness", "dci_informativeness", "modularity")


def measured(codes, factors=FACTORS, **kwargs):
    return disentanglement(codes, factors, sizes=SMALL, **kwargs)


@pytest.fixture(scope="module")
def good():
    return measured(GOOD)


# ---------------------------------------------------------------- numbers that are known


def test_dci_of_known_importances():
    table = np.array([[0.8, 0.1], [0.2, 0.1], [0.0, 0.8]])
    assert dci.concentration(table) == golden("0.635789374")  # (.9 x 0.496742 + .3 x 0.081704 + .8) / 2
    assert dci.concentration(table.T) == golden("0.481421110")
    assert dci.concentration(table[:2]) == pytest.approx((0.9 * 0.496742 + 0.3 * 0.081704) / 1.2, abs=1e-6)
    assert dci.concentration(np.zeros((3, 2))) == 0.0 and dci.concentration(table[:, :1]) is None


def test_importances_are_those_of_the_reference_and_shared_by_codes_that_serve_equally_well():
    from sklearn.ensemble import GradientBoostingClassifier

    # Each factor in two codes, as the same numbers: the estimator that takes the first of two calls that complete.
    codes, rows = np.repeat(GOOD, 2, axis=1), np.arange(1200)
    train, test, rng = rows[:600], rows[600:], np.random.default_rng(0)
    with threadpool_limits(1):  # or OpenMP's threads wait for each other on a busy machine
        first, _ = dci.importances(dci.permutations, codes, FACTORS, train, test, rng)
    assert dci.concentration(first.T) > 0.99
    shared, _ = dci.importances(dci.impurities(15), codes, FACTORS, train, test, rng)
    halves = shared.reshape(3, 2, 3).sum(axis=2) / shared.reshape(3, 2, 3).sum(axis=(1, 2))[:, None]
    assert np.all((halves > 0.2) & (halves < 0.8)) and dci.concentration(shared) > 0.9
    assert dci.concentration(shared.T) == pytest.approx(1 - math.log(2) / math.log(6), abs=0.1)
    # On codes without ties it is the reference's formula to the bit, its constant of 1e-11 beside the importances too.
    model = GradientBoostingClassifier(n_estimators=15, random_state=0).fit(GOOD[train], FACTORS[train, 2])
    ours, judged = dci.importances(dci.impurities(15), GOOD, FACTORS[:, 2:], train, test, rng)
    np.testing.assert_allclose(ours[:, 0], model.feature_importances_, atol=0.01)
    assert judged[0] == pytest.approx(model.score(GOOD[test], FACTORS[test, 2]), abs=0.005)
    for table in (shared, shared.T):
        per_row = 1 - stats.entropy(table.T + 1e-11, base=table.shape[1])
        assert dci.concentration(table) == pytest.approx(per_row @ table.sum(axis=1) / table.sum(), abs=1e-8)


def test_mig_of_a_known_table():
    information = np.array([[math.log(2), math.log(3) / 2], [0.1, math.log(3)], [0.2, 0.0]])
    entropy = np.log([2, 3])
    assert mig_per_factor(information, entropy).mean() == golden("0.605730496")
    assert mig_per_factor(information[::-1], entropy).mean() == golden("0.605730496")
    # The wrong forms: codes and factors exchanged by a reshape; the gap of the means; no entropies.
    assert mig_per_factor(information.reshape(2, 3).T, entropy).mean() != golden("0.605730496")
    assert np.mean(np.diff(np.sort(information, axis=0)[-2:], axis=0)) != golden("0.605730496")


def test_codes_are_transposed_not_reshaped():
    # Trap 64: z.reshape(m, n) in place of z.T mixes the codes, and a perfect code looks like a bad one.
    information, entropy = mutual_information(FACTORS.astype(float), FACTORS)
    assert mig_per_factor(information, entropy).mean() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(entropy, np.log([2, 3, 4]), rtol=1e-12)
    np.testing.assert_allclose(information, np.diag(entropy), atol=1e-12)
    reshaped = FACTORS.astype(float).reshape(3, -1).T
    assert mig_per_factor(*mutual_information(reshaped, FACTORS)).mean() < 0.2


def test_information_of_a_noisy_bit():
    # A bit sent with errors of probability 1/5 carries log 2 - H(1/5).
    pairs = [(0, 0)] * 40 + [(0, 1)] * 10 + [(1, 0)] * 10 + [(1, 1)] * 40
    code, bit = np.array(pairs).T
    information, _ = mutual_information(code[:, None] * 7.5 - 2, bit[:, None])
    assert information[0, 0] == pytest.approx(math.log(2) + 0.8 * math.log(0.8) + 0.2 * math.log(0.2), rel=1e-12)


def test_what_binning_loses():
    # 32 values in 20 bins: 12 bins hold two values and 8 hold one, so H = (3/4) log 16 + (1/4) log 32.
    values = np.stack([np.repeat(np.arange(32), 2), np.tile(np.arange(2), 32)], axis=1)
    per_factor = mig_per_factor(*mutual_information(values.astype(float), values))
    assert per_factor[1] == pytest.approx(1, abs=1e-12)
    assert per_factor[0] == pytest.approx(0.75 * math.log(16) / math.log(32) + 0.25, abs=1e-12)
    assert per_factor[0] <= math.log(20) / math.log(32)


def test_modularity_of_a_known_table():
    # Deviations: (1/4 + 0) / 2 and 0; with unsquared shares the first would be 1/4.
    assert modularity(np.array([[1.0, 0.5, 0.0], [0.0, 2.0, 0.0]])) == pytest.approx((7 / 8 + 1) / 2)
    assert modularity(np.ones((4, 3))) == 0
    assert modularity(np.zeros((4, 3))) == 0
    idle = np.array([[1.0, 0.0], [0.01, 0.01], [0.0, 0.0]])  # a code that hardly says anything counts, as anywhere else
    assert modularity(idle) == pytest.approx(1 / 3)


# ---------------------------------------------------------------- perfect codes, noise, invariances


def test_a_perfect_code():
    found = measured(FACTORS.astype(float), names=("shape", "x", "y"), subset="a toy", seed=3)
    for name in ONES:
        assert found[name] == pytest.approx(1, abs=1e-3), name
    parts = ["a toy: 1200 examples", "shape, x, y", "20 bins", "600 points", "seed 3", "15 rounds"]
    for part in (*parts, "impurity importances", "ties at random", "without replacement", "all codes"):
        assert part in found["protocol"]
    assert found["left_out"] == [] and found["chance"] == pytest.approx(1 / 3) and found["active_codes"] == 3


def test_sap_of_a_perfect_bit():
    # The best code is always right, any other is right half the time.
    bits = np.tile(np.indices((2, 2)).reshape(2, -1).T, (300, 1))
    assert measured(bits * 2.0 - 1, bits)["sap"] == pytest.approx(0.5, abs=0.06)
    twice = np.concatenate([bits, bits], axis=1).astype(float)  # the second best is as good as the best
    assert measured(twice, bits)["sap"] == 0


def test_noise_scores_chance():
    found = measured(np.random.default_rng(0).normal(size=(1200, 6)))
    error = math.sqrt(1 / 3 * 2 / 3 / SMALL.test)
    for name in ("beta_vae", "factor_vae"):
        assert found[name] == pytest.approx(1 / 3, abs=5 * error), name
    for name, at_most in (("mig", 0.02), ("sap", 0.05), ("dci_disentanglement", 0.1), ("dci_completeness", 0.1)):
        assert 0 <= found[name] <= at_most, name
    assert found["dci_informativeness"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3, abs=0.06)


def test_order_and_signs_of_codes_do_not_matter(good):
    other = measured(GOOD[:, [2, 0, 1]] * [-1, 1, -1])
    for name in SCORES:
        assert other[name] == pytest.approx(good[name], abs=0.02), name
    assert good["mig"] > 0.9 and good["dci_disentanglement"] > 0.9 and good["factor_vae"] == 1


def test_rotation_does_matter(good):
    turned = GOOD.copy()
    turned[:, 1:] = GOOD[:, 1:] @ np.array([[1, 1], [-1, 1]]) / math.sqrt(2)
    found = measured(turned)
    for name in ("mig", "dci_disentanglement", "dci_completeness", "modularity"):
        assert found[name] < good[name] - 0.1, name


def test_the_same_seed_gives_the_same_numbers(good):
    assert measured(GOOD) == good
    assert measured(GOOD, seed=1) != good


# ---------------------------------------------------------------- the draws


def test_pairs_share_their_factor_and_nothing_else():
    values = FACTORS[(FACTORS[:, 1] != 0) | (FACTORS[:, 2] != 0)]  # not factorial any more
    draws, rng = index(values), np.random.default_rng(0)
    first = rng.integers(len(values), size=20_000)
    for factor in range(3):
        second = draws.alike(factor, first, rng)
        assert np.all(values[first, factor] == values[second, factor])
        # Where the first has the value v, the second is like any row with v.
        rows = second[values[first, factor] == 1]
        expected = values[values[:, factor] == 1].mean(axis=0)
        np.testing.assert_allclose(values[rows].mean(axis=0), expected, atol=0.07)
    assert beta_vae_score(values.astype(float), draws, rng, 600, 300, 32) > 0.99
    assert factor_vae_score(values.astype(float), draws, rng, 600, 300, 32) > 0.99


def test_factor_vae_needs_global_variances_and_active_codes():
    rng, draws = np.random.default_rng(0), index(FACTORS)
    # Without the global variances the smallest code would always move least.
    assert factor_vae_score(GOOD * [100, 1, 30], draws, rng, 600, 600, 32) == 1
    # A collapsed code that twitches now and then is still in most batches; a constant one would divide by zero.
    twitch = np.where(rng.random(1200) < 0.02, 0.01, 0.0)[:, None]
    for idle in (twitch, np.zeros((1200, 1))):
        assert factor_vae_score(np.concatenate([GOOD, idle], axis=1), draws, rng, 600, 600, 32) == 1


# ---------------------------------------------------------------- what is missing or too much


def test_collapsed_codes_beside_good_ones(good):
    # A constant up to the rounding of float32 is a constant, even where the rounding knows a factor.
    rounding = 3.0 + 1e-7 * FACTORS[:, :1]
    found = measured(np.concatenate([GOOD, rounding, np.full((1200, 1), 0.5)], axis=1))
    assert found["information"][3] == found["information"][4] == [0, 0, 0]
    assert found["importance"][3] == found["importance"][4] == [0, 0, 0]
    assert found["active_codes"] == 3
    for name in (*SCORES, "modularity_active"):
        # DCI's completeness counts the idle codes in its logarithm: log 5 in place of log 3. Modularity counts all 5.
        expected = 0.6 * good[name] if name == "modularity" else good[name]
        assert found[name] == pytest.approx(expected, abs=0.05), name


def test_codes_that_say_nothing():
    found = measured(np.full((1200, 4), 0.3))
    assert found["active_codes"] == 0 and found["beta_vae"] == pytest.approx(1 / 3, abs=0.06)
    for name in ("factor_vae", "mig", "sap", "dci_disentanglement", "dci_completeness", "modularity"):
        assert found[name] == pytest.approx(0, abs=1e-12), name


def test_one_code_is_one_code_and_a_constant():
    alone, padded = measured(GOOD[:, 0]), measured(np.stack([GOOD[:, 0], np.ones(1200)], axis=1))
    assert alone["modularity"] == 2 * padded["modularity"]  # of one code, and of two
    assert alone == padded | {"modularity": alone["modularity"]}
    assert alone["mig_per_factor"][0] > 0.9 and max(alone["mig_per_factor"][1:]) < 0.05
    assert all(0 <= alone[name] <= 1 for name in SCORES)


def test_one_factor_asks_less():
    found = measured(GOOD[:, :2], FACTORS[:, 0])
    assert [name for name in SCORES if found[name] is None] == [
        "beta_vae",
        "factor_vae",
        "dci_disentanglement",
        "modularity",
    ]
    assert found["mig"] > 0.9 and found["dci_completeness"] > 0.9 and found["dci_informativeness"] > 0.99


def test_factors_of_one_value_or_too_many_are_left_out_and_named():
    extra = np.stack([np.full(1200, 7), *FACTORS.T, np.arange(1200)], axis=1)
    p = prepare(GOOD, extra, ("dull", "a", "b", "c", "row"))
    assert p.names == ("a", "b", "c") and np.array_equal(p.values, FACTORS)
    assert "dull" in p.notes[0] and "row" in p.notes[1]
    nothing = measured(GOOD, np.ones(1200, int))
    assert all(nothing[name] is None for name in SCORES) and nothing["left_out"]


@pytest.mark.parametrize(
    ("codes", "factors", "names", "said"),
    [
        (GOOD, FACTORS[:-1], (), "same n"),
        (GOOD[:1], FACTORS[:1], (), "at least two"),
        (np.where(GOOD > 1, np.nan, GOOD), FACTORS, (), "finite"),
        (GOOD, FACTORS, ("a",), "1 names for 3 factors"),
    ],
)
def test_what_cannot_be_measured(codes, factors, names, said):
    with pytest.raises(UserError, match=said):
        disentanglement(codes, factors, names)


# ---------------------------------------------------------------- the experiment


def test_the_layout_of_dsprites_is_read(tmp_path):
    from experiments.papers.dsprites import as_train_reads_it
    from experiments.papers.higgins2017 import spread_of
    from vae_jax.data import load

    images = np.random.default_rng(0).integers(0, 2, size=(40, 8, 8)).astype(np.uint8)
    classes = np.arange(200).reshape(40, 5)
    np.savez(tmp_path / "grid.npz", imgs=images, latents_classes=classes, metadata=np.array({"pickled": 1}))
    dataset = load(as_train_reads_it(str(tmp_path / "grid.npz"), tmp_path / "work"))
    assert len(dataset.train) == 36 and len(dataset.test) == 4
    rows = np.concatenate([dataset.train_factors, dataset.test_factors])[:, 0] // 5
    assert sorted(rows) == list(range(40))
    np.testing.assert_array_equal(np.concatenate([dataset.train, dataset.test])[..., 0], images[rows])
    assert as_train_reads_it(dataset.name, tmp_path) == dataset.name

    row = dict.fromkeys((*SCORES, "elbo", "rate", "distortion", "active_units"), 1.0)
    assert spread_of([row, row | {"mig": 3.0}])["mig"] == {"mean": 2.0, "std": math.sqrt(2), "min": 1.0, "max": 3.0}
    assert spread_of([row])["mig"]["std"] is None
