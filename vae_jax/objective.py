"""The bound, written once: terms of one example, and objectives that are functions of those terms.

``terms`` works on one example; ``vmap`` supplies the samples of z and the batch, ``jit`` the devices. Training and
evaluation call the same functions, the first with the applied weight, the second with weight 1.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.gaussian import at_least_float32, standard_normal_log_prob
from vae_jax.traced import given
from vae_jax.types import VAE, Array, Given, Latents, Likelihood, Objective, Params, Terms, value_of


def infer(vae: VAE, params: Params, x: Array, key: Array, num_samples: int = 1):
    """Encodes one example, samples z and decodes: ``x[event] -> (q[d], z[s, d], theta[s, ...])``; consumes ``key``."""
    q, z = draw_codes(vae, params, x, key, num_samples)
    return q, z, decode(vae, params, x, z)


def draw_codes(vae: VAE, params: Params, x: Array, key: Array, num_samples: int = 1):
    """Encodes one example and samples z: ``x[event] -> (q[d], z[s, d])``; consumes ``key``."""
    if vae.latents is not None:
        return vae.latents(params["model"], x, key, num_samples)
    q = vae.encode(params["model"], x)
    return q, q.sample(key, num_samples)


def decode(vae: VAE, params: Params, x: Array, z: Array) -> Array:
    """Decodes ``z [s, d]`` to theta ``[s, ...]``, to score ``x[event]`` with; one that reads its example reads x."""
    if vae.decode_given is None and isinstance(x, Given):
        return jax.vmap(lambda z: vae.decode(params["model"], Given(z, x.c)))(z)
    if vae.decode_given is None:
        return jax.vmap(vae.decode, in_axes=(None, 0))(params["model"], z)
    return jax.vmap(vae.decode_given, in_axes=(None, 0, None))(params["model"], z, x)


def score(likelihood: Likelihood, own: Params, x: Array, q, z: Array, theta: Array) -> Terms:
    """Scores one example with what ``infer`` returned for it; log densities in nats."""
    x = value_of(x)
    log_px_z = jax.vmap(likelihood.log_prob, in_axes=(None, 0, None))(own, at_least_float32(theta), x)
    if isinstance(q, Latents):
        return Terms(q, z, log_px_z, q.log_pz, q.log_qz)
    return Terms(q, z, log_px_z, standard_normal_log_prob(z), q.log_prob(z))


def terms(vae: VAE, likelihood: Likelihood, params: Params, x: Array, key: Array, num_samples: int = 1) -> Terms:
    """Returns the terms of the bound for one example; ``vmap`` over ``x`` and ``key`` for a batch.

    Args:
      vae, likelihood: the model; ``params`` is ``{"model": ..., "likelihood": ...}``.
      x: one example, ``[event]``.
      key: consumed by the draw of z.
      num_samples: how many samples of z.
    """
    return score(likelihood, params["likelihood"], x, *infer(vae, params, x, key, num_samples))


def rate(t: Terms) -> Array:
    """Returns KL(q(z|x) || p(z)) per example, nats: ``[...]``; analytic where there is a closed form."""
    return jnp.sum(t.q.kl(), axis=-1)


def distortion(t: Terms) -> Array:
    """Returns -E_q log p(x|z) per example, nats, the mean over the samples: ``[...]``."""
    return -jnp.mean(t.log_px_z, axis=-1)


def elbo(t: Terms, weight=1.0) -> Array:
    """Returns the evidence lower bound, the batch's mean of -(distortion + weight * rate), nats, to be maximised.

    At weight 1 it bounds log p(x) (Kingma and Welling 2013, 1312.6114, eq. 3); at any other weight it is the beta-VAE's
    training objective (Higgins 2017) and bounds nothing. Takes the terms of one example or of a batch; the weight is a
    scalar, or with a batch one for each example, ``[b]``.
    """
    return -jnp.mean(distortion(t) + weight * rate(t))


def iwae(t: Terms, weight=1.0) -> Array:
    """Returns the importance-weighted bound L_K, K = s, the mean over the batch, nats (Burda 2016, 1509.00519, eq. 8).

    K weights for each example, their mean inside the log, then the mean over examples. With a weight other than 1,
    log p(z) - log q(z|x) is multiplied by it, which bounds nothing.
    """
    return jnp.mean(iwae_per_example(t, weight))


# Means of what each example gives by itself: a batch may be cut. (What follows couples the examples of a batch.)
SEPARABLE = (elbo, iwae)


def free_bits(
    floor: float, all_mean: Callable = lambda value: value, over: str = "each", inside: str = "batch"
) -> Objective:
    """Makes free bits (Kingma 2016, 1606.04934, eq. 15): -(distortion + weight * sum_d max(floor, KL_d)).

    Below the floor a KL gets no gradient. The loss is not a bound. The four variants in use, each another objective:

    * over each, inside the batch: KL_d is a mean over the batch and the floor is each latent's. The paper's, of groups
      of latents (openai/iaf: a feature map is a group), and that of Trajectron++.
    * over each, inside an example: the floor is that of each latent of each example (Optimus, by its gradient).
    * over their sum, inside an example: DreamerV3 (1 nat), World Models (16), MusicVAE (48 bits).
    * over their sum, inside the batch: DreamerV2 where its ``free_avg`` is set.

    Args:
      floor: nats, >= 0; 0 is the ELBO.
      all_mean: the mean over devices, where each sees only its share of the batch.
      over: what has the floor, "each" latent or their "sum".
      inside: what is compared with it, the mean over the "batch" or each "example".
    """
    if given(floor) and not floor >= 0:
        raise ValueError(f"the floor of free bits must not be negative, not {floor}")
    if over not in ("each", "sum") or inside not in ("batch", "example"):
        raise ValueError(
            f"free bits are over each or sum, inside batch or example, not over {over!r} inside {inside!r}"
        )

    def objective(t: Terms, weight=1.0):
        kl = t.q.kl()  # [b, d]
        kl = jnp.sum(kl, axis=-1, keepdims=True) if over == "sum" else kl
        kl = _batch_mean(kl, all_mean) if inside == "batch" else kl
        # ``where`` and not ``maximum``, whose gradient at a tie is shared: at the floor a latent gets none.
        charged = jnp.sum(jnp.where(kl > floor, kl, floor), axis=-1)
        return -(jnp.mean(distortion(t)) + weight * jnp.mean(charged))

    return objective


def weighted_layers(layers: tuple[int, ...], factors: tuple[float, ...]) -> Objective:
    """Makes -(distortion + weight * sum_i factor_i rate_i), with a factor for each layer of a hierarchy; no bound.

    Args:
      layers: how many latents each layer has; the rate has a part for each latent.
      factors: of the layers, none negative.
    """
    each = np.repeat(np.asarray(factors, np.float32), layers)

    def objective(t: Terms, weight=1.0):
        return -jnp.mean(distortion(t) + weight * jnp.sum(t.q.kl() * each, axis=-1))

    return objective


def rate_of_layers(t: Terms, layers: tuple[int, ...]) -> list[Array]:
    """Returns the rate of each layer of a hierarchy, ``[...]`` each, nats, the layer next to x first."""
    ends = [sum(layers[: i + 1]) for i in range(len(layers))]
    return [jnp.sum(part, axis=-1) for part in jnp.split(t.q.kl(), ends[:-1], axis=-1)]


def capacity(gamma: float, all_mean: Callable = lambda value: value) -> Objective:
    """Makes -(distortion + gamma |rate - C|), C in place of the weight, nats (Burgess 2018, 1804.03599, eq. 8).

    The rate is the mean over the batch inside the absolute value. With beta*(C) the weight whose optimum has rate C,
    gamma >= beta*(C) puts the optimum at rate C, and a smaller gamma gives exactly the beta-VAE of beta = gamma. The
    loss is not a bound.

    Args:
      gamma: how strongly the rate is held.
      all_mean: the mean over devices, where each sees only its share of the batch.
    """
    if given(gamma) and not gamma > 0:
        raise ValueError(f"gamma must be positive, not {gamma}")

    def objective(t: Terms, weight):
        gap = _batch_mean(rate(t), all_mean) - weight
        # |gap| with the slope 0 at 0, as the weight that is logged says; that of jnp.abs is 1 there.
        return -(jnp.mean(distortion(t)) + gamma * gap * jnp.sign(gap))

    return objective


def _batch_mean(values: Array, all_mean: Callable) -> Array:
    """Returns the mean over the global batch; its gradient is this device's share, which the step averages later."""
    # Without the stop, the gradient of ``all_mean`` would be averaged twice: here and in the step.
    local = jnp.mean(values, axis=0)
    return local + jax.lax.stop_gradient(all_mean(local) - local)


def iwae_per_example(t: Terms, weight=1.0) -> Array:
    """Returns L_K of each example, ``[...]``, nats; ``iwae`` is its mean."""
    log_w = t.log_px_z + weight * (t.log_pz - t.log_qz)
    return jax.nn.logsumexp(log_w, axis=-1) - jnp.log(log_w.shape[-1])
