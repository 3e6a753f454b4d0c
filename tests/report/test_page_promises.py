"""What figures and pages promise a reader, and would break without a sound."""

import dataclasses
import itertools
import re

import numpy as np
import pytest
from helpers.made_runs import M, all_pictures, code_pictures, config, metrics, results
from made_sweeps import SWEEPS, grid, summary
from matplotlib.figure import Figure as Canvas

from vae_jax.report import Run, image_grids, latent_figures, page, run_page, run_tables, training_curves
from vae_jax.report.class_colours import COLOURS, MARKERS, MOST, class_style
from vae_jax.report.figure import COLUMN, DPI, WIDTH, Figure, letters
from vae_jax.report.image_grids import HEIGHT, reconstructions, traversals
from vae_jax.report.latent_figures import embedding, used_mask
from vae_jax.report.page import undrawn, whole_flags
from vae_jax.report.sweep.grouping import arrange
from vae_jax.report.sweep.sweep_findings import disentanglement
from vae_jax.report.sweep.sweep_tables import configuration
from vae_jax.report.training_curves import curves, weight
from vae_jax.runs.flag_words import noted_flags
from vae_jax.runs.settings import Config

RUN_FIGURE = Figure("a.png", "A figure: made.", b"\0" * 16 + (100).to_bytes(4, "big"))
RUN = Run(results(), config(), [], code_pictures((8, 8, 1)))


def painted(monkeypatch, room, figure, run):
    """The figure of a run, and the canvas that it was painted on."""
    drawn = []
    monkeypatch.setattr(room, "draw", lambda paint, **size: drawn.append(paint) or b"")
    made = figure(run)
    for paint in drawn:
        paint(canvas := Canvas(layout="constrained"))
    return made, canvas if drawn else None


def test_traversals_skip_latents_that_are_not_in_use(monkeypatch):
    rows = []
    monkeypatch.setattr(image_grids, "grid", lambda rows_, labels, **_: rows.append((rows_, labels)) or b"")
    pictures = code_pictures((8, 8, 1)) | {"traversal_latents": np.array([2, 15, 1])}
    some = traversals(RUN._replace(pictures=pictures))  # 13 of 16 are active: the last three sleep
    np.testing.assert_array_equal(used_mask(RUN), np.arange(M) < 13)
    (shown, labels), *_ = rows
    assert [label.split("\n")[0] for label in labels] == ["z2", "z1"] and "3 of 16 latents" in some.caption
    np.testing.assert_array_equal(shown, pictures["traversals"][[0, 2]])
    none = traversals(RUN._replace(results=results(active_units=0)))
    assert none.png is None and "no latent is in use" in none.caption
    unknown = RUN._replace(results=results(kl_per_latent=None))
    assert used_mask(unknown) is None and traversals(unknown).png is not None and len(rows[-1][0]) == 3


def test_data_reconstructions_and_samples_stand_in_one_figure(monkeypatch):
    rows = []
    monkeypatch.setattr(image_grids, "grid", lambda rows_, labels, **_: rows.append((rows_, labels)) or b"")
    pictures = all_pictures() | {"samples": np.random.default_rng(5).uniform(size=(40, 8, 8, 1))}
    assert "prior N(0, I)" in reconstructions(RUN._replace(pictures=pictures)).caption
    assert rows[0][1] == ["data", "E[x|z]"] * 3 + ["samples"]
    np.testing.assert_array_equal(rows[0][0][-1], pictures["samples"][:10])
    reconstructions(RUN._replace(pictures=pictures | {"sample_rows": np.array(list("abcde"))}))
    np.testing.assert_array_equal(rows[1][0][-1], pictures["samples"][::8])  # one of each condition


def test_the_map_says_its_share_and_has_no_text_over_its_points(monkeypatch):
    pictures = RUN.pictures | {"factors": np.arange(40)[:, None] % 3, "factor_names": np.array(["label"])}
    made, canvas = painted(monkeypatch, latent_figures, embedding, RUN._replace(pictures=pictures))
    assert "The two hold 69% of the variance" in made.caption
    assert not canvas.axes[0].texts and [t.get_text() for t in canvas.legends[0].get_texts()] == ["0", "1", "2"]


