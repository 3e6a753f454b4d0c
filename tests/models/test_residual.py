"""The convolution that keeps the size, and the residual model that is built from it."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.parameters import drawn, shapes_of

from vae_jax import models
from vae_jax.data.digits import digits
from vae_jax.devices.parallel import parallel
from vae_jax.devices.run_mesh import run_mesh
from vae_jax.likelihoods import gaussian
from vae_jax.models.resampling import conv_same, matrix_same, plain_same
from vae_jax.models.residual import BLOCKS, kept_numbers
from vae_jax.randomness import INIT, purpose_key
from vae_jax.runs.names import MODELS
from vae_jax.runs.parsing import parse_widths
from vae_jax.runs.settling import HIDDEN
from vae_jax.train.many_runs import init_sweep, make_sweep_chunk
from vae_jax.train.optimizers import adam, learning_rates
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state, make_chunk, make_train_step
from vae_jax.types import UserError
from vae_jax.weighting import from_schedule

EVENT = (8, 12, 3)
WIDTHS = (4, 8)
NARROW = (4,)  # where a program is compiled


def make(event=EVENT, widths=WIDTHS, **options):
    return models.resnet(event, event, 3, widths, **options)


# ---------------------------------------------------------------- the convolution


@pytest.mark.parametrize("size", [(5, 7, 3, 4), (1, 1, 2, 3), (8, 6, 4, 2)])
def test_the_convolution_is_the_sum_its_definition_says(size):
    h, w, c, o = size
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((h, w, c)), rng.standard_normal((3, 3, c, o))
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    expected = sum(padded[a : a + h, b : b + w] @ kernel[a, b] for a in range(3) for b in range(3))
    for function in (conv_same, matrix_same, plain_same):
        found = jax.jit(function)(x.astype(np.float32), kernel.astype(np.float32))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_every_formulation_has_the_same_gradients_batched_and_in_a_scan():
    rng = np.random.default_rng(0)
    x, kernel = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 6, 5, 3), (3, 3, 3, 3)))

    def gradients(function):
        def loss(x, kernel):
            two = jax.vmap(lambda x: function(jnp.tanh(function(x, kernel)), kernel))(x)
            return jnp.mean(jnp.square(two))

        one = jax.grad(loss, argnums=(0, 1))

        def step(carry, _):
            return jax.tree.map(lambda v, g: v - 0.1 * g, carry, one(*carry)), None

        return jax.jit(one)(x, kernel), jax.jit(lambda *c: jax.lax.scan(step, c, None, length=3)[0])(x, kernel)

    expected = gradients(plain_same)
    for function in (conv_same, matrix_same):
        for found, wanted in zip(jax.tree.leaves(gradients(function)), jax.tree.leaves(expected)):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("over", ["one image", "two batches", "images on their own"])
def test_the_gradients_are_those_of_the_plain_convolution_in_double_precision(over):
    rng = np.random.default_rng(1)
    x, kernel, weights = (rng.standard_normal(s) for s in ((2, 3, 4, 6, 2), (3, 3, 2, 3), (2, 3, 4, 6, 3)))

    def gradients(function):
        def one(x, kernel, weights):
            return jnp.sum(weights * jnp.sin(function(x, kernel)))

        def nested(x, kernel, weights):
            return jnp.sum(jax.vmap(jax.vmap(one, (0, None, 0)), (0, None, 0))(x, kernel, weights))

        if over == "one image":
            return jax.jit(jax.value_and_grad(one, (0, 1)))(x[0, 0], kernel, weights[0, 0])
        if over == "two batches":
            return jax.jit(jax.value_and_grad(nested, (0, 1)))(x, kernel, weights)
        return jax.jit(jax.vmap(jax.value_and_grad(one, (0, 1)), (0, None, 0)))(x[0], kernel, weights[0])

    with jax.enable_x64(True):
        for found, wanted in zip(*(jax.tree.leaves(gradients(f)) for f in (conv_same, plain_same))):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


def test_a_batch_makes_one_product_for_the_kernel_and_none_for_each_example():
    # A gradient for each example, added up afterwards, is what made this three times slower than it is.
    def loss(kernel, x):
        return jnp.sum(jax.vmap(lambda x: conv_same(x, kernel))(x))

    text = jax.jit(jax.grad(loss)).trace(jnp.ones((3, 3, 2, 4)), jnp.ones((5, 6, 6, 2)))
    lowered = text.lower(lowering_platforms=("cpu",)).as_text()
    assert "stablehlo.dot_general" in lowered and "batching_dims" not in lowered
    assert "tensor<5x3x3x2x4xf32>" not in lowered


# ---------------------------------------------------------------- the model


def test_shapes_and_types():
    for event in [(8, 8, 1), (28, 28, 1), (32, 32, 3), (12, 20, 2), (4, 4, 1)]:
        shapes_of(models.resnet(event, (2, *event), 5), event, (2, *event), 5)


def test_its_numbers_do_not_depend_on_the_platform_or_on_batched_kernels():
    """The formulation for one run on a CPU against matrix products everywhere: values and gradients."""
    ours, batched = make(widths=(4,)), make(widths=(4,), batched_kernels=True)
    programs = [jax.jit(vae.init).lower(jax.random.key(0)).as_text() for vae in (ours, batched)]
    assert programs[0] == programs[1]  # the same initialisers
    # Nothing is at zero, so every block does something.
    params, x = (
        drawn(jax.eval_shape(ours.init, jax.random.key(0))),
        np.random.default_rng(1).uniform(size=(2, *EVENT)).astype(np.float32),
    )

    def values(vae):
        def error(params):
            theta = jax.vmap(lambda x: vae.decode(params, vae.encode(params, x).mean))(x)
            return jnp.mean(jnp.square(theta - x)), theta

        return jax.value_and_grad(error, has_aux=True)

    # As in a sweep: the kernels of two runs side by side, of which the second is this one.
    runs = jax.tree.map(lambda leaf: jnp.stack([2 * leaf, leaf]), params)
    swept = jax.tree.map(lambda leaf: leaf[1], jax.jit(jax.vmap(values(batched)))(runs))
    for a, b in zip(*map(jax.tree.leaves, (jax.jit(values(ours))(params), swept)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(np.max(np.abs(b))))


@pytest.mark.parametrize(("platform", "batched_kernels"), [("cuda", False), ("tpu", False), ("cuda", True)])
def test_accelerators_get_plain_convolutions_and_sweeps_matrix_products(platform, batched_kernels):
    vae = make(batched_kernels=batched_kernels)
    params = jax.eval_shape(vae.init, jax.random.key(0))

    def error(params, x):
        return jnp.sum(jnp.square(vae.decode(params, vae.encode(params, x).mean)))

    batch = jax.ShapeDtypeStruct((2, *EVENT), jnp.float32)
    program = jax.jit(jax.grad(lambda params, x: jnp.sum(jax.vmap(error, (None, 0))(params, x))))
    text = program.trace(params, batch).lower(lowering_platforms=(platform,)).as_text()
    convolutions = len(re.findall(r"stablehlo\.convolution", text))
    same, resampled = 2 * 2 * BLOCKS * len(WIDTHS), 2 * len(WIDTHS)
    # Each convolution, its gradient of the kernel, and that of the image but for the image itself.
    assert convolutions == (0 if batched_kernels else 3 * (same + resampled) - 1)
    assert "feature_group_count = 1" in text or batched_kernels


def test_a_block_begins_as_the_identity_and_no_example_sees_another():
    vae = make(widths=NARROW)
    params = jax.jit(vae.init)(jax.random.key(0))
    zero = [path for path, leaf in jax.tree.leaves_with_path(params) if path[-1].key == "kernel" and not np.any(leaf)]
    assert len(zero) == 2 * BLOCKS * len(NARROW) and all("Same_1" in jax.tree_util.keystr(path) for path in zero)
    encode = jax.jit(jax.vmap(vae.encode, (None, 0)))
    q = encode(params, np.full((3, *EVENT), 0.5, np.float32))
    assert not np.any(q.mean) and not np.any(q.logvar)  # the input is centred
    x = np.random.default_rng(0).uniform(size=(3, *EVENT)).astype(np.float32)
    busy = drawn(params)
    alone, among = encode(busy, x), encode(busy, np.concatenate([x[:1], 100 * x[1:]]))
    np.testing.assert_allclose(alone.mean[0], among.mean[0], rtol=1e-5, atol=1e-6)
    assert np.max(np.abs(alone.mean[1] - among.mean[1])) > 1e-3


def gradient_of(vae):
    """``(params, x [b, *event]) -> gradient`` of a squared error, a program."""

    def error(params, x):
        return jnp.sum(jnp.square(vae.decode(params, vae.encode(params, x).mean) - x))

    return jax.jit(jax.grad(lambda params, x: jnp.mean(jax.vmap(error, (None, 0))(params, x))))


def test_stages_that_are_made_again_change_neither_parameters_nor_gradients():
    # With gates, whose log beta is handed to every stage.
    plain, again = (make((4, 4, 1), (2, 2), beta_range=(0.5, 20.0), remat=remat) for remat in (False, True))
    key = jax.random.key(0)
    first, second = jax.jit(lambda key: (plain.init(key), again.init(key)))(key)
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    x, params = np.random.default_rng(1).uniform(size=(2, 4, 4, 1)).astype(np.float32), drawn(first)
    found, wanted = (gradient_of(vae)(params, x) for vae in (again, plain))
    for a, b in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(np.max(np.abs(b))) + 1e-12)


def test_stages_that_are_made_again_save_memory_and_what_is_held_is_no_less_than_is_counted():
    event, widths, batch, planned = (32, 32, 3), (8, 8), 16, {}
    likelihood = gaussian("learned", sigma=0.3)
    optimizer = adam(learning_rates("constant", 1e-3, 60), likelihood)
    weight = from_schedule(lambda step: jnp.float32(1.0))
    for remat in (False, True):
        # As a run compiles it: XLA's CPU backend undoes all of it if it is let.
        spread = parallel("jit", batch, jax.devices()[:1], remat=remat)
        recipe = Recipe(make(event, widths, remat=remat), likelihood, optimizer, weight)
        chunk = spread.compile(make_chunk(make_train_step(recipe), batch, batch, spread.split))
        state = jax.eval_shape(lambda key, recipe=recipe: init_state(recipe, event, key), jax.random.key(0))
        program = chunk.lower(state, jax.ShapeDtypeStruct((batch, *event), jnp.float32), 1).compile()
        planned[remat] = program.memory_analysis().temp_size_in_bytes
        assert planned[remat] >= 4 * batch * kept_numbers(event, widths, remat)
        # And as a sweep does.
        mesh = run_mesh(1, batch, jax.devices()[:1], remat=remat)
        chunk = make_chunk(make_train_step(recipe), batch, batch, mesh.split)
        state = jax.eval_shape(
            lambda keys, recipe=recipe: init_sweep(lambda _, key: init_state(recipe, event, key), {}, keys),
            jax.random.key(0)[None],
        )
        sweep = mesh.compile(make_sweep_chunk(lambda _, chunk=chunk: chunk))
        program = sweep.lower(state, jax.ShapeDtypeStruct((batch, *event), jnp.float32), 1).compile()
        planned["sweep", remat] = program.memory_analysis().temp_size_in_bytes
    assert planned[True] < 0.8 * planned[False], planned
    assert planned["sweep", True] < 0.8 * planned["sweep", False], planned


def test_what_is_held_is_what_one_counts_by_hand():
    # Maps of 8x16x16, 8x8x8 and 8x4x4; 4 of each in encoder and decoder, or one and 4 of the largest.
    event, widths = (32, 32, 3), (8, 8, 8)
    assert kept_numbers(event, widths, False) == 2 * 4 * 8 * (256 + 64 + 16)
    assert kept_numbers(event, widths, True, samples=3) == 8 * (4 * (256 + 64 + 16) + 3 * 4 * 256)


def test_latents_on_a_map_are_local_and_fill_it():
    event = (32, 8, 3)
    vae = models.resnet(event, event, 16 * 4 * 2, NARROW, latent_map=True)
    params = drawn(jax.eval_shape(vae.init, jax.random.key(0)))
    assert params["encoder"]["mean"]["kernel"].shape == params["encoder"]["logvar"]["kernel"].shape == (4, 2)
    assert params["decoder"]["Dense_0"]["kernel"].shape == (2, 4)
    x = np.random.default_rng(1).uniform(size=event).astype(np.float32)
    encode, decode = jax.jit(vae.encode), jax.jit(vae.decode)
    mean, changed = encode(params, x).mean, encode(params, np.concatenate([x[:-1], 1.0 - x[-1:]])).mean
    moved = np.abs(np.asarray(changed - mean)).reshape(16, 4, 2).max(axis=(1, 2))
    assert moved[-1] > 1e-3 and not moved[:8].any()
    far = np.asarray(mean).copy()
    far[-8:] += 1.0  # the last row of the map
    moved = np.abs(np.asarray(decode(params, far) - decode(params, mean))).max(axis=(1, 2))
    assert moved[-1] > 1e-3 and not moved[:16].any()
    with pytest.raises(UserError, match=r"--latent_map .* 16x4, which --latent_dim=100 .* multiple of 64"):
        models.resnet(event, event, 100, NARROW, latent_map=True)


def test_the_gates_begin_open_and_it_learns_digits_while_every_parameter_moves():
    data, likelihood, beta_range = digits().train, gaussian("learned", sigma=0.3), (0.5, 20.0)
    event = data.shape[1:]
    plain, gated = (models.resnet(event, event, 4, NARROW, *gates) for gates in ((), (beta_range,)))
    optimizer = adam(learning_rates("constant", 3e-3, 60, warmup_steps=1), likelihood)
    weight = from_schedule(lambda step: jnp.float32(1.0))
    view = lambda key, raw: raw / jnp.float32(16.0)  # noqa: E731
    recipe = Recipe(gated, likelihood, optimizer, weight, preprocess=view, beta_range=beta_range)
    step, begin = make_train_step(recipe), init_state(recipe, event, jax.random.key(0))
    names = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(begin.params["model"])}
    old = jax.jit(lambda key: plain.init(purpose_key(key, INIT)))(jax.random.key(0))
    for path, leaf in jax.tree.leaves_with_path(old):
        np.testing.assert_array_equal(leaf, names[jax.tree_util.keystr(path)])
    assert sum("HiddenGate" in name for name in names) == 2 * (2 * 2 * BLOCKS * len(NARROW) + 2)  # slope and offset
    batches = np.asarray(data[: 60 * 16]).reshape(60, 16, *event)
    end, metrics = jax.jit(lambda state, raw: jax.lax.scan(step, state, raw))(begin, batches)
    loss = np.asarray(metrics["loss"])
    assert np.all(np.isfinite(loss)) and loss[-10:].mean() < loss[:5].mean() - 5.0
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), begin.params["model"], end.params["model"])
    assert moved.pop("eta") is False and all(jax.tree.leaves(moved))


def test_the_flag_names_it_with_widths_of_its_own():
    assert MODELS["resnet"] is models.resnet and parse_widths(HIDDEN["resnet"](64)) == (32, 64)
