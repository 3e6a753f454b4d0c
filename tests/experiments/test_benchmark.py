"""The benchmark: what its file holds, how ratios are made, how peers are asked, operations and exponents."""

from __future__ import annotations

import ast
import json
import sys
from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags as absl_flags

from experiments import train
from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import cases, growth, machine, modes, peers, rows, start_up, table, timing
from experiments.benchmark.operations import count, step_flops
from experiments.benchmark.timing import Timer, alternate, enough, ratio
from vae_jax.runs.build import first_state, training_chunk
from vae_jax.runtime.config import define_flags, parse
from vae_jax.types import UserError

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
TINY = {"model": "mlp", "hidden": "8,8", "latent_dim": 2, "likelihood": "bernoulli", "batch_size": 16}


@pytest.fixture
def tiny(monkeypatch):
    """The mlp as small as it can be, and nothing else; what other tests compiled is not compiled anew."""
    monkeypatch.setattr(cases, "CASES", {"mlp": (TINY, (8, 8, 1), 3)})
    monkeypatch.setattr(timing, "SIDES", {"cpu": (64, 128), "default": (64, 128)})
    monkeypatch.setattr(machine, "forget_compilations", lambda: None)


# ---------------------------------------------------------------- arithmetic


def test_alternation_medians_and_spread():
    slow = iter([1.0, 1.0, 4.0, 2.0])  # seconds a unit, first to see how many are enough: a busy machine meets both
    spent = []

    def ours(n):
        spent.append(next(slow))
        return n * spent[-1]

    timers = {"ours": Timer(ours, 10.0), "theirs": Timer(lambda n: 2 * n * spent[-1], 5.0)}
    rates = alternate(timers, 3, 3.0)
    np.testing.assert_allclose(rates["ours"], [10.0, 2.5, 5.0])
    assert ratio(rates["ours"], rates["theirs"]) == (4.0, [4.0, 4.0])  # of each round, whatever the machine did
    assert ratio([1.0, 9.0, 2.0], [1.0, 3.0, 4.0]) == (1.0, [0.5, 3.0])
    assert enough(Timer(lambda n: 0.3 * n, 1.0), 1.0) == 4 and enough(Timer(lambda n: 7.0 * n, 1.0), 1.0) == 1


KNOWN = {"model": "mlp", "runs": 1, "iw_samples": None, "flops_per_step": 800.0, "flops_per_example": 100.0}
KNOWN |= {"compile_seconds": 0.5, "peak_memory_bytes": 10**8}


def test_a_row_has_the_ratio_of_the_peer_that_works():
    others = [
        peers.Peer("torch", "eager", "2", {"train": Timer(lambda n: 1.0, 1.0)}, {}),
        peers.Peer("torch", "compiled", "2", {}, {"train": "no compiler"}),
    ]
    products = np.array([4000.0, 6000.0, 16000.0])
    rates = {
        "step": np.array([20.0, 30.0, 40.0]),
        "chunk": np.array([10.0, 60.0, 40.0]),
        ("torch", "eager", "train"): np.array([10.0, 10.0, 10.0]),
        "products": products,
    }
    row = rows.row(KNOWN | {"mode": "chunk"}, rates, others)
    assert row["examples_per_second"] == 40.0 and row["flops_share"] == 0.25  # of 1000/4000, 6000/6000, 4000/16000
    assert (row["peer"], row["peer_examples_per_second"], row["ratio"]) == ("torch", 10.0, 4.0)
    assert row["ratio_spread"] == [1.0, 6.0]
    assert row["beside"] == {"mode": "step", "ratio": 1.0, "ratio_spread": [0.5, 2.0]}
    assert row["peers"][1]["failed"] == "no compiler" and "ratio" not in row["peers"][1]
    assert "no compiler" in rows.line(row) and "4.000 [1.000, 6.000] of torch eager" in rows.line(row)
    assert row["limit"] == "xla" and row["best"] == "eager"
    # The limit is the library's whose products are quicker, and the best of a peer's variants the one of most examples.
    others[1].timers["train"] = Timer(lambda n: 1.0, 1.0)
    del others[1].failed["train"]
    rates |= {("torch", "compiled", "train"): np.full(3, 50.0), ("torch", "eager", "products"): 2 * products}
    row = rows.row(KNOWN | {"mode": "chunk"}, rates, others)
    assert row["limit"] == "torch" and row["flops_share"] == 0.125 and row["ratio"] == 4.0 and row["best"] == "compiled"
    others[1].timers.clear()
    alone = rows.row(KNOWN | {"mode": "evaluate", "iw_samples": 5}, rates | {"importance": products}, others)
    assert "ratio" not in alone and "peers" not in alone  # this peer does not evaluate


