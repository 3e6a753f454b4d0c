"""What a run does between its chunks and within them: one compilation for each length, and nothing from the host."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from vae_jax.devices.parallel import parallel
from vae_jax.runs.build import build, material
from vae_jax.runs.feeding import begin, fed
from vae_jax.runs.settings import Config
from vae_jax.train.loop import Every, Hooks, fit

EVERY = Every(log=4, evaluate=6, checkpoint=8)
LENGTHS = [4, 2, 2, 4, 4, 2, 2]  # of the chunks of 20 steps


@pytest.fixture(scope="module")
def shared():
    return material(Config(workdir="unused"))


@pytest.fixture
def compiled():
    """The names of the programs that XLA is asked for, read from its cache or not, as they come."""
    names = []

    def listen(event, seconds, **about):
        if event.endswith("backend_compile_duration"):
            names.append(about.get("fun_name", ""))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def make(shared, devices=1):
    config = Config(hidden="8", latent_dim=2, batch_size=32, num_steps=20, workdir="unused")
    return build(config, shared, parallel("jit", 32, jax.devices()[:devices]))


@pytest.mark.parametrize("devices", [1, 2])
def test_a_run_compiles_a_chunk_for_each_length_and_sends_nothing_into_one(shared, compiled, devices):
    r, seen, ran = make(shared, devices), set(), []
    del compiled[:]
    begun = begin(r, 4)
    state = begun.state._replace(best=None)
    # Initialisers compiled one by one took longer than the chunk itself. The others are the key's and the placing.
    assert sum("first" in name for name in compiled) == 1 and len(compiled) <= 5, compiled
    before = jax.tree.leaves(state.params)
    with fed(r, 0, begun) as (advance, _):

        def guarded(state, length):
            ran.append(length)
            # The first of a length is compiled, and its constants go to the device.
            with jax.transfer_guard("disallow" if length in seen else "allow"):
                state, metrics = advance(state, length)
            seen.add(length)
            return state, metrics

        logged = []
        hooks = Hooks(lambda first, m: logged.append(len(m["loss"])), lambda state: (state, False), lambda state: None)
        state, _ = fit(state, guarded, 20, EVERY, hooks)
    assert ran == logged == LENGTHS and int(state.step) == 20
    chunks = [name for name in compiled if "chunk" in name]
    assert len(chunks) == len(set(LENGTHS)), compiled
    # The state is donated, and the first one is not kept.
    assert all(leaf.is_deleted() for leaf in before)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_planted_data_on_the_host_are_found(shared):
    r = make(shared)
    step = jax.jit(lambda state, data: state + data[0, 0, 0, 0])  # in place of a chunk, which takes seconds to compile
    state, data = r.spread.place(np.float32(0)), np.asarray(r.dataset.train)
    state = step(state, data)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"), jax.transfer_guard("disallow"):
        step(state, data)
