"""``--profile``: which chunk is traced, where the trace is, and when there is none to trace."""

from __future__ import annotations

import dataclasses
import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from vae_jax.runs import profiling
from vae_jax.runs.run import train
from vae_jax.runs.settings import Config
from vae_jax.types import UserError

CONFIG = Config(profile=True, log_every=10, eval_every=25, checkpoint_every=1000, num_steps=30)


def test_it_traces_the_third_chunk_alone(tmp_path):
    said, lengths = [], []
    step = jax.jit(lambda state: (jnp.tanh(state @ state), {"loss": state[0]}))

    def advance(state, length):
        lengths.append(length)
        return step(state)

    call, state, there = profiling.profiled(advance, tmp_path / "profile", said.append), jnp.eye(50), []
    for length in (5, 6, 7, 8):
        state, metrics = call(state, length)
        there.append((tmp_path / "profile").exists())
        assert set(metrics) == {"loss"}
    assert lengths == [5, 6, 7, 8] and there == [False, False, True, True]
    assert len(said) == 1 and "7 steps" in said[0] and str(tmp_path) in said[0]
    traces = list((tmp_path / "profile").rglob("*.trace.json.gz"))
    assert len(traces) == 1 and list((tmp_path / "profile").rglob("*.xplane.pb"))
    with gzip.open(traces[0]) as file:
        assert len(json.load(file)["traceEvents"]) > 10


@pytest.mark.parametrize(
    ("flags", "first", "chunks"),
    [
        ({}, 0, None),  # 0..10..20..25..30
        ({"num_steps": 21}, 0, None),
        ({"num_steps": 20}, 0, 2),
        ({"log_every": 100, "eval_every": 100}, 0, 1),
        ({}, 10, None),  # 10..20..25..30
        ({}, 20, 2),
        ({}, 30, 0),
        ({"num_steps": 20, "profile": False}, 0, None),
    ],
)
def test_a_run_with_fewer_chunks_is_refused(flags, first, chunks):
    config = dataclasses.replace(CONFIG, **flags)
    if chunks is None:
        profiling.check(config, first)
        return
    with pytest.raises(UserError, match=rf"--profile traces chunk 3 .* from step {first} .* there are {chunks};") as e:
        profiling.check(config, first)
    assert "\n" not in str(e.value)


def test_the_flag_leaves_a_trace_in_the_workdir_and_is_no_part_of_what_the_run_is(tmp_path, monkeypatch):
    small = {"hidden": "8", "latent_dim": 2, "batch_size": 32, "log_every": 2, "iw_samples": 1}
    config = Config(workdir=str(tmp_path / "run"), num_steps=6, profile=True, **small)
    with pytest.raises(UserError, match="--profile"):
        train(dataclasses.replace(config, num_steps=4))
    assert not (tmp_path / "run").exists()  # nothing half-written
    monkeypatch.setattr("vae_jax.runs.run.finish", lambda workdir: None)  # the report is another test's
    train(config)
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))
    train(dataclasses.replace(config, profile=False))  # finished, and the same run
    assert json.loads((tmp_path / "run" / "results.json").read_text())["step"] == 6
