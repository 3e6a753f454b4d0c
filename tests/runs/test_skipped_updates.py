"""What a run says and writes about updates that were skipped."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX import SummaryWriter

from vae_jax.data.ranges import STANDARDISE
from vae_jax.devices.parallel import parallel
from vae_jax.runs import skipped_updates
from vae_jax.runs.build import build, first_state, material, training_chunk
from vae_jax.runs.settings import Config
from vae_jax.runs.skipped_updates import STRETCH, explain, is_sound, watch_skipped
from vae_jax.runs.sweep import finishing
from vae_jax.runs.sweep.plan import Job
from vae_jax.runs.sweep.training import Ended
from vae_jax.runtime.logs import MetricsLog, line, update_rows
from vae_jax.train.guard import Diverged
from vae_jax.train.optimizers import learning_rates
from vae_jax.types import Skipped

SMALL = {"hidden": "8", "latent_dim": 2, "batch_size": 64, "num_steps": 40, "workdir": "unused"}


def strict(text):
    """JSON without the words that Python adds to it."""

    def refuse(name):
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def shared():
    return material(Config(**SMALL))


def spoiled(shared, rows, **flags):
    """A run whose training finds no pixels in these rows, and its data as training takes them."""
    r = build(Config(**SMALL | flags), shared, parallel("jit", 64, jax.devices()[:1]))
    view, bad = r.training_preprocess, np.asarray(shared.dataset.train[rows])

    def preprocess(key, raw):
        hit = jnp.any(jnp.all(raw == bad, axis=tuple(range(1, bad.ndim))))
        return jnp.where(hit, jnp.nan, view(key, raw))

    return r._replace(training_preprocess=preprocess)


def train(r, steps):
    chunk = r.spread.compile(training_chunk(r))
    state = r.spread.begin(lambda: first_state(r))
    return chunk(state, r.spread.lay(r.dataset.train), steps)


@pytest.mark.parametrize(
    "flags", [{}, {"order": "blocks", "microbatches": 2, "weighting": "capacity", "target_kl": 2.0}]
)
def test_the_row_behind_a_skipped_update_is_named_and_units_that_are_to_blame(shared, flags, monkeypatch):
    r = spoiled(shared, [321], **flags)
    state, metrics = train(r, 22)  # an epoch of 1,437 examples
    skipped = np.flatnonzero(metrics["skipped"])
    assert len(skipped) == 1
    said = explain(r, state, int(skipped[0]))
    assert f"At step {skipped[0]} the first that is not finite is the example, for 1 of 64 examples (row 321 of" in said
    well = explain(r, state, int(skipped[0]) + 1 if skipped[0] < 21 else 0)
    assert "every number of step" in well and "units" not in well
    monkeypatch.setattr(skipped_updates, "in_words", lambda dataset: [f"column 2 has raw units; {STANDARDISE}"])
    assert explain(r, state, int(skipped[0])) == f"column 2 has raw units; {STANDARDISE}. {said}"


def test_a_checkpoint_is_made_of_sound_states_only(shared):
    r = spoiled(shared, np.arange(len(shared.dataset.train)))
    state, metrics = train(r, 3)
    assert np.all(metrics["skipped"] == 1.0)

    def never():
        raise AssertionError("not to be asked before the end")

    assert not is_sound(r, state, never)
    assert is_sound(r, state._replace(skipped=Skipped(jnp.int32(0), jnp.int32(3))), never)
    end = state._replace(step=jnp.int32(40))
    assert is_sound(r, end, lambda: -80.0)
    with pytest.raises(
        Diverged, match=r"from step 37 to the end, 3, .*At step 37 the first .* is the example"
    ) as caught:
        is_sound(r, end, lambda: math.nan)
    assert caught.value.step == 37
    # The loss of the last update was finite, and what it made of the parameters is not worth a number.
    made = end._replace(skipped=Skipped(jnp.int32(0), jnp.int32(0)))
    assert is_sound(r, made, lambda: -80.0)
    with pytest.raises(Diverged, match="after the last update, step 39, is nan"):
        is_sound(r, made, lambda: math.nan)


@pytest.mark.parametrize(("elbo", "status"), [(math.nan, "diverged"), (-80.0, "done")])
def test_a_run_of_a_sweep_ends_as_the_single_run_does(shared, tmp_path, monkeypatch, elbo, status):
    r = spoiled(shared, np.arange(len(shared.dataset.train)), workdir=str(tmp_path))
    state, _ = train(r, 3)
    monkeypatch.setattr(finishing, "measure", lambda *_: ({"elbo": elbo}, None))
    monkeypatch.setattr(finishing, "additions", lambda *_: {})
    job = Job("one", {}, r)
    finishing.finish(job, Ended(0, state, "done", None), None, None, 1.0)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["status"] == status and found["diverged_at"] == (0 if status == "diverged" else None)
    assert ("elbo" in found) == (status == "done")


def skips(at, length):
    bad = np.isin(np.arange(length), at).astype(np.float32)
    loss = np.where(bad, np.inf, 1.0)
    return {"skipped": bad, "skipped_total": bad.cumsum(), "loss": loss, "grad_norm": np.ones(length)}


def chunks(metrics, size):
    return [(i, {k: v[i : i + size] for k, v in metrics.items()}) for i in range(0, len(metrics["loss"]), size)]


def heard(at, length, size=10, name=""):
    said = []
    watch = watch_skipped(said.append, name)
    for chunk in chunks(skips(at, length), size):
        watch(*chunk)
    return said


def test_skipped_updates_are_said_with_their_first_and_again_as_they_double():
    said = heard([13, 14, 25, 47, 58, 79], 100, name="beta=3")
    assert [text.split("step ")[1].split(" ")[0] for text in said] == ["13", "47"]
    assert all(text.startswith("warning: beta=3: the update of step ") for text in said)
    assert "its loss (inf) or the norm of its gradient (1) is not finite; 2 so far" in said[0]
    assert heard([], 300) == []


def test_more_than_half_of_a_long_stretch_is_warned_of_once():
    most = [i for i in range(6 * STRETCH) if i % 3]
    warned = [text for text in heard(most, 6 * STRETCH) if "look at the data" in text]
    assert len(warned) == 1 and f"of the {STRETCH} updates before step {STRETCH} were skipped" in warned[0]
    half = [i for i in range(6 * STRETCH) if i % 2]
    assert not any("look at the data" in text for text in heard(half, 6 * STRETCH))
    late = [i for i in range(STRETCH, 2 * STRETCH) if i % 3]  # a share of the whole run would not show it
    assert any("look at the data" in text for text in heard(late, 6 * STRETCH))


def test_a_line_of_a_skipped_update_is_strict_json_and_tells_the_share():
    metrics = skips([0, 3], 4) | {"skipped_in_a_row": np.array([1.0, 0.0, 0.0, 1.0]), "beta": np.full(4, np.nan)}
    rates = learning_rates("cosine", 1.0, 100)
    rows = [strict(line(step, "train", row)) for step, row in update_rows(50, metrics, True, rates.model)]
    assert [row["step"] for row in rows] == [50, 53] and all(row["skipped"] == 0.5 for row in rows)
    assert rows[0]["loss"] is None and rows[0]["beta"] is None and rows[0]["grad_norm"] == 1.0
    assert not {"skipped_in_a_row", "skipped_total"} & rows[0].keys()
    # The rate is the optimiser's, which has counted one update less by then.
    assert [row["learning_rate"] for row in rows] == [float(rates.model(50)), float(rates.model(52))]


def test_the_logged_learning_rate_is_the_one_of_the_optimiser(shared):
    r = spoiled(shared, np.arange(15))  # so many that some updates are skipped and some are made
    state, metrics = train(r, 40)
    metrics = jax.device_get(metrics)
    assert 0 < metrics["skipped"].sum() < 40
    _, row = update_rows(0, metrics, True, r.rates.model)[-1]
    counts = [int(v) for p, v in jax.tree_util.tree_leaves_with_path(state.opt_state) if "count" in str(p[-1])]
    assert set(counts) == {40 - int(metrics["skipped"].sum())}
    made_before = counts[0] - 1 + int(metrics["skipped"][-1])
    assert row["learning_rate"] == float(r.rates.model(made_before))


def test_events_leave_out_what_is_not_finite(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(SummaryWriter, "add_scalar", lambda self, name, value, step: seen.append((name, value, step)))
    with MetricsLog(tmp_path, 0) as log:
        log.write(3, "train", {"loss": math.nan, "rate": math.inf, "beta": 2.0, "skipped": 1.0})
    assert seen == [("train/beta", 2.0, 3), ("train/skipped", 1.0, 3)]
    row = strict((tmp_path / "metrics.jsonl").read_text())
    assert row == {"step": 3, "split": "train", "loss": None, "rate": None, "beta": 2.0, "skipped": 1.0}
