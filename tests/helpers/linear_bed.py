"""The optimum of the ledger's exact linear bed, as parameters."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from experiments.claims.bed import EIGENVALUES, FIXED, LATENTS, basis
from vae_jax.linear_vae import Prediction, predict
from vae_jax.types import Likelihood, Params


def bed_optimum(beta: float = 1.0, sigma2: float | None = None) -> tuple[Likelihood, Params, Prediction]:
    """Returns the closed-form optimum as parameters, in 64 bits, with the prediction that it realises."""
    prediction = predict(EIGENVALUES, beta, sigma2, LATENTS)
    head, s = EIGENVALUES[:LATENTS], prediction.water_level
    w = basis()[:, :LATENTS] * np.sqrt(np.maximum(head - s, 0.0))
    model = {
        "w": jnp.asarray(w),
        "v": jnp.asarray((w / head).T),
        "log_d": jnp.asarray(np.log(np.minimum(1.0, s / head))),
    }
    own = {"log_sigma": jnp.asarray(0.5 * math.log(prediction.sigma2))}
    return FIXED, {"model": model, "likelihood": own}, prediction
