"""The instructions of a compiled program: what kind each is, and the operations of the products in it.

XLA's text has a line for each instruction and a block for each computation; a fusion calls a computation, whose lines
say what it does. Shapes of operands stand where the operand is defined.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np

CONVOLUTION, PRODUCT, ELEMENTWISE, REDUCTION = "convolution", "matrix product", "elementwise", "reduction"
LOOKUP, LAYOUT, OTHER = "lookup, scatter, sort", "copy, transpose", "other"
KINDS = (CONVOLUTION, PRODUCT, ELEMENTWISE, REDUCTION, LOOKUP, LAYOUT, OTHER)
HOLDERS = ("while", "conditional", "call")  # what they hold is timed by itself
# What moves numbers and computes none.
MOVES = frozenset(
    "bitcast broadcast concatenate constant copy dynamic-slice dynamic-update-slice get-tuple-element pad parameter "
    "reshape reverse slice transpose tuple".split()
)
# What stands around a lookup: its indices are wrapped and clamped, and what is out of range is replaced.
AROUND = MOVES | frozenset("add and clamp compare convert iota maximum minimum or select".split())
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) [^\n]*\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$", re.MULTILINE)
_CALLED = re.compile(r"(?:calls|to_apply|body)=%?([\w.\-]+)")


class Line(NamedTuple):
    """A line of the text: an instruction's name, the type of its result, its operation, and what follows."""

    name: str
    type: str
    operation: str
    rest: str


class Instruction(NamedTuple):
    """What the instructions of a trace are looked up as.

    Attributes:
      kind: in ``KINDS``; None of one that only holds others.
      flops: of the products in it, once; a multiplication and an addition are two.
      source: the place in our program that it is made of, as XLA knows it.
    """

    kind: str | None
    flops: float
    source: str


def computations(text: str) -> tuple[dict[str, list[Line]], str]:
    """Returns the lines of each computation of a compiled text, and the name of the one that is run."""
    found = _COMPUTATION.findall(text)
    entry = next(name for is_entry, name, _ in found if is_entry)
    return {name: [Line(*line) for line in _LINE.findall(body)] for _, name, body in found}, entry


def instructions(text: str) -> dict[str, Instruction]:
    """Returns the instructions of a compiled text by their names, which no two have in common."""
    bodies, _ = computations(text)
    return {line.name: _instruction(line, lines, bodies) for lines in bodies.values() for line in lines}


def _instruction(line: Line, lines: list[Line], bodies: dict[str, list[Line]]) -> Instruction:
    source = re.search(r'op_name="([^"]*)"', line.rest)
    # A call that is small is one kernel; others, and loops, run what they hold piece by piece.
    if line.operation in HOLDERS and "xla_cpu_small_call" not in line.rest:
        return Instruction(None, 0.0, source[1] if source else "")
    inside = [pair for pair in _inside(line, lines, bodies)]
    flops = sum(_flops(inner, around) for inner, around in inside)
    return Instruction(_kind(inside), flops, source[1] if source else "")


def _inside(line: Line, lines: list[Line], bodies: dict[str, list[Line]]) -> list[tuple[Line, list[Line]]]:
    """What an instruction does: itself, or the lines of the computation that it calls, each with those beside it."""
    if line.operation not in ("fusion", *HOLDERS):
        return [(line, lines)]
    called = [bodies[name] for name in _CALLED.findall(line.rest) if name in bodies]
    return [pair for body in called for inner in body for pair in _inside(inner, body, bodies)]


def _kind(inside: list[tuple[Line, list[Line]]]) -> str:
    operations = {line.operation for line, _ in inside}
    targets = " ".join(line.rest for line, _ in inside if line.operation == "custom-call").lower()
    if "convolution" in operations or "conv" in targets:
        return CONVOLUTION
    if "dot" in operations or "matmul" in targets or "gemm" in targets:
        return PRODUCT
    if operations & {"scatter", "sort"} or ("gather" in operations and operations <= AROUND | {"gather"}):
        return LOOKUP
    if operations & {"reduce", "reduce-window"}:
        return REDUCTION
    if "custom-call" in operations or not operations:
        return OTHER
    return LAYOUT if operations <= MOVES else ELEMENTWISE


def _flops(line: Line, beside: list[Line]) -> float:
    if line.operation not in ("dot", "convolution"):
        return 0.0
    types = {other.name: other.type for other in beside}
    left, right = (_shape(types[name]) for name in re.findall(r"%?([\w.\-]+)", line.rest.split(")")[0])[:2])
    out = _shape(line.type)
    if line.operation == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line.rest)
        sides = [int(axis) for axis in contracted[1].split(",") if axis] if contracted else []
        return 2.0 * math.prod(out) * math.prod(left[axis] for axis in sides)
    return _convolved(line.rest, left, right, out)


def _convolved(rest: str, image: list[int], kernel: list[int], out: list[int]) -> float:
    """The operations of a convolution; products with padding, or with zeros between the pixels, are none."""
    of_image, of_kernel, of_out = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", rest).groups()
    window = dict(re.findall(r"(\w+)=(\S+)", re.search(r"window=\{(.*?)\}", rest)[1])) if "window={" in rest else {}
    spatial = [label for label in of_out if label.isdigit()]
    others = {name: ["1"] * len(spatial) for name in ("stride", "lhs_dilate", "rhs_dilate")}
    others = {name: window[name].split("x") if name in window else ones for name, ones in others.items()}
    pads = window["pad"].split("x") if "pad" in window else ["0_0"] * len(spatial)
    total = 2.0 * math.prod(out[i] for i, label in enumerate(of_out) if not label.isdigit())
    total *= kernel[of_kernel.index("i")]
    for i, label in enumerate(sorted(spatial)):
        stride, between, apart = (int(others[name][i]) for name in ("stride", "lhs_dilate", "rhs_dilate"))
        places = np.arange(out[of_out.index(label)])[:, None] * stride - int(pads[i].split("_")[0])
        places = places + np.arange(kernel[of_kernel.index(label)]) * apart
        last = (image[of_image.index(label)] - 1) * between
        total *= np.count_nonzero((places >= 0) & (places <= last) & (places % between == 0))
    return float(total)


def _shape(type_: str) -> list[int]:
    sizes = re.search(r"\[([\d,]*)\]", type_)[1]
    return [int(size) for size in sizes.split(",") if size]
