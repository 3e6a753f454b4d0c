"""One step, many steps, and the loop around them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.small_training import DATA, EVENT, small, uniform_pixels

from vae_jax import likelihoods, schedules, weighting
from vae_jax.gaussian import DiagGaussian
from vae_jax.train.guard import MAX_SKIPPED, none_skipped
from vae_jax.train.loop import Every, Hooks, fit, next_stop
from vae_jax.train.optimizers import Aggressive, adam, learning_rates
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state, make_train_step
from vae_jax.types import VAE, TrainState, UserError


def build(*arguments, **options):
    """``(step, first state, (state, length) -> (state, metrics))`` of a small model."""
    return small(*arguments, **options)[1:]


def flat(params):
    return np.concatenate([np.ravel(v) for v in jax.tree.leaves(jax.device_get(params))])


def test_metrics_of_one_step_are_the_bound_and_its_parts():
    likelihood = likelihoods.gaussian("learned")
    step, state, _ = build(likelihood, weighting.from_schedule(schedules.constant(3.0)))
    with jax.disable_jit():
        _, m = step(state, DATA[:32])
    assert m["beta"] == 3.0
    np.testing.assert_allclose(m["elbo"], -(m["rate"] + m["distortion"]), rtol=1e-6)
    np.testing.assert_allclose(m["loss"], m["distortion"] + 3.0 * m["rate"], rtol=1e-6)
    assert not np.isclose(m["loss"], -m["elbo"], rtol=1e-5)  # a loss is never called an ELBO


@pytest.mark.parametrize("precision", likelihoods.PRECISIONS)
def test_every_trained_leaf_moves_and_frozen_ones_do_not(precision):
    step, before, _ = build(likelihoods.gaussian(precision))
    with jax.disable_jit():
        after = step(step(before, DATA[:32])[0], DATA[32:64])[0]
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), before.params, after.params)
    assert all(jax.tree.leaves(moved["model"]))
    assert all(jax.tree.leaves(moved["likelihood"])) == (precision != "fixed")
    if precision == "fixed":
        assert not any(jax.tree.leaves(moved["likelihood"]))


def test_chunks_of_any_length_give_the_same_run_and_log_the_schedules_beta():
    # Traps 36 and 43: the value logged from inside the compiled step, against the pure function.
    schedule, ends = schedules.cyclical(0.7, 6, 2, 0.5, start=0.1), []
    for lengths in ([9], [1, 8]):
        _, state, run = build(likelihoods.gaussian("learned"), weighting.from_schedule(schedule))
        logged = []
        for length in lengths:
            state, metrics = run(state, length)
            logged += metrics["beta"].tolist()
        np.testing.assert_array_equal(np.float32(logged), np.asarray(schedule(np.arange(9))))
        ends.append(flat(state.params))
    # Equal up to how XLA compiles a loop of one turn.
    np.testing.assert_allclose(ends[1], ends[0], atol=1e-6)


def test_next_stop_is_a_function_of_the_step_alone():
    every = Every(log=10, evaluate=25, checkpoint=40)
    stops, step = [], 0
    while step < 93:
        step = next_stop(step, 93, every)
        stops.append(step)
    assert stops == [10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 93]
    assert next_stop(33, 93, every) == 40


def fake_chunk(bad_at=None, row=MAX_SKIPPED):
    """A chunk that only counts; its loss is not finite in ``row`` updates from ``bad_at`` on."""

    def chunk(state, length):
        start = int(state.step)
        steps = np.arange(start, start + length)
        first = 10**9 if bad_at is None else bad_at
        bad = (steps >= first) & (steps < first + row)
        metrics = {"loss": np.where(bad, np.nan, 1.0), "grad_norm": np.ones(length)}
        metrics["skipped_in_a_row"] = np.where(bad, steps - first + 1, 0)
        return state._replace(step=state.step + length), metrics

    return chunk


def run_fit(bad_at=None, interrupted=lambda: False, num_steps=93, row=MAX_SKIPPED, stops_at=None):
    logged, saved, evaluated = [], [], []
    hooks = Hooks(
        lambda first, m: logged.append((first, len(m["loss"]))),
        lambda s: (s, evaluated.append(int(s.step)) or int(s.step) == stops_at),
        lambda s: saved.append(int(s.step)),
        interrupted,
    )
    state = TrainState(jnp.int32(0), {}, (), (), jax.random.key(0), none_skipped())
    error = None
    try:
        state, _ = fit(state, fake_chunk(bad_at, row), num_steps, Every(10, 25, 40), hooks)
    except UserError as caught:
        error = str(caught)
    return state, logged, saved, evaluated, error


def test_the_loop_logs_each_step_once_and_calls_its_hooks():
    state, logged, saved, evaluated, error = run_fit()
    assert error is None and int(state.step) == 93
    assert [first for first, _ in logged] == [0, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90]
    assert sum(length for _, length in logged) == 93
    assert saved == [40, 80, 93]
    assert evaluated == [25, 50, 75, 93]


def test_an_evaluation_that_stops_the_run_is_saved_and_the_last_thing_done():
    state, logged, saved, evaluated, error = run_fit(stops_at=50)
    assert error is None and int(state.step) == 50
    assert saved == [40, 50] and evaluated == [25, 50] and sum(length for _, length in logged) == 50


def test_ten_skipped_updates_in_a_row_name_the_first_and_save_nothing_after_the_tenth():
    for bad in (0, 31, 39, 40, 57, 79, 83):
        _, logged, saved, _, error = run_fit(bad_at=bad)
        assert f"the 10 updates from step {bad} on were skipped" in error and "(at last nan)" in error
        assert all(step < bad + MAX_SKIPPED for step in saved)
        assert all(first + length < bad + MAX_SKIPPED for first, length in logged)
    state, _, saved, _, error = run_fit(bad_at=36, row=MAX_SKIPPED - 1)  # nine are not too many
    assert error is None and int(state.step) == 93 and saved == [40, 80, 93]


def test_an_interruption_saves_and_returns():
    calls = iter([False, False, True])
    state, logged, saved, _, _ = run_fit(interrupted=lambda: next(calls))
    assert int(state.step) == 25 and saved == [25] and sum(n for _, n in logged) == 25


def test_clipping_is_reported_when_active():
    for clip_norm in (1.0, 1e9):
        step, state, _ = build(likelihoods.gaussian("fixed", sigma=0.01), clip_norm=clip_norm)
        with jax.disable_jit():
            _, metrics = step(state, DATA[:32])
        assert metrics["clipped"] == (metrics["grad_norm"] > clip_norm) == (clip_norm == 1.0)


def test_a_faster_precision_reaches_its_optimum_where_the_networks_rate_does_not():
    # Trap 25. A decoder that is perfect but for noise of sd 0.02: only the precision has something to learn.
    x = 0.02 * jax.random.normal(jax.random.key(0), (256, 16))
    ratios = {}
    for factor in (1.0, 20.0):
        likelihood = likelihoods.gaussian("learned", sigma=0.5)
        own = {"model": {}, "likelihood": likelihood.init((16,))}
        optimizer = adam(learning_rates("cosine", 1e-3, 1000, likelihood_factor=factor), likelihood)

        def update(carry, _, likelihood=likelihood, optimizer=optimizer):
            params, opt_state = carry

            def nll(p):
                return -jnp.mean(jax.vmap(lambda x: likelihood.log_prob(p["likelihood"], jnp.zeros(16), x))(x))

            updates, opt_state = optimizer.update(jax.grad(nll)(params), opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        (own, _), _ = jax.lax.scan(update, (own, optimizer.init(own)), None, length=1000)
        ratios[factor] = float(jnp.mean(x**2) / likelihood.sigma(own["likelihood"]) ** 2)
    assert abs(ratios[20.0] - 1) < 0.005
    assert ratios[1.0] < 0.1


def test_free_functions_extend_without_flax():
    # The README's promise: a model is three plain functions, a schedule a function of the step.
    vae = VAE(
        init=lambda key: {"w": 0.1 * jax.random.normal(key, (2, 64))},
        encode=lambda p, x: DiagGaussian(p["w"] @ x.ravel(), jnp.zeros(2)),
        decode=lambda p, z: (z @ p["w"]).reshape(EVENT),
    )
    likelihood = likelihoods.gaussian("optimal")
    optimizer = adam(learning_rates("constant", 1e-2, 50), likelihood)
    weight = weighting.from_schedule(lambda step: jnp.where(step < 5, 0.5, 1.0))
    recipe = Recipe(vae, likelihood, optimizer, weight, preprocess=uniform_pixels)
    step, state = jax.jit(make_train_step(recipe)), init_state(recipe, EVENT, jax.random.key(0))
    losses = []
    for _ in range(50):
        state, metrics = step(state, DATA[:32])
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[5] and float(metrics["beta"]) == 1.0


def test_the_encoder_ahead_of_the_decoder():
    # He 2019: while the decoder is held neither its parameters nor its moments move; after that both do, in every step.
    likelihood = likelihoods.bernoulli()
    rates = learning_rates("constant", 1e-2, 10, warmup_steps=1)
    optimizer = adam(rates, likelihood, aggressive=Aggressive(every=3, until=6))
    params = {"model": {"encoder": jnp.ones(2), "decoder": jnp.ones(2)}, "likelihood": {}}
    state, moved = optimizer.init(params), []
    for step in range(9):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, params), state, params)
        moved.append([bool(jnp.any(updates["model"][name] != 0)) for name in ("encoder", "decoder")])
        if step == 2:  # Adam's first step has the size of the rate: the moments did not see the steps before
            np.testing.assert_allclose(updates["model"]["decoder"], -1e-2, rtol=1e-5)
    assert [encoder for encoder, _ in moved] == [True] * 9
    assert [decoder for _, decoder in moved] == [False, False, True, False, False, True, True, True, True]
