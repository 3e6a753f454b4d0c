"""Schedules against their exact definitions: golden arrays, ends, integers, traced arguments."""

from __future__ import annotations

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vae_jax import schedules
from vae_jax.schedules import constant, cosine, cyclical, linear, sigmoid
from vae_jax.types import UserError
from vae_jax.weighting import from_schedule


def values(schedule, steps):
    """The schedule at each of ``steps``, op by op: what is compiled then serves all schedules."""
    return np.asarray(schedule(jnp.asarray(steps)), np.float64)


SHAPES = {
    "linear": lambda v: v,
    "sigmoid": lambda v: 1 / (1 + math.exp(6 - 12 * v)),
    "cosine": lambda v: (1 - math.cos(math.pi * v)) / 2,
}


def exact_cyclical(t, total, cycles, ratio: Fraction, shape="linear", low=0.0, high=1.0):
    """The definition in exact integers, from the reference."""
    if t >= total:
        return high
    length = -(-total // cycles)
    numerator = (t % length) * cycles * ratio.denominator
    denominator = ratio.numerator * total
    f = SHAPES[shape](numerator / denominator) if numerator <= denominator else 1.0
    return low + (high - low) * f


# ---------------------------------------------------------------- values (the golden arrays: theory/test_ledger.py)


def test_constant():
    np.testing.assert_array_equal(values(constant(0.3), [0, 1, 10**9]), np.float32(0.3))


def test_a_sigmoid_goes_between_any_two_values_and_is_not_rescaled(x64):
    got = values(sigmoid(1.0, 2500, 0.0025), [0, 2500, 5000])
    assert 0.0 < got[0] and got[2] < 1.0
    other = values(sigmoid(0.2, 2500, 0.0025, start=4.0), [0, 2500, 5000])
    np.testing.assert_allclose(other, 4.0 - 3.8 * got, rtol=1e-12)


def test_cyclical_resets_and_shares():
    got = values(cyclical(1.0, 1003), np.arange(1003))
    assert np.flatnonzero(got == 0.0).tolist() == [0, 251, 502, 753]
    got = values(cyclical(1.0, 40_000), np.arange(40_000))
    assert got.mean() == pytest.approx(0.74995, abs=1e-7)
    assert np.mean(got == 1.0) == 0.5
    assert np.flatnonzero(got == 0.0).tolist() == [0, 10_000, 20_000, 30_000]

    got = values(cyclical(1.0, 100), np.arange(100))
    assert np.mean(got == 1.0) == pytest.approx(0.48)  # R L = 12.5: no rounding


# ---------------------------------------------------------------- exact definitions


RATIOS = [Fraction(1, 2), Fraction(1, 10), Fraction(3, 10), Fraction(1, 3), Fraction(2, 3), Fraction(7, 9), Fraction(1)]


@pytest.mark.parametrize("shape", list(SHAPES))
def test_cyclical_is_its_definition(shape, x64):
    for total, cycles in ((40, 4), (10, 4), (1003, 4), (97, 7), (30, 3), (7, 7), (5, 9), (1, 1), (90, 1)):
        steps, last = np.arange(1010), total + 5  # one shape for all, compiled once
        for ratio in RATIOS:
            expected = [exact_cyclical(t, total, cycles, ratio, shape, 0.25, 0.75) for t in range(last)]
            given = float(ratio)  # a binary fraction near one tenth means one tenth
            got = np.asarray(cyclical(0.75, total, cycles, given, shape, start=0.25)(jnp.asarray(steps)))[:last]
            np.testing.assert_allclose(got, expected, rtol=1e-12, err_msg=f"{total} {cycles} {ratio}")


@pytest.mark.parametrize("delay", [0, 21, 5000])
@pytest.mark.parametrize(("start", "stop"), [(0.0, 1.0), (0.1, 0.7), (4.0, 0.3)])
@pytest.mark.parametrize("ramp", [linear, cosine])
def test_ramps_are_exact_at_both_ends(ramp, start, stop, delay):
    steps = 300
    got = values(ramp(stop, steps, start=start, delay=delay), [0, *range(delay, delay + steps + 2), 10**9])
    path, ends = got[1:-2], (np.float32(start), np.float32(stop))
    assert got[0] == path[0] == ends[0] and path[-1] == got[-2] == got[-1] == ends[1]
    assert path[-2] != ends[1] and path[1] != ends[0]
    assert np.all(np.diff(path) > 0) if stop > start else np.all(np.diff(path) < 0)
    shape = SHAPES["linear" if ramp is linear else "cosine"]
    expected = [start + (stop - start) * shape(k / steps) for k in range(steps + 1)]
    np.testing.assert_allclose(path, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("ramp", [linear, cosine])
def test_no_steps_means_at_once(ramp):
    assert values(ramp(0.7, 0, start=0.2), [0, 1, 5]).tolist() == [np.float32(0.7)] * 3
    got = values(ramp(0.7, 0, start=0.2, delay=3), [0, 2, 3, 4])
    assert got.tolist() == [np.float32(v) for v in (0.2, 0.2, 0.7, 0.7)]


def test_nothing_wraps_past_the_end():
    for shape in SHAPES:
        got = values(cyclical(0.8, 40, shape=shape, start=0.1), [40, 41, 45, 80, 2**31 - 1])
        assert got.tolist() == [np.float32(0.8)] * 5


@pytest.mark.parametrize("ratio", [1e-7, 1e-30, 1e-300])
def test_a_ramp_shorter_than_a_step_is_a_jump(ratio):
    for given in (ratio, jnp.asarray(ratio)):  # a traced one is a number of a sweep
        assert values(cyclical(0.8, 40, 4, given, start=0.1), [0, 1, 10, 11]).tolist() == [
            np.float32(v) for v in (0.1, 0.8) * 2
        ]


def test_huge_numbers_of_steps():
    """No integer overflows, also where j C q would: ten million steps with R = 1/3, and two thousand million."""
    total, cycles, ratio = 10_000_000, 7, Fraction(1, 3)
    length = -(-total // cycles)
    steps = [0, 1, 5, length - 1, length, length + 476_190, length + 476_191, 5 * length + 400_000, total - 1, total]
    expected = [exact_cyclical(t, total, cycles, ratio) for t in steps]
    np.testing.assert_allclose(values(cyclical(1.0, total, cycles, ratio), steps), expected, rtol=2e-6)
    traced = jax.jit(lambda t, total, cycles, ratio: cyclical(1.0, total, cycles, ratio)(t))
    got = [float(traced(t, total, cycles, float(ratio))) for t in steps]
    np.testing.assert_allclose(got, expected, rtol=2e-6)

    total = 2**31 - 1
    for schedule in (linear(1.0, total), cosine(1.0, total), cyclical(1.0, total, 1, 1.0)):
        got = values(schedule, [0, total // 2, total - 1, total])
        assert got[0] == 0.0 and got[3] == 1.0
        np.testing.assert_allclose(got[1:3], [0.5, 1.0], rtol=1e-6)
    got = values(linear(1.0, 10_000_000, delay=10_000_000), [10_000_000, 15_000_000, 19_999_999, 20_000_000])
    np.testing.assert_allclose(got, [0.0, 0.5, 1 - 1e-7, 1.0], rtol=2e-7)


# ---------------------------------------------------------------- types, compilation, vmap

ALL = {
    "constant": constant(0.5),
    "linear": linear(1.0, 100, start=0.1, delay=7),
    "sigmoid": sigmoid(1.0, 50, 0.1),
    "cosine": cosine(0.2, 100, start=1.0),
    **{f"cyclical {shape}": cyclical(1.0, 100, 3, 0.4, shape) for shape in SHAPES},
}


@pytest.mark.parametrize("name", list(ALL))
def test_a_schedule_is_a_pure_function_of_the_step(name):
    schedule = ALL[name]
    steps = np.arange(130)
    whole = schedule(jnp.asarray(steps))
    assert whole.dtype == jnp.float32 and whole.shape == (130,)
    for t in (0, 7, 50, 99, 100, 129):
        for step in (t, np.int64(t), jnp.asarray(t, jnp.int32)):
            one = schedule(step)
            assert one.dtype == jnp.float32 and one.shape == ()
        np.testing.assert_allclose(one, whole[t], rtol=1e-6)
    # Inside a scan with an integer counter, as in training.
    _, scanned = jax.lax.scan(lambda t, _: (t + 1, schedule(t)), jnp.zeros((), jnp.int32), None, 130)
    np.testing.assert_allclose(scanned, whole, rtol=1e-6)
    assert float(from_schedule(schedule).value((), jnp.asarray(50))) == pytest.approx(float(whole[50]))


def test_float64_on_request(x64):
    for schedule in ALL.values():
        assert jax.eval_shape(schedule, jnp.asarray(3)).dtype == jnp.float64


def test_traced_arguments_of_ramps():
    stop, steps = jnp.array([1.0, 0.5, 2.0]), jnp.array([10, 0, 100])
    start, delay = jnp.array([0.0, 0.1, 4.0]), jnp.array([0, 3, 21])
    t = jnp.arange(130)
    for ramp in (linear, cosine):
        runs = jax.jit(jax.vmap(lambda *a, ramp=ramp: ramp(a[0], a[1], start=a[2], delay=a[3])(t)))(
            stop, steps, start, delay
        )
        for i in range(3):
            alone = ramp(float(stop[i]), int(steps[i]), start=float(start[i]), delay=int(delay[i]))(t)
            np.testing.assert_allclose(runs[i], alone, rtol=1e-6)
            assert float(runs[i, -1]) == float(stop[i])
    runs = jax.vmap(lambda s, m, k: sigmoid(s, m, k)(t))(
        stop, jnp.array([10.0, 50.0, 90.0]), jnp.array([0.1, 1.0, 5.0])
    )
    np.testing.assert_allclose(runs[1], sigmoid(0.5, 50, 1.0)(t), rtol=1e-6)
    np.testing.assert_array_equal(jax.vmap(lambda v: constant(v)(t))(stop)[:, 0], stop)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_traced_arguments_of_cycles(shape):
    """A sweep over stop, steps, cycles and ratio: the same steps at the top, and at zero, as in exact integers."""
    runs = [(1.0, 40, 4, Fraction(1, 2)), (0.5, 10, 4, Fraction(1, 2)), (2.0, 1003, 4, Fraction(1, 3))]
    runs += [
        (1.0, 100, 5, Fraction(1, 10)),
        (1.0, 30, 1, Fraction(3, 10)),
        (1.0, 90, 3, Fraction(1)),
        (1.0, 7, 7, Fraction(1)),
    ]
    stop, steps, cycles, ratio = (
        jnp.asarray([float(v) if k in (0, 3) else v for v in c]) for k, c in enumerate(zip(*runs))
    )
    t = jnp.arange(1010)
    got = jax.jit(jax.vmap(lambda s, n, c, r: cyclical(s, n, c, r, shape)(t)))(stop, steps, cycles, ratio)
    assert got.dtype == jnp.float32
    for run, row in zip(runs, np.asarray(got, np.float64)):
        expected = np.array([exact_cyclical(k, *run[1:], shape, high=run[0]) for k in range(1010)])
        np.testing.assert_allclose(row, expected, rtol=5e-6, atol=1e-6)
        if shape != "sigmoid":  # exactly the same steps hold the final value
            np.testing.assert_array_equal(row == run[0], expected == run[0])


def test_what_optax_has_is_optax():
    for name in ("join_schedules", "piecewise_constant_schedule", "piecewise_interpolate_schedule"):
        assert getattr(schedules, name) is getattr(optax.schedules, name)
    joined = schedules.join_schedules([constant(0.0), linear(1.0, 10)], [5])
    np.testing.assert_allclose([float(joined(t)) for t in (0, 4, 5, 10, 15, 20)], [0, 0, 0, 0.5, 1, 1])
    # A schedule of ours is a schedule of optax.
    optimizer = optax.sgd(linear(1.0, 2))
    state = optimizer.init(jnp.zeros(()))
    updates = []
    for _ in range(4):
        update, state = optimizer.update(jnp.ones(()), state)
        updates.append(-float(update))
    assert updates == [0.0, 0.5, 1.0, 1.0]


def test_nonsense_is_refused():
    wrong = [("shape", "step"), *(("ratio", value) for value in (0, -0.5, 1.5, math.nan)), ("cycles", 0), ("steps", 0)]
    for name, value in wrong:
        with pytest.raises((ValueError, UserError)):
            cyclical(**{"stop": 1.0, "steps": 40, name: value})