def test_neighbouring_classes_differ_in_colour_and_marker():
    looks = [class_style(i) for i in range(MOST)]
    assert len({tuple(look.values()) for look in looks}) == MOST == len(COLOURS) * len(MARKERS)
    for one, other in itertools.pairwise(looks):
        assert one["color"] != other["color"] and one["marker"] != other["marker"]


def constant(lines):
    return [m | {"beta": 1.0, "loss": -m["elbo"]} if m["split"] == "train" else m for m in lines]


def test_a_constant_weight_has_no_panel(monkeypatch):
    lines = metrics(400)
    ramp, canvas = painted(monkeypatch, training_curves, weight, RUN._replace(metrics=lines))
    assert [axes.get_ylabel() for axes in canvas.axes] == ["weight β", "noise σ", "water level βσ²"]
    still, canvas = painted(monkeypatch, training_curves, weight, RUN._replace(metrics=constant(lines)))
    assert [axes.get_ylabel() for axes in canvas.axes] == ["noise σ", "water level βσ²"]
    assert "beta = 1 all along" in still.caption and "all along" not in ramp.caption
    fixed = [m | {"sigma": 0.2} for m in constant(lines)]
    none, canvas = painted(monkeypatch, training_curves, weight, RUN._replace(metrics=fixed))
    assert none.png is None and canvas is None and "beta = 1 and sigma = 0.2 all along" in none.caption


def test_a_loss_that_is_the_bound_has_no_panel(monkeypatch):
    for lines, panels in ((metrics(400), 4), (constant(metrics(400)), 3)):
        made, canvas = painted(monkeypatch, training_curves, curves, RUN._replace(metrics=lines))
        assert len(canvas.axes) == panels and ("(d)" in made.caption) == (panels == 4)


def test_panels_are_named_alike_and_one_panel_is_not():
    for count in (1, 3):
        panels = Canvas().subplots(1, count, squeeze=False)[0]
        letters(panels)
        named = [text.get_text() for axes in panels for text in axes.texts if text.get_gid() == "letter"]
        assert named == ["(a)", "(b)", "(c)"][: count if count > 1 else 0]


@pytest.mark.parametrize(("rows", "columns", "shape"), [(10, 6, (8, 8)), (3, 10, (8, 8)), (2, 2, (40, 10))])
def test_a_grid_fits_a_page_and_its_letters_are_of_one_size(rows, columns, shape):
    png = image_grids.grid(np.zeros((rows, columns, *shape, 1), np.uint8), ["a"] * rows)
    width, height = (int.from_bytes(png[i : i + 4], "big") / DPI for i in (16, 20))
    assert width <= WIDTH + 0.01 and height <= HEIGHT + 0.01
    assert Figure("a.png", "A.", png).width == pytest.approx(COLUMN * width / WIDTH, abs=1.0)


def test_what_is_not_drawn_for_one_reason_is_one_sentence():
    missing = [Figure("a", "Samples: none.", None), Figure("b", "Map: drawn.", b""), Figure("c", "Curves: none.", None)]
    assert undrawn([*missing, Figure("d", "Weight: other.", None)]) == ["Samples, curves: none.", "Weight: other."]


def test_a_flag_is_one_piece_and_its_words_are_not_changed():
    shown = whole_flags("a -- b, --beta=1 &lt;x&gt;")
    assert shown == 'a -- b, <span class="whole">--beta=1</span> &lt;x&gt;'


def test_a_sweep_lists_the_flags_that_matter():
    rows = [row | {"df": 4, "cycles": 4, "ssim_window": 7, "kp": None, "clip_norm": 1.0} for row in grid([1.0, 2.0], 2)]
    about = summary(rows)
    about["flags"] |= {"clip_norm": "1.0"}
    listed = dict(configuration(arrange(rows, about)))
    assert {"--dataset", "--likelihood", "--hidden", "--learning_rate", "--clip_norm", "--seed"} < set(listed)
    assert listed["--beta"] == "1, 2" and not {"--df", "--cycles", "--ssim_window", "--kp"} & set(listed)


