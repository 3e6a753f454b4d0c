"""A headless browser, and what it sees of a page."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = os.environ.get("VAE_JAX_BROWSER") or next((p for p in map(shutil.which, NAMES) if p), None)
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
