"""The campaigns' own eyes: what they read from the disk, cut and draw, and what they call a difference or a failure."""

import json
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import fault_campaign
import faults
import flag_campaign

TRAIN, SWEEP = fault_campaign.CASES["train1"], fault_campaign.CASES["sweep2"]


def checkpoint(folder, step, value=1):
    path = folder / str(step)
    for name, text in {
        "meta/metadata": json.dumps({"checksums": {".x": value}}),
        "state/manifest.ocdbt": "a" * 99,
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    (path / "state" / "d").mkdir()
    (path / "state" / "d" / "1f").write_bytes(bytes(1000))


def lines(path, steps, split="train", **values):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps({"step": step, "split": split, **values}) + "\n" for step in steps)


@pytest.fixture
def trained(tmp_path):
    """A run of train that was killed after step 240 and while it wrote step 300."""
    workdir = tmp_path / "run"
    lines(workdir / "metrics.jsonl", range(0, 240, 10), loss=1.5)
    lines(workdir / "metrics.jsonl", [600], split="test")
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99\n')
    for step in (100, 200):
        checkpoint(workdir / "checkpoints", step)
    (workdir / "checkpoints" / "300.orbax-checkpoint-tmp-7").mkdir()
    return workdir


def test_what_is_on_the_disk_is_read(trained):
    assert TRAIN.reached(trained) == 240 and TRAIN.saved(trained, {}) == 200
    assert [path.name for path in TRAIN.partial(trained)] == ["300.orbax-checkpoint-tmp-7"]
    assert TRAIN.reached(trained / "nowhere") == TRAIN.saved(trained / "nowhere", {}) == 0
    lines(trained / "metrics.jsonl", [faults.NUM_STEPS - 1])
    assert TRAIN.reached(trained) == faults.NUM_STEPS
    (trained / "results.json").write_text("{}")
    assert TRAIN.saved(trained, {}) == faults.NUM_STEPS


def test_the_steps_of_a_sweep_are_those_of_its_furthest_run(tmp_path):
    for name, last in (("a", 110), ("b", 130)):
        lines(tmp_path / "runs" / name / "metrics.jsonl", range(0, last, 10))
    checkpoint(tmp_path / "programs" / "1f" / "rung_0", 100)
    assert SWEEP.reached(tmp_path) == 130 and SWEEP.saved(tmp_path, {}) == 100
    (tmp_path / "runs" / "b" / "results.json").write_text("{}")
    assert SWEEP.saved(tmp_path, {}) == faults.NUM_STEPS


@pytest.mark.parametrize("seed", range(6))
def test_a_cut_checkpoint_does_not_count_until_it_is_written_anew(trained, seed):
    damaged = {}
    assert faults.truncate(TRAIN, trained, damaged, random.Random(seed))
    ((path, size),) = damaged.items()
    assert path.is_relative_to(trained / "checkpoints" / "200") and path.stat().st_size == size > 0
    assert TRAIN.saved(trained, damaged) == 100
    assert not faults.truncate(TRAIN, trained, damaged, random.Random(seed))  # nothing to fall back to
    path.write_bytes(bytes(2 * size))
    assert TRAIN.saved(trained, damaged) == 200


def test_faults_are_drawn_of_every_kind_and_the_same_for_a_seed():
    drawn = [faults.draw(SWEEP, random.Random(seed), 0) for seed in range(300)]
    assert drawn == [faults.draw(SWEEP, random.Random(seed), 0) for seed in range(300)]
    assert {fault.kind for fault in drawn} == set(fault_campaign.Tally.COLUMNS[:3])
    assert {fault.victims for fault in drawn} == {None, (0,), (1,)}
    parts = [fault.part for fault in drawn]
    assert set(parts) == {"training", "start", "end"} and parts.count("training") > 200
    assert all(fault.part == "training" for fault in drawn if fault.kind == "in a save")
    late = [faults.draw(SWEEP, random.Random(seed), faults.NUM_STEPS) for seed in range(300)]
    assert 100 < late.count(None) < 200 and {fault.part for fault in late if fault} == {"start", "end"}


@pytest.fixture
def ended(tmp_path):
    def make(name, value=1, loss=1.5, elbo=-2.0, seconds=3.0):
        workdir = tmp_path / name
        lines(workdir / "metrics.jsonl", range(3), loss=loss)
        for step in (9, 10):
            checkpoint(workdir / "checkpoints", step, value if step == 10 else None)
        (workdir / "results.json").write_text(json.dumps({"elbo": elbo, "seconds": seconds, "train": {"rate": 1.0}}))
        (workdir / "sweep.jsonl").write_text(json.dumps({"run": "a", "elbo": elbo, "seconds": seconds}) + "\n")
        return fault_campaign.comparable(workdir)

    return make


