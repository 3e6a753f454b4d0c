"""What a written loss really weighs.

For a squared error, everything that a pair of weights can do is one number, the water level s = beta * sigma^2: at
fixed sigma the optimum depends on (beta, sigma) only through s (noted by Higgins 2017, Lucas 2019 (1911.02469) and
Rybkin 2021 (2006.13202)). ``canonical`` finds it for a loss as somebody wrote it, in [0, 1] pixel units;
``written_weight`` and ``equivalents`` go back, to the weight that another code base has to be given.
"""

from __future__ import annotations

import math
from typing import NamedTuple

_RECON = ("squared_error", "half_squared_error", "bce", "nll")
_BATCH = "+batch_sum"
_REDUCTIONS = ("sum", "mean", "sum" + _BATCH, "mean" + _BATCH)


class Form(NamedTuple):
    """How a loss is written, but for its weights; the names are those of ``canonical``."""

    recon: str
    recon_reduction: str
    kl_reduction: str

    def text(self, weight: str = "w", recon_weight: str = "") -> str:
        """Returns the loss as a formula, with the weights as they are to be shown.

        Example:
          >>> Form("half_squared_error", "mean", "sum+batch_sum").text()
          'mean SE/2 + w sum KL (batch sum)'
        """
        error = {"squared_error": "SE", "half_squared_error": "SE/2", "bce": "BCE", "nll": "NLL"}[self.recon]
        terms = []
        for reduction, factor, name in (
            (self.recon_reduction, recon_weight, error),
            (self.kl_reduction, weight, "KL"),
        ):
            words = [factor, reduction.removesuffix(_BATCH), name, "(batch sum)" * (_BATCH in reduction)]
            terms.append(" ".join(word for word in words if word))
        return " + ".join(terms)


class Equivalent(NamedTuple):
    """One other way to write the same loss: ``reduce(recon) + weight * reduce(KL)``."""

    form: Form
    weight: float


class Convention(NamedTuple):
    """What a loss weighs, on [0, 1] pixels.

    Attributes:
      water_level: s = beta sigma^2; None for "bce" and "nll", which have no global noise level.
      beta: the KL weight at sigma = 1 (for "bce" and "nll": of the ELBO).
      beta_norm: beta * latent_dim / data_dim (Higgins 2017).
      sigma: the decoder's noise that the loss implies at beta = 1, sqrt(s); None for "bce".
    """

    water_level: float | None
    beta: float
    beta_norm: float
    sigma: float | None


def beta_norm(beta, data_dim: int, latent_dim: int):
    """Returns Higgins' normalised weight, beta * M / D (Higgins 2017, ICLR, section 4); D counts channels."""
    return beta * latent_dim / data_dim


def beta_from_norm(normalised, data_dim: int, latent_dim: int):
    """Returns the beta of a normalised weight, the inverse of ``beta_norm``."""
    return normalised * data_dim / latent_dim


