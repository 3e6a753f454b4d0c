"""The figures of a benchmark: ratios to peers and shares of the hardware's rate; how cost grows."""

from __future__ import annotations

from typing import Any

import numpy as np

from vae_jax.report.figure import FAINT, MARK, TEST, TRAIN, Figure, draw

_TICKS = [m * 10.0**e for e in range(-3, 7) for m in (1, 2, 5)]


def plates(found: dict[str, Any]) -> list[Figure]:
    """The figures of what benchmark.json holds: ``benchmark.png``, and ``growth.png`` where growth was measured."""
    drawn = [_rows(found)] if found["rows"] else []
    return drawn + ([_growth(found["growth"])] if found.get("growth") else [])


def label(row: dict[str, Any]) -> str:
    """A row's name."""
    runs = f" of {row['runs']}" if row["runs"] > 1 else ""
    samples = f", K = {row['iw_samples']}" if row.get("iw_samples") else ""
    return f"{row['model']} {row['mode']}{runs}{samples}"


def _rows(found: dict[str, Any]) -> Figure:
    rows = found["rows"]
    compared = [(i, peer) for i, row in enumerate(rows) for peer in row.get("peers", ()) if "ratio" in peer]
    names = sorted({f"{peer['peer']} {peer['variant']}" for _, peer in compared})
    colors = dict(zip(names, (TRAIN, TEST, FAINT)))

    def paint(figure):
        panels = figure.subplots(1, 2 if compared else 1, sharey=True, squeeze=False)[0]
        places = np.arange(len(rows))
        panels[0].barh(places, [100 * row["flops_share"] for row in rows], color=TRAIN, height=0.6)
        panels[0].set_xlabel(f"% of {found['matmul_gflops']:.4g} GFLOP/s (matrix products)")
        panels[0].set_yticks(places, [label(row) for row in rows])
        panels[0].invert_yaxis()
        for name in names if compared else ():
            own = [(i, peer) for i, peer in compared if f"{peer['peer']} {peer['variant']}" == name]
            at = np.array([i for i, _ in own]) + 0.15 * (names.index(name) - (len(names) - 1) / 2)
            ratio = np.array([peer["ratio"] for _, peer in own])
            low, high = np.array([peer["ratio_spread"] for _, peer in own]).T
            errors = [ratio - low, high - ratio]
            panels[1].errorbar(ratio, at, xerr=errors, fmt="o", markersize=3, color=colors[name], label=name)
        if compared:
            panels[1].axvline(1.0, color=MARK, linewidth=0.6, linestyle=":")
            panels[1].set_xscale("log")
            _plain_logarithm(panels[1].xaxis, np.concatenate([peer["ratio_spread"] for _, peer in compared]))
            panels[1].minorticks_off()
            panels[1].set_xlabel("times the peer's examples per second")
            panels[1].legend(loc="best")

    caption = f"Speed on {found['device']}: operations a second as a share of the rate of matrix products"
    caption += ", and examples a second over a peer's, median and range." if compared else "."
    return Figure("benchmark.png", caption, draw(paint, height=0.9 + 0.28 * len(rows)))


def _plain_logarithm(axis: Any, values: np.ndarray) -> None:
    """At least a factor of eight to be seen, so that noise looks like noise, and ticks that are plain numbers."""
    low, high = np.log(np.min(values)), np.log(np.max(values))
    middle, reach = (low + high) / 2, max((high - low) / 2 + 0.1, np.log(8) / 2)
    low, high = np.exp([middle - reach, middle + reach])
    (axis.axes.set_xlim if axis.axis_name == "x" else axis.axes.set_ylim)(low, high)
    inside = [n for n in _TICKS if low <= n <= high]
    axis.set_ticks(inside[:: 1 + len(inside) // 6], [f"{n:g}" for n in inside[:: 1 + len(inside) // 6]])


def _growth(axes: list[dict[str, Any]]) -> Figure:
    def paint(figure):
        panels = figure.subplots(2, len(axes), squeeze=False)
        for column, axis in enumerate(axes):
            for panel, values, what, unit in (
                (panels[0, column], np.array(axis["seconds"]) * 1e3, "time", "ms per update"),
                (panels[1, column], np.array(axis["bytes"]) / 1e6, "memory", "MB"),
            ):
                sizes, theory = np.array(axis["sizes"], float), axis[what]["theory"]
                line = np.exp(np.mean(np.log(values))) * (sizes / np.exp(np.mean(np.log(sizes)))) ** theory
                panel.loglog(sizes, line, color=FAINT, linestyle="--")
                panel.loglog(sizes, values, color=TRAIN, marker="o", markersize=3)
                panel.set_title(f"{axis[what]['exponent']:.2f} (theory {theory:g})", fontsize=8)
                panel.set_xticks(sizes, [f"{int(n)}" for n in sizes], rotation=45, fontsize=6)
                _plain_logarithm(panel.yaxis, np.concatenate([values, line]))
                panel.minorticks_off()
                if column == 0:
                    panel.set_ylabel(unit)
            panels[1, column].set_xlabel(axis["name"])

    caption = "How cost grows: measured (dots), and the theoretical exponent through their middle (dashes)."
    return Figure("growth.png", caption, draw(paint, height=3.6, width=1.6 * len(axes) + 0.6))