def test_a_run_folds_away_the_flags_that_have_no_part():
    run = Run(results(sigma=None), config(df=4, cycles=4, clip_norm=1.0, sigma=0.3, prior_components=100), [], {})
    listed, folded = (dict(part) for part in run_tables.configuration(run, ("clip_norm",)))
    assert {"--dataset", "--likelihood", "--learning_rate", "--clip_norm"} < set(listed)
    assert {"--df", "--cycles", "--sigma", "--prior_components"} <= set(folded) and not set(listed) & set(folded)
    source = run_page.render(run, [], ("clip_norm",)).decode()
    assert source.index("--clip_norm") < source.index("<details>") < source.index("--df") < source.index("</details>")


def test_figures_are_numbered_through_a_page_of_sections():
    part = {"title": "A", "table": page.Table((), (), []), "findings": [], "figures": [RUN_FIGURE, RUN_FIGURE]}
    source = page.render("sections.html", title="T", about="", sections=[part, part | {"title": "B"}]).decode()
    assert re.findall(r"<b>Figure (\d)", source) == ["1", "2", "3", "4"]


def test_rows_of_a_table_stand_beside_samples_with_the_names_of_their_classes():
    columns = [{"name": "age", "kind": "real"}, {"name": "wine", "kind": "categorical", "levels": ["red", "white"]}]
    drawn = {"inputs": np.array([[31.5, 1.0], [np.nan, 0.0]]), "samples": np.array([[40.25, 0.0], [28.0, 1.0]])}
    run = Run(results(per_column=columns, standardised_mse=0.5), config(likelihood="columns"), [], drawn)
    shown = run_tables.rows(run)
    assert shown.heads == ("Column", "Test row", "Test row", "Sample", "Sample")
    assert shown.rows == [["age", "31.5", "missing", "40.25", "28.00"], ["wine", "white", "red", "red", "white"]]
    source = run_page.render(run, []).decode()
    assert "<h2>Rows</h2>" in source and "spreads of a column" in source and "squared units of the data" not in source
    without = run_page.render(run._replace(pictures={}), []).decode()
    assert "<h2>Rows</h2>" not in without and "<h1>MLP VAE with a likelihood for each column on digits</h1>" in without


def test_what_is_not_the_default_and_has_a_part_is_noted():
    asked = {f.name: f.default for f in dataclasses.fields(Config)}
    assert noted_flags(asked | {"workdir": "runs/a", "constants": "none", "order": "shuffled"}) == []
    own = {"clip_norm": 1.0, "latent_dim": 3, "target_kl": 5.0, "warmup_steps": 100, "order": "blocks"}
    assert set(noted_flags(asked | own)) == {"clip_norm", "latent_dim", "order"}
    assert set(noted_flags(asked | own | {"weighting": "pi"})) >= {"clip_norm", "latent_dim", "target_kl", "weighting"}


def test_latents_without_a_kl_of_each_are_used_by_what_they_carry():
    measured = results(kl_per_latent=None, information_per_latent=[0.0, 1.0, 0.002, 0.5], used_latents=2)
    assert used_mask(Run(measured, config(), [], {})).tolist() == [False, True, False, True]


def test_a_sweep_says_where_its_scores_are_highest_and_how_sure_that_is():
    def scored(seeds, noise):
        return arrange(
            row | {"disentanglement": {"mig": row["beta"] / 10 + noise * row["seed"]}}
            for row in grid([1.0, 2.0, 3.0], seeds)
        )

    assert disentanglement(SWEEPS["plain"]) is None
    sure, unsure, once = (disentanglement(scored(*case)).text for case in ((2, 0.01), (2, 0.5), (1, 0.0)))
    assert "MIG is highest at beta = 3, 0.30 ± 0.0071." in sure
    assert "(2 of 2 others cannot be told from it)" in unsure and "no ordering" in once and "BetaVAE" not in once
