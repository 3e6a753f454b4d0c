"""The x axis of a sweep's profile: the flag that was swept, on a linear or logarithmic scale or as words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vae_jax.report.figure import label_of
from vae_jax.report.sweep.grouping import WEIGHTS, Setting, Sweep


class Axis(NamedTuple):
    """The x axis: the flag that was swept, on a linear or logarithmic scale or as words.

    Attributes:
      flag: what it shows; for a sweep of beta that is beta_norm.
      values: of all settings that are drawn.
      words: the places of categories.
      betas: beta / beta_norm where that is one number.
    """

    flag: str
    values: list
    words: list[str]
    betas: float | None

    @classmethod
    def of(cls, sweep: Sweep, flag: str) -> Axis:
        """Returns the axis of a sweep along ``flag``."""
        normed = flag == "beta" and all(r.get("beta_norm") is not None for r in sweep.done)
        key = "beta_norm" if normed else flag
        values = [s.at(key) for s in sweep.settings if s.done]
        if not all(isinstance(v, int | float) for v in values):
            return cls(key, values, list(dict.fromkeys(map(str, values))), None)
        ratios = {round(r["beta"] / r["beta_norm"], 6) for r in sweep.done if r.get("beta") and r.get("beta_norm")}
        axis = cls(key, values, [], None)
        return (
            axis._replace(betas=ratios.pop()) if len(ratios) == 1 and axis.scale == "log" and flag == "beta" else axis
        )

    @property
    def scale(self) -> str:
        """ "linear", "log" or "symlog"."""
        positive = [v for v in self.values if v > 0] if not self.words else []
        if not positive or (self.flag not in WEIGHTS and max(positive) <= 10 * min(positive)):
            return "linear"
        return "log" if len(positive) == len(self.values) else "symlog"

    @property
    def label(self) -> str:
        """What is written below the axis."""
        names = {"beta_norm": "β normalised, β M / D", "beta": "β"}
        return names.get(self.flag) or f"--{label_of(self.flag)}"

    def place(self, s: Setting) -> float:
        """Tells where a setting stands on the axis."""
        value = s.at(self.flag)
        return float(self.words.index(str(value))) if self.words else float(value)

    def apply(self, axes) -> None:
        """Sets the scale, the margins and the ticks of a panel."""
        if self.words:
            axes.set_xticks(range(len(self.words)), [label_of(word, 60 // len(self.words)) for word in self.words])
            axes.margins(x=0.4 / len(self.words))
            return
        linear_to = {"linthresh": min(v for v in self.values if v > 0)} if self.scale == "symlog" else {}
        axes.set_xscale(self.scale, **linear_to)
        axes.margins(x=0.06)
        if self.scale == "log":
            _log_ticks(axes.xaxis, self.values)
            if max(self.values) == min(self.values):  # matplotlib would put a single value at an edge
                axes.set_xlim(self.values[0] / 2, 2 * self.values[0])

    def beta_on_top(self, axes) -> None:
        """Adds an axis above the panel, in beta itself."""
        betas = self.betas
        top = axes.secondary_xaxis("top", functions=(lambda x: x * betas, lambda x: x / betas))
        top.spines["top"].set_visible(True)
        top.tick_params(labelsize=7, pad=1)
        top.set_xlabel("β", labelpad=4)
        _log_ticks(top.xaxis, [v * betas for v in self.values])


def _log_ticks(axis, values: Sequence[float]) -> None:
    """Puts plain numbers on a logarithmic axis: decades, 1, 2 and 5 of each where it spans few, or the only value."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    few = max(values) < 30 * min(values)
    locator = LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12)
    axis.set_major_locator(FixedLocator(values[:1]) if max(values) == min(values) else locator)
    axis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axis.set_minor_formatter(lambda value, _: "")
    if few:
        axis.set_minor_locator(NullLocator())
