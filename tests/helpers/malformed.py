"""What somebody may type or leave in a folder, as tables; and the way of a command line up to training, in process."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from absl import flags
from hypothesis import HealthCheck, settings

from vae_jax.runs import build, evaluate
from vae_jax.runs.checks import check
from vae_jax.runs.names import names_of
from vae_jax.runs.settings import Config
from vae_jax.runs.sweep import flags as sweep_flags
from vae_jax.runs.sweep import halving
from vae_jax.runs.sweep.grid import expand
from vae_jax.runtime.config import claim_workdir, define_flags, kinds, parse
from vae_jax.types import LONGEST, UserError

FEW = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck), max_examples=40)
FIELDS = {f.name: (f, *kinds(Config)[f.name]) for f in dataclasses.fields(Config) if f.metadata["flag"]}
MARKUP = "<img src=x onerror=alert(1)> \"&' $x_^{$"
BAD_FLOATS = ("nan", "inf", "-inf", "1e39", "-1e300", "1e-40", "one", "1,5", "0x1p3", "")
BAD_INTS = ("2147483648", "-4294967297", "9" * 30, "9" * 5000, "0x" + "f" * 4000, "1.0", "1e3", "nan", "")
BAD_TEXTS = ("", "a\nb", "a\rb", "\x1b[31mred", "a\0b", "half \udcff", "line\u2028two", "\x7f")


def values_of_no_field() -> list[str]:
    """Every flag of ``train`` with each value that no field of its type can have."""
    found = []
    for name, (field, kind, _) in FIELDS.items():
        if field.metadata["choices"]:
            bad = ("nosuch", "", "constant ", "elbo\n")
        else:
            bad = {float: BAD_FLOATS, int: BAD_INTS, str: BAD_TEXTS, bool: ("maybe", "2", "")}[kind]
        fine = {"2147483648"} if name == "seed" else set()
        found += [f"--{name}={value}" for value in bad if value not in fine]
    return found


def of_flags(values: dict[str, str]) -> dict[str, str]:
    """``{"seed": "-1 x"}`` as flags, each with what the message has to say: the flag's name."""
    return {f"--{name}={value}": f"--{name}" for name, each in values.items() for value in each.split()}


