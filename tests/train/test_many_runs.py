"""Many runs as one program: run i equals the run by itself, wherever it is computed and whatever the others do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.devices.parallel import parallel
from vae_jax.devices.run_mesh import mesh_shape, run_mesh
from vae_jax.runs.build import build, first_state, material, training_chunk
from vae_jax.runs.settings import Config
from vae_jax.runs.sweep.plan import Job, Program
from vae_jax.train.guard import MAX_SKIPPED
from vae_jax.train.many_runs import FINITE, init_sweep, make_sweep_chunk, run_of, take

STEPS = 200
ONE = jax.devices()[:1]
SMALL = {"hidden": "16", "latent_dim": 3, "batch_size": 32, "num_steps": STEPS, "workdir": "unused"}


@pytest.fixture(scope="module")
def shared():
    return material(Config(**SMALL))


def program(shared, settings, **flags):
    """A ``Program`` of runs with these settings, as the binary makes them; nothing is written."""
    spread = parallel("jit", 1, ONE)
    jobs = []
    for setting in settings:
        config = Config(**(SMALL | flags | setting))
        jobs.append(Job(str(setting), setting, build(config, shared, spread)))
    return Program(None, jobs)


def sweep(p, length=STEPS, side_by_side=1, devices=ONE, chunks=1):
    """The state of a program and its metrics ``[r, length]`` after ``chunks`` chunks."""
    r = p.first

    def configured(numbers):
        return dataclasses.replace(r.config, **numbers)

    mesh = run_mesh(len(p.jobs), r.config.batch_size, devices)
    state = init_sweep(lambda numbers, key: first_state(r, configured(numbers), key), p.numbers(), p.keys())
    chunk = mesh.compile(
        make_sweep_chunk(lambda n: training_chunk(r, configured(n), mesh.all_mean, mesh.split), side_by_side)
    )
    state, data = mesh.place(state), mesh.whole(r.dataset.train)
    for _ in range(chunks):
        state, metrics = chunk(state, data, length)
    return mesh.fetch(state), jax.tree.map(lambda v: np.asarray(v)[: len(p.jobs)], metrics)


def alone(run, length=STEPS):
    """The same run by itself, as ``train`` compiles it."""
    chunk = run.spread.compile(training_chunk(run, run.config, run.spread.all_mean, run.spread.split))
    state = run.spread.place(first_state(run, run.config, run.key))
    return chunk(state, run.spread.place(run.dataset.train), length)


def distance(one, other):
    """The largest difference of two states' parameters, relative to the largest parameter of each leaf."""
    pairs = zip(*(jax.tree.leaves(jax.device_get(state.params)) for state in (one, other)))
    return max(float(np.max(np.abs(a - b)) / (np.max(np.abs(b)) + 1e-6)) for a, b in pairs)


CASES = {
    "weights, seeds and rates": (
        [{"beta": 0.3, "seed": 1, "learning_rate": 1e-3}, {"beta": 3.0, "seed": 2, "learning_rate": 3e-3}],
        {},
    ),
    "a fixed sigma": ([{"sigma": 0.1}, {"sigma": 0.4}], {"precision": "fixed"}),
    "where a learned sigma starts": ([{"sigma": 0.1}, {"sigma": 0.4}], {}),
    "sigma solved for": ([{"beta_norm": 0.02}, {"beta_norm": 0.2}], {"precision": "optimal"}),
    "a ramp": ([{"warmup_steps": 30, "beta": 2.0}, {"warmup_steps": 150, "beta": 1.0}], {"weighting": "linear"}),
    "a sigmoid": ([{"warmup_steps": 30}, {"warmup_steps": 150}], {"weighting": "sigmoid"}),
    "cycles": (
        [{"cycles": 2, "ratio": 0.3}, {"cycles": 5, "ratio": 0.7}],
        {"weighting": "cyclical", "warmup_steps": 200},
    ),
    "a PI controller": ([{"target_kl": 2.0}, {"target_kl": 5.0}], {"weighting": "pi"}),
    "GECO": ([{"target_distortion": 0.0}, {"target_distortion": 10.0}], {"weighting": "geco"}),
    "a capacity": ([{"target_kl": 2.0}, {"target_kl": 5.0}], {"weighting": "capacity"}),
    "free bits": ([{"free_nats": 0.1}, {"free_nats": 1.0}], {"weighting": "free_bits"}),
    "clipping": ([{"clip_norm": 1.0}, {"clip_norm": 100.0}], {}),
    "a Student-t's scale": ([{"sigma": 0.2}, {"sigma": 0.3}], {"likelihood": "student_t"}),
}


