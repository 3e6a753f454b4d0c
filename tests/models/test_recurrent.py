"""Sentences: the likelihood of tokens, word dropout, recurrent models, and both through the common bound and step."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.jaxprs import loops

from vae_jax import likelihoods, models, objective, schedules, weighting
from vae_jax.data.text.word_dropout import prepare
from vae_jax.devices.parallel import parallel
from vae_jax.evaluation import Evaluator, make_scorer, summarise
from vae_jax.evaluation.swapped import make_swapped
from vae_jax.gaussian import DiagGaussian
from vae_jax.likelihoods.tokens import BOS, EOS, PAD, UNKNOWN, end_sentence, most_probable, possible, with_inputs
from vae_jax.models.autoregressive import GATES, generate
from vae_jax.train.optimizers import adam, learning_rates
from vae_jax.train.recipe import Recipe
from vae_jax.train.step import init_state, make_chunk, make_train_step
from vae_jax.types import VAE, UserError

CELLS = sorted(GATES)
KEY = jax.random.key(0)


@functools.cache
def build(cell, length=7, vocabulary=9, latent_dim=3, hidden=16, embedding=5):
    """A model, its likelihood and its parameters, larger than initial ones: the logits should differ."""
    likelihood, event = likelihoods.tokens(vocabulary), (2, length)
    vae = models.recurrent(event, likelihood.theta_shape(event), latent_dim, (hidden,), cell=cell, embedding=embedding)
    # Parameters know nothing of the length.
    if length != 7:
        return vae, likelihood, build(cell, 7, vocabulary)[2]
    return vae, likelihood, jax.tree.map(lambda leaf: 2.0 * leaf, jax.jit(vae.init)(KEY))


def sentences(rng, n, length, vocabulary):
    """Random sentences ``[n, length]`` of 1 to ``length - 1`` words."""
    tokens, ends = rng.integers(UNKNOWN, vocabulary, (n, length)), rng.integers(1, length, (n, 1))
    place = np.arange(length)
    return np.where(place < ends, tokens, np.where(place == ends, EOS, PAD)).astype(np.uint16)


# ---------------------------------------------------------------- the likelihood


def test_zero_logits_cost_log_v_for_each_token():
    """V is what can be a target, without PAD and BOS; the end of the sentence is a token, the padding is none."""
    likelihood = likelihoods.tokens(12)
    x = with_inputs(jnp.array([4, 11, UNKNOWN, EOS, PAD, PAD]))
    assert likelihood.theta_shape(x.shape) == (6, 12)
    assert float(likelihood.log_prob({}, jnp.zeros((6, 12)), x)) == pytest.approx(-4 * math.log(10), rel=1e-6)


def test_padding_counts_nothing_and_gradients_are_finite():
    likelihood, rng = likelihoods.tokens(7), np.random.default_rng(0)
    x = with_inputs(jnp.array([4, 6, EOS, PAD, PAD]))
    theta = jnp.asarray(30.0 * rng.standard_normal((5, 7)), jnp.float32)
    value, gradient = jax.value_and_grad(lambda theta: likelihood.log_prob({}, theta, x))(theta)
    other = theta.at[3:].set(1e4).at[:, :EOS].set(-1e4)  # at padded positions, and the logits of PAD and BOS
    assert likelihood.log_prob({}, other, x) == value
    assert np.all(np.isfinite(gradient)) and not np.any(gradient[3:]) and not np.any(gradient[:, :EOS])
    assert np.all(np.any(gradient[:3] != 0, axis=1))
    longer = jnp.concatenate([x, jnp.array([[PAD] * 3, [PAD] * 3])], axis=1)
    more = jnp.concatenate([theta, 5.0 * jnp.ones((3, 7))])
    assert likelihood.log_prob({}, more, longer) == pytest.approx(float(value), rel=1e-6)
    # The inputs are the decoder's affair.
    assert likelihood.log_prob({}, theta, x.at[1].set(UNKNOWN)) == value


def test_what_no_sentence_contains_has_probability_zero():
    likelihood = likelihoods.tokens(6)
    for impossible in (BOS, 6, -1):
        assert likelihood.log_prob({}, jnp.zeros((2, 6)), with_inputs(jnp.array([impossible, EOS]))) == -jnp.inf
    with pytest.raises(ValueError, match="special ids"):
        likelihoods.tokens(3)


def test_mean_and_samples_are_sentences():
    likelihood = likelihoods.tokens(6)
    wanted = np.array([4, 5, EOS, 4, 4])
    theta = 50.0 * jax.nn.one_hot(wanted, 6) + 1e3 * (jnp.arange(6) < EOS)
    expected = [[4, 5, EOS, PAD, PAD], [BOS, 4, 5, EOS, PAD]]
    assert likelihood.mean({}, theta).dtype == theta.dtype
    np.testing.assert_array_equal(likelihood.mean({}, theta), expected)
    np.testing.assert_array_equal(likelihood.sample({}, theta, KEY), expected)
    assert likelihoods.is_discrete(likelihood.support) and likelihood.variance({}, theta).shape == (2, 5)


def test_probabilities_of_all_sentences_sum_to_one(cell="gru"):
    """All that end within t, and all beginnings of t words that have not ended."""
    length, vocabulary = 4, 6
    vae, likelihood, params = build(cell, length, vocabulary)
    words = range(UNKNOWN, vocabulary)
    ended = [[*w, EOS] + [PAD] * (length - n - 1) for n in range(length) for w in itertools.product(words, repeat=n)]
    cut = list(itertools.product(words, repeat=length))
    assert len(ended) == 1 + 3 + 9 + 27 and len(cut) == 81

    @jax.jit
    def log_probs(tokens, z):
        def one(x):
            return likelihood.log_prob({}, vae.decode_given(params, z, x), x)

        return jax.vmap(one)(jax.vmap(with_inputs)(tokens))

    for z in np.random.default_rng(0).standard_normal((2, 3), np.float32):
        p = np.exp(np.asarray(log_probs(jnp.asarray(ended + cut), z)))
        assert np.sum(p) == pytest.approx(1.0, abs=1e-5)
        assert 0.01 < np.sum(p[len(ended) :]) < 0.99 and np.ptp(np.log(p)) > 1.0  # not by being trivial


# ---------------------------------------------------------------- what the decoder reads


def test_prepare_shifts_and_keeps_the_targets():
    tokens = np.array([4, 7, EOS, PAD, PAD], np.uint16)
    x = prepare()(KEY, tokens)
    assert x.dtype == jnp.int32
    np.testing.assert_array_equal(x, [[4, 7, EOS, PAD, PAD], [BOS, 4, 7, EOS, PAD]])
    everything = prepare(1.0)(KEY, tokens)
    np.testing.assert_array_equal(everything, [[4, 7, EOS, PAD, PAD], [BOS, UNKNOWN, UNKNOWN, EOS, PAD]])
    with pytest.raises(ValueError, match="probability"):
        prepare(1.5)


def test_word_dropout_drops_its_share_of_the_words():
    tokens = jnp.asarray(sentences(np.random.default_rng(0), 2000, 10, 300))
    clean = jax.vmap(prepare())(jax.random.split(KEY, 2000), tokens)
    for share in (0.3, jnp.float32(0.3)):  # an array is what a sweep hands over
        x = jax.jit(jax.vmap(prepare(share)))(jax.random.split(KEY, 2000), tokens)
        np.testing.assert_array_equal(x[:, 0], tokens)
        changed = np.asarray(x[:, 1] != clean[:, 1])
        words = np.asarray(clean[:, 1] > UNKNOWN)
        assert np.all(np.asarray(x[:, 1])[changed] == UNKNOWN) and np.all(words[changed])
        # Binomial: five standard errors.
        assert abs(changed.sum() / words.sum() - 0.3) < 5 * math.sqrt(0.21 / words.sum())


# ---------------------------------------------------------------- the model


def test_more_padding_gives_the_same_posterior_and_bound(cell="lstm"):
    tokens = jnp.asarray(sentences(np.random.default_rng(1), 6, 7, 9))
    vae, likelihood, params = build(cell)
    longer = build(cell, 12, 9)[0]

    def measure(vae, tokens):
        def one(tokens, key):
            t = objective.terms(vae, likelihood, {"model": params, "likelihood": {}}, with_inputs(tokens), key)
            return t.q, t.log_px_z

        return jax.jit(jax.vmap(one))(tokens, jax.random.split(KEY, 6))

    short, padded = measure(vae, tokens), measure(longer, jnp.pad(tokens, ((0, 0), (0, 5))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), short, padded)
    changed = measure(vae, tokens.at[:, 0].set(8))[0].mean
    assert np.all(np.any(np.abs(changed - short[0].mean) > 1e-3, axis=1) == (tokens[:, 0] != 8))


@pytest.mark.parametrize("cell", CELLS)
def test_a_logit_depends_on_z_and_on_the_inputs_up_to_it(cell):
    vae, _, params = build(cell)
    decode, z = jax.jit(vae.decode_given), jnp.array([0.3, -1.0, 0.5])
    x = with_inputs(jnp.array([4, 5, 6, 7, 8, 4, EOS]))
    logits = decode(params, z, x)
    assert logits.shape == (7, 9) and logits.dtype == jnp.float32
    np.testing.assert_array_equal(decode(params, z, x.at[0].set(5)), logits)  # it never sees the targets
    for t in range(7):
        other = decode(params, z, x.at[1, t].set(UNKNOWN))
        np.testing.assert_array_equal(other[:t], logits[:t])
        assert np.all(np.any(other[t:] != logits[t:], axis=1))
    by_z = jax.jit(jax.jacrev(lambda z, params: vae.decode_given(params, z, x)))
    assert np.all(np.max(np.abs(by_z(z, params)), axis=1) > 1e-3)  # [t, d]
    # z arrives at every step, and in the initial state as well.
    for name in ("steps", "start"):
        part = dict(params["decoder"][name])
        part["constant" if name == "steps" else "kernel"] *= 0.0
        cut = {**params, "decoder": {**params["decoder"], name: part}}
        assert np.max(np.abs(by_z(z, cut)[0])) > 1e-3


def test_the_most_probable_word_is_that_of_argmax_ties_and_impossible_words_included():
    logits = np.random.default_rng(5).integers(-3, 3, (200, 9)).astype(np.float32)  # so many ties
    logits[:50, 4:] = -np.inf
    logits[50] = np.nan
    found = np.asarray(most_probable(jnp.asarray(logits)))
    np.testing.assert_array_equal(found[:50], jnp.argmax(possible(jnp.asarray(logits[:50])), axis=-1))
    np.testing.assert_array_equal(found[51:], jnp.argmax(possible(jnp.asarray(logits[51:])), axis=-1))
    assert 0 <= found[50] < 9  # a word, whatever the network has come to


@pytest.mark.parametrize("cell", CELLS)
def test_vmap_equals_a_loop_and_a_step_is_one_product(cell):
    vae, _, params = build(cell)
    x = jax.vmap(prepare())(jax.random.split(KEY, 4), jnp.asarray(sentences(np.random.default_rng(2), 4, 7, 9)))

    def both(x):
        q = vae.encode(params, x)
        return q, vae.decode_given(params, q.mean, x)

    batched, one = jax.jit(jax.vmap(both))(x), jax.jit(both)
    for i in range(4):
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=0, atol=1e-5), batched, one(x[i]))
    scans = list(loops(jax.make_jaxpr(jax.vmap(both))(x).jaxpr))
    assert len(scans) == 2
    for scan in scans:
        products = [eqn for eqn in scan.params["jaxpr"].eqns if eqn.primitive.name == "dot_general"]
        assert [[v.aval.shape for v in eqn.invars] for eqn in products] == [[(4, 16), (16, 16 * GATES[cell])]]


@pytest.mark.parametrize("cell", CELLS)
def test_every_parameter_learns_and_the_first_rate_is_small(cell):
    vae, likelihood, params = build(cell)
    params = {"model": jax.tree.map(lambda leaf: leaf / 2.0, params), "likelihood": {}}
    x = jax.vmap(prepare(0.2))(jax.random.split(KEY, 40), jnp.asarray(sentences(np.random.default_rng(3), 40, 7, 9)))

    def loss(params):
        keys = jax.random.split(KEY, 40)
        t = jax.vmap(lambda x, key: objective.terms(vae, likelihood, params, x, key, 2))(x, keys)
        return -objective.elbo(t), objective.rate(t)

    (value, rate), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert np.isfinite(value) and np.all(rate >= 0) and np.max(rate) < 10
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.all(np.isfinite(leaf)) and np.any(leaf != 0), jax.tree_util.keystr(path)
    assert not np.any(gradient["model"]["decoder"]["embed"]["embedding"][PAD])  # an embedding nobody reads in vain


def test_the_recurrent_weights_are_orthogonal_gate_by_gate():
    params = jax.tree.map(lambda leaf: leaf / 2.0, build("lstm")[2])
    for gate in np.split(np.asarray(params["decoder"]["steps"]["recurrent"]), 4, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(16), atol=1e-5)
    assert np.max(np.abs(params["decoder"]["steps"]["input"])) <= math.sqrt(6 / (5 + 16))


@pytest.mark.parametrize("cell", CELLS)
def test_float32_stays_float32_with_x64_enabled(cell, x64):
    vae = models.recurrent((2, 5), (5, 9), 3, (16,), cell=cell)
    params = jax.eval_shape(vae.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((2, 5), jnp.int32)
    q = jax.eval_shape(vae.encode, params, x)
    given, free = jax.eval_shape(vae.decode_given, params, q.mean, x), jax.eval_shape(vae.decode, params, q.mean)
    assert given.shape == free.shape == (5, 9)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((params, q, given, free)))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"event": (8, 8, 1)}, "for sentences"),
        ({"theta_shape": (7, 9)}, "for sentences"),
        ({"hidden": (16, 16)}, "one hidden width"),
        ({"cell": "rnn"}, "gru"),
        ({"beta_range": (0.1, 10.0)}, "range of beta"),
    ],
)
def test_what_it_cannot_be_is_an_error_in_one_line(change, match):
    arguments = {"event": (2, 6), "theta_shape": (6, 9), "latent_dim": 3, "hidden": (16,), **change}
    with pytest.raises(UserError, match=match) as error:
        models.recurrent(**arguments)
    assert "\n" not in str(error.value)
    assert callable(models.recurrent)  # and not the module of the same name


# ---------------------------------------------------------------- writing sentences


@pytest.mark.parametrize("cell", CELLS)
def test_greedy_words_are_those_of_the_decoder_that_is_given_them(cell):
    vae, likelihood, params = build(cell)
    write = jax.jit(jax.vmap(lambda z: generate(params, z, None, 7)))
    z = 2.0 * jax.random.normal(KEY, (20, 3))
    tokens = write(z)
    free = jax.jit(jax.vmap(vae.decode, (None, 0)))(params, z)
    given = jax.jit(jax.vmap(vae.decode_given, (None, 0, 0)))(params, z, jax.vmap(with_inputs)(tokens))
    real = tokens != PAD
    np.testing.assert_allclose(free[real], given[real], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(jax.vmap(lambda theta: likelihood.mean({}, theta))(free)[:, 0], tokens)
    assert tokens.dtype == jnp.int32 and not np.any(tokens == BOS)
    np.testing.assert_array_equal(tokens, jax.vmap(end_sentence)(tokens))
    assert len({tuple(row) for row in np.asarray(tokens)}) > 3  # the sentence depends on z
    write(z + 1.0)
    assert write._cache_size() == 1


def test_drawn_sentences_come_with_their_probabilities(cell="gru"):
    length, vocabulary, draws = 3, 6, 20_000
    vae, likelihood, params = build(cell, length, vocabulary)
    z = jnp.array([0.5, -0.5, 1.0])
    keys = jax.random.split(KEY, draws)
    tokens = jax.jit(jax.vmap(lambda key: generate(params, z, key, length)))(keys)
    found, counts = np.unique(np.asarray(tokens), axis=0, return_counts=True)
    log_p = jax.jit(jax.vmap(lambda x: likelihood.log_prob({}, vae.decode_given(params, z, x), x)))
    p = np.exp(np.asarray(log_p(jax.vmap(with_inputs)(jnp.asarray(found)))))
    assert np.sum(p) > 0.99
    assert np.all(np.abs(counts / draws - p) < 5 * np.sqrt(p * (1 - p) / draws) + 1e-6)
    # Position by position: the same key writes the same beginning, whatever the length.
    longer = jax.jit(lambda key: generate(params, z, key, 9))(keys[0])
    np.testing.assert_array_equal(longer[:length], tokens[0])


# ---------------------------------------------------------------- through the common bound, step and evaluation


def test_three_fields_are_still_a_model():
    vae = VAE(
        init=lambda key: {},
        encode=lambda params, x: DiagGaussian(x[:1], jnp.zeros(1)),
        decode=lambda params, z: jnp.broadcast_to(z, 4),
    )
    assert vae.decode_given is None and models.mlp((4,), (4,), 2, (8,)).decode_given is None
    params, x = {"model": {}, "likelihood": {}}, jnp.arange(4.0)
    _, z, theta = objective.infer(vae, params, x, KEY, 3)
    np.testing.assert_array_equal(theta, jnp.broadcast_to(z, (3, 4)))
    # The same with a decoder that reads the example: z and x reach it, sample by sample.
    reader = vae._replace(decode_given=lambda params, z, x: z + x)
    np.testing.assert_array_equal(objective.infer(reader, params, x, KEY, 3)[2], z + x)


def test_a_decoder_that_ignores_z_loses_nothing_with_another_code(cell="lstm"):
    """It still reads the words of its own sentence."""
    vae, likelihood, params = build(cell)
    data, key = jnp.asarray(sentences(np.random.default_rng(4), 30, 7, 9)), jax.random.key(1)
    deaf = vae._replace(decode_given=lambda params, z, x: vae.decode_given(params, 0.0 * z, x))

    def both(vae):
        own = {"model": params, "likelihood": {}}
        distortion = make_scorer(Evaluator(vae, likelihood, prepare(), 30))(own, data, key).distortion
        return distortion, make_swapped(Evaluator(vae, likelihood, prepare(), 30))(own, data, key)

    np.testing.assert_allclose(*both(deaf), rtol=1e-5)
    distortion, swapped = both(vae)
    assert np.all(np.abs(distortion - swapped) > 1e-6)


def repeating(rng, n):
    """Sentences ``[n, 8]`` of a first word, one to four fillers, and the first word again."""
    tokens = np.zeros((n, 8), np.uint16)
    for row in tokens:
        first, fillers = rng.integers(4, 12), rng.integers(1, 5)
        sentence = [first, *rng.integers(12, 15, fillers), first, EOS]
        row[: len(sentence)] = sentence
    return tokens


DATA = repeating(np.random.default_rng(0), 960)
LENGTH = 10


def trainer(devices, chunks):
    """The model, and the state and the metrics after each of some chunks on ``DATA``."""
    likelihood, batch = likelihoods.tokens(15), 32
    vae = models.recurrent((2, 8), likelihood.theta_shape((2, 8)), 4, (32,), cell="lstm", embedding=16)
    optimizer = adam(learning_rates("cosine", 1e-2, 300), likelihood)
    weight = weighting.from_schedule(schedules.linear(1.0, 100, start=0.05))
    spread = parallel("jit", batch, jax.devices()[:devices])
    recipe = Recipe(vae, likelihood, optimizer, weight, preprocess=prepare(0.3), all_mean=spread.all_mean)
    chunk = spread.compile(make_chunk(make_train_step(recipe), len(DATA), batch, spread.split))
    state, data, seen = spread.place(init_state(recipe, (2, 8), jax.random.key(3))), spread.place(DATA), []
    for _ in range(chunks):
        state, metrics = chunk(state, data, LENGTH)
        seen.append(jax.device_get((state.params, metrics)))
    return vae, likelihood, seen


@pytest.fixture(scope="module")
def trained():
    return trainer(1, 300 // LENGTH)


def test_it_learns_a_toy_language_with_the_common_step_and_scorer(trained):
    vae, likelihood, seen = trained
    test = jnp.asarray(repeating(np.random.default_rng(1), 200))
    params, metrics = seen[-1][0], jax.tree.map(lambda *parts: np.concatenate(parts), *(m for _, m in seen))
    assert all(np.all(np.isfinite(v)) for v in metrics.values())
    assert np.mean(metrics["elbo"][-20:]) > np.mean(metrics["elbo"][:20]) + 5.0
    scores = make_scorer(Evaluator(vae, likelihood, prepare(), 100))(params, test, jax.random.key(1), 32)
    assert scores.rate.shape == scores.iw_nll.shape == (200,)
    summary = summarise(scores, 2 * 8)
    # The entropy of a sentence: a first word of 8, a number of fillers of 4, 2.5 fillers of 3. Nobody can beat it by
    # more than noise: over 200 sentences the mean of 2.5 varies by 0.08.
    entropy = math.log(8) + math.log(4) + 2.5 * math.log(3)
    assert entropy - 0.5 < summary["iw_nll"] < entropy + 1.5
    gain = -summary["elbo"] - np.asarray(scores.iw_nll)
    assert summary["iw_nll"] < -summary["elbo"] + 4 * np.std(gain) / math.sqrt(200)
    assert -summary["elbo"] < entropy + 2.0


def test_one_device_and_two_agree(trained):
    (one, alone), (two, shared) = trained[2][0], trainer(2, 1)[2][0]
    np.testing.assert_allclose(alone["loss"], shared["loss"], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), one, two)
