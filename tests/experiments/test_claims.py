"""The ledger: its loop and files, some of its cheapest claims, and planted errors that every tier has to notice."""

import functools
import json
import math
import signal
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.binaries import start

from experiments.claims import (
    bed,
    codes,
    collapse,
    estimators,
    factors,
    fixed_points,
    golden,
    identities,
    images,
    normalising,
    page,
    runs,
    samples,
    theory,
    waking,
)
from experiments.claims.__main__ import Config, main, names_in
from experiments.claims.catalogue import CLAIMS
from experiments.claims.compare import allowed, misfit
from experiments.claims.ledger import RELATIONS, TIERS, Claim, Measured, Settings, Skipped, check, excess, run_all, word
from vae_jax import objective, schedules
from vae_jax.conventions import written_weight
from vae_jax.estimators import Estimator, stl
from vae_jax.gaussian import kl_divergence
from vae_jax.linear_vae import predict
from vae_jax.report.figure import Figure, draw
from vae_jax.theory.dynamics import simulate
from vae_jax.theory.fields import power_spectrum
from vae_jax.theory.finite_data import outlook
from vae_jax.types import UserError

BY_NAME = {claim.name: claim for claim in CLAIMS}
KEYS = {"name", "source", "expected", "measured", "tolerance", "holds", "seconds"}


def checked(function, **planted):
    """The entry of a claim, one of its ingredients replaced."""
    claim = BY_NAME[function.__name__]
    with tempfile.TemporaryDirectory() as folder:
        return check(claim._replace(run=functools.partial(claim.run, **planted)), Settings(Path(folder)))[0]


# ---------------------------------------------------------------- the list


def test_every_claim_says_all_of_itself():
    assert len(CLAIMS) >= 30 and len(BY_NAME) == len(CLAIMS)
    assert {claim.tier for claim in CLAIMS} == set(TIERS)
    for claim in CLAIMS:
        assert claim.relation in RELATIONS and claim.tolerance >= 0 and claim.seconds > 0, claim.name
        assert math.isfinite(claim.expected), claim.name
        assert claim.claim.endswith(".") and claim.source and claim.why and claim.run.__doc__, claim.name
        assert claim.run.__name__ == claim.name
    small = [claim for claim in CLAIMS if claim.tier == "fixed_point"]
    assert all(claim.seconds < 60 for claim in small)
    assert sum(claim.seconds for claim in CLAIMS if claim.tier == "statistical") < 90 * 60


def test_the_list_names_every_claim_or_those_asked_for(capsys, tmp_path):
    main(Config(list=True, workdir=str(tmp_path)))
    assert all(claim.name in capsys.readouterr().out for claim in CLAIMS[:1])
    main(Config(list=True, tier="fixed_point"))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [c.name for c in CLAIMS if c.tier == "fixed_point"]
    main(Config(list=True, only="kl_golden, water_filling"))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["kl_golden", "water_filling"]
    assert list(tmp_path.iterdir()) == []


def test_wrong_names_are_refused_with_the_closest():
    with pytest.raises(UserError, match=r"--only=watr_filling: there is no 'watr_filling'; close to it: water_filling"):
        main(Config(only="watr_filling"))
    with pytest.raises(UserError, match=r"--tier=exakt.*close to it: exact"):
        main(Config(tier="exakt"))
    with pytest.raises(UserError, match="--list names them all"):
        names_in("zzzz", tuple(BY_NAME), "only")
    with pytest.raises(UserError, match="names nothing"):
        names_in(",", tuple(BY_NAME), "only")


# ---------------------------------------------------------------- the comparison


def claim_of(run, name="planted", tier="exact", expected=1.0, relation="=", tolerance=0.1):
    return Claim(name, tier, "A <claim>.", "somebody & co", expected, relation, tolerance, "why", 1.0, run)


@pytest.mark.parametrize(
    ("relation", "value", "beyond"),
    [
        ("=", 1.05, 0.0),
        ("=", 0.8, 0.1),
        ("=", 1.2, 0.1),
        (">=", 0.95, 0.0),
        (">=", 7.0, 0.0),
        (">=", 0.5, 0.4),
        ("<=", -7.0, 0.0),
        ("<=", 1.5, 0.4),
        ("=", math.nan, math.inf),
        (">=", math.inf, math.inf),
    ],
)
def test_what_is_beyond_the_tolerance(relation, value, beyond):
    assert excess(claim_of(None, relation=relation), value) == pytest.approx(beyond)