@pytest.mark.parametrize("name", CASES)
def test_run_i_equals_the_single_run_with_the_same_flags(shared, name):
    settings, flags = CASES[name]
    p = program(shared, settings, **flags)
    state, metrics = sweep(p)
    single, own = alone(p.jobs[1].run)
    # Float32 over 200 steps, the flags as numbers inside the program and as constants of it: 1e-5 was asked for.
    assert distance(run_of(state, 1), single) < 1e-5
    np.testing.assert_allclose(metrics["beta"][1], own["beta"], rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"][1, -1], own["loss"][-1], rtol=1e-5)
    assert distance(run_of(state, 0), single) > 1e-3  # the runs do differ: equality is not for want of an effect


@pytest.mark.parametrize("side_by_side", [2, 3])
def test_runs_side_by_side_equal_runs_in_turn(shared, side_by_side):
    p = program(shared, [{"beta": b} for b in (0.3, 1.0, 3.0)])
    in_turn, together = sweep(p)[0], sweep(p, side_by_side=side_by_side)[0]
    for i in range(3):
        assert distance(run_of(together, i), run_of(in_turn, i)) < 1e-5


@pytest.mark.parametrize(
    ("runs", "batch_size", "precision"),
    [(8, 32, "learned"), (5, 32, "learned"), (2, 32, "optimal"), (6, 30, "optimal")],
)
def test_eight_devices_equal_one(shared, precision, runs, batch_size):
    # 8 runs divide the devices, 5 leave some to copies, 2 are divided by their batches, 30 cannot be divided by 8.
    settings = [{"beta": float(b)} for b in np.geomspace(0.1, 4.0, runs)]
    p = program(shared, settings, precision=precision, batch_size=batch_size)
    one, _ = sweep(p, length=20)
    many, metrics = sweep(p, length=20, side_by_side=8, devices=jax.devices())
    assert metrics["loss"].shape == (runs, 20) and many.member.tolist() == list(range(runs))
    for i in range(runs):
        assert distance(run_of(many, i), run_of(one, i)) < 1e-5


def test_a_batch_coupled_loss_sees_the_whole_batch_when_it_is_divided(shared):
    for flags in ({"weighting": "free_bits", "free_nats": 1.0}, {"weighting": "capacity", "target_kl": 3.0}):
        p = program(shared, [{"seed": 3}], **flags)
        assert mesh_shape(1, 32, 8) == (1, 8)
        one, many = sweep(p, length=20)[0], sweep(p, length=20, devices=jax.devices())[0]
        assert distance(run_of(many, 0), run_of(one, 0)) < 1e-5


def test_the_mesh_gives_devices_to_runs_first():
    assert mesh_shape(39, 128, 8) == (8, 1)
    assert mesh_shape(8, 128, 8) == (8, 1)
    assert mesh_shape(4, 128, 8) == (4, 2)
    assert mesh_shape(2, 128, 8) == (2, 4)
    assert mesh_shape(1, 128, 8) == (1, 8)
    assert mesh_shape(1, 100, 8)[1] in (1, 2, 4)  # a batch is never cut into unequal parts
    assert mesh_shape(7, 128, 1) == (1, 1)


@pytest.mark.parametrize("side_by_side", [1, 3])
def test_a_run_that_goes_non_finite_is_frozen_and_spoils_no_other(shared, side_by_side):
    # A learning rate of 1e10 overflows within a few steps.
    rates = [1e-3, 1e10, 2e-3]
    p = program(shared, [{"learning_rate": rate} for rate in rates])
    state, metrics = sweep(p, length=40, side_by_side=side_by_side, chunks=2)
    assert np.asarray(state.bad_step)[[0, 2]].tolist() == [FINITE, FINITE] and 0 < int(state.bad_step[1]) < 40
    assert int(state.runs.step[1]) == 0 and int(state.runs.step[0]) == 80 and int(state.step) == 80
    assert np.isnan(metrics["loss"][1]).all() and np.isfinite(metrics["loss"][[0, 2]]).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.runs.params))
    well, _ = sweep(program(shared, [{"learning_rate": rates[0]}, {"learning_rate": rates[2]}]), 40, chunks=2)
    assert distance(run_of(state, 0), run_of(well, 0)) < 1e-5 and distance(run_of(state, 2), run_of(well, 1)) < 1e-5


