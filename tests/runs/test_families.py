"""The families' names on the command line: what each flag makes, what is refused, what the report says of bits."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from vae_jax.likelihoods import Grid
from vae_jax.report.reading.model import bits
from vae_jax.runs import families
from vae_jax.runs.settings import Config
from vae_jax.runtime.config import check_values
from vae_jax.types import UserError

S = 1 / 512  # the squeeze of 256 grey levels


@dataclasses.dataclass(frozen=True)
class Flags:
    """The flags that a family reads, with the defaults of the binaries."""

    dataset: str = "mine.npz"
    likelihood: str = "gaussian"
    precision: str = "learned"
    sigma: float | None = 0.2
    min_sigma: float = 1e-3
    squeeze: float | None = None
    components: int = 1
    df: float = 4.0
    delta: float = 1.345
    columns: str | None = None


def refused(function, *args) -> str:
    with pytest.raises(UserError) as caught:
        function(*args)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    return message


def test_every_name_makes_its_family():
    columns = "gaussian:1,log_normal:1,categorical(4):1,discretized_logistic(17):1,poisson:1"
    for name, make in families.LIKELIHOODS.items():
        flags = Flags(likelihood=name, columns=families.parse_columns(columns) if name == "columns" else None)
        likelihood = make(flags, 17)
        assert likelihood.theta_shape((5,))
        if name in ("categorical", "discretized_logistic"):
            assert likelihood.support == Grid(17, 1 / 16)
            assert "gives probabilities to uint8 grey levels, and mine.npz holds floats" in refused(make, flags, None)
    # Half a grey level beyond each end, unless said otherwise.
    for squeeze, levels, expected in ((None, 17, 1 / 34), (None, 256, S), (None, None, S), (0.01, 17, 0.01)):
        likelihood = families.LIKELIHOODS["beta"](Flags(squeeze=squeeze), levels)
        lowest = float(likelihood.mean({}, jnp.asarray([[-1e6], [1e6]]))[0])
        assert lowest == pytest.approx(-expected / (1 - 2 * expected), rel=0.02)
    mixture = families.LIKELIHOODS["discretized_logistic"](Flags(components=5), 256)
    assert mixture.theta_shape((8, 8, 3)) == (3, 5, 8, 8, 3)


def test_sigma_is_a_standard_deviation_whatever_the_family():
    for name in ("gaussian", "student_t", "laplace"):
        for precision in ("learned", "fixed"):
            likelihood = families.LIKELIHOODS[name](Flags(precision=precision, df=2.5), None)
            own = likelihood.init((1,))
            np.testing.assert_allclose(likelihood.variance(own, jnp.zeros(1)), 0.2**2, rtol=1e-5)
            assert likelihood.frozen == (precision == "fixed")
            assert likelihood.sigma_bound == (pytest.approx(1e-3) if precision == "learned" else None)


def test_columns_are_read():
    text = "gaussian:3, bernoulli:2,categorical(4):1"
    assert families.parse_columns(text) == [("gaussian", None, 3), ("bernoulli", None, 2), ("categorical", 4, 1)]
    likelihood = families.LIKELIHOODS["columns"](Flags(columns=families.parse_columns(text)), None)
    assert likelihood.support == (("real", 3), ("binary", 2), (Grid(4, 1.0), 1))
    assert likelihood.theta_shape((6,)) == (3 + 2 + 4,)


@pytest.mark.parametrize(
    "flags, said",
    [
        ({"columns": ""}, "'' is not FAMILY:COLUMNS"),
        ({"columns": "gaussian"}, "'gaussian' is not FAMILY:COLUMNS"),
        ({"columns": "gaussian:3;bernoulli:2"}, "is not FAMILY:COLUMNS"),
        ({"columns": "gaussian:3,"}, "'' is not FAMILY:COLUMNS"),
        ({"columns": "gaussian:0"}, "at least one column each"),
        ({"columns": "gaussian:-1"}, "'gaussian:-1' is not"),
        ({"columns": "gausian:3"}, "there is no family gausian; choose from gaussian, student_t"),
        ({"columns": "columns:3"}, "there is no family columns"),
        ({"columns": "categorical:1"}, "say how many values a categorical column has, such as categorical(4):1"),
        ({"columns": "categorical(1):1"}, "say how many values"),
        ({"columns": "gaussian(2):1"}, "gaussian takes no number in parentheses; write gaussian:1"),
        ({"columns": "gaussian:1", "likelihood": "beta"}, "both name families"),
        ({"likelihood": "columns"}, "--likelihood=columns needs the families"),
        ({"columns": "gaussian:1,bernoulli:1", "precision": "optimal"}, "use --precision=learned"),
        ({"columns": "laplace:1", "precision": "predicted"}, "the scale of laplace is learned or fixed"),
        ({"likelihood": "student_t", "precision": "optimal"}, "the scale of student_t is learned or fixed"),
        ({"likelihood": "laplace", "sigma": 1e-3}, "--sigma=0.001 must be above its lower bound"),
    ],
)
def test_flags_that_are_refused(flags, said):
    assert said in refused(families.check, Flags(**flags))


@pytest.mark.parametrize(
    "flags, said",
    [
        ({"df": 2.0}, "--df=2.0 must be above 2"),
        ({"squeeze": 0.5}, "--squeeze=0.5 must be in (0, 0.5)"),
        ({"squeeze": 0.0}, "--squeeze=0.0 must be in (0, 0.5)"),
        ({"components": 0}, "--components=0 must be at least 1"),
    ],
)
def test_numbers_outside_of_their_bounds_are_refused(flags, said):
    assert said in refused(check_values, Config(**flags))


def test_what_the_report_says_of_bits():
    def said(likelihood, pixels="grey", **flags):
        return bits(likelihood, pixels, bits_per_dim=1.5, **flags).text

    for name in ("categorical", "discretized_logistic"):
        assert "comparable as it is" in said(name)
    for name in ("poisson", "negative_binomial"):
        assert "a code length of counts" in said(name)
    assert "in the same units" in said("log_normal")
    for name in ("gaussian", "student_t", "laplace"):
        assert "a smaller sigma can lower it without end" in said(name)
    assert "without end" not in said("beta", squeeze=1 / 512) and "no code length" in said("beta", squeeze=1 / 512)
    assert "squeezed by 0.00195312" in said("beta", squeeze=1 / 512)
    assert "squeezed by half a grey level" in said("beta")
    assert "a bound on the code length" in said("beta", "dequantised", squeeze=1 / 512)
    assert "--columns=gaussian:1,bernoulli:1" in said("columns", columns="gaussian:1,bernoulli:1")
