"""The report of a run: made files in, figures and a page out."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers.made_runs import FIGURES, M, Page, all_pictures, code_pictures, config, curve, metrics, results, write_run

from experiments.papers.figures import comparison, table_lines
from vae_jax.report import Run, latent_figures, load, read, row_figures, write_report
from vae_jax.report.class_colours import MOST, class_style
from vae_jax.report.image_grids import interpolations, reconstructions, samples, tempered, traversals
from vae_jax.report.latent_figures import THRESHOLD, embedding, kl_per_latent
from vae_jax.report.page import typeset
from vae_jax.report.reliability_figure import reliability
from vae_jax.report.training_curves import limits
from vae_jax.types import UserError

PNG = b"\x89PNG"
CODE = (traversals, interpolations, tempered, embedding)
NOTHING = Run(results(), config(), [], {})


def page_of(workdir):
    return Page(write_report(workdir).read_text(encoding="utf-8"))


# The page


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with all that a report can show: its folder, and its page."""
    workdir = tmp_path_factory.mktemp("whole")
    write_run(workdir, results(reliability=curve()), config(), metrics(), all_pictures(), torn=True)
    return workdir, write_report(workdir).read_bytes()


def test_a_whole_run(whole):
    workdir, source = whole
    page = Page(source.decode())
    assert len(page.images) == len(FIGURES) and all(image["alt"] for image in page.images)
    for word in (results()["headline"], "17.42", "Not collapsed", "--learning_rate", "0.001", results()["protocol"]):
        assert word in page.text
    left = {p.relative_to(workdir).as_posix(): p for p in workdir.rglob("*") if p.is_file()}
    files = ["config.json", "metrics.jsonl", "pictures.npz", "report.html", "results.json"]
    assert sorted(left) == sorted([*(f"figures/{n}" for n in FIGURES), *files])
    assert all(left[f"figures/{name}"].read_bytes().startswith(PNG) for name in FIGURES)
    assert not re.search(r"https?://|url\(|@import", source.decode())


def test_the_same_run_gives_the_same_bytes_and_what_is_no_longer_true_goes(whole):
    workdir, source = whole
    assert write_report(workdir).read_bytes() == source
    (workdir / "metrics.jsonl").rename(workdir / "elsewhere")
    (workdir / "pictures.npz").unlink()
    assert "no pictures.npz" in page_of(workdir).text
    assert sorted(p.name for p in (workdir / "figures").iterdir()) == ["kl_per_latent.png", "reliability.png"]


def test_only_results_that_are_not_finite(tmp_path):
    write_run(tmp_path, results(kl_per_latent=None, elbo=math.nan, mse=math.inf))
    assert load(tmp_path).results["elbo"] is None
    page = page_of(tmp_path)
    assert not page.images and "no config.json" in page.text and "The run diverged" in page.text


def test_a_short_and_collapsed_run(tmp_path):
    changes = dict.fromkeys(("sigma", "water_level", "calibration")) | {"train": {}, "kl_per_latent": [0.0] * M}
    numbers = results(rate=0.0, active_units=0, **changes)
    workdir = write_run(tmp_path, numbers, config(likelihood="bernoulli"), metrics(steps=20, sigma=False))
    page = page_of(workdir)
    assert len(page.images) == 3 and "Collapsed" in page.text and "no test lines" in page.text
    assert "Noise sigma" not in page.text


