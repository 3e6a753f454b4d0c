"""One update as a GPU would get it, without one: nothing from the host in it, and as many products as layers say."""

from __future__ import annotations

import collections
import gzip
import importlib.util
import json
import re

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark import cases, kernels
from vae_jax.runs.build import first_state, training_step
from vae_jax.train.step import scanned
from vae_jax.types import UserError

# Layers with weights, those of them that see the data (whose gradient nobody needs), and inner loops. A product or
# convolution of each layer, its gradient of the weights and that of the inputs. Recurrent networks: one loop forward,
# one backward, of encoder and decoder.
DENSE = {"mlp": (2 + 2 + 3, 1), "conv": (2 + 2 + 3, 0), "resnet": (2 + 1, 0)}
CONVOLUTIONS = {"mlp": (0, 0), "conv": (4 + 4, 1), "resnet": (2 + 2 + 2 * 8, 1)}
# What would stop the device for the host, or for other devices.
FORBIDDEN = ("callback", "infeed", "outfeed", "send", "recv", "all_reduce", "all_gather", "all_to_all", "permute")


def lowered(function, *shapes, platform="cuda"):
    """The operations of a function as lowered for a platform: how often each, calls of libraries by their names."""
    text = jax.jit(function).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
    found = collections.Counter(re.findall(r"stablehlo\.(\w+)", text))
    return found + collections.Counter(re.findall(r"stablehlo\.custom_call @(\w+)", text))


def forbidden(operations):
    return {name: n for name, n in operations.items() if any(word in name.lower() for word in FORBIDDEN)}


def update(name):
    r = cases.make(name, count=256).run
    raw = jax.ShapeDtypeStruct((r.config.batch_size, *r.dataset.train.shape[1:]), r.dataset.train.dtype)
    return training_step(r, lambda tree: tree), jax.eval_shape(lambda: first_state(r)), raw


@pytest.mark.parametrize("name", ["mlp", "conv", "resnet", "lstm", "gru"])
def test_an_update_is_products_and_nothing_of_the_host(name):
    found = lowered(*update(name))
    assert not forbidden(found)
    if name in DENSE:
        (dense, first), (convolutions, first_convolution) = DENSE[name], CONVOLUTIONS[name]
        assert found["convolution"] == 3 * convolutions - first_convolution
        assert found["dot_general"] == 3 * dense - first and not found["while"]
    else:
        assert found["while"] >= 4 and found["convolution"] == 0


def test_planted_calls_of_the_host_and_of_other_devices_are_found():
    step, state, raw = update("mlp")

    def watched(state, raw):
        after, metrics = step(state, raw)
        jax.debug.callback(lambda loss: None, metrics["loss"])
        return after, metrics

    # For the platform that is there: a callback of Python can be lowered for no other.
    assert forbidden(lowered(watched, state, raw, platform="cpu"))
    assert not forbidden(lowered(step, state, raw, platform="cpu"))


def test_the_metrics_of_a_step_are_one_array():
    """Each array that a loop writes into is a kernel a step: the plain scan has as many as there are metrics."""
    step, state, raw = update("mlp")
    many = jax.ShapeDtypeStruct((20, *raw.shape), raw.dtype)
    written = []
    for scan in (jax.lax.scan, scanned):
        jaxpr = jax.make_jaxpr(lambda s, x, scan=scan: scan(step, s, x))(state, many)
        (loop,) = [e for e in jaxpr.eqns if e.primitive.name == "scan" and e.params["length"] == 20]
        written.append(len(loop.outvars) - loop.params["num_carry"])
    metrics = len(jax.eval_shape(step, state, raw)[1])
    assert metrics >= 10 and written == [metrics, 1]


def test_packed_metrics_have_their_names_and_numbers():
    def step(state, x):
        return state + x, {"loss": state * x, "beta": jnp.float32(2.0), "abc": x}

    state, found = jax.jit(lambda x: scanned(step, jnp.float32(1.0), x))(jnp.arange(4.0))
    expected = jax.lax.scan(step, jnp.float32(1.0), jnp.arange(4.0))
    assert float(state) == float(expected[0]) == 7.0
    assert {k: v.tolist() for k, v in found.items()} == {k: v.tolist() for k, v in expected[1].items()}


