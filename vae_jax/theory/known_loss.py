"""One implementation's loss, as its code writes it, and what it weighs."""

from __future__ import annotations

from typing import NamedTuple

from vae_jax.conventions import Convention, Form, canonical
from vae_jax.theory.losses import parse_loss


class KnownLoss(NamedTuple):
    """One implementation.

    Attributes:
      name: what it is called there.
      source: repository and file that holds the loss, with the lines.
      commit: at which they were read, 40 hexadecimal digits.
      data: what the sizes are of.
      form: the loss as written; a text where ``canonical`` has no form for it, and then it has no convention: one that
        ``parse_loss`` reads, where the error is an absolute one.
      weight: the factor before the KL, as written.
      data_dim, latent_dim: D (channels counted) and M of that default; None where the code has no default, which only a
        loss of sums can be without.
      recon_weight, batch_size, pixel_scale: as for ``canonical``, where they matter.
      remark: what else there is to know.
    """

    name: str
    source: str
    commit: str
    data: str
    form: Form | str
    weight: float
    data_dim: int | None
    latent_dim: int | None
    recon_weight: float = 1.0
    batch_size: int = 1
    pixel_scale: float = 1.0
    remark: str = ""

    @property
    def convention(self) -> Convention:
        """What this loss really weighs, in [0, 1] pixel units, or in the data's own; of a text nothing is known."""
        if isinstance(self.form, str):
            return Convention(None, None, None, None)
        rest = (self.recon_weight, self.batch_size, self.pixel_scale)
        found = canonical(*self.form, self.weight, self.data_dim or 1, self.latent_dim or 1, *rest)
        return found if self.data_dim and self.latent_dim else found._replace(beta_norm=None)

    @property
    def laplace_scale(self) -> float | None:
        """The scale b of the Laplace family that absolute errors are, in [0, 1] pixel units or the data's own.

        Where an error is e, its water level is the local b |e|: the s of the parabola e^2 / (2 s) that touches |e| / b
        there. None of other errors, and where D is needed and not known.
        """
        if not isinstance(self.form, str) or not self.form.startswith("l1."):
            return None
        error, kl = parse_loss(self.form).terms
        count = self.data_dim if error.over == "mean" else 1
        return count and kl.factor * count / error.factor / self.pixel_scale

    @property
    def text(self) -> str:
        """The loss as written, with its weights."""
        if isinstance(self.form, str):
            return self.form
        a = f"{self.recon_weight:.4g}" if self.recon_weight != 1 else ""
        return self.form.text(f"{self.weight:g}" if self.weight != 1 else "", a)