def test_the_evaluation_is_on_the_page_and_its_parts_are_read(tmp_path):
    def parts(mutual):
        values = {"mutual_information": mutual, "total_correlation": 2.9, "dimension_wise_kl": 1.1}
        return {"cap": 9.2} | {k: {"value": v, "error": 0.01} for k, v in values.items()}

    write_run(tmp_path, {"elbo": -80.0, "rate": 10.0, "distortion": 70.0, "active_units": 5, "step": 9})
    assert "<h2>Evaluation</h2>" not in write_report(tmp_path).read_text()
    gaps = {"approximation_gap": 2.465, "approximation_gap_error": 0.078, "effective_samples": 7.0, "elbo": -1.0}
    made = {"step": 9, "elbo": -80.5, "iw_nll": 77.125, "iw_samples": 5000, "rate_parts": parts(6.0), "gaps": gaps}
    made["disentanglement"] = {"mig": 0.3125, "sap": None, "protocol": "sub-grid of 10 <images>"}
    (tmp_path / "evaluation.json").write_text(json.dumps(made))
    page = page_of(tmp_path)
    for words in ("Evaluation", "−80.50", "77.1", "5000 samples", "2.465", "0.3125", "<images>", "together 4.000 nats"):
        assert words in page.text
    assert "not of the state" not in page.text
    (tmp_path / "evaluation.json").write_text(json.dumps(made | {"step": 5}))
    assert "not of the state" in write_report(tmp_path).read_text()
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(UserError, match=r"evaluation\.json"):
        write_report(tmp_path)


def test_letters_and_signs_are_set_but_never_names():
    words = typeset("beta sigma^2 = -1.5e-6, -.5, --beta=1 --sigma=-2 beta_norm, the beta likelihood; -log p < 0, 2-3")
    assert words == (
        "β σ² = −1.5 × 10<sup>−6</sup>, −.5, --beta=1 --sigma=-2 beta_norm, the beta likelihood; −log p &lt; 0, 2-3"
    )


# The files


def test_lines_of_a_killed_and_resumed_run(tmp_path):
    lines = metrics(steps=100)
    write_run(tmp_path, results(), metrics=[*lines, {**lines[2], "rate": 99.0}, 3, {"no": "step"}], torn=True)
    read_back = load(tmp_path).metrics
    assert [m["step"] for m in read_back] == [0, 20, 40, 60, 80]
    assert read_back[2]["rate"] == 99.0


LINES = metrics(400)
DAMAGED = {
    "no lines": [],
    "the test line of a run that was finished again": [line for line in LINES if line["split"] == "test"][-1:],
    "one training line": LINES[:1],
    "only nulls": [dict.fromkeys(line) | {k: line[k] for k in ("step", "split")} for line in LINES],
    "huge numbers": [dict.fromkeys(line, 1e299) | {k: line[k] for k in ("step", "split")} for line in LINES],
    "no such step": [LINES[0] | {"step": -5}, LINES[0] | {"step": 1e299}],
    "zeros": [dict.fromkeys(line, 0) | {k: line[k] for k in ("step", "split")} for line in LINES],
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("numbers", [results(), {}])
def test_lines_that_are_lost_or_damaged_are_left_out(tmp_path, name, numbers):
    page = page_of(write_run(tmp_path, numbers, config(), DAMAGED[name], torn=True))
    assert "Configuration" in page.text and read(numbers, config(), load(tmp_path).metrics)


def test_a_run_without_results_says_so(tmp_path):
    write_run(tmp_path, config=config(), metrics=metrics(steps=100))
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="no results yet"):
            write_report(folder)
    assert not (tmp_path / "report.html").exists()
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UserError, match=r"results\.json"):
        write_report(tmp_path)


def test_it_reads_files_only():
    code = "import sys, vae_jax.report; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"matplotlib", "jinja2", "flax", "orbax", "vae_jax.train", "vae_jax.models"} & set(loaded)


# The figures


SIGNALS = np.sin(np.linspace(0.0, 6.0, 13) + np.arange(33.0)[:, None])  # [33, 13]
TABLE = np.random.default_rng(0).normal(size=(33, 13)) * 10.0 ** np.arange(13)


@pytest.mark.parametrize(("n", "shape"), [(1, (8, 8, 1)), (7, (12, 5, 3)), (33, (64, 64, 3)), (33, (13,))])
def test_pictures_and_signals_of_any_size_and_number(n, shape):
    shown = {
        k: np.random.default_rng(0).uniform(-0.1, 1.1, (n, *shape)) if len(shape) == 3 else SIGNALS.copy()
        for k in ("inputs", "reconstructions", "samples")
    }
    shown["samples"][(0,) * (1 + len(shape))] = math.nan
    for figure in (reconstructions, samples):
        assert figure(NOTHING._replace(pictures=shown)).png.startswith(PNG)


