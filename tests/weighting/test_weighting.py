"""Weights with state: the controllers' golden sequences, the losses that go with them, and their place in a step."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.linear_bed import bed_optimum

from experiments.claims.bed import DIM, EXACT, FIXED, bed_data, exact_terms
from vae_jax import objective, schedules, weighting
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods import gaussian
from vae_jax.linear_vae import predict
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state, make_train_step
from vae_jax.types import Terms


def drive(weight, measured, name="rate", state=None):
    """The weights that follow updates whose ``name`` was ``measured``, one after the other, and the last state."""

    def update(state, now):
        step, value = now
        state = weight.update(state, step, {"rate": 0.0, "distortion": 0.0, name: value})
        return state, weight.value(state, step + 1)

    measured = jnp.asarray(measured, float)
    state, values = jax.lax.scan(
        update, weight.init() if state is None else state, (jnp.arange(len(measured)), measured)
    )
    return np.asarray(values), jax.device_get(state)


# ---------------------------------------------------------------- the PI controller


# Target and range; the rates; where the weight must be on the way back from saturation (1e-9 relative).
WINDUPS = {
    "at the floor": ((12.0, 1.0, math.inf), ((2000, 0.0), (100, 22.0)), {2000: 1.019999484580, 2099: 2.009999484580}),
    "at zero": ((200.0, 0.0, 1.0), ((5000, 20.0), (50, 220.0)), {5000: 0.03, 5048: 0.99, 5049: 1.0}),
}


@pytest.mark.parametrize("name", WINDUPS)
def test_the_integral_neither_winds_up_nor_locks(name, x64):
    (target, low, high), parts, on_the_way_back = WINDUPS[name]
    rates = np.concatenate([np.full(*part) for part in parts])
    turn = parts[0][0]

    weight = weighting.pi(target, kp=0.01, ki=0.001, beta_min=low, beta_max=high)
    first, state = drive(weight, rates[:turn])
    assert state["saturated"] == 1.0
    # A controller whose integral is wound up, or stands still for ever once it is at its bound, would stay there.
    betas = np.concatenate([first, drive(weight, rates[turn:], state=state)[0]])
    assert np.all(betas[:turn] == pytest.approx(low, abs=1e-12))
    for step, value in on_the_way_back.items():
        assert betas[step] == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("error", [1e4, -1e4, 1e30, -1e30, 3.3e38, -3.3e38])
def test_huge_errors_stay_finite(error):
    # Trap 52: exp(error) overflows, in float32 from 89 on.
    betas, state = drive(weighting.pi(5.0, beta_max=10.0), [5.0 - error] * 3)
    assert betas.dtype == np.float32 and np.all(betas == (0.0 if error > 0 else 10.0))
    assert all(np.isfinite(v) for v in state.values()) and state["saturated"] == 1.0
    target = 5.0 if abs(error) < 1e38 else error  # the difference of two numbers that float32 holds it may not hold
    betas, state = drive(weighting.geco(target, beta_min=1e-3, beta_max=1e3), [5.0 - error] * 300, "distortion")
    assert np.all(np.isfinite(betas)) and betas[-1] == pytest.approx(1e3 if error > 0 else 1e-3, rel=1e-5)
    assert all(np.isfinite(v) for v in state.values()) and state["saturated"] == 1.0


def test_an_unreachable_target_is_flagged(x64):
    # Trap 53: beta in [0, 1] and a target below R(1). The bed's rate at each beta, as if training were immediate.
    eigenvalues = jnp.array([8.0, 4.0, 2.0, 1.0, 0.5, 0.25])
    reachable = float(predict(eigenvalues, 1.0, 0.1, 6).rate)

    def run(target):
        weight = weighting.pi(target, ki=0.01, beta_max=1.0)

        def update(state, step):
            level = 0.1 * jnp.maximum(weight.value(state, step), 1e-3)
            rate = 0.5 * jnp.sum(jnp.maximum(jnp.log(eigenvalues / level), 0.0))
            logged = weight.logged(state, step, {"rate": rate})
            return weight.update(state, step, {"rate": rate}), (rate, logged["beta"], logged["saturated"])

        return [np.asarray(v) for v in jax.lax.scan(update, weight.init(), jnp.arange(3000))[1]]

    rate, beta, saturated = run(0.7 * reachable)
    assert beta[-1] == 1.0 and np.all(saturated[-100:] == 1.0) and rate[-1] == pytest.approx(reachable)
    rate, beta, saturated = run(1.3 * reachable)
    assert 0.1 < beta[-1] < 1.0 and np.all(saturated[-100:] == 0.0) and rate[-1] == pytest.approx(1.3 * reachable)


def test_where_pi_starts(x64):
    for start, expected in ((None, 0.5), (2.0, 2.0), (0.1, 0.5), (99.0, 8.0)):
        weight = weighting.pi(5.0, kp=0.3, beta_min=0.5, beta_max=8.0, start=start)
        assert float(weight.value(weight.init(), 0)) == expected
        if start is not None:  # where the rate is on target, the weight stays
            assert drive(weight, [5.0])[0] == pytest.approx(expected, rel=1e-12)


# ---------------------------------------------------------------- GECO


def raises_the_multiplier(next_beta) -> bool:
    """Trap 54: an error above the tolerance must weigh more, beside a KL that weighs less."""
    return bool(next_beta(above=True) < 1.0 < next_beta(above=False))


def test_a_violated_constraint_raises_the_multiplier():
    def ours(above):
        return drive(weighting.geco(16.0), [17.0 if above else 15.0], "distortion")[0][0]

    assert raises_the_multiplier(ours)
    assert not raises_the_multiplier(lambda above: math.exp(0.01 * (1.0 if above else -1.0)))  # the sign turned round
    # From any error above the target the multiplier rises for as long as it stays there.
    betas, _ = drive(weighting.geco(16.0, rate=1e-3), [18.0] * 50, "distortion")
    assert np.all(np.diff(betas) < 0)


def test_geco_bounds(x64):
    weight = weighting.geco(0.0, rate=0.01, beta_min=0.5, beta_max=4.0, max_exponent=0.05)
    betas, state = drive(weight, [1e6] * 20, "distortion")
    # One step moves log beta by max_exponent at most, and beta stays in its range.
    np.testing.assert_allclose(betas[:13], np.exp(-0.05 * np.arange(1, 14)), rtol=1e-6)
    np.testing.assert_allclose(betas[14:], 0.5, rtol=1e-6)
    assert state["saturated"] == 1.0
    betas, state = drive(weight, [-1e6] * 50, "distortion")
    np.testing.assert_allclose(betas[:27], np.exp(0.05 * np.arange(1, 28)), rtol=1e-6)
    np.testing.assert_allclose(betas[28:], 4.0, rtol=1e-6)
    assert state["saturated"] == 1.0
    # Off a bound the very step the violation's average turns; the log multiplier cannot wind up.
    betas, state = drive(weight, [1e6], "distortion", state={**state, "violation": 0.0})
    assert betas[0] == pytest.approx(4.0 * math.exp(-0.05), rel=1e-6) and state["saturated"] == 0.0
    for start in (9.0, 0.1):
        weight = weighting.geco(0.0, beta_min=0.5, beta_max=4.0, start=start)
        assert float(weight.value(weight.init(), 0)) == pytest.approx(np.clip(start, 0.5, 4.0), rel=1e-6)


def test_nonsense_is_refused():
    pis = [{"target_kl": v} for v in (-1.0, math.nan)] + [{"ki": 0.0}, {"kp": -1.0}, {"beta_min": -1.0}]
    gecos = [{"target_distortion": v} for v in (math.inf, math.nan)] + [{"rate": 0.0}, {"decay": 1.0}]
    gecos += [{"beta_min": 0.0}, {"beta_min": 2.0, "beta_max": 1.0}, {"max_exponent": 0.0}]
    makes = [(weighting.pi, {"target_kl": 5.0, **wrong}) for wrong in (*pis, {"beta_min": 2.0, "beta_max": 2.0})]
    makes += [(weighting.geco, {"target_distortion": 1.0, **wrong}) for wrong in gecos]
    makes += [(objective.free_bits, {"floor": v}) for v in (-0.1, math.nan)]
    makes += [(objective.capacity, {"gamma": v}) for v in (0.0, math.nan)]
    for make, arguments in makes:
        with pytest.raises(ValueError):
            make(**arguments)


# ---------------------------------------------------------------- losses that hold the rate


def terms_of(kl):
    """Terms of a batch with these KLs ``[b, d]`` and distortion 0: the means that have them at unit variance."""
    kl = jnp.asarray(kl)
    zeros = jnp.zeros((len(kl), 1), kl.dtype)
    return Terms(DiagGaussian(jnp.sqrt(2.0 * kl), jnp.zeros_like(kl)), zeros[..., None], zeros, zeros, zeros)


def test_no_gradient_below_the_floor_and_the_elbo_at_floor_zero(x64):
    t = terms_of([[0.1, 0.9], [0.5, 0.1]])

    def gradient(bound):
        return jax.grad(lambda q: bound(t._replace(q=q), 0.7))(t.q)

    freed, plain = gradient(objective.free_bits(0.35)), gradient(objective.elbo)
    for got, expected in zip(freed, plain):  # KL_d is 0.3 and 0.5: the first is below the floor, the second is not
        np.testing.assert_array_equal(got[:, 0], 0.0)
        np.testing.assert_allclose(got[:, 1], expected[:, 1], rtol=1e-12)
    assert np.all(plain.mean < 0)
    assert float(objective.free_bits(0.0)(t, 0.7)) == pytest.approx(float(objective.elbo(t, 0.7)), rel=1e-14)
    for got, expected in zip(gradient(objective.free_bits(0.0)), plain):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_the_capacity_holds_the_batch_mean(x64):
    # Trap 47: KL (2, 6) and C = 4 is where it should be; the mean of |KL - C| says 2.
    t = terms_of([[2.0], [6.0]])
    assert float(objective.capacity(10.0)(t, 4.0)) == pytest.approx(0.0, abs=1e-12)
    assert float(jnp.mean(jnp.abs(objective.rate(t) - 4.0))) == pytest.approx(2.0)
    for c in (1.0, 9.0):
        assert -float(objective.capacity(10.0)(t, c)) == pytest.approx(10.0 * abs(4.0 - c))
    # Above the capacity it is the ELBO of weight gamma, but for a constant; below, of weight -gamma.
    for c, beta in ((1.0, 10.0), (9.0, -10.0)):
        slope = jax.grad(lambda q, c=c: objective.capacity(10.0)(t._replace(q=q), c))(t.q)
        expected = jax.grad(lambda q, beta=beta: objective.elbo(t._replace(q=q), beta))(t.q)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), slope, expected)
    t = terms_of([[2.0], [2.0]])
    for leaf in jax.grad(lambda q: objective.capacity(10.0)(t._replace(q=q), 2.0))(t.q):
        np.testing.assert_array_equal(leaf, 0.0)  # at the capacity neither, as the logged beta of 0 says


def test_the_capacity_weighting(x64):
    schedule = schedules.linear(8.0, 4)
    weight = weighting.capacity(schedule, gamma=5.0, decay=0.9)
    state = weight.init()
    assert [float(weight.value(state, t)) for t in range(6)] == [0.0, 2.0, 4.0, 6.0, 8.0, 8.0]
    applied = []
    for step, rate in enumerate([3.0, 3.0, 3.0, 6.0, 9.0, 7.0]):  # capacities 0, 2, 4, 6, 8, 8
        logged = weight.logged(state, step, {"rate": rate})
        assert float(logged["capacity"]) == float(schedule(step))
        applied.append(float(logged["beta"]))
        state = weight.update(state, step, {"rate": rate})
    assert applied == [5.0, 5.0, -5.0, 0.0, 5.0, -5.0]
    ages = 0.9 ** np.arange(6)[::-1]
    assert float(weight.beta(state, 6)) == pytest.approx(np.sum(ages * applied) / np.sum(ages), rel=1e-12)


def test_batch_coupled_losses_see_the_whole_batch_under_pmap(x64):
    """Trap 60: the gradient on eight devices of three rows each, against one device of twenty-four."""
    x = jnp.concatenate([bed_data(), 0.3 * bed_data()[:4]])
    _, params, _ = bed_optimum(1.0, 0.1)
    params["model"]["v"] = 0.8 * params["model"]["v"]

    def gradients(x, mean, told):
        """Of each objective in turn, the mean over devices; ``told`` is what the objectives are given as such."""
        bounds = {"free_bits": objective.free_bits(0.9, told), "capacity": objective.capacity(5.0, told)}
        weights = {"free_bits": 2.0, "capacity": 7.0}

        def losses(params):
            t = exact_terms(FIXED, params, x)
            return {name: -bound(t, weights[name]) for name, bound in bounds.items()}

        return mean((losses(params), jax.jacrev(losses)(params)))

    def on_devices(x):
        pmean = lambda tree: jax.lax.pmean(tree, "b")  # noqa: E731
        return gradients(x, pmean, pmean), gradients(x, pmean, lambda value: value)

    one = jax.jit(lambda x: gradients(x, lambda tree: tree, lambda value: value))(x)
    assert len(jax.devices()) == 8
    many, planted = jax.device_get(jax.pmap(on_devices, "b")(x.reshape(8, 3, -1)))
    many, planted = (jax.tree.map(lambda a: a[0], tree) for tree in (many, planted))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), many, jax.device_get(one))
    # Planted: each device its own share's KL, floor and capacity.
    for name in ("free_bits", "capacity"):
        assert abs(planted[0][name] - one[0][name]) > 1e-2
        gap = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), planted[1][name]["model"], one[1][name]["model"])
        assert max(jax.tree.leaves(gap)) > 1e-2


# ---------------------------------------------------------------- in a training step


@pytest.mark.parametrize(
    ("weight", "bound"),
    [
        (weighting.pi(0.3, kp=0.5, ki=0.2), objective.elbo),
        (weighting.geco(20.0, rate=1e-3), objective.elbo),
        (weighting.capacity(schedules.linear(3.0, 10), 4.0), objective.capacity(4.0)),
    ],
    ids=["pi", "geco", "capacity"],
)
def test_the_state_is_carried_and_the_logged_beta_is_the_applied_one(weight, bound):
    # A linear VAE on the bed, in float32; the state after six updates leaves the device and comes back.
    likelihood, optimizer, x = gaussian("learned", sigma=1.0), optax.adam(1e-2), bed_data()
    recipe = Recipe(EXACT, likelihood, optimizer, weight, bound)
    step = jax.jit(make_train_step(recipe))

    def run(state, count=6):
        metrics = []
        for _ in range(count):
            state, now = step(state, x)
            metrics.append(jax.device_get(now))
        return state, {name: np.array([m[name] for m in metrics]) for name in metrics[0]}

    half, first = run(init_state(recipe, (DIM,), jax.random.key(3)))
    whole, second = run(half)
    saved = jax.device_get(half._replace(key=jax.random.key_data(half.key)))
    again, metrics = run(saved._replace(key=jax.random.wrap_key_data(saved.key)))
    for a, b in zip(jax.tree.leaves(again.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, values in metrics.items():
        np.testing.assert_array_equal(second[name], values)
    # The loss of each update is that of the weight it logs.
    beta, rate = first["beta"], first["rate"]
    assert len(np.unique(np.append(beta, second["beta"]))) > 1
    offset = beta * first["capacity"] if "capacity" in first else 0.0
    np.testing.assert_allclose(first["loss"], first["distortion"] + beta * rate - offset, rtol=2e-6, atol=1e-5)
    if bound is objective.elbo:  # planted: a controller that forgets its state at the interruption trains otherwise
        forgotten, _ = run(half._replace(weight_state=weight.init()))
        assert not np.allclose(forgotten.params["model"]["w"], whole.params["model"]["w"], rtol=1e-4)
