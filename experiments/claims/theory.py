"""The linear theory of the weight, against minima that BFGS finds from small random weights, in 64 bits."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from vae_jax import objective, schedules, weighting
from vae_jax.conventions import Form, canonical, written_weight
from vae_jax.gaussian import LOG_2PI
from vae_jax.likelihoods import gaussian
from vae_jax.linear_vae import predict

from . import bed
from .bed_training import minimise, minimum, start_of, train
from .compare import deviation
from .figures import frontier_figure
from .ledger import Measured, Settings, claim_of

LOG_LIKELIHOOD = -9.473207627  # of the bed under probabilistic PCA with six latents
_BFGS = "where BFGS stops, in 64 bits: 1e-7 in the gradient"
FORMS = [
    Form("half_squared_error", "sum", "sum"),
    Form("squared_error", "sum", "sum"),
    Form("squared_error", "mean", "sum"),
    Form("half_squared_error", "mean", "sum"),
    Form("squared_error", "mean", "mean"),
]


def convention_invariance(settings: Settings, weight_of: Callable = written_weight) -> Measured:
    """A loss written five ways, summed or averaged, has one optimum at the weights that the conventions say.

    Each is written out here as other code writes it: error and KL summed or averaged. Expected: the largest relative
    difference of squared error and rate from the closed form at s = 0.4 is 0. A few seconds.

    Source: derived here; noted by Higgins 2017, Lucas 2019 (1911.02469), Rybkin 2020 (2006.13202)
    Tolerance: BFGS stops at 1e-7 in the gradient of losses whose scales differ by a factor of 60
    """
    x, level = bed.bed_data(), canonical("half_squared_error", "sum", "sum", 0.4, bed.DIM, bed.LATENTS)
    own = {"log_sigma": jnp.asarray(0.5 * math.log(bed.SIGMA2))}
    start, unravel = ravel_pytree(start_of(0))
    expected = predict(bed.EIGENVALUES, 4.0, bed.SIGMA2, bed.LATENTS)
    worst = 0.0
    for form in FORMS:
        weight = weight_of(level, form, bed.DIM, bed.LATENTS)

        def loss(flat, form=form, weight=weight):
            t = bed.exact_terms(bed.FIXED, {"model": unravel(flat), "likelihood": own}, x)
            error, kl = bed.squared_error(objective.distortion(t), bed.SIGMA2), objective.rate(t)
            error = error / 2 if form.recon == "half_squared_error" else error
            error = error / bed.DIM if form.recon_reduction == "mean" else error
            kl = kl / bed.LATENTS if form.kl_reduction == "mean" else kl
            return jnp.mean(error + weight * kl)

        found = minimise(jax.jit(jax.value_and_grad(loss)), start)
        t = bed.exact_terms(bed.FIXED, {"model": unravel(jnp.asarray(found.x)), "likelihood": own}, x)
        worst = max(worst, deviation(bed.sse_and_rate(t), (expected.distortion, expected.rate)))
    return Measured(worst, detail=f"{len(FORMS)} losses against an error of 2.475 and a rate of 4.0236 nats")


def beta_is_sigma(settings: Settings) -> Measured:
    """Training with (beta, sigma^2) = (3, 0.05) is training with (1, 0.15).

    Expected: after 300 steps of Adam the posterior means differ by 0; what is left is Adam's epsilon. Seconds.

    Source: derived here; noted by Lucas 2019 (1911.02469) and Rybkin 2020 (2006.13202)
    Tolerance: Adam's epsilon and the single precision of log sigma; other weights move the means by a tenth or more
    """

    def means(beta, sigma2):
        likelihood = gaussian("fixed", sigma=math.sqrt(sigma2))
        weight = weighting.from_schedule(schedules.constant(beta))
        return train(lambda _: weight, steps=300, likelihood=likelihood)()[0].q.mean

    return Measured(deviation(means(3.0, 0.05), means(1.0, 0.15)))


def water_filling(settings: Settings) -> Measured:
    """A linear beta-VAE ends on the reverse water-filling curve.

    Expected: the largest relative difference of trained squared error and rate from the closed form is 0. Seconds.

    Source: Tipping and Bishop 1999 (JRSS-B 61) and Lucas 2019, 1911.02469, at beta = 1; the general case is derived
      here
    """
    worst, trained = 0.0, []
    for s, *_ in bed.WATER_LEVELS:
        error, rate = bed.sse_and_rate(minimum(s / bed.SIGMA2, bed.SIGMA2).terms)
        expected = predict(bed.EIGENVALUES, s / bed.SIGMA2, bed.SIGMA2, bed.LATENTS)
        worst = max(worst, deviation((error, rate), (expected.distortion, expected.rate)))
        trained.append((rate, error))
    levels = np.geomspace(0.01, 10.0, 200)
    points = [predict(bed.EIGENVALUES, 1.0, s, bed.LATENTS) for s in levels]
    plate = frontier_figure([(p.rate, p.distortion) for p in points], trained)
    return Measured(worst, detail=f"water levels {', '.join(f'{s:g}' for s, *_ in bed.WATER_LEVELS)}", plate=plate)


def slope_of_the_frontier(settings: Settings, theory: Callable = predict) -> Measured:
    """Along the frontier the squared error falls by 2 s a nat.

    Expected: the largest relative difference of -dSSE/dR / (2 s) from 1 is 0, at levels away from the eigenvalues.

    Source: Shannon's reverse water-filling; Alemi 2018, 1711.00464: beta picks the slope
    Tolerance: a central difference of relative step 1e-5
    """
    worst = 0.0
    for s in (0.01, 0.1, 0.3, 0.7, 1.4, 3.0, 6.0):
        low, high = (theory(bed.EIGENVALUES, 1.0, s * (1 + e), bed.LATENTS) for e in (-1e-5, 1e-5))
        slope = (high.distortion - low.distortion) / (low.rate - high.rate)
        worst = max(worst, abs(slope / (2.0 * s) - 1.0))
    return Measured(worst)


def learned_variance_at_weights(settings: Settings) -> Measured:
    """A learned sigma^2 under a weight beta ends at the root of SSE(beta sigma^2) = D sigma^2.

    Expected: the largest relative difference of trained sigma^2 and loss from the closed form is 0, at five weights.

    Source: Tipping and Bishop 1999 (JRSS-B 61), eq. 8, at beta = 1; the general case is derived here
    """
    worst = 0.0
    for beta in (0.25, 0.5, 1.0, 1.2, 1.5):
        found, expected = minimum(beta), predict(bed.EIGENVALUES, beta, None, bed.LATENTS)
        sigma2 = math.exp(2.0 * float(found.params["likelihood"]["log_sigma"]))
        nll = 0.5 * bed.DIM * (LOG_2PI + math.log(expected.sigma2)) + expected.distortion / (2.0 * expected.sigma2)
        worst = max(worst, abs(sigma2 / expected.sigma2 - 1.0), deviation(found.loss, nll + beta * expected.rate))
    return Measured(worst, detail="beta 0.25, 0.5, 1, 1.2, 1.5")


def elbo_is_the_log_likelihood(settings: Settings, weight: float = 1.0) -> Measured:
    """At the optimum of probabilistic PCA the ELBO is the log-likelihood.

    Source: Tipping and Bishop 1999 (JRSS-B 61); Lucas 2019, 1911.02469
    """
    found = minimum(1.0)
    log_p = bed.bed_log_likelihood(found.params, bed.bed_data()).mean()
    return Measured(float(objective.elbo(found.terms, weight)), detail=f"log p(x) by scipy {log_p:.10g}")


def importance_weights_are_constant(settings: Settings) -> Measured:
    """At that optimum the importance weights are constant, so every L_K is log p(x).

    Expected: its largest standard deviation over 50 draws of z is 0.

    Source: Burda 2016, 1509.00519, eq. 8, where q(z|x) is exact
    Tolerance: the posterior's error where BFGS stops; away from the optimum it is a tenth of a nat and more
    """
    params = minimum(1.0).params
    t = bed.batch_terms(bed.FIXED, params, bed.bed_data(), jax.random.key(0), 50)
    spread = float(np.std(t.log_px_z + t.log_pz - t.log_qz, axis=1).max())
    return Measured(spread, detail=f"L_50 {float(objective.iwae(t)):.10g}")


def three_entropies(settings: Settings, entropy: Callable = lambda log_variance: 0.5 * (1 + LOG_2PI + log_variance)):
    """At beta = 1 and a learned sigma the ELBO is a sum of three entropies.

    Source: Damm 2023, 2010.14860
    """
    found = minimum(1.0)
    noise = bed.DIM * entropy(2.0 * float(found.params["likelihood"]["log_sigma"]))
    posterior = float(jnp.mean(jnp.sum(entropy(found.terms.q.logvar), axis=-1)))
    return Measured(-noise + posterior - bed.LATENTS * entropy(0.0), detail=f"ELBO {-found.loss:.10g}")


def second_moments_are_one(settings: Settings) -> Measured:
    """E[mu^2 + tau^2] = 1 for every latent at every optimum.

    Expected: the largest difference from 1 over nine optima is 0.

    Source: derived here
    Tolerance: where BFGS stops, at weights up to 100
    """
    cases = [(s / bed.SIGMA2, bed.SIGMA2) for s, *_ in bed.WATER_LEVELS] + [(0.5, None), (1.0, None)]
    found = [bed.second_moments(minimum(*case).terms) for case in cases]
    return Measured(float(np.max(np.abs(np.stack(found) - 1.0))), detail=f"{len(cases)} optima of 6 latents")


def envelope(settings: Settings) -> Measured:
    """The best loss changes with beta at the rate of the KL.

    Source: the envelope theorem; the rate at beta = 1, sigma^2 = 0.1 by water-filling
    Tolerance: a central difference of step 0.01
    """
    above, below = (minimum(beta, bed.SIGMA2).loss for beta in (1.01, 0.99))
    return Measured((above - below) / 0.02)


def calibration_at_any_weight(settings: Settings, ratio_of: Callable = lambda sse, dim, v: sse / (dim * v)) -> Measured:
    """A learned sigma is calibrated at any weight: SSE / (D sigma^2) = 1.

    Expected: the largest difference from 1 over five weights is 0.

    Source: derived here; Rybkin 2020, 2006.13202, at beta = 1
    """
    worst = 0.0
    for beta in (0.25, 0.5, 1.0, 1.2, 1.5):
        found = minimum(beta)
        sigma2 = math.exp(2.0 * float(found.params["likelihood"]["log_sigma"]))
        error, _ = bed.sse_and_rate(found.terms, sigma2)
        worst = max(worst, abs(ratio_of(error, bed.DIM, sigma2) - 1.0))
    return Measured(worst)


def multi_rate_gate(settings: Settings) -> Measured:
    """One gated linear model is the optimum at every beta.

    Expected: the largest relative difference of squared error and rate from water-filling over beta from 0.1 to 60 is
    0. The gate of the networks is rounded at its corner, so that a closed latent can open again: that is the tolerance.

    Source: Bae 2022, 2212.03905, for the gates; their exact form is derived here
    Tolerance: the gate is rounded at its corner, by 0.02 in 1 - e^u
    """
    from vae_jax.models.rate_gates import log_variance_response, response

    head, x = jnp.asarray(bed.EIGENVALUES[: bed.LATENTS]), bed.bed_data()
    axes = jnp.asarray(bed.basis()[:, : bed.LATENTS])
    own = {"log_sigma": jnp.asarray(0.5 * math.log(bed.SIGMA2))}
    worst = 0.0
    for beta in np.geomspace(0.1, 60.0, 12):
        u = jnp.log(beta * bed.SIGMA2 / head)
        decoder, encoder = axes * jnp.sqrt(head) * response(u), (axes / jnp.sqrt(head) * response(u)).T
        model = {"w": decoder, "v": encoder, "log_d": log_variance_response(u)}
        found = bed.sse_and_rate(bed.exact_terms(bed.FIXED, {"model": model, "likelihood": own}, x))
        expected = predict(bed.EIGENVALUES, float(beta), bed.SIGMA2, bed.LATENTS)
        worst = max(worst, deviation(found, (expected.distortion, expected.rate)))
    u = math.log(4.0 * 0.1 / 2.0)
    return Measured(worst, detail=f"gate at lambda 2, s 0.4: {float(response(jnp.asarray(u))):.6f}, exact 0.894427")


CLAIMS = [
    claim_of(convention_invariance, "exact", 0.0, tolerance=0.0001, seconds=5.0),
    claim_of(beta_is_sigma, "exact", 0.0, tolerance=0.0001, seconds=5.0),
    claim_of(water_filling, "exact", 0.0, tolerance=1e-06, seconds=15.0, why=_BFGS),
    claim_of(slope_of_the_frontier, "exact", 0.0, tolerance=1e-07, seconds=1.0),
    claim_of(learned_variance_at_weights, "exact", 0.0, tolerance=1e-06, seconds=5.0, why=_BFGS),
    claim_of(elbo_is_the_log_likelihood, "exact", -9.473207627, tolerance=1e-07, seconds=5.0, why=_BFGS),
    claim_of(importance_weights_are_constant, "exact", 0.0, tolerance=1e-05, seconds=5.0),
    claim_of(three_entropies, "exact", -9.473207627, tolerance=1e-07, seconds=5.0, why=_BFGS),
    claim_of(second_moments_are_one, "exact", 0.0, tolerance=0.0001, seconds=2.0),
    claim_of(envelope, "exact", 7.94747605, tolerance=0.001, seconds=5.0),
    claim_of(calibration_at_any_weight, "exact", 0.0, tolerance=1e-06, seconds=2.0, why=_BFGS),
    claim_of(multi_rate_gate, "exact", 0.0, tolerance=0.01, seconds=3.0),
]