# ---------------------------------------------------------------- the peer's process

FAKE = """
import sys
import time
for line in sys.stdin:
    verb, what, *rest = line.split(" ", 2)
    if verb == "load":
        print("ready 1.0 cpu 12 64", flush=True)
    elif what == "train":
        print(f"seconds {0.25 * int(rest[0])}", flush=True)
    elif what == "products":
        print(f"seconds {2 * int(rest[0])}", flush=True)
    elif what == "evaluate":
        print("error RuntimeError: no such thing", flush=True)
    elif what == "importance":
        print("seconds nan", flush=True)
    else:
        sys.exit(3)
"""


@pytest.fixture
def worker():
    """A process that speaks the protocol and is no network."""
    process = peers.Worker([sys.executable, "-c", FAKE])
    yield process
    process.close()


def test_the_line_protocol(worker):
    assert worker.ask("load {}", "ready") == "1.0 cpu 12 64"
    assert worker.seconds("train", 8) == 2.0
    for what, match in (("evaluate", "no such thing"), ("importance", "'nan' seconds")):
        with pytest.raises(peers.PeerError, match=match):
            worker.seconds(what, 1)
    with pytest.raises(peers.PeerError, match="it answered 'seconds"):
        worker.ask("time train 1", "ready")
    with pytest.raises(peers.PeerError, match="status 3"):
        worker.seconds("die", 1)
    with pytest.raises(peers.PeerError, match="status 3"):
        worker.seconds("train", 1)


def test_what_a_peer_cannot_do_is_kept_beside_what_it_can(worker):
    spec = {"batch_size": 16, "evaluated_at_once": 4, "weighed_at_once": 2, "weighed": True}
    spec |= {"parameters": 12, "sides": (64,)}
    found = peers.loaded(worker, "eager", spec)
    assert found.version == "1.0 cpu" and set(found.timers) == {"train", "products"}
    assert found.timers["products"].run(2) == 4.0 and found.timers["products"].amount == 2 * 64**3
    assert set(peers.loaded(worker, "compiled", spec).timers) == {"train"}  # one variant says the library's rate
    other = peers.loaded(worker, "eager", spec | {"parameters": 13})
    assert not other.timers and "12 parameters, and ours 13" in other.failed["train"]
    assert set(found.failed) == {"evaluate", "importance"} and "no such thing" in found.failed["evaluate"]
    assert found.timers["train"].run(4) == 1.0 and found.timers["train"].amount == 16


