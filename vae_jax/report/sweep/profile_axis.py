"""The x axis of a sweep's profile: the flag that was swept, on a linear or logarithmic scale or as words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vae_jax.report.figure import label_of
from vae_jax.report.sweep.grouping import Setting, at
from vae_jax.report.sweep.lines import Line
from vae_jax.report.sweep.sweep_files import Row


class Axis(NamedTuple):
    """The x axis.

    Attributes:
      flag: what it shows; for a sweep of beta that is beta_norm.
      label: what is written below it.
      scale: "linear", "log", "symlog" or "categories".
      betas: beta / beta_norm where that is one number.
      threshold: below it a symlog axis is linear.
      words: the places of categories.
      ends: the least and the largest place.
    """

    flag: str
    label: str
    scale: str
    betas: float | None
    threshold: float
    words: list[str]
    ends: tuple[float, float]

    @classmethod
    def of(cls, flag: str, lines: Sequence[Line], rows: Sequence[Row]) -> Axis:
        """Returns the axis of ``lines`` along ``flag``; ``rows`` are the finished runs."""
        key = "beta_norm" if flag == "beta" else flag
        values = [at(s, key) for line in lines for s in line.group.living]
        if not all(isinstance(v, int | float) for v in values):
            words = list(dict.fromkeys(map(str, values)))
            return cls(key, f"--{label_of(key)}", "categories", None, 1.0, words, (-0.4, len(words) - 0.6))
        positive = [v for v in values if v > 0]
        scale = "linear"
        if positive and (flag == "beta" or max(positive) > 10 * min(positive)):
            scale = "log" if len(positive) == len(values) else "symlog"
        ratios = {round(r["beta"] / r["beta_norm"], 6) for r in rows if r.get("beta") and r.get("beta_norm")}
        betas = ratios.pop() if flag == "beta" and len(ratios) == 1 and scale == "log" else None
        label = "β normalised, β M / D" if flag == "beta" else f"--{label_of(key)}"
        return cls(key, label, scale, betas, min(positive, default=1.0), [], (min(values), max(values)))

    def place(self, s: Setting) -> float:
        """Tells where a setting stands on the axis."""
        value = at(s, self.flag)
        return float(self.words.index(str(value))) if self.words else float(value)

    def limits(self, more: Sequence[float]) -> tuple[float, float]:
        """Returns the ends of the axis, with ``more`` on it where it is not far off, and a margin."""
        low, high = self.ends
        if self.scale == "log":
            more = [x for x in more if low / 30 < x < 30 * high]
            low, high = min([low, *more]), max([high, *more])
            margin = max((high / low) ** 0.06, 1.3)
            return low / margin, high * margin
        if self.scale == "symlog":
            return low - 0.3 * self.threshold, 1.5 * max([high, *(x for x in more if x < 30 * high)])
        margin = 0.06 * (high - low) or 0.5 * max(abs(high), 1.0)
        return low - margin, high + margin

    def apply(self, axes, more: Sequence[float]) -> None:
        """Sets the scale, the limits and the ticks of a panel."""
        if self.scale in ("log", "symlog"):
            axes.set_xscale(self.scale, **({"linthresh": self.threshold} if self.scale == "symlog" else {}))
        low, high = self.limits(more)
        axes.set_xlim(low, high)
        if self.words:
            axes.set_xticks(range(len(self.words)), [label_of(word, 60 // len(self.words)) for word in self.words])
        elif self.scale == "log" and self.ends[0] == self.ends[1] and not [x for x in more if low < x < high]:
            axes.set_xticks([self.ends[0]], [f"{self.ends[0]:.3g}"])
            axes.minorticks_off()
        elif self.scale == "log":
            _log_ticks(axes.xaxis, high / low)

    def beta_on_top(self, axes) -> None:
        """A second axis above the panel, in beta itself."""
        betas = self.betas
        top = axes.secondary_xaxis("top", functions=(lambda x: x * betas, lambda x: x / betas))
        top.spines["top"].set_visible(True)
        top.tick_params(labelsize=7, pad=1)
        low, high = axes.get_xlim()
        if self.ends[0] == self.ends[1] and len(axes.get_xticks()) == 1:
            top.set_xticks([self.ends[0] * betas], [f"β = {self.ends[0] * betas:.3g}"])
            top.minorticks_off()
        else:
            top.set_xlabel("β", labelpad=2)
            _log_ticks(top.xaxis, high / low)


def _log_ticks(axis, ratio: float) -> None:
    """Plain numbers on a logarithmic axis: decades, or 1, 2 and 5 of each where it spans few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    few = ratio < 50
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())
    if few:
        axis.set_minor_locator(NullLocator())
