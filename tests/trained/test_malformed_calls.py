"""Calls that cannot be meant: each is one line that says what was expected."""

import jax
import numpy as np
import pytest
from helpers.malformed import refusal
from helpers.trained_models import IMAGES, TABLE, TEXT, some, untrained

KEY = jax.random.key(0)
X, ROWS, SENTENCES = some(IMAGES), some(TABLE), some(TEXT)


@pytest.fixture(scope="module")
def image():
    return untrained()


@pytest.fixture(scope="module")
def table():
    return untrained(TABLE, likelihood="columns", columns="gaussian:1,bernoulli:1,categorical(4):1")


@pytest.fixture(scope="module")
def text():
    return untrained(TEXT)


def calls(*cases):
    return pytest.mark.parametrize(("call", "match"), cases)


@calls(
    (lambda m: m.encode(np.moveaxis(X, -1, 1)), "channels come last"),
    (lambda m: m.encode(X[0]), "x[None]"),
    (lambda m: m.encode(X.reshape(5, -1)), "reshape(-1, 4, 6, 1)"),
    (lambda m: m.encode(X.swapaxes(1, 2)), "expected [n, 4, 6, 1]"),
    (lambda m: m.encode(np.zeros((2, 28, 28), np.uint8)), "expected [n, 4, 6, 1]"),
    (lambda m: m.encode(X / 255), "multiplied by 255"),
    (lambda m: m.encode(X / 127.5 - 1), "multiplied by 255"),
    (lambda m: m.encode(X.astype(np.int64) * 2), "0 to 255"),
    (lambda m: m.encode(X.astype(float) * 10), "0 to 255"),
    (lambda m: m.encode(X > 9), "booleans"),
    (lambda m: m.encode(X.astype(complex)), "numbers"),
    (lambda m: m.encode(X.astype(object)), "numbers"),
    (lambda m: m.encode([[1, 2], [3]]), "no array"),
    (lambda m: m.encode(np.full((1, 4, 6, 1), np.nan)), "NaN"),
    (lambda m: m.encode("images.npz"), "numbers"),
    (lambda m: m.encode(None), "numbers"),
    (lambda m: m.encode(X, sample=True), "key"),
    (lambda m: m.encode(X, sample=True, key=0), "key is int"),
    (lambda m: m.encode(X, key=jax.random.split(KEY)), "key"),
    (lambda m: m.decode(np.zeros(3)), "z[None]"),
    (lambda m: m.decode(np.zeros((2, 4))), "[n, 3]"),
    (lambda m: m.decode([["a", "b", "c"]]), "numbers"),
    (lambda m: m.decode(np.full((1, 3), np.inf)), "infinite"),
    (lambda m: m.sample(2.5, KEY), "whole number"),
    (lambda m: m.sample(-1, KEY), "whole number"),
    (lambda m: m.sample(2, None), "key"),
    (lambda m: m.sample(2, np.zeros(2, np.uint32)), "key"),
    (lambda m: m.sample(2, KEY, temperature=-1), "temperature"),
    (lambda m: m.sample(2, KEY, temperature="hot"), "temperature"),
    (lambda m: m.interpolate(X[:2], X[:3]), "2 examples in a and 3 in b"),
    (lambda m: m.interpolate(X[0], X[1], steps=1), "steps"),
    (lambda m: m.interpolate(X[0], X[1], kind="cubic"), "linear, spherical"),
    (lambda m: m.interpolate(X[0, :3], X[1]), "a has shape"),
    (lambda m: m.traverse(X, 3, [0.0]), "from 0 to 2"),
    (lambda m: m.traverse(X, True, [0.0]), "from 0 to 2"),
    (lambda m: m.traverse(X, 0, 1.0), "values"),
    (lambda m: m.traverse(X, 0, [np.nan]), "values"),
    (lambda m: m.log_prob(X, 0), "num_samples"),
    (lambda m: m.log_prob(X, 1.5), "num_samples"),
    (lambda m: m.at(2.0), "beta_range"),
)
def test_images(image, call, match):
    assert match in (refusal(lambda: call(image)) or "")


@calls(
    (lambda m: m.encode(ROWS * [1, 1, 2]), "column c"),
    (lambda m: m.encode(ROWS + np.array([0, 0.5, 9])), "column"),
    (lambda m: m.encode(ROWS * [300, 1, 1]), "other units"),
    (lambda m: m.encode(ROWS[:, :2]), "[n, 3]"),
    (lambda m: m.encode({"a": ROWS[:, 0], "b": ROWS[:, 1]}), "no column c"),
    (lambda m: m.encode({"a": ROWS[:, 0], "b": ROWS[:, 1], "c": ROWS[:2, 2]}), "one length"),
    (lambda m: m.encode({"a": 1.0, "b": 2.0, "c": 3.0}), "arrays [n]"),
    (lambda m: m.encode({}), "no column a"),
)
def test_tables(table, call, match):
    assert match in (refusal(lambda: call(table)) or "")


@calls(
    (lambda m: m.encode("a dog runs"), "list of sentences"),
    (lambda m: m.encode(["a dog", ""]), "0 words"),
    (lambda m: m.encode(["a a a a a a"]), "6 words"),
    (lambda m: m.encode([["a", "dog"]]), "list of sentences"),
    (lambda m: m.encode(7), "list of sentences"),
    (lambda m: m.encode(np.full((1, 5), 99)), "below 8"),
    (lambda m: m.interpolate("a", ["a"] * 2), "1 examples in a"),
)
def test_texts(text, call, match):
    assert match in (refusal(lambda: call(text)) or "")


@pytest.mark.parametrize("beta", [0.01, 11, "1", None])
def test_a_beta_that_was_not_trained(beta):
    assert "from 0.1 to 10" in refusal(lambda: untrained(beta_range="0.1:10").at(beta))


def test_anomalies_are_scored_whatever_their_size(table):
    scores = table.anomaly_score(ROWS * np.array([1e6, 1, 1]) + np.array([1e6, 0, 0]))
    assert np.all(scores > table.anomaly_score(ROWS))


def test_what_a_model_gives_it_takes(image):
    assert image.encode(image.decode(np.zeros((2, 3))))[0].shape == (2, 3)
    white = np.full((2, 4, 6), 255)
    assert image.encode(white)[0].shape == (2, 3) and image.encode(0 * white.astype(float))[0].shape == (2, 3)