def test_golden_numbers_are_as_exact_as_they_are_printed():
    assert allowed(".5") == 5e-10 and allowed("0") == 1e-12  # exact numbers, not half a unit of a digit
    assert allowed("1.23935") == pytest.approx(5.1e-6)
    assert misfit([(0.5, ".5"), (1.239354, "1.23935")]).value < 1
    assert misfit([(0.5, ".5"), (1.239357, "1.23935")]).value > 1
    assert math.isnan(misfit([(math.nan, ".5"), (2.0, ".5")]).value)


# ---------------------------------------------------------------- the loop


def passes(settings):
    """Holds."""
    return Measured(1.0, 0.01, "a detail", Figure("x.png", "What <is> drawn: more.", draw(lambda f: f.subplots(), 1.0)))


def fails(settings):
    """Does not."""
    return Measured(1.3)


def raises(settings):
    """Has a bug."""
    raise RuntimeError("the <first> line\nthe second")


def is_skipped(settings):
    """Has no data."""
    raise Skipped("no data here")


def interrupts(settings):
    """Somebody presses Ctrl-C."""
    raise KeyboardInterrupt


def test_a_ledger_says_what_holds_fails_raises_and_is_skipped(tmp_path, capsys, monkeypatch):
    planted = [claim_of(run, run.__name__) for run in (passes, fails, raises, is_skipped)]
    monkeypatch.setattr("experiments.claims.catalogue.CLAIMS", planted)
    with pytest.raises(SystemExit) as ended:
        main(Config(workdir=str(tmp_path)))
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert "[1/4] passes (about 1 s): holds" in out and "fails: FAILS by 0.2 beyond the tolerance" in out
    assert "raises: FAILS with RuntimeError: the <first> line" in out and "the second" not in out
    assert "1 of 4 claims hold, 2 fail, 1 skipped" in out
    entries = json.loads((tmp_path / "claims.json").read_text())
    assert [entry["holds"] for entry in entries] == [True, False, False, None]
    assert all(entry.keys() >= KEYS | {"tier", "claim", "spread", "why"} for entry in entries)
    assert entries[0]["measured"] == 1.0 and entries[0]["spread"] == 0.01 and entries[2]["measured"] is None
    html = (tmp_path / "claims.html").read_text()
    assert "A &lt;claim&gt;." in html and "the &lt;first&gt; line" in html and "somebody &amp; co" in html
    assert "What &lt;is&gt; drawn" in html and "data:image/png;base64," in html
    assert "<claim>" not in html and "<first>" not in html and "http" not in html and "<script" not in html
    monkeypatch.setattr("experiments.claims.catalogue.CLAIMS", [*planted[:1], planted[3]])
    main(Config(workdir=str(tmp_path)))  # what is skipped is no failure


