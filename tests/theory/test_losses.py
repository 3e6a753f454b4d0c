"""What written losses are read as, and what they weigh."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.conventions import canonical
from vae_jax.theory.loss_weights import weigh
from vae_jax.theory.losses import parse_loss
from vae_jax.types import UserError

SE, AE, KL = "squared_error", "absolute_error", "kl"
READ = {  # loss -> (kind, factor, over the example, over the batch) of each term
    "mean_se + 0.00025*sum_kl": [(SE, 1, "mean", None), (KL, 0.00025, "sum", None)],
    "l1*sum + 1e-6*kl.sum": [(AE, 1, "sum", None), (KL, 1e-6, "sum", None)],
    "mse + w*kl, w=4": [(SE, 1, "mean", None), (KL, 4, "sum", None)],
    "loss = nn.MSELoss()(a, b) + kld_weight*kl.mean, kld_weight=0.00025": [
        (SE, 1, "mean", "mean"),
        (KL, 0.00025, "mean", None),
    ],
    "0.5*||x - x_hat||^2 + kl_per_element": [(SE, 0.5, "sum", None), (KL, 1, "mean", None)],
    "F.binary_cross_entropy(recon, x.view(-1, 784), reduction='sum') - 0.5 * torch.sum(1 + logvar - mu.pow(2) - "
    "logvar.exp())": [("bce", 1, "sum", "sum"), (KL, 1, "sum", "sum")],
    "torch.mean(-0.5 * torch.sum(1 + log_var - mu ** 2 - log_var.exp(), dim=1), dim=0) + F.mse_loss(a, b)": [
        (KL, 1, "sum", "mean"),
        (SE, 1, "mean", "mean"),
    ],
    "mse_loss(sum) + kl.sum()": [(SE, 1, "sum", "sum"), (KL, 1, "sum", "sum")],
    "(mse.sum + 0.1*l1.sum)/2 - -kl": [(SE, 0.5, "sum", None), (AE, 0.05, "sum", None), (KL, 1, "sum", None)],
    "mse.sum(dim=(1, 2, 3)).mean() + kl.sum(1).batch_sum": [(SE, 1, "sum", "mean"), (KL, 1, "sum", "sum")],
    "tf.reduce_mean(tf.reduce_sum(bce, axis=(1, 2))) + kl.mean(0)": [("bce", 1, "sum", "mean"), (KL, 1, "sum", "mean")],
    "|x - y| + kl": [(AE, 1, "mean", None), (KL, 1, "sum", None)],
}


@pytest.mark.parametrize("text", READ)
def test_a_loss_is_read(text):
    assert [(t.kind, t.factor, t.over, t.batch) for t in parse_loss(text).terms] == READ[text]


def test_arguments_floors_and_sizes():
    def kl(text):
        return parse_loss(f"mse.sum + {text}").kl[0]

    each, whole = {"floor": 0.5, "floor_over": "each"}, {"floor": 0.5, "floor_over": "sum"}
    assert kl("free_bits(0.5)").arguments == each | {"floor_in": "batch"}
    assert kl("2*kl.clamp(min=0.5).sum(1).mean()").arguments == each | {"floor_in": "example"}
    assert kl("max(kl, 0.5)").arguments == whole | {"floor_in": "example"}
    assert kl("clamped*kl.sum(1).mean().clamp(min=0.5), clamped=1").factor == 1
    assert kl("kl.sum(1).mean().clamp(min=0.5)").arguments == whole | {"floor_in": "batch"}
    assert kl("kl*M/D").powers == {"M": 1, "D": -1} and kl("kl*D/D").powers == {}
    assert kl("kl_per_channel(4)").arguments == {"count": 4.0}
    assert parse_loss("huber(delta=0.1) + kl").errors[0].arguments == {"delta": 0.1}
    assert parse_loss("l1 + kl").errors[0].assumed and not parse_loss("l1.mean + kl").errors[0].assumed
    assert parse_loss("l1 + beta*kl", weight=3.0).kl[0].factor == 3.0


@pytest.mark.parametrize(
    ("text", "marked", "why"),
    [
        ("mse + fooo*kl", ">>fooo<<", "not understood"),
        ("rmse + kl", ">>rmse<<", "did you mean mse"),
        ("mse + beta*kl", ">>beta<<", "has no value"),
        ("mse + kl)", ">>)<<", "not understood"),
        ("((mse) + kl", ">>end<<", "is missing"),
        ("mse*l1 + kl", ">>*<<", "by numbers only"),
        ("mse/0 + kl", ">>/<<", "divides by 0"),
        ("mse + 3", "mse", "trains nothing"),
        ("mse +", ">>end<<", "missing"),
        ("mse.", ">>end<<", "missing"),
        ("mse.median + kl", ">>median<<", "sum, mean"),
        ("mse + 1e999*kl", ">>1e999<<", "too large"),
        ("mse.clamp(min=1) + kl", ">>clamp<<", "only a bare KL"),
        ("mse + __import__('os')", ">>__import__<<", "not understood"),
        ("2*kl", "2*kl", "no error of x"),
        ("(" * 50 + "mse", ">>(<<", "too many parentheses"),
        ("mse+" * 900, "--loss", "characters"),
    ],
)
def test_what_is_not_understood_is_marked(text, marked, why):
    with pytest.raises(UserError) as caught:
        parse_loss(text)
    assert marked in str(caught.value) and why in str(caught.value) and "\n" not in str(caught.value)


PIECES = [*"()+-*/.,|^= '", *"mse kl sum mean max 1 0.5 F torch clamp x ||x-y||^2".split()]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=20))
def test_any_text_is_read_or_refused_in_one_line(text):
    try:
        assert parse_loss(text).errors
    except UserError as error:
        assert "\n" not in str(error)


# ---------------------------------------------------------------- weights

WAYS = {"sum": "", "mean": "", "sum+batch_sum": ".batch_sum", "mean+batch_sum": ".batch_sum"}


@pytest.mark.parametrize("recon", ["squared_error", "half_squared_error", "bce"])
def test_the_grammar_agrees_with_canonical(recon):
    name = {"squared_error": "se", "half_squared_error": "0.5*se", "bce": "bce"}[recon]
    for over, error_batch in WAYS.items():
        for latents, kl_batch in WAYS.items():
            error = f"1.7*{name}.{over[:4].rstrip('+')}{error_batch or '.batch_mean'}"
            kl = f"0.3*kl.{latents[:4].rstrip('+')}{kl_batch or '.batch_mean'}"
            c = 1.0 if recon == "bce" else 2.0
            found = weigh(parse_loss(f"{error} + {kl}"), 48, 6, 32, c)
            expected = canonical(recon, over, latents, 0.3, 48, 6, 1.7, 32, c)
            assert found.temperature == pytest.approx(expected.beta * (1 if recon == "bce" else 2), rel=1e-12)
            level = expected.water_level
            assert (found.water_level is None) if level is None else found.water_level == pytest.approx(level)


def test_units_of_x_and_terms_of_one_kind():
    def terms(text, scale=1.0):
        return [(e.kind, round(e.weight, 12), e.width) for e in weigh(parse_loss(text), 10, 4, None, scale).errors]

    assert terms("mse.sum + mse.mean + kl") == [("squared_error", 1.1, 0.0)]
    assert terms("l1.sum + kl", 255.0) == [("absolute_error", 255.0, 0.0)]
    assert terms("huber(delta=4).sum + kl", 2.0) == [("huber", 4.0, 2.0)]
    assert terms("smooth_l1(beta=0.5).sum + kl") == [("huber", 2.0, 0.5)]
    assert terms("pseudo_huber(delta=0.5).sum + kl") == [("charbonnier", 0.5, 0.5)]
    assert terms("charbonnier(eps=4).sum + kl", 2.0) == [("charbonnier", 2.0, 2.0)]
    # A floor under the mean over the latents is M times that under their sum.
    assert weigh(parse_loss("mse.sum + kl.mean(1).clamp(min=0.5).mean()"), 10, 4).floor == (2.0, "sum", "example")
    assert weigh(parse_loss("mse.sum"), 10, 4).flags == "--likelihood=gaussian --precision=fixed --sigma=0.1 --beta=0"
    assert weigh(parse_loss("l1.sum + 3*kl_balance(0.8)"), 10, 4).kl_weight == pytest.approx(0.6)
    assert weigh(parse_loss("mse.sum + 0.3*lpips + kl"), 10, 4).errors[1].weight == 0.3  # one number, no mean over D
    both = weigh(parse_loss("mse.sum + 0.1*focal.sum + gan + kl"), 10, 4)
    assert len(both.cannot) == 2 and both.water_level is None and both.temperature == 1.0


def test_the_batch_is_a_weight_only_where_terms_differ():
    def temperature(text, batch_size=None):
        return weigh(parse_loss(text), 10, 4, batch_size).temperature

    assert temperature("((x - y)**2).sum()/B + kl.sum()/B") == 1.0
    assert temperature("F.mse_loss(x, y, reduction='sum') + kl") == 1.0
    assert temperature("((x - y)**2).sum()/B + kl.sum(1).mean()") == 1.0
    assert temperature("((x - y)**2).sum()/B + kl") == 1.0
    assert temperature("((x - y)**2).sum() + kl.sum(1).mean()", 5) == 0.2
    assert temperature("se.sum + kl.sum()", 5) == 1.0 and temperature("se.sum(1).mean() + kl.sum()", 5) == 5.0
