"""Bits back: what is written is what is read, on any machine, at the price of the bound."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.trained_models import IMAGES, TABLE, TEXT, some, untrained
from scipy.special import logsumexp

from vae_jax import objective as bounds
from vae_jax.data.digits import digits
from vae_jax.data.text.vocabulary import EOS
from vae_jax.gaussian import DiagGaussian
from vae_jax.trained.compression import bits_back, command, container, values
from vae_jax.trained.compression.networks import AT_ONCE, networks
from vae_jax.trained.compression.tables import Rounding
from vae_jax.trained.compression.windows import CELLS, windows
from vae_jax.types import Prior, UserError

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


def written(model, examples=X):
    net = networks(model)
    own = values.read(model, net.kinds, examples, "x")
    fine = bits_back.fineness(net, own)
    return net, own, fine, bits_back.encode(net, fine, own)


def comes_back(model, examples):
    """Reads with another batch and another level of the compiler, as another machine would; returns the bits."""
    _, own, fine, block = written(model, examples)
    other = networks(model, rows=3 * AT_ONCE, options={"xla_backend_optimization_level": "2"})
    np.testing.assert_array_equal(bits_back.decode(other, fine, block, len(own)), own)
    return 32 * (len(block.words) - block.before)


class Scales:
    """A coder that only weighs: nats."""

    def __init__(self):
        self.nats = 0.0

    def table(self, symbols, p):
        self.nats -= np.log(p[np.arange(len(p)), symbols] / p.sum(axis=1)).sum()
        return symbols

    def uniform(self, symbols, sizes):
        assert (symbols >= 0).all() and (symbols < sizes).all()
        self.nats += np.log(sizes).sum()
        return symbols


def nats_beyond(model, examples) -> float:
    """What the tables spend beyond -log p(x|z) at one z, nats a value. Rounding moves a value by .005, either way.

    (Of what is less probable than e^-16 they spend less: such examples are not given.)
    """
    net = networks(model)
    own = values.read(model, net.kinds, examples, "x")
    z, scales = 0.3 * np.random.default_rng(0).normal(size=(len(own), net.latents)), Scales()
    for i in range(0, len(own), AT_ONCE):
        net.walk(z[i : i + AT_ONCE], own[i : i + AT_ONCE], scales, "", Rounding())

    def log_prob(z, x):
        theta = bounds.decode(model.vae, model.params, x, z[None])[0]
        return model.likelihood.log_prob(model.params["likelihood"], theta, x)

    exact = np.sum(jax.vmap(log_prob)(z, np.float32(values.to_x(model, net.kinds, own))), dtype=np.float64)
    return (scales.nats + exact - values.missing_nats(model, own)) / values.symbols_in(net.kinds, own)


def test_what_is_written_is_read_with_other_programs_at_the_price_of_the_bound(binary):
    bits = comes_back(binary, X)
    elbo = -np.mean([binary.elbo(X, jax.random.key(i)).sum(dtype=np.float64) for i in range(20)]) / math.log(2)
    # One draw of z an example: the bits of 100 examples scatter by about a percent around their mean.
    assert bits == pytest.approx(elbo, rel=0.03)
    # The planted errors: a bound that forgets log det of q, and one that forgets a constant of p(x|z).
    _, std = binary.encode(X)
    without_determinant = elbo + np.log2(std).sum()
    for wrong in (without_determinant, elbo - 64 * 0.3 * len(X)):
        assert not bits == pytest.approx(wrong, rel=0.03)


def test_what_two_machines_round_otherwise_is_in_the_file():
    found = np.array([0.2, 1.5 - 1e-10, 2.5 + 1e-10, -0.5])
    one = Rounding()
    whole = one.round("q", found)
    assert [entry[1] for entry in one.known] == [1, 2, 3]
    np.testing.assert_array_equal(Rounding(one.known).round("q", found + 2e-10 * np.array([1, 1, -1, -1])), whole)
    assert list(Rounding([]).round("q", found + 2e-10)) != list(whole)


def test_another_model_or_a_bit_that_fell_is_refused(binary):
    net, _, fine, block = written(binary)
    slip = dataclasses.replace(binary, params=jax.tree.map(lambda leaf: leaf * 1.01, binary.params))
    assert container.digest(slip) != container.digest(binary)
    with pytest.raises(UserError, match="own beginning"):
        bits_back.decode(networks(slip), fine, block, len(X))
    block.words[len(block.words) // 2] ^= 1 << 7
    with pytest.raises(UserError, match="own beginning"):
        bits_back.decode(net, fine, block, len(X))


@pytest.mark.parametrize("likelihood", ["discretized_logistic", "categorical"])
def test_grey_levels_come_back(likelihood, tmp_path, capsys):
    model = untrained(DIGITS, likelihood=likelihood)
    net, path, back = networks(model), tmp_path / "x.bits", tmp_path / "x.npz"
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


def test_channels_that_share_a_component_come_back():
    model = untrained(
        dataclasses.replace(IMAGES, event=(4, 4, 3), levels=8), likelihood="discretized_logistic", components=3
    )
    x = np.random.default_rng(0).integers(2, 6, (60, 4, 4, 1)) + np.zeros((60, 4, 4, 3), int)
    comes_back(model, x.astype(np.uint8))
    assert abs(nats_beyond(model, x.astype(np.uint8))) < 5e-4


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_sentences_come_back_word_by_word(cell, tmp_path, capsys):
    model = untrained(TEXT, cell=cell)
    assert abs(nats_beyond(model, some(TEXT, 120))) < 1e-3
    lines = [*some(TEXT, 8), "a dog runs cat dog"]  # the last one has no room for its end
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n")
    net, path = networks(model), tmp_path / "x.bits"
    sizes = command.compress(model, net, str(tmp_path / "in.txt"), str(path))
    assert set(sizes["others"]) == {"gzip", "xz"} and "bits a word" in capsys.readouterr().out
    command.decompress(model, net, str(path), str(tmp_path / "out.txt"))
    assert (tmp_path / "out.txt").read_text().splitlines() == lines
    command.decompress(model, net, str(path), str(tmp_path / "out.npz"))
    assert (np.load(tmp_path / "out.npz")["x"] == EOS).sum() == 8


def test_windows_hold_every_number_once():
    mean, variance = np.array([[1e-3, 3.0, 900.0, 1e6, 5.0]]), np.array([[1e-3, 300.0, 900.0, 1e6, 5.0]])
    cells = windows(mean, variance, "", Rounding())
    low, width = cells.cells()
    assert (low[..., 1:] == (low + width)[..., :-1]).all() and (low[0, :, 0] <= mean[0]).all()
    for j in range(5):
        numbers = np.unique(np.concatenate([low[0, j], low[0, j] + width[0, j] - 1]))
        numbers = numbers[numbers < values.LARGEST]
        place = np.array([cells.place(np.full((1, 5), number))[0, j] for number in numbers])
        np.testing.assert_array_equal(place, np.searchsorted(low[0, j], numbers, side="right") - 1)
    # 5.7 deviations at least on either side, and no cell wider than an eleventh of one around the mean.
    assert (low[..., 0] <= np.maximum(mean - 5.7 * np.sqrt(variance), 0)).all()
    at = np.take_along_axis(width, np.minimum(cells.place(mean.astype(int)), CELLS - 1)[..., None], 2)[..., 0]
    assert (at <= np.maximum(1, np.sqrt(variance) / 11)).all()


@pytest.mark.parametrize("columns", ["poisson:3", "negative_binomial:3", "poisson:1,bernoulli:1,categorical(4):1"])
def test_counts_come_back_however_large(columns):
    """Small ones, some in the middle, and one that no cell of the window holds."""
    model = untrained(dataclasses.replace(TABLE, high=[1e6, 1.0, 3.0]), likelihood="columns", columns=columns)
    rng = np.random.default_rng(1)
    x = np.stack([rng.poisson(2.0, 200), rng.integers(0, 2, 200), rng.integers(0, 4, 200)], axis=1).astype(float)
    assert abs(nats_beyond(model, x)) < 2e-3
    x[7, 0], x[8, 0] = 5000.0, values.LARGEST - 1
    comes_back(model, x[:20])
    x = x[:20]
    x[3, 0] = values.LARGEST
    with pytest.raises(UserError, match="or a count of 16,777,216 or more"):
        written(model, x)


def test_large_counts_cost_their_bound():
    """Counts about a million, of a decoder that says 0 whatever z is: cells of many numbers, at the price of log p."""
    rng = np.random.default_rng(2)
    for family, x in (
        ("poisson", rng.poisson(1e6, (400, 3))),
        ("negative_binomial", np.minimum(rng.geometric(1e-6, (400, 3)) - 1, values.LARGEST - 1)),
    ):
        model = untrained(TABLE, likelihood=family, count_means="0-2=1000000.0")
        flat = jax.tree.map(np.zeros_like, model.params["model"])
        model = dataclasses.replace(model, params=model.params | {"model": flat})
        assert abs(nats_beyond(model, x.astype(float))) < 2e-3
        comes_back(model, x[:20].astype(float))


def test_missing_values_come_back_at_the_price_of_saying_so():
    model = untrained(TABLE, likelihood="columns", columns="categorical(4):3", missing="0,2")
    x = np.random.default_rng(3).integers(0, 4, (80, 3)).astype(float)
    x[::3, 0] = x[5, 2] = np.nan
    net, own, fine, block = written(model, x)
    np.testing.assert_array_equal(bits_back.decode(net, fine, block, len(x)), own)
    back = values.stored(model, net.kinds, own)
    np.testing.assert_array_equal(back, x)
    assert values.missing_nats(model, own) == pytest.approx(240 * math.log(2))  # arrays: a bit a value
    assert abs(nats_beyond(model, x)) < 1e-3


def test_a_mixture_of_gaussians_is_a_prior_for_codes(binary):
    """The codes of a mixture cost log p(z), by bits back of the component; other priors and posteriors are refused."""
    # Two of the three are alike: where the choice between them was not got back, a code would cost .6 bits more.
    log_weight, mean = np.log([0.4, 0.4, 0.2]), np.array([[2.0, 0.5, -2.0], [2.0, 0.5, -2.0], [0.0, 0.3, 2.0]])
    logvar = -1.375 * np.array([[0, 1, 0], [0, 1, 0], [1, 0, 0]])  # of deviations that are on the grid
    own = Prior(
        init=lambda key, latent_dim: {},
        log_prob=None,
        sample=None,
        mixture=lambda params, c: (jnp.asarray(log_weight), DiagGaussian(jnp.asarray(mean), jnp.asarray(logvar))),
    )
    model = dataclasses.replace(binary, vae=binary.vae._replace(prior=own, latents=lambda *_: None))
    comes_back(model, X)
    fine = bits_back.Fineness(7, 8)
    stack, coder = bits_back.coder(bits_back.first_words(500)), bits_back.PriorCoder(networks(model), fine, Rounding())
    rng = np.random.default_rng(0)
    drawn = rng.choice(3, 4000, p=np.exp(log_weight))
    z = np.rint(128 * (mean + np.exp(0.5 * logvar) * rng.normal(size=(4000, 1, 3)))[range(4000), drawn]).astype(
        np.int32
    )
    k = coder.component(stack, z, "")
    coder.write(stack, k, z)
    away = (z[:, None] / 128 - mean) ** 2 / np.exp(logvar) + logvar + math.log(2 * math.pi)
    exact = -logsumexp(log_weight - 0.5 * away.sum(axis=-1), axis=-1).sum() / math.log(2) + 3 * 7 * len(z)
    assert 32 * (stack.num_words() - 500) == pytest.approx(exact, abs=0.01 * len(z))
    assert set(np.unique(k)) == {0, 1, 2} and abs(np.mean(k == 0) - np.mean(k == 1)) < 0.05
    coder.component_back(stack, *coder.read(stack, len(z)), "")
    np.testing.assert_array_equal(stack.get_compressed(), bits_back.first_words(500))
    with pytest.raises(UserError, match="is neither a Gaussian nor a mixture"):
        networks(dataclasses.replace(model, vae=model.vae._replace(prior=own._replace(mixture=None))))
    for vae in (binary.vae._replace(layers=(2, 1)), binary.vae._replace(latents=lambda *_: None)):
        iaf = dataclasses.replace(binary.config, posterior="iaf")
        with pytest.raises(UserError, match="by a diagonal Gaussian"):
            networks(dataclasses.replace(binary, vae=vae, config=iaf))


def test_a_kill_loses_one_block(binary, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "BLOCK", 16)
    net, path = networks(binary), tmp_path / "x.bits"
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
    decode, read = bits_back.decode, []

    def killed_reading(*arguments):
        read.append(decode(*arguments))
        if len(read) == 4:
            raise KeyboardInterrupt
        return read[-1]

    monkeypatch.setattr(bits_back, "decode", killed_reading)
    with pytest.raises(KeyboardInterrupt):
        command.decompress(binary, net, str(path), str(tmp_path / "out.npz"))
    command.decompress(binary, net, str(path), str(tmp_path / "out.npz"))
    assert len(read) == 4 + 7 - 3  # three blocks were on the disk
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["x"], X / 16 > 0.5)
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.npz"]


def test_what_cannot_be_written_is_refused_in_a_line():
    for given in ({}, {"likelihood": "continuous_bernoulli"}, {"pixels": "dequantised"}):
        with pytest.raises(UserError, match="is a density"):
            networks(untrained(**given))
    with pytest.raises(UserError, match="a density for column b, c, and only probabilities"):
        networks(untrained(TABLE, likelihood="columns", columns="poisson:1,gaussian:2"))
