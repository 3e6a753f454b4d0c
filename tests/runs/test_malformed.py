"""Flags, configurations and grids that nobody should write: refused in one line, before anything is made of them."""

import dataclasses
import json
import os
import shlex

import pytest
from helpers import malformed as m
from helpers.binaries import start
from helpers.malformed import FEW
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import text
from vae_jax.runs import evaluate, weigh
from vae_jax.runs.settings import Config
from vae_jax.runs.sweep import flags as sweep_flags
from vae_jax.runtime.config import claim_workdir, from_dict, kinds
from vae_jax.runtime.files import read_object


def refused(match, function, *arguments):
    """Holds that the arguments are refused with the key words ``match``; which ones were not, if not."""
    message = m.refusal(function, *arguments)
    assert message is not None and match in message, (str(arguments)[:80], message)
    return message


def test_there_are_enough_cases():
    tables = (m.values_of_no_field(), m.NO_RUN, m.TOO_LARGE, m.CONFIGS, m.GRIDS)
    assert sum(map(len, tables)) >= 200 and min(map(len, tables)) >= 8


# ---- flags ----


def test_a_value_that_no_field_of_its_type_has_is_refused_by_name():
    for flag in m.values_of_no_field():
        refused(flag[2:].split("=")[0], m.checked, [flag])


@pytest.mark.parametrize("cases", [m.NO_RUN, m.TOO_LARGE], ids=["no run", "too large"])
def test_what_makes_no_run_is_refused_and_nothing_is_written(tmp_path, cases):
    for flags, match in cases.items():
        argv = shlex.split(flags) if "<" not in flags else [flags]
        refused(match, m.up_to_training, [f"--workdir={tmp_path / 'run'}", *argv])
        assert not (tmp_path / "run").exists(), flags[:80]


