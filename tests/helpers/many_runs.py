"""A sweep of tiny runs as one program, and each run by itself."""

import jax
import numpy as np

from vae_jax.devices.parallel import parallel
from vae_jax.devices.run_mesh import run_mesh
from vae_jax.runs.build import build, first_state, training_chunk, with_numbers
from vae_jax.runs.settings import Config
from vae_jax.runs.sweep.plan import Job, Program
from vae_jax.train.many_runs import init_sweep, make_sweep_chunk

STEPS = 200
ONE = jax.devices()[:1]
SMALL = {"hidden": "16", "latent_dim": 3, "batch_size": 32, "num_steps": STEPS, "workdir": "unused"}


def program(shared, settings, **flags):
    """A ``Program`` of runs with these settings, as the binary makes them; nothing is written."""
    spread = parallel("jit", 1, ONE)
    jobs = []
    for setting in settings:
        config = Config(**(SMALL | flags | setting))
        jobs.append(Job(str(setting), setting, build(config, shared, spread)))
    return Program(None, jobs)


def sweep(p, length=STEPS, side_by_side=1, devices=ONE, chunks=1):
    """The state of a program and its metrics ``[r, chunks * length]`` after ``chunks`` chunks."""
    r, traced, logged = p.first, [], []
    mesh = run_mesh(len(p.jobs), r.config.batch_size, devices)

    def chunk_of(numbers):
        traced.append(len(logged))
        return training_chunk(with_numbers(r, numbers), mesh.all_mean, mesh.split)

    state = init_sweep(lambda numbers, key: first_state(with_numbers(r, numbers), key), p.numbers(), p.keys())
    chunk = mesh.compile(make_sweep_chunk(chunk_of, side_by_side))
    state, data = mesh.place(state), mesh.whole(r.dataset.train)
    for _ in range(chunks):
        state, metrics = chunk(state, data, length)
        logged.append(jax.tree.map(lambda v: np.asarray(v)[: len(p.jobs)], metrics))
    assert set(traced) == {0}  # one compilation for all chunks of a length
    return mesh.fetch(state), jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *logged)


def alone(run, length=STEPS):
    """The same run by itself, as ``train`` compiles it."""
    chunk = run.spread.compile(training_chunk(run))
    state = run.spread.place(first_state(run))
    return chunk(state, run.spread.place(run.dataset.train), length)


def distance(one, other):
    """The largest difference of two states' parameters, relative to the largest parameter of each leaf."""
    pairs = zip(*(jax.tree.leaves(jax.device_get(state.params)) for state in (one, other)))
    return max(float(np.max(np.abs(a - b)) / (np.max(np.abs(b)) + 1e-6)) for a, b in pairs)
