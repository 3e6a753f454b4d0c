"""The signal and the noise of the encoder's gradient, against the number of importance samples."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import estimators, objective
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import gaussian
from vae_jax.types import VAE

from .ledger import Measured, Settings, claim_of

LATENTS, SAMPLES, DRAWS = 5, (8, 32, 128), 4_000


@functools.cache
def _slopes(bound, num_samples: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation over the draws of the gradient that the posterior's mean gets, ``[d]``."""
    vae = VAE(
        init=lambda key: {},
        # Rainforth's model: the exact posterior of x is N(x / 2, I / 2), and this one is wider and a little off.
        encode=lambda params, x: DiagGaussian(0.5 * x + params["shift"], jnp.full(LATENTS, np.log(2 / 3))),
        decode=lambda params, z: z,
    )
    likelihood, x = gaussian("fixed", 1.0), jnp.linspace(-1.0, 1.0, LATENTS)
    own, key = likelihood.init((LATENTS,)), jax.random.key(0)

    def gradient(i):
        def value(shift):
            params = {"model": {"shift": shift}, "likelihood": own}
            model = estimators.inferred(bound, vae)
            return bound(objective.terms(model, likelihood, params, x, jax.random.fold_in(key, i), num_samples), 1.0)

        return jax.grad(value)(jnp.full(LATENTS, 0.1))

    of_each = np.asarray(jax.jit(lambda: jax.lax.map(gradient, jnp.arange(draws), batch_size=100))(), np.float64)
    return of_each.mean(axis=0), of_each.std(axis=0)


def _growth(bound, draws: int) -> Measured:
    """Returns the slope of the logarithm of the signal-to-noise ratio against that of K, for the mean of q.

    The two bounds' gradients have one mean, by Tucker's identity, and the less noisy one says what it is.
    """
    ratios = []
    for k in SAMPLES:
        mean, noise = _slopes(estimators.dreg, k, draws)[0], _slopes(bound, k, draws)[1]
        ratios.append(float(np.mean(np.abs(mean) / noise)))
    slope = float(np.polyfit(np.log(SAMPLES), np.log(ratios), 1)[0])
    return Measured(slope, detail="; ".join(f"K = {k}: {ratio:.3g}" for k, ratio in zip(SAMPLES, ratios, strict=True)))


def encoder_drowns_with_iwae(settings: Settings, bound=objective.iwae, draws: int = DRAWS) -> Measured:
    """More importance samples make the encoder's gradient noisier: its signal-to-noise ratio falls as K^(-1/2).

    z of 5 dimensions, x = z + noise, q wider than the posterior and a little off; 4,000 gradients at each K from 8 to
    128. Expected: the slope in logarithms, -1/2.

    Source: Rainforth 2018, 1802.04537, theorem 1 and figure 1
    Tolerance: the slope is one of large K, and the noise of 4,000 draws is 2%
    """
    return _growth(bound, draws)


def encoder_is_heard_with_dreg(settings: Settings, bound=estimators.dreg, draws: int = DRAWS) -> Measured:
    """Doubly reparametrised, the encoder's gradient is the clearer the more samples: the ratio rises as K^(1/2).

    The model and the draws are those of the claim before. Expected: the slope in logarithms, 1/2.

    Source: Tucker 2019, 1810.04152, section 5 and figure 1
    Tolerance: the slope is one of large K, and the noise of 4,000 draws is 2%
    """
    return _growth(bound, draws)


CLAIMS = [
    claim_of(encoder_drowns_with_iwae, "exact", -0.5, tolerance=0.05, seconds=5.0),
    claim_of(encoder_is_heard_with_dreg, "exact", 0.5, tolerance=0.05, seconds=0.1),
]