# Values of the right type that make no run, each with what the message has to say.
NO_RUN = of_flags(
    {
        "seed": "-1",
        "num_steps": "0 -5",
        "batch_size": "0",
        "microbatches": "0 3",
        "num_samples": "0",
        "latent_dim": "0",
        "log_every": "0",
        "eval_every": "-1",
        "checkpoint_every": "0",
        "keep_checkpoints": "0",
        "iw_samples": "0 2147483647",
        "cycles": "0",
        "embedding": "0",
        "components": "0",
        "encoder_steps": "-1",
        "aggressive_steps": "-1",
        "word_dropout": "1.5",
        "beta": "-1",
        "beta_norm": "-0.1 3.4e38",
        "warmup_steps": "-1",
        "ratio": "0 1.01",
        "sigma": "0",
        "min_sigma": "0",
        "learning_rate": "0 -1",
        "clip_norm": "0",
        "beta_min": "1000",
        "beta_max": "0",
        "geco_decay": "1 -0.1",
        "geco_rate": "0",
        "ki": "0",
        "kp": "-1",
        "gamma": "0",
        "hidden": f"0 -5,5 5,,5 512;512 1e3 {'9' * 5000}",
        "beta_range": "1 1:1 10:0.1 0:1 nan:1 1:inf 1:2:3",
        "columns": "gaussian gaussian:0 gaussian:-1 poisson:3 categorical:3 categorical(1):3 gaussian(3):3 gaussian:64"
        " gaussian:3,,beta:1",
        "dataset": f"nosuchset {'x' * 3000} mnist:no.such.version",
    }
) | {
    "--seed=4294967296": "at most 4294967295",
    "--batch_size=100000": "larger than the 1294 training examples",
    "--sigma=1e-30": "--min_sigma",
    "--df=2 --likelihood=student_t": "--df=2.0",
    "--squeeze=0.5 --likelihood=beta": "--squeeze",
    "--squeeze=0 --likelihood=beta": "--squeeze",
    f"--hidden={'9' * 40}": "must be positive widths",
    f"--hidden={','.join('8' for _ in range(5000))}": "5000 layers",
    "--beta_range=0.1:10 --beta=20": "--beta_range",
    "--columns=gaussian:99999999999": "digits",
    f"--columns=categorical({'9' * 50}):1": "digits",
    "--columns=gaussian:64 --likelihood=beta": "--columns",
    "--likelihood=columns": "--columns",
    "--likelihood=tokens": "--likelihood=tokens",
    "--likelihood=bernoulli": "--pixels=binary",
    "--likelihood=discretized_logistic --pixels=dequantised": "--pixels=dequantised",
    "--precision=optimal --likelihood=laplace": "--precision",
    "--model=recurrent": "--model=recurrent",
    "--weighting=pi": "--target_kl",
    "--weighting=capacity": "--target_kl",
    "--weighting=geco": "--target_distortion",
    "--weighting=pi --target_kl=-1": "--target_kl",
    "--weighting=free_bits --objective=iwae": "--weighting=free_bits",
    "--weighting=cyclical --warmup_steps=2": "cycles",
    "--weighting=cyclical --cycles=2147483647": "cycles",
    "--beta=1 --beta_norm=1": "--beta and --beta_norm",
    "--dataset=/no/such/folder": "/no/such/folder",
    "--dataset=/no/such/file.npz": "no such file",
    "--dataset=/no/such/file.txt": "/no/such/file.txt",
    "--dataset=/dev/null": "/dev/null",
    "--dataset=<img src=x onerror=alert(1)>": "--dataset",
    "--dataset=..": "..",
    "--num_steps": "num_steps",
    "--no_such_flag=1": "no_such_flag",
    "stray": "stray",
    "-": "-",
    "--flagfile=/no/such/file": "/no/such/file",
}
# What asks for more memory than any machine has: refused by arithmetic, with the flag that asks for most.
TOO_LARGE = {
    "--latent_dim=2147483647": "--latent_dim=2147483647 needs",
    "--hidden=2147483647,2147483647": "--hidden=2147483647,2147483647 needs",
    "--num_samples=2147483647": "--num_samples=2147483647 needs",
    "--likelihood=discretized_logistic --components=2147483647": "--components=2147483647 needs",
    "--log_every=2147483647 --eval_every=2147483647 --checkpoint_every=2147483647 --num_steps=2147483647": "needs",
    "--model=conv --hidden=2147483647": "--hidden=2147483647 needs",
    "--latent_dim=2147483647 --hidden=1": "--latent_dim=2147483647 needs",
    "--weighting=pi --target_kl=3 --latent_dim=1000000000": "--latent_dim=1000000000 needs",
}

CONFIGS = {
    "empty": b"",
    "white space": b" \n",
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "a string": b'"seed"',
    "torn": b'{"seed": 0, "model"',
    "two objects": b"{}{}",
    "a comment": b'{"seed": 0} // mine',
    "single quotes": b"{'seed': 0}",
    "NaN": b'{"beta": NaN}',
    "infinity": b'{"beta": Infinity}',
    "minus infinity": b'{"beta": -Infinity}',
    "not UTF-8": b'{"dataset": "\xff\xfe"}',
    "UTF-16": '{"seed": 0}'.encode("utf-16"),
    "NUL bytes": b"\0" * 64,
    "deep": b'{"seed":' + b"[" * 100_000,
    "deep and whole": b'{"seed":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "two megabytes": b'{"dataset": "' + b"x" * 2_000_000 + b'"}',
    "unknown name": b'{"seed": 0, "sede": 1}',
    "many unknown names": ("{" + ",".join(f'"flag_{i}": 1' for i in range(500)) + "}").encode(),
    "markup for a name": b'{"<img src=x onerror=alert(1)>": 1}',
    "a number as text": b'{"seed": "0"}',
    "a switch for a number": b'{"seed": true}',
    "a switch for a float": b'{"beta": false}',
    "a fraction for a whole number": b'{"latent_dim": 3.0}',
    "a number for a text": b'{"dataset": 3}',
    "a list for a text": b'{"dataset": ["digits"]}',
    "an object for a number": b'{"beta": {}}',
    "a text for a switch": b'{"soft_targets": "false"}',
    "a number for a switch": b'{"soft_targets": 0}',
    "null for a number": b'{"seed": null}',
    "null for a name": b'{"model": null}',
    "no such choice": b'{"model": "transformer"}',
    "a number beyond float32": b'{"beta": 1e300}',
    "a number beyond floats": b'{"beta": 1e999}',
    "a long number": b'{"seed": ' + b"9" * 5000 + b"}",
    "beyond 32 bits": b'{"num_steps": 2147483648}',
    "a negative beyond 32 bits": b'{"num_steps": -99999999999}',
    "a control character": b'{"dataset": "a\\u001bb"}',
    "half a letter": b'{"dataset": "\\ud800"}',
    "an empty text": b'{"dataset": ""}',
}

