"""The report of a sweep: made runs in, the two figures and the page out."""

from __future__ import annotations

import json
import math
from unittest import mock

import numpy as np
import pytest
from helpers.browser import BROWSER, WIDTHS, faults, measured
from helpers.made_runs import Page
from made_sweeps import CASES, SWEEPS, D, fixed, grid, lost, plain, row, summary, theory, write
from matplotlib.lines import AxLine

from vae_jax.report.figure import label_of, legend_columns
from vae_jax.report.sweep import frontier_figure
from vae_jax.report.sweep.beta_profile import beta_profile
from vae_jax.report.sweep.frontier_figure import calibrated, frontier
from vae_jax.report.sweep.grouping import arrange
from vae_jax.report.sweep.linear_theory import gaussian_distortion
from vae_jax.report.sweep.lines import lines_of, near
from vae_jax.report.sweep.recommendation import best
from vae_jax.report.sweep.sweep_files import load_sweep
from vae_jax.report.sweep.sweep_page import write_sweep_report
from vae_jax.types import UserError

# The figures


def panels(name):
    """The drawn panels of the frontier of a case."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kept = []

    def paint_only(paint, height):
        kept.append(Figure(figsize=(6.4, height), dpi=180, layout="constrained"))
        FigureCanvasAgg(kept[0])
        paint(kept[0])

    with mock.patch.object(frontier_figure, "draw", paint_only):
        frontier(SWEEPS[name])
    return kept[0].axes[:2]


@pytest.fixture(scope="module")
def plain_panels():
    return panels("plain")


def test_the_diagonals_run_through_the_right_points(plain_panels):
    top = best(SWEEPS["plain"])
    diagonals = [x for x in plain_panels[0].get_lines() if isinstance(x, AxLine)]
    assert len(diagonals) > 4 and all(x.get_slope() == -1.0 for x in diagonals)
    dashed, *more = [-x.get_xy1()[0] for x in diagonals if x.get_linestyle() == "--"]
    here = top.setting.mean("common_distortion"), top.setting.mean("rate")
    assert not more and dashed == top.mean == pytest.approx(-sum(here))
    above, edge = plain_panels[0].child_axes[0], plain_panels[0].get_ylim()[1]
    at_the_edge = above.transData.transform([(tick, 0) for tick in above.get_xticks()])[:, 0]
    drawn = [(-tick - edge, edge) for tick in above.get_xticks()]
    assert at_the_edge == pytest.approx(plain_panels[0].transData.transform(drawn)[:, 0])
    assert {-x.get_xy1()[0] for x in diagonals} > set(above.get_xticks())


@pytest.mark.parametrize("name", ["plain", "bernoulli", "two_latents", "multi_rate", "damaged"])
def test_labels_of_the_frontier_overlap_nothing(name, plain_panels):
    for axes in plain_panels if name == "plain" else panels(name):
        labels = [t for t in axes.texts if t.get_text() and not t.get_rotation()]
        assert len(labels) >= 4
        boxes = [t.get_window_extent() for t in labels]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        for line in axes.get_lines():
            if line.get_zorder() >= 3:  # means, seeds and stars
                for x, y in axes.transData.transform(line.get_xydata()):
                    assert not any(b.x0 < x < b.x1 and b.y0 < y < b.y1 for b in boxes)


def test_the_theory_is_drawn_where_it_holds(plain_panels):
    def references(axes):
        return [x.get_xydata() for x in axes.get_lines() if x.get_gid() == "reference"]

    error = np.array(theory()["frontier"]["rms"])
    assert references(plain_panels[0])[0][:, 0] == pytest.approx(0.5 * D * (1 + np.log(2 * np.pi * error**2)))
    assert references(plain_panels[1])[0][:, 0] == pytest.approx(error)
    assert gaussian_distortion(0.3, 7) == pytest.approx(7 * (0.5 * math.log(2 * math.pi * 0.09) + 0.5))
    drawn = panels("bernoulli")
    assert not references(drawn[0]) and references(drawn[1])  # no plane of nats for another family


def test_the_calibrated_point():
    setting, words = calibrated(SWEEPS["plain"])
    assert setting.flags == {"beta": 1.0} and words == "calibrated, β = 1"
    assert calibrated(SWEEPS["bernoulli"])[1] == calibrated(SWEEPS["collapsed"])[1] == "best ELBO"
    assert calibrated(arrange(fixed((0.2,), (0.5, 1.0))))[1] == "best ELBO"


def test_a_run_far_off_does_not_set_the_axes_and_a_collapsed_one_may():
    values = [1.0, 2.0, 3.0, 4.0, 500.0]
    assert near(values, [False] * 5) == values[:4] and near(values, [False] * 4 + [True]) == values
    assert near(values[::-1], [False] * 5) == values[:4]
    assert near([1.0, 1.0, 500.0], [False] * 3) == [1.0, 1.0, 500.0]


def test_figures_of_odd_sweeps():
    nothing = [lost(r) for r in grid([1.0])]
    for figure in (frontier, beta_profile):
        for about in ({}, summary(nothing)):
            drawn = figure(arrange(nothing, about))
            assert drawn.png is None and "not drawn" in drawn.caption
    zero = plain(0.0, asked={"beta": 0.0, "seed": 0}, **{k: row(0.5)[k] for k in ("mse", "beta_norm")})
    for rows in ([*grid([1.0, 2.0]), zero], grid([1e-3, 1e3], 1), fixed((0.2, 1.0), (0.5, 8.0)), [row(1.0, 0, {})]):
        sweep = arrange(rows, summary(rows))
        assert frontier(sweep).png and beta_profile(sweep).png
    assert len(lines_of(SWEEPS["random"].groups("beta"))) == 1
    assert legend_columns(["a"] * 4) == 4 and legend_columns(["a" * 40] * 4) == 2
    assert label_of("a  $\n" + "b" * 50, 9) == r"a \$ bb..."


# The files and the page


@pytest.mark.parametrize("name", list(CASES))
def test_a_page_of_every_kind(tmp_path, name):
    rows, about = CASES[name]
    path = write_sweep_report(write(tmp_path, rows, about))
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.images) == 2 and all(20 < len(image["alt"]) < 80 for image in page.images)
    assert page.text.count("seed =") == (len(rows) if len(rows) <= 24 else 0)
    assert ("as β does not vary" in page.text) == (name in ("learning_rate", "models"))
    if name == "single":
        before = path.read_bytes()
        assert write_sweep_report(tmp_path).read_bytes() == before
        (tmp_path / "sweep.json").unlink()
        assert len(Page(write_sweep_report(tmp_path).read_text()).images) == 2  # from the runs alone


def test_the_page_of_texts_has_neither_errors_nor_sigma(tmp_path):
    """One panel, an axis of beta, two decimals of small numbers, and no flag that does nothing."""
    own = dict(likelihood="tokens", pixels="grey", precision="learned", model="recurrent", mse=None, beta_norm=None)
    rows = [plain(1.0, s, **own, elbo=-13.07 - 0.01 * s, rate=0.3, distortion=12.77 + 0.01 * s) for s in range(2)]
    about = summary(rows, reference=[], flags={"dataset": "grammar"}, dataset="grammar", gaussian=False)
    page = Page(write_sweep_report(write(tmp_path, rows, about)).read_text(encoding="utf-8"))
    assert "-13.07" in page.text.replace("\N{MINUS SIGN}", "-") and "0.30" in page.text
    assert "--model" in page.text and not any(
        word in page.text for word in ("RMS", "(b) Rate", "None", "--precision", "--pixels")
    )
    assert [image["alt"] for image in page.images][1] == "The sweep along beta"


def test_one_network_has_a_line_for_each_beta_and_keeps_them_all(tmp_path):
    rows, about = CASES["multi_rate"]
    one = [row | {"run": "multi_rate"} if row["method"] == "multi_rate" else row for row in rows if row["seed"] == 0]
    kept = load_sweep(write(tmp_path, one, about)).rows
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
    write(tmp_path, [lost(r) for r in rows[:1]], about)
    assert not Page(write_sweep_report(tmp_path).read_text()).images and not (tmp_path / "frontier.png").exists()


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
    rows, about, *_ = load_sweep(tmp_path)
    assert (
        rows[0]["rate"] == 7.0 and len(rows) == 2 and about == {"reference": [], "workdir": str(tmp_path)}
    )  # the later line of a run counts


BROKEN = [
    {"frontier": {"rms": [1.0, 0.0], "rate": [1.0], "water_level": []}},
    {"frontier": {"rms": [0.0], "rate": [1.0], "water_level": [1.0]}, "calibrated": {"rms": None}},
    {},
    None,
]


@pytest.mark.parametrize("lost", [("beta_norm",), ("data_dim", "lambda_max"), ("mse", "active_units"), ("train",)])
def test_numbers_that_are_lost_are_not_drawn(tmp_path, lost):
    rows = [{k: v for k, v in row.items() if k not in lost} for row in grid([1.0, 30.0], 1)]
    reference = [{**theory(), **BROKEN[0]}, *BROKEN[1:], theory()]
    write_sweep_report(write(tmp_path, rows, summary(rows, reference=reference)))
    assert all((tmp_path / name).exists() for name in ("frontier.png", "beta_profile.png"))


@pytest.mark.skipif(BROWSER is None, reason="no browser: VAE_JAX_BROWSER is not set")
def test_the_page_fits_a_phone_and_stands_alone(tmp_path):
    pages = []
    for name in ("damaged", "two_latents", "multi_rate", "learning_rate"):
        pages.append(write_sweep_report(write(tmp_path / name, *CASES[name])).read_text(encoding="utf-8"))
    seen = measured(tmp_path, pages)
    assert [faults(s) for s in seen] == [[]] * len(WIDTHS) * len(pages), seen
    assert all(s["images"] == 2 for s in seen)
