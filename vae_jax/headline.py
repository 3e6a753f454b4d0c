"""The line that says, before training, what is really being weighed."""

from __future__ import annotations

from vae_jax.conventions import beta_norm
from vae_jax.linear_vae import Prediction, predict


def predict_run(eigenvalues, beta: float, latent_dim: int, precision: str | None, sigma: float) -> Prediction | None:
    """What a linear model would do with this weight on this data; None for families without a sigma.

    Args:
      eigenvalues: of the data's covariance.
      beta, latent_dim: of the run.
      precision: the Gaussian's, None for another family.
      sigma: the fixed or initial standard deviation.
    """
    if precision is None:
        return None
    return predict(eigenvalues, beta, sigma**2 if precision == "fixed" else None, latent_dim)


def headline(eigenvalues, beta: float, latent_dim: int, precision: str | None, sigma: float, likelihood: str) -> str:
    """What is really being weighed, in one line.

    Args:
      eigenvalues: of the data's covariance, all D of them.
      beta: the final KL weight.
      latent_dim: M.
      precision: the Gaussian's, None for another family.
      sigma: its fixed or initial standard deviation, in the units of x.
      likelihood: the family's name.
    """
    dim = len(eigenvalues)
    weight = f"D = {dim}, M = {latent_dim}: beta = {beta:g} (beta_norm = {beta_norm(beta, dim, latent_dim):.3g})"
    largest = f"the data's largest eigenvalue is {float(eigenvalues[0]):.2g}"
    prediction = predict_run(eigenvalues, beta, latent_dim, precision, sigma)
    if prediction is None:
        return f"{weight} on the {likelihood} likelihood, every constant kept, no sigma to weigh; {largest}"
    s = beta * sigma**2
    how = {
        "fixed": f"sigma fixed at {sigma:.3g}",
        "learned": f"sigma learned from {sigma:.3g}",
        "per_dimension": f"sigma learned per dimension from {sigma:.3g}",
        "predicted": f"sigma predicted by the decoder from {sigma:.3g}",
        "optimal": f"sigma solved for in every batch, from {sigma:.3g}",
    }[precision]
    above = int((eigenvalues > prediction.water_level).sum())
    active = f"so about {prediction.active} of the {latent_dim} latents would stay active in a linear model"
    if precision == "fixed":
        outlook = f"{active} ({above} directions of the data lie above the water)"
    else:
        outlook = f"{active}, whose sigma would settle at {prediction.sigma2**0.5:.3g}"
    return f"{weight}, {how}, water level s = beta sigma^2 = {s:.2g}; {largest}, {outlook}"
