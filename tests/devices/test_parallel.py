"""Where data, batches and parameters are must not change an update: devices, microbatches, types, collectives."""

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vae_jax.devices.parallel
from vae_jax import likelihoods, models, schedules, weighting
from vae_jax.devices.parallel import parallel
from vae_jax.evaluation import Evaluator, make_scorer
from vae_jax.models import mixed
from vae_jax.randomness import batch_rows
from vae_jax.train.optimizers import adam, learning_rates
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state, make_chunk, make_fed_chunk, make_train_step
from vae_jax.types import UserError

EVENT, BATCH, STEPS = (4, 4, 1), 32, 6
DATA = np.random.default_rng(0).integers(0, 256, (100, *EVENT)).astype(np.uint8)
WEIGHT = weighting.from_schedule(schedules.constant(2.0))
KEY = 3


def preprocess(key, raw):
    return (raw + jax.random.uniform(key, raw.shape)) / 256.0


def pieces(precision="learned", width=16):
    likelihood = likelihoods.gaussian(precision)
    vae = models.mlp(EVENT, likelihood.theta_shape(EVENT), 3, (width,))
    return vae, likelihood, adam(learning_rates("constant", 1e-2, 100), likelihood, None)


def train(
    mode="jit",
    devices=1,
    layout="whole",
    blocks=BATCH,
    precision="learned",
    width=16,
    shard_params=False,
    read=False,
    **kw,
):
    """The state after a few updates, and where asked for the compiled chunk's text."""
    vae, likelihood, optimizer = pieces(precision, width)
    spread = parallel(mode, BATCH, jax.devices()[:devices], layout, shard_params)
    recipe = Recipe(vae, likelihood, optimizer, WEIGHT, preprocess=preprocess, all_mean=spread.all_mean, **kw)
    step = make_train_step(recipe)
    state = spread.begin(lambda: init_state(recipe, EVENT, jax.random.key(KEY)))
    if layout == "streamed":
        chunk = make_fed_chunk(step, BATCH, spread.split)
        rows = batch_rows(jax.random.key(KEY), jnp.int32(0), STEPS, len(DATA), BATCH, blocks)
        data = spread.feed(DATA[np.asarray(rows)][:, spread.share])
    else:
        chunk = make_chunk(step, len(DATA), BATCH, spread.split, spread.take, blocks)
        data = spread.lay(DATA)
    run, text = spread.compile(chunk), ""
    if read:
        run = run.lower(state, data, STEPS).compile()
        text = run.as_text()
    state, _ = run(state, data) if read else run(state, data, STEPS)
    return state, text


def largest_difference(one, other):
    pairs = zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True)
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in pairs)


@pytest.fixture(scope="module")
def reference():
    return {precision: train(precision=precision)[0] for precision in ("learned", "optimal")}


WAYS = {  # and those of the test of collectives
    "streamed to one": dict(layout="streamed"),
    "whole on two, coupled": dict(devices=2, precision="optimal"),
    "divided under pmap": dict(mode="pmap", devices=2, layout="divided"),
    "streamed under pmap": dict(mode="pmap", devices=2, layout="streamed"),
    "in microbatches on two": dict(devices=2, layout="divided", microbatches=2),
    "in microbatches under pmap, coupled": dict(mode="pmap", devices=2, microbatches=4, precision="optimal"),
}


@pytest.mark.parametrize("way", WAYS, ids=WAYS)
def test_an_update_is_the_same_wherever_things_are(way, reference):
    state, _ = train(**WAYS[way])
    assert int(state.step) == STEPS
    assert largest_difference(state, reference[WAYS[way].get("precision", "learned")]) < 1e-5


def test_another_order_of_the_examples_would_be_noticed(reference):
    assert largest_difference(train(blocks=1)[0], reference["learned"]) > 1e-3


def test_parameters_divided_among_devices_are_the_same_parameters(reference, monkeypatch):
    whole, least = reference["learned"], 200  # in place of SMALLEST_SHARD, so that a small network has large leaves
    monkeypatch.setattr(vae_jax.devices.parallel, "SMALLEST_SHARD", least)
    state, _ = train(devices=2, shard_params=True)
    assert largest_difference(state, whole) < 1e-5
    leaves = jax.tree.leaves((state.params, state.opt_state))
    large = [leaf for leaf in leaves if leaf.size >= least]
    assert len(large) == 6  # the two wide kernels and their moments
    for leaf in large:
        assert leaf.addressable_shards[0].data.size == leaf.size // 2
    assert all(leaf.is_fully_replicated for leaf in leaves if leaf.size < least)


def collectives(text):
    """What the devices exchange inside a loop (each step) and outside of it (once a chunk)."""
    inside, outside, computation = collections.Counter(), collections.Counter(), ""
    kinds = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
    for line in text.splitlines():
        if line and not line[0].isspace():
            computation = line
        found = re.search(rf" ({kinds})(?:-start)?\(", line)
        if found:
            (outside if computation.startswith("ENTRY") else inside)[found[1]] += 1
    return inside, outside


@pytest.mark.parametrize("layout", ["whole", "divided", "streamed"])
def test_a_step_on_two_devices_holds_one_all_reduce_and_nothing_else(layout, reference):
    state, text = train(devices=2, layout=layout, read=True)
    assert int(state.step) == STEPS and largest_difference(state, reference["learned"]) < 1e-5
    inside, outside = collectives(text)
    assert inside == {"all-reduce": 1}
    # Once a chunk the gradient of a constant, one number: moved out of the loop by the compiler.
    assert set(outside) <= {"all-reduce"} and sum(outside.values()) <= 1
    (line,) = [line for line in text.splitlines() if re.search(r" all-reduce\(", line) and "f32[16,16]" in line]
    # All of them travel together: every leaf of the gradient and the metrics.
    assert line.split(" all-reduce(")[0].count("f32[") >= len(jax.tree.leaves(state.params))


