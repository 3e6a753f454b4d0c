"""A moving average of the parameters, and weight decay, against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax import likelihoods
from vae_jax.train.averaging import averaged, averages, averaging
from vae_jax.train.optimizers import Aggressive, adam, learning_rates
from vae_jax.types import TrainState

RATE, DECAY = 0.125, 0.9


def params_of(precision):
    model = {part: {"kernel": jnp.full((2, 3), 0.5), "bias": jnp.full(3, 0.5)} for part in ("encoder", "decoder")}
    return {"model": model | {}, "likelihood": likelihoods.gaussian(precision).init(())}


def updated(params, count, **options):
    """The optimiser's state and the parameters after updates by a gradient of ones."""
    likelihood = likelihoods.gaussian("learned" if "u" in params["likelihood"] else "optimal")
    optimizer = adam(learning_rates("constant", RATE, 10, warmup_steps=1), likelihood, **options)
    state, course = optimizer.init(params), []
    with jax.disable_jit():
        for _ in range(count):
            updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
            params = optax.apply_updates(params, updates)
            course.append(params)
    return state, course


def state_of(opt_state, params):
    return TrainState(jnp.int32(1), params, opt_state, (), jax.random.key(0), None)


def test_the_average_is_the_weighted_sum_of_the_parameters_and_changes_no_update():
    state, course = updated(params_of("learned"), 4, ema=DECAY)
    _, without = updated(params_of("learned"), 4)
    weights = DECAY ** np.arange(3, -1, -1)
    for path in (("model", "encoder", "kernel"), ("likelihood", "u")):
        values = []
        for ours, theirs in zip(course, without):
            for name in path:
                ours, theirs = ours[name], theirs[name]
            np.testing.assert_array_equal(ours, theirs)
            values.append(np.asarray(ours, np.float64))
        found = averaged(state_of(state, course[-1]), frozen=False)
        for name in path:
            found = found[name]
        expected = sum(w * v for w, v in zip(weights, values)) / weights.sum()
        np.testing.assert_allclose(found, expected, rtol=2e-6)
        # Adam's usual form without the division would be off by the missing weight.
        assert not np.allclose(found, (1 - DECAY) * sum(w * v for w, v in zip(weights, values)), rtol=1e-2)


def test_what_has_no_gradient_is_not_averaged_and_without_an_average_the_parameters_are_taken():
    state, course = updated(params_of("optimal"), 2, ema=DECAY)
    params = course[-1] | {"likelihood": {"squared_error": jnp.float32(3.0), "weight": jnp.float32(2.0)}}
    assert averaged(state_of(state, params), frozen=True)["likelihood"] is params["likelihood"]
    state, course = updated(params_of("learned"), 1)
    assert averages(state) == [] and averaged(state_of(state, course[-1]), frozen=False) is course[-1]
    # Before the first update the average is of nothing.
    params = params_of("learned")
    assert averaged(state_of(averaging(DECAY).init(params), params), frozen=False) is params


@pytest.mark.parametrize("aggressive", [None, Aggressive(2, 10)])
def test_matrices_decay_by_the_rate_times_the_decay_and_nothing_else_does(aggressive):
    before = params_of("learned")
    _, (plain, *_) = updated(before, 1, aggressive=aggressive)
    _, (decayed, *_) = updated(before, 1, weight_decay=0.25, aggressive=aggressive)
    moves = {"encoder": True, "decoder": aggressive is None}
    for part, moved in moves.items():
        fell = np.asarray(plain["model"][part]["kernel"] - decayed["model"][part]["kernel"])
        np.testing.assert_allclose(fell, 0.5 * 0.25 * RATE if moved else 0.0, rtol=1e-5)
        np.testing.assert_array_equal(plain["model"][part]["bias"], decayed["model"][part]["bias"])
    assert plain["likelihood"]["u"] == decayed["likelihood"]["u"]


def test_without_the_flags_the_state_is_that_of_adam():
    likelihood, rates = likelihoods.gaussian("learned"), learning_rates("constant", RATE, 10)
    params = params_of("learned")
    as_before = optax.partition(
        {"model": optax.adam(rates.model, b2=0.99), "likelihood": optax.adam(rates.likelihood, b2=0.99)},
        {"model": "model", "likelihood": "likelihood"},
    ).init(params)
    assert jax.tree.structure(adam(rates, likelihood).init(params)) != jax.tree.structure(())
    paths = [
        [jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(s)]
        for s in (adam(rates, likelihood).init(params), as_before)
    ]
    assert paths[0] == paths[1]
