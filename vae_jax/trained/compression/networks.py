"""The networks of a model in double precision, and how they code an example given z: the same steps both ways.

``Networks.walk`` is written once for writer and reader. It asks ``code`` for the symbols of each table, in the order in
which the reader learns them: the writer's ``code`` is told them, the reader's takes them from the bits. Whatever a
later table depends on is known to both by then, by the same program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax import priors
from vae_jax.gaussian import at_least_float32
from vae_jax.likelihoods.tokens import BOS, EOS, PAD
from vae_jax.trained.compression.tables import Rounding, weights
from vae_jax.trained.compression.values import LARGEST, MISSING, Kinds, kinds_of, missing_rates, to_x
from vae_jax.trained.compression.windows import CELLS, Windows, windows
from vae_jax.trained.model import TrainedVAE
from vae_jax.types import UserError

AT_ONCE = 8  # examples a call of the networks; the first so many wait for bits to be spent
HALF = 2**12  # LARGEST is its square: what a coder takes as one uniform number


class Code(Protocol):
    """Writes symbols or reads them; both return them, ``[m]``. A reader is given None for the symbols."""

    def table(self, symbols: np.ndarray | None, p: np.ndarray) -> np.ndarray:
        """Codes symbols by their probabilities ``p [m, k]``."""

    def uniform(self, symbols: np.ndarray | None, sizes: np.ndarray) -> np.ndarray:
        """Codes symbols below ``sizes [m]``, all equally probable."""


class Networks(NamedTuple):
    """A model in double precision, at most ``AT_ONCE`` examples a call.

    Attributes:
      kinds: what an example is made of.
      latents: d.
      posterior: ``values [b, D] -> (mean, log tau) [b, d]``.
      prior: log weights ``[k]``, means and log deviations ``[k, d]`` of the Gaussians that p(z) mixes.
      walk: ``(z [b, d], values [b, D] or None, code, call, rounding) -> values``: codes examples given z.
    """

    kinds: Kinds
    latents: int
    posterior: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    prior: tuple[np.ndarray, np.ndarray, np.ndarray]
    walk: Callable[[np.ndarray, np.ndarray | None, Code, str, Rounding], np.ndarray]


def networks(model: TrainedVAE, rows: int = AT_ONCE, options: dict[str, Any] | None = None) -> Networks:
    """Returns the networks of a model whose data are discrete.

    Args:
      model: the model.
      rows: of a call, at least ``AT_ONCE``; the others are padding.
      options: of the compiler. Neither changes what is written.

    Raises:
      UserError: a dimension is a density, or its probabilities cannot be had one after another.
    """
    kinds = kinds_of(model)
    many = _Many(jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model.params), rows, options)

    def encode(params, x):
        q = model.vae.encode(params["model"], x)
        return q.mean, 0.5 * q.logvar

    of_x = many.program(encode)

    def posterior(values):
        mean, log_tau = of_x(to_x(model, kinds, values))
        if not (np.isfinite(mean).all() and np.isfinite(log_tau).all()):
            raise UserError("--input: the encoder gives no numbers for an example; was a value missing in training?")
        return mean, log_tau

    walk = _sentences(model, many) if kinds.is_text else _parts(model, kinds, many)
    return Networks(kinds, model.latent_dim, posterior, many.once(_prior(model)), walk)


def _prior(model: TrainedVAE) -> Callable:
    """Makes ``params -> `` the mixture that p(z) is.

    Raises:
      UserError: it is none, or q(z|x) is no diagonal Gaussian.
    """
    vae, c = model.vae, model.config
    if vae.layers or (vae.latents is not None and c.posterior != "gaussian"):
        what = f"--model={c.model}: it has layers of latents" if vae.layers else f"--posterior={c.posterior}"
        raise UserError(f"--workdir: {what}; codes are written by a diagonal Gaussian q(z|x) only")
    prior = priors.of(vae)
    if not prior.standard and prior.mixture is None:
        raise UserError(f"--workdir: --prior={c.prior} is neither a Gaussian nor a mixture of such, as codes need")

    def parts(params):
        if prior.standard:
            return jnp.zeros(1), *jnp.zeros((2, 1, model.latent_dim))
        log_weight, each = prior.mixture(params["model"], None)
        return jax.nn.log_softmax(log_weight), each.mean, 0.5 * each.logvar

    return parts


class _Many:
    """Compiles functions ``(params, *of one example)`` for many examples, in double precision on the CPU."""

    def __init__(self, params: Any, rows: int, options: dict[str, Any] | None):
        self._params, self._rows, self._options = params, rows, options

    def once(self, function: Callable) -> Any:
        """Returns ``function`` of the parameters."""
        with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
            return jax.device_get(jax.jit(function, compiler_options=self._options)(self._params))

    def program(self, function: Callable, arguments: int = 1) -> Callable:
        """Returns ``function`` of ``arguments`` arrays, or trees of such, ``[b, ...]``."""
        compiled = jax.jit(jax.vmap(function, (None, *(0,) * arguments)), compiler_options=self._options)

        def pad(part):
            part = np.asarray(part)
            return np.concatenate([part, np.zeros((self._rows - len(part), *part.shape[1:]), part.dtype)])

        def run(*given):
            n = len(jax.tree.leaves(given)[0])
            with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
                out = jax.device_get(compiled(self._params, *jax.tree.map(pad, given)))
            return jax.tree.map(lambda leaf: leaf[:n], out)

        return run


def _parts(model: TrainedVAE, kinds: Kinds, many: _Many) -> Callable:
    """Makes the walk of dimensions that are independent given z, or of which each channel depends on those before."""
    likelihood, event, number = model.likelihood, model.x_event, kinds.number
    each = likelihood.conditionals or likelihood.terms
    if each is None or model.vae.decode_given is not None:
        raise UserError("--workdir: the dimensions of this family depend on each other; no table holds them")
    # The channels of a pixel one after the other, where they depend on each other; else all at once.
    channels = event[-1] if likelihood.conditionals is not None and len(event) == 3 else 1
    channel = np.arange(len(kinds.counts)) % channels
    symbols = np.where(number, CELLS + 1, kinds.counts)
    levels = np.pad(kinds.levels, ((0, symbols.max() - len(kinds.levels)), (0, 0)), mode="edge")

    def theta_of(params, z):
        return at_least_float32(model.vae.decode(params["model"], z))

    def log_probs(params, z, before, middles, log_widths):  # -> [D, k] of each symbol of each dimension
        theta = theta_of(params, z)

        def at(level, middle, log_width):
            x = jnp.where(jnp.isnan(before), level.at[number].set(middle), before)
            log_p = each(params["likelihood"], theta, x.reshape(event)).reshape(-1)
            return log_p.at[number].add(log_width)

        return jax.vmap(at, out_axes=-1)(jnp.asarray(levels), middles, log_widths)

    def moments(params, z):
        theta = theta_of(params, z)
        return [f(params["likelihood"], theta)[number] for f in (likelihood.mean, likelihood.variance)]

    of_z, of_counts = many.program(log_probs, 4), many.program(moments)

    def walk(z, given, code, call, rounding):
        values = np.where(_missing(model, given, (len(z), len(channel)), code), MISSING, 0)
        mean, variance = of_counts(z) if number.any() else np.zeros((2, len(z), 0))
        window = windows(mean, variance, call, rounding)
        wanted = None
        if given is not None:
            wanted = np.array(given)
            wanted[:, number] = window.place(given[:, number])
        for i in range(channels):
            # Nothing that is not before this stage, or the two ways would not compute the same.
            before = np.where(channel < i, to_x(model, kinds, values).reshape(values.shape), np.nan)
            log_p = of_z(z, before, *window.points(len(levels)))
            here, there = channel == i, values != MISSING
            p = weights(log_p[:, here], symbols[here], f"{call} {i}", rounding)
            coded = there & here
            values[coded] = code.table(None if wanted is None else wanted[coded], p[there[:, here]])
        values[:, number] = _numbers(values[:, number], window, None if given is None else given[:, number], code)
        return values

    return walk


def _missing(model: TrainedVAE, given: np.ndarray | None, shape: tuple[int, int], code: Code) -> np.ndarray:
    """Codes which values are not there, ``[b, D]``, by how often that was so in training."""
    if model.config.missing is None:
        return np.zeros(shape, bool)
    gone = None if given is None else (given == MISSING).reshape(-1).astype(np.int64)
    p = np.broadcast_to(missing_rates(model), (shape[0], shape[1], 2)).reshape(-1, 2)
    return code.table(gone, p).reshape(shape) == 1


def _numbers(cell: np.ndarray, window: Windows, given: np.ndarray | None, code: Code) -> np.ndarray:
    """Codes which number of its cell each count is, ``[b, m]``; of one outside of all cells the number itself."""
    values, there, outside = np.array(cell), cell != MISSING, cell == CELLS
    in_cell = np.clip(cell, 0, CELLS - 1)[..., None]
    low, width = (np.take_along_axis(part, in_cell, axis=2)[..., 0] for part in window.cells())
    wide = there & ~outside & (width > 1)
    values[there] = low[there]
    values[wide] += code.uniform(None if given is None else (given - low)[wide], np.minimum(width[wide], LARGEST - 1))
    high, rest = (
        code.uniform(None if given is None else digit(given[outside], HALF), np.full(outside.sum(), HALF))
        for digit in (np.floor_divide, np.remainder)
    )
    values[outside] = HALF * high + rest
    return values


def _sentences(model: TrainedVAE, many: _Many) -> Callable:
    """Makes the walk of sentences: word by word, by a decoder that reads the words before."""
    from vae_jax.models.autoregressive import spell

    if model.config.model != "recurrent":
        raise UserError(f"--workdir: --model={model.config.model} cannot be asked for its words one after another")

    def begin(params, z):
        return spell(params["model"])[0](z)

    def step(params, z, state, token):
        state, logits = spell(params["model"])[1](z, state, token)
        return state, jax.nn.log_softmax(logits[EOS:])

    first, after, length = many.program(begin), many.program(step, 3), model.event[0]

    def walk(z, given, code, call, rounding):
        tokens = np.full((len(z), length), PAD, np.int64)
        state, last, going = first(z), np.full(len(z), BOS), np.ones(len(z), bool)
        for i in range(length):
            state, log_p = after(z, state, last)
            p = weights(log_p[going][:, None], np.array([log_p.shape[-1]]), f"{call} {i}", rounding)[:, 0]
            tokens[going, i] = EOS + code.table(None if given is None else given[going, i] - EOS, p)
            last = tokens[:, i]
            going = going & (last != EOS)
            if not going.any():
                break
        return tokens

    return walk
