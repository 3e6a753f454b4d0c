"""Several processes as one program: how they are found, how they agree, and that they train what one process trains."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.binaries import SMALL, call, metrics, results, start

from vae_jax import likelihoods, models, weighting
from vae_jax.devices import processes
from vae_jax.devices.cluster import Cluster, find
from vae_jax.devices.parallel import parallel
from vae_jax.runtime.checkpoint import Checkpoints
from vae_jax.train import Recipe, init_state, make_chunk, make_train_step
from vae_jax.train.optimizers import adam, learning_rates
from vae_jax.types import UserError

ROOT = Path(__file__).parents[2]


def test_flags_name_the_cluster():
    assert find("host:1234", 4, 3, {}) == Cluster("flags", "host:1234", 4, 3)
    assert find(None, None, None, {}) is None
    assert find("host:1234", 1, 0, {}) is None  # one process is no cluster
    assert find("[::1]:80", 2, 0, {}) == Cluster("flags", "[::1]:80", 2, 0)


@pytest.mark.parametrize(
    "given, match",
    [
        (("host:1", None, 0), "--num_processes is missing"),
        ((None, 2, 0), "--coordinator is missing"),
        (("host", 2, 0), "--coordinator=host must be HOST:PORT"),
        (("host:port", 2, 0), "must be HOST:PORT"),
        (("host:70000", 2, 0), "must be HOST:PORT"),
        (("host:1", 2, 2), "--process_id=2 must be from 0"),
        (("host:1", 2, -1), "--process_id=-1 must be from 0"),
        (("host:1", 0, 0), "--num_processes is 0"),
    ],
)
def test_flags_that_name_none_are_refused(given, match):
    with pytest.raises(UserError, match=match):
        find(*given, {})


VARIABLES = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "3"}
SLURM = {"SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "localhost", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}


@pytest.mark.parametrize(
    "environ, expected",
    [
        (VARIABLES | {"JAX_PROCESS_ID": "2"}, ("variables", "a:1", 3, 2)),
        (VARIABLES | {"JOB_COMPLETION_INDEX": "1"}, ("variables", "a:1", 3, 1)),
        (SLURM, ("Slurm",)),
        (SLURM | {"SLURM_NTASKS": "1"}, None),
        ({"SLURM_NTASKS": "8", "SLURM_JOB_ID": "1"}, None),  # a batch script outside srun
        ({"OMPI_COMM_WORLD_SIZE": "2"}, ("Open MPI",)),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, ("TPU hosts",)),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
    ],
)
def test_the_environment_names_the_cluster(environ, expected):
    assert find(None, None, None, environ) == (None if expected is None else Cluster(*expected))


def test_a_variable_that_is_missing_is_named():
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES is missing"):
        find(None, None, None, {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_PROCESS_ID": "0"})
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES=two"):
        find(None, None, None, {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"})


def test_one_process_does_everything_itself():
    assert processes.count() == 1 and processes.is_first()
    assert processes.first_does(lambda: 3) == processes.all_do(lambda: 3) == 3
    assert processes.told_by_first(True) is True
    processes.check_equal("flags", "anything")
    asked = iter([False, True])
    agreement = processes.Agreement(lambda: next(asked))
    assert [agreement(), agreement()] == [False, True]


MEMBER = """
import os, sys
import numpy as np
from vae_jax.devices import cluster, processes
from vae_jax.types import UserError
cluster.start(cluster.find(None, None, None))
import jax
rank = jax.process_index()
assert processes.count() == 2 and processes.is_first() == (rank == 0)
# What the first does, and what all do, ends in the same way everywhere.
assert processes.first_does(lambda: rank + 7) == (7 if rank == 0 else None)
assert processes.told_by_first(rank == 0) is True and processes.told_by_first(rank == 1) is False
def fails_on(who):
    def action():
        if rank == who:
            raise UserError("no room") if who else OSError("no disk")
        return rank
    return action
for call, who, word in ((processes.first_does, 0, "no disk"), (processes.all_do, 1, "no room")):
    try:
        call(fails_on(who))
        raise AssertionError("nothing was raised")
    except (UserError, OSError) as error:
        assert word in str(error), error
        assert isinstance(error, UserError) or rank == who
assert processes.all_do(lambda: rank) == rank
processes.check_equal("flags", "same")
try:
    processes.check_equal("flags", str(rank))
    raise AssertionError("different flags passed")
except UserError as error:
    assert "process 1 was started with other flags" in str(error)
