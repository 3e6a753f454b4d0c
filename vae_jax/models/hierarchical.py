"""Hierarchies of 2 to 5 stochastic layers: the Ladder VAE, and the plain hierarchical VAE beside it.

Both have the same generative model, p(z_L) p(z_{L-1} | z_L) ... p(z_1 | z_2) p(x | z_1), and layers are numbered from
the one next to x. They differ in q:

* ``ladder``: a deterministic pass upwards gives each layer a Gaussian message of x; going down, q(z_i | z_{i+1}, x) is
  the product of that message with p(z_i | z_{i+1}), so inference shares the generative model (Sonderby 2016,
  1602.02282, section 2.2).
* ``plain``: each layer is inferred from the one below it, q(z_1 | x) q(z_2 | z_1) ... (section 2.1 there).

z is all layers beside each other, ``[d]``, the one next to x first. Without batch normalisation, which would make
examples depend on each other. A condition c is read by every network, beside what it reads: p(z_i | z_{i+1}, c),
q(z_i | ..., x, c) and p(x | z_1, c); the top's prior is N(0, I) for every c.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from vae_jax.gaussian import DiagGaussian, at_least_float32, kl_divergence, standard_normal_log_prob
from vae_jax.models.fully_connected import posterior
from vae_jax.types import VAE, Event, Latents, Prior, condition_of, value_of


class Block(nn.Module):
    """``h[n] -> (h[width], mean[d], logvar[d])``: two SiLU layers of ``width`` units, then a Gaussian.

    Without a width it is linear-Gaussian: a linear mean, and a variance that does not depend on h.
    """

    width: int | None
    latent_dim: int

    @nn.compact
    def __call__(self, h):
        """One example."""
        if self.width is None:
            logvar = self.param("logvar", nn.initializers.zeros, (self.latent_dim,))
            return h, nn.Dense(self.latent_dim, name="mean")(h), logvar
        for _ in range(2):
            h = nn.silu(nn.Dense(self.width)(h))
        return h, *posterior(h, self.latent_dim)


class Output(nn.Module):
    """``z_1[d] -> theta[theta_shape]``, two SiLU layers of ``width`` units (none without) between."""

    theta_shape: Sequence[int]
    width: int | None

    @nn.compact
    def __call__(self, h):
        """One latent vector of the first layer."""
        for _ in range(2 if self.width else 0):
            h = nn.silu(nn.Dense(self.width)(h))
        return jnp.reshape(nn.Dense(math.prod(self.theta_shape), name="theta")(h), self.theta_shape)


def _product(message: DiagGaussian, prior: DiagGaussian) -> DiagGaussian:
    """Returns the normalised product of two Gaussians: precisions add up."""
    share = jax.nn.sigmoid(prior.logvar - message.logvar)  # of the message in the sum of the precisions
    mean = prior.mean + share * (message.mean - prior.mean)
    return DiagGaussian(mean, -jnp.logaddexp(-message.logvar, -prior.logvar))


def _told(h, c):
    """Returns what a network reads: ``h``, and c after it where there is one."""
    return h if c is None else jnp.concatenate([h, c.astype(h.dtype)])


class Hierarchy:
    """The networks of a hierarchy, and what is computed of one example with them; ``condition`` numbers has c."""

    def __init__(self, event: Event, theta_shape: Event, layers, widths, condition: int = 0):
        self.event, self.layers, self.ends = event, layers, [sum(layers[: i + 1]) for i in range(len(layers))]
        self.condition = condition
        self.up = [Block(width, d) for width, d in zip(widths, layers)]
        self.down = [Block(width, d) for width, d in zip(widths[1:], layers)]  # p(z_i | z_{i+1}), the top has none
        self.output = Output(theta_shape, widths[0])

    def init(self, key, plain: bool):
        """Makes the parameters: ``"encoder"`` of inference, ``"decoder"`` of the generative model."""
        up, down, out = (jax.random.fold_in(key, i) for i in range(3))
        encoder, h, c = {}, jnp.zeros(math.prod(self.event)), jnp.zeros(self.condition) if self.condition else None
        for i, block in enumerate(self.up):
            (h, mean, _), own = block.init_with_output(jax.random.fold_in(up, i), _told(h, c))
            encoder[f"layer_{i + 1}"], h = own["params"], mean if plain else h
        decoder = {"output": self.output.init(out, _told(jnp.zeros(self.layers[0]), c))["params"]}
        for i, block in enumerate(self.down):
            above = _told(jnp.zeros(self.layers[i + 1]), c)
            decoder[f"layer_{i + 1}"] = block.init(jax.random.fold_in(down, i), above)["params"]
        return {"encoder": encoder, "decoder": decoder}

    def cut(self, z):
        """Returns the layers of z ``[..., d]``."""
        return jnp.split(z, self.ends[:-1], axis=-1)

    def conditional(self, params, i: int, above, c=None) -> DiagGaussian:
        """Returns p(z_i | z_{i+1}, c) with ``above`` for z_{i+1}, of layer i counted from 0; of the top, N(0, I)."""
        if above is None:
            return DiagGaussian(jnp.zeros(self.layers[i]), jnp.zeros(self.layers[i]))
        return _gaussian(self.down[i], params["decoder"][f"layer_{i + 1}"], _told(above, c))

    def message(self, params, i: int, below, c=None):
        """Returns what layer i makes of what is below it: a hidden vector, and a Gaussian."""
        h, mean, logvar = self.up[i].apply({"params": params["encoder"][f"layer_{i + 1}"]}, _told(below, c))
        return h, DiagGaussian(at_least_float32(mean), at_least_float32(logvar))

    def flat(self, x):
        """Returns x as one vector, centred at the middle of the pixel range as in ``fully_connected.Encoder``."""
        return jnp.reshape(value_of(x), -1) - 0.5

    def decode(self, params, z):
        """Returns theta of the first layer of z."""
        first = _told(value_of(z)[: self.layers[0]], condition_of(z))
        return self.output.apply({"params": params["decoder"]["output"]}, first)

    def log_prior(self, params, z, c=None):
        """Returns log p(z) of all layers together, ``z[d] -> scalar``."""
        parts = self.cut(z)
        total = standard_normal_log_prob(parts[-1])
        for i, (part, above) in enumerate(itertools.pairwise(parts)):
            total += self.conditional(params, i, above, c).log_prob(part)
        return total

    def sample_prior(self, params, key, c=None):
        """Draws z ``[d]`` from the top downwards."""
        above, drawn = None, []
        for i in reversed(range(len(self.layers))):
            above = self.conditional(params, i, above, c).sample(jax.random.fold_in(key, i), 1)[0]
            drawn.insert(0, above)
        return jnp.concatenate(drawn)

    def downwards(self, params, x, choose):
        """The ladder's inference: returns ``(z, q, p)`` of each layer, the first one first; ``choose(i, q) -> z_i``."""
        messages, h, c = [], self.flat(x), condition_of(x)
        for i in range(len(self.layers)):
            h, message = self.message(params, i, h, c)
            messages.append(message)
        above, found = None, []
        for i in reversed(range(len(self.layers))):
            p = self.conditional(params, i, above, c)
            # The top's q is the message itself, as in the paper; below it is what x and the layer above say together.
            q = messages[i] if above is None else _product(messages[i], p)
            above = choose(i, q)
            found.insert(0, (above, q, p))
        return found

    def upwards(self, params, x, choose):
        """The plain inference: returns ``(z, q)`` of each layer, the first one first; ``choose(i, q) -> z_i``."""
        h, c, found = self.flat(x), condition_of(x), []
        for i in range(len(self.layers)):
            q = self.message(params, i, h, c)[1]
            h = choose(i, q)
            found.append((h, q))
        return found


