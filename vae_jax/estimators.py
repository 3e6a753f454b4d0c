"""Objectives whose gradient is estimated in a way of its own: the same bounds, other noise.

An ``Estimator`` is an objective, and says besides how inference is differentiated while it is trained. What is left of
the gradient of the encoder once the score of q is gone vanishes where q is exact, and does not drown in noise as the
number of samples grows (``experiments/claims/estimators.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vae_jax import priors
from vae_jax.gaussian import standard_normal_log_prob
from vae_jax.objective import iwae
from vae_jax.traced import given
from vae_jax.types import VAE, Array, Given, Latents, Objective, Params, Terms, UserError

# The parameters of a model that inference alone has.
OF_INFERENCE = ("encoder", "posterior")


class Estimator(NamedTuple):
    """An objective ``(terms, weight) -> scalar``, the batch's mean of what each example gives by itself.

    Attributes:
      bound: what is maximised.
      inference: ``VAE -> VAE``, how the model's latents are inferred for it: the same values with other gradients.
      of_encoder: what encoder and posterior maximise in place of it; None for the same.
    """

    bound: Objective
    inference: Callable[[VAE], VAE] = lambda vae: vae
    of_encoder: Objective | None = None

    def __call__(self, t: Terms, weight=1.0) -> Array:
        """Returns the bound, nats."""
        return self.bound(t, weight)


def inferred(objective: Objective, vae: VAE) -> VAE:
    """Returns the model as this objective differentiates it: the model itself unless it is an ``Estimator``.

    Raises:
      UserError: the objective needs log q(z|x) at any z, which this model does not know.
    """
    return objective.inference(vae) if isinstance(objective, Estimator) else vae


def sampled_elbo(t: Terms, weight=1.0) -> Array:
    """Returns the mean of log p(x|z) + weight (log p(z) - log q(z|x)) over samples and batch, nats."""
    return jnp.mean(t.log_px_z + weight * (t.log_pz - t.log_qz))


def miwae(averages: int) -> Estimator:
    """Makes the mean of M importance-weighted bounds of K = s / M samples each (Rainforth 2018, 1802.04537, eq. 13).

    M = 1 is ``iwae``, and M = s the sampled ELBO.
    """
    return Estimator(_in_groups(averages))


def piwae(averages: int) -> Estimator:
    """Makes the partially importance-weighted pair (Rainforth 2018, 1802.04537, section 4.3).

    The decoder, the prior and the noise maximise ``iwae`` of all samples, encoder and posterior ``miwae`` of M groups.
    """
    return Estimator(iwae, of_encoder=_in_groups(averages))


def vr(alpha) -> Estimator:
    """Makes the variational Renyi bound, log mean w^(1 - alpha) / (1 - alpha) (Li and Turner 2016, 1602.02311, eq. 13).

    w is p(x|z) (p(z) / q(z|x))^weight. alpha = 0 is ``iwae``, and the limit at 1 the sampled ELBO.

    Raises:
      ValueError: alpha is 1.
    """
    if given(alpha) and alpha == 1:
        raise ValueError("the Renyi bound at alpha = 1 is the ELBO: maximise that")

    def bound(t: Terms, weight=1.0):
        powers = t._replace(log_px_z=(1.0 - alpha) * t.log_px_z)
        return iwae(powers, (1.0 - alpha) * weight) / (1.0 - alpha)

    return Estimator(bound)


def _in_groups(averages: int) -> Objective:
    def bound(t: Terms, weight=1.0):
        groups = [v.reshape(*v.shape[:-1], averages, -1) for v in (t.log_px_z, t.log_pz, t.log_qz)]
        return iwae(Terms(t.q, t.z, *groups), weight)

    return bound


def _along_the_path(vae: VAE, tag: Callable[[Array], tuple[Array, Array, Array]] | None = None) -> VAE:
    """Returns the model whose log q(z|x) at the samples has a gradient through z only, not through q's parameters.

    Args:
      vae: the model.
      tag: ``z[s, d] -> (z, zeros[s], zeros[s])``, applied to the samples before anything is computed of them; the
        first zeros become ``Latents.tag``, the second are added to log q.
    """
    if vae.latents is not None and vae.log_q is None:
        raise UserError(
            "this objective differentiates log q(z|x) through z alone, and the posterior's is not known at every z; "
            "use --objective=elbo, iwae, miwae, piwae or vr"
        )
    prior = priors.of(vae)

    def infer(params, x, key, num_samples):
        if vae.latents is not None:
            return vae.latents(params, x, key, num_samples)
        q = vae.encode(params, x)
        z = q.sample(key, num_samples)
        return Latents(q.mean, q.logvar, standard_normal_log_prob(z), q.log_prob(z), q.kl()), z

    def log_q(params, x, z):
        return vae.encode(params, x).log_prob(z) if vae.log_q is None else vae.log_q(params, x, z)

    def latents(params, x, key, num_samples):
        q, z = infer(params, x, key, num_samples)
        z, zeros, of_q = (z, None, 0.0) if tag is None else tag(z)
        c = x.c if isinstance(x, Given) else None
        log_pz = jax.vmap(lambda z: prior.log_prob(params, z, c))(z)
        log_qz = jax.vmap(lambda z: log_q(jax.lax.stop_gradient(params), x, z))(z) + of_q
        return q._replace(log_pz=log_pz, log_qz=log_qz, tag=zeros), z

    return vae._replace(latents=latents)


# The sampled ELBO, "sticking the landing" (Roeder 2017, 1703.09194): the score of q, whose mean is zero, is left out of
# the gradient, which is then zero for every sample where q is the exact posterior.
stl = Estimator(sampled_elbo, _along_the_path)


@jax.custom_vjp
def _weighed(z: Array) -> tuple[Array, Array, Array]:
    """Returns ``z [s, d]`` and zeros ``[s]``, twice, for the log weights and for log q.

    The gradient that they get are the normalised weights, by which the gradient that z gets is then multiplied again.
    """
    zeros = jnp.zeros(z.shape[:-1], z.dtype)
    return z, zeros, zeros


def _weighed_backwards(_, slopes):
    of_z, of_weights, of_q = slopes
    total = jnp.sum(of_weights, axis=-1, keepdims=True)
    share, weight = of_weights / total, -jnp.sum(of_q, axis=-1, keepdims=True) / total
    # Tucker 2019, eq. 8, has the weight 1, where this is the share. At another the score's part is so much smaller.
    return (of_z * (1.0 - weight + weight * share)[..., None],)


_weighed.defvjp(lambda z: (_weighed(z), None), _weighed_backwards)


def _tagged_iwae(t: Terms, weight=1.0) -> Array:
    return iwae(t._replace(log_px_z=t.log_px_z + t.q.tag), weight)


# ``iwae``, doubly reparametrised (Tucker 2019, 1810.04152, eq. 8): the score of q is reparametrised once more, which
# multiplies the gradient through each sample by its normalised weight. With one sample it is ``stl``.
dreg = Estimator(_tagged_iwae, lambda vae: _along_the_path(vae, _weighed))


def without_gradient(params: Params, of_inference: bool) -> Params:
    """Returns the parameters with those of encoder and posterior, or all the others, held fixed in the gradient.

    Raises:
      UserError: the model does not say which of its parameters are the encoder's.
    """
    if "encoder" not in params["model"]:
        raise UserError(
            "piwae trains the encoder apart, and this model has no parameters of that name; give it some, or use miwae"
        )
    fixed = jax.lax.stop_gradient(params)
    inside = {name: (name in OF_INFERENCE) == of_inference for name in params["model"]}
    model = {name: (fixed if inside[name] else params)["model"][name] for name in params["model"]}
    return {"model": model, "likelihood": (params if of_inference else fixed)["likelihood"]}
