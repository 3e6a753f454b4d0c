"""The benchmark: what its file holds, how ratios are made, how peers are asked, operations and exponents."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import cases, growth, measuring, memory, modes, peer, start_up, table, timing
from experiments.benchmark.cases import Case
from experiments.benchmark.operations import count, step_flops
from experiments.benchmark.timing import Timer, alternate, enough, ratio
from vae_jax.runs.build import first_state, training_chunk
from vae_jax.types import UserError

ROOT = Path(__file__).resolve().parents[2]
TINY = {"model": "mlp", "hidden": "8,8", "latent_dim": 2, "likelihood": "bernoulli", "batch_size": 16}


@pytest.fixture
def tiny(monkeypatch):
    """The mlp as small as it can be, and nothing else; what other tests compiled is not compiled anew."""
    monkeypatch.setattr(cases, "CASES", {"mlp": (TINY, (8, 8, 1), 3)})
    monkeypatch.setattr(timing, "SIDES", {"cpu": (64, 128), "default": (64, 128)})
    monkeypatch.setattr(benchmark, "forget_compilations", lambda: None)


# ---------------------------------------------------------------- arithmetic


def test_alternation_medians_and_spread():
    slow = iter([1.0, 4.0, 2.0])  # seconds a unit in each round: a busy machine meets both
    spent = []

    def ours(n):
        spent.append(next(slow))
        return n * spent[-1]

    rates = alternate(
        {"ours": Timer(ours, 10.0), "theirs": Timer(lambda n: 2 * n * spent[-1], 5.0)}, {"ours": 3, "theirs": 1}, 3
    )
    np.testing.assert_allclose(rates["ours"], [10.0, 2.5, 5.0])
    assert ratio(rates["ours"], rates["theirs"]) == (4.0, [4.0, 4.0])  # of each round, whatever the machine did
    assert ratio([1.0, 9.0, 2.0], [1.0, 3.0, 4.0]) == (1.0, [0.5, 3.0])


def test_a_timing_is_long_enough():
    assert enough(Timer(lambda n: 0.3 * n, 1.0), 1.0) == 4
    assert enough(Timer(lambda n: 7.0 * n, 1.0), 1.0) == 1


def _timed(mode, samples=0):
    return modes.Timed(mode, 1, samples, Timer(lambda n: 1.0, 8.0), 100.0, 800.0, 0.5, 10**8, "of the process")


def test_a_row_has_the_ratio_of_the_peer_that_works():
    good = Timer(lambda n: 1.0, 1.0)
    peers = [
        peer.Peer("torch", "eager", "2", {"train": good}, {}),
        peer.Peer("torch", "compiled", "2", {}, {"train": "no compiler"}),
    ]
    rates = {
        "step": np.array([20.0, 30.0, 40.0]),
        "chunk": np.array([10.0, 60.0, 40.0]),
        "torch eager train": np.array([10.0, 10.0, 10.0]),
    }
    products = np.array([4000.0, 6000.0, 16000.0])
    row = table.row("mlp", _timed("chunk"), 8, rates, products, peers)
    assert row["examples_per_second"] == 40.0 and row["flops_share"] == 0.25  # of 1000/4000, 6000/6000, 4000/16000
    assert (row["peer"], row["peer_examples_per_second"], row["ratio"]) == ("torch", 10.0, 4.0)
    assert row["ratio_spread"] == [1.0, 6.0]
    assert row["beside"] == {"mode": "step", "ratio": 1.0, "ratio_spread": [0.5, 2.0]}
    assert row["peers"][1]["failed"] == "no compiler" and "ratio" not in row["peers"][1]
    assert "no compiler" in table.line(row) and "4.000 [1.000, 6.000] of torch eager" in table.line(row)
    alone = table.row("mlp", _timed("evaluate", 5), 8, {"importance": products}, products, peers)
    assert "ratio" not in alone and "peers" not in alone  # this peer does not evaluate


# ---------------------------------------------------------------- the peer's process

FAKE = """
import sys
import time
for line in sys.stdin:
    verb, what, *rest = line.split(" ", 2)
    if verb == "load":
        print("ready 1.0 cpu", flush=True)
    elif what == "train":
        print(f"seconds {0.25 * int(rest[0])}", flush=True)
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
    process = peer.Worker([sys.executable, "-c", FAKE])
    yield process
    process.close()


def test_the_line_protocol(worker):
    assert worker.ask("load {}", "ready") == "1.0 cpu"
    assert worker.seconds("train", 8) == 2.0
    for what, match in (("evaluate", "no such thing"), ("importance", "'nan' seconds")):
        with pytest.raises(peer.PeerError, match=match):
            worker.seconds(what, 1)
    with pytest.raises(peer.PeerError, match="it answered 'seconds"):
        worker.ask("time train 1", "ready")
    with pytest.raises(peer.PeerError, match="status 3"):
        worker.seconds("die", 1)
    with pytest.raises(peer.PeerError, match="status 3"):
        worker.seconds("train", 1)


