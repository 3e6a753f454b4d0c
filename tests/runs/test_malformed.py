"""Flags, configurations and grids that nobody should write: refused in one line, before anything is made of them."""

import dataclasses
import json
import os
import shlex

import malformed as m
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_run import start

from experiments import evaluate, sweep, text, train, weigh
from vae_jax.runtime.config import claim_workdir, from_dict, kinds
from vae_jax.runtime.files import read_object

FEW = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck), max_examples=40)


def test_there_are_enough_cases():
    tables = (m.values_of_no_field(), m.NO_RUN, m.TOO_LARGE, m.CONFIGS, m.GRIDS)
    assert sum(map(len, tables)) >= 200
    assert min(map(len, tables)) >= 8


# ---------------------------------------------------------------- flags


def test_a_value_that_no_field_of_its_type_has_is_refused_by_name():
    for flag in m.values_of_no_field():
        said = m.refusal(m.asked, [flag])
        name = flag[2:].split("=")[0]
        assert said is not None and name in said, (flag[:80], said)


@pytest.mark.parametrize("cases", [m.NO_RUN, m.TOO_LARGE], ids=["no run", "too large"])
def test_what_makes_no_run_is_refused_and_nothing_is_written(tmp_path, cases):
    workdir = tmp_path / "run"
    for flags, match in cases.items():
        argv = shlex.split(flags) if "<" not in flags else [flags]
        said = m.refusal(m.up_to_training, [f"--workdir={workdir}", *argv])
        assert said is not None and match in said, (flags[:80], said)
        assert not workdir.exists(), flags[:80]


def test_extreme_values_that_are_possible_are_taken(tmp_path):
    taken = [
        "--seed=4294967295",
        "--num_steps=2147483647 --eval_every=2147483647 --checkpoint_every=2147483647",
        "--latent_dim=100000 --hidden=1 --batch_size=8",
        "--warmup_steps=2147483647 --weighting=linear",
        "--beta=1.2e-38",
        "--beta_max=3.4e38 --weighting=pi --target_kl=1",
        "--clip_norm=1e30",
    ]
    for i, flags in enumerate(taken):
        assert m.refusal(m.up_to_training, [f"--workdir={tmp_path / str(i)}", *flags.split()]) is None, flags
        assert (tmp_path / str(i) / "config.json").exists()


def _value(name):
    field, kind, _ = m.FIELDS[name]
    if field.metadata["choices"]:
        return st.sampled_from(list(field.metadata["choices"]))
    numbers = st.sampled_from(["0", "-0.0", "1", "2147483647", "1e-38", "3e38"])
    return {
        int: numbers | st.integers().map(str),
        float: numbers | st.floats().map(repr),
        bool: st.sampled_from(["true", "false"]),
        str: st.text(max_size=30) | st.from_regex(r"[0-9:,.|e-]{1,12}", fullmatch=True),
    }[kind]


_LEFT = ("workdir", "dataset", "data_dir", "coordinator", "num_processes", "process_id")  # have cases of their own
_FLAGS = st.lists(st.sampled_from(sorted(set(m.FIELDS) - set(_LEFT))), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.tuples(*(st.tuples(st.just(name), _value(name)) for name in names))
)


@settings(FEW, max_examples=80)
@given(_FLAGS)
def test_any_combination_of_flags_is_refused_or_makes_a_run(tmp_path_factory, flags):
    workdir = tmp_path_factory.mktemp("any") / "run"
    argv = [f"--workdir={workdir}", "--batch_size=8", *(f"--{name}={value}" for name, value in flags)]
    said = m.refusal(m.up_to_training, argv)
    assert workdir.exists() is (said is None)


@pytest.mark.parametrize(
    ("cls", "flags"),
    [
        (evaluate.Config, ["--iw_samples=99999999999", "--active_threshold=nan", "--seed=4294967296", "--split=both"]),
        (weigh.Config, ["--sigma=inf", "--data_dim=2147483648", "--latent_dim=2000000", "--recon=", "--dataset="]),
        (text.Config, ["--word_dropout=nan", "--likelihood=gaussian", "--max_length=1e3"]),
        (sweep.Config, ["--halving_keep=nan", "--workdir=", "--random_runs=2147483648", "--iw_samples=99999999"]),
    ],
)
def test_the_other_binaries_check_theirs_too(cls, flags):
    for flag in flags:
        said = m.refusal(m.asked, [flag], cls)
        assert said is not None and flag[2:].split("=")[0] in said, said


def test_names_of_folders_are_taken_as_they_are(tmp_path):
    for name in ("it's", 'a "b"', m.MARKUP, "é 日本 \U0001f600", "a?b#c%20", "-x", "ideographic\u3000space", "$HOME"):
        workdir = tmp_path / name.replace("/", "")
        assert m.refusal(m.up_to_training, [f"--workdir={workdir}", "--batch_size=8"]) is None, name
        assert json.loads((workdir / "config.json").read_text())["workdir"] == str(workdir)


def test_a_folder_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / "loop", tmp_path / ("x" * 300), "/proc/x"):
        said = m.refusal(m.up_to_training, [f"--workdir={workdir}", "--batch_size=8"])
        assert said is not None and "--workdir=" in said, said
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("other things may lie there")
    assert m.refusal(m.up_to_training, [f"--workdir={tmp_path / 'mine'}", "--batch_size=8"]) is None


# ---------------------------------------------------------------- config.json


