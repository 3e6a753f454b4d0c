"""Where every way of choosing the weight ends: trained by Adam through the training step of real runs, on the bed.

The bed's variance is 0.1, so a weight beta is the water level beta / 10, and the closed forms say what squared error,
rate and multiplier each target has. All of it is in 64 bits and without sampling noise.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import objective, schedules, weighting
from vae_jax.likelihoods import gaussian
from vae_jax.linear_vae import predict

from . import bed
from .bed_training import minimum, train
from .compare import deviation
from .figures import paths_figure
from .ledger import Measured, Settings, claim_of

# Ways to a weight of 1, each there after 600 steps at most.
ENDING_AT_ONE = {
    "constant": schedules.constant(1.0),
    "linear": schedules.linear(1.0, 400),
    "falling from 20": schedules.linear(1.0, 400, start=20.0, delay=50),
    "sigmoid": schedules.sigmoid(1.0, 250, 0.1),
    "cosine": schedules.cosine(1.0, 500),
    "cyclical": schedules.cyclical(1.0, 600, 4, 0.5),
}

CAPACITY = 4.023594781  # the rate at s = 0.4, so at beta = 4
ERROR = 2.475  # and its squared error
_ADAM = "where 2,000 to 4,000 steps of Adam with a falling rate end"


def _found(t) -> str:
    error, rate = bed.sse_and_rate(t)
    return f"squared error {error:.6f}, rate {rate:.6f}"


def _geco():
    target = 0.5 * bed.DIM * math.log(2.0 * math.pi * bed.SIGMA2) + ERROR / (2.0 * bed.SIGMA2)  # nats
    return train(lambda _: weighting.geco(target, rate=3e-3), steps=4000)()


def geco_fixed_point(settings: Settings) -> Measured:
    """GECO ends at the multiplier of its tolerance, 1 / (2 s*).

    Source: Rezende and Viola 2018, 1810.00597
    """
    t, _, last = _geco()
    return Measured(math.exp(float(last.weight_state["log_multiplier"])) / (2.0 * bed.SIGMA2), detail=_found(t))


def geco_holds_the_error(settings: Settings) -> Measured:
    """GECO ends at the squared error it was given.

    Source: Rezende and Viola 2018, 1810.00597
    """
    t, *_ = _geco()
    return Measured(bed.sse_and_rate(t)[0], detail=_found(t))


def pi_fixed_point(settings: Settings) -> Measured:
    """A PI controller ends at the weight whose optimum has its target.

    Source: Shao 2020, 2004.05988
    """
    t, _, last = train(lambda _: weighting.pi(CAPACITY, 0.01, 0.01))()
    return Measured(float(last.weight_state["beta"]), detail=_found(t))


def pi_whatever_its_gains(settings: Settings) -> Measured:
    """Where a PI controller ends does not depend on its gains.

    Source: Shao 2020, 2004.05988
    """
    t, *_ = train(lambda _: weighting.pi(CAPACITY, 0.3, 0.03, start=20.0))()
    return Measured(bed.sse_and_rate(t)[1], detail=_found(t))


def _capacity(gamma: float):
    weight = weighting.capacity(schedules.linear(CAPACITY, 500), gamma)
    return train(lambda _: weight, objective.capacity(gamma))()


def capacity_above_its_threshold(settings: Settings) -> Measured:
    """A capacity holds the rate if gamma >= beta*(C).

    Source: Burgess 2018, 1804.03599, eq. 8; the threshold is derived here
    """
    t, *_ = _capacity(5.0)
    return Measured(bed.sse_and_rate(t)[1], detail=_found(t))


def capacity_below_its_threshold(settings: Settings) -> Measured:
    """A capacity with gamma < beta*(C) is the beta-VAE of beta = gamma.

    Source: Burgess 2018, 1804.03599, eq. 8; the threshold is derived here
    """
    t, *_ = _capacity(3.0)
    return Measured(bed.sse_and_rate(t)[1], detail=_found(t))


def capacity_multiplier(settings: Settings) -> Measured:
    """The mean of a capacity's +gamma and -gamma is the slope of the frontier at C.

    Source: Burgess 2018, 1804.03599, eq. 8; the threshold is derived here
    Tolerance: a mean over 1,000 signs
    """
    t, metrics, _ = _capacity(5.0)
    return Measured(float(jnp.mean(metrics["beta"][1000:])), detail=_found(t))


def free_bits_optimum(settings: Settings) -> Measured:
    """Free bits end at their own optimum, below every one that is aligned with the axes.

    Each axis at its floor or on its water level would be 7.261895: free bits break the alignment with the axes.

    Source: Kingma 2016, 1606.04934, eq. 15; the value by direct optimisation from six starts
    """
    t, *_ = train(lambda _: weighting.from_schedule(schedules.constant(4.0)), objective.free_bits(0.25))()
    kl = np.mean(np.asarray(t.q.kl()), axis=0)
    loss = bed.sse_and_rate(t)[0] / 0.8 + float(np.maximum(kl, 0.25).sum())
    return Measured(loss, detail=f"KL of the latents {', '.join(f'{v:.4f}' for v in np.sort(kl)[::-1])}")


def one_optimum_for_all_schedules(settings: Settings) -> Measured:
    """Every schedule that ends at 1 ends at the same optimum.

    A schedule changes the path and not the optimum. Expected: the largest relative difference from the closed form is
    0.

    Source: derived here; the schedules of Bowman 2015, 1511.06349, and Fu 2019, 1903.10145
    """
    steps = 2000
    run = train(lambda table: weighting.from_schedule(lambda step: table[step]), steps=steps)
    best = minimum(1.0, bed.SIGMA2).loss
    worst, paths = 0.0, {}
    for name, schedule in ENDING_AT_ONE.items():
        table = jnp.broadcast_to(schedule(jnp.arange(steps)), steps)
        t, metrics, _ = run(table)
        worst = max(worst, deviation(-objective.elbo(t), best))
        paths[name] = (np.asarray(table[:800]), np.asarray(metrics["rate"][:800]))
    plate = paths_figure(paths, predict(bed.EIGENVALUES, 1.0, bed.SIGMA2, bed.LATENTS).rate)
    return Measured(worst, detail=f"{len(ENDING_AT_ONE)} schedules", plate=plate)


def _rate_at(s: float) -> float:
    weight = weighting.from_schedule(schedules.constant(s / bed.SIGMA2))
    return bed.sse_and_rate(train(lambda _: weight)()[0])[1]


def collapse_above_the_threshold(settings: Settings, share: float = 1.05) -> Measured:
    """Above the largest eigenvalue the code collapses.

    Source: Lucas 2019, 1911.02469, at beta = 1; Li 2025, 2510.01621; the general case is derived here
    """
    return Measured(_rate_at(share * bed.EIGENVALUES[0]))


def no_collapse_below_the_threshold(settings: Settings) -> Measured:
    """Below the largest eigenvalue the code stays alive.

    Source: Lucas 2019, 1911.02469, at beta = 1; Li 2025, 2510.01621; the general case is derived here
    """
    return Measured(_rate_at(0.9 * bed.EIGENVALUES[0]))


def _calibration(precision: str, beta: float, dim: int = bed.DIM) -> tuple[float, float]:
    """SSE / (D sigma^2) and sigma^2 where training ends."""
    likelihood = gaussian(precision, sigma=0.5)
    weight = weighting.from_schedule(schedules.constant(beta))
    t, _, last = train(lambda _: weight, likelihood=likelihood, steps=3000)()
    sigma2 = float(likelihood.sigma(last.params["likelihood"])) ** 2
    return bed.sse_and_rate(t, sigma2)[0] / (dim * sigma2), sigma2


def learned_precision_is_calibrated(settings: Settings, dim: int = bed.DIM) -> Measured:
    """A learned precision ends calibrated.

    Source: Rybkin 2020, 2006.13202
    """
    ratio, sigma2 = _calibration("learned", 1.0, dim)
    return Measured(ratio, detail=f"sigma^2 {sigma2:.6f}; the closed form has 0.05625")


def learned_precision_under_a_weight(settings: Settings) -> Measured:
    """A learned variance under a weight ends at the closed form's.

    Source: derived here
    """
    ratio, sigma2 = _calibration("learned", 1.2)
    return Measured(sigma2, detail=f"SSE / (D sigma^2) {ratio:.6f}")


def optimal_precision_is_calibrated(settings: Settings) -> Measured:
    """A precision solved for in every batch ends calibrated.

    Source: Rybkin 2020, 2006.13202, section 4
    """
    with jax.enable_x64(False):  # what is kept of the batch's variance is float32
        ratio, sigma2 = _calibration("optimal", 1.0)
    return Measured(ratio, detail=f"sigma^2 {sigma2:.6f}; the closed form has 0.05625")


def all_latents_keep_their_second_moment(settings: Settings) -> Measured:
    """Under a controller too, E[mu^2 + tau^2] = 1 for every latent.

    Expected: the largest difference from 1 is 0.

    Source: derived here
    """
    t, *_ = train(lambda _: weighting.pi(CAPACITY, 0.01, 0.01))()
    return Measured(float(np.max(np.abs(bed.second_moments(t) - 1.0))))


# What each should end at, and how close.
_ENDS = {
    geco_fixed_point: (1.25, 0.001),
    geco_holds_the_error: (2.475, 0.0025),
    pi_fixed_point: (4.0, 0.004),
    pi_whatever_its_gains: (4.023594781, 0.004),
    capacity_above_its_threshold: (4.023594781, 0.004),
    capacity_below_its_threshold: (4.742799962, 0.005),
    capacity_multiplier: (4.0, 0.1),
    free_bits_optimum: (7.216213, 0.0001),
    one_optimum_for_all_schedules: (0.0, 1e-05),
    collapse_above_the_threshold: (0.0, 0.0001),
    no_collapse_below_the_threshold: (0.052680257828913175, 0.001),
    learned_precision_is_calibrated: (1.0, 0.002),
    learned_precision_under_a_weight: (0.080357143, 0.0002),
    optimal_precision_is_calibrated: (1.0, 0.002),
    all_latents_keep_their_second_moment: (0.0, 0.001),
}
CLAIMS = [claim_of(run, "fixed_point", *ends, seconds=6.0, why=_ADAM) for run, ends in _ENDS.items()]
