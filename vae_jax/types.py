"""The nouns of the package, and the legend of its axes.

Axis letters, used in every shape comment and docstring:

    b  batch        s  Monte Carlo sample of z      d  latent dimension
    k  mixture component or class                   r  run of a sweep       t  token

"event" is the shape of one datum (``(28, 28, 1)`` for an MNIST digit, ``(f,)`` for a row of a table).
Information is in nats per example everywhere inside the package; bits appear at the edge only.

An extension point is a function type or a ``NamedTuple`` of pure functions: nothing is subclassed or registered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from vae_jax.errors import LONGEST as LONGEST
from vae_jax.errors import UserError as UserError
from vae_jax.errors import one_line as one_line
from vae_jax.errors import printable as printable
from vae_jax.gaussian import DiagGaussian
from vae_jax.given import Given as Given
from vae_jax.given import beside as beside
from vae_jax.given import beside_condition as beside_condition
from vae_jax.given import condition_of as condition_of
from vae_jax.given import value_of as value_of
from vae_jax.states import Best as Best
from vae_jax.states import Skipped as Skipped
from vae_jax.states import TrainState as TrainState

Array = jax.Array
Params = Any  # a pytree of arrays
Event = tuple[int, ...]  # the shape of one datum

Schedule = Callable[[Any], Any]  # step -> scalar, the same type as optax.Schedule


class Prior(NamedTuple):
    """A prior p(z) of one example, or p(z|c); its parameters are learned with the model.

    Every function takes the model's whole parameters, ``params["model"]``: the prior's own are ``params["prior"]``
    there, and a prior may use the encoder (``priors/vamp.py``). ``c`` is None where there is no condition.

    Attributes:
      init: ``(key, latent_dim) -> own``; {} where there are none.
      log_prob: ``(params, z[d], c) -> scalar``, nats.
      sample: ``(params, key, latent_dim, c) -> z[d]``; consumes ``key``.
      kl: ``(params, q, c) -> [d]``, KL(q || p) of a DiagGaussian ``q`` per latent, nats; None where it is not known. Of
        discrete latents ``q.mean`` holds the probabilities, and there is a part for each group.
      standard: whether it is N(0, I).
      mixture: ``(params, c) -> (log weights [k], DiagGaussian [k, d])`` of a mixture of diagonal Gaussians; else None.
      from_data: ``(n, (own, x[n, *event]) -> own)``, how n training examples, or all, become its first parameters.
      discrete: whether z is one-hot in groups of classes.
    """

    init: Callable[[Array, int], Params]
    log_prob: Callable[[Params, Array, Any], Array]
    sample: Callable[[Params, Array, int, Any], Array]
    kl: Callable[[Params, DiagGaussian, Any], Array] | None = None
    standard: bool = False
    mixture: Callable[[Params, Any], tuple[Array, DiagGaussian]] | None = None
    from_data: tuple[int, Callable[[Params, Array], Params]] | None = None
    discrete: bool = False


class Posterior(NamedTuple):
    """An approximate posterior q(z|x), made of what the encoder puts out for one example.

    ``own`` is ``params["posterior"]`` of the model, shared by all examples; ``h [numbers]`` is the encoder's output.

    Attributes:
      numbers: ``latent_dim -> int``, how many numbers the encoder has to put out.
      init: ``(key, latent_dim) -> own``; {} where there are none.
      draw: ``(own, h, key, num_samples) -> (z[s, d], log_q[s])``, reparametrised; consumes ``key``.
      moments: ``(own, h) -> DiagGaussian[d]``, mean and log variance of each latent under q.
      kl: ``(own, h) -> [g]``, KL(q || N(0, I)) in parts that add up to it, nats. None where there is no closed form.
      log_prob: ``(own, h, z[d]) -> scalar``, log q(z|x) at any z, nats. None where it is not known.
      diagonal: whether it is the diagonal Gaussian of its moments.
      prior: the prior that it brings, to which its ``kl`` then is; None for one of any choice. In place of a discrete
        one any other discrete one may be taken.
    """

    numbers: Callable[[int], int]
    init: Callable[[Array, int], Params]
    draw: Callable[[Params, Array, Array, int], tuple[Array, Array]]
    moments: Callable[[Params, Array], DiagGaussian]
    kl: Callable[[Params, Array], Array] | None = None
    log_prob: Callable[[Params, Array, Array], Array] | None = None
    diagonal: bool = False
    prior: Prior | None = None


class Latents(NamedTuple):
    """What inference says of the latents of one example, where q is no diagonal Gaussian or p(z) not N(0, I).

    Attributes:
      mean, logvar: mean and log variance of each latent under q(z|x), ``[d]``.
      log_pz, log_qz: at the samples, ``[s]``, nats.
      parts: of KL(q || p), ``[g]``, nats: of each latent where there is a closed form, else one number, the mean of
        log q - log p over the samples.
      tag: zeros ``[s]`` of an estimator that has to know each sample's weight (``estimators.dreg``); None elsewhere.
    """

    mean: Array
    logvar: Array
    log_pz: Array
    log_qz: Array
    parts: Array
    tag: Array | None = None

    def kl(self) -> Array:
        """Returns the parts of the rate, ``[..., g]``, nats."""
        return self.parts


class VAE(NamedTuple):
    """An encoder and a decoder of one example, as pure functions of their parameters.

    Where there is a condition x is a ``Given``, and so is the z that ``decode`` is handed.

    Attributes:
      init: ``key -> params``.
      encode: ``(params, x[event]) -> DiagGaussian[d]``, q(z|x), or of another distribution its mean and variance.
      decode: ``(params, z[d]) -> theta``, the likelihood's parameters, of shape ``likelihood.theta_shape(event)``.
      decode_given: ``(params, z[d], x[event]) -> theta`` of a decoder that reads the example it predicts, each part
        only from the parts before it (teacher forcing), for the bound; ``decode`` reads its own output. Or None.
      largest_map: how many numbers the largest feature map of an example has, for a network whose training on a CPU is
        bound by the cache (``train/microbatches.py``); 0 for others.
      notes: what a person should know of how the networks treat an example, a sentence each.
      prior: p(z); None is the standard normal. ``priors.of`` returns one in either case.
      latents: ``(params, x[event], key, num_samples) -> (Latents, z[s, d])``, inference where q is no diagonal Gaussian
        or p(z) not N(0, I); consumes ``key``. None is the standard case, in which ``encode`` is q.
      log_q: ``(params, x[event], z[d]) -> scalar``, log q(z|x), nats; None with no ``latents``, or where not known.
      layers: the sizes of the groups of latents of a hierarchy, from the layer next to x upwards; () for one layer.
      diagonal: whether q(z|x) is the diagonal Gaussian that ``encode`` returns.
    """

    init: Callable[[Array], Params]
    encode: Callable[[Params, Array], DiagGaussian]
    decode: Callable[[Params, Array], Array]
    decode_given: Callable[[Params, Array, Array], Array] | None = None
    largest_map: int = 0
    notes: tuple[str, ...] = ()
    prior: Prior | None = None
    latents: Callable[[Params, Array, Array, int], tuple[Latents, Array]] | None = None
    log_q: Callable[[Params, Array, Array], Array] | None = None
    layers: tuple[int, ...] = ()
    diagonal: bool = True


class Likelihood(NamedTuple):
    """A family p(x | theta) of one example, every normalising constant kept.

    Attributes:
      init: ``event -> own``, the family's own parameters ({} where it has none), e.g. a log precision.
      theta_shape: ``event -> shape`` of what the decoder has to output.
      log_prob: ``(own, theta, x[event]) -> scalar``, in nats, summed over the event.
      mean: ``(own, theta) -> [event]``, E[x|z]; for the continuous Bernoulli this is not lambda. Of codes of classes
        without an order it is the most probable one: the mean of codes may be the code of none of them.
      sample: ``(own, theta, key) -> [event]``, a draw of x.
      variance: ``(own, theta) -> [event]``, Var[x|z].
      support: where x may lie: ``"real"``, ``"positive"`` (above 0), ``"unit"`` ([0, 1]), ``"binary"`` ({0, 1}),
        ``"count"`` (0, 1, 2, ...), a ``likelihoods.Grid`` (so many values a step apart), or for ``likelihoods.blocks``
        a tuple of (support, columns).
      sigma: ``own -> scalar``, the one standard deviation of the whole family; None where there is no such number.
      refit: ``(own, theta[b, s, ...], x[b, ...], all_mean) -> (now, kept)``, a closed-form update of ``own`` from
        the global batch in place of a gradient: ``now`` scores this batch, ``kept`` is what the run saves and
        evaluates with. None where ``own`` is learned by gradient or fixed. ``all_mean`` averages over devices.
      frozen: True where ``own`` must receive neither gradient nor update.
      sigma_bound: the smallest standard deviation the family can express, None where there is no such bound.
      cdf: ``(own, theta, x[event]) -> (below, up_to)``, P(X < x) and P(X <= x) of every dimension by itself, each
        ``[event]``: equal for a density, a level's probability apart for a family of levels. None where not known.
      log_classes: ``(own, theta) -> [event, k]``, the log probabilities of classes without an order, -infinity in all
        of a dimension whose values have one. None where all have.
      terms: ``(own, theta, x[event]) -> [event]``, the parts of which ``log_prob`` is the sum, nats: one for each
        dimension (of a mixture on images for each pixel). None where the dimensions depend on each other.
      conditionals: ``(own, theta, x[event]) -> [event]``, log p of each dimension given those before it along the last
        axis, nats, of which ``log_prob`` is the sum too. None where that is ``terms``, or not known.
      counted: ``x[event] -> [event]``, the dimensions of x that ``likelihoods.partial`` counts; None for all.
      rescale: ``(own, factor) -> own``, with every standard deviation that is not at its bound times ``factor``, for a
        family whose noise does not depend on theta and is not fixed; None for the others.
      units: ``[event]`` or ``[1]``, how many of the data's own one unit of x is (``likelihoods.in_own_units``), where
        ``log_prob`` is a density in those; None where x is in them itself.
    """

    init: Callable[[Event], Params]
    theta_shape: Callable[[Event], tuple[int, ...]]
    log_prob: Callable[[Params, Array, Array], Array]
    mean: Callable[[Params, Array], Array]
    sample: Callable[[Params, Array, Array], Array]
    variance: Callable[[Params, Array], Array]
    support: Any
    sigma: Callable[[Params], Array] | None = None
    refit: Callable[..., Params] | None = None
    frozen: bool = False
    sigma_bound: float | None = None
    cdf: Callable[[Params, Array, Array], tuple[Array, Array]] | None = None
    log_classes: Callable[[Params, Array], Array] | None = None
    terms: Callable[[Params, Array, Array], Array] | None = None
    conditionals: Callable[[Params, Array, Array], Array] | None = None
    counted: Callable[[Array], Array] | None = None
    rescale: Callable[[Params, Any], Params] | None = None
    units: Any = None


class Terms(NamedTuple):
    """Everything the bounds need of one example; ``vmap`` puts ``[b]`` in front.

    Attributes:
      q: the approximate posterior, fields ``[d]``; ``Latents`` where it is no diagonal Gaussian or p(z) not N(0, I).
      z: the samples ``[s, d]``.
      log_px_z, log_pz, log_qz: log p(x|z), log p(z) and log q(z|x) at the samples, ``[s]``, nats.
    """

    q: DiagGaussian | Latents
    z: Array  # [s, d]
    log_px_z: Array  # [s]
    log_pz: Array  # [s]
    log_qz: Array  # [s]


Objective = Callable[[Terms, Any], Array]  # (terms batched [b, ...], weight) -> scalar to be maximised


class KLWeight(NamedTuple):
    """Where beta comes from. A schedule is the stateless case (``weighting.from_schedule``).

    Attributes:
      init: ``() -> state``, arrays saved and resumed with the run.
      value: ``(state, step) -> weight``, what update ``step`` hands to its objective: beta, or the capacity.
      update: ``(state, step, metrics) -> state``, after the update; ``metrics`` holds rate and distortion.
      logged: ``(state, step, metrics) -> {"beta": ..., ...}``, scalars about update ``step`` for its metrics, from the
        state before it; None for the value as ``beta``. ``saturated`` is 1 where a bound decided, not the controller.
      beta: ``(state, step) -> beta``, the KL weight that this state amounts to; None where it is the value.
    """

    init: Callable[[], Any]
    value: Callable[[Any, Array], Array]
    update: Callable[[Any, Array, dict[str, Array]], Any]
    logged: Callable[[Any, Array, dict[str, Array]], dict[str, Array]] | None = None
    beta: Callable[[Any, Array], Array] | None = None