def canonical(
    recon: str,
    recon_reduction: str,
    kl_reduction: str,
    weight: float,
    data_dim: int,
    latent_dim: int,
    recon_weight: float = 1.0,
    batch_size: int = 1,
    pixel_scale: float = 1.0,
) -> Convention:
    """Finds what ``recon_weight * reduce(recon) + weight * reduce(KL)`` really weighs.

    Args:
      recon: "squared_error", "half_squared_error", "bce", or "nll", the negative log-likelihood of any family with all
        of its constants.
      recon_reduction: over the event, "sum" or "mean"; "+batch_sum" where the batch is summed, not averaged.
      kl_reduction: the same over the latents.
      weight, recon_weight: the factors b and a before the two terms.
      data_dim, latent_dim: D (channels counted) and M.
      batch_size: matters only where one term is summed over the batch and the other averaged.
      pixel_scale: c where the loss saw c times the [0, 1] pixels (255 for 0..255, 2 for [-1, 1]).

    Returns:
      A ``Convention``, all of it in [0, 1] pixel units.

    Raises:
      ValueError: for an unknown name, a dimension below 1, or a weight that is negative or not finite.

    Example:
      >>> canonical("squared_error", "mean", "sum", 1.0, data_dim=784, latent_dim=20).water_level
      392.0
    """
    if recon not in _RECON:
        raise ValueError(f"recon must be one of {', '.join(_RECON)}, not {recon!r}")
    for name, value in (("recon_reduction", recon_reduction), ("kl_reduction", kl_reduction)):
        if value not in _REDUCTIONS:
            raise ValueError(f"{name} must be one of {', '.join(_REDUCTIONS)}, not {value!r}")
    if min(data_dim, latent_dim, batch_size) < 1:
        raise ValueError("data_dim, latent_dim and batch_size must be at least 1")
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"the KL's weight must be finite and not negative, not {weight}")
    if not (math.isfinite(recon_weight) and recon_weight > 0 and math.isfinite(pixel_scale) and pixel_scale > 0):
        raise ValueError("recon_weight and pixel_scale must be finite and positive")
    if recon in ("bce", "nll") and pixel_scale != 1.0:
        raise ValueError("a BCE is defined on [0, 1] pixels, any other likelihood on its data: pixel_scale must be 1")

    beta = weight / recon_weight
    beta *= data_dim if recon_reduction.startswith("mean") else 1
    beta /= latent_dim if kl_reduction.startswith("mean") else 1
    beta *= batch_size if kl_reduction.endswith(_BATCH) else 1
    beta /= batch_size if recon_reduction.endswith(_BATCH) else 1
    if recon in ("bce", "nll"):
        return Convention(None, beta, beta_norm(beta, data_dim, latent_dim), None)
    # A Gaussian's exponent is SSE / (2 sigma^2): a squared error without its half is sigma^2 = 1/2.
    s = beta / (1.0 if recon == "half_squared_error" else 2.0) / pixel_scale**2
    return Convention(s, s, beta_norm(s, data_dim, latent_dim), math.sqrt(s))


def written_weight(
    convention: Convention,
    form: Form,
    data_dim: int,
    latent_dim: int,
    recon_weight: float = 1.0,
    batch_size: int = 1,
    pixel_scale: float = 1.0,
) -> float:
    """Returns the weight before the KL with which ``form`` weighs what ``convention`` does: ``canonical`` backwards.

    Args:
      convention: what is to be weighed.
      form: how the other code writes its loss.
      data_dim, latent_dim, recon_weight, batch_size, pixel_scale: of the other code, as for ``canonical``.

    Returns:
      ``weight`` with ``canonical(*form, weight, ...) == convention`` to rounding.

    Raises:
      ValueError: as ``canonical``; and between a squared error and a BCE, which no weight makes equal.

    Example:
      >>> vae = canonical("half_squared_error", "sum", "sum", 1.0, data_dim=784, latent_dim=20)
      >>> round(written_weight(vae, Form("squared_error", "mean", "sum"), 784, 20), 8)
      0.00255102
    """
    one = canonical(*form, 1.0, data_dim, latent_dim, recon_weight, batch_size, pixel_scale)
    if (one.water_level is None) != (convention.water_level is None):
        raise ValueError("a squared error and a BCE are different likelihoods: no weight makes one the other")
    return convention.beta / one.beta  # every loss is linear in its weight


def equivalents(
    convention: Convention, data_dim: int, latent_dim: int, batch_size: int = 1, pixel_scale: float = 1.0
) -> list[Equivalent]:
    """Writes the same loss in every other convention, the error always with the factor 1.

    Args:
      convention: what ``canonical`` found.
      data_dim, latent_dim: D (channels counted) and M.
      batch_size: above 1 adds the forms that sum the KL over the batch and average the error, a common slip whose
        weight depends on the batch.
      pixel_scale: of the other code's pixels, as for ``canonical``.

    Returns:
      Of a squared error with and without its half, or of a BCE, each reduction over pixels and latents.
    """
    errors = ("bce",) if convention.water_level is None else ("half_squared_error", "squared_error")
    forms = [Form(error, over, latents) for error in errors for over in ("sum", "mean") for latents in ("sum", "mean")]
    if batch_size > 1:
        forms += [Form(errors[-1], over, "sum" + _BATCH) for over in ("sum", "mean")]
    options = {"batch_size": batch_size, "pixel_scale": pixel_scale}
    return [Equivalent(f, written_weight(convention, f, data_dim, latent_dim, **options)) for f in forms]
