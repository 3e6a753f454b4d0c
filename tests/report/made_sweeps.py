"""Made sweeps: runs near the linear theory, of every kind."""

from __future__ import annotations

import json
import math

import numpy as np

from vae_jax.linear_vae import learned_variance, predict
from vae_jax.report.sweep.grouping import arrange
from vae_jax.theory.prospects import calibrated, frontier

D, M = 784, 20
EIGENVALUES = 5.1 * np.arange(1, D + 1) ** -0.92
BETAS = [float(f"{b:.3g}") for b in np.geomspace(0.1, 100, 13)]


def row(beta=1.0, seed=0, asked=None, gaussian=True, latents=M, method="separate", **changes):
    """A run near the linear theory, with a little noise of its seed; ``changes`` are applied last."""
    rng = np.random.default_rng([seed, int(1e6 * beta), latents, method == "separate"])
    sigma2 = learned_variance(EIGENVALUES, beta, latents) if gaussian else 0.05
    p = predict(EIGENVALUES, beta, sigma2, latents)
    rate = 0.001 + 1.1 * p.rate * (1 + 0.01 * rng.normal())
    mse = 0.9 * p.distortion / D * (1 + 0.002 * rng.normal())
    train = 0.99 * mse
    distortion = 0.5 * D * (math.log(2 * math.pi * train) + mse / train) if gaussian else 60 + 1800 * mse
    asked = {"beta": beta, "seed": seed} if asked is None else asked
    flags = dict(dataset="mnist", pixels="dequantised", likelihood="gaussian" if gaussian else "bernoulli", seed=seed)
    flags |= dict(precision="learned", weighting="constant", model="mlp", hidden="256,256", learning_rate=1e-3)
    flags |= dict(num_steps=3000, batch_size=128, beta=beta, beta_norm=beta * latents / D, latent_dim=latents)
    bounds = dict(
        elbo=-(rate + distortion) - 0.5, rate=rate, distortion=distortion + 0.5, mse=mse, train={"mse": train}
    )
    noise = dict(calibrated_elbo=-(rate + distortion), sigma=math.sqrt(train), water_level=beta * train)
    noise |= dict(predicted_active=int(p.active))
    rest = dict(run="_".join(f"{k}={v}" for k, v in asked.items()), method=method, status="done", diverged_at=None)
    rest |= dict(asked=asked, step=3000, active_units=int(p.active), data_dim=D, lambda_max=float(EIGENVALUES[0]))
    rest |= dict(kl_per_latent=[0.0] * latents, disentanglement=None, seconds=12.0 + seed)
    rest |= dict(protocol="mnist, dequantised pixels, all 10000 test examples")
    return flags | bounds | (noise if gaussian else dict.fromkeys(noise)) | rest | changes


def lost(made, step=1200):
    """The same run as it is written when it diverged."""
    nulls = ("elbo", "rate", "distortion", "mse", "calibrated_elbo", "active_units", "sigma", "water_level", "train")
    return {**made, **dict.fromkeys(nulls), "status": "diverged", "diverged_at": step}


def grid(betas=BETAS, seeds=3, **changes):
    return [row(b, s, **changes) for b in betas for s in range(seeds)]


def theory(latents=M, precision="learned"):
    made = calibrated(EIGENVALUES, latents)
    return {
        "latent_dim": latents,
        "precision": precision,
        "frontier": frontier(EIGENVALUES, latents),
        "calibrated": made._asdict(),
        "collapse_beta": float(EIGENVALUES[0] * D / EIGENVALUES.sum()),
    }


def summary(rows, **changes):
    flags = {"dataset": "mnist", "pixels": "dequantised", "beta": BETAS, "seed": [0, 1, 2], "num_steps": 3000}
    made = dict(flags=flags, method="separate", dataset="mnist", data_dim=D, gaussian=True, swept=["beta", "seed"])
    made |= dict(reference=[theory()], seconds=725.0, training_seconds=600.0, runs=len(rows), programs=1)
    return made | dict(halving=None, notes=[]) | changes


def write(workdir, rows, summary=None, torn=False):
    workdir.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(r) + "\n" for r in rows)
    (workdir / "sweep.jsonl").write_text(text + ('{"run": "beta=1' if torn else ""))
    if summary is not None:
        (workdir / "sweep.json").write_text(json.dumps(summary))
    return workdir