def _gaussian(block: Block, params, h) -> DiagGaussian:
    _, mean, logvar = block.apply({"params": params}, h)
    return DiagGaussian(at_least_float32(mean), at_least_float32(logvar))


def _each_log_prob(q: DiagGaussian, z):
    """Returns log N(z_j) of every latent by itself."""
    return DiagGaussian(q.mean[..., None], q.logvar[..., None]).log_prob(z[..., None])


def hierarchical(
    event: Event,
    theta_shape: Event,
    layers: tuple[int, ...],
    widths: tuple[int | None, ...],
    plain: bool = False,
    condition: int = 0,
) -> VAE:
    """Makes a hierarchical ``VAE``; the rate has one part for each latent of each layer.

    In a ladder a part is KL(q(z_i | z_{i+1}, x) || p(z_i | z_{i+1})) in closed form given the sample above, averaged
    over the samples. In the plain one q(z_i | z_{i-1}) meets p(z_i | z_{i+1}) at samples, so a part is the mean of
    log q - log p, except for the top.

    ``encode`` follows the means: the code of a layer is its mean given the means that it depends on.

    Args:
      event, theta_shape: the shapes of x and theta.
      layers: how many latents each layer has, the one next to x first.
      widths: units of each layer's networks; None for linear ones.
      plain: whether inference goes upwards and shares nothing with the generative model.
      condition: how many numbers c has; 0 where there is none.
    """
    net = Hierarchy(event, theta_shape, layers, widths, condition)

    def at_mean(i, q):
        return q.mean

    def encode(params, x):
        found = (net.upwards if plain else net.downwards)(params, x, at_mean)
        return DiagGaussian(*(jnp.concatenate(part) for part in zip(*(q for _, q, *_ in found))))

    def one_sample(params, x, key):
        def choose(i, q):
            return q.sample(jax.random.fold_in(key, i), 1)[0]

        if plain:
            found = net.upwards(params, x, choose)
            above = [z for z, _ in found[1:]] + [None]
            priors = [net.conditional(params, i, z, condition_of(x)) for i, z in enumerate(above)]
            parts = [_each_log_prob(q, z) - _each_log_prob(p, z) for (z, q), p in zip(found, priors)]
            parts[-1] = kl_divergence(found[-1][1], priors[-1])
        else:
            found = net.downwards(params, x, choose)
            parts = [kl_divergence(q, p) for _, q, p in found]
        z, log_qz = jnp.concatenate([f[0] for f in found]), sum(q.log_prob(z) for z, q, *_ in found)
        return z, log_qz, jnp.concatenate(parts)

    def latents(params, x, key, num_samples):
        z, log_qz, parts = jax.vmap(lambda key: one_sample(params, x, key))(jax.random.split(key, num_samples))
        log_pz = jax.vmap(lambda z: net.log_prior(params, z, condition_of(x)))(z)
        q = encode(params, x)
        return Latents(q.mean, q.logvar, log_pz, log_qz, jnp.mean(parts, axis=0)), z

    prior = Prior(
        init=lambda key, latent_dim: {},
        log_prob=lambda params, z, c: net.log_prior(params, z, c),
        sample=lambda params, key, latent_dim, c: net.sample_prior(params, key, c),
    )
    return VAE(
        init=lambda key: net.init(key, plain),
        encode=encode,
        decode=net.decode,
        prior=prior,
        latents=latents,
        layers=layers,
        diagonal=False,
    )
