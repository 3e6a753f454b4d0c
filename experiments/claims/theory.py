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
from vae_jax.types import Terms

from . import bed
from .bed_training import minimise, minimum, start_of, train
from .compare import deviation
from .ledger import Claim, Measured, Settings
from .plates import frontier_plate

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
    """One loss written five ways, each with the weight that the conventions say, has one optimum.

    Each is written out here as other code writes it: error and KL summed or averaged. Expected: the largest relative
    difference of squared error and rate from the closed form at s = 0.4 is 0. A few seconds.
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


def beta_is_sigma(settings: Settings, sigma2: float = 0.15) -> Measured:
    """Trained with (beta, sigma^2) = (3, 0.05) and with (1, 0.15), a model takes the same path, step by step.

    Expected: after 300 steps of Adam the posterior means differ by 0; what is left is Adam's epsilon. Seconds.
    """

    def means(beta, sigma2):
        likelihood = gaussian("fixed", sigma=math.sqrt(sigma2))
        weight = weighting.from_schedule(schedules.constant(beta))
        return train(lambda _: weight, steps=300, likelihood=likelihood)()[0].q.mean

    return Measured(deviation(means(3.0, 0.05), means(1.0, sigma2)))


def water_filling(settings: Settings, theory: Callable = predict) -> Measured:
    """The optimum of a linear VAE is reverse water-filling at s = beta sigma^2, at seven levels.

    Expected: the largest relative difference of trained squared error and rate from the closed form is 0. Seconds.
    """
    worst, trained = 0.0, []
    for s, *_ in bed.WATER_LEVELS:
        error, rate = bed.sse_and_rate(minimum(s / bed.SIGMA2, bed.SIGMA2).terms)
        expected = theory(bed.EIGENVALUES, s / bed.SIGMA2, bed.SIGMA2, bed.LATENTS)
        worst = max(worst, deviation((error, rate), (expected.distortion, expected.rate)))
        trained.append((rate, error))
    levels = np.geomspace(0.01, 10.0, 200)
    points = [predict(bed.EIGENVALUES, 1.0, s, bed.LATENTS) for s in levels]
    plate = frontier_plate([(p.rate, p.distortion) for p in points], trained)
    return Measured(worst, detail=f"water levels {', '.join(f'{s:g}' for s, *_ in bed.WATER_LEVELS)}", plate=plate)


def slope_of_the_frontier(settings: Settings, theory: Callable = predict) -> Measured:
    """Along the frontier the squared error falls by 2 s for each nat of rate.

    Expected: the largest relative difference of -dSSE/dR / (2 s) from 1 is 0, at levels away from the eigenvalues.
    """
    worst = 0.0
    for s in (0.01, 0.1, 0.3, 0.7, 1.4, 3.0, 6.0):
        low, high = (theory(bed.EIGENVALUES, 1.0, s * (1 + e), bed.LATENTS) for e in (-1e-5, 1e-5))
        slope = (high.distortion - low.distortion) / (low.rate - high.rate)
        worst = max(worst, abs(slope / (2.0 * s) - 1.0))
    return Measured(worst)


def learned_variance_at_weights(settings: Settings, theory: Callable = predict) -> Measured:
    """A learned sigma^2 under a weight beta ends at the one root of SSE(beta sigma^2) = D sigma^2.

    Expected: the largest relative difference of trained sigma^2 and loss from the closed form is 0, at five weights.
    """
    worst = 0.0
    for beta in (0.25, 0.5, 1.0, 1.2, 1.5):
        found, expected = minimum(beta), theory(bed.EIGENVALUES, beta, None, bed.LATENTS)
        sigma2 = math.exp(2.0 * float(found.params["likelihood"]["log_sigma"]))
        nll = 0.5 * bed.DIM * (LOG_2PI + math.log(expected.sigma2)) + expected.distortion / (2.0 * expected.sigma2)
        worst = max(worst, abs(sigma2 / expected.sigma2 - 1.0), deviation(found.loss, nll + beta * expected.rate))
    return Measured(worst, detail="beta 0.25, 0.5, 1, 1.2, 1.5")


def elbo_is_the_log_likelihood(settings: Settings, weight: float = 1.0) -> Measured:
    """With a learned sigma the linear VAE's best ELBO is the log-likelihood of probabilistic PCA, with no gap."""
    found = minimum(1.0)
    log_p = bed.bed_log_likelihood(found.params, bed.bed_data()).mean()
    return Measured(float(objective.elbo(found.terms, weight)), detail=f"log p(x) by scipy {log_p:.10g}")