def test_what_a_peer_cannot_do_is_kept_beside_what_it_can(worker):
    told = {"batch_size": 16, "evaluated_at_once": 4, "weighed_at_once": 2, "weighed": True}
    found = peer._torch(worker, "eager", told)
    assert found.version == "1.0 cpu" and set(found.timers) == {"train"}
    assert set(found.failed) == {"evaluate", "importance"} and "no such thing" in found.failed["evaluate"]
    assert found.timers["train"].run(4) == 1.0 and found.timers["train"].amount == 16


def test_the_torch_script_imports_nothing_of_ours():
    names = set()
    for node in ast.walk(ast.parse(peer.SCRIPT.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    assert "torch" in names and names <= {*sys.stdlib_module_names, "numpy", "torch"}


def test_no_torch_is_one_line_and_status_2(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n")
    python.chmod(0o755)
    flags = ["--peer=torch", f"--peer_python={python}", f"--workdir={tmp_path / 'new'}"]
    command = [sys.executable, "-m", "experiments.benchmark", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = done.stderr.strip()
    assert done.returncode == 2 and said.startswith("error: ") and "\n" not in said, said
    assert "pip install torch" in said and "--peer_python" in said and "No module named 'torch'" in said
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="No such file"):
        peer.check_python(str(tmp_path / "nowhere"))


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


@contextmanager
def _peer(*asked):
    timers = {what: Timer(lambda n: 0.001 * n, 1.0) for what in ("train", "evaluate")}
    yield [peer.Peer("torch", "eager", "2", timers, {}), peer.Peer("torch", "compiled", "", {}, {"train": "broken"})]


def test_the_file_of_a_whole_run(tmp_path, tiny, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "peers", _peer)
    monkeypatch.setattr(growth, "_prepared", _growing)
    monkeypatch.setattr(peer, "check_python", lambda python: None)
    flags = {"modes": "evaluate,sweep,step", "runs": 2, "iw_samples": 3, "repeats": 2, "seconds": 0.01}
    benchmark.main(benchmark.Config(workdir=str(tmp_path / "new"), peer="torch", growth=True, **flags))
    found = json.loads((tmp_path / "new" / "benchmark.json").read_text())
    assert found["matmul_gflops"] > 0 and found["device"] and found["threads"] >= 1 and found["versions"]["jax"]
    rows = found["rows"]
    expected = [("step", 1, None), ("sweep", 2, None), ("evaluate", 1, 0), ("evaluate", 1, 3)]
    assert [(row["mode"], row["runs"], row["iw_samples"]) for row in rows] == expected
    for row in rows:
        assert row["model"] == "mlp" and row["examples_per_second"] > 0 and 0 < row["flops_share"] < 1
        assert row["compile_seconds"] > 0 and row["peak_memory_bytes"] > 1e7 and row["memory_of"]
    for row in rows[:3]:
        low, high = row["ratio_spread"]
        assert row["peer"] == "torch" and row["peer_examples_per_second"] == pytest.approx(1000.0)
        assert 0 < low <= row["ratio"] <= high
    assert "ratio" not in rows[3] and rows[0]["flops_per_step"] == rows[1]["flops_per_step"]
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
    axis = growth.Axis("batch", (8,), 1.0, 1.0, lambda n: (cases.make("mlp", {"batch_size": n}, count=64).run, 1))
    ((timer, used, flops),) = growth._prepared(axis)
    assert 0 < timer.run(2) < 60 and timer.amount == axis.steps == 4 and used > 64 * 64 and flops > 8 * 3 * 2 * 64 * 8


def test_memory_says_whose_it_is():
    memory.forget()
    used, whose = memory.peak()
    block = np.ones(2**26)  # half a gigabyte
    more, _ = memory.peak()
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
    ],
)
def test_what_cannot_be_is_refused(tmp_path, flags, match):
    with pytest.raises(UserError, match=match):
        benchmark.main(benchmark.Config(workdir=str(tmp_path / "new"), **flags))
    assert not (tmp_path / "new").exists()


def test_a_case_is_told_to_torch_with_its_data(tmp_path, tiny):
    case = cases.make("mlp")
    told = cases.spec(Case("mlp", case.run, 3), False, 5, tmp_path, 2, "cpu")
    assert told["event"] == (1, 8, 8) and told["hidden"] == (8, 8) and json.loads(json.dumps(told))["samples"] == 5
    np.testing.assert_array_equal(np.load(told["train"]), case.run.dataset.train)


# ---------------------------------------------------------------- start-up


def test_the_first_step_of_a_command_is_timed_and_a_run_that_fails_says_why(tmp_path):
    flags = ["--dataset=digits", "--hidden=4", "--latent_dim=2", "--num_steps=2", "--log_every=1", "--iw_samples=1"]
    started = time.perf_counter()
    taken = start_up._until_first_row(flags, tmp_path, "run")
    assert 0.1 < taken <= time.perf_counter() - started
    assert (tmp_path / "run" / "results.json").exists()  # it was let go on to its end
    with pytest.raises(UserError, match=r"logged no step.*nosuchflag"):
        start_up._until_first_row(["--nosuchflag"], tmp_path, "wrong")
