"""The finished page in a real browser: it needs no network, fits a phone, and prints."""

import html
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from made_runs import FIGURES, all_pictures, config, curve, metrics, results, write_run

from vae_jax.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = os.environ.get("VAE_JAX_BROWSER") or next((p for p in map(shutil.which, NAMES) if p), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is on the PATH and VAE_JAX_BROWSER is not set"
)
WIDTHS = (390, 1000)  # CSS pixels: a phone and a desk

# Frames rather than windows: a browser's window has a least width, which is above a phone's.
_MEASURE = """
<script>
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, images = [...page.images];
    return {
      width: frame.clientWidth,
      needed: page.documentElement.scrollWidth,
      images: images.length,
      drawn: images.filter((i) => i.complete && i.naturalWidth > 0).length,
      described: images.filter((i) => i.alt.trim()).length,
      fetched: frame.contentWindow.performance.getEntriesByType("resource")
        .map((e) => e.name).filter((name) => !name.startsWith("data:")),
    };
  });
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>
"""


def browser(folder, *flags):
    quiet = ("--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run")
    command = [BROWSER, "--headless", "--no-sandbox", *quiet, "--hide-scrollbars"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def measured(folder, pages):
    """What the browser sees of each page at each width."""
    frames = [
        f'<iframe style="border:0" width="{width}" height="900" srcdoc="{html.escape(page)}"></iframe>'
        for page in pages
        for width in WIDTHS
    ]
    wrapper = folder / "wrapper.html"
    wrapper.write_text(f'<!DOCTYPE html><body>{"".join(frames)}<pre id="found"></pre>{_MEASURE}</body>')
    shown = browser(folder, "--dump-dom", "--virtual-time-budget=10000", wrapper.as_uri())
    return json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', shown, re.S)[1]))


def faults(seen):
    """What is wrong with one page at one width."""
    found = []
    if seen["needed"] > seen["width"]:
        found.append("scrolls sideways")
    if not seen["images"] == seen["drawn"] == seen["described"]:
        found.append("images that are broken or not described")
    return found + (["fetches"] if seen["fetched"] else [])


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
