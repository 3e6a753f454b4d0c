"""A toy language whose entropy is known exactly: what the NLL of a sequence model can be held against.

A sentence makes three global choices first: what it is about, singular or plural, and when. Each shows in several words
far apart: the subject, the verb, the object and the places belong to one topic, and the tag at the end repeats the
number and the tense. Everything else is local: determiners, adjectives, adverbs, places, times.

    these quiet little sailors will mend the net slowly near the harbour tomorrow will they

A grammar is data, ``{symbol: ((probability, (symbol or word, ...)), ...)}``, and what is not a key is a word.
"""

from __future__ import annotations

import functools
import itertools
import math
from bisect import bisect_right
from typing import NamedTuple

import numpy as np

from vae_jax.data.text.english import START, Rules, rules


class Grammar(NamedTuple):
    """Rules that are known to be unambiguous, and the table for reading a sentence with them.

    Attributes:
      rules: as given.
      choose: ``symbol -> word -> alternative``, which alternative begins with this word; not for ``START``.
    """

    rules: Rules
    choose: dict[str, dict[str, int]]

    @property
    def words(self) -> set[str]:
        """All words of the language."""
        return {x for alternatives in self.rules.values() for _, body in alternatives for x in body} - set(self.rules)


def checked(rules: Rules) -> Grammar:
    """The grammar of ``rules``, if each of its sentences has one derivation: else ``entropy`` is not that of sentences.

    Two conditions suffice. Below ``START`` the next word always tells which alternative it begins (LL(1) without empty
    alternatives). And of two global choices, one makes sure of a word that the other one can never have.

    Raises:
      ValueError: probabilities that do not sum to 1, an alternative that is empty or has ``START`` in it, derivations
        that do not end, or sentences that might have two.
    """
    for symbol, alternatives in rules.items():
        if min(p for p, _ in alternatives) <= 0 or abs(sum(p for p, _ in alternatives) - 1) > 1e-12:
            raise ValueError(f"{symbol}: the probabilities must be positive and sum to 1")
        if not all(body for _, body in alternatives) or any(START in body for _, body in alternatives):
            raise ValueError(f"{symbol}: an alternative is empty, or begins a sentence anew")
    first = _closure(rules, lambda body: body[:1])
    choose = {}
    for symbol in rules.keys() - {START}:
        choose[symbol] = {}
        for i, (_, (head, *_)) in enumerate(rules[symbol]):
            words = first.get(head, {head})
            if not words or words & choose[symbol].keys():
                raise ValueError(f"{symbol}: the next word does not tell the alternatives apart: it may be ambiguous")
            choose[symbol] |= dict.fromkeys(words, i)
    alphabet = _closure(rules, lambda body: body)
    bodies = [body for _, body in rules[START]]
    sure = [_certain(rules, set().union(*(alphabet.get(x, {x}) for x in body))) for body in bodies]
    for (mine, of_mine), (yours, of_yours) in itertools.combinations(zip(bodies, sure), 2):
        if not any(map(of_yours, mine)) and not any(map(of_mine, yours)):
            raise ValueError(f"{' '.join(mine)} and {' '.join(yours)} may share a sentence: it may be ambiguous")
    _visits(rules)
    return Grammar(rules, choose)


def _closure(rules, parts):
    """For each symbol the words that it leads to through ``parts`` of its alternatives: the least fixed point."""
    words = {symbol: set() for symbol in rules}
    grown = True
    while grown:
        grown = False
        # Rules are written from the top down, so what a symbol needs is mostly known when its turn comes.
        for symbol, alternatives in reversed(rules.items()):
            before = len(words[symbol])
            words[symbol].update(*(words.get(x, {x}) for _, body in alternatives for x in parts(body)))
            grown |= len(words[symbol]) > before
    return words


def _certain(rules, foreign):
    """Whether whatever a symbol becomes has a word outside ``foreign``: a function of the symbol."""
    known = {}

    def certain(x):
        if x not in rules:
            return x not in foreign
        if x not in known:
            known[x] = False  # while it is being looked at: recursion alone makes nothing sure
            known[x] = all(any(certain(y) for y in body) for _, body in rules[x])
        return known[x]

    return certain


