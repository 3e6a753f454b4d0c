"""Sentences of similar length side by side: which widths, which batches, and the same gradient without the padding."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.binaries import call, metrics, refused, results

from experiments import text
from experiments.benchmark.sequence_speed import widths_of_batches
from vae_jax.data.text import load_text
from vae_jax.likelihoods.tokens import lengths_of
from vae_jax.randomness import batch_rows, epoch_rows
from vae_jax.runs.build import build, first_state, recipe, training_step
from vae_jax.train.widths import choose_widths

SHAPES = ["--hidden=16", "--embedding=8", "--latent_dim=3", "--batch_size=8"]
SMALL = [*SHAPES, "--log_every=5", "--checkpoint_every=10", "--iw_samples=2", "--lr_schedule=constant"]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    chooser, path = np.random.RandomState(0), tmp_path_factory.mktemp("lines") / "colours.txt"
    words = ["red", "blue", "green", "cat", "dog"]
    path.write_text("".join(" ".join(chooser.choice(words, 1 + i % 11)) + "\n" for i in range(90)), encoding="utf-8")
    return str(path)


def run_of(lines, **flags):
    sizes = {"hidden": "16", "embedding": 8, "latent_dim": 3, "batch_size": 8, "workdir": "unused", "num_steps": 20}
    return build(text.Config(dataset=lines, **sizes, **flags))


def padded(lengths, widths):
    return int(np.asarray(widths)[np.searchsorted(widths, lengths)].sum())


@pytest.mark.parametrize("seed", range(6))
def test_no_other_widths_have_less_padding(seed):
    lengths = np.random.default_rng(seed).integers(1, 12, 40) if seed else np.full(40, 7)
    longest = int(lengths.max())
    for count in (1, 2, 3, 4):
        found = choose_widths(lengths, count)
        assert len(found) <= count and found[-1] == longest and list(found) == sorted(set(found))
        others = itertools.combinations(range(1, longest), min(count - 1, longest - 1))
        assert padded(lengths, found) == min(padded(lengths, (*other, longest)) for other in others)
    assert choose_widths(lengths, 1) == (longest,)


def test_an_epoch_holds_each_example_once_in_batches_that_are_alike():
    lengths = jnp.asarray(np.random.default_rng(0).integers(1, 20, 70))
    drawn = jax.jit(lambda epoch: epoch_rows(jax.random.key(3), epoch, 70, 8, lengths=lengths))
    plain = np.asarray(epoch_rows(jax.random.key(3), 5, 70, 8))
    rows = np.asarray(drawn(5))
    assert rows.shape == (8, 8) and set(rows.ravel()) == set(plain.ravel()) and len(set(rows.ravel())) == 64
    least, most = (np.sort(f(np.asarray(lengths)[rows], axis=1)) for f in (np.min, np.max))
    assert (most[:-1] <= least[1:]).all()  # one after the other by length, once the batches are sorted
    assert not np.array_equal(np.asarray(drawn(6)), rows)
    # A chunk that begins anywhere has the same batches: resuming is arithmetic.
    later = np.asarray(batch_rows(jax.random.key(3), jnp.int32(5 * 8 + 2), 9, 70, 8, 1, lengths))
    np.testing.assert_array_equal(later, np.concatenate([rows[2:], np.asarray(drawn(6))[:3]]))
    # The batch of any step is each of an epoch's with equal probability, so the expected gradient is the plain one's.
    first = np.asarray(lengths)[np.asarray(jax.vmap(drawn)(jnp.arange(400)))[:, 0]].mean(axis=1)
    mean, error = float(jnp.mean(lengths)), first.std() / np.sqrt(400)
    assert abs(first.mean() - mean) < 4 * error < 0.25 * mean


def test_half_of_the_padding_of_the_grammar_goes_and_more():
    lengths = lengths_of(load_text("grammar").train)
    before = 1 - lengths.mean() / 20
    assert 0.45 < before < 0.5
    for count, most in ((2, 0.6), (3, 0.5), (4, 0.4)):
        r = build(text.Config(workdir="unused", buckets=count))
        computed = widths_of_batches(r)
        after = 1 - lengths.mean() / computed.mean()
        assert len(set(computed)) == count and after < most * before, (count, after)


def test_a_batch_without_its_padding_makes_the_same_update(lines):
    r = run_of(lines, buckets=4, word_dropout=0.3)
    data, widths = jnp.asarray(r.dataset.train), recipe(r).widths
    assert len(widths) == 4 and widths[-1] == 12
    lengths, state = np.asarray(lengths_of(data)), first_state(r)
    step = jax.jit(training_step(r))
    for width in widths:
        rows = np.flatnonzero(lengths <= width)[-8:]
        longest = int(lengths[rows].max())
        (whole, before), (narrow, after) = step(state, data[rows]), step(state, data[rows], None, jnp.int32(longest))
        for name in ("loss", "rate", "distortion", "grad_norm"):
            np.testing.assert_allclose(after[name], before[name], rtol=2e-6, err_msg=name)
        for a, b in zip(*(jax.tree.leaves((s.opt_state, s.params)) for s in (narrow, whole)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)
    # A width that cuts a sentence is seen.
    _, cut = step(state, data[np.flatnonzero(lengths > widths[0])[:8]], None, jnp.int32(widths[0]))
    _, whole = step(state, data[np.flatnonzero(lengths > widths[0])[:8]])
    assert abs(float(cut["loss"]) - float(whole["loss"])) > 0.1


def test_runs_in_buckets_continue_sweep_and_use_devices(lines, tmp_path):
    flags = [f"--dataset={lines}", *SMALL, "--buckets=2"]
    call(f"--workdir={tmp_path / 'whole'}", *flags, "--num_steps=20", binary="text")
    for steps in (10, 20):
        call(f"--workdir={tmp_path / 'twice'}", *flags, f"--num_steps={steps}", binary="text")
    whole, twice = (results(tmp_path / name) | {"warnings": []} for name in ("whole", "twice"))
    assert whole == twice
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["buckets"] == 2
    kind = ["--likelihood=tokens", "--model=recurrent", "--clip_norm=5", "--beta=1,0.5", "--num_steps=20"]
    call(f"--workdir={tmp_path / 'sweep'}", *flags, *kind, binary="sweep")
    row = json.loads((tmp_path / "sweep" / "sweep.jsonl").read_text().splitlines()[0])
    assert row["elbo"] == pytest.approx(results(tmp_path / "whole")["elbo"], rel=1e-5)
    losses = [m["loss"] for m in metrics(tmp_path / "whole")]
    for mode in ("jit", "pmap"):
        more = ["--num_steps=20", f"--parallel={mode}"]
        call(f"--workdir={tmp_path / mode}", *flags, *more, binary="text", devices=2)
        np.testing.assert_allclose([m["loss"] for m in metrics(tmp_path / mode)], losses, rtol=1e-4)


def test_side_by_side_the_batches_are_the_same_and_whole(lines):
    r = run_of(lines, buckets=3)
    assert recipe(r._replace(batched_kernels=True)).widths == () and len(recipe(r).widths) == 3
    assert recipe(run_of(lines)).widths == ()
    assert dataclasses.replace(r.config.flags, buckets=1) == run_of(lines).config.flags


def test_what_cannot_be_sorted_is_refused(lines, tmp_path):
    new = f"--workdir={tmp_path / 'new'}"
    refused(new, "--buckets=3", match="--buckets=3 is for texts")
    for flags in (["--placement=streamed"], ["--placement=divided", "--order=blocks"], ["--order=blocks"]):
        refused(new, f"--dataset={lines}", "--buckets=3", *flags, match="whole epoch by length", binary="text")
    assert not (tmp_path / "new").exists()