@pytest.mark.parametrize("length", [4, 40])
def test_a_frozen_run_is_frozen_for_the_updates_that_end_the_single_run(shared, length):
    # Ten skipped updates in a row, wherever chunks end within them.
    p = program(shared, [{"learning_rate": 1e-3}, {"learning_rate": 1e10}])
    _, own = alone(p.jobs[1].run, 40)
    ended = int(np.argmax(own["skipped_in_a_row"] >= MAX_SKIPPED))
    state, _ = sweep(p, length=length, chunks=40 // length)
    assert np.asarray(state.bad_step).tolist() == [FINITE, ended - MAX_SKIPPED + 1]
    assert int(state.runs.step[1]) == ended // length * length and np.asarray(state.runs.skipped.total)[0] == 0


@pytest.mark.parametrize(("side_by_side", "devices"), [(1, 1), (2, 8)])
def test_an_update_is_skipped_as_in_the_single_run(shared, side_by_side, devices):
    bad = np.asarray(shared.dataset.train[100])

    def spoiled(run):
        view = run.training_preprocess
        return run._replace(training_preprocess=lambda key, raw: jnp.where((raw == bad).all(), jnp.nan, view(key, raw)))

    p = program(shared, [{"target_kl": 2.0, "seed": 1}, {"target_kl": 5.0, "seed": 2}], weighting="pi")
    p = p._replace(jobs=[job._replace(run=spoiled(job.run)) for job in p.jobs])
    state, metrics = sweep(p, 60, side_by_side, jax.devices()[:devices], chunks=2)
    for i, job in enumerate(p.jobs):
        single, own = alone(job.run, 120)
        np.testing.assert_array_equal(metrics["skipped"][i], own["skipped"][60:])
        assert int(run_of(state, i).skipped.total) == int(single.skipped.total) == own["skipped"].sum() >= 2
        assert distance(run_of(state, i), single) < 1e-5 and int(state.bad_step[i]) == FINITE


def test_halving_keeps_the_survivors_as_they_were(shared):
    p = program(shared, [{"beta": b} for b in (0.3, 1.0, 3.0)])
    state, _ = sweep(p, length=10)
    kept = take(state, [0, 2])
    assert kept.member.tolist() == [0, 2] and kept.numbers["beta"].shape == (2,)
    for row, i in enumerate((0, 2)):
        assert distance(run_of(kept, row), run_of(state, i)) == 0.0


def test_one_compilation_for_all_chunks_of_a_length(shared):
    p = program(shared, [{"beta": 0.3}, {"beta": 3.0}])
    calls = []
    r = p.first

    def chunk_of(numbers):
        calls.append(1)
        return training_chunk(r, dataclasses.replace(r.config, **numbers), mesh.all_mean, mesh.split)

    mesh = run_mesh(2, 32, ONE)
    chunk = mesh.compile(make_sweep_chunk(chunk_of))
    state = init_sweep(lambda n, key: first_state(r, dataclasses.replace(r.config, **n), key), p.numbers(), p.keys())
    state, data = mesh.place(state), mesh.whole(r.dataset.train)
    state, _ = chunk(state, data, 5)
    traced = len(calls)
    for _ in range(3):
        state, _ = chunk(state, data, 5)
    assert len(calls) == traced
