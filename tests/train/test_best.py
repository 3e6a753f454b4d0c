"""Which evaluation is kept and when a run stops: a function of the state and of the evaluation at hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.train.best import Evaluation, Rule, beside, considered, has_stopped, nothing_yet, reported
from vae_jax.train.guard import none_skipped
from vae_jax.types import TrainState

EVERY = 10


def first_state():
    params = {"model": {"w": jnp.zeros(2)}, "likelihood": {}}
    state = TrainState(jnp.int32(0), params, (), jnp.zeros(()), jax.random.key(0), none_skipped())
    return state._replace(best=nothing_yet(params, state.weight_state))


def at(state, step):
    """The state at a step, its parameters and its weight's state marked by it."""
    params = {"model": {"w": jnp.full(2, float(step))}, "likelihood": {}}
    return state._replace(step=jnp.int32(step), params=params, weight_state=jnp.float32(step))


def course(rule, elbos, state=None, first=0):
    """The states after evaluations every ``EVERY`` steps, the run's own end included; ends where the run stops."""
    state, seen = first_state() if state is None else state, []
    for i, elbo in enumerate(elbos, first + 1):
        state = at(state, i * EVERY)
        state = state._replace(best=considered(rule, state, Evaluation(state.params, elbo, 1.5, 2.0)))
        seen.append(state)
        if has_stopped(state.best):
            break
    return seen


def kept(state):
    """The step that is reported, held to be that of its parameters and of its weight's state."""
    told = reported(state)
    assert np.all(np.asarray(told.params["model"]["w"]) == int(told.step)) and float(told.weight_state) == int(
        told.step
    )
    return int(told.step)


def test_the_best_bound_is_kept_with_its_step_its_weight_and_its_noise():
    *_, last = course(Rule("best", 0, 50), [1.0, 3.0, 2.0, 3.0, 0.5])
    assert kept(last) == 20 and int(last.step) == 50 and int(last.best.misses) == 3
    assert (float(last.best.elbo), float(last.best.factor), float(last.best.calibration)) == (3.0, 1.5, 2.0)


def test_keep_last_takes_every_evaluation_and_patience_still_counts():
    seen = course(Rule("last", 0, 50, patience=2), [1.0, 3.0, 2.0, 2.5, 9.0])
    assert [kept(s) for s in seen] == [10, 20, 30, 40] and has_stopped(seen[-1].best)


def test_before_the_weight_is_final_nothing_counts():
    # A falling bound through the whole of a warm-up that ends at 40: neither a best nor a stop before it.
    seen = course(Rule("best", 40, 90, patience=2), [9.0, 8.0, 7.0, 1.0, 0.5, 0.4, 5.0])
    assert [int(s.best.step) for s in seen] == [-1, -1, -1, 40, 40, 40] and kept(seen[2]) == 30
    assert not any(has_stopped(s.best) for s in seen[:-1]) and int(seen[-1].best.stopped_at) == 60
    # A rule that counted from the first one on would have stopped in the middle of it.
    assert int(course(Rule("best", 0, 90, patience=2), [9.0, 8.0, 7.0, 1.0])[-1].best.stopped_at) == 30


def test_a_run_that_ends_inside_its_warm_up_reports_its_last_model():
    *_, last = course(Rule("best", 1000, 30), [9.0, 8.0, 7.0])
    assert kept(last) == 30 and not has_stopped(last.best)


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_a_bound_that_is_no_number_is_never_the_best(bad):
    seen = course(Rule("best", 0, 60, patience=2), [bad, bad, 1.0, bad, bad])
    assert [int(s.best.step) for s in seen] == [-1, -1, 30, 30, 30] and int(seen[-1].best.stopped_at) == 50


def test_what_has_stopped_stays_as_it_is_though_others_go_on():
    *_, last = course(Rule("best", 0, 90, patience=1), [2.0, 1.0])
    later = at(last, 70)
    best = considered(Rule("best", 0, 90, patience=1), later, Evaluation(later.params, 100.0, 1.0, 1.0))
    assert best is later.best and kept(later) == 10


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.integers(0, 5), st.integers(1, 4), st.integers(0, 11))
def test_it_is_the_argmax_and_a_resumed_run_decides_the_same(elbos, warm, patience, cut):
    rule = Rule("best", warm * EVERY, len(elbos) * EVERY, patience)
    seen = course(rule, [float(e) for e in elbos])
    done = len(seen)
    counting = [i for i in range(done) if (i + 1) >= warm]
    expected = max(counting, key=lambda i: (elbos[i], -i), default=len(elbos) - 1)
    assert kept(seen[-1]) == (expected + 1) * EVERY
    missed = [done - 1 - expected] if counting else [0]
    assert has_stopped(seen[-1].best) == (missed[0] >= patience and done < len(elbos))
    # From any state on, through a file's arrays, the same end.
    cut = min(cut, done - 1)
    saved = jax.tree.map(np.asarray, seen[cut]._replace(key=0))
    resumed = [saved, *course(rule, [float(e) for e in elbos[cut + 1 : done]], saved, cut + 1)][-1]
    for ours, theirs in zip(jax.tree.leaves(resumed.best), jax.tree.leaves(seen[-1].best), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_chunk_never_sees_what_is_kept_and_what_is_kept_outlives_it():
    state = first_state()

    def chunk(state, length):
        assert state.best is None
        return state._replace(step=state.step + length), {}

    after, _ = beside(chunk)(state, 3)
    assert int(after.step) == 3 and after.best is state.best
    # Copies: the next chunk consumes the buffers of the state.
    found = Evaluation(state.params, 1.0, 1.0, 1.0)
    best = considered(Rule("best", 0, 9), state, found)
    assert best.params["model"]["w"] is not state.params["model"]["w"]
    jax.tree.map(lambda leaf: leaf.delete(), (state.params, state.weight_state))
    assert float(best.params["model"]["w"].sum() + best.weight_state) == 0.0
