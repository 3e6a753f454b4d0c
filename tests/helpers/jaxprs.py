"""Reads the program that a function traces to."""

from __future__ import annotations

from jax.extend.core import jaxprs_in_params


def loops(jaxpr):
    """All scans, those inside of calls too."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from loops(inner)
