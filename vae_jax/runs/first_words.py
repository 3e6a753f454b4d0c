"""The first words of a run: what is really weighed and what to expect."""

from __future__ import annotations

import math

from vae_jax import priors
from vae_jax.runs.build import Run
from vae_jax.runs.networks import rate_is_one_number
from vae_jax.theory.forecast import headline


def start_line(r: Run) -> str:
    """Returns the line that says, before training, what is really weighed and what to expect."""
    c, w = r.config, r.choice
    if r.is_text:
        dropped = f", {100 * c.word_dropout:g}% of the words not read in training" if c.word_dropout else ""
        return (
            f"sentences of up to {r.dataset.event[0]} tokens of {r.dataset.levels} kinds, M = {c.latent_dim}: "
            f"{w.headline} on nats summed over the words of a sentence, its end included{dropped}"
        )
    if c.posterior == "categorical":
        return (
            f"D = {r.data_dim}, {c.latent_dim} groups of {c.latent_classes} classes, a rate of at most "
            f"{c.latent_dim * math.log(c.latent_classes):.3g} nats: {w.headline}"
        )
    gaussian = (c.precision, c.sigma, c.min_sigma) if c.likelihood == "gaussian" else ()
    line = headline(r.spectrum, (*c.latent_layers, c.latent_dim)[0], w.headline, w.beta, c.likelihood, *gaussian)
    if c.latent_layers:
        sizes, weights = ", ".join(map(str, c.latent_layers)), ""
        if c.layer_betas:
            weights = f", their rates weighed {', '.join(f'{factor:g}' for factor in c.layer_betas)} times that"
        line += (
            f"; {len(c.latent_layers)} layers of {sizes} latents, the first next to x{weights}; the theory is that of "
            "the first layer, which a linear hierarchy cannot better"
        )
    scaled = c.table is not None and c.table.is_scaled
    return f"{line}; all of it on standardised values, every result in the data's own units" if scaled else line


def latents_in_words(r: Run) -> list[str]:
    """Returns what the latents of a run are and what that means for the forecast; nothing of the standard pair."""
    c, prior = r.config, priors.of(r.vae)
    if r.vae.latents is None or c.posterior == "categorical":
        return []
    what = [] if prior.standard else [f"p(z) is a {c.prior} that is learned"]
    what += [] if r.vae.diagonal else [f"q(z|x) is {c.posterior}"]
    sampled = r.vae.layers or rate_is_one_number(c, r.vae)
    rate = "; the rate is the mean of log q(z|x) - log p(z) over the samples" if sampled else ""
    theory = "" if r.forecast is None else "; what the linear theory foretells is of N(0, I) and a diagonal Gaussian"
    return [f"latents: {' and '.join(what)}{rate}{theory}"] if what else []
