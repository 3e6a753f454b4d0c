"""Traces: the kinds and operations of instructions, what is under way when, and a program whose make-up is known."""

from __future__ import annotations

import itertools
import json

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark import cases, machine, timing, trace
from experiments.benchmark.instructions import (
    CONVOLUTION,
    ELEMENTWISE,
    KINDS,
    LAYOUT,
    LOOKUP,
    OTHER,
    PRODUCT,
    REDUCTION,
    Instruction,
    instructions,
)
from vae_jax.types import UserError

TEXT = """HloModule jit_f, is_scheduled=true

%fused_product (p0: f32[4,8], p1: f32[8,16]) -> f32[4,16] {
  %p0 = f32[4,8]{1,0} parameter(0)
  %p1 = f32[8,16]{1,0} parameter(1)
  %dot.1 = f32[4,16]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %tanh.1 = f32[4,16]{1,0} tanh(%dot.1)
}

%fused_lookup (p2: f32[9,4], p3: s32[5]) -> f32[5,4] {
  %p2 = f32[9,4]{1,0} parameter(0)
  %p3 = s32[5]{0} parameter(1)
  %add.1 = s32[5]{0} add(%p3, %p3)
  ROOT %gather.1 = f32[5,4]{1,0} gather(%p2, %add.1), offset_dims={1}
}

%fused_mixed (p4: f32[9,4], p5: s32[5]) -> f32[5,4] {
  %p4 = f32[9,4]{1,0} parameter(0)
  %p5 = s32[5]{0} parameter(1)
  %gather.2 = f32[5,4]{1,0} gather(%p4, %p5), offset_dims={1}
  ROOT %tanh.2 = f32[5,4]{1,0} tanh(%gather.2)
}

%body (p6: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %p6 = (s32[], /*index=1*/f32[4,8]{1,0}) parameter(0)
  %copy.1 = f32[4,8]{0,1} copy(%p6)
  %f.1 = f32[4,16]{1,0} fusion(%copy.1, %w), kind=kCustom, calls=%fused_product, metadata={op_name="jit(f)/layer/dot"}
  %f.2 = f32[5,4]{1,0} fusion(%t, %i), kind=kLoop, calls=%fused_lookup
  %f.3 = f32[5,4]{1,0} fusion(%t, %i), kind=kLoop, calls=%fused_mixed
  %r.1 = f32[] reduce(%f.1, %z), dimensions={0,1}, to_apply=%add
  %s.1 = s32[5]{0} sort(%i), dimensions={0}, to_apply=%less
  ROOT %c.1 = (s32[], f32[4,8]) custom-call(%f.1), custom_call_target="something"
}

ENTRY %main (a: f32[4,8]) -> f32[4,8] {
  %a = f32[4,8]{1,0} parameter(0)
  %small = f32[4,16]{1,0} call(%a), to_apply=%body, frontend_attributes={xla_cpu_small_call="true"}
  ROOT %while.1 = (s32[], f32[4,8]) while(%a), condition=%k, body=%body
}
"""


def test_an_instruction_is_of_the_kind_of_what_it_does():
    found = instructions(TEXT)
    kinds = {"copy.1": LAYOUT, "f.1": PRODUCT, "f.2": LOOKUP, "f.3": ELEMENTWISE, "r.1": REDUCTION, "s.1": LOOKUP}
    for name, kind in (kinds | {"c.1": OTHER, "while.1": None, "small": PRODUCT}).items():
        assert found[name].kind == kind, name
    assert found["f.1"].flops == found["small"].flops == 2 * 4 * 8 * 16 and found["f.1"].source == "jit(f)/layer/dot"
    assert sum(found[name].flops for name in ("copy.1", "f.2", "f.3", "r.1", "while.1")) == 0


def _operations(function, *shapes):
    text = jax.jit(function).lower(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).compile().as_text()
    _, entry = text.split("\nENTRY ", 1)
    found = instructions(text)
    return sum(own.flops for name, own in found.items() if f"%{name} = " in entry), {own.kind for own in found.values()}