@pytest.mark.parametrize("name", sorted(m.CONFIGS))
def test_a_config_that_is_none_is_refused_and_left_alone(tmp_path, name):
    path = tmp_path / "config.json"
    path.write_bytes(m.CONFIGS[name])
    before = m.contents(tmp_path)
    for read in (lambda: claim_workdir(tmp_path, train.Config()), lambda: m.read_config(tmp_path)):
        said = m.refusal(read)
        assert said is not None and ("config.json" in said or "--workdir=" in said), said
        assert m.contents(tmp_path) == before


def test_what_is_no_file_is_not_waited_for(tmp_path):
    (tmp_path / "folder" / "config.json").mkdir(parents=True)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "config.json")
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "config.json").symlink_to("/dev/zero")
    for name in ("folder", "pipe", "device"):
        for read in (lambda: claim_workdir(tmp_path / name, train.Config()), lambda: m.read_config(tmp_path / name)):  # noqa: B023
            said = m.refusal(read)
            assert said is not None and "config.json is not a file" in said, said


def test_a_large_file_is_not_read(tmp_path):
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # a hole: it takes no room, and reading it would
    said = m.refusal(m.read_config, tmp_path)
    assert said is not None and "larger than 1.05 MB" in said


def test_an_older_config_has_the_defaults_of_newer_flags_and_numbers_of_either_type(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": 3, "beta": 2, "soft_targets": true}')
    found = m.read_config(tmp_path)
    assert found == train.Config(seed=3, beta=2.0, soft_targets=True, workdir=str(tmp_path))
    assert isinstance(found.beta, float)
    same = train.Config(seed=3, beta=2.0, soft_targets=True)
    claim_workdir(tmp_path, same)
    said = m.refusal(claim_workdir, tmp_path, dataclasses.replace(same, seed=4))
    assert said is not None and "--seed is 3 there and 4 here" in said


def test_many_differing_flags_are_said_in_one_line(tmp_path):
    claim_workdir(tmp_path, train.Config())
    other = {f.name: f"other {f.name}" for f in dataclasses.fields(train.Config) if f.type.startswith("str")}
    said = m.refusal(claim_workdir, tmp_path, dataclasses.replace(train.Config(), **other))
    assert said is not None and "holds another run" in said and "more; repeat its flags" in said


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(FEW, max_examples=150)
@given(st.dictionaries(st.sampled_from(sorted(m.FIELDS)) | st.text(max_size=8), _JSON, max_size=4))
def test_whatever_an_object_holds_it_is_refused_or_every_value_has_its_fields_type(found):
    made = []
    if m.refusal(lambda: made.append(from_dict(train.Config, found, "config.json"))) is not None:
        return
    for name, (kind, optional) in kinds(train.Config).items():
        value = getattr(made[0], name)
        assert type(value) is kind or (optional and value is None), (name, value)


@settings(FEW, max_examples=60)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | _JSON.map(lambda v: json.dumps(v).encode()))
def test_whatever_a_file_holds_it_is_refused_or_an_object(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("json") / "config.json"
    path.write_bytes(raw)
    found = []
    if m.refusal(lambda: found.append(read_object(path, "remove it", 1000))) is None:
        assert isinstance(found[0], dict)


# ---------------------------------------------------------------- sweeps


def test_a_grid_that_is_none_is_refused():
    for flags, match in m.GRIDS.items():
        said = m.refusal(m.runs_of_sweep, flags.split())
        assert said is not None and match in said, (flags[:80], said)


@settings(FEW, max_examples=150)
@given(
    st.sampled_from(["beta", "latent_dim", "seed", "hidden", "model", "learning_rate", "num_steps", "deterministic"]),
    st.from_regex(r"(log|lin|sin)?:?[0-9e.+-]{0,9}[:,|]?[0-9e.+-]{0,9}[:,|]?[0-9]{0,6}", fullmatch=True)
    | st.text("0123456789.,:|-e loginf", max_size=20),
    st.sampled_from([[], ["--random_runs=2"]]),
)
def test_any_grid_is_refused_or_makes_runs(flag, values, more):
    made = []
    if m.refusal(lambda: made.extend(m.runs_of_sweep([f"--{flag}={values}", *more]))) is None:
        assert made and all(isinstance(config, train.Config) for config in made)


# ---------------------------------------------------------------- the real programs


def test_the_programs_say_one_line_exit_with_2_and_leave_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text('{"seed": tru')
    workdir = tmp_path / "run"
    cases = [
        ("train", [f"--workdir={workdir}", "--latent_dim=2147483647"], "--latent_dim"),
        ("train", [f"--workdir={workdir}", "--sigma=nan"], "--sigma"),
        ("train", [f"--workdir={workdir}", f"--dataset={tmp_path}/no\x1b[31m such.npz"], "--dataset"),
        ("train", [f"--workdir={tmp_path / 'file' / 'run'}"], "--workdir"),
        ("evaluate", [f"--workdir={tmp_path / 'torn'}"], "config.json"),
        ("sweep", [f"--workdir={workdir}", "--beta=log:1:10:99999999999"], "--beta"),
    ]
    before = m.contents(tmp_path)
    running = [(start(*flags, binary=binary), match) for binary, flags, match in cases]
    for process, match in running:
        _, err = process.communicate(timeout=300)
        lines = err.splitlines()
        assert process.returncode == 2, err
        assert len(lines) == 1 and lines[0].startswith("error: ") and match in lines[0], err
    assert not workdir.exists() and m.contents(tmp_path) == before
