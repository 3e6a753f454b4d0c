"""The figures of a benchmark: ratios to peers and shares of the hardware's rate; how cost grows."""

from __future__ import annotations

from typing import Any

import numpy as np

from vae_jax.report.figure import FAINT, MARK, TEST, TRAIN, Figure, draw

from .rows import mode_of

_TICKS = [m * 10.0**e for e in range(-3, 7) for m in (1, 2, 5)]


def figures_of(results: dict[str, Any]) -> list[Figure]:
    """Returns the figures of benchmark.json: ``benchmark.png``, and ``growth.png`` where growth was measured."""
    drawn = [_speed(results)] if results["rows"] else []
    return drawn + ([_growth(results["growth"])] if results.get("growth") else [])


def _speed(results: dict[str, Any]) -> Figure:
    rows, compared = results["rows"], {}
    for i, row in enumerate(rows):
        for peer in row.get("peers", ()):
            if "ratio" in peer:
                compared.setdefault(f"{peer['peer']} {peer['variant']}", []).append(
                    (i, peer["ratio"], peer["ratio_spread"])
                )

    def paint(figure):
        shares, *ratios = figure.subplots(1, 2 if compared else 1, sharey=True, squeeze=False)[0]
        shares.barh(np.arange(len(rows)), [100 * row["flops_share"] for row in rows], color=TRAIN, height=0.6)
        shares.set_xlabel(f"% of {results['matmul_gflops']:.4g} GFLOP/s (matrix products)")
        shares.set_yticks(np.arange(len(rows)), [f"{row['model']} {mode_of(row)}" for row in rows])
        shares.invert_yaxis()
        for axes in ratios:
            for j, (name, color) in enumerate(zip(sorted(compared), (TRAIN, TEST, FAINT))):
                at, ratio, spread = map(np.array, zip(*compared[name]))
                at = at + 0.15 * (j - (len(compared) - 1) / 2)
                errors = [ratio - spread[:, 0], spread[:, 1] - ratio]
                axes.errorbar(ratio, at, xerr=errors, fmt="o", markersize=3, color=color, label=name)
            axes.axvline(1.0, color=MARK, linewidth=0.6, linestyle=":")
            axes.set_xscale("log")
            _plain_logarithm(axes.xaxis, np.concatenate([entry[2] for own in compared.values() for entry in own]))
            axes.set_xlabel("times the peer's examples per second")
            axes.legend(loc="best")

    caption = f"Speed on {results['device']}: operations a second as a share of the rate of matrix products"
    caption += ", and examples a second over a peer's, median and range." if compared else "."
    return Figure("benchmark.png", caption, draw(paint, height=0.9 + 0.28 * len(rows)))


def _plain_logarithm(axis: Any, values: np.ndarray) -> None:
    """Shows at least a factor of eight, so that noise looks like noise, with ticks that are plain numbers."""
    low, high = np.log(np.min(values)), np.log(np.max(values))
    middle, reach = (low + high) / 2, max((high - low) / 2 + 0.1, np.log(8) / 2)
    low, high = np.exp([middle - reach, middle + reach])
    (axis.axes.set_xlim if axis.axis_name == "x" else axis.axes.set_ylim)(low, high)
    inside = [n for n in _TICKS if low <= n <= high]
    axis.set_ticks(inside[:: 1 + len(inside) // 6], [f"{n:g}" for n in inside[:: 1 + len(inside) // 6]])
    axis.axes.minorticks_off()


def _growth(axes: list[dict[str, Any]]) -> Figure:
    def paint(figure):
        panels = figure.subplots(2, len(axes), squeeze=False)
        for column, axis in zip(panels.T, axes):
            sizes = np.array(axis["sizes"], float)
            shown = (("time", np.array(axis["seconds"]) * 1e3), ("memory", np.array(axis["bytes"]) / 1e6))
            for panel, (what, values) in zip(column, shown):
                theory = axis[what]["theory"]
                line = np.exp(np.mean(np.log(values))) * (sizes / np.exp(np.mean(np.log(sizes)))) ** theory
                panel.loglog(sizes, line, color=FAINT, linestyle="--")
                panel.loglog(sizes, values, color=TRAIN, marker="o", markersize=3)
                panel.set_title(f"{axis[what]['exponent']:.2f} (theory {theory:g})", fontsize=8)
                panel.set_xticks(sizes, [f"{int(n)}" for n in sizes], rotation=45, fontsize=6)
                _plain_logarithm(panel.yaxis, np.concatenate([values, line]))
            column[1].set_xlabel(axis["name"])
        panels[0, 0].set_ylabel("ms per update")
        panels[1, 0].set_ylabel("MB")

    caption = "How cost grows: measured (dots), and the theoretical exponent through their middle (dashes)."
    return Figure("growth.png", caption, draw(paint, height=3.6, width=1.6 * len(axes) + 0.6))
