"""``TrainedVAE``: the methods of a trained model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import priors
from vae_jax.data import conditions
from vae_jax.evaluation.bounds import score_example
from vae_jax.gaussian import at_least_float32
from vae_jax.objective import draw_codes
from vae_jax.randomness import LATENT, PIXELS, TEST, example_keys, purpose_key
from vae_jax.runs.known_data import KnownData
from vae_jax.runs.settings import Config
from vae_jax.trained import examples
from vae_jax.trained.flags import KINDS
from vae_jax.trained.latents import between, check_temperature, drawn_code
from vae_jax.trained.programs import Programs, checked_key
from vae_jax.types import VAE, Array, Event, Likelihood, Params, UserError, beside, condition_of, value_of
from vae_jax.weighting.multi_rate import at_beta

CARRIES = 0.01  # nats: a latent that has less of them on the test split carries nothing


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TrainedVAE:
    """A trained model: numpy arrays in and out, any number of examples, batched, and compiled once for each method.

    Examples ``x`` are ``[n, *event]`` in their own units: grey levels of images, 0 to ``levels - 1``, ``[n, h, w]``
    where there is one channel; the columns' units of rows and tables, as an array, a frame or a dict of
    columns, and the same comes back; of a text a list of sentences. Codes ``z`` are ``[n, d]``. Information is in nats.

    A ``key`` is that of whatever is drawn: example i draws from ``key`` and i, so the size of the batches decides
    nothing. Where one may be left out it is that of the run's own evaluation: ``elbo`` and ``rate`` of the test split
    have the means that results.json holds.

    ``c`` is what is known beside each, of a model of --condition: a value, one for each, or a dict of those by column.

    Attributes:
      vae, likelihood, params: the functions and parameters, as ``vae_jax.objective`` takes them; of one x in [0, 1]
        units.
      config: the flags of the run.
      results: the numbers of results.json; None before a run has ended.
      data: what the model knows of its data.
      view: ``(key, raw[event]) -> x[event]``.
      beta_range: of a network for all beta, which ``at`` reads; None for any other.
      batch_size: how many examples at a time; it changes memory and speed, not the numbers.
    """

    vae: VAE
    likelihood: Likelihood
    params: Params
    config: Config
    results: dict[str, Any] | None
    data: KnownData
    view: Callable[[Array, Array], Array]
    beta_range: tuple[float, float] | None = None
    batch_size: int = 0
    programs: Programs = dataclasses.field(default_factory=Programs)

    def __post_init__(self):
        if not self.batch_size:
            size = int(np.prod(self.likelihood.theta_shape(self.x_event)))
            object.__setattr__(self, "batch_size", max(16, min(256, 200_000 // size)))

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.event))
        return f"TrainedVAE({self.data.name}, event {shape}, {self.latent_dim} latents, {self.config.likelihood})"

    @property
    def event(self) -> Event:
        """The shape of one example; ``(t,)`` of a sentence of at most t tokens."""
        return self.data.event

    @property
    def own_key(self) -> Array:
        """The key of the run's own evaluation."""
        return purpose_key(jax.random.key(self.config.seed), TEST)

    @property
    def x_event(self) -> Event:
        """The shape of one x: of a sentence its targets and what the decoder reads."""
        return (2, *self.event) if self.data.words else self.event

    @property
    def latent_dim(self) -> int:
        """How many latents there are, d."""
        return self.config.code_dim

    @property
    def active(self) -> np.ndarray | None:
        """Which latents carry more than 0.01 nats on the test split, bool ``[d]``; None before there are results."""
        results = self.results or {}
        nats = results.get("kl_per_latent") or results.get("information_per_latent")
        return None if nats is None else np.asarray(nats, float) > CARRIES

    @property
    def sigma(self) -> float | None:
        """The standard deviation of p(x|z), of [0, 1] pixels or in the columns' units; None where it is no number."""
        if self.likelihood.sigma is not None:
            return float(self.likelihood.sigma(self.params["likelihood"]))
        return (self.results or {}).get("sigma")

    def at(self, beta: float) -> TrainedVAE:
        """Returns a network for all beta (``--beta_range``) as the model at ``beta``.

        Raises:
          UserError: it was trained at one beta, or not at this one.
        """
        if self.beta_range is None:
            raise UserError(f"at({beta}): this model was trained at one beta; --beta_range trains one for all of them")
        low, high = self.beta_range
        if not (isinstance(beta, int | float | np.number) and low <= beta <= high):
            raise UserError(f"at({beta}): the model was trained for beta from {low:g} to {high:g}")
        # The results are those of the beta at which the run was read.
        return dataclasses.replace(self, params=at_beta(self.params, beta), results=None)

    def encode(self, x, sample: bool = False, key: Array | None = None, first: int = 0, c=None):
        """Encodes examples: mean and standard deviation of q(z|x), ``[n, d]`` each; or one draw of it.

        Args:
          x: examples.
          sample: return ``z [n, d]`` drawn from q(z|x) in place of its mean and standard deviation; needs a ``key``.
          key: of the draw, and of the noise of ``--pixels=sampled`` and ``dequantised``.
          first: the index of ``x[0]``, where a long input comes in parts.
        """
        raw = self.read(x, c=c).raw
        if not sample:
            return self._each("encode", self.posterior, [raw], key, first)
        self._need_key("encode(sample=True)", key)
        return self._each("draw", self._draw, [raw], key, first)

    def decode(self, z, c=None):
        """Decodes codes ``[n, d]``: E[x|z], ``[n, *event]``; of a text the most probable sentences, word by word."""
        z = examples.codes(z, self.latent_dim)
        return self._decoded(z, c=conditions.read(self.data.condition, c, len(z), "decode"))

    def sample(self, n: int, key: Array, temperature: float = 1.0, noise: bool = False, c=None):
        """Samples the model: ``[n, *event]``, n sentences of a text.

        Args:
          n: how many.
          key: consumed.
          temperature: of the prior, z ~ N(0, temperature^2); below 1 for more usual examples. Of N(0, I) only.
          noise: draw x from p(x|z), words too, in place of E[x|z].
        """
        examples.check_whole("sample(n)", n)
        prior = priors.of(self.vae)
        check_temperature(temperature, None if prior.standard else self.config.prior)
        self._need_key("sample", key)
        c = conditions.read(self.data.condition, c, n, "sample")
        z = self._each("prior", drawn_code(prior, self.latent_dim), [beside(np.zeros((n, 0)), c)], key)
        return self._decoded(np.float32(temperature) * z, key if noise else None, c)

    def reconstruct(self, x, key: Array | None = None, c=None):
        """Reconstructs examples: E[x|z] at the posterior mean, in the form of ``x``."""
        given = self.read(x, c=c)
        made = self._decoded(self._means(given, key), None, condition_of(given.raw))
        return made if self.data.words else given.back(made)

    def interpolate(self, a, b, steps: int = 8, kind: str = "linear", c=None):
        """Goes from the code of ``a`` to that of ``b``: E[x|z] ``[n, steps, *event]``, both ends among the steps.

        Args:
          a, b: as many examples of each, or one of each without an axis for n; then n is left out of the result, too.
          steps: at least 2.
          kind: "linear" in z, or "spherical": along the great circle, which keeps to the usual lengths of codes.
        """
        examples.check_whole("interpolate(steps)", steps, 2)
        if kind not in KINDS:
            raise UserError(f"interpolate(kind={kind!r}): expected one of {', '.join(KINDS)}")
        ends = [self.read(value, name, one=True, c=c) for value, name in ((a, "a"), (b, "b"))]
        if len(ends[0].raw) != len(ends[1].raw):
            raise UserError(f"interpolate: {len(ends[0].raw)} examples in a and {len(ends[1].raw)} in b")
        share = np.linspace(0.0, 1.0, steps, dtype=np.float32)[:, None]
        z = between(*(self._means(end)[:, None] for end in ends), share, kind)
        return self._decoded(z[0] if ends[0].single else z, None, condition_of(ends[0].raw))

    def traverse(self, x, latent: int, values, c=None):
        """Moves one latent of the code of ``x``: E[x|z] ``[n, len(values), *event]``, the others at their means.

        Args:
          x: examples, or one without an axis for n; then n is left out of the result, too.
          latent: which, from 0.
          values: where to, ``[v]``.
        """
        examples.check_whole("traverse(latent)", latent, 0, self.latent_dim - 1)
        values = np.asarray(values)
        if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            raise UserError("traverse(values): expected a list of finite numbers")
        given = self.read(x, one=True, c=c)
        z = np.repeat(self._means(given)[:, None], len(values), axis=1)
        z[..., latent] = values
        return self._decoded(z[0] if given.single else z, None, condition_of(given.raw))

    def log_prob(self, x, num_samples: int = 64, key: Array | None = None, c=None) -> np.ndarray:
        """Estimates log p(x) from below, ``[n]`` nats: the importance-weighted bound (Burda 2016, 1509.00519, eq. 8).

        Of x in the model's units ([0, 1] pixels). Memory does not grow with ``num_samples``.
        """
        examples.check_whole("log_prob(num_samples)", num_samples, 1)
        return -self._scores(x, key, int(num_samples), c=c).iw_nll

    def elbo(self, x, key: Array | None = None, c=None) -> np.ndarray:
        """Computes the bound of each example at beta = 1, ``[n]`` nats, with one draw of z."""
        scores = self._scores(x, key, c=c)
        return -(scores.rate + scores.distortion)

    def rate(self, x, key: Array | None = None, c=None) -> np.ndarray:
        """Computes KL(q(z|x) || p(z)) of each latent, ``[n, d]`` nats; ``[n, 1]`` where only their sum is known."""
        return self._scores(x, key, c=c).kl

    def anomaly_score(self, x, key: Array | None = None, c=None) -> np.ndarray:
        """Computes -ELBO of each example, ``[n]`` nats: larger for what the model knows less; of values of any size."""
        scores = self._scores(x, key, ranged=False, c=c)
        score = scores.rate + scores.distortion
        return np.where(np.isnan(score), np.inf, score)  # so far out that float32 has no number for it

    def read(self, x, name: str = "x", one: bool = False, ranged: bool = True, c=None) -> examples.Given:
        """Reads examples as the methods do; raises a ``UserError`` that says what was expected."""
        missing = self.config.missing is not None
        given = examples.read(self.data, self.likelihood.support, value_of(x), name, one, ranged, missing)
        c = conditions.read(self.data.condition, c, len(given.raw), name, condition_of(x))
        return given._replace(raw=beside(given.raw, c))

    def _x(self, key, row, raw):
        """Computes x of one raw example."""
        return self.view(_folded(key, PIXELS, row), raw)

    def posterior(self, params, key, row, raw):
        """Computes mean and standard deviation of q(z|x) of one raw example, ``[d]`` each."""
        q = self.vae.encode(params["model"], self._x(key, row, raw))
        return q.mean, jnp.exp(0.5 * q.logvar)

    def _draw(self, params, key, row, raw):
        return draw_codes(self.vae, params, self._x(key, row, raw), _folded(key, LATENT, row))[1][0]

    def _means(self, given: examples.Given, key=None) -> np.ndarray:
        return self._each("encode", self.posterior, [given.raw], key)[0]

    def _scores(self, x, key, iw_samples: int = 0, ranged: bool = True, c=None):
        def measure(params, key, row, raw):
            own = _folded(key, LATENT, row)
            return score_example(self.vae, self.likelihood, params, self._x(key, row, raw), own, iw_samples)

        return self._each(f"scores {iw_samples}", measure, [self.read(x, ranged=ranged, c=c).raw], key)

    def _decoded(self, z: np.ndarray, key: Array | None = None, c: np.ndarray | None = None):
        """Decodes ``z [..., d]`` (c of the first axis) to ``[..., *event]``, with the noise of ``key`` if any."""
        name, function = ("decode", self.mean) if key is None else ("noise", self._noise)
        codes = z.reshape(-1, self.latent_dim)
        c = None if c is None else np.repeat(c, len(codes) // max(len(c), 1), axis=0)
        made = self._each(name, function, [beside(codes, c)], key)
        if self.data.words:
            return examples.nested(examples.sentences_of(self.data, made), z.shape[:-1])
        if self.data.table is not None:
            made = self.data.table.to_own(made)  # in float64: an offset would take the digits of less
        return made.reshape(*z.shape[:-1], *made.shape[1:])

    def mean(self, params, key, row, z):
        """Computes E[x|z] of one code ``z [d]`` in the data's own units; of a text the token ids of a sentence."""
        if self.data.words:
            return self._write(params, z, None)
        theta = at_least_float32(self.vae.decode(params["model"], z))
        return self._units(self.likelihood.mean(params["likelihood"], theta))

    def _noise(self, params, key, row, z):
        key = _folded(key, LATENT, row)
        if self.data.words:
            return self._write(params, z, key)
        theta = at_least_float32(self.vae.decode(params["model"], z))
        return self._units(self.likelihood.sample(params["likelihood"], theta, key)).astype(jnp.float32)

    def _write(self, params, z, key):
        from vae_jax.models.autoregressive import generate

        return generate(params["model"], z, key, self.event[0])

    def _units(self, x):
        return examples.own_units(self.config.pixels, self.data.levels)(x)

    def _each(self, name: str, function: Callable, arrays, key=None, first: int = 0):
        """Maps ``function(params, key, row, *example)`` over the first axis of ``arrays``."""
        key = self.own_key if key is None else checked_key(key)
        return self.programs.run(name, function, self.params, arrays, key, first, self.batch_size)

    def _need_key(self, what: str, key) -> None:
        if key is None:
            raise UserError(f"{what} draws: give a key, such as key=jax.random.key(0)")
        checked_key(key)


def _folded(key, purpose: int, row):
    return example_keys(purpose_key(key, purpose), row[None])[0]
