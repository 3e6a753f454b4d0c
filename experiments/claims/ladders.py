"""A linear hierarchy of two layers against its closed forms (theory/README.md, "Layers of a linear hierarchy")."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vae_jax import objective, weighting
from vae_jax.likelihoods import gaussian
from vae_jax.linear_vae import predict
from vae_jax.models import ladder
from vae_jax.schedules import constant
from vae_jax.train.optimizers import Rates, adam
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state, make_train_step
from vae_jax.types import Terms

from . import bed
from .compare import deviation
from .ledger import Measured, Settings, claim_of

EVENT, LAYERS, SIGMA2 = (5,), (3, 2), 0.3
LIKELIHOOD = gaussian("fixed", sigma=SIGMA2**0.5)
_W = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 3)))[0] * [2.0, 1.0, 0.5]
_V = np.asarray([0.5, 0.8, 0.3])


class Exact(NamedTuple):
    """A ladder whose q is the posterior of its own generative model.

    Attributes:
      params: of ``ladder(EVENT, EVENT, 5, (), layers=LAYERS)``.
      covariance: of x, ``[5, 5]``.
      top_rate: I(x; z_2), nats: the mean rate of the second layer.
    """

    params: Any
    covariance: np.ndarray
    top_rate: float


def exact_ladder() -> Exact:
    """Makes z_2 ~ N(0, I), z_1 | z_2 ~ N(A z_2, diag(v)), x | z_1 ~ N(W z_1, sigma^2 I), and its posterior.

    With orthogonal columns of W the likelihood of z_1 is a diagonal Gaussian, the first layer's message, whose product
    with p(z_1 | z_2) is the posterior. That of z_2 is diagonal where A's columns are orthogonal in the metric of the
    message's variance given z_2.
    """
    seen = _V + SIGMA2 / np.sum(_W**2, 0)
    columns = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 2)))[0]
    a = np.sqrt(seen)[:, None] * columns * [1.5, 0.7]
    up, precision = np.linalg.pinv(_W), 1.0 + np.sum(a**2 / seen[:, None], 0)
    top = (a / seen[:, None]).T / precision[:, None]

    def dense(kernel, bias=0.0):
        return {"kernel": jnp.asarray(kernel.T), "bias": jnp.broadcast_to(jnp.asarray(bias, float), kernel.shape[0])}

    def block(kernel, logvar, bias=0.0):
        return {"mean": dense(kernel, bias), "logvar": jnp.asarray(logvar)}

    # The encoder reads x - 1/2: each mean gets back what that takes away.
    half = np.full(5, 0.5)
    encoder = {
        "layer_1": block(up, np.log(SIGMA2 / np.sum(_W**2, 0)), up @ half),
        "layer_2": block(top @ up, -np.log(precision), top @ up @ half),
    }
    decoder = {"layer_1": block(a, np.log(_V)), "output": {"theta": dense(_W)}}
    covariance = _W @ (a @ a.T + np.diag(_V)) @ _W.T + SIGMA2 * np.eye(5)
    return Exact({"encoder": encoder, "decoder": decoder}, covariance, 0.5 * float(np.sum(np.log(precision))))


def sigma_rows(covariance: np.ndarray) -> np.ndarray:
    """Returns ten rows whose mean is 0 and whose second moments are the covariance exactly."""
    root = np.sqrt(5.0) * np.linalg.cholesky(covariance).T
    return np.concatenate([root, -root])


@functools.cache
def _program(samples: int):
    """Two claims read the same terms: one compilation."""
    vae = ladder(EVENT, EVENT, 5, (), layers=LAYERS)
    one = functools.partial(objective.terms, vae, LIKELIHOOD)
    return jax.jit(jax.vmap(lambda params, x, key: one(params, x, key, samples), in_axes=(None, 0, 0)))


def terms_of(exact: Exact, samples: int = 6) -> Terms:
    """Returns the terms of ``sigma_rows``."""
    params = {"model": exact.params, "likelihood": LIKELIHOOD.init(EVENT)}
    x = jnp.asarray(sigma_rows(exact.covariance))
    return _program(samples)(params, x, jax.random.split(jax.random.key(8), len(x)))


def a_linear_ladder_is_exact(settings: Settings, layers: int = 2) -> Measured:
    """Where a ladder's q is the posterior, log p(x,z) - log q(z|x) is log p(x) at every sample.

    Expected: the largest difference is 0.

    Source: derived in theory/README.md
    """
    exact = exact_ladder()
    t, x = terms_of(exact), sigma_rows(exact.covariance)
    log_w = t.log_px_z + t.log_pz - t.log_qz
    if layers == 1:  # planted: the top's rate is forgotten
        log_w += jnp.sum(t.q.parts[:, LAYERS[0] :], -1)[:, None]
    quadratic = np.einsum("bi,ij,bj->b", x, np.linalg.inv(exact.covariance), x)
    log_px = -0.5 * (quadratic + np.linalg.slogdet(exact.covariance)[1] + 5 * np.log(2 * np.pi))
    return Measured(deviation(log_w, np.broadcast_to(log_px[:, None], log_w.shape)), detail=f"{log_w.size} samples")


def the_top_of_a_ladder_carries_its_share(settings: Settings) -> Measured:
    """The rate of the second layer is what z_2 and x have in common, half the log determinant of its precision.

    Source: derived in theory/README.md
    """
    exact = exact_ladder()
    rate = float(jnp.mean(objective.rate_of_layers(terms_of(exact), LAYERS)[1]))
    return Measured(rate / exact.top_rate, detail=f"{rate:.9f} nats")


def a_linear_ladder_is_its_first_layer(settings: Settings, steps: int = 3000, samples: int = 16) -> Measured:
    """A trained linear ladder ends at the optimum of a linear VAE of its first layer, in nats of the ELBO.

    Source: derived in theory/README.md
    Tolerance: sampling noise of Adam at a falling rate, and 4,000 samples of each bound
    """
    x, shape = bed.bed_data(), (bed.LATENTS, 2)
    vae = ladder((bed.DIM,), (bed.DIM,), sum(shape), (), layers=shape)
    falling = optax.schedules.cosine_decay_schedule(0.02, steps)
    weight = weighting.from_schedule(constant(1.0))
    recipe = Recipe(vae, bed.FIXED, adam(Rates(falling, falling), bed.FIXED), weight, num_samples=samples)

    @jax.jit
    def run():
        step, state = make_train_step(recipe), init_state(recipe, (bed.DIM,), jax.random.key(0))
        state, _ = jax.lax.scan(lambda state, _: step(state, x), state, length=steps)
        keys = jax.random.split(jax.random.key(1), len(x))
        return jax.vmap(lambda x, key: objective.terms(vae, bed.FIXED, state.params, x, key, 4000))(x, keys)

    t, best = run(), predict(bed.EIGENVALUES, 1.0, bed.SIGMA2, bed.LATENTS)
    elbo = -0.5 * (bed.DIM * np.log(2 * np.pi * bed.SIGMA2) + best.distortion / bed.SIGMA2) - best.rate
    rates = ", ".join(f"{float(jnp.mean(rate)):.4f}" for rate in objective.rate_of_layers(t, shape))
    return Measured(float(objective.elbo(t) - elbo), detail=f"rates {rates} nats; together {best.rate:.4f} expected")


CLAIMS = [
    claim_of(a_linear_ladder_is_exact, "exact", 0.0, 1e-6, 3.0, why="rounding in 64 bits"),
    claim_of(the_top_of_a_ladder_carries_its_share, "exact", 1.0, 1e-6, 0.2, why="rounding in 64 bits"),
    claim_of(a_linear_ladder_is_its_first_layer, "fixed_point", 0.0, 0.02, 5.0),
]
