"""Does each code stand for one factor? The published scores, by one call, with the protocol beside the numbers.

They are functions of the codes of a whole data set, the means of q(z|x), and of its known factors; the sizes and
settings are those of disentanglement_lib (Locatello 2019, 1811.12359) unless a file says otherwise. Pairs and batches
are drawn among the examples that there are, so any data with factors will do, full factorial or not; on data where
factors depend on each other the scores say less. Rows to learn from and to judge by are drawn without replacement; the
reference draws them from the factors with replacement, so on small data it judges by rows that it has learned from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vae_jax.evaluation.disentanglement import dci, scores
from vae_jax.evaluation.disentanglement.factors import ACTIVE_STD, active, disjoint_rows, index, prepare
from vae_jax.evaluation.disentanglement.scores import beta_vae_score, factor_vae_score, sap_score

SCORES = (
    "beta_vae",
    "factor_vae",
    "mig",
    "sap",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
    "modularity",
)


class Sizes(NamedTuple):
    """How much is drawn.

    Attributes:
      train, test: points (BetaVAE, FactorVAE) or examples (SAP, DCI) that are learned from and judged by.
      pairs: pairs (BetaVAE) or examples (FactorVAE) in each point.
      examples: that MIG and modularity count.
      bins: of a code, there.
      trees: for each class of a factor, in DCI.
    """

    train: int = 10_000
    test: int = 5_000
    pairs: int = 64
    examples: int = 10_000
    bins: int = 20
    trees: int = 100


STANDARD = Sizes()


def disentanglement(
    codes, factors, names=(), seed: int = 0, subset: str = "unnamed data", sizes: Sizes = STANDARD
) -> dict[str, Any]:
    """Computes all scores of the codes of a data set, as plain numbers.

    None of the scores knows the order or the signs of the codes; all but informativeness, in practice, fall when codes
    are rotated into each other.

    Args:
      codes: ``[n, m]``, the posterior means.
      factors: ``[n, k]``, known factors with few values each, or labels ``[n]``.
      names: of the factors.
      seed: of everything drawn.
      subset: what the examples are, for the protocol: a part of a data set must not pass for the whole.
      sizes: how much is drawn.

    Returns:
      Each of ``SCORES`` (None where it asks nothing: the ones about telling factors apart, of a single factor);
      ``active_codes`` with a standard deviation of at least 0.05; ``chance`` of beta_vae and factor_vae, 1 / k;
      ``factors``, the names of those measured; ``left_out``, sentences; ``mig_per_factor`` [k]; ``information``
      [m][k], each code's share of each factor's entropy; ``importance`` [m][k] and ``accuracy`` [k], of DCI;
      ``dci_permutation``, the three scores by our own estimator (``dci.py``); ``modularity_active``, of the active
      codes only; ``protocol``, a sentence.

    Raises:
      UserError: codes and factors that do not go together, or are not finite.
    """
    import sklearn.ensemble  # noqa: F401  (loads the OpenMP library that is limited below)
    from threadpoolctl import threadpool_limits

    p = prepare(codes, factors, names)
    n, k = p.values.shape
    results: dict[str, Any] = dict.fromkeys(SCORES)
    results |= {"active_codes": int(active(p.codes).sum()), "chance": 1 / k if k else None, "factors": list(p.names)}
    results |= {"left_out": list(p.notes), "mig_per_factor": [], "information": [], "importance": [], "accuracy": []}
    results |= {"modularity_active": None, "dci_permutation": None}
    rngs = [np.random.default_rng([seed, i]) for i in range(5)]  # one each: none depends on what else is computed
    counted = rngs[2].permutation(n)[: sizes.examples]
    train, test = disjoint_rows(n, sizes.train, sizes.test, rngs[3])
    # One thread: on small problems and a busy machine, OpenMP's threads spend their time waiting for each other.
    with threadpool_limits(1):
        if k > 1:
            draws = index(p.values)
            results["beta_vae"] = beta_vae_score(p.codes, draws, rngs[0], sizes.train, sizes.test, sizes.pairs)
            results["factor_vae"] = factor_vae_score(p.codes, draws, rngs[1], sizes.train, sizes.test, sizes.pairs)
        if k:
            results |= _of_single_codes(p, counted, sizes.bins, 1 if np.ndim(codes) == 1 else np.shape(codes)[1])
            results["sap"] = sap_score(p.codes, p.values, train, test)
            results |= _of_all_codes(p, train, test, rngs[4], sizes.trees)
    results["protocol"] = (
        f"{subset}: {n} examples, posterior means, {p.codes.shape[1]} codes, factors {', '.join(p.names) or 'none'}; "
        f"beta_vae and factor_vae: {sizes.train} points to learn from, {sizes.test} to judge by, {sizes.pairs} pairs "
        "or examples each, drawn among these examples; factor_vae normalised by the variance over all of them, codes "
        f"of standard deviation < {ACTIVE_STD} dropped; mig and modularity: {len(counted)} examples, {sizes.bins} bins "
        f"of equal width, all codes (modularity_active: without those dropped); sap (linear SVM, C = 0.01) and dci "
        f"({sizes.trees} rounds of boosted trees of depth 3 at rate 0.1, impurity importances, ties at random; "
        f"dci_permutation: {dci.ROUNDS} rounds at {dci.RATE}, permutation importances): {len(train)} examples to learn "
        f"from and {len(test)} others to judge by, drawn without replacement; seed {seed}"
    )
    return results


def _of_single_codes(p, counted, bins, given):
    known, entropy = scores.mutual_information(p.codes[counted], p.values[counted], bins)
    entropy = np.where(entropy > 0, entropy, 1.0)  # of a factor whose rarer values were not among those counted
    each = scores.mig_per_factor(known, entropy)
    return {
        "mig": float(each.mean()),
        "mig_per_factor": each.tolist(),
        "information": (known / entropy).tolist(),
        "modularity": scores.modularity(known[:given]),
        "modularity_active": scores.modularity(known[active(p.codes)]),
    }


def _of_all_codes(p, train, test, rng, trees):
    def three(estimate):
        importance, accuracy = dci.importances(estimate, p.codes, p.values, train, test, rng)
        found = (dci.concentration(importance), dci.concentration(importance.T), float(accuracy.mean()))
        return importance, accuracy, dict(zip(("disentanglement", "completeness", "informativeness"), found))

    *_, ours = three(dci.permutations)
    importance, accuracy, found = three(dci.impurities(trees))
    return {
        **{f"dci_{name}": value for name, value in found.items()},
        "dci_permutation": ours,
        "importance": importance.tolist(),
        "accuracy": accuracy.tolist(),
    }
