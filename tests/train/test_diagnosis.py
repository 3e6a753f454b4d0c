"""Why an update was skipped: each planted fault is found at its own place, with its examples and its parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_training import BATCH, EVENT, small

from vae_jax import likelihoods, objective
from vae_jax.train.diagnosis import GRADIENT, NORM, OBJECTIVE, PARAMETERS, diagnose, sentence
from vae_jax.train.step import make_train_step
from vae_jax.weighting.multi_rate import respond

RAW = np.random.default_rng(0).integers(1, 255, (BATCH, *EVENT)).astype(np.uint8)
RAW[5] = 0
ROWS = np.array([40, 11, 32, 7, 19, 77, *range(100, 126)])  # which training examples; the planted one is row 77


def pixels(key, raw):
    return raw / 255.0


def spoil(value, x, bad=jnp.nan):
    """``value``, and where the example is the planted one not finite."""
    return jnp.where(jnp.all(x == 0), bad, value)


def build(likelihood=None, make=lambda vae: vae, score=objective.elbo, preprocess=pixels, **options):
    """``(recipe, state)`` of a small model with a fault planted by ``make``."""
    made = small(likelihood, change=make, preprocess=preprocess, objective=score, **options)
    return made.recipe, made.state._replace(step=jnp.int32(6))


def found(built):
    """The diagnosis of an update that training skips as well."""
    recipe, state = built
    after, metrics = jax.jit(make_train_step(recipe))(state, RAW)
    assert metrics["skipped"] == 1.0 and int(after.skipped.total) == 1
    return diagnose(recipe, state, RAW, ROWS)


@pytest.fixture(autouse=True)
def one_operation_at_a_time(request):
    """Nothing is compiled, which would take most of the time, but where the test says so."""
    with jax.disable_jit("compiled" not in request.fixturenames):
        yield


def encoding(**spoiled):
    def make(vae):
        def encode(params, x):
            q = vae.encode(params, x)
            return q._replace(**{field: spoil(getattr(q, field), x, bad) for field, bad in spoiled.items()})

        return vae._replace(encode=encode)

    return make


def reading(bad=jnp.nan):
    def make(vae):
        return vae._replace(decode_given=lambda params, z, x: spoil(vae.decode(params, z), x, bad))

    return make


def scoring(likelihood):
    log_prob = likelihood.log_prob
    return likelihood._replace(log_prob=lambda own, theta, x: spoil(log_prob(own, theta, x), x, -jnp.inf))


FAULTS = {
    "the example": {"preprocess": lambda key, raw: spoil(raw / 255.0, raw)},
    "the encoder's mean": {"make": encoding(mean=jnp.inf, logvar=jnp.nan)},
    "the encoder's log variance": {"make": encoding(logvar=jnp.nan)},
    "z": {"make": encoding(logvar=1e3)},
    "the decoder's output": {"make": reading()},
    "log p(x|z)": {"likelihood": scoring(likelihoods.gaussian("learned"))},
    "log p(z)": {"make": encoding(mean=1e25), "likelihood": likelihoods.bernoulli()},
}


@pytest.mark.parametrize("term", FAULTS)
def test_the_first_term_and_the_example_are_named(term):
    d = found(build(**FAULTS[term]))
    assert (d.term, d.rows, d.batch, d.step) == (term, [77], BATCH, 6)
    assert f"At step 6 the first that is not finite is {term}, for 1 of 32 examples (row 77 of the tr" in sentence(d)


def test_every_example_is_counted_and_some_are_named():
    d = found(build(preprocess=lambda key, raw: jnp.full(raw.shape, jnp.inf)))
    assert d.term == "the example" and d.rows == ROWS.tolist() and len(d.leaves) == d.num_leaves
    assert "for 32 of 32 examples (rows 40, 11, 32, 7, 19 and 27 more of the training data)" in sentence(d)


def test_an_error_that_cannot_be_squared_leaves_the_solved_sigma_without_a_value():
    d = found(build(likelihoods.gaussian("optimal"), reading(1e30)))
    assert d.term == "the likelihood's own parameters" and d.rows == []


def test_an_objective_is_to_blame_where_its_terms_are_well():
    d = found(build(score=lambda t, weight: objective.elbo(t, weight) * 1e30 * 1e30))
    assert d.term == OBJECTIVE and d.rows == [] and "first that is not finite is the objective;" in sentence(d)


@pytest.mark.parametrize("compiled", [True])
def test_a_gradient_alone_is_found_by_its_example_and_its_leaf(compiled):
    # sqrt(c * the largest pixel): 0 for the black example, and its slope in c is NaN; in nothing else it takes part.
    def make(vae):
        def encode(params, x):
            q = vae.encode(params["net"], x)
            return q._replace(mean=q.mean + jnp.sqrt(params["c"] * jnp.max(x)))

        def init(key):
            return {"net": vae.init(key), "c": jnp.ones(())}

        return vae._replace(init=init, encode=encode, decode=lambda params, z: vae.decode(params["net"], z))

    d = found(build(make=make))
    assert (d.term, d.rows, d.leaves) == (GRADIENT, [77], ["model/c"])
    assert f"the gradient alone, for 1 of 32 examples (row 77 of the training data); 1 of {d.num_leaves}" in sentence(d)


def test_a_gradient_whose_square_is_too_large():
    d = found(build(score=lambda t, weight: objective.elbo(t, weight) * 1e25))
    assert d.term == NORM and len(d.leaves) == 1 and f"the largest gradient is that of {d.leaves[0]}" in sentence(d)


def test_a_parameter_that_is_not_finite_is_named_before_what_it_spoils():
    built = build()
    bias = built[1].params["model"]["decoder"]["theta"]
    bias["bias"] = jnp.full_like(bias["bias"], jnp.nan)
    d = found(built)
    assert (d.term, d.leaves, d.rows) == (PARAMETERS, ["model/decoder/theta/bias"], [])
    assert "1 of 11 parameters are not finite: model/decoder/theta/bias" in sentence(d)


def test_the_largest_parameter_is_named_with_its_sign():
    built = build(**FAULTS["the example"])
    built[1].params["model"]["encoder"]["mean"]["bias"] = jnp.array([0.0, -7e3, 5.0])
    assert found(built).largest == ("model/encoder/mean/bias", -7e3)


def test_a_model_of_many_betas_is_computed_at_those_of_the_update():
    kinds = {"beta_range": (0.1, 10.0)}
    d = found(build(respond(likelihoods.gaussian("learned"), (0.1, 10.0)), encoding(logvar=1e3), **kinds))
    assert (d.term, d.rows) == ("z", [77])


def test_an_update_that_is_well_is_called_so():
    recipe, state = build()
    assert make_train_step(recipe)(state, RAW)[1]["skipped"] == 0.0
    d = diagnose(recipe, state, RAW, ROWS)
    assert d.term is None and d.rows == d.leaves == []
    assert sentence(d).startswith("Computed again, every number of step 6 is finite; the largest parameter is ")