def importance_weights_are_constant(settings: Settings, beta: float = 1.0, sigma2: float | None = None) -> Measured:
    """At that optimum q(z|x) is the posterior, so log p(x, z) / q(z|x) is the same for every z, and all L_K are equal.

    Expected: its largest standard deviation over 50 draws of z is 0.
    """
    params = minimum(beta, sigma2).params
    t = bed.batch_terms(bed.FIXED, params, bed.bed_data(), jax.random.key(0), 50)
    spread = float(np.std(t.log_px_z + t.log_pz - t.log_qz, axis=1).max())
    return Measured(spread, detail=f"L_50 {float(objective.iwae(t)):.10g}")


def three_entropies(settings: Settings, entropy: Callable = lambda log_variance: 0.5 * (1 + LOG_2PI + log_variance)):
    """At beta = 1 and a learned sigma the ELBO is a sum of entropies: -H[p(x|z)] + mean H[q(z|x)] - H[p(z)]."""
    found = minimum(1.0)
    noise = bed.DIM * entropy(2.0 * float(found.params["likelihood"]["log_sigma"]))
    posterior = float(jnp.mean(jnp.sum(entropy(found.terms.q.logvar), axis=-1)))
    return Measured(-noise + posterior - bed.LATENTS * entropy(0.0), detail=f"ELBO {-found.loss:.10g}")


def second_moments_are_one(settings: Settings, moments: Callable[[Terms], np.ndarray] = bed.second_moments) -> Measured:
    """E[mu^2 + tau^2] = 1 for every latent at every optimum, whatever beta and sigma, collapsed latents included.

    Expected: the largest difference from 1 over nine optima is 0.
    """
    cases = [(s / bed.SIGMA2, bed.SIGMA2) for s, *_ in bed.WATER_LEVELS] + [(0.5, None), (1.0, None)]
    found = [moments(minimum(*case).terms) for case in cases]
    return Measured(float(np.max(np.abs(np.stack(found) - 1.0))), detail=f"{len(cases)} optima of 6 latents")


def envelope(settings: Settings, of: Callable = lambda beta: minimum(beta, bed.SIGMA2).loss) -> Measured:
    """The best loss changes with beta at the rate of the rate: dL*/dbeta = KL, here at beta = 1."""
    step = 1e-2
    return Measured((of(1.0 + step) - of(1.0 - step)) / (2.0 * step))


def calibration_at_any_weight(settings: Settings, ratio_of: Callable = lambda sse, dim, v: sse / (dim * v)) -> Measured:
    """At any optimum over a shared sigma, SSE / (D sigma^2) = 1, whatever beta.

    Expected: the largest difference from 1 over five weights is 0.
    """
    worst = 0.0
    for beta in (0.25, 0.5, 1.0, 1.2, 1.5):
        found = minimum(beta)
        sigma2 = math.exp(2.0 * float(found.params["likelihood"]["log_sigma"]))
        error, _ = bed.sse_and_rate(found.terms, sigma2)
        worst = max(worst, abs(ratio_of(error, bed.DIM, sigma2) - 1.0))
    return Measured(worst)


def multi_rate_gate(settings: Settings, gate: Callable | None = None) -> Measured:
    """One linear model, gated by sqrt(max(0, 1 - e^u)) with u = log(s / lambda), is the optimum at every beta.

    Expected: the largest relative difference of squared error and rate from water-filling over beta from 0.1 to 60 is
    0. The gate of the networks is rounded at its corner, so that a closed latent can open again: that is the tolerance.
    """
    if gate is None:
        from vae_jax.models.rate_gates import log_variance_response, response
    else:
        response, log_variance_response = gate, lambda u: jnp.minimum(u, 0.0)
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


