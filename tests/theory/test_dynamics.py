"""The dynamics of a linear VAE: against autodiff, closed forms and limits; wrong formulas fail."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import BED_EIGENVALUES, BED_LATENTS

from vae_jax import schedules
from vae_jax.linear_vae import predict
from vae_jax.theory import dynamics, mode_updates
from vae_jax.theory.dynamics import LinearRun, Optimizer, simulate
from vae_jax.theory.saddle import Start, expected_start, growth_rate, settling_rate
from vae_jax.theory.waking import best_ramp, log_growth

VALUES = np.array([3.0, 1.0, 0.4, 0.1, 0.05])


def run_of(values=VALUES, latents=3, sigma2=0.2, rate=1e-3, steps=400, adam=False, start=None, **more):
    start = start or Start(np.full(min(latents, len(values)), 0.05), np.full(min(latents, len(values)), 0.02))
    return LinearRun(values, latents, sigma2, Optimizer(rate, 2e-3, adam), steps, start=start, **more)


def loss(params, beta, run, precision="fixed"):
    """The loss of all modes as the header of ``dynamics.py`` has it, written from the model."""
    w, v, t, log_sigma = params
    k, sigma2 = len(w), jnp.exp(2.0 * log_sigma)
    values = jnp.asarray(run.eigenvalues)
    error = jnp.sum(values[:k] * (1 - w * v) ** 2 + w**2 * jnp.exp(t)) + jnp.sum(values[k:])
    kl = 0.5 * (values[:k] * v**2 + jnp.exp(t) - t - 1)
    return 0.5 * len(values) * jnp.log(sigma2) + error / (2 * sigma2) + beta * jnp.sum(kl)


def first_params(run):
    k = len(run.start.decoder)
    return (jnp.asarray(run.start.decoder), jnp.asarray(run.start.encoder), jnp.zeros(k), 0.5 * jnp.log(run.sigma2))


def by_autodiff(run, betas, learned):
    """Gradient descent on ``loss``: w v of each mode and sigma^2 at the end."""
    with jax.enable_x64(True):
        params = tuple(jnp.asarray(p, float) for p in first_params(run))
        gradient = jax.jit(jax.grad(lambda p, beta: loss(p, beta, run)))
        rates = (1e-3, 1e-3, 1e-3, 2e-3 * learned)
        for beta in betas:
            params = tuple(p - r * g for p, g, r in zip(params, gradient(params, beta), rates))
        return np.asarray(params[0] * params[1]), float(jnp.exp(2 * params[3]))


@pytest.mark.parametrize("precision", ["fixed", "learned"])
def test_an_update_is_gradient_descent_on_the_loss(precision):
    betas = np.linspace(0.0, 1.0, 40)
    run = run_of(steps=40, precision=precision)
    path = simulate(run, betas)
    passed, sigma2 = by_autodiff(run, betas, precision == "learned")
    np.testing.assert_allclose(path.passed[-1], passed, rtol=1e-9)
    assert path.sigma2[-1] == pytest.approx(sigma2, rel=1e-9) and (sigma2 == pytest.approx(0.2)) == (
        precision == "fixed"
    )
    # Neither beta nor the posterior's variance may be forgotten.
    assert abs(simulate(run, 0.0).passed[-1] / passed - 1).max() > 1e-3
    without = run._replace(start=run.start._replace(logvar=-40.0))
    assert abs(simulate(without, betas).passed[-1] / passed - 1).max() > 1e-2


def test_adam_is_optax_of_one_number():
    """With D = M = 1 every matrix has one entry, and the shared second moment is its own."""
    run = run_of(np.array([2.0]), 1, adam=True, rate=3e-3, steps=300, precision="learned")
    with jax.enable_x64(True):
        params = tuple(jnp.asarray(p, float) for p in first_params(run))
        params = tuple(p.reshape(()) if p.ndim == 0 else p for p in params)
        labels = ("model", "model", "model", "sigma")
        adam = optax.partition({"model": optax.adam(3e-3, b2=0.99), "sigma": optax.adam(2e-3, b2=0.99)}, labels)
        state, gradient = adam.init(params), jax.grad(lambda p: loss(p, 0.7, run))

        @jax.jit
        def update(params, state):
            moves, state = adam.update(gradient(params), state)
            return optax.apply_updates(params, moves), state

        for _ in range(run.steps):
            params, state = update(params, state)
    path = simulate(run, 0.7)
    assert path.passed[-1, 0] == pytest.approx(float((params[0] * params[1])[0]), rel=1e-6)
    assert path.sigma2[-1] == pytest.approx(float(jnp.exp(2 * params[3])), rel=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("tau", [1.0, 0.3])
def test_growth_is_the_top_eigenvalue_and_positive_above_the_water(beta, tau):
    sigma2 = 0.2
    rates = growth_rate(VALUES, beta, sigma2, tau)
    for value, rate in zip(VALUES, rates):
        matrix = np.array([[-tau / sigma2, value / sigma2], [value / sigma2, -beta * value]])
        assert rate == pytest.approx(np.linalg.eigvalsh(matrix)[-1], rel=1e-9, abs=1e-12)
        assert (rate > 0) == (value > tau * beta * sigma2)
    # The two formulas that people write down: of the error alone, and with the water level at beta = 1.
    assert not np.allclose(rates, (VALUES - tau) / sigma2)
    assert beta == 1.0 or any((VALUES > tau * sigma2) != (VALUES > tau * beta * sigma2)) or beta == 0.5


def test_a_small_amplitude_grows_by_the_product_of_its_matrices():
    """The linear problem under a schedule is exact: w and v are a product of 2 x 2 matrices, a step for a step."""
    steps, rate, sigma2 = 300, 2e-3, 0.2
    betas = np.asarray(schedules.linear(1.5, 200)(np.arange(steps)))
    start = Start(np.full(3, 1e-7), np.full(3, 3e-8))
    path = simulate(run_of(start=start, steps=steps, rate=rate, sigma2=sigma2), betas)
    for i, value in enumerate(VALUES[:3]):
        state = np.array([1e-7, 3e-8])
        for beta in betas:
            state = state + rate * np.array([[-1, value], [value, -beta * value * sigma2]]) @ state / sigma2
        assert path.passed[-1, i] == pytest.approx(state.prod(), rel=1e-5)


def test_slow_schedules_add_up_their_growth():
    steps, rate, values = 4000, 5e-3, np.array([1.5, 1.1])
    betas = np.asarray(schedules.cyclical(1.2, steps, 2, 0.5)(np.arange(steps)))
    path = simulate(
        run_of(values, 2, start=Start(np.full(2, 1e-9), np.full(2, 1e-9)), steps=steps, rate=rate, sigma2=1.0), betas
    )
    gained = log_growth(values, betas, rate, 1.0)
    # Over the second cycle, between two ends of a cycle: (w, v) points the same way at both.
    middle = int(np.searchsorted(path.step, 2000))
    assert path.step[middle] == 2000
    half = np.log(path.passed[-1] / path.passed[middle]) / 2
    np.testing.assert_allclose(half, gained[-1] - gained[1999], rtol=0.05, atol=0.05)
    assert gained[-1, 1] > 0 > np.diff(gained[:, 1])[1500]  # 1.1 is below 1.2: it falls while beta is high


def test_without_noise_it_is_the_logistic_curve_of_a_linear_autoencoder():
    """At beta = 0, tau = 0 and w = v what passes is logistic, with the rate 2 lambda / sigma^2 (Saxe 2013)."""
    start = Start(np.full(2, 1e-3), np.full(2, 1e-3), -60.0)
    path = simulate(run_of(np.array([2.0, 0.5]), 2, start=start, steps=4000, rate=1e-4, sigma2=0.2), 0.0)
    for i, value in enumerate((2.0, 0.5)):
        time = 1e-4 * path.step
        logistic = 1.0 / (1.0 + (1e6 - 1.0) * np.exp(-2.0 * value / 0.2 * time))
        np.testing.assert_allclose(path.passed[:, i], logistic, rtol=0.02)
        half = math.log(1e6 - 1.0) * 0.2 / (2.0 * value) / 1e-4
        assert path.woke[i] == (pytest.approx(half, rel=0.01) if half < 4000 else math.inf)


def test_what_is_above_the_water_wakes_and_ends_on_it_and_the_rest_never_does():
    values, s = np.array([3.0, 1.0, 0.4, 0.15, 0.05]), 0.2
    path = simulate(run_of(values, 4, sigma2=0.1, rate=1e-2, steps=4000), 2.0)
    kept = predict(values, 2.0, 0.1, 4)
    np.testing.assert_allclose(path.rates[-1], kept.kl_per_latent, atol=1e-6)
    np.testing.assert_allclose(path.passed[-1], np.maximum(1 - s / values[:4], 0), atol=1e-6)
    assert np.all(np.diff(path.woke[:3]) > 0) and path.woke[3] == math.inf and path.ends[3] == 0


def test_settling_is_the_curvature_and_the_speed_of_the_last_steps():
    values, beta, sigma2 = np.array([1.0, 0.3]), 1.5, 0.1
    rates = settling_rate(values, beta, sigma2)

    def one(params, value):
        w, v, t = params
        error = value * (1 - w * v) ** 2 + w**2 * jnp.exp(t)
        return error / (2 * sigma2) + beta / 2 * (value * v**2 + jnp.exp(t) - t - 1)

    with jax.enable_x64(True):
        for value, rate in zip(values, rates):
            w = math.sqrt(value - beta * sigma2)
            at = jnp.array([w, w / value, math.log(beta * sigma2 / value)])
            np.testing.assert_allclose(jax.grad(one)(at, value), 0.0, atol=1e-9)
            assert rate == pytest.approx(float(np.linalg.eigvalsh(jax.hessian(one)(at, value))[0]), rel=1e-6)
    path = simulate(run_of(values, 2, sigma2=sigma2, rate=5e-3, steps=4900), beta)
    left = np.abs(path.passed[:, 0] - path.ends[0])
    late = (path.step > 1200) & (left > 1e-9)
    slope = -np.polyfit(path.step[late], np.log(left[late]), 1)[0]
    assert slope == pytest.approx(5e-3 * rates[0], rel=0.03)
    assert np.isnan(settling_rate([0.1], 1.5, 0.1)[0])


def test_free_bits_wake_what_is_below_the_water():
    """Below its floor a KL is not charged, so the growth rate is that of beta = 0, and positive."""
    run = run_of(np.array([1.0, 0.15]), 2, sigma2=0.1, rate=1e-2, steps=4900)
    charged, free = simulate(run, 2.0), simulate(run._replace(free_nats=0.3), 2.0)
    assert charged.rates[-1, 1] < 1e-4 and free.rates[-1, 1] == pytest.approx(0.3, abs=0.02)
    assert free.woke[0] < charged.woke[0]


def test_a_learned_sigma_settles_and_an_optimal_one_is_the_error():
    values = np.array([3.0, 1.5, 0.9, 0.1, 0.05])
    kept = predict(values, 1.0, None, 3)
    for precision in ("learned", "optimal"):
        path = simulate(run_of(values, 3, sigma2=0.5, rate=1.5e-2, steps=4900, precision=precision), 1.0)
        assert path.sigma2[-1] == pytest.approx(kept.sigma2, rel=1e-3)
        np.testing.assert_allclose(path.rates[-1], kept.kl_per_latent, atol=1e-2)
        assert 0 < path.sigma_settled < 4900
    bound = simulate(run_of(values, 3, sigma2=0.5, rate=1.5e-2, steps=2000, precision="learned", least=0.2), 1.0)
    assert bound.sigma2[-1] == pytest.approx(0.2) and bound.sigma2.min() >= 0.2 - 1e-12


@pytest.mark.parametrize("adam", [False, True])
def test_a_compiled_loop_is_the_same(adam, monkeypatch):
    run, betas = run_of(steps=333, adam=adam, precision="learned", batch_size=64), schedules.cyclical(1.0, 300, 3)
    with jax.enable_x64(True):
        looped, single = simulate(run, [betas, 0.5], records=50), simulate(run, betas, records=50)
        monkeypatch.setattr(dynamics, "_COMPILED", 1)
        scanned = simulate(run, [betas, 0.5], records=50)
    for one, other in zip(looped, scanned):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    assert looped.step[-1] == 333 and looped.passed.shape == (len(looped.step), 2, 3)
    np.testing.assert_allclose(single.passed, looped.passed[:, 0], rtol=1e-12)
    assert single.woke.shape == (3,) and single.sigma2.shape == single.step.shape


# ---------------------------------------------------------------- the matrices

TURN = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))[0]
SPECTRUM = np.array([3.0, 1.0, 0.4, 0.05])


def matrices(latents, size=0.2, seed=0):
    rng = np.random.default_rng(seed)
    return size * rng.normal(size=(4, latents)), size * rng.normal(size=(latents, 4))


def whole(w, v, adam=False, **more):
    optimizer = Optimizer(3e-3, 2e-3, adam)
    run = LinearRun(SPECTRUM, w.shape[1], 0.2, optimizer, 60, start=Start(w, v, eigenvectors=TURN))
    return run._replace(**more)


def loss_of_examples(params, beta, x, eps):
    """The loss of examples ``x [b, D]`` with draws ``eps [b, M]`` of z, written from the model; sigma is last."""
    w, v, t, log_sigma = params
    mean = x @ v.T
    error = jnp.sum((x - (mean + jnp.exp(0.5 * t) * eps) @ w.T) ** 2, -1)
    kl = 0.5 * jnp.sum(mean**2 + jnp.exp(t) - t - 1, -1)
    return jnp.mean(x.shape[1] * log_sigma + 0.5 * error * jnp.exp(-2 * log_sigma) + beta * kl)


def all_points(latents):
    """Examples and draws whose second moments are those of the data and of N(0, I), exactly: sigma points."""
    root = np.concatenate([np.sqrt(SPECTRUM)[:, None] * TURN.T, np.zeros((latents, 4))])
    eps = np.concatenate([np.zeros((4, latents)), np.eye(latents)])
    both = math.sqrt(4 + latents) * np.concatenate([root, eps], axis=1)
    return (part for part in np.split(np.concatenate([both, -both]), [4], axis=1))


@pytest.mark.parametrize("latents", [3, 6], ids=["fewer latents", "more latents"])
@pytest.mark.parametrize(("adam", "precision"), [(False, "learned"), (True, "learned"), (True, "fixed")])
def test_matrices_are_followed_exactly(latents, adam, precision):
    """The covariance is all that the loss knows of data: every W, V, tau and sigma is that of training on examples."""
    w, v = matrices(latents)
    run, betas = whole(w, v, adam, precision=precision), np.linspace(0.2, 1.5, 60)
    with jax.enable_x64(True):
        x, eps = (jnp.asarray(part) for part in all_points(latents))
        params = (jnp.asarray(w), jnp.asarray(v), jnp.zeros(latents), jnp.asarray(0.5 * math.log(0.2)))
        kind = {True: optax.scale_by_adam(b2=0.99), False: optax.identity()}[adam]
        gradient, state = jax.grad(loss_of_examples), kind.init(params)
        rates = (-3e-3, -3e-3, -3e-3, -2e-3 * (precision == "learned"))

        def one(carry, beta):
            moves, state = kind.update(gradient(carry[0], beta, x, eps), carry[1])
            return (optax.apply_updates(carry[0], tuple(r * m for r, m in zip(rates, moves))), state), None

        last = jax.jit(lambda c: jax.lax.scan(one, c, jnp.asarray(betas)))((params, state))[0][0]
        w, v, t, log_sigma, x, eps = (np.asarray(a) for a in (*last, x, eps))
    path = simulate(run, betas)
    np.testing.assert_allclose(path.passed[-1], np.diag(TURN.T @ w @ v @ TURN), rtol=1e-7)
    kl = 0.5 * (np.diag(v @ (TURN * SPECTRUM) @ TURN.T @ v.T) + np.exp(t) - t - 1)
    np.testing.assert_allclose(path.rates[-1], kl, rtol=1e-7)
    assert path.sigma2[-1] == pytest.approx(float(np.exp(2 * log_sigma)), rel=1e-7)
    assert path.error[-1] == pytest.approx(float(np.mean(np.sum((x - (x @ v.T + np.exp(t / 2) * eps) @ w.T) ** 2, -1))))
    # Neither beta, nor the basis where Adam moves, nor the draws of z may be forgotten.
    wrong = [simulate(run, 0.2), simulate(run._replace(start=run.start._replace(logvar=-40.0)), betas)]
    wrong += [simulate(run._replace(start=run.start._replace(eigenvectors=None)), betas)]
    assert min(np.abs(other.passed[-1] / path.passed[-1] - 1).max() for other in wrong) > 1e-3


def test_the_basis_of_the_data_is_nothing_to_gradient_descent():
    w, v = matrices(5)
    turned = whole(TURN.T @ w, v @ TURN, start=Start(TURN.T @ w, v @ TURN))
    np.testing.assert_allclose(simulate(whole(w, v), 0.5).passed, simulate(turned, 0.5).passed, rtol=1e-9)


@pytest.mark.parametrize("precision", ["fixed", "learned", "optimal"])
def test_modes_are_matrices_in_which_each_has_its_own_latent(precision):
    sizes = (np.array([0.3, 0.2, 0.1, 0.05]), np.array([0.1, 0.2, 0.3, 0.01]))
    modes = whole(*matrices(4), precision=precision, start=Start(*sizes))
    spread = modes._replace(start=Start(np.diag(sizes[0]), np.diag(sizes[1])))
    for one, other in zip(simulate(modes, 0.7), simulate(spread, 0.7)):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_the_noise_of_batches_is_that_of_examples():
    """Against gradients of examples drawn, near the saddle: about the variances that second moments take for theirs."""
    w, v = matrices(3, 0.1)
    problem, first = dynamics._problem(whole(w, v, batch_size=1), SPECTRUM, Start(w, v, 0.0, TURN))
    terms = mode_updates.terms(np, problem, *first)
    noise = mode_updates._noise(
        problem, *first[:2], np.exp(first[2]), terms, np.full((1, 1, 1), 0.2), np.full((1, 1), 0.8)
    )
    rng, n = np.random.default_rng(0), 20_000
    x, eps = rng.normal(size=(n, 4)) * np.sqrt(SPECTRUM) @ TURN.T, rng.normal(size=(n, 3))
    params = (w, v, np.zeros(3), 0.5 * math.log(0.2))
    one = jax.jit(jax.vmap(jax.grad(lambda p, x, eps: loss_of_examples(p, 0.8, x[None], eps[None])), (None, 0, 0)))
    drawn = [np.var(np.asarray(a), axis=0) for a in one(params, x, eps)]
    for found, seen in zip(noise, drawn):
        assert np.mean(found) == pytest.approx(np.mean(seen), rel=0.3)


def test_matrices_of_other_shapes_are_refused():
    w, v = matrices(3)
    for start in (Start(w.T, v.T), Start(w, v.T), Start(w[:3], v[:, :3])):
        with pytest.raises(ValueError, match=r"not \[D, M\] and \[M, D\] of 4 eigenvalues"):
            simulate(whole(w, v, start=start), 1.0)


def test_random_matrices_wake_when_modes_of_their_expected_size_do():
    """Of twelve latents, by gradient descent, the first two modes within a tenth and the third, late, within 30%."""
    values, rng = np.array([4.0, 1.5, 0.6, 0.03, 0.01]), np.random.default_rng(0)
    run = run_of(values, 12, sigma2=0.05, rate=1e-3, steps=2500)
    told = simulate(run._replace(start=expected_start(values, 12, 1.0, 0.05, 1e-3, 1e-3)), 1.0).woke
    for _ in range(3):
        start = Start(1e-3 * rng.normal(size=(5, 12)), 1e-3 * rng.normal(size=(12, 5)))
        path = simulate(run._replace(start=start), 1.0)
        np.testing.assert_allclose(told[:2], path.woke[:2], rtol=0.1)
        np.testing.assert_allclose(told[2], path.woke[2], rtol=0.3)
        assert np.all(path.woke[3:] == math.inf) and path.passed[-1, 3:].max() < 0.01


def test_random_sizes_are_expected():
    """The sizes are what Gram and Schmidt leave of the growing vectors of random matrices, in the mean."""
    values, rng = np.array([2.0, 1.0, 0.5, 0.2]), np.random.default_rng(1)
    vectors = [np.linalg.eigh([[-1.0, a], [a, -0.5 * a * 0.3]])[1][:, -1] for a in values[:3]]
    p, q = np.abs(vectors).T
    drawn = []
    for _ in range(4000):
        decoder, encoder = 0.3 * rng.normal(size=(3, 3)), 0.1 * rng.normal(size=(3, 3))  # a row each mode
        towards, sizes = np.linalg.qr((p[:, None] * decoder + q[:, None] * encoder).T)
        towards = (towards * np.where(np.diag(sizes) < 0, -1.0, 1.0)).T
        drawn.append([(decoder * towards).sum(1), (encoder * towards).sum(1)])
    expected = expected_start(values, 3, 0.5, 0.3, 0.3, 0.1)
    np.testing.assert_allclose(np.mean(drawn, axis=0), expected[:2], rtol=0.12)
    dense = expected_start(values, 3, 0.5, 0.3)
    same = expected_start(values, 3, 0.5, 0.3, 3**-0.5, 0.5)
    np.testing.assert_allclose(dense.decoder, same.decoder)


# ---------------------------------------------------------------- the other way round


def test_a_ramp_pays_where_a_latent_would_sleep_through_the_run():
    values = np.array([2.0, 1.0] + [0.8] * 14)
    run = run_of(values, 16, sigma2=0.35, rate=2e-3, steps=1000)

    def make(n):
        return schedules.linear(1.0, n)

    def bounds(run, lengths):
        path = simulate(run, [make(int(n)) for n in lengths], records=1)
        return -8.0 * math.log(2.0 * math.pi * 0.35) - path.error[-1] / 0.7 - path.rates[-1].sum(-1)

    found, all_of_them = best_ramp(run, make), bounds(run, range(0, 1001, 20))
    assert all_of_them.max() - all_of_them[0] > 0.25 and found > 0
    assert bounds(run, [found])[0] > all_of_them.max() - 0.25
    assert bounds(run, [0.75 * found])[0] < all_of_them.max() - 0.25
    # A run that is long enough is at its optimum anyway, that of Lucas 2019, and needs none.
    long = run._replace(steps=20_000)
    assert best_ramp(long, make) == 0
    optimum = -8.0 * math.log(2.0 * math.pi * 0.35) - 8.0 - 0.5 * np.log(values / 0.35).sum()
    assert bounds(long, [0])[0] == pytest.approx(optimum, abs=1e-3)


def test_cycles_wake_earlier_than_the_full_weight_and_later_than_none():
    run = run_of(np.array([2.0, 0.6, 0.35]), 3, sigma2=0.2, rate=2e-3, steps=4900)
    cycled, full = simulate(run, [schedules.cyclical(1.5, 4900, 4, 0.5), 1.5], records=1).woke
    free = simulate(run, schedules.linear(1.5, 1, delay=4890)).woke
    assert np.all(free <= cycled) and np.all(cycled <= full) and np.all(cycled[:2] < full[:2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": "guessed"}, "precision must be"),
        ({"steps": 0}, "at least one step"),
        ({"latent_dim": 0}, "one latent"),
        ({"eigenvalues": np.zeros(3)}, "positive largest"),
    ],
)
def test_what_cannot_be_followed_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        simulate(run_of()._replace(**change), 1.0)


def test_what_diverges_does_not_wake():
    path = simulate(run_of(rate=10.0, steps=50), 1.0)
    assert path.woke.shape == (3,)


def test_the_bed_wakes_largest_first():
    run = LinearRun(BED_EIGENVALUES, BED_LATENTS, 0.1, Optimizer(1e-3, adam=True), 3000)
    assert np.all(np.diff(simulate(run, 1.0).woke) >= 0)


def test_the_paper_compares_what_either_side_has_awake():
    from experiments.papers import warmup

    shared = {"optimizer": "Adam", "schedule": "no ramp", "observed": ["110, 2,000, -", "100, -, -"]}
    row = shared | {"of_matrices": ["110, 2,000, -", "120, 300, -"], "of_size": ["99, 2,200, -", "110, -, -"]}
    np.testing.assert_allclose(warmup.ratios(row, "of_size"), [0.9, 1.1, 1.1])
    np.testing.assert_allclose(warmup.ratios(row, "of_matrices"), [1.0, 1.0, 1.2, 0.0])
    line = warmup.table_lines([row])[-1]
    assert line == "| Adam, no ramp | 110, 2,000, - | 1.00 [0.00, 1.20] | 1.10 [0.90, 1.10] |"
    assert warmup.figure([row]).png.startswith(b"\x89PNG")
