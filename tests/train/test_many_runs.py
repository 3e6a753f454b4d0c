"""Many runs as one program: run i equals the run by itself, wherever it is computed and whatever the others do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.many_runs import SMALL, alone, distance, program, sweep

from vae_jax.devices.run_mesh import mesh_shape
from vae_jax.randomness import batch_rows
from vae_jax.runs.build import first_state, material, training_step, with_numbers
from vae_jax.runs.settings import Config
from vae_jax.train.guard import MAX_SKIPPED
from vae_jax.train.many_runs import FINITE, run_of, take


@pytest.fixture(scope="module")
def shared():
    return material(Config(**SMALL))


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
def test_numbers_as_arrays_make_the_updates_of_numbers_as_constants(shared, name):
    """At the beginning, in the middle and near the end of the run."""
    settings, flags = CASES[name]
    p = program(shared, settings, **flags)
    data = jnp.asarray(shared.dataset.train[:32])

    def updates(r, numbers, key, steps=(0, 90, 199)):
        r, seen = with_numbers(r, numbers), []
        step, state = training_step(r, lambda tree: tree), first_state(r, key)
        for at in steps:
            state, metrics = step(state._replace(step=jnp.int32(at)), data)
            seen.append(metrics)
        return state, jax.tree.map(lambda *values: jnp.stack(values), *seen)

    numbers, runs = p.numbers(), [job.run for job in p.jobs]
    arrays = {name: jnp.asarray(values)[1] for name, values in numbers.items()}
    jax.eval_shape(lambda numbers, key: updates(runs[0], numbers, key, (0,)), arrays, runs[1].key)  # they may be traced
    with jax.disable_jit():
        state, metrics = updates(runs[0], arrays, runs[1].key)
        single, own = updates(runs[1], {}, runs[1].key)
        other, others = updates(runs[0], {}, runs[0].key)
    assert distance(state, single) < 1e-5
    for metric in ("beta", "loss"):
        np.testing.assert_allclose(metrics[metric], own[metric], rtol=1e-5)
    # The runs do differ: equality is not for want of an effect. (Free bits do not move the first parameters.)
    assert distance(other, single) > 1e-5 or not np.allclose(others["loss"], own["loss"], rtol=1e-3)


MIXED = [
    {"target_kl": 2.0, "seed": 1, "learning_rate": 1e-3, "sigma": 0.2},
    {"target_kl": 2.0, "seed": 2, "learning_rate": 1e10, "sigma": 0.2},  # overflows within a few steps
    {"target_kl": 5.0, "seed": 3, "learning_rate": 2e-3, "sigma": 0.4},
]
UPDATES = 80


def spoiled(p, bad):
    """The program on data of which no update survives the example ``bad``."""

    def spoil(run):
        view = run.training_preprocess
        return run._replace(training_preprocess=lambda key, raw: jnp.where((raw == bad).all(), jnp.nan, view(key, raw)))

    return p._replace(jobs=[job._replace(run=spoil(job.run)) for job in p.jobs])


def test_each_run_is_the_run_by_itself_and_one_that_overflows_is_frozen(shared):
    # In turn, or two side by side and then one; the updates that end a run lie in one chunk or in several.
    p = spoiled(program(shared, MIXED, weighting="pi"), np.asarray(shared.dataset.train[100]))
    (_, ending), (single, own) = (alone(p.jobs[i].run, UPDATES) for i in (1, 2))
    firsts = []
    for side_by_side, length in ((1, 4), (2, UPDATES)):
        state, metrics = sweep(p, length, side_by_side, chunks=UPDATES // length)
        assert int(state.step) == UPDATES and state.member.tolist() == [0, 1, 2]
        # Float32 over so many steps, the flags as numbers inside the program and as constants of it.
        assert distance(run_of(state, 2), single) < 1e-5 and state.bad_step[jnp.array([0, 2])].tolist() == [FINITE] * 2
        np.testing.assert_allclose(metrics["beta"][2], own["beta"], rtol=1e-5)
        np.testing.assert_allclose(metrics["loss"][2, -1], own["loss"][-1], rtol=1e-5)
        for i in (0, 2):
            assert int(run_of(state, i).skipped.total) == metrics["skipped"][i].sum() >= 1
        np.testing.assert_array_equal(metrics["skipped"][2], own["skipped"])
        firsts.append((run_of(state, 0), metrics["beta"][0], metrics["skipped"][0]))
        assert distance(run_of(state, 0), single) > 1e-3
        ended = int(np.argmax(ending["skipped_in_a_row"] >= MAX_SKIPPED))
        assert int(state.bad_step[1]) == ended - MAX_SKIPPED + 1
        assert int(state.runs.step[1]) == ended // length * length
        if length < UPDATES:
            assert np.isnan(metrics["loss"][1, -length:]).all()
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.runs.params))
        kept = take(state, [0, 2])  # what halving leaves
        assert kept.member.tolist() == [0, 2] and kept.numbers["target_kl"].tolist() == [2.0, 5.0]
        assert all(distance(run_of(kept, row), run_of(state, i)) == 0.0 for row, i in enumerate((0, 2)))
    # The first run is the same wherever it is computed.
    (one, betas, skipped), (other, others, again) = firsts
    assert distance(one, other) < 1e-5
    np.testing.assert_allclose(betas, others, rtol=1e-5)
    np.testing.assert_array_equal(skipped, again)


def test_eight_devices_equal_one(shared):
    """Three runs and a copy, each with half of a batch that its losses couple on each of two devices."""
    flags = {"batch_size": 30, "precision": "optimal", "weighting": "free_bits", "free_nats": 0.001}
    settings, data = [{"beta": beta} for beta in (0.1, 0.6, 4.0)], np.asarray(shared.dataset.train)
    p = program(shared, settings, **flags)
    p = spoiled(p, data[batch_rows(p.first.key, 0, 6, len(data), 30)[5, 0]])  # met in the sixth update
    assert mesh_shape(3, 30, 8) == (4, 2)
    one, expected = sweep(p, length=12)
    many, metrics = sweep(p, length=12, side_by_side=8, devices=jax.devices())
    assert metrics["loss"].shape == (3, 12) and many.member.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(metrics["skipped"], expected["skipped"])
    assert metrics["skipped"].sum() >= 3
    for i in range(3):
        assert distance(run_of(many, i), run_of(one, i)) < 1e-5
    assert distance(run_of(many, 0), run_of(one, 2)) > 1e-5


def test_the_mesh_gives_devices_to_runs_first():
    assert mesh_shape(39, 128, 8) == (8, 1)
    assert mesh_shape(8, 128, 8) == (8, 1)
    assert mesh_shape(4, 128, 8) == (4, 2)
    assert mesh_shape(2, 128, 8) == (2, 4)
    assert mesh_shape(1, 128, 8) == (1, 8)
    assert mesh_shape(1, 100, 8)[1] in (1, 2, 4)  # a batch is never cut into unequal parts
    assert mesh_shape(7, 128, 1) == (1, 1)