def test_an_interrupted_ledger_goes_on_where_it_was(tmp_path, capsys):
    counted = []

    def count(name):
        def run(settings):
            counted.append(name)
            return Measured(1.0)

        return run

    first, last = claim_of(count("first"), "first"), claim_of(count("last"), "last")
    stopped = claim_of(interrupts, "stopped")
    claims, settings = [first, stopped, last], Settings(tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        run_all(claims, claims, tmp_path, settings)
    # The last one was begun beside the others, and is kept if it came to its end.
    assert [e["name"] for e in json.loads((tmp_path / "claims.json").read_text())] in (["first"], ["first", "last"])
    again = [first, stopped._replace(run=passes), last]
    entries = run_all(again, again, tmp_path, settings)
    assert sorted(counted) == ["first", "last"] and [entry["name"] for entry in entries] == ["first", "stopped", "last"]
    assert "first: holds, kept from before" in capsys.readouterr().out
    # What a claim says or is run with has changed: it is checked again; one that was not asked for stays.
    changed = first._replace(tolerance=0.2)
    run_all([changed, *again[1:]], [changed], tmp_path, settings)
    assert sorted(counted) == ["first", "first", "last"]
    assert len(json.loads((tmp_path / "claims.json").read_text())) == 3
    run_all([changed], [changed], tmp_path, settings._replace(full=True))
    assert sorted(counted) == ["first", "first", "first", "last"]


def test_what_raised_or_was_skipped_is_tried_again(tmp_path):
    tried = []

    def run(settings):
        tried.append(1)
        if len(tried) == 1:
            raise Skipped("not yet")
        return Measured(1.0)

    claims = [claim_of(run)]
    assert run_all(claims, claims, tmp_path, Settings())[0]["holds"] is None
    assert run_all(claims, claims, tmp_path, Settings())[0]["holds"] is True


def test_a_file_that_is_no_ledger_is_refused(tmp_path):
    (tmp_path / "claims.json").write_text('[{"name": 3}]')
    with pytest.raises(UserError, match="is not a ledger"):
        run_all([], [], tmp_path, Settings())


def test_the_table_is_aligned():
    entries = [check(claim_of(run, run.__name__), Settings())[0] for run in (passes, fails)]
    head, rule, *rows = page.table_lines(entries)[:4]
    assert len({len(line) for line in (head, rule, *rows)}) == 1
    assert rows[0].split()[:2] == ["passes", "1"] and "NO" in rows[1]


def test_ctrl_c_ends_with_130(tmp_path):
    process = start(f"--workdir={tmp_path}", "--tier=exact", binary="claims")
    for line in process.stdout:
        if "bernoulli_normalises" in line and "holds" in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "interrupted" in err
    assert len(json.loads((tmp_path / "claims.json").read_text())) >= 4


# ---------------------------------------------------------------- some claims, and errors planted in them


def _untransposed(written):
    return [(*how, large, small) for *how, small, large in written]


def _per_example(floor):
    def bound(t, weight=1.0):
        return -(jnp.mean(objective.distortion(t)) + weight * jnp.mean(jnp.sum(jnp.maximum(floor, t.q.kl()), -1)))

    return bound


EXACT = {
    "a dropped normaliser": (normalising.continuous_bernoulli_normalises, {"log_normalizer": jnp.zeros_like}),
    "its slope wrong": (
        golden.continuous_bernoulli_golden,
        {"log_normalizer": lambda logit: jnp.log(2.0) + 0.0 * logit},
    ),
    "uncorrected eigenvalues": (samples.spiked_held_out, {"foretold": lambda v, n, m: outlook(v, 10**7, m)}),
    "edges that are no power": (samples.patches_are_waves, {"spectrum_of": lambda x, periodic: power_spectrum(x)}),
    "a mean for a sum": (golden.likelihoods_golden, {"reduce": jnp.mean}),
    "p and q exchanged": (golden.kl_golden, {"kl": lambda q, p: kl_divergence(p, q)}),
    "an untransposed table": (golden.conventions_golden, {"written": _untransposed(golden.WRITTEN)}),
    "no resets": (golden.schedules_golden, {"cyclical": lambda stop, n, cycles, r, **_: schedules.linear(stop, n)}),
    "free bits of each example": (golden.objectives_golden, {"free_bits": _per_example}),
    "the width of a level forgotten": (golden.bits_per_dimension, {"offset": lambda mode, levels: 0.0}),
    "the mean of a batch's means": (identities.means_over_ragged_batches, {"mean": lambda v: np.mean(v[:1000])}),
    "a sum over samples": (
        identities.iwae_rises_with_samples,
        {"bound": lambda t: objective.iwae_per_example(t) + jnp.log(t.log_px_z.shape[-1])},
    ),
    "a lost constant": (
        codes.annealing_brackets_the_exact,
        {"likelihood": bed.FIXED._replace(log_prob=lambda *a: bed.FIXED.log_prob(*a) + 0.5), "plan": (16, 100)},
    ),
    "weights that are not squared": (
        estimators.encoder_is_heard_with_dreg,
        {"bound": Estimator(objective.iwae, stl.inference), "draws": 1_000},
    ),
    "beta left out": (theory.slope_of_the_frontier, {"theory": lambda v, b, s, m: predict(v, b, 0.5 * s, m)}),
    "an ELBO at weight 2": (theory.elbo_is_the_log_likelihood, {"weight": 2.0}),
    "log for half a log": (theory.three_entropies, {"entropy": lambda v: 0.5 * (1 + math.log(2 * math.pi)) + v}),
    "a mean error for a sum": (theory.calibration_at_any_weight, {"ratio_of": lambda sse, dim, v: sse / v}),
    "reductions ignored": (
        theory.convention_invariance,
        {"weight_of": lambda level, form, d, m: written_weight(level, theory.FORMS[0], d, m)},
    ),
}


@pytest.mark.parametrize("planted", EXACT)
def test_a_planted_error_fails_an_exact_claim(planted):
    function, ingredient = EXACT[planted]
    entry = checked(function, **ingredient)
    assert entry["holds"] is False and entry["error"] is None and entry["excess"] > 0


def test_a_planted_error_fails_a_fixed_point():
    assert checked(fixed_points.collapse_above_the_threshold, share=0.5)["holds"] is False
    mean_for_sum = checked(fixed_points.learned_precision_is_calibrated, dim=1)
    assert mean_for_sum["holds"] is False and mean_for_sum["measured"] == pytest.approx(10.0, rel=1e-3)


def _uncharged(run, schedule):
    return simulate(run, lambda step: 1e-3 * schedule(step))._replace(ends=simulate(run, schedule).ends)


def _without_noise(run, schedule):
    return simulate(run._replace(start=run.start._replace(logvar=-40.0)), schedule)


def _another_basis(run, schedule):
    return simulate(run._replace(start=run.start._replace(eigenvectors=None)), schedule)


PLANTED = {"beta left out": _uncharged, "the noise of z left out": _without_noise, "another basis": _another_basis}


@pytest.mark.parametrize("claim", [waking.latents_wake_when_foretold, waking.latents_wake_when_foretold_by_adam])
def test_a_planted_error_fails_the_time_of_waking(claim, monkeypatch):
    ramp = waking.schedules_of(waking.Way(False, 0.0, 600, (300,), 1))["ramp of 300"]
    monkeypatch.setattr(waking, "schedules_of", lambda way: {"a ramp": ramp})
    for name in ("DESCENT", "ADAM"):
        monkeypatch.setattr(waking, name, getattr(waking, name)._replace(steps=600))
    assert checked(claim)["measured"] == 0.0
    for planted in (_uncharged, _without_noise, _another_basis):
        assert checked(claim, simulated=planted)["holds"] is False, planted


def test_a_planted_error_fails_a_statistical_claim(tmp_path, monkeypatch):
    """A variance that is a tenth of the level wakes the code that should collapse, and the one that should sleep.

    The sweep is real but for its training: each run has the rate that the linear theory has at its sigma, or next to
    none above half of the largest eigenvalue, where it has not woken yet.
    """
    spectrum = np.full(64, 5.0) / np.arange(1, 65)
    swept = []

    def trained(config):
        sigmas = [float(sigma) for sigma in config.sigma.split(",")]
        swept.append(sigmas)
        rates = [predict(spectrum, 1.0, sigma**2, 4).rate if sigma**2 < 2.5 else 1e-4 for sigma in sigmas]
        rows = [{"status": "done", "seed": 0, "asked": {"sigma": s}, "rate": r} for s, r in zip(sigmas, rates)]
        Path(config.workdir).mkdir(parents=True)
        (Path(config.workdir) / "sweep.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        print("trained")

    monkeypatch.setattr("experiments.sweep.main", trained)
    monkeypatch.setattr("vae_jax.runs.build.material", lambda config: SimpleNamespace(spectrum=spectrum))
    names = ("deep_code_just_below_the_threshold_sleeps_as_foretold", "deep_collapse_above_the_threshold")
    monkeypatch.setattr(runs, "_trouble", lambda *_: None)  # MNIST need not be there
    for planted, expected in (({}, [True, True]), ({"sigma_of": lambda s, dim: math.sqrt(s / 10)}, [False, False])):
        claims = [BY_NAME[name] for name in names]
        claims = [c._replace(run=functools.partial(c.run, **planted)) for c in claims]
        assert [check(claim, Settings(tmp_path))[0]["holds"] for claim in claims] == expected
    assert len(swept) == 2  # the second claim of each reads what the first has trained
    np.testing.assert_allclose(np.square(swept[0]), [4.5, 5.25], rtol=1e-6)
    assert (tmp_path / f"{names[0]}.log").read_text() == "trained\ntrained\n"


def test_the_waking_of_deep_codes_is_compared_without_a_ramp(rows):
    share = {0.2: (189, 64), 0.35: (258, 202), 0.5: (329, 335), 0.7: (547, 482), 0.9: (1301, None)}
    found = [{"ramp": 0, "share": s, "foretold": told, "observed": seen} for s, (told, seen) in share.items()]
    rows(collapse, "kept", [*found, {"ramp": 150, "share": 0.7, "foretold": 237, "observed": 20}])
    entry = checked(collapse.deep_codes_wake_when_foretold)
    assert entry["holds"] is True and entry["measured"] == pytest.approx(math.log2(258 / 202))
    late = {"counted": lambda rows: [row | {"foretold": row["foretold"] / 3} for row in rows]}
    assert checked(collapse.deep_codes_wake_when_foretold, **late)["holds"] is False
    asleep = {"counted": lambda rows: [row | {"observed": None} for row in rows]}
    assert checked(collapse.deep_codes_wake_when_foretold, **asleep)["holds"] is False


# ---------------------------------------------------------------- what statistical claims make of rows


@pytest.fixture
def rows(monkeypatch):
    """Rows in place of those that training makes: ``rows(module, list)``."""

    def give(module, name, found):
        monkeypatch.setattr(module, name, lambda *args: found)

    return give


def test_an_untransposed_table_of_scores_is_noticed(rows):
    curve = {0.001: 0.7, 0.01: 0.9, 0.1: 0.3}
    found = [
        {"beta_norm": w, "seed": s, "score": v + 0.01 * s, "rate": 1 / w} for w, v in curve.items() for s in range(3)
    ]
    rows(factors, "_rows", found[::-1])
    entry = checked(factors.disentanglement_peaks_between)
    assert entry["holds"] is True and entry["measured"] == pytest.approx(0.2) and entry["spread"] < 1e-9
    assert checked(factors.disentanglement_peaks_between, transposed=True)["holds"] is False
    assert checked(factors.a_heavy_weight_costs_the_score)["measured"] == pytest.approx(0.4)


def test_the_order_of_the_continuous_bernoulli_needs_every_seed(rows):
    found = [{"seed": s, "continuous": 1470.0, "mean": 1416.0, "lambda": 1139.0 + 10 * s} for s in range(3)]
    rows(images, "_loaiza", found)
    assert checked(images.continuous_bernoulli_order)["measured"] == pytest.approx(54.0)
    mixed = {"continuous": "mean", "mean": "lambda", "lambda": "continuous"}
    assert checked(images.continuous_bernoulli_order, read=mixed)["holds"] is False
    assert checked(images.continuous_bernoulli_gap)["measured"] == pytest.approx(321.0)
    found[1]["mean"] = 1480.0
    assert checked(images.continuous_bernoulli_order)["holds"] is False


def test_data_that_are_not_there_skip_a_claim(tmp_path, monkeypatch):
    monkeypatch.delenv("VAE_JAX_RAW_DIR", raising=False)
    entry = check(BY_NAME["disentanglement_peaks_between"], Settings(tmp_path))[0]
    assert entry["holds"] is None and "VAE_JAX_RAW_DIR is not set" in word(entry)
    monkeypatch.setenv("VAE_JAX_RAW_DIR", str(tmp_path))
    with pytest.raises(Skipped, match="does not hold dsprites/x"):
        runs.original("dsprites/x.npz")
    settings = SimpleNamespace(data_dir=str(tmp_path))
    with pytest.raises(Skipped, match="mnist"):
        runs.need("mnist", settings)


def test_rows_are_chosen_in_the_order_of_the_seeds():
    found = [{"seed": 1, "arm": "a", "v": 2.0}, {"seed": 0, "arm": "a", "v": None}, {"seed": 2, "arm": "b", "v": 5.0}]
    np.testing.assert_array_equal(runs.of(found, "v", arm="a"), [np.nan, 2.0])
    assert runs.spread_of([1.0]) is None and runs.spread_of([1.0, 3.0]) == pytest.approx(math.sqrt(2))
    assert runs.shown([1.0, 3.0]) == "2 ± 1.4"


def test_rows_are_made_once_for_the_same_flags(tmp_path):
    made = []

    def make(root):
        made.append(root)
        root.mkdir(parents=True)
        return [{"seed": 0, "at": time.time()}]

    settings = Settings(tmp_path)
    first = runs.kept(settings, "family", {"a": 1}, make)
    assert runs.kept(settings, "family", {"a": 1}, make) == first and len(made) == 1
    runs.kept(settings, "family", {"a": 2}, make)
    runs.kept(settings._replace(full=True), "family", {"a": 1}, make)
    assert len({root.name for root in made}) == 3
