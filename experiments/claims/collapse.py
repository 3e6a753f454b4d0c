"""The collapse that the linear theory predicts, in a deep network on MNIST: minutes for three seeds each."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from vae_jax.theory.dynamics import LinearRun, simulate

from .images import flags_of, near
from .ledger import Measured, Settings, claim_of
from .runs import Rows, kept, of, spread_of, sweep_rows

_SEED = {"seed": 0}
_SHARES = (0.9, 1.05)  # of the largest eigenvalue of the data: the water levels of one sweep


def _root(s: float, dim: int) -> float:
    return math.sqrt(s)


def _collapse(
    settings: Settings, share: float, sigma_of: Callable[[float, int], float]
) -> tuple[np.ndarray, LinearRun]:
    """The rates, one a seed, at a water level of ``share`` times the largest eigenvalue, and the linear model.

    The linear model has the same updates, from close to the collapsed saddle (``theory/dynamics.py``).
    """
    from vae_jax.runs.build import material
    from vae_jax.runs.settings import Config
    from vae_jax.runs.waking_forecast import linear_run

    from ..papers.arms import AS_PUBLISHED

    small = {"latent_dim": 50, "hidden": "512,512", "num_steps": 2000, "iw_samples": 8}
    flags = flags_of(settings, small, {"num_steps": 50_000})
    spectrum = material(Config(dataset=flags["dataset"], data_dir=settings.data_dir, **AS_PUBLISHED)).spectrum
    sigmas = {of_it: f"{sigma_of(of_it * float(spectrum[0]), len(spectrum)):.9g}" for of_it in _SHARES}
    rows = sweep_rows(settings, "lucas2019", flags | {"precision": "fixed", "sigma": ",".join(sigmas.values())})
    shared = {name: flags[name] for name in ("dataset", "latent_dim", "num_steps")}
    run = linear_run(Config(**shared, precision="fixed", sigma=float(sigmas[share])), spectrum)
    return of([row for row in rows if near(row["asked"]["sigma"], float(sigmas[share]))], "rate"), run


def deep_collapse_above_the_threshold(settings: Settings, sigma_of: Callable[[float, int], float] = _root) -> Measured:
    """A deep network collapses above the largest eigenvalue of the data, as the linear theory predicts.

    At 1.05 times that eigenvalue.

    The paper shows the theory for linear VAEs and the same behaviour in deep ones. Here MNIST, grey, 50 latents,
    512-512, a fixed sigma and beta = 1. ``sigma_of`` makes the decoder's sigma of a water level and the dimensions.

    Measured: the largest rate over the seeds. 3 minutes, with those of the next claim.

    Source: Lucas 2019, 1911.02469; Li 2025, 2510.01621
    Tolerance: the noise of sampled training: .0005 nats were seen
    """
    rates, _ = _collapse(settings, 1.05, sigma_of)
    return Measured(float(rates.max()), spread_of(rates), f"rates {', '.join(f'{r:.2g}' for r in rates)} nats")


def deep_code_just_below_the_threshold_sleeps_as_foretold(
    settings: Settings, sigma_of: Callable[[float, int], float] = _root
) -> Measured:
    """Just below the largest eigenvalue the code of a deep network still sleeps at the end of a short run, as foretold.

    At 0.9 times that eigenvalue, where a linear VAE ends with .0527 nats. But growth from the collapsed saddle vanishes
    at the threshold: begun close to it, the linear model has .0008 nats after the same 2,000 updates of Adam, so the
    run is too short. Measured: the larger of that and of the largest rate over the seeds. (Of a run of 10,000 steps,
    one seed, the network was asleep as well.)

    Source: Lucas 2019, 1911.02469; the time is derived here
    Tolerance: awake is half of what a linear VAE ends with
    """
    rates, run = _collapse(settings, 0.9, sigma_of)
    told = float(simulate(run, 1.0, records=1).rates[-1].sum())
    detail = f"rates {', '.join(f'{r:.2g}' for r in rates)} nats; foretold {told:.2g}"
    return Measured(max(float(rates.max()), told), spread_of(rates), detail)


def deep_codes_wake_when_foretold(settings: Settings, counted: Callable[[Rows], Rows] = list) -> Measured:
    """Without a ramp the code of a deep network wakes within a factor of two of the step that the linear theory says.

    Digits, 128-128, 10 latents, 1,500 updates, at .35, .5 and .7 of the largest eigenvalue: at lower levels its first
    random code never falls asleep, and is earlier. Measured: the largest of the base-2 logarithms of the ratios.
    ``counted`` makes of the rows those that are read.

    Source: derived here, from Saxe 2013, 1312.6120, and Lucas 2019, 1911.02469
    Tolerance: a network bends, and its layers grow together
    """
    from ..papers.warmup_deep import bed_rows

    def make(root):  # below a folder of its own: a run in the ledger's would be taken for one of a sweep's
        return bed_rows("digits mlp", root / "sweep", _SEED)

    rows = kept(settings, "warmup_deep", {"bed": "digits mlp", "seed": 0}, make)
    rows = counted([row for row in rows if row["ramp"] == 0 and any(near(row["share"], v) for v in (0.35, 0.5, 0.7))])
    pairs = [(row["foretold"] or math.inf, row["observed"] or math.inf) for row in rows]
    off = max(abs(math.log2(seen / told)) if math.isfinite(seen) else math.inf for told, seen in pairs)
    return Measured(off, detail="; ".join(f"foretold {told:.0f}, observed {seen:.0f}" for told, seen in pairs))


CLAIMS = [
    claim_of(deep_collapse_above_the_threshold, "statistical", 0.0, relation="<=", tolerance=0.002, seconds=180.0),
    claim_of(
        *(deep_code_just_below_the_threshold_sleeps_as_foretold, "statistical", 0.0),
        **{"relation": "<=", "tolerance": 0.0263, "seconds": 10.0},
    ),
    claim_of(deep_codes_wake_when_foretold, "statistical", 0.0, relation="<=", tolerance=1.0, seconds=120.0),
]