def test_only_timings_may_differ(ended):
    reference = ended("reference")
    assert fault_campaign.differences(reference, ended("slower", seconds=9.0)) == []
    assert fault_campaign.differences(reference, ended("other_array", value=2)) == ["checkpoints/10:.x"]
    nearly = fault_campaign.differences(reference, ended("other_loss", loss=1.5 + 2**-50))
    assert nearly == [f"metrics.jsonl:{i}:loss" for i in range(3)]
    found = fault_campaign.differences(reference, ended("other_elbo", elbo=2.0))
    assert found == ["results.json:0:elbo", "sweep.jsonl:0:elbo"]
    fewer = {name: value for name, value in reference.items() if not name.startswith("metrics.jsonl:2")}
    assert len(fault_campaign.differences(fewer, reference)) == 3
    assert fault_campaign.differences({"x": float("nan")}, {"x": float("nan")}) == []


def outcome(resumed=200, worked=True, refused=(), in_time=False, status=137):
    lines = [f"checkpoint of step {step} cannot be used" for step in refused]
    lines += [f"continuing from step {resumed}"] * (resumed is not None) + ["step 210/1500"] * worked
    return faults.Outcome(True, status, "\n".join([*lines, "the same command continues this"] if in_time else lines))


def problems_of(workdir, fault="SIGKILL", cut=(), **values):
    tally = fault_campaign.Tally("train1")
    fault_campaign._check_start(TRAIN, 200, set(cut), outcome(**values), tally)
    struck = faults.Fault(fault, "training", 0.5, 0.5, None)
    fault_campaign._record(TRAIN, workdir, {}, struck, outcome(**values), tally)
    return tally.problems


def test_what_must_hold_is_checked(trained):
    assert problems_of(trained) == [] and problems_of(trained, resumed=None) == []
    assert "200 was the newest" in problems_of(trained, resumed=100)[0]
    assert "steps [300] were not reported" in problems_of(trained, cut=[300])[0]
    assert problems_of(trained, cut=[300], refused={300}) == []
    # Steps 200 to 240 are on record and not saved.
    assert "lost 40 steps; 0 are allowed" in problems_of(trained, fault="SIGTERM", status=143, in_time=True)[0]
    assert problems_of(trained, worked=False, in_time=True) == []
    lines(trained / "metrics.jsonl", [290])
    assert problems_of(trained) == []
    lines(trained / "metrics.jsonl", [300])
    assert "lost 110 steps; 100 are allowed" in problems_of(trained)[0]


def test_the_table_has_a_cell_for_each_heading(trained):
    tally = fault_campaign.Tally("train1")
    fault_campaign._record(TRAIN, trained, {}, faults.Fault("SIGKILL", "training", 0.5, 0.5, (0,)), outcome(), tally)
    head, rule, row = fault_campaign.table([tally])
    assert head.count("|") == rule.count("|") == row.count("|")
    cells = dict(zip(fault_campaign.HEADER, tally.row(), strict=True))
    assert cells["kills"] == cells["SIGKILL"] == "1" and cells["lost, most"] == "40" and cells["differences"] == "0"
    *rows, row = fault_campaign.table([tally, tally])
    assert len(rows) == 4 and row.startswith("| all | 2 | 2 | 0 |")


def test_combinations_of_flags_are_of_every_binary_and_the_same_for_a_seed(tmp_path):
    drawn = [flag_campaign.combination(0, number) for number in range(20)]
    assert drawn == [flag_campaign.combination(0, number) for number in range(20)]
    assert len({binary for binary, _ in drawn} & set(flag_campaign.BINARIES)) > 3
    for binary, flags in drawn:
        status, said = flag_campaign.attempt(binary, flags | {"nothing": "1"}, tmp_path / "run")
        assert status == 2 and "nothing" in said and not (tmp_path / "run").exists()


def test_a_bound_that_is_no_number_is_seen(tmp_path):
    whole = dict.fromkeys(flag_campaign.BOUNDS, -1.5)
    (tmp_path / "results.json").write_text(json.dumps(whole))
    assert flag_campaign.nulls(tmp_path) == []
    (tmp_path / "evaluation.json").write_text(json.dumps(whole | {"elbo": None}))
    assert flag_campaign.nulls(tmp_path) == ["elbo is None"]
