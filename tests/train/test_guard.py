"""Updates that are not finite: skipped to the bit, counted, and too many in a row end a run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.small_training import DATA, EVENT, RISING, WHITE, small

from vae_jax import likelihoods, weighting
from vae_jax.randomness import batch_rows
from vae_jax.runtime.checkpoint import Checkpoints
from vae_jax.train import step as train
from vae_jax.train.guard import MAX_SKIPPED, Diverged, check_finite, in_doubt, none_skipped
from vae_jax.train.loop import Every, Hooks, fit
from vae_jax.train.optimizers import adam, learning_rates

BAD = WHITE  # the row that no update survives
PER_EPOCH = 3
PARTS = ("params", "opt_state", "weight_state")
CONTROLLERS = {"schedule": RISING, "geco": weighting.geco(10.0, 1e-2), "pi": weighting.pi(0.01, 0.1, 0.1)}


def planted(key, raw):
    """Pixels on [0, 1], of the row ``BAD`` none."""
    return jnp.where(jnp.all(raw == 255), jnp.nan, (raw + jax.random.uniform(key, raw.shape)) / 256.0)


def build(**options):
    """``(step, state, (state, length) -> (state, metrics))`` of a small model on ``DATA``."""
    return small(**{"preprocess": planted, **options})[1:]


def leaves(state, *parts):
    return [np.asarray(leaf) for part in parts or PARTS for leaf in jax.tree.leaves(getattr(state, part))]


def same(one, other, *parts):
    return all(np.array_equal(a, b) for a, b in zip(leaves(one, *parts), leaves(other, *parts), strict=True))


def rows_of(state, steps):
    return np.asarray(batch_rows(state.key, jnp.int32(0), steps, len(DATA), 32))


def test_one_bad_example_costs_one_update_an_epoch_and_changes_no_other():
    # Exactly the run that was told by hand to leave those batches out.
    step, state, _ = build()
    step, by_hand, rows = jax.jit(step), state, rows_of(state, 9)
    skipped = []
    for batch in rows:
        state, metrics = step(state, DATA[batch])
        skipped.append(float(metrics["skipped"]))
        by_hand = by_hand._replace(step=by_hand.step + 1) if BAD in batch else step(by_hand, DATA[batch])[0]
    assert same(state, by_hand) and int(state.step) == int(by_hand.step) == 9
    assert skipped == [float(BAD in batch) for batch in rows]
    assert np.reshape(skipped, (-1, PER_EPOCH)).sum(axis=1).tolist() == [1.0, 1.0, 1.0]
    assert int(state.skipped.total) == 3 and int(by_hand.skipped.total) == 0


def test_the_counts_are_those_of_the_metrics(one_device):
    rows, state, metrics = one_device
    bad = np.array([BAD in batch for batch in rows])
    in_a_row = [int(bad[: i + 1][::-1].cumprod().sum()) for i in range(12)]
    np.testing.assert_array_equal(metrics["skipped"], bad)
    np.testing.assert_array_equal(metrics["skipped_in_a_row"], in_a_row)
    np.testing.assert_array_equal(metrics["skipped_total"], bad.cumsum())
    assert (int(state.skipped.in_a_row), int(state.skipped.total)) == (in_a_row[-1], bad.sum())
    assert in_doubt(state.skipped) == bad[-1]


def moved_by_a_skip(**options):
    """The parts of the state that an update changes whose batch holds the bad example."""
    step, state, _ = build(**options)
    with jax.disable_jit():
        state, _ = step(state, DATA[32:64])  # no part is at its first value any more
        after, metrics = step(state, DATA[:32])
    assert not np.isfinite(metrics["loss"]) and metrics["skipped"] == 1.0 and int(after.step) == int(state.step) + 1
    return [part for part in PARTS if not same(state, after, part)]


@pytest.mark.parametrize(
    ("precision", "controller", "options"),
    [
        ("learned", "schedule", {}),
        ("optimal", "schedule", {}),
        ("optimal", "pi", {}),
        ("learned", "geco", {"clip_norm": 1.0}),
    ],
)
def test_a_skip_leaves_every_bit(precision, controller, options):
    assert moved_by_a_skip(likelihood=likelihoods.gaussian(precision), weight=CONTROLLERS[controller], **options) == []


@pytest.mark.parametrize("part", range(3))
def test_a_guard_that_forgets_a_part_is_seen(monkeypatch, part):
    def careless(good, update, state):
        after = update(state)
        kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), after, state)
        return tuple(after[i] if i == part else kept[i] for i in range(3))

    monkeypatch.setattr(train, "update_if", careless)
    assert moved_by_a_skip(weight=CONTROLLERS["pi"]) == [PARTS[part]]


def clean(key, raw):
    return raw / 255.0


def test_a_finite_run_is_compiled_to_the_bits_of_a_branch_that_is_always_taken(monkeypatch):
    # Without any branch XLA may join the update with what comes before it, and on processors without AVX-512 it rounds
    # another way then: log sigma by one unit in the last place within 20 steps, the others by 3e-8.
    def always(good, update, state):
        true = jnp.isfinite(good.astype(jnp.float32))  # which XLA does not find out, and leaves the branch in
        return jax.lax.cond(true, update, lambda state: state, state)

    def run(**options):
        _, state, run = build(weight=CONTROLLERS["pi"], preprocess=clean, **options)
        return run(state, 20)

    guarded, metrics = run()
    monkeypatch.setattr(train, "update_if", always)
    taken, expected = run()
    assert same(guarded, taken) and not np.any(metrics["skipped"]) and np.ptp(metrics["beta"]) > 1e-3
    for name, values in expected.items():
        np.testing.assert_array_equal(metrics[name], values)
    # And without a branch, but with the whole gradient before any use of it, as the guard needs it: rounding alone.
    monkeypatch.setattr(train, "update_if", lambda good, update, state: update(state))
    barrier = optax.stateless(lambda grads, _: jax.lax.optimization_barrier(grads))
    free, _ = run(optimizer=optax.chain(barrier, adam(learning_rates("cosine", 1e-3, 200), likelihoods.gaussian())))
    for a, b in zip(leaves(guarded, "params"), leaves(free, "params"), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def one_device():
    _, state, run = build()
    return rows_of(state, 12), *run(state, 12)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_all_devices_skip_what_one_of_them_met(one_device, mode):
    _, one, metrics = one_device
    _, state, run = build(mode=mode, devices=2)
    many, seen = run(state, 12)
    np.testing.assert_array_equal(seen["skipped"], metrics["skipped"])
    for a, b in zip(leaves(many, "params"), leaves(one, "params")):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert int(many.skipped.total) == 4


@pytest.fixture(scope="module")
def lost_from():
    """``(first, last) -> state, run``: the first state, and chunks that get NaN for pixels in these updates."""
    step, state, _ = build(preprocess=lambda key, raw: raw)
    step = jax.jit(step)

    def chunk(first, last):
        def run(state, length):
            found = []
            for _ in range(length):
                bad = first <= int(state.step) <= last
                state, metrics = step(state, np.full((32, *EVENT), np.nan) if bad else DATA[32:64] / 255.0)
                found.append(metrics)
            return state, jax.tree.map(lambda *values: np.stack(values), *found)

        return state, run

    return chunk


def test_ten_in_a_row_end_the_run_whatever_follows(lost_from):
    state, run = lost_from(3, 13)
    before, _ = run(state, 3)
    after, metrics = run(before, 20)  # well again from step 14 on, and too late
    assert same(before, after) and int(after.skipped.in_a_row) == int(after.skipped.total) == 20
    assert np.all(metrics["skipped"] == 1.0) and np.isfinite(metrics["loss"][11:]).all()
    state, run = lost_from(3, 11)
    after, metrics = run(run(state, 3)[0], 20)  # nine are not too many
    assert not same(before, after) and int(after.skipped.in_a_row) == 0 and int(after.skipped.total) == 9
    check_finite(3, metrics)
    with pytest.raises(Diverged, match=r"the 4 updates from step 3 on were skipped.*Lower --learning_rate") as caught:
        check_finite(3, metrics, limit=4)
    assert caught.value.step == 3
    with pytest.raises(Diverged, match="No learning rate helps a first step: scale the data"):
        check_finite(0, metrics, limit=4)


def run_fit(state, run, every, num_steps=40):
    saved, asked = [], []

    def explain(state, step):
        asked.append((state, step))
        return "Because of this"

    hooks = Hooks(lambda first, m: None, lambda s: (s, False), lambda s: saved.append(int(s.step)), explain=explain)
    with pytest.raises(Diverged) as caught:
        fit(state, run, num_steps, every, hooks)
    return str(caught.value), saved, asked


@pytest.mark.parametrize("log", [4, 7, 40])
def test_the_loop_names_the_first_asks_why_and_saves_nothing_after_the_tenth(lost_from, log):
    # The row begins in one chunk and ends in another, and the chunk that was dispatched before the check goes on.
    state, run = lost_from(6, 100)
    failed, _ = run(state, 6)
    error, saved, [(newest, step)] = run_fit(state, run, Every(log, 50, 8))
    assert "the 10 updates from step 6 on were skipped" in error and error.endswith(". Because of this")
    assert step == 6 and saved == [8]  # at 8 the count was 2, at 16 it is 10
    assert same(newest, failed)


def test_resuming_keeps_the_count(lost_from, tmp_path):
    state, run = lost_from(6, 100)
    state, _ = run(state, 10)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, state)
    _, resumed = checkpoints.restore_latest(state)
    assert (int(resumed.skipped.in_a_row), int(resumed.skipped.total)) == (4, 4)
    assert "the 10 updates from step 6 on" in run_fit(resumed, run, Every(3, 50, 50))[0]
    forgetful = resumed._replace(skipped=none_skipped())  # the planted fault
    assert "the 10 updates from step 10 on" in run_fit(forgetful, run, Every(3, 50, 50))[0]


def test_a_gradient_that_is_not_finite_is_skipped_though_the_loss_is():
    # The square root has an infinite slope at 0.
    def rooted(vae):
        def decode(params, z):
            return vae.decode(params["net"], z) + jnp.sqrt(params["c"])

        def init(key):
            return {"net": vae.init(key), "c": jnp.zeros(())}

        return vae._replace(init=init, encode=lambda p, x: vae.encode(p["net"], x), decode=decode)

    made = small(likelihoods.bernoulli(), CONTROLLERS["pi"], change=rooted, preprocess=clean)
    made.state.params["model"]["c"] = jnp.zeros(())
    state = made.state
    with jax.disable_jit():
        after, metrics = made.step(state, DATA[32:64])
    assert np.isfinite(metrics["loss"]) and not np.isfinite(metrics["grad_norm"])
    assert same(state, after) and metrics["skipped"] == 1.0 and int(after.skipped.in_a_row) == 1


def test_max_skipped_is_what_the_message_says():
    metrics = {"skipped_in_a_row": np.arange(1.0, 21.0), "loss": np.full(20, np.inf), "grad_norm": np.full(20, np.nan)}
    with pytest.raises(Diverged, match=f"the {MAX_SKIPPED} updates from step 100 on .*at last inf.*nan"):
        check_finite(100, metrics)
