"""The report of a sweep: made runs in; the analysis by hand-made numbers, the figures and the page."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from made_runs import Page
from test_browser import BROWSER, WIDTHS, faults, measured

from vae_jax.linear_vae import learned_variance, predict
from vae_jax.report.figure import label_of
from vae_jax.report.figure import legend_columns as columns
from vae_jax.report.sweep import collapse as collapse_reader
from vae_jax.report.sweep import frontier_figure as marks
from vae_jax.report.sweep import recommendation
from vae_jax.report.sweep.beta_profile import beta_profile
from vae_jax.report.sweep.collapse import Onset, agrees
from vae_jax.report.sweep.collapse import onset_of as collapse
from vae_jax.report.sweep.frontier_figure import calibrated as marked
from vae_jax.report.sweep.frontier_figure import frontier as draw_frontier
from vae_jax.report.sweep.frontier_shape import knee_of as knee
from vae_jax.report.sweep.frontier_shape import violations as monotone
from vae_jax.report.sweep.grouping import MOST_GROUPS, along, distortion, elbo, groups, rms, settings
from vae_jax.report.sweep.linear_theory import gaussian_distortion, predicted_collapse
from vae_jax.report.sweep.lines import lines_of, near
from vae_jax.report.sweep.recommendation import best
from vae_jax.report.sweep.sweep_files import load_sweep
from vae_jax.report.sweep.sweep_findings import compare_methods, methods, read_sweep, summary_lines
from vae_jax.report.sweep.sweep_page import write_sweep_report
from vae_jax.report.sweep.sweep_tables import table_lines
from vae_jax.theory.prospects import calibrated, frontier
from vae_jax.types import UserError

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
    kept = {"beta": beta, "seed": seed} if asked is None else asked
    made = {
        "run": "_".join(f"{k}={v}" for k, v in kept.items()),
        "method": method,
        "status": "done",
        "diverged_at": None,
        "asked": kept,
        "dataset": "mnist",
        "pixels": "dequantised",
        "likelihood": "gaussian" if gaussian else "bernoulli",
        "precision": "learned",
        "weighting": "constant",
        "model": "mlp",
        "hidden": "256,256",
        "seed": seed,
        "learning_rate": 1e-3,
        "num_steps": 3000,
        "batch_size": 128,
        "step": 3000,
        "elbo": -(rate + distortion) - 0.5,
        "rate": rate,
        "distortion": distortion + 0.5,
        "mse": mse,
        "calibrated_elbo": -(rate + distortion) if gaussian else None,
        "active_units": int(p.active),
        "beta": beta,
        "beta_norm": beta * latents / D,
        "sigma": math.sqrt(train) if gaussian else None,
        "water_level": beta * train if gaussian else None,
        "data_dim": D,
        "latent_dim": latents,
        "lambda_max": float(EIGENVALUES[0]),
        "predicted_active": int(p.active) if gaussian else None,
        "kl_per_latent": [0.0] * latents,
        "train": {"mse": train},
        "disentanglement": None,
        "protocol": "mnist, dequantised pixels, all 10000 test examples",
        "seconds": 12.0 + seed,
    }
    return {**made, **changes}


def lost(made, step=1200):
    """The same run as it is written when it diverged."""
    nulls = ("elbo", "rate", "distortion", "mse", "calibrated_elbo", "active_units", "sigma", "water_level", "train")
    return {**made, **dict.fromkeys(nulls), "status": "diverged", "diverged_at": step}


def grid(betas=BETAS, seeds=3, **changes):
    return [row(b, s, **changes) for b in betas for s in range(seeds)]


def theory(latents=M, precision="learned"):
    found = calibrated(EIGENVALUES, latents)
    return {
        "latent_dim": latents,
        "precision": precision,
        "frontier": frontier(EIGENVALUES, latents),
        "calibrated": found._asdict(),
        "collapse_beta": float(EIGENVALUES[0] * D / EIGENVALUES.sum()),
    }


def summary(rows, **changes):
    made = {
        "flags": {"dataset": "mnist", "pixels": "dequantised", "beta": BETAS, "seed": [0, 1, 2], "num_steps": 3000},
        "method": "separate",
        "dataset": "mnist",
        "data_dim": D,
        "gaussian": True,
        "swept": ["beta", "seed"],
        "reference": [theory()],
        "seconds": 725.0,
        "training_seconds": 600.0,
        "runs": len(rows),
        "programs": 1,
        "halving": None,
        "notes": [],
    }
    return {**made, **changes}


def write(workdir, rows, summary=None, torn=False):
    workdir.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(r) + "\n" for r in rows)
    (workdir / "sweep.jsonl").write_text(text + ('{"run": "beta=1' if torn else ""))
    if summary is not None:
        (workdir / "sweep.json").write_text(json.dumps(summary))
    return workdir


def scores(beta):
    peak = math.exp(-(math.log(beta / 4) ** 2) / 4)
    return {
        "mig": 0.35 * peak,
        "beta_vae": 0.5 + 0.45 * peak,
        "factor_vae": 0.4 + 0.4 * peak,
        "dci_disentanglement": 0.6 * peak,
    }


def cases():
    """Every kind of sweep: name -> rows and summary."""
    base = grid()
    found = {"plain": (base, summary(base))}
    b = [row(x, s, gaussian=False) for x in np.geomspace(0.125, 32, 9) for s in range(3)]
    b = [{**r, "disentanglement": scores(r["beta"])} for r in b]
    found["bernoulli"] = (
        b,
        summary(b, gaussian=False, reference=[{**theory(), "calibrated": None, "collapse_beta": None}]),
    )
    two = [
        row(x, s, {"beta": x, "latent_dim": m, "seed": s}, latents=m) for m in (5, 20) for x in BETAS for s in (0, 1)
    ]
    found["two_latents"] = (two, summary(two, reference=[theory(5), theory(20)], swept=["beta", "latent_dim", "seed"]))
    multi = base + [row(x, 0, method="multi_rate") for x in BETAS]
    found["multi_rate"] = (multi, summary(multi, method="both"))
    one = grid([1.0])
    found["one_beta"] = (one, summary(one))
    some = [lost(r) if r["beta"] > 50 and r["seed"] else r for r in base]
    some = [{**r, "status": "stopped", "step": 750} if r["beta"] in BETAS[:3] else r for r in some]
    cut = {"stops": [{"step": 750, "kept": 30, "stopped": 9}], "saved_share": 0.17, "saved_seconds": 102.0}
    found["damaged"] = (some, summary(some, halving=cut, notes=["the device's memory holds 20 runs"]))
    flat = grid([100.0, 200.0, 400.0])
    found["collapsed"] = (flat, summary(flat))
    found["single"] = (base[12:13], summary(base[12:13]))
    rates = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
    lr = [row(1.0, s, {"learning_rate": r, "seed": s}, learning_rate=r) for r in rates for s in range(3)]
    lr = [{**r, "calibrated_elbo": r["calibrated_elbo"] - 20 * abs(math.log10(r["learning_rate"] / 1e-3))} for r in lr]
    found["learning_rate"] = (lr, summary(lr, swept=["learning_rate", "seed"]))
    rng = np.random.default_rng(0)
    free = [(float(np.exp(rng.uniform(-2, 3))), float(10 ** rng.uniform(-4, -2))) for _ in range(14)]
    drawn = [row(x, 0, {"beta": x, "learning_rate": r, "seed": 0}, learning_rate=r) for x, r in free]
    found["random"] = (drawn, summary(drawn))
    word = [row(1.0, s, {"model": m, "seed": s}, model=m) for m in ("mlp", "conv") for s in range(3)]
    found["models"] = (word, summary(word))
    return found


CASES = cases()


def found(topic, rows, **changes):
    hits = [f for f in read_sweep(rows, summary(rows, **changes)) if f.topic == topic]
    assert len(hits) <= 1
    return hits[0] if hits else None


def plain(beta, seed=0, **values):
    """A run by hand: only what the analysis reads."""
    made = {"run": f"{beta}_{seed}", "method": "separate", "status": "done", "asked": {"beta": beta, "seed": seed}}
    made |= {"beta": beta, "rate": 1.0, "distortion": 1.0, "elbo": -2.0, "calibrated_elbo": None, "mse": 1.0}
    return {**made, "active_units": 3, **values}


# The analysis, from numbers made by hand


def test_the_knee_of_a_hyperbola_is_where_it_has_the_slope_of_its_chord():
    # y = 1 / x from 1/4 to 4, a chord of slope -1: the point furthest below it has x = 1
    x = np.array([4.0, 0.25, 2.0, 0.5, 1.0])
    assert knee(np.stack([x, 1 / x], 1)) == 4
    assert knee(np.stack([1e-3 * x, 1e5 / x], 1)) == 4  # no unit matters
    # y = (1 - x)^4 on [0, 1]: slope -1 at 1 - 4^(-1/3)
    x = np.linspace(0, 1, 1001)
    assert x[knee(np.stack([x, (1 - x) ** 4], 1))] == pytest.approx(1 - 4 ** (-1 / 3), abs=1e-3)


def test_what_has_no_knee():
    x = np.linspace(0, 1, 9)
    for line in (
        np.stack([x, 1 - x], 1),  # straight
        np.stack([x, 1 - x**3], 1),  # bends the other way
        np.stack([x, 1 - x - 0.04 * np.sin(np.pi * x)], 1),  # bends too little
        np.stack([x, x], 1),  # rises
        np.zeros((5, 2)),
        np.zeros((2, 2)),
        np.zeros((0, 2)),
    ):
        assert knee(line) is None


@pytest.mark.parametrize(
    ("rates", "onset"),
    [
        ({1: [5, 5], 2: [1, 1], 4: [0, 0], 8: [0, 0]}, Onset(2, 4)),
        ({1: [5, 5], 2: [0, 1], 4: [0, 0]}, Onset(2, 4, (2,))),  # one seed lives: it is not where all are collapsed
        ({1: [5, 5], 2: [0, 0], 4: [1, 1], 8: [0, 0]}, Onset(4, 8, (2,))),  # a failure below is no onset
        ({1: [5, 5], 2: [4, 4]}, Onset(2, None)),
        ({1: [0, 0], 2: [0, 0]}, Onset(None, 1)),
        ({1: [5, 5], 2: [None, None], 4: [0, 0]}, Onset(1, 4)),  # runs that diverged have no say
        ({}, Onset(None, None)),
    ],
)
def test_the_onset_of_collapse_is_bracketed(rates, onset):
    runs = [
        plain(float(b), s, rate=r, **({"status": "diverged"} if r is None else {}))
        for b, seeds in rates.items()
        for s, r in enumerate(seeds)
    ]
    assert collapse(runs[::-1]) == onset


def test_a_code_without_an_active_latent_is_collapsed_at_any_rate():
    assert collapse([plain(1.0), plain(2.0, active_units=0, rate=3.0)]) == Onset(1.0, 2.0)


def test_agreement_within_a_factor_of_two():
    assert agrees(Onset(2.0, 8.0), 8.0) == (True, 2.0)  # the geometric mean of the bracket is 4
    assert agrees(Onset(2.0, 8.0), 8.1)[0] is False and agrees(Onset(2.0, 8.0), 1.99)[0] is False
    assert agrees(Onset(1.0, 100.0), 90.0) == (True, 9.0)  # inside a wide bracket
    assert agrees(Onset(2.0, None), 3.0) is None and agrees(Onset(None, 2.0), 3.0) is None


def line(rates, errors=None, spread=0.0):
    """Two seeds a weight, ``spread`` apart in rate: a standard deviation of spread / sqrt(2)."""
    errors = errors or [0.1 * (i + 1) for i in range(len(rates))]
    return [
        plain(2.0**i, s, rate=r + (s - 0.5) * spread, mse=e**2)
        for i, (r, e) in enumerate(zip(rates, errors))
        for s in (0, 1)
    ]


def test_a_falling_rate_and_a_rising_error_are_monotone():
    assert monotone(line([9, 5, 2, 1])) == []
    assert monotone(line([9, 5, 5, 1], [0.1, 0.2, 0.2, 0.4])) == []  # equal is no violation


def test_a_planted_violation_is_found_with_its_size():
    (v,) = monotone(line([9, 2, 5, 1]))
    assert (v.quantity, v.low, v.high) == ("rate", 2.0, 4.0) and v.by == pytest.approx(3.0)
    (v,) = monotone(line([9, 5, 2, 1], [0.1, 0.3, 0.2, 0.4]))
    assert (v.quantity, v.low, v.high) == ("RMS error", 2.0, 4.0) and v.by == pytest.approx(0.1)
    # against the lowest so far: a slow rise is not lost between neighbours
    assert [v.by for v in monotone(line([90, 2, 3, 4, 1], spread=2.0))] == []
    slow = monotone(line([90, 2, 4, 6, 8], spread=2.0))
    assert [(v.low, v.high) for v in slow] == [(2.0, 16.0)] and slow[0].by == pytest.approx(6.0)


def test_the_spread_over_seeds_excuses_a_violation_up_to_two_combined_deviations():
    # seeds that are a apart: standard deviation a / sqrt 2, of the difference a, so that 2 a is the limit
    rates = [9.0, 2.0, 3.0, 1.0]
    assert monotone(line(rates, spread=0.49)) and not monotone(line(rates, spread=0.51))
    assert monotone(line(rates, spread=0.49))[0].spread == pytest.approx(0.49)
    assert not monotone(line([2000.0, 2.0, 3.0, 1.0]))  # half a thousandth of the range


def test_the_best_and_what_cannot_be_told_from_it():
    def seeds(beta, *values):
        return [plain(beta, s, elbo=v) for s, v in enumerate(values)]

    # standard deviations 1, 1 and 1: the limit is 2 sqrt 2 = 2.83
    runs = [*seeds(1.0, 9, 10, 11), *seeds(2.0, 6.2, 7.2, 8.2), *seeds(4.0, 6.1, 7.1, 8.1)]
    b = best(runs)
    assert (b.setting.flags, b.mean, b.spread) == ({"beta": 1.0}, 10.0, 1.0)
    assert [s.flags["beta"] for s in b.tied] == [2.0]
    assert best([plain(1.0, status="diverged", rate=None)]) is None
    alone = best(seeds(1.0, 5.0) + seeds(2.0, 4.999))
    assert alone.spread is None and alone.tied == []
    assert best([plain(1.0, elbo=3.0), plain(2.0, elbo=9.0, status="stopped")]).mean == 3.0  # not at the same step


def test_the_best_is_by_the_calibrated_bound():
    runs = [plain(1.0, elbo=50.0, calibrated_elbo=10.0), plain(2.0, elbo=-90.0, calibrated_elbo=11.0)]
    assert best(runs).setting.flags == {"beta": 2.0}
    assert distortion(runs[1]) == -12.0 and elbo(runs[1]) == 11.0 and rms(plain(1.0, mse=0.25)) == 0.5


def test_two_methods_are_compared_at_equal_flags():
    many = [plain(b, s, rate=10 / b + s, elbo=-1.0) for b in (1.0, 2.0) for s in (0, 1)]
    one = [plain(b * (1 + 1e-9), method="multi_rate", rate=10 / b + d, elbo=-1.5) for b, d in ((1.0, 1.5), (2.0, -2.5))]
    differences = compare_methods(many + one + [plain(7.0, method="multi_rate")])
    assert [d.rate for d in differences] == pytest.approx([1.0, -3.0])
    assert [d.elbo for d in differences] == pytest.approx([-0.5, -0.5])
    text = methods(many + one, {}).text
    assert "at 2 settings" in text and "-3.0 nats at most (beta = 2)" in text and "-0.50 nats" in text
    assert compare_methods(many) == [] and methods(many, {}) is None
    assert best([*many, plain(9.0, method="multi_rate", elbo=99.0)]).setting.method == "separate"


# Settings and groups


def test_groups_are_what_is_asked_apart_from_the_weight():
    rows, _ = CASES["two_latents"]
    made = groups(rows)
    assert [(g.name, len(g.settings)) for g in made] == [("latent_dim = 5", 13), ("latent_dim = 20", 13)]
    assert all(len(s.runs) == 2 for g in made for s in g.settings) and len(settings(rows)) == 26
    assert [s.flags["beta"] for s in groups(rows[::-1])[0].settings] == BETAS
    assert [g.name for g in groups(CASES["multi_rate"][0])] == ["trained separately", "one network for all"]


def test_what_a_sweep_runs_along():
    expected = {"plain": "beta", "one_beta": "beta", "learning_rate": "learning_rate", "models": "model"}
    assert {name: along(CASES[name][0]) for name in expected} == expected
    assert along(CASES["models"][0], numeric=True) == "beta" and along(CASES["random"][0]) == "beta"
    normed = [plain(b, asked={"beta_norm": b / 8, "seed": 0}) for b in (1.0, 2.0)]
    assert along(normed) == "beta" and [s.name for s in groups(normed)[0].settings] == [
        "beta_norm = 0.125",
        "beta_norm = 0.25",
    ]


def fixed(sigmas, betas):
    """A grid of weights and fixed noise levels of one family."""
    made = []
    for sigma in sigmas:
        for beta in betas:
            p = predict(EIGENVALUES, beta, sigma**2, M)
            kept = {"beta": beta, "sigma": sigma, "seed": 0}
            error = p.distortion / D
            left = -p.rate - 0.5 * D * (1 + math.log(2 * math.pi * error))
            changes = {
                "calibrated_elbo": left,
                "predicted_active": p.active,
                "rate": p.rate,
                "mse": error,
                "water_level": beta * sigma**2,
                "precision": "fixed",
            }
            made.append(row(beta, 0, kept, sigma=sigma, active_units=p.active, **changes))
    return made


def test_weights_of_several_fixed_sigmas_share_one_frontier_and_not_one_onset():
    rows = fixed((0.2, 1.0), (0.5, 2.0, 8.0, 64.0, 256.0))
    (one,) = groups(rows, levels=True)
    levels = [s.flags["beta"] * s.flags["sigma"] ** 2 for s in one.settings]
    assert one.along == "water_level" and levels == sorted(levels) and len(levels) == 10
    assert [g.name for g in groups(rows)] == ["sigma = 0.2", "sigma = 1"]
    onsets = [(collapse(g.rows), predicted_collapse([], g.rows)) for g in groups(rows)]
    assert [o for o, _ in onsets] == [Onset(64.0, 256.0), Onset(2.0, 8.0)]
    assert [p for _, p in onsets] == pytest.approx([5.1 / 0.04, 5.1])
    words = found("Collapse", rows, reference=[]).text
    assert words.count("they agree within a factor of 2") == 2 and words.startswith("sigma = 0.2: the code lives")
    noise = [r for r in rows if r["beta"] == 2.0]
    for r in noise:
        r["asked"] = {"sigma": r["sigma"], "seed": 0}
    assert along(noise) == "sigma" and predicted_collapse([], noise, "sigma") == pytest.approx(math.sqrt(5.1 / 2))


# The findings


def test_the_findings_of_a_linear_sweep_agree_with_its_theory():
    rows, about = CASES["plain"]
    texts = {f.topic: f.text for f in read_sweep(rows, about)}
    assert list(texts) == ["Recommendation", "Knee", "Collapse", "Monotone"]
    assert not any(f.attention for f in read_sweep(rows, about))
    assert "beta = 56.2 and is collapsed on every seed from 100 on" in texts["Collapse"]
    assert "inside that bracket: they agree" in texts["Collapse"] and "beta = 83.6" in texts["Collapse"]
    far = found("Collapse", rows, reference=[{**theory(), "collapse_beta": 20.0}])
    assert far.attention and "0.267 times the middle of that bracket: they do not agree" in far.text
    alive = found("Collapse", grid(BETAS[:9]), reference=[{**theory(), "collapse_beta": 3.0}])
    assert alive.attention and "lower by more than a factor of 2: they do not agree" in alive.text
    assert "--dataset=mnist --pixels=dequantised --num_steps=3000 --beta=1" in texts["Recommendation"]
    assert "3 seeds" in texts["Recommendation"] and "no ordering is claimed" in texts["Recommendation"]


def test_the_command_names_the_flags_of_the_best_and_no_others():
    rows = [row(4.0, 0, {"beta": 4.0, "latent_dim": 5, "seed": 0}, latents=5)]
    flags = {"dataset": "my set", "beta": [1, 4], "seed": [0], "halving": True, "workdir": "w", "hidden": None}
    command = recommendation.command(settings(rows)[0], {"flags": flags})
    assert command == "python -m experiments.train '--dataset=my set' --beta=4 --latent_dim=5"
    given = {"dataset": "mnist", "beta": "0.1,4", "method": "both", "halving": "4", "num_steps": "3000"}  # as typed
    assert recommendation.command(settings(rows)[0], {"flags": given}).endswith(
        "train --dataset=mnist --num_steps=3000 --beta=4 --latent_dim=5"
    )
    text = found("Recommendation", rows).text
    assert "no bound on log p(x)" in text and "is scored at beta = 1" in text


def test_a_best_weight_that_is_not_one_is_explained():
    rows = fixed((0.05,), (1.0, 12.0))
    for r, value in zip(rows, (100.0, 110.0)):
        r.update(calibrated_elbo=value, train={"mse": r["mse"]}, asked={"beta": r["beta"], "seed": 0})
    text = found("Recommendation", rows).text
    effective = 12.0 * 0.05**2 / rows[1]["mse"]
    assert f"this is beta = {effective:.3g}" in text and "Against beta = 1 it gains 10.0 nats" in text


def test_a_planted_violation_is_in_words():
    rows = [{**r, "rate": r["rate"] + 20.0} if r["beta"] == 10.0 else r for r in grid()]
    finding = found("Not monotone", rows)
    assert finding.attention and "Between beta = 5.62 and 10 the rate rises by 13" in finding.text
    assert found("Monotone", rows) is None


def test_all_collapsed_and_failures_below_the_onset():
    finding = found("Collapse", CASES["collapsed"][0])
    assert finding.attention and "Every run is collapsed, from beta = 100 on" in finding.text
    assert "training that failed" not in finding.text
    assert "training that failed" in found("Collapse", grid([1.0], rate=0.0)).text
    rows = [{**r, "rate": 0.0} if r["beta"] == BETAS[2] and r["seed"] == 1 else r for r in grid()]
    assert "at beta = 0.316: there it is the training" in found("Collapse", rows).text


def test_runs_that_diverged_are_named_and_left_out():
    rows, about = CASES["damaged"]
    texts = {f.topic: f.text for f in read_sweep(rows, about)}
    assert texts["Diverged"].startswith("4 of 39 runs") and "beta=56.2_seed=1 at step 1200" in texts["Diverged"]
    assert "stopped 9 of 39 runs (at step 750 9 stopped and 30 went on); 17%" in texts["Halving"]
    assert "1 min 42 s" in texts["Halving"] and texts["From the sweep"] == about["notes"][0]
    every = [lost(r) for r in grid([1.0, 2.0])]
    assert "no run came to its end" in found("Recommendation", every).text
    assert (
        "more" not in found("Diverged", every).text
        and "and 31 more" in found("Diverged", [lost(r) for r in grid()]).text
    )


def test_families_are_not_ranked_in_silence():
    rows = [row(1.0, 0, {"likelihood": f, "seed": 0}, likelihood=f) for f in ("gaussian", "laplace")]
    finding = found("Recommendation", rows)
    assert finding.attention and "--likelihood differ between runs" in finding.text


def test_the_text_for_a_terminal():
    for rows, about in CASES.values():
        lines = summary_lines(rows, about)
        assert len(lines) == len(read_sweep(rows, about)) and all("\n" not in text for text in lines)
        table = table_lines(rows)
        assert len(table) == 2 + len(settings(rows)) and max(map(len, table)) <= 120
    table = table_lines(CASES["damaged"][0])
    assert table[0].split()[:3] == ["setting", "seeds", "rate"] and table[1].startswith("---")
    assert "0 of 3" in table[2] and "3 stopped" in table[2] and "1 done, 2 diverged" in table[-1]
    assert "198.7 +- 0.3" in table[6] and table[6].startswith("beta = 1 ")


# The figures


def test_the_diagonals_run_through_the_right_points():
    levels = marks.levels(-95.3, -160.0)
    assert levels[0] == -95.3 and all(level % 20 == 0 for level in levels[1:]) and levels[1:] == [-120.0, -140.0]
    assert marks.levels(1.0, 2.0) == [1.0]
    rows, about = CASES["plain"]
    drawn = panel(rows, about)
    top = best(rows)
    dashed = [x for x in drawn.get_lines() if x.get_linestyle() == "--" and len(x.get_xydata()) == 2]
    assert len(dashed) == 1
    for line in dashed + [x for x in drawn.get_lines() if x.get_linestyle() == ":"]:
        (x0, y0), (x1, y1) = line.get_xydata()
        assert x0 + y0 == pytest.approx(x1 + y1)  # equal ELBO
    assert sum(dashed[0].get_xydata()[0]) == pytest.approx(-top.mean)
    here = top.setting.mean(distortion), top.setting.mean(lambda r: r["rate"])
    assert sum(here) == pytest.approx(-top.mean)


def panel(rows, about, index=0):
    """The drawn axes of the frontier."""
    from vae_jax.report.sweep import frontier_figure as module

    kept = []

    def paint_only(paint, height):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, height), dpi=180, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        kept.append(figure)
        return b""

    original, module.draw = module.draw, paint_only
    try:
        draw_frontier(rows, about)
    finally:
        module.draw = original
    return kept[0].axes[index]


@pytest.mark.parametrize("name", ["plain", "bernoulli", "two_latents", "multi_rate", "damaged"])
@pytest.mark.parametrize("index", [0, 1])
def test_labels_of_the_frontier_overlap_nothing(name, index):
    axes = panel(*CASES[name], index)
    axes.figure.draw_without_rendering()
    labels = [t for t in axes.texts if t.get_text() and not t.get_rotation()]
    assert len(labels) >= 4
    boxes = [t.get_window_extent() for t in labels]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    for line in axes.get_lines():
        if line.get_zorder() >= 3:  # means, seeds and stars
            for x, y in axes.transData.transform(line.get_xydata()):
                assert not any(b.x0 < x < b.x1 and b.y0 < y < b.y1 for b in boxes)


def test_the_theory_is_drawn_where_it_holds():
    rows, about = CASES["plain"]
    left, right = panel(rows, about), panel(rows, about, 1)
    reference = next(x for x in left.get_lines() if x.get_gid() == "reference").get_xydata()
    error = np.array(theory()["frontier"]["rms"])
    assert reference[:, 0] == pytest.approx(0.5 * D * (1 + np.log(2 * np.pi * error**2)))
    assert gaussian_distortion(0.3, 7) == pytest.approx(7 * (0.5 * math.log(2 * math.pi * 0.09) + 0.5))
    assert next(x for x in right.get_lines() if x.get_gid() == "reference").get_xydata()[:, 0] == pytest.approx(error)
    other = panel(*CASES["bernoulli"])
    assert not [x for x in other.get_lines() if x.get_gid() == "reference"]  # no plane of nats for another family


def test_the_calibrated_point():
    setting, words = marked(CASES["plain"][0])
    assert setting.flags == {"beta": 1.0} and words == "calibrated, β = 1"
    assert marked(CASES["bernoulli"][0])[1] == marked(CASES["collapsed"][0])[1] == "best ELBO"
    assert marked(fixed((0.2,), (0.5, 1.0)))[1] == "best ELBO"


def test_a_run_far_off_does_not_set_the_axes_and_a_collapsed_one_may():
    values = [1.0, 2.0, 3.0, 4.0, 500.0]
    assert near(values, [False] * 5) == values[:4] and near(values, [False] * 4 + [True]) == values
    assert near(values[::-1], [False] * 5) == values[:4]
    assert near([1.0, 1.0, 500.0], [False] * 3) == [1.0, 1.0, 500.0]


@pytest.mark.parametrize("name", list(CASES))
def test_figures_of_every_kind_of_sweep(name):
    rows, about = CASES[name]
    for figure in (draw_frontier, beta_profile):
        plate = figure(rows, about)
        assert plate.png.startswith(b"\x89PNG")
        assert 20 < len(plate.caption.split(":")[0]) < 80  # the alt text
    assert ("as beta does not vary" in beta_profile(rows, about).caption) == (name in ("learning_rate", "models"))
    if name == "plain":
        assert draw_frontier(rows, about).png == draw_frontier(rows, about).png


def test_figures_of_odd_sweeps():
    nothing = [lost(r) for r in grid([1.0])]
    for figure in (draw_frontier, beta_profile):
        assert figure(nothing, summary(nothing)).png is None and "not drawn" in figure(nothing, {}).caption
    free = [
        *grid([1.0, 2.0]),
        plain(0.0, asked={"beta": 0.0, "seed": 0}, **{k: row(0.5)[k] for k in ("mse", "beta_norm")}),
    ]
    for rows in (free, grid([1e-3, 1e3]), fixed((0.2, 1.0), (0.5, 8.0)), [row(1.0, 0, {})]):
        for figure in (draw_frontier, beta_profile):
            assert figure(rows, summary(rows)).png and figure(rows, {}).png
    assert len(lines_of(CASES["random"][0], "beta")) == 1
    assert (
        columns(["a"] * 4) == 4 and columns(["a" * 40] * 4) == 2 and label_of("a  $\n" + "b" * 50, 9) == r"a \$ bb..."
    )


# The files and the page


def test_one_network_has_a_line_for_each_beta_and_keeps_them_all(tmp_path):
    rows, about = CASES["multi_rate"]
    one = [row | {"run": "multi_rate"} if row["method"] == "multi_rate" else row for row in rows if row["seed"] == 0]
    kept = load_sweep(write_sweep_report(write(tmp_path, one, about)).parent).rows
    assert [row["beta"] for row in kept] == [row["beta"] for row in one]


def test_the_page_of_a_whole_sweep(tmp_path):
    rows, about = CASES["damaged"]
    path = write_sweep_report(write(tmp_path, rows, about, torn=True))
    page = Page(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "report.html"
    left = sorted(p.name for p in tmp_path.rglob("*"))
    assert left == ["beta_profile.png", "frontier.png", "report.html", "sweep.json", "sweep.jsonl"]
    assert [image["alt"] for image in page.images] == [
        "The rate-distortion frontier of the sweep",
        "The sweep along beta_norm = beta M / D",
    ]
    for word in (
        "A sweep of 39 VAEs on mnist",
        "13 values of β from 0.1 to 100, 3 seeds: 39 runs in 1 program; 784 data dimensions; 3000 training steps",
        "Recommendation.",
        "Diverged.",
        "1 done, 2 diverged",
        "12 min 5 s",
        "saved by halving",
        "--hidden",
        "256,256",
        about["notes"][0],
        rows[0]["protocol"],
    ):
        assert word in page.text, word
    before = path.read_bytes()
    assert write_sweep_report(tmp_path).read_bytes() == before
    write(tmp_path, [lost(r) for r in rows[:1]], about)
    assert not Page(write_sweep_report(tmp_path).read_text()).images and not (tmp_path / "frontier.png").exists()


@pytest.mark.parametrize("name", list(CASES))
def test_a_page_of_every_kind(tmp_path, name):
    rows, about = CASES[name]
    page = Page(write_sweep_report(write(tmp_path, rows, about)).read_text(encoding="utf-8"))
    assert len(page.images) == 2 and all(image["alt"].strip() for image in page.images)
    assert page.text.count("seed =") == (len(rows) if len(rows) <= 24 else 0)
    (tmp_path / "sweep.json").unlink()
    assert len(Page(write_sweep_report(tmp_path).read_text()).images) == 2  # from the runs alone


def test_words_from_outside_are_escaped(tmp_path):
    bad = "<script>alert('&')</script> $x^{"
    rows = [row(b, 0, {"beta": b, "dataset": n, bad: n, "seed": 0}, dataset=n) for b in (1.0, 2.0) for n in (bad, "b")]
    rows += [lost({**row(b, 0, {"model": bad, "beta": b}), "run": f"{bad}_{b}", "protocol": bad}) for b in (1.0, 2.0)]
    about = summary(rows, dataset=bad, notes=[bad], flags={"dataset": bad, bad: bad})
    source = write_sweep_report(write(tmp_path, rows, about)).read_text(encoding="utf-8")
    assert "<script" not in source and Page(source).text.count("<script>") >= 5
    words = [row(1.0, 0, {"model": m}, model=m) for m in (bad, "$")]
    assert "<script" not in write_sweep_report(write(tmp_path, words, {})).read_text()


def test_files_that_are_missing_or_broken(tmp_path):
    with pytest.raises(UserError, match=r"has no sweep\.jsonl"):
        write_sweep_report(tmp_path)
    with pytest.raises(UserError, match="is not a directory"):
        load_sweep(tmp_path / "nowhere")
    (tmp_path / "sweep.jsonl").write_text('{"run": "a"')
    with pytest.raises(UserError, match="holds no run yet"):
        load_sweep(tmp_path)
    good = json.dumps(row())
    for broken in ("{", "3", '{"run": "a"}', '{"run": "a", "method": "b", "status": "done", "asked": 3}'):
        (tmp_path / "sweep.jsonl").write_text(f"{good}\n{broken}\n{good}\n")
        with pytest.raises(UserError, match="line 2, is no") as error:
            load_sweep(tmp_path)
        assert "\n" not in str(error.value)
    write(tmp_path, [row(), row(2.0), {**row(), "rate": 7.0}], torn=True)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(UserError, match="run the sweep again"):
        load_sweep(tmp_path)
    (tmp_path / "sweep.json").unlink()
    rows, about = load_sweep(tmp_path)
    assert rows[0]["rate"] == 7.0 and len(rows) == 2 and about == {}  # the later line of a run counts


def test_a_reader_never_speaks_of_very_many_groups():
    rows, about = CASES["random"]
    assert len(groups(rows)) > MOST_GROUPS
    assert collapse_reader.collapse(rows, about).text.startswith("No beta up to")


@pytest.mark.skipif(BROWSER is None, reason="no browser: VAE_JAX_BROWSER is not set")
def test_the_page_fits_a_phone_and_stands_alone(tmp_path):
    pages = []
    for name in ("damaged", "two_latents", "multi_rate", "learning_rate"):
        pages.append(write_sweep_report(write(tmp_path / name, *CASES[name])).read_text(encoding="utf-8"))
    seen = measured(tmp_path, pages)
    assert [faults(s) for s in seen] == [[]] * len(WIDTHS) * len(pages), seen
    assert all(s["images"] == 2 for s in seen)
