"""The line that says, before training, what is really being weighed."""

from __future__ import annotations

from vae_jax.conventions import beta_norm
from vae_jax.outlook import Outlook, at_beta


def headline(
    eigenvalues,
    latent_dim: int,
    weight: str,
    beta: float | None,
    likelihood: str,
    precision: str | None = None,
    sigma: float | None = None,
) -> str:
    """What is really being weighed, in one line.

    Args:
      eigenvalues: of the data's covariance, all D of them.
      latent_dim: M.
      weight: what is done with the weight, in words.
      beta: the final KL weight, or the one that is expected of a controller; None where none is.
      likelihood: the family's name.
      precision: the Gaussian's, None for another family.
      sigma: its fixed or initial standard deviation, in the units of x.
    """
    dim = len(eigenvalues)
    said = f"D = {dim}, M = {latent_dim}: {weight}"
    if beta is not None:
        said += f" (beta_norm = {beta_norm(beta, dim, latent_dim):.3g})"
    largest = f"the data's largest eigenvalue is {float(eigenvalues[0]):.2g}"
    if precision is None:
        return f"{said} on the {likelihood} likelihood, every constant kept, no sigma to weigh; {largest}"
    said += {
        "fixed": f", sigma fixed at {sigma:.3g}",
        "learned": f", sigma learned from {sigma:.3g}",
        "per_dimension": f", sigma learned per dimension from {sigma:.3g}",
        "predicted": f", sigma predicted by the decoder from {sigma:.3g}",
        "optimal": f", sigma solved for in every batch, from {sigma:.3g}",
    }[precision]
    if beta is None:
        return f"{said}; {largest}"
    prediction = at_beta(Outlook(eigenvalues, latent_dim, sigma**2 if precision == "fixed" else None), beta)
    above = int((eigenvalues > prediction.water_level).sum())
    active = f"so about {prediction.active} of the {latent_dim} latents would stay active in a linear model"
    if precision == "fixed":
        outlook = f"{active} ({above} directions of the data lie above the water)"
    else:
        outlook = f"{active}, whose sigma would settle at {prediction.sigma2**0.5:.3g}"
    return f"{said}, water level s = beta sigma^2 = {beta * sigma**2:.2g}; {largest}, {outlook}"
