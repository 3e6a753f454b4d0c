"""From the settings to the model: encoder, decoder, prior and posterior."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

import jax
import numpy as np

from vae_jax.data.conditions import width
from vae_jax.models import conditional, mixed
from vae_jax.posteriors import closed_form, with_latents
from vae_jax.randomness import PRIOR, example_keys
from vae_jax.runs import table_columns
from vae_jax.runs.names import CONDITIONED, HIERARCHIES
from vae_jax.runs.settled import Settings
from vae_jax.types import VAE, Event, Likelihood, Posterior, Prior, TrainState, UserError


def _check_takes(make: Callable, name: str, given: tuple, told: dict) -> None:
    """Refuses a model, of a plugin, whose function does not take what it is called with."""
    takes = inspect.signature(make)
    try:
        takes.bind(*given, **told)
    except TypeError:
        raise UserError(
            f"--model={name} is called with event, theta_shape, latent_dim, hidden, beta_range, batched_kernels, and "
            f"takes {takes}; end them with *_ to leave out the last"
        ) from None


def make_vae(
    s: Settings, theta_shape: Event, batched_kernels: bool = False, dtype: str | None = None, soft: bool = False
) -> VAE:
    """Makes the encoder and decoder, and what their latents are.

    Args:
      s: the settings.
      theta_shape: of the likelihood.
      batched_kernels: whether many models will be computed side by side; the parameters are the same.
      dtype: what the networks are computed in; None for float32.
      soft: whether discrete latents may be soft, as in training; every measure is of one-hot ones.
    """
    own = {"recurrent": (s.cell, s.embedding), "resnet": (s.remat, s.latent_map)}.get(s.model, ())
    told = {}
    if s.model in HIERARCHIES:
        own, told = (s.latent_layers,), {"condition": width(s.condition)}

    def networks(latent_dim: int) -> VAE:
        def plain(event: Event, theta_shape: Event, latent_dim: int) -> VAE:
            rest = (theta_shape, latent_dim, s.hidden, s.beta_range, batched_kernels)
            make = s.names.models[s.model]
            _check_takes(make, s.model, (event, *rest, *own), told)
            return make(event, *rest, *own, **told)

        def of_event(event: Event) -> VAE:
            if s.condition is None or s.model in HIERARCHIES:
                return plain(event, theta_shape, latent_dim)
            way = CONDITIONED.get(s.model, conditional.by_event)
            return way(plain, event, theta_shape, latent_dim, width(s.condition))

        vae = table_columns.with_features(s, of_event)
        return vae if dtype is None else mixed(vae, dtype)

    vae = networks(s.code_dim)
    if vae.layers:
        return vae
    s = s if soft else dataclasses.replace(s, gumbel_temperature=None)
    prior, posterior = s.names.priors[s.prior](s, vae), s.names.posteriors[s.posterior](s, vae)
    prior = _together(s, prior, posterior)
    if prior.standard and posterior.diagonal:
        return vae
    wanted = -(-posterior.numbers(s.code_dim) // 2)
    encoder = None if wanted == s.code_dim else networks(wanted)
    vae = with_latents(vae, prior, posterior, s.code_dim, encoder, s.kl_balance)
    return prior_alone(vae) if s.prior_stage == "after" else vae


def prior_alone(vae: VAE) -> VAE:
    """Returns a model of which only the prior learns: nothing else has a gradient, and so Adam leaves it as it is."""

    def fixed(params):
        return {name: value if name == "prior" else jax.lax.stop_gradient(value) for name, value in params.items()}

    def of_fixed(function):
        return None if function is None else lambda params, *rest: function(fixed(params), *rest)

    changed = ("encode", "decode", "decode_given", "latents", "log_q")
    return vae._replace(**{name: of_fixed(getattr(vae, name)) for name in changed})


def held_fixed(s: Settings, likelihood: Likelihood) -> Likelihood:
    """Returns the likelihood; where the prior is learned alone one that is neither trained, solved for nor rescaled."""
    return likelihood._replace(frozen=True, refit=None, rescale=None) if s.prior_stage == "after" else likelihood


def rate_is_one_number(s: Settings, vae: VAE) -> bool:
    """Returns whether the rate is known of all latents together only, as a mean over samples."""
    if vae.latents is None or vae.layers:
        return False
    prior, posterior = s.names.priors[s.prior](s, vae), s.names.posteriors[s.posterior](s, vae)
    return not closed_form(_together(s, prior, posterior), posterior)


def _together(s: Settings, prior: Prior, posterior: Posterior) -> Prior:
    """Returns the prior of these two, which is the posterior's own where none was asked for.

    Raises:
      UserError: they do not go together, or not with one network for all beta.
    """
    if s.beta_range is not None and not (prior.standard and posterior.diagonal):
        raise UserError(
            f"--beta_range sets mean and scale of a diagonal Gaussian at each beta, against N(0, I), not "
            f"--prior={s.prior} --posterior={s.posterior}; use --prior=standard_normal --posterior=gaussian"
        )
    own = posterior.prior
    if prior.standard:
        return own or prior
    if prior.discrete and (own is None or not own.discrete):
        raise UserError(f"--prior={s.prior} is of discrete latents: use it with --posterior=categorical, or another")
    if own is not None and not (own.discrete and prior.discrete):
        other = ", or use --prior=categorical, which is learned" if own.discrete else ""
        raise UserError(f"--posterior={s.posterior} brings its own prior: drop --prior={s.prior}{other}")
    return prior


def with_first_prior(vae: VAE, state: TrainState, rows, view) -> TrainState:
    """Returns the first state in which the prior's parameters are made of training examples, where it asks for some.

    Args:
      vae, state: the model, and the state before the first update.
      rows: the training split; evenly spaced ones of it are taken, as splits may be sorted by class.
      view: ``(key, raw[event]) -> x[event]``.
    """
    if vae.prior is None or vae.prior.from_data is None:
        return state
    count, from_data = vae.prior.from_data
    taken = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)
    model = state.params["model"]

    @jax.jit
    def first(own, raw):
        return from_data(own, jax.vmap(view)(example_keys(jax.random.key(PRIOR), taken), raw))

    model = {**model, "prior": first(model["prior"], np.asarray(rows[taken]))}
    return state._replace(params={**state.params, "model": model})