@pytest.mark.parametrize("event", [(8, 8, 1), (1, 2, 3), (64, 40, 3), (13,)])
def test_figures_of_the_code(event):
    pictures = code_pictures(event, image=len(event) == 3) | ({} if len(event) == 3 else {"inputs": SIGNALS})
    figures = [figure(NOTHING._replace(pictures=pictures)) for figure in CODE]
    assert all(figure.png.startswith(PNG) and figure.alt for figure in figures)
    assert "\N{MINUS SIGN}2.0 to 2.0" in figures[0].caption and "60% of the variance" in figures[3].caption


def test_nothing_is_drawn_across_the_columns_of_a_table_and_no_mean_of_categories():
    pictures = code_pictures((13,), image=False) | dict.fromkeys(("inputs", "reconstructions", "samples"), TABLE)
    for flags in ({}, {"likelihood": "columns", "columns": "gaussian:10,categorical(4):3"}):
        run = NOTHING._replace(pictures=pictures, config=config(**flags))
        drawn = reconstructions(run)
        assert drawn.png.startswith(PNG) and ("3 columns of categories are left out" in drawn.caption) == bool(flags)
        for figure in (samples, *CODE[:3]):
            assert figure(run).png is None and "columns of a table make no picture" in figure(run).caption
    for columns in ("bernoulli:13", "categorical(3):13", "of a damaged file", 3):
        names = NOTHING._replace(pictures=pictures, config=config(likelihood="columns", columns=columns))
        assert reconstructions(names).png is None and "no column" in reconstructions(names).caption


def test_figures_of_the_code_that_cannot_be_drawn():
    tokens = NOTHING._replace(pictures=code_pictures((7, 3, 2, 1), image=False))
    for figure in CODE[:3]:
        assert figure(NOTHING).png is None and "no pictures.npz" in figure(NOTHING).caption
        assert figure(tokens).png is None and "7 x 3 x 2 x 1" in figure(tokens).caption
    assert embedding(NOTHING).png is None
    one_point = {**code_pictures((13,)), "embedding": np.zeros((40, 2))}
    assert "hardly differ" in embedding(NOTHING._replace(pictures=one_point)).caption


@pytest.mark.parametrize(("count", "words"), [(0, "variance)."), (1, "by factor 0"), (8, "one factor in each panel")])
def test_the_map_is_coloured_by_factors(count, words):
    rng = np.random.default_rng(0)
    columns = [rng.integers(10, size=40), np.arange(40), np.zeros(40), *rng.integers(3, size=(5, 40))][:count]
    factors = {"factor_names": np.array([f"factor {i}" for i in range(count)])}
    factors |= {"factors": np.stack(columns, axis=1)} if count else {}
    figure = embedding(NOTHING._replace(pictures=code_pictures((13,)) | factors))
    assert figure.png.startswith(PNG) and words in figure.caption