def _visits(rules):
    """How often each symbol is expanded in a sentence, on average: v = e_START + v M, solved."""
    index = {symbol: i for i, symbol in enumerate(rules)}
    children = np.zeros((len(index), len(index)))
    for symbol, alternatives in rules.items():
        for p, body in alternatives:
            for x in body:
                if x in index:
                    children[index[symbol], index[x]] += p
    begin = np.eye(len(index))[index[START]]
    try:
        visits = np.linalg.solve((np.eye(len(index)) - children).T, begin)
    except np.linalg.LinAlgError:
        visits = np.array([np.inf])
    # A solution >= 0 is an upper bound of each partial sum of begin (1 + M + M^2 + ...), so the series converges.
    if not -1e-9 <= visits.min() <= visits.max() < 1e9:
        raise ValueError("derivations do not end: a symbol becomes one or more of itself, on average")
    return dict(zip(rules, visits.tolist()))


def _choice(alternatives):
    return -sum(p * math.log(p) for p, _ in alternatives)


def entropy(grammar: Grammar | None = None) -> float:
    """Nats per sentence, exact: the entropy of each symbol's choice times how often it is made (Soule 1974).

    The expected counts solve a linear system, so recursion is summed in closed form. Derivations have this entropy;
    sentences have it too because each has one derivation, which ``checked`` made sure of.
    """
    rules = (grammar or english()).rules
    return math.fsum(visits * _choice(rules[symbol]) for symbol, visits in _visits(rules).items())


def global_entropy(grammar: Grammar | None = None) -> float:
    """Nats per sentence of the global choices g alone: what a code z of all that agrees, and of nothing else, holds.

    A sentence x determines its g, so I(x; g) = H(g): this number. It is what to expect of a mutual information I(x; z)
    whose z is used for what it is good for; more of it means local choices in z, up to ``entropy``, the ceiling of any
    code. With z = g the best decoder's NLL given z is ``entropy - global_entropy`` and the rate is this, so the sum
    is the entropy again: z costs a perfect model nothing and gains it nothing.
    """
    return _choice((grammar or english()).rules[START])


def longest(grammar: Grammar | None = None) -> float:
    """Words of the longest sentence; infinite where a symbol can contain itself."""
    rules = (grammar or english()).rules
    known = {}

    def most(x):
        if x not in rules:
            return 1
        if x not in known:
            known[x] = math.inf  # until it is known: whoever contains itself
            known[x] = max(sum(map(most, body)) for _, body in rules[x])
        return known[x]

    return most(START)


def sample(rng: np.random.RandomState, n: int, grammar: Grammar | None = None) -> list[str]:
    """``n`` independent sentences, words with spaces between; one uniform draw for each choice, in order."""
    return [sentence for sentence, _ in draw(rng, n, grammar)]


def draw(rng: np.random.RandomState, n: int, grammar: Grammar | None = None) -> list[tuple[str, int]]:
    """The same with the global choice of each: the index of the alternative of ``START`` that it is of."""
    rules = (grammar or english()).rules
    bounds = {symbol: list(itertools.accumulate(p for p, _ in rules[symbol])) for symbol in rules}

    def sentence():
        words, stack, choices = [], [START], []
        while stack:
            x = stack.pop()
            if x not in rules:
                words.append(x)
                continue
            last = len(rules[x]) - 1
            i = min(bisect_right(bounds[x], rng.random_sample()), last) if last else 0
            choices.append(i)
            stack.extend(reversed(rules[x][i][1]))
        return " ".join(words), choices[0]

    return [sentence() for _ in range(n)]


def choices(grammar: Grammar | None = None) -> list[str]:
    """What each global choice is, in words: what the alternatives of ``START`` are called."""
    return [" ".join(body[0].split()[1:]) for _, body in (grammar or english()).rules[START]]


def log_prob(sentence: str, grammar: Grammar | None = None) -> float:
    """The exact log probability of a sentence, its end included, in nats; -inf outside the language."""
    rules, choose = grammar or english()
    words = sentence.split()

    def read(body):
        """The log probability of ``words`` as what ``body`` becomes."""
        total, stack, at = 0.0, [*reversed(body)], 0
        while stack:
            x, word = stack.pop(), words[at] if at < len(words) else None
            if x not in rules and x == word:
                at += 1
            elif x in rules and word in choose[x]:
                p, chosen = rules[x][choose[x][word]]
                total += math.log(p)
                stack.extend(reversed(chosen))
            else:
                return -math.inf
        return total if at == len(words) else -math.inf

    return max(math.log(p) + read(body) for p, body in rules[START])  # one derivation at most, so one is above -inf


@functools.cache
def english() -> Grammar:
    """The language that ``load_text("grammar")`` draws from, checked once."""
    return checked(rules())
