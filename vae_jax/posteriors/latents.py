"""A model with a prior and a posterior of one's choice, from a model whose latents are the standard ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vae_jax.gaussian import at_least_float32
from vae_jax.types import VAE, Given, Latents, Posterior, Prior


def closed_form(prior: Prior, posterior: Posterior) -> bool:
    """Returns whether KL(q || p) is known in closed form, latent by latent or group by group."""
    if prior.standard or prior is posterior.prior:
        return posterior.kl is not None
    return (posterior.diagonal or prior.discrete) and prior.kl is not None


def with_latents(
    vae: VAE,
    prior: Prior,
    posterior: Posterior,
    latent_dim: int,
    encoder: VAE | None = None,
    balance: float | None = None,
) -> VAE:
    """Returns the model with this prior and this posterior; its parameters gain ``"prior"`` and ``"posterior"``.

    The rate is in closed form where the posterior is the diagonal Gaussian or discrete and the prior knows one
    (``prior.kl``), and where the prior is the standard normal, or the posterior's own, and the posterior knows one
    (``posterior.kl``); else it is the mean of log q - log p over the samples.

    Args:
      vae: encoder and decoder; ``params["encoder"]`` are the encoder's where ``encoder`` is given.
      prior, posterior: made by the functions of ``priors`` and ``posteriors``.
      latent_dim: d.
      encoder: a model of the same kind whose encoder puts out as many numbers as the posterior needs (in pairs: its
        ``mean`` and ``logvar`` are taken for them); None where those of ``vae`` do.
      balance: the share of the rate's gradient that goes to a learned prior, the rest to q; its value stays (DreamerV2,
        Hafner 2021, 2010.02193, eq. 3). Adam makes an update of the same size of a gradient of any scale, so to a prior
        whose parameters have no other gradient it is nothing, and to q a weight of beta (1 - balance). None for all to
        both.
    """
    count = posterior.numbers(latent_dim)
    inner = vae if encoder is None else encoder

    def init(key):
        params = vae.init(key)
        if encoder is not None:
            params = {**params, "encoder": encoder.init(key)["encoder"]}
        prior_key, posterior_key = (jax.random.fold_in(key, i) for i in (1, 2))
        own = {"prior": prior.init(prior_key, latent_dim), "posterior": posterior.init(posterior_key, latent_dim)}
        return {**params, **{name: value for name, value in own.items() if jax.tree.leaves(value)}}

    def numbers(params, x):
        return at_least_float32(jnp.concatenate(inner.encode(params, x), axis=-1)[:count])

    def encode(params, x):
        return posterior.moments(params.get("posterior", {}), numbers(params, x))

    def parts_of(params, own, h, q, z, log_qz, log_pz, c):
        if prior.kl is not None and (posterior.diagonal or prior.discrete):
            return prior.kl(params, q, c)
        if closed_form(prior, posterior):
            return posterior.kl(own, h)
        return jnp.mean(log_qz - log_pz(params, z, c), keepdims=True)

    def log_prior(params, z, c):
        return jax.vmap(lambda z: prior.log_prob(params, z, c))(z)

    def latents(params, x, key, num_samples):
        own, h, c = params.get("posterior", {}), numbers(params, x), x.c if isinstance(x, Given) else None
        z, log_qz = posterior.draw(own, h, key, num_samples)
        log_pz = log_prior(params, z, c)
        q = posterior.moments(own, h)
        if balance is None:
            parts = parts_of(params, own, h, q, z, log_qz, lambda *_: log_pz, c)
        else:
            of_q, fixed = (own, h, q, z, log_qz), jax.lax.stop_gradient
            to_prior = parts_of(params, *fixed(of_q), log_prior, c)
            parts = balance * to_prior + (1.0 - balance) * parts_of(fixed(params), *of_q, log_prior, c)
        return Latents(q.mean, q.logvar, log_pz, log_qz, parts), z

    def log_q(params, x, z):
        return posterior.log_prob(params.get("posterior", {}), numbers(params, x), z)

    known = None if posterior.log_prob is None else log_q
    new = {"init": init, "encode": encode, "latents": latents, "log_q": known}
    return vae._replace(**new, prior=prior, diagonal=posterior.diagonal)