def _claim(run, expected, tolerance, claim, source, why=_BFGS, seconds=5.0) -> Claim:
    return Claim(run.__name__, "exact", claim, source, expected, "=", tolerance, why, seconds, run)


_DERIVED = "derived here"
CLAIMS = [
    _claim(
        convention_invariance,
        0.0,
        1e-4,
        "A loss written five ways, summed or averaged, has one optimum at the weights that the conventions say.",
        "derived here; noted by Higgins 2017, Lucas 2019 (1911.02469), Rybkin 2020 (2006.13202)",
        "BFGS stops at 1e-7 in the gradient of losses whose scales differ by a factor of 60",
    ),
    _claim(
        beta_is_sigma,
        0.0,
        1e-4,
        "Training with (beta, sigma^2) = (3, 0.05) is training with (1, 0.15).",
        "derived here; noted by Lucas 2019 (1911.02469) and Rybkin 2020 (2006.13202)",
        "Adam's epsilon and the single precision of log sigma; other weights move the means by a tenth or more",
    ),
    _claim(
        water_filling,
        0.0,
        1e-6,
        "A linear beta-VAE ends on the reverse water-filling curve.",
        "Tipping and Bishop 1999 (JRSS-B 61) and Lucas 2019, 1911.02469, at beta = 1; the general case is derived here",
        seconds=15.0,
    ),
    _claim(
        slope_of_the_frontier,
        0.0,
        1e-7,
        "Along the frontier the squared error falls by 2 s a nat.",
        "Shannon's reverse water-filling; Alemi 2018, 1711.00464: beta picks the slope",
        "a central difference of relative step 1e-5",
        1.0,
    ),
    _claim(
        learned_variance_at_weights,
        0.0,
        1e-6,
        "A learned sigma^2 under a weight beta ends at the root of SSE(beta sigma^2) = D sigma^2.",
        "Tipping and Bishop 1999 (JRSS-B 61), eq. 8, at beta = 1; the general case is derived here",
    ),
    _claim(
        elbo_is_the_log_likelihood,
        LOG_LIKELIHOOD,
        1e-7,
        "At the optimum of probabilistic PCA the ELBO is the log-likelihood.",
        "Tipping and Bishop 1999 (JRSS-B 61); Lucas 2019, 1911.02469",
    ),
    _claim(
        importance_weights_are_constant,
        0.0,
        1e-5,
        "At that optimum the importance weights are constant, so every L_K is log p(x).",
        "Burda 2016, 1509.00519, eq. 8, where q(z|x) is exact",
        "the posterior's error where BFGS stops; away from the optimum it is a tenth of a nat and more",
    ),
    _claim(
        three_entropies,
        LOG_LIKELIHOOD,
        1e-7,
        "At beta = 1 and a learned sigma the ELBO is a sum of three entropies.",
        "Damm 2023, 2010.14860",
    ),
    _claim(
        second_moments_are_one,
        0.0,
        1e-4,
        "E[mu^2 + tau^2] = 1 for every latent at every optimum.",
        _DERIVED,
        "where BFGS stops, at weights up to 100",
        2.0,
    ),
    _claim(
        envelope,
        7.947476050,
        1e-3,
        "The best loss changes with beta at the rate of the KL.",
        "the envelope theorem; the rate at beta = 1, sigma^2 = 0.1 by water-filling",
        "a central difference of step 0.01",
    ),
    _claim(
        calibration_at_any_weight,
        0.0,
        1e-6,
        "A learned sigma is calibrated at any weight: SSE / (D sigma^2) = 1.",
        "derived here; Rybkin 2020, 2006.13202, at beta = 1",
        seconds=2.0,
    ),
    _claim(
        multi_rate_gate,
        0.0,
        0.01,
        "One gated linear model is the optimum at every beta.",
        "Bae 2022, 2212.03905, for the gates; their exact form is derived here",
        "the gate is rounded at its corner, by 0.02 in 1 - e^u",
        3.0,
    ),
]