def scores(beta):
    peak = math.exp(-(math.log(beta / 4) ** 2) / 4)
    values = 0.35 * peak, 0.5 + 0.45 * peak, 0.4 + 0.4 * peak, 0.6 * peak
    return dict(zip(("mig", "beta_vae", "factor_vae", "dci_disentanglement"), values))


def cases():
    """Every kind of sweep: name -> rows and summary."""
    base = grid()
    made = {"plain": (base, summary(base))}
    b = [row(x, s, gaussian=False) for x in np.geomspace(0.125, 32, 9) for s in range(3)]
    b = [{**r, "disentanglement": scores(r["beta"])} for r in b]
    made["bernoulli"] = (
        b,
        summary(b, gaussian=False, reference=[{**theory(), "calibrated": None, "collapse_beta": None}]),
    )
    two = [
        row(x, s, {"beta": x, "latent_dim": m, "seed": s}, latents=m) for m in (5, 20) for x in BETAS for s in (0, 1)
    ]
    made["two_latents"] = (two, summary(two, reference=[theory(5), theory(20)], swept=["beta", "latent_dim", "seed"]))
    multi = base + [row(x, 0, method="multi_rate") for x in BETAS]
    made["multi_rate"] = (multi, summary(multi, method="both"))
    one = grid([1.0])
    made["one_beta"] = (one, summary(one))
    some = [lost(r) if r["beta"] > 50 and r["seed"] else r for r in base]
    some = [{**r, "status": "stopped", "step": 750} if r["beta"] in BETAS[:3] else r for r in some]
    cut = {"stops": [{"step": 750, "kept": 30, "stopped": 9}], "saved_share": 0.17, "saved_seconds": 102.0}
    made["damaged"] = (some, summary(some, halving=cut, notes=["the device's memory holds 20 runs"]))
    flat = grid([100.0, 200.0, 400.0])
    made["collapsed"] = (flat, summary(flat))
    made["single"] = (base[12:13], summary(base[12:13]))
    rates = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
    lr = [row(1.0, s, {"learning_rate": r, "seed": s}, learning_rate=r) for r in rates for s in range(3)]
    lr = [{**r, "calibrated_elbo": r["calibrated_elbo"] - 20 * abs(math.log10(r["learning_rate"] / 1e-3))} for r in lr]
    made["learning_rate"] = (lr, summary(lr, swept=["learning_rate", "seed"]))
    rng = np.random.default_rng(0)
    free = [(float(np.exp(rng.uniform(-2, 3))), float(10 ** rng.uniform(-4, -2))) for _ in range(14)]
    drawn = [row(x, 0, {"beta": x, "learning_rate": r, "seed": 0}, learning_rate=r) for x, r in free]
    made["random"] = (drawn, summary(drawn))
    word = [row(1.0, s, {"model": m, "seed": s}, model=m) for m in ("mlp", "conv") for s in range(3)]
    made["models"] = (word, summary(word))
    return made


CASES = cases()
SWEEPS = {name: arrange(*case) for name, case in CASES.items()}


def plain(beta, seed=0, **values):
    """A run by hand: only what the analysis reads."""
    made = {"run": f"{beta}_{seed}", "method": "separate", "status": "done", "asked": {"beta": beta, "seed": seed}}
    made |= {"beta": beta, "rate": 1.0, "distortion": 1.0, "elbo": -2.0, "calibrated_elbo": None, "mse": 1.0}
    return {**made, "active_units": 3, **values}


def fixed(sigmas, betas):
    """A grid of weights and fixed noise levels of one family."""
    made = []
    for beta, sigma in ((beta, sigma) for sigma in sigmas for beta in betas):
        p = predict(EIGENVALUES, beta, sigma**2, M)
        error = p.distortion / D
        left = -p.rate - 0.5 * D * (1 + math.log(2 * math.pi * error))
        changes = dict(calibrated_elbo=left, predicted_active=p.active, active_units=p.active, rate=p.rate, mse=error)
        changes |= dict(water_level=beta * sigma**2, precision="fixed", sigma=sigma)
        made.append(row(beta, 0, {"beta": beta, "sigma": sigma, "seed": 0}, **changes))
    return made