def test_extreme_values_that_are_possible_are_taken(tmp_path):
    taken = [
        "--seed=4294967295 --beta=1.2e-38 --clip_norm=1e30",
        "--num_steps=2147483647 --eval_every=2147483647 --checkpoint_every=2147483647",
        "--latent_dim=100000 --hidden=1 --batch_size=8",
        "--warmup_steps=2147483647 --weighting=linear",
        "--beta_max=3.4e38 --weighting=pi --target_kl=1",
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


_OWN_CASES = ("workdir", "dataset", "data_dir", "plugin", "coordinator", "num_processes", "process_id")
_SOME = st.lists(st.sampled_from(sorted(set(m.FIELDS) - set(_OWN_CASES))), min_size=1, max_size=4, unique=True)


@settings(FEW, max_examples=60)
@given(_SOME.flatmap(lambda names: st.tuples(*(st.tuples(st.just(name), _value(name)) for name in names))))
def test_any_combination_of_flags_is_refused_or_makes_a_run(tmp_path_factory, flags):
    workdir = tmp_path_factory.mktemp("any") / "run"
    argv = [f"--workdir={workdir}", "--batch_size=8", *(f"--{name}={value}" for name, value in flags)]
    message = m.refusal(m.up_to_training, argv)
    assert workdir.exists() is (message is None)


@pytest.mark.parametrize(
    ("cls", "flags"),
    [
        (evaluate.Config, "--iw_samples=99999999999 --active_threshold=nan --seed=4294967296 --split=both"),
        (weigh.Config, "--sigma=inf --data_dim=2147483648 --latent_dim=2000000 --recon= --dataset="),
        (text.Config, "--word_dropout=nan --likelihood=gaussian --max_length=1e3"),
        (sweep_flags.Config, "--halving_keep=nan --workdir= --random_runs=2147483648 --iw_samples=99999999"),
    ],
)
def test_the_other_binaries_check_theirs_too(cls, flags):
    for flag in flags.split():
        refused(flag[2:].split("=")[0], m.parsed, [flag], cls)


def test_names_of_folders_are_taken_as_they_are(tmp_path):
    for name in ("it's", 'a "b"', m.MARKUP, "é 日本 \U0001f600", "a?b#c%20", "-x", "ideographic\u3000space", "$HOME"):
        workdir = tmp_path / name.replace("/", "")
        claim_workdir(workdir, m.checked([f"--workdir={workdir}"]))
        assert json.loads((workdir / "config.json").read_text())["workdir"] == str(workdir)


def test_a_folder_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / "loop", tmp_path / ("x" * 300), "/proc/x"):
        refused("--workdir=", m.up_to_training, [f"--workdir={workdir}", "--batch_size=8"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("other things may lie there")
    assert m.refusal(m.up_to_training, [f"--workdir={tmp_path / 'mine'}", "--batch_size=8"]) is None


# ---- config.json ----


@pytest.mark.parametrize("name", sorted(m.CONFIGS))
def test_a_config_that_is_none_is_refused_and_left_alone(tmp_path, name):
    (tmp_path / "config.json").write_bytes(m.CONFIGS[name])
    before = m.contents(tmp_path)
    for read in (lambda: claim_workdir(tmp_path, Config()), lambda: m.read_config(tmp_path)):
        message = m.refusal(read)
        assert message is not None and any(x in message for x in ("config.json", "--workdir=", "--model=")), message
        assert m.contents(tmp_path) == before


def test_what_is_no_file_is_not_waited_for_and_a_large_one_not_read(tmp_path):
    for name in ("folder", "pipe", "device", "large"):
        (tmp_path / name).mkdir()
    (tmp_path / "folder" / "config.json").mkdir()
    os.mkfifo(tmp_path / "pipe" / "config.json")
    (tmp_path / "device" / "config.json").symlink_to("/dev/zero")
    for name in ("folder", "pipe", "device"):
        refused("config.json is not a file", claim_workdir, tmp_path / name, Config())
        refused("config.json is not a file", m.read_config, tmp_path / name)
    with (tmp_path / "large" / "config.json").open("wb") as file:
        file.truncate(1 << 30)  # a hole: it takes no room, and reading it would
    refused("larger than 1.05 MB", m.read_config, tmp_path / "large")


def test_an_older_config_has_the_defaults_of_newer_flags_and_numbers_of_either_type(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": 3, "beta": 2, "soft_targets": true}')
    config = m.read_config(tmp_path)
    before = {f.name: f.metadata["before"] for f in dataclasses.fields(Config) if f.metadata["before"] is not None}
    assert config == Config(seed=3, beta=2.0, soft_targets=True, workdir=str(tmp_path), **before)
    assert isinstance(config.beta, float)
    same = dataclasses.replace(config, workdir=None)
    claim_workdir(tmp_path, same)
    refused("--seed is 3 there and 4 here", claim_workdir, tmp_path, dataclasses.replace(same, seed=4))
    other = {f.name: f"other {f.name}" for f in dataclasses.fields(Config) if f.type.startswith("str")}
    message = refused("holds another run", claim_workdir, tmp_path, dataclasses.replace(same, **other))
    assert "more; repeat its flags" in message


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(FEW, max_examples=100)
@given(st.dictionaries(st.sampled_from(sorted(m.FIELDS)) | st.text(max_size=8), _JSON, max_size=4))
def test_whatever_an_object_holds_it_is_refused_or_every_value_has_its_fields_type(content):
    made = []
    if m.refusal(lambda: made.append(from_dict(Config, content, "config.json"))) is not None:
        return
    for name, (kind, optional) in kinds(Config).items():
        value = getattr(made[0], name)
        assert type(value) is kind or (optional and value is None), (name, value)


@settings(FEW, max_examples=60)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | _JSON.map(lambda v: json.dumps(v).encode()))
def test_whatever_a_file_holds_it_is_refused_or_an_object(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(raw)
    made = []
    if m.refusal(lambda: made.append(read_object(path, "remove it", 1000))) is None:
        assert isinstance(made[0], dict)


# ---- sweeps ----


def test_a_grid_that_is_none_is_refused():
    for flags, match in m.GRIDS.items():
        refused(match, m.runs_of_sweep, flags.split())


@settings(FEW, max_examples=100)
@given(
    st.sampled_from(["beta", "latent_dim", "seed", "hidden", "model", "learning_rate", "num_steps", "deterministic"]),
    st.from_regex(r"(log|lin|sin)?:?[0-9e.+-]{0,9}[:,|]?[0-9e.+-]{0,9}[:,|]?[0-9]{0,6}", fullmatch=True)
    | st.text("0123456789.,:|-e loginf", max_size=20),
    st.sampled_from([[], ["--random_runs=2"]]),
)
def test_any_grid_is_refused_or_makes_runs(flag, values, more):
    made = []
    if m.refusal(lambda: made.extend(m.runs_of_sweep([f"--{flag}={values}", *more]))) is None:
        assert made and all(isinstance(config, Config) for config in made)


# ---- the real programs: what is refused in process above is what they say, exit with 2, and leave nothing ----


def test_the_programs_say_one_line_exit_with_2_and_leave_nothing(tmp_path):
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text('{"seed": tru')
    workdir = tmp_path / "run"
    cases = [
        ("train", [f"--workdir={workdir}", f"--dataset={tmp_path}/no\x1b[31m such.npz"], "--dataset"),
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
