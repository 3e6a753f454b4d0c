"""How a written loss is read: its words one after another, by recursive descent; the grammar is in ``losses.py``."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Any

from vae_jax.theory.loss_words import FORMULAS, MODULES, REDUCTIONS, SYMBOLS, WORDS, Term, Token, look_up, tokens
from vae_jax.types import UserError

LONGEST = 1000  # characters
DEEPEST = 20  # parentheses in each other


class Parser:
    """A parser by recursive descent; a value is a list of terms, a number being a term of the kind "number"."""

    def __init__(self, text: str, weight: float | None):
        if len(text) > LONGEST:
            raise UserError(f"--loss has {len(text)} characters, and no loss takes more than {LONGEST}")
        self.text, self.weight, self.at, self.depth = text, weight, 0, 0
        self.tokens = tokens(text)
        self.names = self._definitions()

    def _definitions(self) -> dict[str, float]:
        """Takes ``name = number`` off the end of the loss (and ``loss =`` off its head), and returns the numbers."""
        names: dict[str, float] = {}
        while len(self.tokens) > 4:
            comma, name, equals, number = self.tokens[-5:-1]
            if (comma.text, name.kind, equals.text, number.kind) not in [(c, "name", "=", "number") for c in ",;"]:
                break
            names[name.text] = float(number.text)
            self.tokens[-5:-1] = []
        if len(self.tokens) > 2 and self.tokens[0].kind == "name" and self.tokens[1].text == "=":
            del self.tokens[:2]
        return names

    @property
    def now(self) -> Token:
        """Returns the next token."""
        return self.tokens[self.at]

    def take(self, *texts: str) -> bool:
        """Moves past the next token if it is one of ``texts``."""
        if self.now.kind in ("op", "name") and self.now.text in texts:
            self.at += 1
            return True
        return False

    def refuse(self, why: str, token: Token | None = None):
        """Raises the error that marks a token, the next one unless another is given."""
        token = token or self.now
        head, tail = self.text[: token.start], self.text[token.start + len(token.text) :]
        raise UserError(f"--loss={head}>>{token.text or 'end'}<<{tail}: {why}")

    def expect(self, text: str) -> None:
        """Moves past a token that has to be there."""
        if not self.take(text):
            self.refuse(f"here a {text!r} is missing")

    def whole(self) -> list[Term]:
        """Reads all of the loss."""
        terms = self.sum()
        if self.now.kind != "end":
            self.refuse("this is not understood here; write a sum of terms, such as mse.sum + 0.5*kl")
        loose = [term for term in terms if term.kind == "number"]
        if loose:
            self.refuse("a number by itself trains nothing", self.tokens[0])
        return terms

    def sum(self) -> list[Term]:
        """Reads terms with plus and minus between them."""
        terms = self.product()
        while self.now.text in ("+", "-") and self.now.kind == "op":
            sign = -1.0 if self.now.text == "-" else 1.0
            self.at += 1
            terms = terms + [term._replace(factor=sign * term.factor) for term in self.product()]
        return terms

    def product(self) -> list[Term]:
        """Reads factors, of which one at most is no number, and reductions such as ``se*mean``."""
        terms = self.signed()
        while self.now.kind == "op" and self.now.text in ("*", "/"):
            divide, token = self.now.text == "/", self.now
            self.at += 1
            if not divide and self.now.text in REDUCTIONS and self.tokens[self.at + 1].text not in ("(", "_"):
                terms, self.at = [_reduced(term, self.now.text) for term in terms], self.at + 1
                continue
            terms = self._times(terms, self.signed(), divide, token)
        return terms

    def _times(self, left: list[Term], right: list[Term], divide: bool, token: Token) -> list[Term]:
        if not divide and left and left[0].kind == "number" and len(left) == 1:
            left, right = right, left
        if len(right) != 1 or right[0].kind != "number":
            self.refuse("a term can be multiplied and divided by numbers only", token)
        number, sign = right[0], -1 if divide else 1
        if divide and number.factor == 0:
            self.refuse("this divides by 0", token)
        by = 1.0 / number.factor if divide else number.factor
        return [t._replace(factor=t.factor * by, powers=_plus(t.powers, number.powers, sign)) for t in left]

    def signed(self) -> list[Term]:
        """Reads one factor with the signs before it and the methods after it."""
        sign = 1.0
        while self.now.kind == "op" and self.now.text in ("+", "-"):
            sign = -sign if self.now.text == "-" else sign
            self.at += 1
        terms = [term._replace(factor=sign * term.factor) for term in self.atom()]
        while self.now.text == "." and self.now.kind == "op":
            self.at += 1
            terms = self.method(terms)
        return terms

    def atom(self) -> list[Term]:
        """Reads a number, a name, a formula or what stands in parentheses."""
        token = self.now
        if token.kind == "number":
            self.at += 1
            value = float(token.text)
            return [Term("number", value)] if math.isfinite(value) else self.refuse("this number is too large", token)
        if token.kind.startswith("formula"):
            self.at += 1
            _, kind, factor, over = FORMULAS[int(token.kind.removeprefix("formula"))]
            return [Term(kind, factor, over, words=token.text)]
        if token.kind == "name":
            return self.named()
        if self.take("("):
            terms = self.inside()
            self.expect(")")
            return terms
        return self.refuse("here a number or a term such as mse, l1 or kl is missing")

    def inside(self) -> list[Term]:
        """Reads a sum in parentheses."""
        self.depth += 1
        if self.depth > DEEPEST:
            self.refuse("there are too many parentheses in each other")
        terms = self.sum()
        self.depth -= 1
        return terms

    def named(self) -> list[Term]:
        """Reads a name: of a function, a term, a size or a number."""
        token, library = self.now, False
        while self.now.text in MODULES and self.tokens[self.at + 1].text == ".":
            self.at, library = self.at + 2, True
        token, name = self.now, self.now.text
        if self.now.kind != "name":
            self.refuse("here a name is missing")
        self.at += 1
        calls = self.now.text == "("
        if calls and name.removeprefix("reduce_") in (*REDUCTIONS, "max", "maximum"):
            return self.function(name.removeprefix("reduce_"), library)
        word, over = look_up(name)
        if word is not None:
            return [self.term(token, word, over, library or "loss" in name.lower() or "cross_entropy" in name)]
        if name in self.names:
            return [Term("number", self.names[name])]
        if name in SYMBOLS:
            return [Term("number", powers={SYMBOLS[name]: 1})]
        likely = re.search(r"weight|beta|lambda|coef|alpha|gamma|^[a-z]$", name, re.IGNORECASE)
        if likely and not calls:
            if self.weight is not None:
                return [Term("number", self.weight)]
            self.refuse(f"{name} has no value: write it as a number, or add ', {name}=0.1' to the loss", token)
        near = difflib.get_close_matches(name.lower(), WORDS, 3, 0.6)
        known = "did you mean " + " or ".join(near) if near else "known are mse, l1, huber, bce, kl, free_bits and more"
        return self.refuse(f"this word is not understood; {known} (see vae_jax/theory/README.md)", token)

    def term(self, token: Token, word, over: str | None, library: bool) -> Term:
        """A term with what stands in its parentheses."""
        calls = self.take("(")
        numbers, named, words = self.arguments() if calls else ([], {}, [])
        if calls and self.take("("):  # nn.MSELoss(reduction="sum")(x_hat, x): what it compares is not looked at
            self.arguments()
        how = named.get("reduction") or next((w for w in words if w in REDUCTIONS), None)
        arguments: dict[str, Any] = {}
        if word.parameter:
            value = named.get(word.parameter, numbers[0] if numbers else word.default)
            if not isinstance(value, float) or not value >= 0:
                self.refuse(f"say its {word.parameter}, such as {token.text}({word.default or 0.5:g})", token)
            arguments[word.parameter] = value
        if "floor" in arguments:
            arguments |= {
                "floor_over": "sum" if how == "sum" else "each",
                "floor_in": "example" if "example" in words else "batch",
            }
            how, over = None, "sum"
        term = Term(word.kind, 1.0, over or word.over, None, {}, arguments, token.text)
        if how in REDUCTIONS:
            return term._replace(over=how, batch=how)
        # A library's loss is a mean over everything unless it says otherwise.
        default = library and calls and term.kind != "kl" and over is None
        return term._replace(over="mean", batch="mean") if default and how != "none" else term

    def function(self, name: str, library: bool) -> list[Term]:
        """Reads ``sum(...)``, ``mean(...)`` or ``max(...)`` of terms."""
        opening = self.now
        self.expect("(")
        terms = self.inside()
        if name in REDUCTIONS:
            self.take(",")
            numbers, named, _ = self.arguments()
            return [_reduced(term, name, library, _axes(numbers, named)) for term in terms]
        self.expect(",")
        both = terms + self.inside()
        self.expect(")")
        floors = [term for term in both if term.kind == "number" and not term.powers]
        if len(both) != 2 or len(floors) != 1:
            self.refuse("max takes a KL and a number of nats, such as max(kl, 1)", opening)
        return [self.floored(term, floors[0].factor, opening) for term in both if term is not floors[0]]

    def method(self, terms: list[Term]) -> list[Term]:
        """Reads what stands after a full stop: a reduction, or the floor of a clamp."""
        token, name = self.now, self.now.text
        if token.kind != "name":
            self.refuse("after the full stop a reduction is missing: sum or mean")
        self.at += 1
        if name in ("batch_sum", "batch_mean"):
            return [term._replace(batch=name.removeprefix("batch_")) for term in terms]
        calls = self.take("(")
        numbers, named, _ = self.arguments() if calls else ([], {}, [])
        if name in REDUCTIONS:
            return [_reduced(term, name, calls, _axes(numbers, named)) for term in terms]
        if name in ("clamp", "clip", "clamp_min") and calls:
            floor = named.get("min", named.get("a_min", numbers[0] if numbers else None))
            if isinstance(floor, float):
                return [self.floored(term, floor, token) for term in terms]
        return self.refuse("after a term there may be sum, mean, batch_sum, batch_mean or clamp(min=0.5)", token)

    def floored(self, term: Term, floor: float, token: Token) -> Term:
        """Returns a KL that is not charged below ``floor``: what is compared with it is what was reduced before."""
        if term.kind != "kl" or term.factor != 1 or floor < 0:
            self.refuse("only a bare KL has a floor of free nats, not below 0", token)
        how = {"floor_over": "sum", "floor_in": "batch" if term.batch else "example"}
        return term._replace(arguments={**term.arguments, "floor": floor, **how})

    def arguments(self) -> tuple[list[float], dict[str, Any], list[str]]:
        """Reads up to the closing parenthesis, all of it optional: ``(numbers, named ones, single words)``."""
        numbers, named, words, opening, part = [], {}, [], self.now, []
        depth = 1
        while depth:
            token, self.at = self.now, self.at + 1
            if token.kind == "end":
                self.refuse("here a ')' is missing", opening)
            depth += (token.text in ("(", "[")) - (token.text in (")", "]"))
            if depth and not (depth == 1 and token.text == ","):
                part.append(token)
                continue
            name = part[0].text if len(part) > 2 and part[1].text == "=" else None
            value = _value(part[2:] if name else part)
            if name:
                named[name] = value
            elif isinstance(value, float):
                numbers.append(value)
            elif value:
                words.append(value)
            part = []
        return numbers, named, words


def _value(part: list[Token]) -> float | str | None:
    """Returns the number, the word or the text in quotes that an argument is; None for anything longer."""
    sign = -1.0 if part and part[0].text == "-" else 1.0
    part = part[1:] if sign < 0 else part
    if len(part) == 1 and part[0].kind == "number":
        return sign * float(part[0].text)
    if len(part) == 1 and part[0].kind in ("name", "string"):
        return part[0].text.strip("\"'")
    return ",".join(token.text for token in part) or None


def _axes(numbers: list[float], named: Mapping[str, Any]) -> str | None:
    """Says what the axes of a reduction are: "batch" for the first, "example" for others, None for all."""
    given = named.get("dim", named.get("axis", numbers[0] if numbers else None))
    if given is None:
        return None
    return "batch" if given == 0 else "example"


def _reduced(term: Term, how: str, library: bool = False, axes: str | None = None) -> Term:
    """Applies a reduction: over the example first, then over the batch; a library's, without axes, over both."""
    if axes == "batch":
        return term._replace(batch=how)
    if axes is None and term.over is not None:
        return term._replace(batch=how)
    if term.over is None and "floor" in term.arguments:  # summed after the floor: it was one of each latent
        term = term._replace(arguments={**term.arguments, "floor_over": "each"})
    return term._replace(over=how, batch=how if library and axes is None else term.batch)


def _plus(powers: Mapping[str, int], more: Mapping[str, int], sign: int) -> dict[str, int]:
    total = dict(powers)
    for name, power in more.items():
        total[name] = total.get(name, 0) + sign * power
    return {name: power for name, power in total.items() if power}
