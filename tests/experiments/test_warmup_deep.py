"""The papers on warm-ups: what they count, from numbers that are known."""

import numpy as np
import pytest

from experiments.papers.schedules import figure, table_lines, verdicts
from experiments.papers.warmup_deep import figure as waking_figure
from experiments.papers.warmup_deep import rank_correlation, steps_of, summary, text_spectrum
from experiments.papers.warmup_deep import table_lines as waking_lines


def test_rank_correlation():
    assert rank_correlation([1, 2, 3], [10, 20, 300]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, np.inf], [3, 2, 1]) == pytest.approx(-1.0)
    # 1 - 6 sum d^2 / (n (n^2 - 1)) with d = 0, 1, 1, 0
    assert rank_correlation([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    assert np.isnan(rank_correlation([1, 1], [1, 2]))


def test_the_spectrum_of_a_text():
    # Three words of two kinds each (4 and 5, then 6, then 7 and 8): the third is the first again, or not.
    rng = np.random.default_rng(0)
    first, other = rng.integers(0, 2, (2, 4000))
    for third, largest in ((first, 2.0), (other, 1.0)):
        tokens = np.stack([4 + first, 0 * first + 6, 7 + third, 0 * first + 2, 0 * first], axis=1)
        values = text_spectrum(tokens, 9)
        assert values[0] == pytest.approx(largest, abs=0.05) and values[2:] == pytest.approx(0.0, abs=1e-9)


ROWS = [
    {"bed": "digits mlp", "share": share, "ramp": ramp, "steps": 600, "rate": 1.0}
    | {"foretold": 100.0 * share, "observed": None if share == 0.9 else 200.0 * share}
    for share in (0.05, 0.2, 0.9)
    for ramp in (0, 60, 120, 240, 480)
]


def test_the_summary_of_waking():
    assert steps_of(ROWS[-1:]).tolist() == [[90.0], [np.inf]]
    first = summary(ROWS)[0]
    assert first["ramp"] == 0 and first["rank_correlation"] == pytest.approx(1.0)
    assert first["ratio"] == pytest.approx(2.0) and first["observed"] == [10.0, 40.0, None]
    assert "| digits mlp, ramp 0 | 1.00 | 2.00 | 5, 20, 90 | 10, 40, - |" in waking_lines(ROWS)[2]
    assert waking_figure(ROWS).png.startswith(b"\x89PNG")


def test_what_a_schedule_is_worth():
    keys = dict.fromkeys(("rate", "distortion", "active_units", "warmup_steps", "seconds"), 1.0)
    elbos = {"none": (10.0, 11.0, 12.0), "linear": (14.0, 15.0, 16.0), "cosine": (11.0, 11.1, 11.2)}
    rows = [
        {"name": name, "steps": 1000, "seed": i, "elbo": elbo} | keys
        for name, own in elbos.items()
        for i, elbo in enumerate(own)
    ]
    (line,) = verdicts(rows)
    assert "linear, is 4.00 ± 0.82 nats above none (clearly)" in line
    (line,) = verdicts(rows, "linear")
    assert "none, is 4.00 ± 0.82 nats below linear (clearly)" in line or "cosine, is 3.90" in line
    assert "| none | 11.00 ± 1.00 |" in table_lines(rows)[2] and figure(rows).png.startswith(b"\x89PNG")
