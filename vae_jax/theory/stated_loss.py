"""The weight of a loss as somebody wrote it, in the units of an audit: of ``sum rho + w sum KL`` on [0, 1] pixels."""

from __future__ import annotations

from collections import Counter

from vae_jax.theory.loss_words import Term
from vae_jax.theory.losses import parse_loss
from vae_jax.types import UserError

SCALES = {"squared_error": 2, "absolute_error": 1, "bce": 0}  # the power of the pixels' scale in the error


def stated_weight(text: str, data_dim: int, latent_dim: int, batch_size: int | None, span: float):
    """Reads a loss and finds its weight.

    Args:
      text: the loss, see ``losses.parse_loss``.
      data_dim, latent_dim: D and M.
      batch_size: B, needed where one term is summed over the batch and another averaged.
      span: of the pixels that the loss saw: 2 for [-1, 1].

    Returns:
      ``(kind, w, others)``: the kind of the error and its weight, None where the loss has no error of ``SCALES`` or
      several; and the words of the other errors.

    Raises:
      UserError: it cannot be read, or needs a batch size.
    """
    loss = parse_loss(text)
    sizes = {"D": data_dim, "M": latent_dim, "B": batch_size}
    batches = {term.batch for term in loss.terms if term.batch}
    unsaid = next(iter(batches)) if len(batches) == 1 else "mean"
    mixed = len({term.batch or unsaid for term in loss.terms}) > 1
    kl, errors = 0.0, Counter()
    for term in loss.terms:
        factor = _factor(term, sizes, mixed and (term.batch or unsaid) == "sum", text)
        if term.kind == "kl":
            kl += factor
        elif term.kind in SCALES:
            errors[term.kind] += factor * span ** SCALES[term.kind]
    others = [term.words or term.kind for term in loss.errors if term.kind not in SCALES]
    if len(errors) != 1 or not min(errors.values()) > 0:
        return None, None, others
    ((kind, weight),) = errors.items()
    return kind, kl / weight, others


def _factor(term: Term, sizes: dict[str, int | None], batch_sum: bool, text: str) -> float:
    powers = Counter(term.powers)
    powers["M" if term.kind == "kl" else "D"] -= term.over == "mean"
    powers["B"] += batch_sum
    factor = term.factor
    for name, power in powers.items():
        if power and sizes[name] is None:
            raise UserError(f"--loss={text}: it depends on the batch; add --batch_size")
        factor *= float(sizes[name]) ** power if power else 1.0
    return factor
