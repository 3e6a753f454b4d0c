"""The numbers of evaluation.json in words, for a terminal."""

from __future__ import annotations

from typing import Any

from vae_jax.evaluation.disentanglement import SCORES

PARTS = {
    "mutual_information": "mutual information",
    "total_correlation": "total correlation",
    "dimension_wise_kl": "dimension-wise KL",
    "prior_gap": "KL of the aggregate posterior from the prior",
}
NO_PARTS = (
    "the rate is not taken apart: q(z|x) is no diagonal Gaussian, so the sums over all examples are not exact, or "
    "p(z|c) differs from example to example"
)
ERRORS = ("mse", "accuracy", "log_loss", "perplexity")


def in_words(answer: dict[str, Any]) -> list[str]:
    """Returns the numbers in words, with what they may not be taken for."""
    elbo, nll, parts = answer["elbo"], answer["iw_nll"], answer["rate_parts"]
    parts = parts or {}
    shown = [f"{words} {parts[k]['value']:.3f} +- {parts[k]['error']:.3f}" for k, words in PARTS.items() if k in parts]
    bits = answer["bits_per_dim"]
    lines = [
        f"elbo {elbo:.4f} = -(rate {answer['rate']:.4f} + distortion {answer['distortion']:.4f}) nats per example",
        f"-log p(x) <= {nll:.4f} nats ({answer['iw_samples']} importance samples)",
        ", ".join(f"{name} {answer[name]:.6g}" for name in ERRORS if answer.get(name) is not None)
        + f", {answer['active_units']} active units"
        + ("" if bits is None else f", {bits:.4f} bits per dimension ({answer['iw_bits_per_dim']:.4f} by iw_nll)"),
        f"rate, taken apart: {', '.join(shown)}" if shown else NO_PARTS,
    ]
    if shown and parts["mutual_information"]["value"] > 0.9 * parts["cap"]:
        lines.append(
            f"  the mutual information is at its cap, log N = {parts['cap']:.3f}: these posteriors hardly overlap, so "
            "it says how many examples there are, and the total correlation is not entanglement"
        )
    if "gaps" in answer:
        g = answer["gaps"]
        lines.append(
            f"inference gaps: approximation {g['approximation_gap']:.3f} +- {g['approximation_gap_error']:.3f}, "
            f"amortisation {g['amortisation_gap']:.3f} +- {g['amortisation_gap_error']:.3f} nats (at least "
            f"{g['effective_samples']:.0f} effective samples)"
        )
    if "annealed" in answer:
        a = answer["annealed"]
        lines.append(
            f"annealed importance sampling, {a['examples']} examples, {a['chains']} chains of {a['temperatures']} "
            f"temperatures, acceptance {a['acceptance']:.2f}: log p(x) >= {a['log_px']:.3f} +- {a['log_px_error']:.3f} "
            f"nats (elbo {a['elbo']:.3f}, {answer['iw_samples']} importance samples {a['iw_log_px']:.3f}); on data "
            f"that the model made, log p(x) is between {a['simulated']['below']:.3f} and {a['simulated']['above']:.3f}"
        )
    if "disentanglement" in answer:
        d = answer["disentanglement"]
        scores = ", ".join(f"{name} {d[name]:.3f}" for name in SCORES if d[name] is not None)
        lines += [f"disentanglement: {scores}", f"  {d['protocol']}", *(f"  {line}" for line in d["left_out"])]
    return lines
