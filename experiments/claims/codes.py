"""Two checks on a bound that nobody can argue with: the exact log p(x) between two bounds, and bytes on a scale."""

from __future__ import annotations

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from vae_jax.evaluation.annealed import simulate

from . import bed
from .ledger import Measured, Settings, claim_of
from .runs import need


def annealing_brackets_the_exact(settings: Settings, likelihood=bed.FIXED, plan=(32, 1000)) -> Measured:
    """Annealed chains hold the exact log-likelihood of probabilistic PCA between their two bounds.

    Six latents, 40 examples that the model made, 32 chains of 1,000 temperatures. Expected: the larger distance of the
    two bounds from log N(x; 0, WW' + sigma^2 I), and their distance from each other, are 0 nats. Five seconds.

    Source: Neal 2001; Grosse 2015, 1511.02543; Tipping and Bishop 1999
    Tolerance: the error of a mean of 40 logarithms of means of 32 weights is .03 nats
    """
    from vae_jax.runs.annealing import Plan, annealed

    sigma2, key = 0.4, jax.random.key(1)
    w = bed.basis()[:, : bed.LATENTS] * np.sqrt(np.maximum(bed.EIGENVALUES[: bed.LATENTS] - sigma2, 0))
    own = {"log_sigma": jnp.asarray(0.5 * math.log(sigma2))}
    params = {"model": {"w": jnp.asarray(w)}, "likelihood": own}
    x = np.asarray(simulate(bed.LINEAR, bed.FIXED, params, key, jax.random.normal(key, (40, bed.LATENTS))))
    run = SimpleNamespace(
        vae=bed.LINEAR, likelihood=likelihood, key=key, config=SimpleNamespace(latent_dim=bed.LATENTS)
    )
    found = annealed(run, params, x, Plan(*plan))
    exact = float(bed.bed_log_likelihood(params, x).mean())
    below, gap = found["log_px"], found["simulated"]["gap"]
    detail = f"exact {exact:.4f}, below {below:.4f}; on data of the model the two bounds are {gap:.4f} apart"
    return Measured(max(abs(below - exact), abs(gap)), detail=detail)


def bytes_weigh_the_bound(settings: Settings) -> Measured:
    """A file of 1,000 digits has as many bits as the negative ELBO says, and gives back every one.

    MNIST, black and white with a Bernoulli and grey with discretised logistics, 1,500 steps each. Expected: the larger
    share of bits beyond the ELBO, after the initial bits, is at most 1%; a digit that comes back otherwise counts as 1.
    Five minutes.

    Source: Townsend 2019, 1901.04866
    Tolerance: one draw of z an example: the ELBO of 1,000 is known to half a percent
    """
    from vae_jax.trained.compression import command
    from vae_jax.trained.compression.networks import networks
    from vae_jax.trained.loading import load

    from ..papers.arms import AS_PUBLISHED, train_one

    dataset, worst, details = need("mnist", settings), 0.0, []
    kinds = {"binary": {"likelihood": "bernoulli", "pixels": "binary"}, "grey": {"likelihood": "discretized_logistic"}}
    for name, flags in kinds.items():
        folder = settings.folder / "bytes" / name
        shared = {"dataset": dataset, "data_dir": settings.data_dir, "hidden": "256,256", "num_steps": 1500}
        train_one(folder, AS_PUBLISHED | shared | flags | {"iw_samples": 8})
        model = load(folder, data_dir=settings.data_dir)
        given, net = folder / "given.npz", networks(model)
        digits = _digits(dataset, settings)
        np.savez(given, x=digits)
        sizes = command.compress(model, net, str(given), str(folder / "digits.bits"))
        command.decompress(model, net, str(folder / "digits.bits"), str(folder / "back.npz"))
        back = np.load(folder / "back.npz")["x"]
        wrong = np.sum(back != (digits > 127 if name == "binary" else digits))
        worst = max(worst, sizes["overhead"], float(wrong > 0))
        others = ", ".join(f"{other} {size:,}" for other, size in sizes["others"].items())
        details.append(f"{name}: {sizes['bytes']:,} bytes ({others}), {100 * sizes['overhead']:.2f}%, {wrong} wrong")
    return Measured(worst, detail="; ".join(details))


def _digits(dataset: str, settings: Settings) -> np.ndarray:
    from vae_jax import data

    return data.load(dataset, data.Reading(settings.data_dir, validation=0.0)).test[:1000]


CLAIMS = [
    claim_of(annealing_brackets_the_exact, "exact", 0.0, tolerance=0.05, seconds=10.0),
    claim_of(bytes_weigh_the_bound, "statistical", 0.01, relation="<=", tolerance=0.0, seconds=300.0),
]
