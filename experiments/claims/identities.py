"""Identities of bounds and rates that hold for any model, checked by enumeration and quadrature, without chance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import objective
from vae_jax.evaluation import summarise
from vae_jax.evaluation.bounds import Scores
from vae_jax.evaluation.rate import log_densities, sampled_parts
from vae_jax.gaussian import DiagGaussian, standard_normal_log_prob
from vae_jax.linear_vae import predict
from vae_jax.types import Terms

from .compare import deviation
from .figures import bounds_figure
from .ledger import Measured, Settings, claim_of


def kl_is_the_integral(settings: Settings) -> Measured:
    """The closed form of the KL is the expectation that defines it.

    Expected: the largest relative difference is 0. Under a second.

    Source: Kingma and Welling 2013, 1312.6114, appendix B
    Tolerance: 64-bit arithmetic
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    worst = 0.0
    for mean, logvar in itertools.product((-2.0, 0.0, 0.3, 3.0), (-5.0, -1.0, 0.0, 1.0)):
        q = DiagGaussian(jnp.asarray([mean]), jnp.asarray([logvar]))
        z = q.mean + jnp.exp(0.5 * q.logvar) * jnp.asarray(nodes)[:, None]
        gap = np.asarray(q.log_prob(z) - standard_normal_log_prob(z))
        worst = max(worst, deviation(q.kl()[0], weights @ gap / weights.sum()))
    return Measured(worst)


def _mixture_parts(mean: float, logvar: float) -> np.ndarray:
    """Rate, I, TC and dimension-wise KL of two one-dimensional posteriors at -mean and mean, by quadrature: ``[4]``.

    The samples that the library averages over are replaced by the nodes of Gauss-Legendre under each posterior.
    """
    means, logvars = np.array([[-mean], [mean]]), np.full((2, 1), logvar)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    scale = 12.0 * math.exp(0.5 * logvar)
    parts = np.zeros(4)
    for n in range(2):
        z = means[n] + scale * nodes[:, None]
        index = np.full(len(z), n)
        found = sampled_parts(z, *log_densities(means, logvars, index, z))
        density = np.exp(np.asarray(DiagGaussian(jnp.asarray(means[n]), jnp.asarray(logvars[n])).log_prob(z)))
        parts += 0.5 * np.array([np.sum(scale * weights * density * part) for part in found[:4]])
    return parts


def elbo_surgery(settings: Settings) -> Measured:
    """The rate's mutual information is the one that quadrature gives.

    Source: Hoffman and Johnson 2016 (NeurIPS workshop); Chen 2018, 1802.04942
    Tolerance: quadrature of 400 nodes in 64 bits
    """
    parts = _mixture_parts(1.0, math.log(0.25))
    return Measured(float(parts[1]), detail=f"KL of the aggregate {parts[2] + parts[3]:.12g}, rate {parts[0]:.12g}")


def surgery_adds_up(settings: Settings) -> Measured:
    """Mutual information, total correlation and dimension-wise KL sum to the rate; the first is at most log N.

    Expected: the largest difference between the sum and the analytic rate is 0; an I above log 2 would count as such.

    Source: Hoffman and Johnson 2016 (NeurIPS workshop); Chen 2018, 1802.04942
    Tolerance: quadrature of 400 nodes in 64 bits
    """
    worst = 0.0
    for mean in (0.0, 0.5, 1.0, 3.0):
        parts = _mixture_parts(mean, math.log(0.25))
        rate = float(DiagGaussian(jnp.asarray([mean]), jnp.log(jnp.asarray([0.25]))).kl()[0])
        worst = max(worst, abs(parts[1:].sum() - rate), parts[1] - math.log(2.0))
    return Measured(worst)


