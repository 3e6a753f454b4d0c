"""A batch in parts: the same update, for what is a mean over its examples and for nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.small_training import DATA, small

from vae_jax import objective
from vae_jax.likelihoods import gaussian
from vae_jax.schedules import constant
from vae_jax.train.microbatches import CACHED, in_parts_on_cpu, mean_over_parts, parts_in_cache
from vae_jax.weighting import from_schedule

X = DATA[:32] / np.float32(256.0)


def build(bound=objective.elbo, precision="learned", **options):
    """The step of a small model, and its first state."""
    options |= {"objective": bound, "num_samples": 2, "preprocess": lambda key, raw: raw}
    made = small(gaussian(precision), from_schedule(constant(2.0)), optax.adam(1e-3), **options)
    return jax.jit(made.step), made.state


def difference(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in pairs)


@pytest.mark.parametrize("bound", objective.SEPARABLE, ids=lambda f: f.__name__)
def test_an_update_in_parts_is_the_update(bound):
    (step, state), (in_parts, _) = build(bound), build(bound, cpu_parts=4)
    step, in_parts = step.lower(state, X), in_parts.lower(state, X)
    assert step.as_text() != in_parts.as_text()
    (whole, told), (parts, also) = step.compile()(state, X), in_parts.compile()(state, X)
    # The first moments are a tenth of the gradient; float32 sums of 16 examples in another order.
    assert difference(whole.opt_state, parts.opt_state) < 1e-5 * max(1.0, float(told["grad_norm"]))
    for name in told:
        np.testing.assert_allclose(also[name], told[name], rtol=2e-5, err_msg=name)


def test_what_couples_the_batch_is_never_cut():
    for kwargs in ({"bound": objective.free_bits(0.5)}, {"precision": "optimal"}):
        (step, state), (in_parts, _) = build(**kwargs), build(**kwargs, cpu_parts=4)
        assert step.lower(state, X).as_text() == in_parts.lower(state, X).as_text()


def test_cutting_what_couples_the_batch_would_be_another_number():
    # What the guard above is for: the maximum over means of parts is not the maximum over the batch.
    bound = lambda fixed, kl: jnp.maximum(fixed, jnp.mean(kl))  # noqa: E731
    kl = jnp.asarray([0.0, 0.0, 2.0, 2.0])
    assert float(bound(1.5, kl)) == 1.5
    assert float(mean_over_parts(bound, 2)(1.5, kl)) == 1.75


def test_a_mean_of_means_of_equal_parts_is_the_mean():
    rows = {"a": jnp.arange(12.0), "key": jax.random.split(jax.random.key(0), 12)}

    def mean(fixed, batch):
        noise = jax.vmap(jax.random.normal)(batch["key"])
        return {"m": jnp.mean(fixed * batch["a"] + noise), "v": jnp.mean(batch["a"][:, None] * jnp.ones(3), 0)}

    for parts in (1, 3, 12):
        for over in (mean_over_parts, in_parts_on_cpu):
            assert difference(jax.jit(over(mean, parts))(2.0, rows), mean(2.0, rows)) < 1e-5


@pytest.mark.parametrize(
    ("numbers", "batch", "parts"),
    [(0, 128, 1), (32 * 32 * 32, 128, 4), (32 * 14 * 14, 128, 1), (32 * 32 * 32, 7, 1), (CACHED, 6, 6)],
)
def test_a_part_fits_into_the_cache(numbers, batch, parts):
    assert parts_in_cache(numbers, batch) == parts
    assert batch % parts == 0 and (parts == batch or 4 * numbers * batch // parts <= CACHED)


def test_only_a_cpu_cuts_the_batch():
    mean = lambda fixed, x: jnp.mean(fixed * x)  # noqa: E731
    lowered = lambda on: (  # noqa: E731
        jax.jit(in_parts_on_cpu(mean, 4)).trace(1.0, jnp.ones(8)).lower(lowering_platforms=(on,)).as_text()
    )
    assert "while" in lowered("cpu") and "while" not in lowered("cuda")
