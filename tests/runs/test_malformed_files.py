"""Files that somebody else made, or that broke: checkpoints and results, refused in one line or taken."""

import io
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import malformed as m
from helpers.made_runs import config, metrics, results, write_run
from helpers.malformed import FEW
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.report import load, read, run_page
from vae_jax.report.sweep.sweep_files import load_sweep
from vae_jax.runtime.checkpoint import Checkpoints
from vae_jax.runtime.logs import rewind
from vae_jax.runtime.restore import checksums


def taken(function, *arguments):
    """What ``function`` returns, or None where it refuses."""
    found = []
    m.refusal(lambda: found.append(function(*arguments)))
    return found[0] if found else None


# ---------------------------------------------------------------- checkpoints


def _state(scale=1.0):
    return {"w": scale * jnp.arange(6.0), "step": jnp.int32(3), "key": jax.random.key(0)}


META = {
    "empty": b"",
    "torn": b'{"checksums": {',
    "a list": b"[]",
    "null": b"null",
    "no note": b'{"checksums": {}}',
    "a note that is a list": b'{"note": [], "checksums": {}}',
    "a note that is null": b'{"note": null, "checksums": null}',
    "checksums of another tree": b'{"note": {}, "checksums": {"x": 1}}',
    "checksums that are words": b'{"note": {}, "checksums": "none", "format": "x", "shapes": 3}',
    "a newer format": b'{"note": {}, "checksums": {}, "shapes": {}, "format": 999}',
    "another run's note": b'{"note": {"beta": "<img src=x onerror=alert(1)>"}, "checksums": {}}',
    "binary": bytes(range(256)),
    "deep": b'{"note":' + b"[" * 100_000,
    "large": b'{"note": "' + b"x" * 1_000_000 + b'"}',
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    Checkpoints(folder).save(3, _state())
    return folder


@pytest.mark.parametrize("name", sorted(META))
def test_a_checkpoint_whose_metadata_is_not_its_own_is_refused_or_passed_over(saved, tmp_path, name):
    folder = tmp_path / "checkpoints"
    shutil.copytree(saved, folder)
    (found,) = (p for p in (folder / "3").rglob("*") if p.is_file() and b'"checksums"' in p.read_bytes())
    found.write_bytes(META[name])
    found = taken(Checkpoints(folder).restore_latest, _state(0.0))
    assert found is None or checksums(found[1]) == checksums(_state())  # the arrays are whole


# ---------------------------------------------------------------- results, and the report of them

WRONG = ("many", -1.5, [], [1, "x", {}], {}, {"value": "x"}, True, 10**400, [[1]], "<img src=x onerror=alert(1)>")
EVALUATION = {
    "step": 3000,
    "elbo": 1.0,
    "iw_nll": -2.0,
    "gaps": {"approximation_gap": 1.0},
    "rate_parts": {"cap": 7.0, "mutual_information": {"value": 1.0, "error": 0.1}},
    "disentanglement": {"mig": 0.1, "protocol": "made", "left_out": []},
    "protocol": "made",
}
SAID = {"reconstructions": [["a b", "a c"]], "samples": ["a"], "homotopies": [["a", "b"]]}


def whole_page(workdir):
    """All of the page but the figures, whose numbers have been checked when they are drawn."""
    return run_page.render(load(workdir), [])


@pytest.mark.parametrize("name", ["results.json", "config.json", "evaluation.json", "sentences.json"])
def test_a_number_that_is_none_is_named_or_shown(tmp_path, name):
    made = {"results.json": results(), "config.json": config(), "evaluation.json": EVALUATION, "sentences.json": SAID}
    write_run(tmp_path, metrics=metrics(200))
    refused = 0
    for key in made[name]:
        for wrong in WRONG:
            for file, content in made.items():
                text = json.dumps(content | ({key: wrong} if file == name else {}))
                (tmp_path / file).write_text(text)
            said = m.refusal(whole_page, tmp_path)
            refused += said is not None
            assert said is None or (name in said and key in said), (key, str(wrong)[:50], said)
    assert refused > 2 * len(made[name])


@settings(FEW, max_examples=80)
@given(st.binary(max_size=80) | st.sampled_from(['{"split": "test", "step": %s}', '{"split": 1, "step": %s}', "%s"]))
def test_any_line_of_the_metrics_is_read_or_left_out(tmp_path_factory, raw):
    folder = tmp_path_factory.mktemp("lines")
    values = ("1", "1e400", "[]", "null", '"x"', "-1", "9" * 400, "NaN", "{}", "true", "[" * 50_000)
    lines = [raw] if isinstance(raw, bytes) else [(raw % value).encode() for value in values]
    write_run(folder, results=results(), config=config())
    path = folder / "metrics.jsonl"
    path.write_bytes(b"\n".join([b'{"split": "train", "step": 1, "loss": 1.0}', *lines, b""]))
    run = load(folder)
    assert run.metrics[0]["step"] <= 1 and all(isinstance(line["step"], int | float) for line in run.metrics)
    assert read(run.results, run.config, run.metrics)
    rewind(path, 10)
    assert b'"train"' in path.read_bytes()


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def test_pictures_that_are_none_are_refused(tmp_path):
    write_run(tmp_path, results=results(), config=config())
    whole = npz(inputs=np.zeros((6, 4, 4, 1), np.uint8), embedding_axes=np.array(["a", "b"]))
    for raw in (b"", b"x", whole[:200], npz(inputs=np.array([{}], object)), npz(inputs=np.array(["a"])), npz(inputs=1)):
        (tmp_path / "pictures.npz").write_bytes(raw)
        said = m.refusal(load, tmp_path)
        assert said is not None and "pictures.npz" in said
    (tmp_path / "pictures.npz").write_bytes(npz(embedding_axes=np.ones(2)))
    said = m.refusal(load, tmp_path)
    assert said is not None and "embedding_axes" in said
    (tmp_path / "pictures.npz").write_bytes(whole)
    assert load(tmp_path).pictures["inputs"].shape == (6, 4, 4, 1)


def test_rows_of_a_sweep_that_are_none_are_refused(tmp_path):
    row = {"run": "beta=1", "method": "separate", "status": "done", "asked": {"beta": 1.0}, **results()}
    good = json.dumps(row)
    for key in ("elbo", "rate", "mse", "train", "asked", "kl_per_latent", "disentanglement"):
        bad = json.dumps(row | {key: ["x", [3]]})
        (tmp_path / "sweep.jsonl").write_text(f"{bad}\n{good}\n")
        said = m.refusal(load_sweep, tmp_path)
        assert said is not None and "line 1" in said, (key, said)
    for line in ("[]", "3", "null", "{}", "[" * 50_000, '{"asked": 3}', '{"run": 1, "asked": {}}'):
        (tmp_path / "sweep.jsonl").write_text(f"{line}\n{good}\n")
        assert m.refusal(load_sweep, tmp_path) is not None, line[:50]
    (tmp_path / "sweep.jsonl").write_text(f"{good}\n")
    for summary in ("[]", '{"reference": 3}', '{"reference": [{"frontier": {"rate": "x"}}]}', '{"seconds": "long"}'):
        (tmp_path / "sweep.json").write_text(summary)
        said = m.refusal(load_sweep, tmp_path)
        assert said is not None and "sweep.json" in said, said