@pytest.mark.parametrize(
    "options",
    [
        {"window_strides": (1, 1), "padding": "SAME"},
        {"window_strides": (2, 2), "padding": [(1, 2), (0, 1)]},
        {"window_strides": (1, 1), "padding": [(2, 1), (2, 2)], "lhs_dilation": (2, 2)},
        {"window_strides": (1, 2), "padding": "VALID", "rhs_dilation": (2, 1)},
        {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2},
    ],
)
def test_operations_of_a_convolution_are_its_products_with_what_is_there(options):
    image, kernel = (3, 8, 9, 4), (3, 3, 4 // options.get("feature_group_count", 1), 6)

    def convolve(x, k):
        return jax.lax.conv_general_dilated(x, k, **options, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    # Of ones each output is the number of products that it is the sum of.
    expected = 2 * float(convolve(jnp.ones(image), jnp.ones(kernel)).sum())
    found, kinds = _operations(convolve, image, kernel)
    assert found == expected and kinds & {CONVOLUTION, PRODUCT}


def test_operations_of_a_product_are_those_of_its_shapes():
    assert _operations(lambda a, b: a @ b, (24, 40), (40, 56))[0] == 2 * 24 * 40 * 56
    batched = _operations(lambda a, b: jnp.einsum("bij,bkj->bik", a, b), (3, 24, 40), (3, 56, 40))
    assert batched[0] == 3 * 2 * 24 * 40 * 56


def test_each_instant_is_shared_by_what_is_under_way():
    def ran(first, last, kind, flops=0.0):
        return trace.Ran(first, last, kind, Instruction(kind, flops, ""))

    # Two seconds of a product, of which one beside a copy; then one of nothing, and one of a reduction.
    operations = [ran(10.0, 12.0, PRODUCT, 6e9), ran(11.0, 12.0, LAYOUT), ran(13.0, 14.0, REDUCTION)]
    threads = [(9.0, 12.5, 0), (10.0, 11.5, 3), (10.5, 11.0, 3), (13.0, 14.0, 3)]
    found = trace.shares(trace.Trace(operations, threads))
    assert found["waiting"] == pytest.approx(0.25)
    assert found["kinds"][PRODUCT] == pytest.approx({"share": 0.375, "count": 1, "gflops": 4.0})
    assert found["kinds"][LAYOUT]["share"] == pytest.approx(0.125) and list(found["kinds"]) == [
        kind for kind in KINDS if kind in (PRODUCT, LAYOUT, REDUCTION)
    ]
    # Until 11.5 there are two threads at work, whatever lies within what; then one until 12.5, none, one.
    assert found["threads"] == pytest.approx([0.125, 0.5, 0.375])
    assert sum(own["share"] for own in found["kinds"].values()) + found["waiting"] == pytest.approx(1.0)


def test_a_program_whose_make_up_is_known(tmp_path):
    rounds, side = 6, 192

    @jax.jit
    def program(a, table, rows):
        def body(b, _):
            return jnp.tanh(b @ a) + table[rows], jnp.sum(b, axis=0)

        return jax.lax.scan(body, a, None, rounds)

    a = jnp.eye(side)
    given = (a, jnp.ones((50, side)), jnp.arange(side) % 50)
    text = program.lower(*given).compile().as_text()
    jax.block_until_ready(program(*given))
    with jax.profiler.trace(tmp_path):
        jax.block_until_ready(program(*given))
    found = trace.read(tmp_path, instructions(text), "jit_program")
    products = [r for r in found.ran if r.what.kind == PRODUCT]
    assert len(products) == rounds and {r.what.flops for r in products} == {2 * side**3}
    assert all(one.last <= two.first for one, two in itertools.pairwise(products))  # each needs the one before
    kinds = trace.shares(found)["kinds"]
    assert 0.1 < kinds[PRODUCT]["gflops"] < 1e5 and kinds[PRODUCT]["share"] > 0.02
    assert CONVOLUTION not in kinds and (ELEMENTWISE in kinds or LOOKUP in kinds)
    # What is not known by the program's text is told apart from it.
    others = trace.read(tmp_path, instructions(text), "jit_another").ran
    assert {r.what.kind for r in others} == {OTHER} and len(others) >= len(found.ran)
    with pytest.raises(UserError, match="no trace"):
        trace.read(tmp_path / "nothing", {}, "jit_program")


def test_the_command_keeps_a_table_of_each_model_and_mode(tmp_path, monkeypatch, capsys):
    tiny = {"model": "mlp", "hidden": "8,8", "latent_dim": 2, "likelihood": "bernoulli", "batch_size": 16}
    monkeypatch.setattr(cases, "CASES", {"mlp": (tiny, (8, 8, 1), 3)})
    monkeypatch.setattr(timing, "SIDES", {"cpu": (64, 128), "default": (64, 128)})
    monkeypatch.setattr(machine, "cores_in_use", lambda: 9.0)  # shares are kept of a busy machine, too
    trace.main(trace.Config(models="mlp", results=str(tmp_path)))
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_text())
    named = [(t["model"], t["mode"], t["units"]) for t in kept["traces"]]
    assert named == [("mlp", "chunk", 6), ("mlp", "evaluate", 2000)]
    for entry in kept["traces"]:
        assert sum(own["share"] for own in entry["kinds"].values()) + entry["waiting"] == pytest.approx(1.0, abs=0.01)
        assert sum(entry["threads"]) == pytest.approx(1.0, abs=0.01) and entry["seconds"] > 0
    # Two layers of the encoder, two heads or one of both, and three products of the decoder, in each of 4 parts.
    assert kept["traces"][0]["kinds"][PRODUCT]["count"] >= 6 * 6
    out = capsys.readouterr().out
    assert "mlp 8x8x1, training in chunks: 6 updates" in out and "| matrix product |" in out
    assert "no thread works" in out
    trace.main(trace.Config(models="mlp", modes="chunk", results=str(tmp_path)))
    assert len(json.loads(path.read_text())["traces"]) == 2  # the same in place of the old


@pytest.mark.parametrize(("flags", "match"), [({"models": "mpl"}, "'mpl' is not there"), ({"modes": "step"}, "'step'")])
def test_what_cannot_be_traced_is_refused(flags, match):
    with pytest.raises(UserError, match=match):
        trace.main(trace.Config(**flags))