GRIDS = of_flags(
    {
        "beta": ", 1,,2 1;2 nan 1,inf 1e39 log: log:1 log:0:10:3 log:-1:10:3 log:1:10:0 log:1:10:1 log:1:10:-3 "
        "log:1:10:3:4 log:nan:10:3 log:1:inf:3 log:1e-320:1e320:3 lin:-1e308:1e308:5 log:a:b:c "
        f"log:1:10:{'9' * 5000}",
        "latent_dim": "lin:1:1e30:3 1.5 9999999999",
        "seed": "-1 4294967296 1,a",
        "model": "mlp,nosuch",
        "hidden": "1,2|x |",
        "random_runs": "0 -1",
        "search_seed": "-1",
        "halving_at": "0.5,0.25 nan 0,1",
        "halving_keep": "0 1",
        "max_runs_per_program": "0",
        "side_by_side": "-2",
    }
) | {
    "--beta=": "",
    "--deterministic=maybe": "",
    "--halving_at=": "",
    "--beta=log:1:10": "--random_runs",
    "--beta=log:1:10:100000000000": "at most",
    "--beta=log:1:10,lin:1:2 --random_runs=3": "stands alone",
    "--latent_dim=log:1:10:10001": "at most",
    "--seed=log:1:10": "seeds are listed",
    "--random_runs=2147483647 --beta=log:1:10": "at most",
    f"--seed={','.join(map(str, range(150)))} --latent_dim={','.join(map(str, range(1, 150)))}": "at most",
}


_FLAGS: dict[type, flags.FlagValues] = {}


def parsed(argv: list[str], cls: type = Config):
    """The configuration of a command line, as the binary makes it."""
    if cls not in _FLAGS:
        _FLAGS[cls] = flags.FlagValues()
        define_flags(cls, _FLAGS[cls])
    _FLAGS[cls].unparse_flags()
    return parse(cls, ["program", *argv], _FLAGS[cls])


def checked(argv: list[str]) -> Config:
    """The configuration of a command line of ``train``, its flags held against each other."""
    config = parsed(argv)
    check(config, names_of(config))
    return config


_MATERIAL: dict[str, build.Material] = {}


def up_to_training(argv: list[str]) -> build.Run:
    """All that ``train`` does with a command line before it trains: parse, check, read, build, claim the folder."""
    config = checked(argv)
    shared = None
    if config.dataset == "digits":  # read once for all cases
        shared = _MATERIAL.get(config.pixels) or build.material(config)
        _MATERIAL[config.pixels] = shared
    r = build.build(config, shared)
    claim_workdir(Path(r.config.workdir), r.config.flags)
    return r


def runs_of_sweep(argv: list[str]) -> list[Config]:
    """The configurations of a sweep's runs, as far as they are made before data are read: the first few of them."""
    config = parsed(argv, sweep_flags.Config)
    halving.stops(config.halving_at, 100)
    settings = expand(sweep_flags.given_lists(config), config.random_runs, config.search_seed)
    shared = {name: getattr(config, name) for name in sweep_flags.SHARED}
    configs = [Config(**shared | setting, workdir="runs/x") for setting in settings[:3]]
    for each in configs:
        check(each, names_of(each))
    return configs


def refusal(function, *arguments) -> str | None:
    """The message where ``function`` refuses its arguments, None where it takes them; any other error is a failure."""
    try:
        function(*arguments)
    except UserError as error:
        message = str(error)
        assert message and len(message) <= LONGEST and message.isprintable(), message
        return message
    return None


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read_config(workdir: Path):
    """As ``evaluate`` reads the configuration of a run, and holds its flags against each other."""
    config = evaluate.read_config(evaluate.Config(workdir=str(workdir)))
    check(config, names_of(config))
    return config