# Only one is asked to stop, and both hear of it at the same call: the second one after.
agreement = processes.Agreement(lambda: rank == 1)
heard = [agreement() for _ in range(3)]
assert heard == [False, True, True], heard
from jax.sharding import NamedSharding, PartitionSpec
from vae_jax.devices.parallel import make_mesh
mesh = make_mesh()
key = jax.random.key(3)
tree = processes.put({"a": np.arange(8.0), "key": key}, NamedSharding(mesh, PartitionSpec()))
assert (processes.fetch(tree["key"]) == np.asarray(jax.random.key_data(key))).all()
divided = processes.put(np.arange(8.0), NamedSharding(mesh, PartitionSpec("b")))
assert not divided.is_fully_addressable and (processes.fetch(divided) == np.arange(8.0)).all()
# And both train on from the checkpoint that one process wrote: each holds two of the four devices.
from test_processes import train_to
first, numbers = train_to(20, sys.argv[1] + "/run")
assert first == 10, first
np.save(f"{sys.argv[1]}/{rank}.npy", numbers)
print("said by", rank, flush=True)
print("done", rank, file=sys.stderr)
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _is_free(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


def train_to(last, folder):
    """Trains from the newest checkpoint of a folder to a step and saves: returns where it began and all its numbers."""
    event, batch = (4, 4, 1), 32
    data = np.random.default_rng(0).integers(0, 256, (100, *event)).astype(np.uint8)
    likelihood = likelihoods.gaussian("learned")
    vae = models.mlp(event, likelihood.theta_shape(event), 3, (16,))
    optimizer = adam(learning_rates("constant", 1e-2, 100), likelihood, None)
    weight = weighting.pi(2.0, kp=0.01, ki=0.01, beta_max=10.0)
    devices = jax.devices() if processes.count() > 1 else jax.devices()[:1]
    spread = parallel("jit", batch, devices, "divided")
    recipe = Recipe(vae, likelihood, optimizer, weight, preprocess=lambda key, raw: raw / 255.0)
    chunk = make_chunk(make_train_step(recipe), len(data), batch, spread.split, spread.take, batch)
    state = spread.begin(lambda: init_state(recipe, event, jax.random.key(3)))
    checkpoints = Checkpoints(folder)
    first, state = checkpoints.restore_latest(state) or (0, state)
    state, _ = spread.compile(chunk)(state, spread.lay(data), last - first)
    checkpoints.save(last, state)
    numbers = jax.tree.leaves((state.params, state.weight_state))
    return first, np.concatenate([processes.fetch(leaf).ravel() for leaf in numbers])


def test_checkpoints_of_one_process_continue_in_two_and_back(tmp_path):
    """And two processes that Slurm started agree."""
    assert train_to(10, tmp_path / "run")[0] == 0
    # JAX takes the port from the job's number: look for one whose port is free.
    job = next(n for n in range(free_port() % 4096, 10**6) if _is_free(n % 2**12 + (65535 - 2**12 + 1)))
    members = []
    for rank in (0, 1):
        names = {"SLURM_JOB_ID": str(job), "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
        environment = os.environ | SLURM | names | {"JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": "tests/devices:tests"}
        command, pipe = [sys.executable, "-c", MEMBER, str(tmp_path)], subprocess.PIPE
        members.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True))
    ended = [member.communicate(timeout=200) for member in members]
    for rank, (member, (out, err)) in enumerate(zip(members, ended)):
        assert member.returncode == 0 and f"done {rank}" in err, err
        assert ("said by" in out) == (rank == 0)  # one voice
    in_two = np.load(tmp_path / "0.npy")
    began, moved = train_to(30, tmp_path / "run")
    first, alone = train_to(20, tmp_path / "alone")
    assert (began, first) == (20, 0) and len(in_two) == len(alone) > 700
    np.testing.assert_allclose(in_two, alone, atol=1e-5)
    assert np.max(np.abs(moved - alone)) > 1e-3  # the comparison sees ten steps
    first, alone = train_to(30, tmp_path / "alone")
    assert first == 20
    np.testing.assert_allclose(moved, alone, atol=1e-5)


FLAGS = [*SMALL, "--checkpoint_every=20", "--eval_every=30"]


def test_two_processes_train_evaluate_and_report_as_one(tmp_path):
    cluster = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    members = [start(f"--workdir={tmp_path / 'two'}", *FLAGS, *cluster, f"--process_id={rank}") for rank in (0, 1)]
    call(f"--workdir={tmp_path / 'alone'}", *FLAGS)
    ended = [member.communicate(timeout=300) for member in members]
    assert [member.returncode for member in members] == [0, 0], ended
    assert "2 processes" in ended[0][0] and "step" not in ended[1][0] and "warning" not in ended[1][1]
    ours, theirs = results(tmp_path / "two"), results(tmp_path / "alone")
    for key in ("elbo", "rate", "distortion", "iw_nll", "mse", "sigma", "swapped_distortion"):
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-5, err_msg=key)
    rows = [metrics(tmp_path / name) for name in ("two", "alone")]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    np.testing.assert_allclose([row["loss"] for row in rows[0]], [row["loss"] for row in rows[1]], rtol=1e-5)
    for name in ("report.html", "pictures.npz", "checkpoints/60"):
        assert (tmp_path / "two" / name).exists()
    assert len(list((tmp_path / "two").glob("events.out*"))) == 1
    config = (tmp_path / "two" / "config.json").read_text()
    assert "127.0.0.1" not in config  # the same command continues it in any number of processes


def test_checkpoints_of_a_later_version_or_another_model_are_refused_in_one_line(tmp_path):
    import jax.numpy as jnp

    state = {"w": jnp.zeros((3, 4))}
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save(1, state)
    with pytest.raises(UserError, match=r"of another model: .*w.*3, 4"):
        checkpoints.restore_latest({"w": jnp.zeros((3, 5))})
    with pytest.raises(UserError, match=r"of another model: .*v"):
        checkpoints.restore_latest(state | {"v": jnp.zeros(())})
    path = tmp_path / "run" / "1" / "meta" / "metadata"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2').replace('"format":1', '"format":2'))
    with pytest.raises(UserError, match="later version of vae_jax"):
        checkpoints.restore_latest(state)
