"""The words in which people write losses, and what each stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class Term(NamedTuple):
    """One term of a loss.

    Attributes:
      kind: "squared_error", "absolute_error", "huber", "smooth_l1", "pseudo_huber", "charbonnier", "bce", "nll",
        "focal", "spectrum", "features", "adversarial", "other" or "kl"; "number" inside the parser only.
      factor: all numbers before it, multiplied, with the sign.
      over: "sum" or "mean" over the values of an example (of "kl": over the latents).
      batch: "sum" or "mean" over the batch, None where it is not said.
      powers: of D, M and B in the factor: ``kl/D`` has {"D": -1}.
      arguments: the numbers in its parentheses by name ("delta", "eps", "gamma", "floor", "count", "balance"); beside a
        "floor", "floor_over" is "each" latent or their "sum", and "floor_in" the mean of the "batch" or each "example".
      words: the word, as written.
      assumed: ``over`` was not said; it is PyTorch's default, a mean.
    """

    kind: str
    factor: float = 1.0
    over: str | None = None
    batch: str | None = None
    powers: Mapping[str, int] = {}
    arguments: Mapping[str, Any] = {}
    words: str = ""
    assumed: bool = False


class Word(NamedTuple):
    """What a word stands for.

    Attributes:
      kind: of the term, one of those in ``Term``.
      over: the reduction that the word itself says ("sse" is a sum), None where it says none or a default.
      parameter: the name of the number in its parentheses, None where it takes none.
      default: of that number; None where it has to be written.
    """

    kind: str
    over: str | None = None
    parameter: str | None = None
    default: float | None = None


_SQUARED, _ABSOLUTE, _BCE = Word("squared_error"), Word("absolute_error"), Word("bce")
_SPECTRUM, _FEATURES, _ADVERSARIAL, _OTHER = (Word(k) for k in ("spectrum", "features", "adversarial", "other"))
_KL = Word("kl")
WORDS: dict[str, Word] = {
    **dict.fromkeys(("se", "mse", "mean_squared_error", "l2", "squared_error", "gaussian"), _SQUARED),
    **dict.fromkeys(("sse",), _SQUARED._replace(over="sum")),
    **dict.fromkeys(("l1", "ae", "mae", "mean_absolute_error", "abs", "absolute_error", "laplace"), _ABSOLUTE),
    **dict.fromkeys(("sae",), _ABSOLUTE._replace(over="sum")),
    "huber": Word("huber", parameter="delta", default=1.0),
    "smooth_l1": Word("smooth_l1", parameter="beta", default=1.0),
    "pseudo_huber": Word("pseudo_huber", parameter="delta", default=1.0),
    "charbonnier": Word("charbonnier", parameter="eps", default=1e-3),
    **dict.fromkeys(("bce", "binary_cross_entropy", "binary_crossentropy", "binarycrossentropy"), _BCE),
    **dict.fromkeys(("bce_with_logits", "binary_cross_entropy_with_logits", "bcewithlogits"), _BCE),
    **dict.fromkeys(("nll", "ce", "cross_entropy", "crossentropy", "neg_log_likelihood"), Word("nll")),
    "focal": Word("focal", parameter="gamma", default=2.0),
    **dict.fromkeys(("stft", "mel", "spectral", "spectrum", "log_mel", "multi_resolution_stft"), _SPECTRUM),
    **dict.fromkeys(("lpips", "perceptual", "vgg", "features", "dists", "feature_matching"), _FEATURES),
    **dict.fromkeys(("gan", "adv", "adversarial", "disc", "discriminator", "generator"), _ADVERSARIAL),
    **dict.fromkeys(("vq", "commitment", "commit", "codebook", "ssim", "ms_ssim", "tc", "mmd"), _OTHER),
    **dict.fromkeys(("kl", "kld", "kl_div", "kl_divergence", "dkl", "d_kl", "rate"), _KL),
    **dict.fromkeys(("kl_per_element", "kl_per_latent", "kl_per_dim"), _KL._replace(over="mean")),
    **dict.fromkeys(
        ("kl_per_channel", "kl_per_position", "kl_per_pixel", "kl_per_step", "kl_per_token"),
        _KL._replace(parameter="count"),
    ),
    "kl_balance": _KL._replace(parameter="balance", default=0.8),
    **dict.fromkeys(("free_bits", "free_nats"), _KL._replace(parameter="floor")),
}
MODULES = ("F", "torch", "nn", "functional", "tf", "keras", "losses", "K", "ops", "np", "jnp", "self", "optax", "math")
REDUCTIONS = ("sum", "mean")
SYMBOLS = {"D": "D", "M": "M", "B": "B", "N": "B", "batch_size": "B", "data_dim": "D", "latent_dim": "M"}
_ALL = re.compile(r"(sum|mean)_(?=\w)|_(sum|mean)$")

_NAME = r"[A-Za-z_][\w.]*"
_X = rf"{_NAME}(?:\({_NAME}\))?"
_DIFFERENCE = rf"{_X}\s*-\s*{_X}"
_TWO = r"\s*(?:\^|\*\*)\s*2(?![\d.])"
_SQUARE_OF = rf"(?:{_NAME}(?:\.pow\(2\)|{_TWO})|(?:\w+\.)?(?:square|pow)\({_NAME}(?:\s*,\s*2)?\))"
_EXP_OF = rf"(?:{_NAME}\.exp\(\)|(?:\w+\.)?exp\({_NAME}\))"
# Formulas that are one thing, each with the kind, the factor and the reduction that it stands for.
FORMULAS: tuple[tuple[str, str, float, str | None], ...] = (
    (rf"\|\|\s*{_DIFFERENCE}\s*\|\|(?:_2)?{_TWO}", "squared_error", 1.0, "sum"),
    (rf"\|\|\s*{_DIFFERENCE}\s*\|\|_1", "absolute_error", 1.0, "sum"),
    (rf"\|\s*{_DIFFERENCE}\s*\|", "absolute_error", 1.0, None),
    (rf"\(\s*{_DIFFERENCE}\s*\)(?:{_TWO}|\.pow\(2\)|\.square\(\))", "squared_error", 1.0, None),
    (rf"(?:\w+\.)?(?:square|pow)\(\s*{_DIFFERENCE}(?:\s*,\s*2)?\s*\)", "squared_error", 1.0, None),
    (rf"(?:\w+\.)?abs\(\s*{_DIFFERENCE}\s*\)", "absolute_error", 1.0, None),
    (rf"\(\s*{_DIFFERENCE}\s*\)\.abs\(\)", "absolute_error", 1.0, None),
    (rf"1(?:\.0?)?\s*\+\s*{_NAME}\s*-\s*{_SQUARE_OF}\s*-\s*{_EXP_OF}", "kl", -2.0, None),
    (rf"{_SQUARE_OF}\s*\+\s*{_EXP_OF}\s*-\s*{_NAME}\s*-\s*1(?:\.0?)?(?![\d.])", "kl", 2.0, None),
)


def look_up(name: str) -> tuple[Word | None, str | None]:
    """Returns what a name stands for and the reduction in it: "mean_se" is ("se", "mean"); None for no known word.

    Case and a final "Loss" do not matter: MSELoss, mse_loss and mse are one.
    """
    plain = re.sub(r"_?loss$", "", name.lower())
    plain = {"smoothl1": "smooth_l1", "": "loss"}.get(plain, plain)
    if plain in WORDS:
        return WORDS[plain], None
    match = _ALL.search(plain)
    if match is None:
        return None, None
    return WORDS.get(plain.replace(match[0], "", 1)), match[1] or match[2]


class Token(NamedTuple):
    """A word, a number or a sign of a loss, and where it starts."""

    kind: str
    text: str
    start: int


_PATTERN = re.compile(
    "|".join(f"(?P<formula{i}>{pattern})" for i, (pattern, *_) in enumerate(FORMULAS))
    + r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<string>\"\w*\"|'\w*')|(?P<op>\*\*|[-+*/().,;=^|\[\]:])|(?P<space>\s+)|(?P<bad>.)",
    re.DOTALL,
)


def tokens(text: str) -> list[Token]:
    """Cuts a loss into its words, the last one an empty "end"."""
    found = [Token(m.lastgroup, m[0], m.start()) for m in _PATTERN.finditer(text)]
    return [token for token in found if token.kind != "space"] + [Token("end", "", len(text))]
