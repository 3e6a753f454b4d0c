"""What somebody may type or leave in a folder, as tables; and the way of a command line up to training, in process."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from absl import flags

from experiments import evaluate, sweep, train
from vae_jax.runs import build
from vae_jax.runs.checks import check
from vae_jax.runs.names import names_of
from vae_jax.runtime.config import claim_workdir, define_flags, kinds, parse
from vae_jax.types import LONGEST, UserError

FIELDS = {f.name: (f, *kinds(train.Config)[f.name]) for f in dataclasses.fields(train.Config)}
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


# Values of the right type that make no run, each with what the message has to say.
NO_RUN = {
    "--seed=-1": "--seed=-1",
    "--seed=4294967296": "at most 4294967295",
    "--num_steps=0": "--num_steps=0",
    "--num_steps=-5": "--num_steps=-5",
    "--batch_size=0": "--batch_size=0",
    "--batch_size=100000": "larger than the 1437 training examples",
    "--microbatches=0": "--microbatches=0",
    "--microbatches=3": "--microbatches=3",
    "--num_samples=0": "--num_samples=0",
    "--latent_dim=0": "--latent_dim=0",
    "--log_every=0": "--log_every=0",
    "--eval_every=-1": "--eval_every=-1",
    "--checkpoint_every=0": "--checkpoint_every=0",
    "--keep_checkpoints=0": "--keep_checkpoints=0",
    "--iw_samples=0": "--iw_samples=0",
    "--iw_samples=2147483647": "--iw_samples",
    "--cycles=0": "--cycles=0",
    "--embedding=0": "--embedding=0",
    "--components=0": "--components=0",
    "--encoder_steps=-1": "--encoder_steps=-1",
    "--aggressive_steps=-1": "--aggressive_steps=-1",
    "--word_dropout=1.5": "--word_dropout=1.5",
    "--beta=-1": "--beta=-1.0",
    "--beta_norm=-0.1": "--beta_norm",
    "--beta_norm=3.4e38": "--beta_norm",
    "--warmup_steps=-1": "--warmup_steps",
    "--ratio=0": "--ratio",
    "--ratio=1.01": "--ratio",
    "--sigma=0": "--sigma",
    "--sigma=1e-30": "--min_sigma",
    "--min_sigma=0": "--min_sigma",
    "--learning_rate=0": "--learning_rate",
    "--learning_rate=-1": "--learning_rate",
    "--clip_norm=0": "--clip_norm",
    "--beta_min=1000": "--beta_min",
    "--beta_max=0": "--beta_max",
    "--geco_decay=1": "--geco_decay",
    "--geco_decay=-0.1": "--geco_decay",
    "--geco_rate=0": "--geco_rate",
    "--ki=0": "--ki",
    "--kp=-1": "--kp",
    "--gamma=0": "--gamma",
    "--df=2 --likelihood=student_t": "--df=2.0",
    "--squeeze=0.5 --likelihood=beta": "--squeeze",
    "--squeeze=0 --likelihood=beta": "--squeeze",
    "--hidden=0": "--hidden=0",
    "--hidden=-5,5": "--hidden",
    "--hidden=5,,5": "--hidden",
    "--hidden=512;512": "--hidden",
    "--hidden=1e3": "--hidden",
    f"--hidden={'9' * 40}": "must be positive widths",
    f"--hidden={'9' * 5000}": "--hidden",
    f"--hidden={','.join('8' for _ in range(5000))}": "5000 layers",
    "--beta_range=1": "--beta_range=1",
    "--beta_range=1:1": "--beta_range",
    "--beta_range=10:0.1": "--beta_range",
    "--beta_range=0:1": "--beta_range",
    "--beta_range=nan:1": "--beta_range",
    "--beta_range=1:inf": "--beta_range",
    "--beta_range=1:2:3": "--beta_range",
    "--beta_range=0.1:10 --beta=20": "--beta_range",
    "--columns=gaussian": "--columns",
    "--columns=gaussian:0": "--columns",
    "--columns=gaussian:-1": "--columns",
    "--columns=poisson:3": "--columns",
    "--columns=categorical:3": "--columns",
    "--columns=categorical(1):3": "--columns",
    "--columns=gaussian(3):3": "--columns",
    "--columns=gaussian:99999999999": "digits",
    f"--columns=categorical({'9' * 50}):1": "digits",
    "--columns=gaussian:64": "--columns",
    "--columns=gaussian:3,,beta:1": "--columns",
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
    "--dataset=nosuchset": "--dataset=nosuchset",
    f"--dataset={'x' * 3000}": "--dataset",
    "--dataset=/no/such/folder": "/no/such/folder",
    "--dataset=/no/such/file.npz": "no such file",
    "--dataset=/no/such/file.txt": "/no/such/file.txt",
    "--dataset=/dev/null": "/dev/null",
    "--dataset=<img src=x onerror=alert(1)>": "--dataset",
    "--dataset=..": "..",
    "--dataset=mnist:no.such.version": "mnist",
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

GRIDS = {
    "--beta=": "",
    "--beta=,": "--beta",
    "--beta=1,,2": "--beta",
    "--beta=1;2": "--beta",
    "--beta=nan": "--beta",
    "--beta=1,inf": "--beta",
    "--beta=1e39": "--beta",
    "--beta=log:": "--beta",
    "--beta=log:1": "--beta",
    "--beta=log:1:10": "--random_runs",
    "--beta=log:0:10:3": "--beta",
    "--beta=log:-1:10:3": "--beta",
    "--beta=log:1:10:0": "--beta",
    "--beta=log:1:10:1": "--beta",
    "--beta=log:1:10:-3": "--beta",
    "--beta=log:1:10:3:4": "--beta",
    "--beta=log:nan:10:3": "--beta",
    "--beta=log:1:inf:3": "--beta",
    "--beta=log:1e-320:1e320:3": "--beta",
    "--beta=lin:-1e308:1e308:5": "--beta",
    "--beta=log:1:10:100000000000": "at most",
    f"--beta=log:1:10:{'9' * 5000}": "--beta",
    "--beta=log:1:10,lin:1:2 --random_runs=3": "stands alone",
    "--beta=log:a:b:c": "--beta",
    "--latent_dim=lin:1:1e30:3": "--latent_dim",
    "--latent_dim=log:1:10:10001": "at most",
    "--latent_dim=1.5": "--latent_dim",
    "--latent_dim=9999999999": "--latent_dim",
    "--seed=log:1:10": "seeds are listed",
    "--seed=-1": "--seed",
    "--seed=4294967296": "--seed",
    "--seed=1,a": "--seed",
    "--model=mlp,nosuch": "--model",
    "--hidden=1,2|x": "--hidden",
    "--hidden=|": "--hidden",
    "--deterministic=maybe": "",
    "--random_runs=0": "--random_runs",
    "--random_runs=-1": "--random_runs",
    "--random_runs=2147483647 --beta=log:1:10": "at most",
    "--search_seed=-1": "--search_seed",
    "--halving_at=": "",
    "--halving_at=0.5,0.25": "--halving_at",
    "--halving_at=nan": "--halving_at",
    "--halving_at=0,1": "--halving_at",
    "--halving_keep=0": "--halving_keep",
    "--halving_keep=1": "--halving_keep",
    "--max_runs_per_program=0": "--max_runs_per_program",
    "--side_by_side=-2": "--side_by_side",
    f"--seed={','.join(map(str, range(150)))} --latent_dim={','.join(map(str, range(1, 150)))}": "at most",
}


_FLAGS: dict[type, flags.FlagValues] = {}


def asked(argv: list[str], cls: type = train.Config):
    """The configuration of a command line, as the binary makes it."""
    if cls not in _FLAGS:
        _FLAGS[cls] = flags.FlagValues()
        define_flags(cls, _FLAGS[cls])
    _FLAGS[cls].unparse_flags()
    return parse(cls, ["program", *argv], _FLAGS[cls])


_MATERIAL: dict[str, build.Material] = {}


def up_to_training(argv: list[str], cls: type = train.Config) -> build.Run:
    """All that ``train`` does with a command line before it trains: parse, resolve, read, build, claim the folder."""
    config = asked(argv, cls)
    check(config, names_of(config))
    shared = None
    if config.dataset == "digits":  # read once for all cases
        shared = _MATERIAL.get(config.pixels) or build.material(config)
        _MATERIAL[config.pixels] = shared
    r = build.build(config, shared)
    claim_workdir(Path(r.config.workdir), r.config.flags)
    return r


def runs_of_sweep(argv: list[str]) -> list[train.Config]:
    """The configurations of a sweep's runs, as far as they are made before data are read: the first few of them."""
    from vae_jax.runs.sweep.grid import expand

    config = asked(argv, sweep.Config)
    sweep.check(config)
    settings = expand(sweep.asked(config), config.random_runs, config.search_seed)
    shared = {name: getattr(config, name) for name in sweep.SHARED}
    configs = [train.Config(**shared | setting, workdir="runs/x") for setting in settings[:3]]
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
    """As ``evaluate`` reads the configuration of a run."""
    return evaluate.read_config(str(workdir), None)
