"""Bits back: what is written is what is read, on any machine, at the price of the bound."""

from __future__ import annotations

import dataclasses
import math

import jax
import numpy as np
import pytest
from helpers.trained_models import IMAGES, TABLE, untrained

from vae_jax.data.digits import digits
from vae_jax.trained.compression import bits_back, command, container, tables
from vae_jax.trained.compression.tables import AT_ONCE, Rounding
from vae_jax.types import UserError

X = digits().test[:100]
DIGITS = dataclasses.replace(IMAGES, event=(8, 8, 1), levels=17)
pytest.importorskip("constriction")


@pytest.fixture(scope="module")
def binary():
    model = untrained(DIGITS, pixels="binary", likelihood="bernoulli")

    def encode(params, x):  # posteriors narrower than the prior, or the codes would cost nothing
        q = model.vae.encode(params, x)
        return q._replace(mean=2 * q.mean, logvar=q.logvar - 4)

    return dataclasses.replace(model, vae=model.vae._replace(encode=encode))


def written(model, net=None):
    net = net or tables.networks(model)
    levels = command._levels(model, net, X, "x")
    x = command._x(net, levels, model)
    fine = bits_back.fineness(net, x)
    return net, levels, fine, bits_back.encode(net, fine, levels, x)


def test_what_is_written_is_read_with_other_programs_at_the_price_of_the_bound(binary):
    _, levels, fine, block = written(binary)
    # Another batch and another level of the compiler: as another machine, which rounds otherwise.
    other = tables.networks(binary, rows=3 * AT_ONCE, options={"xla_backend_optimization_level": "2"})
    np.testing.assert_array_equal(bits_back.decode(other, fine, block, len(X), binary.x_event), levels)
    bits = 32 * (len(block.words) - block.before)
    elbo = np.mean([binary.elbo(X, jax.random.key(i)).mean() for i in range(20)]) / math.log(2)
    # One draw of z an example: the bits of 100 examples scatter by about a percent around their mean.
    assert bits / len(X) == pytest.approx(-elbo, rel=0.03)
    # The planted errors: a bound that forgets log det of q, and one that forgets a constant of p(x|z).
    _, std = binary.encode(X)
    without_determinant = -elbo + np.log2(std).sum(axis=1).mean()
    for wrong in (without_determinant, -elbo - 64 * 0.3):
        assert not bits / len(X) == pytest.approx(wrong, rel=0.03)


def test_what_two_machines_round_otherwise_is_in_the_file():
    values = np.array([0.2, 1.5 - 1e-10, 2.5 + 1e-10, -0.5])
    one = Rounding()
    whole = one.round("q", values)
    assert [entry[1] for entry in one.known] == [1, 2, 3]
    np.testing.assert_array_equal(Rounding(one.known).round("q", values + 2e-10 * np.array([1, 1, -1, -1])), whole)
    assert list(Rounding([]).round("q", values + 2e-10)) != list(whole)


def test_another_model_or_a_bit_that_fell_is_refused(binary):
    net, _, fine, block = written(binary)
    slip = dataclasses.replace(binary, params=jax.tree.map(lambda leaf: leaf * 1.01, binary.params))
    assert container.digest(slip) != container.digest(binary)
    with pytest.raises(UserError, match="own beginning"):
        bits_back.decode(tables.networks(slip), fine, block, len(X), binary.x_event)
    block.words[len(block.words) // 2] ^= 1 << 7
    with pytest.raises(UserError, match="own beginning"):
        bits_back.decode(net, fine, block, len(X), binary.x_event)


@pytest.mark.parametrize("likelihood", ["discretized_logistic", "categorical"])
def test_grey_levels_come_back(likelihood, tmp_path, capsys):
    model = untrained(DIGITS, likelihood=likelihood)
    net, path, back = tables.networks(model), tmp_path / "x.bits", tmp_path / "x.npz"
    np.savez(tmp_path / "in.npz", x=X[:20])
    sizes = command.compress(model, net, str(tmp_path / "in.npz"), str(path))
    assert sizes["bytes"] == path.stat().st_size and set(sizes["others"]) == {"gzip", "xz", "png", "webp"}
    command.decompress(model, net, str(path), str(back))
    np.testing.assert_array_equal(np.load(back)["x"], X[:20])
    content = path.read_bytes()
    for torn, words in ((content[:-3], "damaged or torn"), (b"PK" + content[2:], "not written by compress")):
        path.write_bytes(torn)
        with pytest.raises(UserError, match=words):
            command.decompress(model, net, str(path), str(tmp_path / "y.npz"))


def test_a_kill_loses_one_block(binary, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "BLOCK", 16)
    net, path = tables.networks(binary), tmp_path / "x.bits"
    np.savez(tmp_path / "in.npz", x=X)
    command.compress(binary, net, str(tmp_path / "in.npz"), str(path))
    whole, write = path.read_bytes(), container.write_block
    calls = iter(range(100))

    def killed(file, block, count):
        write(file, block, count)
        if next(calls) == 3:
            file.write(b"half of a block")
            raise KeyboardInterrupt

    monkeypatch.setattr(container, "write_block", killed)
    with pytest.raises(KeyboardInterrupt):
        command.compress(binary, net, str(tmp_path / "in.npz"), str(tmp_path / "again.bits"))
    command.compress(binary, net, str(tmp_path / "in.npz"), str(tmp_path / "again.bits"))
    assert "continuing from example 64" in capsys.readouterr().out
    assert (tmp_path / "again.bits").read_bytes() == whole
    command.decompress(binary, net, str(path), str(tmp_path / "out.npz"))
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["x"], X / 16 > 0.5)


def test_rows_of_classes_and_what_cannot_be_written():
    model = untrained(TABLE, likelihood="columns", columns="categorical(4):3")
    net = tables.networks(model)
    assert list(net.counts) == [4, 4, 4] and net.levels.shape == (4, 3)
    for given in ({}, {"likelihood": "continuous_bernoulli"}, {"pixels": "dequantised"}):
        with pytest.raises(UserError, match="is a density"):
            tables.networks(untrained(**given))
