"""The models: the strided operations first, then the shapes, gradients and errors of what is built from them."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.parameters import drawn, shapes_of
from jax.sharding import NamedSharding, PartitionSpec

from vae_jax import models
from vae_jax.likelihoods import bernoulli
from vae_jax.models.convolutional import num_levels, pixels_to_theta
from vae_jax.models.resampling import conv_down, conv_up, matrix_down, matrix_up, plain_down, plain_up
from vae_jax.objective import elbo, rate, terms

# h, w, c, o: colour, exactly at the switch of the formulation, and beyond it.
SIZES = [(12, 20, 3, 32), (4, 4, 1, 4), (10, 6, 5, 2)]


def _arrays(h, w, c, o, dtype=np.float32):
    """An image, an output and a kernel of standard normals."""
    rng = np.random.default_rng(0)
    shapes = ((h, w, c), (h // 2, w // 2, o), (4, 4, c, o))
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@partial(jax.jit, static_argnums=0)
def _value_and_gradients(function, argument, kernel, cotangent):
    value, pullback = jax.vjp(function, argument, kernel)
    return value, pullback(cotangent)


def _assert_close(a, b, terms_summed):
    """Equal up to the rounding of a sum of ``terms_summed`` products of standard normals, taken in another order."""
    eps = np.finfo(a.dtype).eps
    assert a.shape == b.shape and a.dtype == b.dtype
    # Partial sums are of the size of sqrt(n), and n roundings of them add up at random: eps n; 8 covers the maximum.
    np.testing.assert_allclose(a, b, rtol=0.0, atol=8 * eps * terms_summed)


# ---------------------------------------------------------------- the strided operations


@pytest.mark.parametrize("size", SIZES)
def test_conv_down_is_the_sum_its_definition_says(size):
    """out[i, j] = sum over a, b of padded[2i + a, 2j + b] kernel[a, b], in numpy and float64."""
    x, _, kernel = (np.asarray(a, np.float64) for a in _arrays(*size))
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    h, w = x.shape[0] // 2, x.shape[1] // 2
    expected = sum(padded[a : a + 2 * h : 2, b : b + 2 * w : 2] @ kernel[a, b] for a in range(4) for b in range(4))
    np.testing.assert_allclose(
        jax.jit(conv_down)(*_arrays(*size)[::2]), expected, rtol=0, atol=1e-6 * kernel[..., 0].size
    )


@pytest.mark.parametrize("size", SIZES)
def test_both_formulations_agree_in_value_and_gradients(size):
    h, w, c, o = size
    x, y, kernel = _arrays(*size)
    for matrix, plain, argument, cotangent, summed in (
        (matrix_down, plain_down, x, y, 16 * c),
        (matrix_up, plain_up, y, x, 4 * o),
    ):
        value, gradients = _value_and_gradients(matrix, argument, kernel, cotangent)
        expected, plain_gradients = _value_and_gradients(plain, argument, kernel, cotangent)
        _assert_close(value, expected, summed)
        for gradient, other in zip(gradients, plain_gradients):
            _assert_close(gradient, other, max(16 * c, 4 * o, h * w // 4))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("down, up", [(conv_down, conv_up), (plain_down, plain_up)])
def test_conv_up_is_the_transpose_of_conv_down(size, down, up, x64):
    x, y, kernel = _arrays(*size, dtype=np.float64)

    @jax.jit
    def sides(x, y, kernel):
        image, size_of_terms = up(y, kernel), jnp.sum(down(jnp.abs(x), jnp.abs(kernel)) * jnp.abs(y))
        transposed = jax.linear_transpose(lambda x: down(x, kernel), x)(y)[0]
        return jnp.sum(down(x, kernel) * y), jnp.sum(x * image), size_of_terms, image, transposed

    left, right, size_of_terms, image, transposed = sides(x, y, kernel)
    assert left == pytest.approx(float(right), abs=1e-15 * float(size_of_terms))
    np.testing.assert_allclose(image, transposed, rtol=0, atol=1e-13)


def test_the_choice_of_platform_survives_every_transformation():
    """jit, vmap over examples, over samples and over kernels, grad, scan, and a batch sharded over two devices."""
    x, _, kernel = _arrays(8, 12, 3, 16)
    batch = np.stack([x * (i + 1) / 8 for i in range(8)])

    def loss(down, up, kernel, batch):
        def one(x):
            y = jnp.tanh(down(x, kernel))
            return jnp.sum(jnp.square(jax.vmap(up, (0, None))(jnp.stack([y, 2 * y]), kernel)))

        return jnp.mean(jax.vmap(one)(batch))

    def step(kernel, batch):
        return jax.grad(lambda k: loss(conv_down, conv_up, k, batch))(kernel)

    expected = jax.jit(jax.grad(lambda k: loss(plain_down, plain_up, k, batch)))(kernel)

    def assert_expected(gradient):  # relative to the largest entry: float32 sums of some thousand terms
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * float(jnp.max(jnp.abs(expected))))

    assert_expected(jax.jit(step)(kernel, batch))
    runs = jax.jit(jax.vmap(step, (0, None)))(np.stack([kernel, kernel]), batch)
    assert_expected(runs[0])
    assert_expected(runs[1])
    total = jax.jit(lambda k, b: jax.lax.scan(lambda g, _: (g + step(k, b), None), 0 * k, None, length=2)[0])
    assert_expected(total(kernel, batch) / 2)

    devices = jax.devices()[:2]
    mesh = jax.sharding.Mesh(np.array(devices), ("b",))
    sharded = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("b")))
    assert_expected(jax.jit(step)(jax.device_put(kernel, NamedSharding(mesh, PartitionSpec())), sharded))
    per_device = jax.pmap(lambda b: jax.lax.pmean(step(kernel, b), "b"), axis_name="b", devices=devices)
    assert_expected(per_device(batch.reshape(2, 4, *x.shape))[0])


def test_only_the_cpu_is_spared_the_convolutions():
    """Value and gradients, as lowered for each platform."""
    x, _, kernel = _arrays(8, 8, 3, 16)
    gradient = jax.grad(lambda k, x: jnp.sum(jnp.square(conv_up(conv_down(x, k), k))), argnums=(0, 1))
    batched = jax.jit(jax.vmap(gradient, (None, 0))).trace(kernel, x[None])
    for platform, convolutions in (("cpu", False), ("cuda", True), ("tpu", True)):
        text = batched.lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.convolution" in text) == convolutions
        assert ("stablehlo.dot_general" in text) != convolutions


def test_forward_mode_agrees_with_reverse_mode():
    x, y, kernel = _arrays(8, 8, 3, 16)
    tangent = np.cos(kernel)

    def function(k):
        return jnp.sum(conv_down(x, k) * y)

    forward = jax.jit(lambda k: jax.jvp(function, (k,), (tangent,))[1])(kernel)
    reverse = jnp.sum(jax.jit(jax.grad(function))(kernel) * tangent)
    # The terms of the second sum have absolute values of order 10 and there are kernel.size of them.
    assert forward == pytest.approx(float(reverse), abs=1e-6 * 10 * kernel.size)


def test_conv_up_into_many_channels_has_the_values_and_derivatives_of_the_plain_one(x64):
    rng = np.random.default_rng(0)
    y, kernel, weights = (rng.standard_normal(s) for s in ((3, 4, 6, 5), (4, 4, 3, 5), (3, 8, 12, 3)))

    def known(up):
        def over(y, kernel):
            return jax.vmap(up, (0, None))(y, kernel)

        def loss(y, kernel):
            return jnp.sum(weights * jnp.sin(over(y, kernel)))

        tangents = (np.cos(y), np.cos(kernel))
        return jax.jit(jax.value_and_grad(loss, (0, 1)))(y, kernel), jax.jvp(over, (y, kernel), tangents)

    for found, wanted in zip(*(jax.tree.leaves(known(up)) for up in (conv_up, plain_up))):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10)


# ---------------------------------------------------------------- the convolutional model


def test_number_of_levels():
    sides = {2: [(4, 4), (8, 8), (28, 28), (12, 20), (16, 16)], 3: [(32, 32), (48, 48), (64, 32)]}
    for levels, images in (sides | {4: [(64, 64), (128, 256)]}).items():
        assert [num_levels((*image, 3)) for image in images] == [levels] * len(images)


def test_conv_shapes_and_types():
    for event in [(8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 64, 1), (64, 64, 3), (12, 20, 1), (12, 20, 3)]:
        shapes_of(models.conv(event, event, 5), event, event, 5)


def test_the_architecture_of_burgess_2018():
    """64x64x1: four convolutions of 32 channels, two layers of 256, and back; the count of parameters by hand."""
    vae = models.conv((64, 64, 1), (64, 64, 1), latent_dim=10)
    params = jax.eval_shape(vae.init, jax.random.key(0))
    size = {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in params.items()}
    wide, dense = 16 * 32 * 32 + 32, 512 * 256 + 256 * 256
    assert size["encoder"] == (16 * 32 + 32) + 3 * wide + dense + 2 * 256 + 2 * (256 * 10 + 10)
    assert size["decoder"] == (10 * 256 + 256) + dense + 256 + 512 + 3 * wide + (16 * 32 + 1)


@pytest.mark.parametrize("model", [models.mlp, models.conv])
def test_every_parameter_learns_and_the_first_rate_is_small(model):
    event, likelihood = (12, 20, 3), bernoulli()
    vae = model(event, event, 4, (32,))
    params = {"model": jax.jit(vae.init)(jax.random.key(0)), "likelihood": {}}
    x = (np.random.default_rng(0).uniform(size=(6, *event)) < 0.3).astype(np.float32)
    keys = jax.random.split(jax.random.key(2), 6)

    def loss(params):
        t = jax.vmap(lambda x, key: terms(vae, likelihood, params, x, key))(x, keys)
        return -elbo(t), rate(t)

    (value, kl), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert np.isfinite(value) and np.all(np.isfinite(kl)) and np.all(kl >= 0) and np.max(kl) < 10
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.all(np.isfinite(leaf)) and np.any(leaf != 0), jax.tree_util.keystr(path)


@pytest.mark.parametrize("model", [models.mlp, models.conv])
def test_vmap_equals_a_loop(model):
    event = (8, 12, 3)
    vae = model(event, event, 4, (16,))
    params = drawn(jax.eval_shape(vae.init, jax.random.key(0)))
    x = np.random.default_rng(0).uniform(size=(3, *event)).astype(np.float32)

    def both(x):
        q = vae.encode(params, x)
        return q, vae.decode(params, q.mean)

    batched, one = jax.jit(jax.vmap(both))(x), jax.jit(both)
    for i in range(3):
        # The same sums in float32, of at most some hundred terms of order one.
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=0, atol=1e-5), batched, one(x[i]))


def test_axes_before_and_after_the_event():
    """Channel (b, c, a) of pixel (i, j) goes to theta[b, i, j, c, a]."""
    h = np.arange(4 * 8 * 2 * 3 * 5).reshape(4, 8, 30)
    theta = pixels_to_theta(jnp.asarray(h), (4, 8, 3), (2, 4, 8, 3, 5))
    for b, i, j, c, a in [(0, 0, 0, 0, 0), (1, 2, 5, 1, 4), (1, 3, 7, 2, 3), (0, 1, 6, 2, 0)]:
        assert theta[b, i, j, c, a] == h[i, j].reshape(2, 3, 5)[b, c, a]
    with pytest.raises(ValueError, match="does not hold the event"):
        pixels_to_theta(jnp.asarray(h), (4, 8, 3), (4, 8, 30))


@pytest.mark.parametrize("around", [((2,), ()), ((), (5,))])
def test_theta_keeps_its_pixels(around):
    """A change of the features at one place of the decoder's grid reaches only theta around that place."""
    event = (16, 24, 3)
    shape = (*around[0], *event, *around[1])
    vae = models.conv(event, shape, latent_dim=2, hidden=())
    params = drawn(jax.eval_shape(vae.init, jax.random.key(0)))
    z = jnp.zeros(2)
    grid = params["decoder"]["Dense_0"]  # onto the [4, 6, 32] grid
    place = np.zeros((4, 6, 32), np.float32)
    place[1, 4] = 1.0
    moved = {**params["decoder"], "Dense_0": {**grid, "bias": grid["bias"] + place.reshape(-1)}}
    decode = jax.jit(vae.decode)
    change = np.asarray(decode({**params, "decoder": moved}, z) - decode(params, z))
    assert change.shape == shape
    other = tuple(i for i in range(len(shape)) if i not in (len(around[0]), len(around[0]) + 1))
    touched = np.any(change != 0, axis=other)
    # Of one place, the first conv_up reaches pixels 2i - 1 .. 2i + 2, the second 4i - 3 .. 4i + 6.
    expected = np.zeros((16, 24), bool)
    expected[1:11, 13:23] = True
    np.testing.assert_array_equal(touched, expected)
    per_output = np.any(change != 0, axis=(len(around[0]), len(around[0]) + 1))
    assert np.all(per_output)


# ---------------------------------------------------------------- the fully connected model


@pytest.mark.parametrize("event", [(), (7,), (5, 3), (6, 5, 1), (2, 3, 4, 5)])
@pytest.mark.parametrize("lead", [(), (2,)])
def test_mlp_takes_events_of_any_rank(event, lead):
    params = shapes_of(models.mlp(event, (*lead, *event), 3, (8, 4)), event, (*lead, *event), 3)
    assert params["encoder"]["Dense_0"]["kernel"].shape[1] == params["decoder"]["Dense_1"]["kernel"].shape[1] == 8


@pytest.mark.parametrize("model", [models.mlp, models.conv])
def test_the_input_is_centred(model):
    """An image of 0.5 meets the first layer as zeros: with zero biases the encoder returns exactly zeros."""
    vae = model((8, 8, 1), (8, 8, 1), 3, (16,))
    q = jax.jit(vae.encode)(jax.jit(vae.init)(jax.random.key(0)), jnp.full((8, 8, 1), 0.5))
    assert not np.any(q.mean) and not np.any(q.logvar)