# ---------------------------------------------------------------- counting

PROGRAM = """
body.1 (p: f32[]) -> f32[] {
  %f.1 = f32[] fusion(%p), kind=kLoop, calls=%c
  ROOT %g = (f32[8]{0}, u8[4]{0}) custom-call(%f.1), custom_call_target="__cublas$gemm"
}

inner (p: f32[]) -> f32[] {
  %f.2 = f32[] fusion(%p), kind=kLoop, calls=%c
}

%body.2 (p: f32[]) -> f32[] {
  %f.3 = f32[] fusion(%p), kind=kLoop, calls=%c
  %w = (f32[], s32[]) while(%t), condition=%k, body=%inner, backend_config={"known_trip_count":{"n":"7"}}
  %w.1 = f32[] while(%t), condition=%k, body=%body.1, backend_config={"known_trip_count":{"n":"2"}}
  ROOT %o = token[] outfeed(%w)
}

ENTRY %main (p: f32[]) -> f32[] {
  %c.1 = f32[] copy(%p)
  ROOT %w.2 = f32[] while(%c.1), condition=%k, body=%body.2, backend_config={"known_trip_count":{"n":"20"}}
}
"""


def test_launches_of_an_update_are_those_of_all_rounds_of_its_loops():
    assert kernels.of_update(PROGRAM, 20) == {"fusion": 1 + 7 + 2, "__cublas$gemm": 2, "outfeed": 1}
    with pytest.raises(ValueError, match="no loop of 21 rounds"):
        kernels.of_update(PROGRAM, 21)
    with pytest.raises(ValueError, match="unknown length"):
        kernels.of_update(PROGRAM.replace('"known_trip_count":{"n":"7"}', ""), 20)


def test_a_trace_says_how_long_the_gpu_waited(tmp_path):
    def event(ts, dur, tid=7, pid=1):
        return {"ph": "X", "pid": pid, "tid": tid, "ts": ts, "dur": dur, "name": "kernel"}

    names = [
        {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": "/device:GPU:0"}},
        {"ph": "M", "pid": 2, "name": "process_name", "args": {"name": "/host:CPU"}},
        {"ph": "M", "pid": 1, "tid": 7, "name": "thread_name", "args": {"name": "Stream #13(Compute)"}},
        {"ph": "M", "pid": 1, "tid": 8, "name": "thread_name", "args": {"name": "XLA Ops"}},
    ]
    events = [event(0, 10), event(5, 10), event(30, 10), event(0, 99, tid=8), event(0, 99, pid=2)]
    with gzip.open(tmp_path / "a.trace.json.gz", "wt") as file:
        json.dump({"traceEvents": names + events}, file)
    assert kernels.of_trace(tmp_path) == {"kernels_and_copies": 3, "microseconds": 40, "idle": 1 - 25 / 40}
    with gzip.open(tmp_path / "a.trace.json.gz", "wt") as file:
        json.dump({"traceEvents": names}, file)
    with pytest.raises(UserError, match="no trace of a GPU"):
        kernels.of_trace(tmp_path)


@pytest.mark.skipif(
    not any(
        importlib.util.find_spec("jax_plugins") and importlib.util.find_spec(f"jax_plugins.xla_cuda{n}")
        for n in (12, 13)
    ),
    reason="needs JAX's CUDA plugin, which compiles without a GPU",
)
def test_an_update_that_is_compiled_for_a_gpu():
    r = cases.make("mlp", count=256).run
    found = kernels.of_update(kernels.compiled(r, kernels.device()))
    assert not forbidden(found) and not found["copy"]
    assert 20 <= sum(found.values()) <= 95  # 91 with the products in XLA's own kernels; 100 when each metric was one
