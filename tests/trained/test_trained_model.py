"""Each method of a trained model against the same done by hand with the core."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.trained_models import IMAGES, TABLE, TEXT, some, untrained

from vae_jax import objective
from vae_jax.data.pixels import preprocess
from vae_jax.data.text import word_dropout
from vae_jax.data.text.vocabulary import encode
from vae_jax.randomness import LATENT, PIXELS, PRIOR, TEST, example_keys, purpose_key

COLUMNS = {"likelihood": "columns", "columns": "gaussian:1,bernoulli:1,categorical(4):1"}
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def images():
    return untrained(pixels="dequantised", likelihood="continuous_bernoulli")


@pytest.fixture(scope="module")
def text():
    return untrained(TEXT)


@pytest.fixture(scope="module")
def table():
    return untrained(TABLE, **COLUMNS)


def by_hand(model, x, key=None, view=None):
    """x as the core takes it, q of each, and the keys of the draws."""
    key = purpose_key(jax.random.key(model.config.seed), TEST) if key is None else key
    rows = jnp.arange(len(x))
    view = view or preprocess(model.config.pixels, model.data.levels)
    seen = jax.vmap(view)(example_keys(purpose_key(key, PIXELS), rows), x)
    q = jax.vmap(model.vae.encode, (None, 0))(model.params["model"], seen)
    return seen, q, example_keys(purpose_key(key, LATENT), rows)


def decoded(model, z):
    """E[x|z] by hand, in grey levels of dequantised pixels."""
    theta = jax.vmap(model.vae.decode, (None, 0))(model.params["model"], z)
    x = jax.vmap(model.likelihood.mean, (None, 0))(model.params["likelihood"], theta)
    return x * 256 - 0.5 if model.data.levels else x


def near(a, b, size=1.0):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-6, atol=1e-6 * size)


def test_codes_are_those_of_the_core(images):
    x = some(IMAGES)
    _, q, keys = by_hand(images, x)
    mean, std = images.encode(x)
    near(mean, q.mean)
    near(std, jnp.exp(q.logvar / 2))
    near(images.encode(x[..., 0])[0], mean)
    _, q, keys = by_hand(images, x, KEY)
    near(images.encode(x, sample=True, key=KEY), jax.vmap(lambda q, k: q.sample(k, 1)[0])(q, keys))


def test_what_is_decoded_is_in_grey_levels(images):
    x, z = some(IMAGES), np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    near(images.decode(z), decoded(images, z), 256)
    near(images.reconstruct(x), decoded(images, images.encode(x)[0]), 256)
    moved = np.repeat(images.encode(x)[0][:, None], 2, axis=1)
    moved[..., 1] = [-2.0, 2.0]
    near(images.traverse(x, 1, [-2, 2]).reshape(-1, *IMAGES.event), decoded(images, moved.reshape(-1, 3)), 256)
    near(images.traverse(x[0], 1, [-2, 2]), images.traverse(x, 1, [-2, 2])[0], 256)


def test_samples_are_draws_of_the_prior(images):
    z = jax.vmap(lambda key: jax.random.normal(key, (3,)))(example_keys(purpose_key(KEY, PRIOR), jnp.arange(4)))
    near(images.sample(4, KEY, temperature=0.5), decoded(images, 0.5 * z), 256)
    theta = jax.vmap(images.vae.decode, (None, 0))(images.params["model"], z)
    keys = example_keys(purpose_key(KEY, LATENT), jnp.arange(4))
    near(
        images.sample(4, KEY, noise=True),
        jax.vmap(images.likelihood.sample, (None, 0, 0))({}, theta, keys) * 256 - 0.5,
        256,
    )


def test_bounds_are_those_of_the_core(images):
    x = some(IMAGES)
    seen, q, keys = by_hand(images, x)
    draw = jax.vmap(lambda x, key: objective.terms(images.vae, images.likelihood, images.params, x, key))
    terms = draw(seen, jax.vmap(jax.random.fold_in, (0, None))(keys, 0))
    bound = -(objective.rate(terms) + objective.distortion(terms))
    near(images.elbo(x), bound)
    near(images.anomaly_score(x), -bound)
    near(images.rate(x), q.kl())
    many = jax.vmap(lambda x, key: objective.terms(images.vae, images.likelihood, images.params, x, key, 16))
    log_w = (lambda t: t.log_px_z + t.log_pz - t.log_qz)(many(seen, jax.vmap(jax.random.fold_in, (0, None))(keys, 1)))
    near(images.log_prob(x, 16), jax.nn.logsumexp(log_w, axis=1) - np.log(16), 10)


def test_ways_between_codes(images):
    x = some(IMAGES, 4)
    a, b = (images.encode(x[i : i + 2])[0].astype(np.float64) for i in (0, 2))
    line = images.interpolate(x[:2], x[2:], 3)
    near(line[:, 1], decoded(images, ((a + b) / 2).astype(np.float32)), 256)
    arc = images.interpolate(x[:2], x[2:], 3, kind="spherical")
    angle = np.arccos((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))[:, None]
    near(arc[:, 1], decoded(images, np.float32((a + b) * np.sin(angle / 2) / np.sin(angle))), 256)
    for way in (line, arc):
        near(way[:, [0, -1]], images.decode(np.stack([a, b], 1).reshape(4, 3)).reshape(2, 2, *IMAGES.event), 256)
    near(images.interpolate(x[0], x[2], 3), line[0], 256)
    near(images.interpolate(x[0], x[0], 3, "spherical")[1], images.reconstruct(x[:1])[0], 256)


def test_batches_and_parts_decide_nothing(images):
    x = some(IMAGES, 40)
    small = untrained(pixels="dequantised", likelihood="continuous_bernoulli")
    object.__setattr__(small, "batch_size", 17)
    near(small.encode(x)[0], images.encode(x)[0])
    near(images.encode(x[30:], first=30)[0], images.encode(x)[0][30:])
    assert images.encode(x[:0])[0].shape == (0, 3) and images.decode(np.zeros((0, 3))).shape == (0, *IMAGES.event)
    assert images.sample(0, KEY).shape == (0, *IMAGES.event)


def test_one_program_for_each_method_and_size():
    model = untrained()
    for n in (1, 5, 16, 17, 300, 400):
        model.encode(some(IMAGES, n))
    assert {name: program._cache_size() for name, program in model.programs.compiled.items()} == {"encode": 2}


def test_sentences_in_and_sentences_out(text):
    x = some(TEXT)
    mean, _ = text.encode(x)
    tokens = encode([sentence.split() for sentence in x], text.data.words, 5)
    near(mean, by_hand(text, tokens, view=word_dropout.prepare())[1].mean)
    assert text.reconstruct(x) == text.decode(mean) and text.interpolate(x[0], x[1], 3)[0] == text.decode(mean[:1])[0]
    ways = text.interpolate(x[:2], x[2:4], 3)
    assert [len(way) for way in ways] == [3, 3] and ways[1][2] == text.decode(mean[3:4])[0]
    assert len(text.traverse(x[:2], 0, [0.0, 1.0])[1]) == 2
    assert len(text.sample(3, KEY)) == 3 and text.sample(3, KEY, noise=True) != text.sample(
        3, jax.random.key(9), noise=True
    )
    assert all(isinstance(sentence, str) for sentence in text.sample(2, KEY))
    assert text.elbo(x).shape == (5,) and text.encode(["zebra a"])[0].shape == (1, 3)


class Frame:
    """What is used of a data frame."""

    def __init__(self, values, columns, index=None):
        self.values, self.columns, self.index = np.asarray(values), list(columns), index

    def __len__(self):
        return len(self.values)

    def __getitem__(self, names):
        return Frame(self.values[:, [self.columns.index(name) for name in names]], names, self.index)

    def to_numpy(self):
        return self.values


def test_a_table_comes_back_as_it_was_handed_in(table):
    x = some(TABLE)
    _, q, _ = by_hand(table, x)
    expected = table.reconstruct(x)
    near(expected, decoded(table, q.mean))
    frame = table.reconstruct(Frame(x[:, [2, 0, 1]], ["c", "a", "b"], index=list("vwxyz")))
    assert frame.columns == ["a", "b", "c"] and frame.index == list("vwxyz")
    near(frame.values, expected)
    columns = table.reconstruct({"b": x[:, 1], "extra": x[:, 0], "a": x[:, 0], "c": x[:, 2]})
    assert list(columns) == ["a", "b", "c"]
    near(columns["c"], expected[:, 2])


def test_a_network_for_all_beta_is_read_at_one():
    model = untrained(beta_range="0.1:10")
    x = some(IMAGES)
    low, high = model.at(0.1), model.at(10)
    assert low.rate(x).sum() > high.rate(x).sum() and low.programs is model.programs
    near(low.at(10).encode(x)[0], high.encode(x)[0])


def test_numbers_that_are_known():
    model = untrained(precision="fixed", sigma=0.25)
    assert model.sigma == pytest.approx(0.25) and model.active is None and model.latent_dim == 3
    assert untrained(likelihood="bernoulli", pixels="binary").sigma is None
    assert "4x6x1" in repr(model)
