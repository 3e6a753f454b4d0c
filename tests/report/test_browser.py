"""The finished page in a real browser: it needs no network, fits a phone, and prints."""

import json
import re

import numpy as np
import pytest
from helpers.browser import BROWSER, NAMES, WIDTHS, browser, faults, measured
from helpers.made_runs import FIGURES, all_pictures, config, curve, metrics, results, write_run

from vae_jax.report import write_report

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is on the PATH and VAE_JAX_BROWSER is not set"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    workdir, drawn = tmp_path_factory.mktemp("run"), all_pictures()
    write_run(workdir, results(reliability=curve()), config(), metrics(), drawn)
    gaps = {"approximation_gap": 2.4, "approximation_gap_error": 0.1, "effective_samples": 7.0}
    made = {"step": 3000, "iw_nll": 77.125, "iw_samples": 5000, "gaps": gaps, "protocol": "digits, " + "word " * 40}
    (workdir / "evaluation.json").write_text(json.dumps(made))
    return write_report(workdir)


def test_the_page_fits_a_phone_and_stands_alone(report, tmp_path):
    page = report.read_text()
    wide = page.replace("</body>", '<div style="width: 2000px">wide</div></body>')
    broken = re.sub(r'src="data:image/png;base64,[^"]{40}', 'src="data:image/png;base64,', page, count=1)
    undescribed = re.sub(r'alt="[^"]+"', 'alt=""', page, count=1)
    outside = page.replace("</body>", '<img alt="x" src="http://127.0.0.1:9/figure.png"></body>')
    seen = measured(tmp_path, [page, wide, broken, undescribed, outside])
    good, bad = seen[: len(WIDTHS)], seen[len(WIDTHS) :]
    assert [faults(s) for s in good] == [[], []], good
    assert all(s["images"] == len(FIGURES) for s in good) and [s["width"] for s in good] == list(WIDTHS)
    assert all(faults(s) for s in bad), bad  # each planted fault is seen at each width


def test_the_page_prints(report, tmp_path):
    target = tmp_path / "report.pdf"
    browser(tmp_path, f"--print-to-pdf={target}", "--no-pdf-header-footer", report.as_uri())
    data = target.read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b", data))
    assert data.startswith(b"%PDF") and 2 <= pages <= 12, pages
    assert np.frombuffer(data, np.uint8).size > 50_000  # with its figures