@pytest.mark.parametrize(("count", "names", "factors"), [(3, 3, 1), (23, 23, 2), (10, 0, 1), (50, 50, 1)])
def test_classes_have_their_names_in_a_legend_and_a_look_of_their_own(count, names, factors, monkeypatch):
    """Of each class its points have the look of its entry in the legend; more than can be told apart are a scale."""
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure as Canvas

    drawn = []
    monkeypatch.setattr(latent_figures, "draw", lambda paint, **size: drawn.append(paint) or b"")
    labels, rng = np.arange(100) % count, np.random.default_rng(0)
    points = rng.normal(size=(100, 2)) + labels[:, None]
    pictures = code_pictures((13,)) | {"embedding": points}
    pictures |= {"factors": np.stack([labels, labels % 2], axis=1)[:, :factors]}
    pictures |= {"factor_names": np.array(["label", "side"][:factors])}
    pictures |= {"class_names": np.array([f"kind {i}" for i in range(names)])} if names else {}
    embedding(NOTHING._replace(pictures=pictures))
    drawn[0](canvas := Canvas(layout="constrained"))
    if count > MOST:
        assert not canvas.legends
        return
    written = [text.get_text() for text in canvas.legends[0].get_texts()]
    assert written == [f"kind {i}" if names else str(i) for i in range(count)]
    looks = set()
    for i, dots in enumerate(canvas.axes[0].collections):
        np.testing.assert_array_equal(dots.get_offsets(), points[labels == i])
        assert tuple(dots.get_facecolor()[0][:3]) == to_rgba(class_style(i)["color"])[:3]
        looks.add((tuple(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes()))
    assert len(looks) == count


def test_rows_of_a_table_have_the_colours_of_their_classes(monkeypatch):
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure as Canvas

    drawn, rng = [], np.random.default_rng(0)
    monkeypatch.setattr(row_figures, "draw", lambda paint, **size: drawn.append(paint) or b"")
    x, labels = rng.normal(size=(12, 4)), np.arange(12) % 3 + 1
    pictures = {"inputs": x, "reconstructions": x + 1, "factors": np.r_[labels, labels][:, None]}
    pictures |= {"factor_names": np.array(["label"]), "class_names": np.array(["none", "a", "b", "c"])}
    figure = reconstructions(NOTHING._replace(pictures=pictures))
    assert figure.caption.endswith("Colours and markers are the classes.")
    drawn[0](canvas := Canvas(layout="constrained"))
    assert [text.get_text() for text in canvas.legends[0].get_texts()] == ["a", "b", "c"]
    for kind, dots in zip((1, 2, 3), canvas.axes[0].collections):
        np.testing.assert_array_equal(dots.get_offsets(), np.stack([x[:, 0], x[:, 0] + 1], 1)[labels == kind])
        assert tuple(dots.get_facecolor()[0][:3]) == to_rgba(class_style(kind)["color"])[:3]


def test_the_reliability_curve():
    def of(measured, **flags):
        return reliability(Run(results(reliability=measured), config(**flags), [], {}))

    assert "did not measure" in of(None).caption
    for power, words in ((1.0, "is 0."), (2.0, "too narrow on the whole"), (0.5, "too wide on the whole")):
        assert of(curve(power)).png.startswith(PNG) and words in of(curve(power)).caption
    assert of(curve(), likelihood="bernoulli").caption.endswith("within the jump at x.")
    assert "12.5% of the values" in of(curve() | {"share": 0.125}, likelihood="bernoulli").caption
    for broken in ({"skipped": "it has none"}, curve() | {"coverage": []}, curve() | {"pit": [None] * 40}):
        assert of(broken).png is None and "not drawn, because" in of(broken).caption


def test_huge_first_values_do_not_set_the_axes():
    steps = np.arange(0.0, 1000.0, 10.0)
    low, high = limits([(steps, 20.0 + 1e4 * np.exp(-steps / 15.0))])
    assert low <= 20.0 and high < 60.0
    low, high = limits([(np.array([7.0]), np.array([3.0]))])
    assert low < 3.0 < high
    assert limits([(np.array([0.0]), np.array([math.nan]))]) == (0.0, 1.0)


def test_the_latents_that_carry_something_are_marked():
    assert pytest.approx(0.0050252, rel=1e-4) == THRESHOLD
    burda = kl_per_latent(NOTHING)
    numbers = results(used_latents=2, information_per_latent=[0.0] * (M - 2) + [1.5, 0.8])
    carried = kl_per_latent(NOTHING._replace(results=numbers))
    assert burda.png.startswith(PNG) and carried.png != burda.png
    assert "variance of its posterior mean" in burda.caption and "whatever its scale" in carried.caption


def test_a_comparison_puts_the_best_first_and_gives_the_spread():
    def row(name, seed, elbo):
        other = ("calibrated_distortion", "rate", "rmse", "sigma", "beta", "active_units", "seconds")
        return {"name": name, "seed": seed, "calibrated_elbo": elbo} | dict.fromkeys(other, 0.5 + seed)

    rows = [row("worse", 0, 1.0), row("worse", 1, 2.0), row("better", 0, 3.0), row("better", 1, 5.0)]
    lines = table_lines(rows)
    assert lines[2].startswith("| better | 4.0 ± 1.4 | 1.0 ± 0.7 |") and lines[3].startswith("| worse | 1.5 ± 0.7 |")
    assert comparison(rows).png.startswith(PNG)