def test_the_torch_script_imports_nothing_of_ours():
    names = set()
    scripts = (peers.SCRIPT, peers.SCRIPT.with_name("networks_of_torch_peer.py"))
    for node in (node for script in scripts for node in ast.walk(ast.parse(script.read_text()))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    assert "torch" in names and names <= {*sys.stdlib_module_names, "numpy", "torch", "networks_of_torch_peer"}


def test_no_torch_is_one_line(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(UserError) as caught:
        benchmark.main(benchmark.Config(peer="torch", peer_python=str(python), workdir=str(tmp_path / "new")))
    message = str(caught.value)
    assert "\n" not in message and "pip install torch" in message and "--peer_python" in message
    assert "No module named 'torch'" in message and not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="No such file"):
        peers.check_python(str(tmp_path / "nowhere"))


def test_a_case_is_told_to_torch_with_its_data(tmp_path, tiny):
    case = cases.make("mlp")
    spec = peers.spec_of(case, 5, tmp_path)
    assert spec["event"] == (1, 8, 8) and spec["hidden"] == (8, 8) and json.loads(json.dumps(spec))["samples"] == 5
    np.testing.assert_array_equal(np.load(spec["train"]), case.run.dataset.train)


# ---------------------------------------------------------------- operations


def test_operations_of_a_loop_are_those_of_all_its_rounds():
    a = jax.ShapeDtypeStruct((16, 16), jnp.float32)

    def loop(a, length):
        return jax.lax.scan(lambda c, _: (c @ a, None), a, None, length)[0]

    def nested(a):
        return jax.lax.scan(lambda c, _: (loop(c, 3) @ a, None), a, None, 5)[0]

    once = 2 * 16**3
    assert count(lambda a: a @ a, a) == once
    assert jax.jit(lambda a: loop(a, 7)).lower(a).cost_analysis()["flops"] == pytest.approx(once, rel=1e-3)
    assert count(lambda a: loop(a, 7), a) == pytest.approx(7 * once, rel=1e-3)
    assert count(jax.jit(nested), a) == pytest.approx(5 * 4 * once, rel=1e-3)


def test_operations_of_a_chunk_are_those_of_its_steps():
    case = cases.make("mlp", count=256)
    r, once = case.run, step_flops(case.run)
    weights = 784 * 512 + 512 * 512 + 512 * 40 + 20 * 512 + 512 * 512 + 512 * 784
    products = 2 * 128 * (3 * weights - 784 * 512)  # there is no gradient of the images
    assert products < once < 1.05 * products
    state = jax.eval_shape(lambda: first_state(r))
    data = jax.ShapeDtypeStruct(r.dataset.train.shape, r.dataset.train.dtype)
    chunk = training_chunk(r, r.spread.all_mean, lambda rows: (rows, jnp.arange(128)))
    assert count(lambda state, data: chunk(state, data, 9), state, data) == pytest.approx(9 * once, rel=2e-3)


def test_operations_of_scoring_a_sentence_are_those_of_its_products_and_little_else():
    for cell, gates in (("lstm", 4), ("gru", 3)):
        r = cases.make(cell).run
        (length, words), (h,), d = r.likelihood.theta_shape(r.event), r.config.hidden, r.config.latent_dim
        steps = length * (2 * h * gates * h + h * words) + 2 * h * d + d * (gates * h + h)
        tables = 2 * words * r.config.embedding * gates * h / cases.AT_ONCE  # what each word gives, once for a batch
        assert 2 * (steps + tables) < modes._scoring_flops(r, 0) < 2.3 * (steps + tables)


# ---------------------------------------------------------------- growth


def test_exponents_are_recovered_and_wrong_ones_refused():
    sizes = np.array([8, 16, 32, 64])
    rough = np.exp(np.random.default_rng(0).normal(scale=0.03, size=4))
    for exponent in (0.0, 1.0, 2.0):
        found = growth.fit(sizes, 3.0 * sizes**exponent * rough)
        assert found.exponent == pytest.approx(exponent, abs=0.05) and growth.agrees(found, exponent)
        assert not growth.agrees(found, exponent + 1.0) and not growth.agrees(found, exponent - 0.5)
    assert growth.fit(sizes, 2.0 * sizes**1.5) == pytest.approx((1.5, 0.0), abs=1e-12)


def test_each_size_grows_over_a_factor_of_eight():
    assert len(growth.AXES) == 6
    assert all(axis.sizes[-1] >= 8 * axis.sizes[0] and sorted(axis.sizes) == list(axis.sizes) for axis in growth.AXES)


# ---------------------------------------------------------------- the whole


def test_the_networks_of_flax_have_our_parameters():
    from experiments.benchmark.flax_peer import PlainVAE

    for name, levels in (("mlp", 0), ("conv", 4)):
        r = cases.make(name, count=256).run
        model = PlainVAE(r.dataset.event, (512, 512) if name == "mlp" else (256, 256), r.config.latent_dim, levels)
        x = jnp.zeros((1, *r.dataset.event))
        theirs = jax.eval_shape(lambda key, model=model, x=x: model.init(key, x, key), r.key)
        ours = jax.eval_shape(r.vae.init, r.key)
        assert sum(v.size for v in jax.tree.leaves(theirs)) == sum(v.size for v in jax.tree.leaves(ours))


def test_the_file_of_a_whole_run(tmp_path, tiny, monkeypatch, capsys):
    timers = {what: Timer(lambda n: 0.001 * n, 1.0) for what in ("train", "evaluate")}
    others = [
        peers.Peer("torch", "eager", "2", timers, {}),
        peers.Peer("torch", "compiled", "", {}, {"train": "broken"}),
    ]
    monkeypatch.setattr(rows, "peers", lambda *_: nullcontext(others))
    monkeypatch.setattr(growth, "prepared", _growing)
    monkeypatch.setattr(peers, "check_python", lambda python: None)
    monkeypatch.setattr(modes, "_scoring_flops", lambda r, samples: 100.0)
    monkeypatch.setattr(rows, "step_flops", lambda r: 1000.0)
    monkeypatch.setattr(modes, "together", lambda r, runs: cases.alone(r))  # that of a sweep is compiled below
    evaluate = modes.scoring
    weighted = Timer(lambda n: 0.01 * n, 50)
    monkeypatch.setattr(modes, "scoring", lambda r, samples: weighted if samples else evaluate(r, samples))
    flags = {"modes": "evaluate,sweep,step", "runs": 2, "iw_samples": 3, "repeats": 2, "seconds": 0.01}
    flags |= {"results": str(tmp_path / "results")}
    monkeypatch.setattr(machine, "cores_in_use", lambda: 0.0)
    benchmark.main(benchmark.Config(workdir=str(tmp_path / "new"), peer="torch", growth=True, **flags))
    (path,) = (tmp_path / "results").iterdir()
    kept = json.loads(path.read_text())
    assert len(kept["rows"]) == 4 and len(kept["table"]) == 8 and len(kept["growth"]) == len(growth.AXES)
    assert path.stat().st_size < 40_000
    found = json.loads((tmp_path / "new" / "benchmark.json").read_text())
    assert found["matmul_gflops"] > 0 and found["device"] and found["threads"] >= 1 and found["versions"]["jax"]
    entries = found["rows"]
    expected = [("step", 1, None), ("sweep", 2, None), ("evaluate", 1, 0), ("evaluate", 1, 3)]
    assert [(row["mode"], row["runs"], row["iw_samples"]) for row in entries] == expected
    for row in entries:
        assert row["model"] == "mlp" and row["examples_per_second"] > 0 and 0 < row["flops_share"] < 1
        assert row["compile_seconds"] >= 0 and row["peak_memory_bytes"] > 1e7 and row["memory_of"]
    for row in entries[:3]:
        low, high = row["ratio_spread"]
        assert row["peer"] == "torch" and row["peer_examples_per_second"] == pytest.approx(1000.0)
        assert 0 < low <= row["ratio"] <= high
    assert "ratio" not in entries[3] and entries[0]["flops_per_step"] == entries[1]["flops_per_step"]
    assert [axis["name"] for axis in found["growth"]] == [axis.name for axis in growth.AXES]
    for axis in found["growth"]:
        assert axis["time"]["exponent"] == pytest.approx(1.0) and axis["memory"]["exponent"] == pytest.approx(2.0)
        assert axis["time"]["agrees"] == (axis["time"]["theory"] == 1.0)
    for name in ("benchmark.png", "growth.png"):
        assert (tmp_path / "new" / name).read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert "share" in out and "of torch eager" in out and "torch compiled: broken" in out and "growth with" in out


def _growing(axis):
    for size in axis.sizes:
        yield Timer(lambda n, size=size: 1e-3 * n * size, 1.0), 5.0 * size**2, 7.0 * size


def test_what_grows_is_measured(tiny):
    axis = growth.Axis(
        "runs", (2,), 1.0, 1.0, lambda n: cases.make("mlp", {"batch_size": 8}, count=64).run, is_sweep=True
    )
    ((timer, used, flops),) = growth.prepared(axis)
    least = 2 * 8 * 3 * 2 * 64 * 8
    assert 0 < timer.run(2) < 60 and timer.amount == axis.steps == 4 and used > 64 * 64 and flops > least


def _measured(processor="Some CPU @ 2.00GHz", mode="chunk", ratio=1.0, **changes):
    peer = {"peer": "torch", "variant": "eager", "ratio": ratio, "ratio_spread": [ratio, ratio]}
    row = {"model": "mlp", "event": (8, 8, 1), "dtype": "float32", "mode": mode, "runs": 1, "batch_size": 16}
    row |= {"iw_samples": None, "examples_per_second": 123456.0, "examples_per_second_spread": [1.0, 2e5]}
    row |= {"flops_share": 0.5, "peers": [peer], "best": "eager"} | changes
    about = {"processor": processor, "instruction_set": "AVX-512", "threads": 2, "versions": {"jax": "1"}}
    about["busy"] = changes.get("busy", False)
    return about | {"matmul_gflops": 9.0, "matmul_gflops_of": {"xla": 8.0, "torch": 9.0}, "rows": [row]}


def test_a_machines_file_keeps_the_rows_that_are_not_measured_again(tmp_path):
    table.keep(_measured(mode="evaluate", iw_samples=5), tmp_path)
    table.keep(_measured(), tmp_path)
    lines = table.keep(_measured(ratio=2.0), tmp_path)
    assert lines[-1].endswith("benchmark_some_avx_512_2.json") and len(lines) == 4 + 2 + 1
    assert lines[4] == (
        "| mlp 8x8x1, training in chunks | 1.235e+05 [1, 2e+05] | 2.00 [2.00, 2.00] | 2.00 [2.00, 2.00] eager | 50% |"
    )
    assert "scoring, 5 samples" in lines[5] and "9 GFLOP/s of torch" in lines[0]
    slow = _measured() | {"matmul_gflops_of": {"xla": 1.0, "torch": 99.0}, "rows": []}
    assert "8 GFLOP/s of xla, 99 GFLOP/s of torch" in table.keep(slow, tmp_path)[0]
    assert "busy" in table.keep(_measured("A 3rd", busy=True), tmp_path)[0]
    table.keep(_measured("Another 7"), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # numbers of machines stay apart
    for path in RESULTS.glob("benchmark_*.json"):  # those kept here are small files of the machines that they name
        kept = json.loads(path.read_text())
        assert path.name == f"benchmark_{machine.name_of(kept)}.json" and path.stat().st_size < 100_000
        assert kept["table"] == table.table(kept) and "/" not in json.dumps(kept["versions"])


def test_the_instruction_set_is_the_one_that_xla_may_use(monkeypatch):
    monkeypatch.setattr(machine, "_cpuinfo", lambda: {"flags": "sse avx avx2 avx512f", "model name": "EPYC"})
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert machine.instruction_set() == "AVX-512" and machine.processor().startswith("EPYC")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump=1 --xla_cpu_max_isa=AVX2")
    assert machine.instruction_set() == "AVX2"


def test_memory_says_whose_it_is():
    machine.forget_peak()
    used, whose = machine.peak_memory()
    block = np.ones(2**24)  # an eighth of a gigabyte
    more, _ = machine.peak_memory()
    assert whose.startswith("of the ") and more >= used + 0.9 * block.nbytes


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ({"models": "mpl"}, "mpl is not there"),
        ({"modes": "train"}, "step, chunk, sweep, evaluate"),
        ({"modes": ","}, "give one or more"),
        ({"repeats": 0}, "--repeats=0 must be positive"),
        ({"seconds": -1.0}, "--seconds=-1.0 must be positive"),
        ({"models": "none"}, "--growth"),
        ({"side": 2}, "4 pixels"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, flags, match):
    with pytest.raises(UserError, match=match):
        benchmark.main(benchmark.Config(workdir=str(tmp_path / "new"), **flags))
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------- start-up

STARTED = """#!/bin/sh
for flag; do
  case "$flag" in --workdir=*) dir="${flag#*=}";; --nosuchflag) echo "error: nosuchflag" >&2; exit 2;; esac
done
mkdir -p "$dir"; sleep 0.2; echo "{}" >"$dir/metrics.jsonl"; sleep 0.2; touch "$dir/results.json"
"""


def test_the_first_step_of_a_command_is_timed_and_a_run_that_fails_says_why(tmp_path, monkeypatch):
    program = tmp_path / "program"
    program.write_text(STARTED)
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert 0.2 < start_up.until_first_row(start_up.FLAGS, tmp_path, "run") < 30
    assert (tmp_path / "run" / "results.json").exists()  # it was let go on to its end
    with pytest.raises(UserError, match=r"logged no step.*nosuchflag"):
        start_up.until_first_row(("--nosuchflag",), tmp_path, "wrong")
    assert start_up.whole(("--nosuchflag",), tmp_path) is None
    assert 0 < start_up.whole((*start_up.FLAGS, f"--workdir={tmp_path / 'again'}"), tmp_path) < 30
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    environ = start_up.environment(tmp_path)
    assert environ["XDG_CACHE_HOME"] == str(tmp_path / "cache") and "JAX_COMPILATION_CACHE_DIR" not in environ
    values = absl_flags.FlagValues()
    define_flags(train.Config, values)
    assert parse(train.Config, ["train", *start_up.FLAGS], values).log_every == 1
