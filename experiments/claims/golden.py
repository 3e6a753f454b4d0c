"""Golden numbers: values that two independent routes agree on, each with as many digits as are known.

The references were computed outside of this project at 30 digits or more, by closed forms and by quadrature or a second
implementation. Every claim here measures its largest misfit in units of what each printed number allows, and expects 0
with a tolerance of 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vae_jax import likelihoods, objective, schedules, weighting
from vae_jax.conventions import canonical
from vae_jax.data.pixels import bits_offset
from vae_jax.gaussian import DiagGaussian, kl_divergence
from vae_jax.likelihoods.bernoulli import cross_entropy_with_logits
from vae_jax.likelihoods.gaussian import gaussian_log_prob
from vae_jax.objective import iwae_per_example
from vae_jax.types import Terms

from .compare import GOLDEN, misfit
from .ledger import Measured, Settings, claim_of

# logit, log C, mean, variance, d log C / dl
_CB = [
    (0.0, ".693147180560", ".5", ".083333333333", "0"),
    (0.5, ".713681933187", ".541494082537", ".082301910967", ".080965248665"),
    (1.0, ".771936832905", ".581976706869", ".079326405792", ".149081871761"),
    (3.0, "1.198268821185", ".719062363158", ".055970105609", ".233511763665"),
    (6.0, "1.796716983735", ".835818244990", ".025286691335", ".161709131853"),
    (20.0, "2.995732277676", ".950000002061", ".002499997939", ".049999995878"),
]


def continuous_bernoulli_golden(
    settings: Settings, log_normalizer: Callable = likelihoods.continuous_bernoulli_log_normalizer
) -> Measured:
    """The continuous Bernoulli's normaliser, mean, variance and slopes are exact at its golden logits.

    Source: Loaiza-Ganem and Cunningham 2019, 1907.06845, closed forms
    """
    pairs = []
    for logit, log_c, mean, variance, slope in _CB:
        l = jnp.asarray(logit)  # noqa: E741
        pairs += [(log_normalizer(l), log_c), (likelihoods.continuous_bernoulli_mean(l), mean)]
        pairs += [(likelihoods.continuous_bernoulli_variance(l), variance), (jax.grad(log_normalizer)(l), slope)]
    for x, logit, value in ((0.3, -1.5, ".207947567034"), (0.0, -30.0, "3.401197381662")):
        pairs.append((cross_entropy_with_logits(x, jnp.asarray(logit)) + log_normalizer(jnp.asarray(logit)), value))
    for mean, logit in ((0.1, "-9.99544113"), (0.3, "-2.67210386"), (0.45, "-.603634298")):
        pairs.append((likelihoods.continuous_bernoulli_inverse_mean(jnp.asarray(mean), 6), logit))
    return misfit(pairs)


def likelihoods_golden(settings: Settings, reduce: Callable = jnp.sum) -> Measured:
    """Every family has its golden values: densities and probabilities, counts of a million and means of a millionth.

    Source: closed forms; Loader 2000; Salimans 2017, 1701.05517; Takahashi 2018 (IJCAI)
    """
    f = jnp.asarray
    residuals = jnp.full(784, 0.1)  # 784 pixels whose squared errors sum to 7.84
    pairs = [
        (-reduce(gaussian_log_prob(residuals, 0.0, 0.0)), "724.367810032"),
        (-reduce(gaussian_log_prob(residuals, 0.0, math.log(0.1))), "-692.778902875"),
        (cross_entropy_with_logits(f(0.3), f(2.0)), "-1.526928011043"),
    ]
    for x, a, b, value in (
        (0.3, 2.0, 5.0, ".770524801581"),
        (0.5, 0.5, 0.5, "-.451582705289"),
        (0.9, 8.0, 1.5, "1.396138141265"),
    ):
        pairs.append((likelihoods.beta_log_prob(f(x), jnp.log(a), jnp.log(b)), value))
    pairs.append((likelihoods.categorical_log_prob(f(0), f([2.0, 1.0, 0.0, -1.0])), "-.440189698561"))
    for k, mean, log_scale, value in (
        (128, 0.1, -3.0, "-4.048678515014"),
        (0, -0.9, -2.0, "-1.109831347771"),
        (255, 0.5, -3.0, "-9.964048713048"),
        (10, 0.8, -5.0, "-255.295722667"),
        (200, 0.57, -7.0, "-.062490318094"),
        (127, 0.0, 0.0, "-6.234415851933"),
    ):
        pairs.append((likelihoods.discretized_logistic_log_prob(f(k / 255.0), f(mean), f(log_scale)), value))
    pairs.append((likelihoods.student_t_log_prob(f(0.3), 0.0, math.log(0.1), 4.0), "-1.624881650872"))
    pairs.append((likelihoods.laplace_log_prob(f(0.3), 0.0, math.log(0.1)), "-1.390562087566"))
    for x, mean, value in (
        (0, 1e-6, "-1e-6"),
        (3, 2.5, "-1.542887273606"),
        (1000, 1e-6, "-19727.63873745"),
        (1_000_000, 1e6, "-7.8266939"),
    ):
        pairs.append((likelihoods.poisson_log_prob(f(float(x)), jnp.log(mean)), value))
    for x, mean, r, value in (
        (0, 3.0, 0.5, "-.972955074528"),
        (7, 3.0, 0.5, "-3.615171900550"),
        (5, 1e-6, 1e-3, "-43.05888546557"),
        (1, 1e6, 10.0, "-112.8267795562"),
        (1_000_000, 1e6, 2.0, "-14.4292172"),
        (3, 2.5, 1e8, "-1.542887287"),
    ):
        pairs.append((likelihoods.negative_binomial_log_prob(f(float(x)), jnp.log(mean), jnp.log(r)), value))
    for x, location, sigma, value in (
        (2.0, 0.3, 0.5, "-1.228067944369"),
        (1e-30, -69.0, 0.01, "42.691608397"),
        (1e30, 60.0, 2.0, "-80.989884085"),
    ):
        pairs.append((likelihoods.log_normal_log_prob(f(x), location, jnp.log(sigma)), value))
    return misfit(pairs)


def kl_golden(settings: Settings, kl: Callable = kl_divergence) -> Measured:
    """KL divergences of Gaussians have their golden values, small ones included.

    Source: closed forms
    """
    prior = DiagGaussian(jnp.zeros(()), jnp.zeros(()))
    pairs = []
    for mean, logvar, value in (
        (1.0, 0.0, ".5"),
        (0.0, math.log(0.25), ".318147180560"),
        (2.0, math.log(0.01), "3.807585092994"),
        (0.05, -0.01, "1.274916874584e-3"),
        (0.0, 0.01, "2.508354208403e-5"),
    ):
        q = DiagGaussian(jnp.asarray(mean), jnp.asarray(logvar))
        pairs += [(q.kl(), value), (kl(q, prior), value)]
    p, q = (DiagGaussian(jnp.asarray(m), jnp.log(jnp.asarray(v))) for m, v in ((-0.5, 4.0), (1.0, 0.25)))
    return misfit([*pairs, (kl(q, p), "1.198794361120")])


def schedules_golden(settings: Settings, cyclical: Callable = schedules.cyclical) -> Measured:
    """Linear, sigmoid, cosine and cyclical schedules equal their golden arrays.

    Source: Bowman 2015, 1511.06349; Sonderby 2016, 1602.02282; Fu 2019, 1903.10145, eq. 6 and 7
    """
    warm, bowman, half = schedules.linear(1.0, 200), schedules.sigmoid(1.0, 2500, 0.0025), schedules.cosine(1.0, 1000)
    pairs = [(warm(e), v) for e, v in ((0, "0"), (1, ".005"), (50, ".25"), (199, ".995"), (200, "1"), (10**6, "1"))]
    steps = (0, 1000, 2500, 4000, 5000)
    values = (".001926734663", ".022977369910", ".5", ".977022630090", ".998073265337")
    pairs += [(bowman(t), v) for t, v in zip(steps, values)]
    pairs += [(half(t), v) for t, v in ((250, ".146446609407"), (500, ".5"), (750, ".853553390593"))]
    for steps, arrays in ((40, "0 .2 .4 .6 .8 1 1 1 1 1 0"), (10, "0 .8 1 0 .8 1 0 .8 1 0 1")):
        schedule = cyclical(1.0, steps, 4, 0.5)
        pairs += [(schedule(t), v) for t, v in enumerate(arrays.split())]
    long = cyclical(1.0, 40_000, 4, 0.5)
    pairs += [(long(t), v) for t, v in ((2500, ".5"), (4999, ".9998"), (5000, "1"), (10_000, "0"), (30_000, "0"))]
    pairs.append((jnp.mean(long(jnp.arange(40_000))), ".74995"))
    pairs += [(cyclical(1.0, 1003, 4, 0.5)(t), "0") for t in (0, 251, 502, 753)]
    pairs.append((cyclical(1.0, 40, 4, 0.5, shape="sigmoid")(5), ".997527376843"))
    return misfit(pairs)


def controllers_golden(settings: Settings) -> Measured:
    """GECO's multiplier and the PI controller's weight follow their golden sequences, and neither winds up.

    Source: Rezende and Viola 2018, 1810.00597; Shao 2020, 2004.05988, with an anti-windup derived here
    """
    pairs = []
    weight = weighting.geco(16.0, rate=0.01, decay=0.99, max_exponent=1.0)
    state = weight.init()
    for error, value in ((20.0, "1.040810774192"), (12.0, "1.082420784580"), (15.0, "1.125140593671")):
        state = weight.update(state, 0, {"distortion": error})
        pairs.append((jnp.exp(state["log_multiplier"]), value))
    weight = weighting.pi(5.0, 0.01, 0.001, 0.0, 10.0)
    state = weight.init()
    for rate, value in ((8.0, ".012525741268"), (7.0, ".013807970780"), (4.0, ".006689414214")):
        state = weight.update(state, 0, {"rate": rate})
        pairs.append((state["beta"], value))
    weight = weighting.pi(12.0, 0.01, 0.001, 1.0, 1e6)
    run = jax.jit(
        lambda state, rate, n: jax.lax.fori_loop(0, n, lambda _, s: weight.update(s, 0, {"rate": rate}), state)
    )
    state = run(weight.init(), 0.0, 2000)
    pairs += [(state["beta"], "1"), (state["integral"], "-6.1441746e-8")]
    state = run(state, 22.0, 1)
    pairs.append((state["beta"], "1.019999484580"))
    return misfit([*pairs, (run(state, 22.0, 99)["beta"], "2.009999484580")])


# error term, its reduction, the KL's, and the water level at weight 1 for (D, M) = (784, 20) and (3072, 128)
WRITTEN = [
    ("half_squared_error", "sum", "sum", "1", "1"),
    ("squared_error", "sum", "sum", "0.5", "0.5"),
    ("squared_error", "mean", "sum", "392", "1536"),
    ("half_squared_error", "mean", "sum", "784", "3072"),
    ("squared_error", "mean", "mean", "19.6", "12"),
    ("half_squared_error", "mean", "mean", "39.2", "24"),
    ("squared_error", "sum", "mean", "0.025", "0.00390625"),
]


def conventions_golden(settings: Settings, written=WRITTEN) -> Measured:
    """A loss as written is one water level s = beta sigma^2, whatever it sums or averages.

    Source: derived here; the equivalence is noted by Higgins 2017, Lucas 2019 (1911.02469), Rybkin 2020 (2006.13202)
    """
    pairs = []
    for recon, over, latents, small, large in written:
        for (dim, units), value in (((784, 20), small), ((3072, 128), large)):
            pairs.append((canonical(recon, over, latents, 1.0, dim, units).water_level, value))
    batch = canonical("squared_error", "mean", "sum+batch_sum", 1.0, 784, 20, batch_size=128)
    shipped = canonical("squared_error", "mean", "sum", 2.5e-4, 12288, 128)
    bytes_ = canonical("half_squared_error", "sum", "sum", 65025.0, 784, 20, pixel_scale=255.0)
    pairs += [(batch.water_level, str(392 * 128)), (bytes_.water_level, "1")]
    return misfit([*pairs, (shipped.water_level, "1.536"), (shipped.sigma, "1.23935")])


def objectives_golden(settings: Settings, free_bits: Callable = objective.free_bits) -> Measured:
    """Free bits, capacity and the importance-weighted bound are the ones of their papers, not their look-alikes.

    Source: Kingma 2016, 1606.04934, eq. 15; Burgess 2018, 1804.03599, eq. 8; Burda 2016, 1509.00519, eq. 8
    """
    kl = jnp.asarray([[0.1, 0.9], [0.5, 0.1]])
    zeros = jnp.zeros((2, 1))
    floor = -free_bits(0.35)(Terms(_with_kl(kl), None, zeros, zeros, zeros), 1.0)
    two = Terms(_with_kl(jnp.asarray([[2.0], [6.0]])), None, zeros, zeros, zeros)
    pairs = [(floor, ".85"), (-objective.capacity(1.0)(two, 4.0), "0")]
    for log_w, value in (
        ([-100.0, -101.0, -105.0], "-100.780436859"),
        ([-1000.0, 0.0], "-.693147181"),
        ([-90.5] * 4, "-90.5"),
    ):
        weights = jnp.asarray(log_w)
        pairs.append((iwae_per_example(Terms(None, None, weights, weights * 0, weights * 0)), value))
    return misfit(pairs)


def _with_kl(kl) -> DiagGaussian:
    """Posteriors whose divergences from the standard normal are ``kl``: of variance 1, so KL = mean^2 / 2."""
    return DiagGaussian(jnp.sqrt(2.0 * kl), jnp.zeros_like(kl))


def bits_per_dimension(settings: Settings, offset: Callable = bits_offset) -> Measured:
    """Nats become bits per dimension with the width of a grey level counted once.

    Source: Theis 2016, 1511.01844
    """

    def bits(nats, dim, mode, levels):
        return nats / (dim * math.log(2.0)) + offset(mode, levels)

    best = 0.5 * (1.0 + math.log(2.0 * math.pi))  # a Gaussian at its optimum, nats per dimension, less -log sigma
    return misfit(
        [
            (bits(6000.0, 3072, "binary", 256), "2.817763751736"),
            (bits(-1000.0, 3072, "dequantised", 256), "7.530372708044"),
            (bits(best + math.log(0.1), 1, "dequantised", 256), "6.725167490293"),
            (bits(best + math.log(0.03), 1, "dequantised", 256), "4.988201896127"),
            (bits(2.6364, 1, "binary", None), "3.803521205800"),
        ]
    )


_ALL = (
    continuous_bernoulli_golden,
    likelihoods_golden,
    kl_golden,
    schedules_golden,
    controllers_golden,
    conventions_golden,
    objectives_golden,
    bits_per_dimension,
)
CLAIMS = [claim_of(run, "exact", 0.0, tolerance=1.0, seconds=2.0, why=GOLDEN) for run in _ALL]
