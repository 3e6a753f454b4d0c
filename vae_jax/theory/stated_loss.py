"""The weight of a loss as somebody wrote it, in the units of an audit: of ``sum rho + w sum KL`` on [0, 1] pixels."""

from __future__ import annotations

from vae_jax.theory.loss_weights import weigh
from vae_jax.theory.losses import parse_loss

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
    # A BCE is of pixels in [0, 1] whatever the others saw, so the scale comes after.
    found = weigh(loss, data_dim, latent_dim, batch_size)
    others = [term.words or term.kind for term in loss.errors if term.kind not in SCALES]
    errors = [error for error in found.errors if error.kind in SCALES]
    if len(errors) != 1:
        return None, None, others
    kind, weight, _ = errors[0]
    return kind, found.kl_weight / (weight * span ** SCALES[kind]), others