def iwae_rises_with_samples(settings: Settings, bound: Callable = objective.iwae_per_example) -> Measured:
    """The importance-weighted bound rises with the number of samples and stays below log p(x).

    z takes seven values, so that the expectation over all 7^K draws is exact. Expected: the least of L_2 - L_1, ...,
    L_5 - L_4 and log p - L_5 is above 0. A few seconds.

    Source: Burda 2016, 1509.00519, theorem 1
    Tolerance: expectations by exact enumeration
    """
    rng = np.random.default_rng(0)
    q = rng.dirichlet(np.ones(7))
    log_w = 2.0 * rng.normal(size=7)
    log_p = float(np.log(q @ np.exp(log_w)))
    bounds = []
    for k in range(1, 6):
        draws = np.array(list(itertools.product(range(7), repeat=k)))
        each = jnp.asarray(log_w[draws])
        value = np.asarray(bound(Terms(None, None, each, jnp.zeros_like(each), jnp.zeros_like(each))))
        bounds.append(float(np.prod(q[draws], axis=1) @ value))
    steps = np.diff([*bounds, log_p])
    plate = bounds_figure(range(1, 6), bounds, log_p)
    detail = f"L_1 to L_5 {', '.join(f'{b:.6f}' for b in bounds)}, log p {log_p:.6f}"
    return Measured(float(steps.min()), detail=detail, plate=plate)


def free_bits_gradient(settings: Settings) -> Measured:
    """Free bits give a latent below the floor no gradient and one above it all of it.

    Four latents, two of them below 0.35 nats in the mean over the batch, one of these above it in one example.
    Expected: the largest difference of the gradient in the posteriors from that rule is 0.

    Source: Kingma 2016, 1606.04934, eq. 15
    Tolerance: 64-bit arithmetic
    """
    mean = jnp.asarray([[1.0, 0.5, 0.9, 2.0], [-1.5, 0.3, 0.1, -1.0]])
    q = DiagGaussian(mean, jnp.full_like(mean, -0.2))
    zeros = jnp.zeros((2, 1))

    def loss(q):
        return -objective.free_bits(0.35)(Terms(q, None, zeros, zeros, zeros), 1.0)

    found = jax.grad(loss)(q)
    whole = jax.grad(lambda q: jnp.mean(jnp.sum(q.kl(), -1)))(q)
    above = (jnp.mean(q.kl(), 0) > 0.35).astype(mean.dtype)
    return Measured(max(deviation(f, w * above) for f, w in zip(found, whole)), detail=f"open: {np.asarray(above)}")


def means_over_ragged_batches(settings: Settings, mean: Callable = np.mean) -> Measured:
    """A split is averaged over its examples, whatever the batches.

    Expected: the ELBO of 1,003 examples scored in batches of 250 is minus the mean of all their terms.

    Source: derived here
    Tolerance: 64-bit arithmetic
    """
    rng = np.random.default_rng(0)
    rate, distortion = rng.gamma(2.0, size=1003), np.linspace(80.0, 120.0, 1003)
    one, latents = np.ones(1003), np.ones((1003, 2))
    batches = [slice(start, start + 250) for start in range(0, 1003, 250)]
    joined = [np.concatenate([values[b] for b in batches]) for values in (rate, distortion)]
    scores = Scores(*joined, None, one, one, one, one, one, latents, latents, latents)
    return Measured(summarise(scores, 784)["elbo"] + float(mean(rate + distortion)))


def collapse_is_continuous(settings: Settings) -> Measured:
    """The KL of a linear VAE vanishes continuously where the water reaches the largest eigenvalue.

    Source: Lucas 2019, 1911.02469; Li 2025, 2510.01621
    Tolerance: 64-bit arithmetic
    """
    rate, above = (predict([8.0, 4.0, 1.0], 1.0, share * 8.0, 2).rate for share in (0.9, 1.05))
    return Measured(rate + above, detail=f"at 1.05 of it {above:g}")


CLAIMS = [
    claim_of(kl_is_the_integral, "exact", 0.0, tolerance=1e-09, seconds=1.0),
    claim_of(elbo_surgery, "exact", 0.632720193737, tolerance=1e-09, seconds=1.0),
    claim_of(surgery_adds_up, "exact", 0.0, tolerance=1e-09, seconds=1.0),
    claim_of(iwae_rises_with_samples, "exact", 0.0, relation=">=", tolerance=0.0, seconds=3.0),
    claim_of(free_bits_gradient, "exact", 0.0, tolerance=1e-12, seconds=1.0),
    claim_of(means_over_ragged_batches, "exact", 0.0, tolerance=1e-09, seconds=1.0),
    claim_of(collapse_is_continuous, "exact", 0.052680257828913175, tolerance=1e-09, seconds=1.0),
]
