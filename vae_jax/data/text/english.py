"""The words and the rules of the embedded grammar; what is done with rules is in ``grammar.py``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

Rules = Mapping[str, tuple[tuple[float, tuple[str, ...]], ...]]

START = "SENTENCE"


class Topic(NamedTuple):
    """The words of one topic; verbs as (base, third person, past)."""

    probability: float
    subjects: tuple[tuple[str, str], tuple[str, str]]  # singular, plural
    transitive: tuple[str, str, str]
    intransitive: tuple[str, str, str]
    objects: tuple[str, str]
    places: tuple[str, str]


def _topic(probability, subjects, transitive, intransitive, objects, places):
    words = [tuple(x.split()) for x in (transitive, intransitive, objects, places)]
    return Topic(probability, tuple((x, x + "s") for x in subjects.split()), *words)


TOPICS = {
    "sea": _topic(0.25, "sailor captain", "mend mends mended", "drift drifts drifted", "net sail", "harbour reef"),
    "kitchen": _topic(0.2, "cook baker", "stir stirs stirred", "hum hums hummed", "soup dough", "oven pantry"),
    "garden": _topic(0.2, "gardener beekeeper", "trim trims trimmed", "rest rests rested", "hedge rose", "pond shed"),
    "school": _topic(0.15, "pupil teacher", "copy copies copied", "yawn yawns yawned", "poem lesson", "desk library"),
    "farm": _topic(0.1, "farmer shepherd", "count counts counted", "snore snores snored", "lamb goose", "barn meadow"),
    "stage": _topic(0.1, "dancer drummer", "learn learns learned", "bow bows bowed", "waltz march", "curtain balcony"),
}
NUMBERS = {"singular": 0.6, "plural": 0.4}
TENSES = {"present": 0.4, "past": 0.35, "future": 0.25}
DETERMINERS = {
    "singular": ((0.5, ("the",)), (0.3, ("this",)), (0.2, ("every",))),
    "plural": ((0.4, ("the",)), (0.25, ("these",)), (0.15, ("many",)), (0.2, ())),
}
ADJECTIVES = {"little": 0.3, "small": 0.25, "quiet": 0.15, "tall": 0.1, "strange": 0.1, "bright": 0.1}
ADVERBS = {"slowly": 0.4, "well": 0.3, "again": 0.2, "alone": 0.1}
PREPOSITIONS = {"near": 0.5, "behind": 0.3, "beyond": 0.2}
TIMES = {
    "present": {"now": 0.6, "today": 0.4},
    "past": {"yesterday": 0.7, "earlier": 0.3},
    "future": {"tomorrow": 0.5, "soon": 0.5},
}
PRONOUN = {"singular": "it", "plural": "they"}


def rules(adjectives: int = 2, places: int = 2) -> Rules:
    """The language as rules; recursion is unrolled, so that no sentence is longer than ``longest`` says.

    Args:
      adjectives: at most so many before a subject, geometrically distributed up to there; before an object at most 1.
      places: at most so many at the end of a sentence, likewise.

    Returns:
      Rules from ``START``, whose alternatives are the global choices: ``CLAUSE topic number tense``.
    """
    made = {
        START: tuple(
            (topic.probability * p * q, (f"CLAUSE {name} {number} {tense}",))
            for (name, topic), (number, p), (tense, q) in itertools.product(
                TOPICS.items(), NUMBERS.items(), TENSES.items()
            )
        ),
        "ADJECTIVE": _words(ADJECTIVES),
        "ADVERB": _words(ADVERBS),
        "PREPOSITION": _words(PREPOSITIONS),
    }
    for name, topic in TOPICS.items():
        made[f"PLACE {name}"] = _words(dict(zip(topic.places, (0.6, 0.4))))
        made[f"OBJECT {name}"] = ((0.6, ("the", f"WHAT {name} 0")), (0.4, ("a", f"WHAT {name} 0")))
        made |= _described(f"WHAT {name}", topic.objects, min(adjectives, 1))
        for i, number in enumerate(NUMBERS):
            who = f"WHO {name} {number}"
            made[f"SUBJECT {name} {number}"] = tuple((p, (*the, f"{who} 0")) for p, the in DETERMINERS[number])
            made |= _described(who, [subject[i] for subject in topic.subjects], adjectives)
            for tense in TENSES:
                made |= _clause(name, number, tense, places)
    for number, tense in itertools.product(NUMBERS, TENSES):
        made[f"TIME {tense}"] = _words(TIMES[tense])
        tag = (_auxiliary(number, tense), PRONOUN[number])
        made[f"CLOSING {number} {tense}"] = ((0.6, (f"TIME {tense}", *tag)), (0.4, tag))
    return made


def _words(probabilities):
    return tuple((p, (word,)) for word, p in probabilities.items())


def _described(symbol, nouns, most):
    """``symbol k``: a noun, or an adjective and ``symbol k+1``; the last one is a noun."""
    noun = {f"{symbol} NOUN": _words(dict(zip(nouns, (0.6, 0.4))))}
    chain = {
        f"{symbol} {k}": ((0.65, (f"{symbol} NOUN",)), (0.35, ("ADJECTIVE", f"{symbol} {k + 1}"))) for k in range(most)
    }
    return noun | chain | {f"{symbol} {most}": ((1.0, (f"{symbol} NOUN",)),)}


def _clause(name, number, tense, places):
    chosen = f"{name} {number} {tense}"
    form = {"past": 2, "future": 0, "present": 1 if number == "singular" else 0}[tense]
    verbs = (
        (0.6, (TOPICS[name].transitive[form], f"OBJECT {name}", f"REST {chosen}")),
        (0.4, (TOPICS[name].intransitive[form], f"REST {chosen}")),
    )
    made = {
        f"CLAUSE {chosen}": ((1.0, (f"SUBJECT {name} {number}", f"PREDICATE {chosen}")),),
        f"REST {chosen}": ((0.7, (f"WHERE {chosen} 0",)), (0.3, ("ADVERB", f"WHERE {chosen} 0"))),
        f"WHERE {chosen} {places}": ((1.0, (f"CLOSING {number} {tense}",)),),
    }
    for k in range(places):
        another = ("PREPOSITION", "the", f"PLACE {name}", f"WHERE {chosen} {k + 1}")
        made[f"WHERE {chosen} {k}"] = ((0.65, (f"CLOSING {number} {tense}",)), (0.35, another))
    if tense == "future":
        return made | {f"PREDICATE {chosen}": ((1.0, ("will", f"VERB {chosen}")),), f"VERB {chosen}": verbs}
    return made | {f"PREDICATE {chosen}": verbs}


def _auxiliary(number, tense):
    return {"past": "did", "future": "will", "present": "does" if number == "singular" else "do"}[tense]
