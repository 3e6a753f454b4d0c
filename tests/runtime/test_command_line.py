"""Flags in other words, files of flags, and the help: what a person types, in this process."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from absl import flags as absl_flags

from experiments import evaluate, sweep, text, train, weigh
from vae_jax.report.formatting import program
from vae_jax.runs import choices, names
from vae_jax.runs.settings import Config
from vae_jax.runtime import trackers
from vae_jax.runtime.config import define_flags, launch, parse
from vae_jax.runtime.fields import words_of
from vae_jax.runtime.help import WIDTH, clause, help_text
from vae_jax.types import UserError

ROOT = Path(__file__).parents[2]
# Every binary beside the papers, whatever is added.
BINARIES = [
    importlib.import_module(f"experiments.{name}")
    for name in (
        *("claims.__main__", "benchmark.__main__"),
        *(path.stem for path in sorted((ROOT / "experiments").glob("*.py")) if "launch(" in path.read_text()),
    )
]


def parsed(*arguments, binary=train):
    values = absl_flags.FlagValues()
    define_flags(binary.Config, values)
    return parse(binary.Config, ["program", *arguments], values)


def refused(*arguments, binary=train):
    with pytest.raises(UserError) as caught:
        parsed(*arguments, binary=binary)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- other words


@pytest.mark.parametrize(
    ("typed", "name", "value"),
    [
        ("--lr=0.01", "learning_rate", 0.01),
        ("-lr=0.01", "learning_rate", 0.01),
        ("--bs=32", "batch_size", 32),
        ("--batch=32", "batch_size", 32),
        ("--z_dim=7", "latent_dim", 7),
        ("--latent_size=7", "latent_dim", 7),
        ("--kl_weight=4", "beta", 4.0),
        ("--steps=9", "num_steps", 9),
    ],
)
def test_an_alias_is_the_flag_itself(typed, name, value):
    assert parsed(typed) == parsed(f"--{name}={value}") == Config(**{name: value})
    assert parsed(*typed.split("=")) == parsed(typed)


def test_values_of_their_own_argument_are_no_flags():
    assert parsed("--target_distortion", "-100", "--lr", "0.5") == Config(target_distortion=-100.0, learning_rate=0.5)
    assert parsed("--soft_targets", "--lr=0.5", "--noprofile") == Config(soft_targets=True, learning_rate=0.5)


@pytest.mark.parametrize("name", [*words_of(Config).aliases.values()])
def test_an_alias_means_a_flag_and_hides_none(name):
    flags, words = {field.name for field in dataclasses.fields(Config)}, words_of(Config)
    assert name in flags and not flags & {*words.aliases, *words.instead} and not {*words.aliases} & {*words.instead}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--epochs=10"],
            "there is no --epochs: --num_steps counts updates; 10 epochs of N examples in batches of 128 ",
        ),
        (["--n_epochs=3", "--batch_size=50"], "--num_steps=3 * N / 50"),
        (["--epochs"], "E epochs of N examples"),
        (["--epochs", "10"], "10 epochs of N examples"),
        (["--epochs", "--lr=1"], "E epochs of N examples"),
        (["--weight=0.1"], "--beta is the weight of the KL"),
        (["--learning_rat=1"], "there is no --learning_rat; is --learning_rate meant?"),
        (["--latent-dim=4"], "is --latent_dim meant?"),
        (["--LR=4"], "is --learning_rate meant?"),
        (["--xyzzy=4"], "there is no --xyzzy; see --help"),
        (["--lr=1", "--learning_rate=1"], "--lr and --learning_rate are one flag, --learning_rate; give one of them"),
        (["--bs=1", "--batch=1"], "one flag, --batch_size"),
        (["train"], "not a flag: train"),
        (["--config"], "--config needs a file"),
        (["--config=a.json", "--config=b.json"], "one file of flags can be given"),
    ],
)
def test_what_is_no_flag_is_answered_with_the_one_that_is_meant(arguments, said):
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--init_from=runs/x", "there is no --init_from: every run of a sweep begins with its own seed's parameters"),
        ("--tracker=wandb", "there is no --tracker: no tracker follows a sweep"),
        ("--beta_range=1:2", "--method=multi_rate"),
        ("--parallel=pmap", "there is no --parallel: a sweep decides it for its runs; train has it"),
    ],
)
def test_a_sweep_says_why_a_flag_of_train_is_none_of_its(typed, said):
    assert said in refused(typed, binary=sweep)


def test_a_flag_twice_under_one_name_is_the_last_one():
    assert parsed("--lr=1", "--lr=0.5").learning_rate == 0.5


def test_a_flagfile_is_read_in_the_same_words(tmp_path):
    (tmp_path / "flags").write_text("--lr=0.5\n# a comment\n--latent_dim=4\n")
    assert parsed(f"--flagfile={tmp_path / 'flags'}", "--seed=1") == Config(learning_rate=0.5, latent_dim=4, seed=1)
    (tmp_path / "flags").write_text("--epochs=3\n")
    assert "--num_steps=3 * N" in refused(f"--flagfile={tmp_path / 'flags'}")
    (tmp_path / "flags").write_bytes(b"\xff\xfe\x00")
    refused(f"--flagfile={tmp_path / 'flags'}")


# ---------------------------------------------------------------- files of flags


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return f"--config={path}"

    return write


def test_a_file_gives_defaults_that_the_command_line_overrides(file):
    given = file("f.toml", 'latent_dim = 4\nbeta = 2\ndataset = "sprites"\nprofile = true\n')
    expected = Config(latent_dim=4, beta=2.0, dataset="sprites", profile=True)
    assert parsed(given) == expected and isinstance(parsed(given).beta, float)
    assert parsed("--z_dim=9", given, "--noprofile") == dataclasses.replace(expected, latent_dim=9, profile=False)
    # A value that is typed counts, though it is the default.
    assert parsed(given, "--latent_dim=20").latent_dim == 20


def test_what_a_run_has_left_is_such_a_file(file):
    run = Config(
        workdir="runs/x", latent_dim=4, plugin="p.py", plugin_sha256="ab" * 32, coordinator="h:1", clip_norm=None
    )
    given = file("config.json", json.dumps(dataclasses.asdict(run)))
    again = dataclasses.replace(run, workdir="y", coordinator=None)
    assert parsed(given, "--workdir=y") == again
    assert parsed(given, "--plugin=q.py") == dataclasses.replace(
        run, workdir=None, coordinator=None, plugin="q.py", plugin_sha256=None
    )
    assert parsed(given, "--clip_norm=3").clip_norm == 3.0
    # null is a value: a text's own default is 5.
    assert parsed(file("t.json", '{"clip_norm": null}'), binary=text).clip_norm is None


def test_a_sweep_takes_lists_and_the_flags_of_a_run(file):
    given = file("f.toml", 'beta = [0.1, 1, 10]\nhidden = "8|16"\nseed = 3\nsoft_targets = true\nhalving = true\n')
    config = parsed(given, binary=sweep)
    assert (config.beta, config.hidden, config.seed, config.soft_targets, config.halving) == (
        *("0.1,1,10", "8|16", "3"),
        *(True, True),
    )
    run = dataclasses.asdict(Config(workdir="runs/x", latent_dim=4, beta=2.0))
    config = parsed(file("config.json", json.dumps(run)), binary=sweep)
    assert (config.latent_dim, config.beta, config.workdir) == ("4", "2.0", sweep.Config().workdir)
    settled = run | {"order": "shuffled", "placement": "whole", "tracker": "wandb", "plugin_sha256": None}
    assert parsed(file("config.json", json.dumps(settled)), binary=sweep) == config
    said = refused(file("config.json", json.dumps(run | {"beta_range": "0.1:10"})), binary=sweep)
    assert "beta_range is '0.1:10', and there is no --beta_range here" in said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("f.toml", "latent_dimm = 4", "there is no --latent_dimm; is --latent_dim meant?"),
        ("f.toml", "lr = 4\nzz = 1", "there is no --lr; is --learning_rate meant?"),
        ("f.toml", 'latent_dim = "4"', "latent_dim is 4, which must be a whole number"),
        ("f.toml", "latent_dim = 4.0", "which must be a whole number"),
        ("f.toml", "latent_dim = 0", "which must be at least 1"),
        ("f.toml", "latent_dim = true", "which must be a whole number"),
        ("f.toml", "learning_rate = nan", "which must be a number between"),
        ("f.toml", "learning_rate = inf", "which must be a number between"),
        ("f.toml", "dataset = 2020-01-01", "which must be a text"),
        ("f.toml", "[data]\nlatent_dim = 4", "there is no --data"),
        ("f.toml", "[dataset]\nname = 'digits'", "which must be a text"),
        ("f.toml", "workdir = 'x'", "a workdir is given on the command line"),
        ("f.toml", "keep = 'first'", "must be one of best, last"),
        ("f.toml", "a = 1\na = 2", "is no TOML"),
        ("f.toml", b"\xff\xfe\x00", "is no TOML"),
        ("f.toml", "x = " + "[" * 9000, "is no TOML"),
        ("f.json", "[" * 90000, "cannot be read as JSON"),
        ("f.json", b"\x00\xff" * 40, "cannot be read as JSON"),
        ("f.json", '{"beta": NaN}', "cannot be read as JSON"),
        ("f.json", "[1]", "should hold one JSON object"),
        ("f.json", '{"beta": {"beta": {}}}', "which must be a number"),
        ("f.json", " " * (1 << 20) + "{}", "larger than"),
        ("f.toml", " " * (1 << 20) + "\n", "larger than"),
        ("f.yaml", "latent_dim: 4", "must be FILE.json or FILE.toml"),
    ],
)
def test_a_bad_file_is_one_line(file, name, content, said):
    assert said in refused(file(name, content))


def test_what_is_no_file_or_of_another_binary_is_one_line(file, tmp_path):
    for kind in ("json", "toml"):
        (tmp_path / f"folder.{kind}").mkdir()
        os.mkfifo(tmp_path / f"pipe.{kind}")
        os.symlink(tmp_path / f"loop.{kind}", tmp_path / f"loop.{kind}")
        for name in ("folder", "pipe", "loop", "nowhere"):
            assert f"{name}.{kind}" in refused(f"--config={tmp_path / name}.{kind}")
    of_train = file("config.json", json.dumps(dataclasses.asdict(Config())))
    assert "there is no --aggressive_steps" in refused(of_train, binary=evaluate)
    of_evaluate = file("config.json", json.dumps(dataclasses.asdict(evaluate.Config())))
    assert "there is no --active_threshold" in refused(of_evaluate)


# ---------------------------------------------------------------- the help


@pytest.mark.parametrize("binary", BINARIES, ids=lambda binary: binary.__name__)
def test_every_flag_has_one_line(binary):
    lines = help_text(binary.Config, "").splitlines()
    assert max(map(len, lines)) <= WIDTH
    for field in dataclasses.fields(binary.Config):
        of_it = [line for line in lines if line.startswith((f"  --{field.name}", f"  --[no]{field.name}"))]
        named = [
            line for line in of_it if line.split("=")[0].split()[0].removeprefix("--[no]").lstrip("-") == field.name
        ]
        assert len(named) == bool(field.metadata["flag"]), field.name
    assert not any(name in "\n".join(lines) for name in ("--flagfile", "--verbosity", "--pdb", "--undefok"))


@pytest.mark.parametrize("binary", [train, text, sweep, evaluate, weigh], ids=lambda binary: binary.__name__)
def test_every_flag_of_a_run_is_in_one_group(binary):
    groups = words_of(binary.Config).groups
    grouped = [name for names in groups.values() for name in names]
    flags = {field.name for field in dataclasses.fields(binary.Config) if field.metadata["flag"]}
    assert len(grouped) == len({*grouped}) and flags <= {*grouped}
    if binary is train:
        assert list(groups) == ["data", "model", "likelihood", "weight", "optimiser", "run", "scale"]
        assert flags == {*grouped}


def test_the_long_help_says_all_of_each_flag():
    shown = " ".join(help_text(Config, "", full=True).split())
    for field in dataclasses.fields(Config):
        if field.metadata["flag"]:
            assert " ".join(field.metadata["help"].split()) in shown, field.name
            assert all(name in shown for name in field.metadata["choices"] or ())


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("short", 5, "short"),
        ("a beginning of it; and an end", 20, "a beginning of it"),
        ("a beginning (with, commas) of it, and more", 24, None),
        ("a beginning (with, commas) of it, and more", 34, "a beginning (with, commas) of it"),
        ("without a clause to end with", 20, None),
    ],
)
def test_a_long_text_ends_with_a_clause(text, width, short):
    assert clause(text, width) == short


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["--epochs=3", "--help", "--nosuch"], ["--lr", "1", "--helpfull"]]
)
def test_help_goes_before_whatever_else_is_typed(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", *arguments])
    monkeypatch.setitem(sys.modules, "__main__", types.SimpleNamespace(__doc__="What it is.\n"))
    launch(None, Config)
    full = "--helpfull" in arguments
    assert capsys.readouterr().out == help_text(Config, "What it is.", full) + "\n"


def test_the_console_script_and_the_module_say_the_same_without_importing_jax():
    program = (
        "import runpy, sys\n"
        "sys.argv = ['train', '--help']\n"
        "runpy.run_module('experiments.train', run_name='__main__', alter_sys=True)\n"
        "print('=' * 9, *(name for name in ('jax', 'numpy', 'absl') if name in sys.modules))\n"
        "from vae_jax import __main__ as script\n"
        "sys.argv = ['vae-jax', 'train', '--help']\n"
        "script.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    module, script = done.stdout.split("=" * 9 + "\n")
    assert done.returncode == 0 and module == script == help_text(Config, train.__doc__) + "\n", done.stderr


def test_no_binary_imports_jax_before_it_is_asked_for_its_help():
    names = [binary.__name__ for binary in BINARIES]
    names += [
        f"experiments.papers.{path.stem}"
        for path in (ROOT / "experiments/papers").glob("*.py")
        if "launch(" in path.read_text()
    ]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    print(name, *(heavy for heavy in ('jax', 'absl', 'matplotlib') if heavy in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == names, done.stderr


def test_the_names_in_the_help_are_those_of_the_tables():
    built_in = names.BUILT_IN
    assert set(choices.LIKELIHOODS) == set(built_in.likelihoods)
    assert set(choices.WEIGHTINGS) == set(built_in.weightings)
    assert set(choices.OBJECTIVES) == set(built_in.objectives)
    assert set(choices.MODELS) == set(built_in.models)
    assert choices.TRACKERS == trackers.NAMES
    from vae_jax.likelihoods import PRECISIONS

    assert choices.PRECISIONS == PRECISIONS


@pytest.mark.parametrize(
    ("started", "said"),
    [
        (["python", "/usr/bin/vae-jax", "train"], "vae-jax weigh"),
        (["python", "-m", "vae_jax", "train"], "-m vae_jax weigh"),
        (["python", "-m", "experiments.train"], "-m experiments.weigh"),
        (["python"], "-m experiments.weigh"),
    ],
)
def test_a_hint_names_a_program_as_this_one_was_started(monkeypatch, started, said):
    monkeypatch.setattr(sys, "orig_argv", started)
    assert program("weigh").endswith(said)