def test_divided_data_that_are_indexed_plainly_would_be_exchanged():
    vae, likelihood, optimizer = pieces()
    spread = parallel("jit", BATCH, jax.devices()[:2], "divided")
    recipe = Recipe(vae, likelihood, optimizer, WEIGHT, preprocess=preprocess)
    state = spread.begin(lambda: init_state(recipe, EVENT, jax.random.key(KEY)))
    run = spread.compile(make_chunk(make_train_step(recipe), len(DATA), BATCH, spread.split, blocks=BATCH))
    inside, _ = collectives(run.lower(state, spread.lay(DATA), STEPS).compile().as_text())
    assert sum(inside.values()) > 1


def test_microbatches_hold_less():
    vae, likelihood, optimizer = pieces(width=512)
    held = {}
    for parts in (1, 8):
        recipe = Recipe(vae, likelihood, optimizer, WEIGHT, num_samples=8, microbatches=parts)
        step = make_train_step(recipe)
        state = jax.eval_shape(functools.partial(init_state, recipe, EVENT), jax.random.key(KEY))
        raw = jax.ShapeDtypeStruct((256, *EVENT), jnp.float32)
        held[parts] = jax.jit(step).lower(state, raw).compile().memory_analysis().temp_size_in_bytes
    assert held[8] < held[1] / 2


@pytest.mark.parametrize("blocks", [1, 8, 32])
def test_blocks_each_give_their_part_of_every_batch(blocks):
    each = len(DATA) // blocks
    epoch = each // (BATCH // blocks)
    rows = np.asarray(batch_rows(jax.random.key(0), jnp.int32(0), 3 * epoch, len(DATA), BATCH, blocks))
    assert rows.shape == (3 * epoch, BATCH)
    part = BATCH // blocks
    np.testing.assert_array_equal(rows // each, np.broadcast_to(np.arange(BATCH) // part, rows.shape))
    for e in range(3):
        assert len(np.unique(rows[e * epoch : (e + 1) * epoch])) == epoch * BATCH
    later = np.asarray(batch_rows(jax.random.key(0), jnp.int32(epoch + 1), 2, len(DATA), BATCH, blocks))
    np.testing.assert_array_equal(later, rows[epoch + 1 : epoch + 3])
    assert not np.array_equal(rows[:epoch], rows[epoch : 2 * epoch])


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"--batch_size=30 cannot be divided among 8 devices"):
        parallel("jit", 30, jax.devices())
    with pytest.raises(UserError, match="--shard_params divides the parameters"):
        parallel("pmap", 8, jax.devices(), shard_params=True)
    with pytest.raises(ValueError, match="layout must be one of"):
        parallel("jit", 8, jax.devices(), "somewhere")


@pytest.mark.parametrize("make", [models.mlp, models.conv])
def test_networks_in_bfloat16_leave_everything_else_in_float32(make):
    likelihood = likelihoods.gaussian("learned")
    event = (8, 8, 1)
    vae = make(event, likelihood.theta_shape(event), 3, (32,))
    narrow = mixed(vae, jnp.bfloat16)
    x = jax.random.uniform(jax.random.key(1), event)
    params = jax.jit(narrow.init)(jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    outputs = jax.eval_shape(lambda params: (narrow.encode(params, x), narrow.decode(params, jnp.ones(3))), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {jnp.dtype("float32")}
    theta, exact = jax.jit(lambda params: (narrow.decode(params, jnp.ones(3)), vae.decode(params, jnp.ones(3))))(params)
    error = float(jnp.max(jnp.abs(theta - exact)) / jnp.max(jnp.abs(exact)))
    assert 1e-6 < error < 0.05  # eight bits of mantissa, and not float32 all the same
    recipe = Recipe(narrow, likelihood, optax.adam(1e-3), WEIGHT)
    step, state = make_train_step(recipe), init_state(recipe, event, jax.random.key(0))
    text = jax.jit(step).lower(state, jnp.zeros((4, *event))).as_text()
    products = re.findall(r"stablehlo\.(?:dot_general|convolution).*", text)
    networks = [line for line in products if "HIGHEST" not in line]  # a likelihood's sum over the event is a product
    assert networks and all("bf16" in line for line in networks)
    assert not any("bf16" in line for line in products if "HIGHEST" in line)
    if make is models.conv:  # what is compiled has been read; running it takes half a minute
        return
    state, metrics = jax.jit(step)(state, jnp.stack([x] * 4))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    assert np.isfinite(float(metrics["loss"])) and float(metrics["skipped"]) == 0


def test_evaluation_chooses_full_precision_whatever_the_default():
    # TF32 and bfloat16 products move a bound; on a CPU they do not exist, so what is asked of the compiler is read.
    vae, likelihood, _ = pieces()
    params = {"model": vae.init(jax.random.key(0)), "likelihood": likelihood.init(EVENT)}
    asked = []

    def spy(function, **kw):
        def call(*args):  # and nothing is compiled
            lowered = jax.jit(function, **kw).lower(*args)
            asked.append(lowered.as_text())
            return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), lowered.out_info)

        return call

    for default in (None, "bfloat16", "tensorfloat32"):
        with jax.default_matmul_precision(default):
            make_scorer(Evaluator(vae, likelihood, preprocess, 50, jit=spy))(
                params, jnp.asarray(DATA), jax.random.key(1)
            )
    products = [line for text in asked for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(asked) == 6 and products and all("HIGHEST" in line for line in products)
