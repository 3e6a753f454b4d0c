"""Text as data: the toy language and its exact entropy, vocabularies, what is refused and how it is said, buckets."""

from __future__ import annotations

import itertools
import math
import re
import zlib

import numpy as np
import pytest
from conftest import within_standard_errors

from vae_jax.data import text
from vae_jax.data.text import BOS, EOS, PAD, SPECIAL, UNKNOWN, english, grammar, load_text
from vae_jax.data.text.grammar import START, checked
from vae_jax.types import UserError


def refused(*args, **kwargs) -> str:
    """The message of the UserError that ``load_text`` must raise: one line."""
    with pytest.raises(UserError) as caught:
        load_text(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


def write(folder, **files):
    """Writes NAME.txt for each keyword, a string or bytes, and returns the folder as a string."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        content = content if isinstance(content, bytes) else content.encode()
        (folder / f"{name}.txt").write_bytes(content)
    return str(folder)


# ---- the grammar ----


def derivations(rules, symbol=START):
    """Every derivation as (probability, words)."""
    if symbol not in rules:
        return [(1.0, (symbol,))]
    found = []
    for p, body in rules[symbol]:
        for parts in itertools.product(*(derivations(rules, x) for x in body)):
            found.append((p * math.prod(q for q, _ in parts), tuple(w for _, words in parts for w in words)))
    return found


def entropy_of_sentences(found):
    """By enumeration: equal sentences of several derivations are one sentence."""
    total = {}
    for p, words in found:
        total[words] = total.get(words, 0.0) + p
    return -math.fsum(p * math.log(p) for p in total.values())


@pytest.fixture(scope="module")
def drawn():
    return grammar.sample(np.random.RandomState(7), 20_000)


@pytest.fixture(scope="module")
def log_probs(drawn):
    return np.array([grammar.log_prob(sentence) for sentence in drawn])


ONE_CLAUSE = grammar.rules(1, 1) | {START: ((1.0, ("CLAUSE garden plural past",)),)}


@pytest.mark.parametrize("rules", [grammar.rules(0, 0), ONE_CLAUSE], ids=["no recursion", "one clause, recursion once"])
def test_all_sentences_of_a_short_language(rules):
    g, found = checked(rules), derivations(rules)
    assert len(found) == len({words for _, words in found}) > 10_000
    assert math.fsum(p for p, _ in found) == pytest.approx(1, abs=1e-9)
    assert grammar.entropy(g) == pytest.approx(entropy_of_sentences(found), abs=1e-9)
    assert grammar.mean_words(g) == pytest.approx(math.fsum(p * len(words) for p, words in found), abs=1e-9)
    assert grammar.longest(g) == max(len(words) for _, words in found)
    for p, words in found[:: len(found) // 2000]:
        assert grammar.log_prob(" ".join(words), g) == pytest.approx(math.log(p), abs=1e-9)


def test_entropy_against_samples(drawn, log_probs):
    assert np.isfinite(log_probs).all()
    assert within_standard_errors(-log_probs, grammar.entropy(), 4)
    words = np.array([len(sentence.split()) for sentence in drawn])
    assert within_standard_errors(words, grammar.mean_words(), 4)
    assert words.min() == 4 and words.max() <= grammar.longest() == 19


def test_a_wrong_entropy_is_seen(log_probs):
    """Of a language that differs in one place, and of each rule counted once however often it is used."""
    assert not within_standard_errors(-log_probs, grammar.entropy(checked(grammar.rules(2, 1))), 4)
    assert not within_standard_errors(-log_probs, grammar.entropy(checked(grammar.rules(1, 2))), 4)
    found = derivations(ONE_CLAUSE)
    once = sum(-p * math.log(p) for alternatives in ONE_CLAUSE.values() for p, _ in alternatives)
    assert abs(once - entropy_of_sentences(found)) > 1


@pytest.mark.parametrize("p", [0.1, 0.4])
@pytest.mark.parametrize("body, copies", [(("a", "X"), 1), (("(", "X", ")"), 1), (("f", "X", "X"), 2)])
def test_unbounded_recursion_in_closed_form(p, body, copies):
    g = checked({START: ((1.0, ("X",)),), "X": ((p, body), (1 - p, ("b",)))})
    choice = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert grammar.entropy(g) == pytest.approx(choice / (1 - copies * p), abs=1e-12)
    assert grammar.longest(g) == math.inf
    inside = " ".join("b" if x == "X" else x for x in body)
    assert grammar.log_prob(inside, g) == pytest.approx(math.log(p) + copies * math.log(1 - p), abs=1e-12)
    assert grammar.log_prob(inside + " b", g) == -math.inf and grammar.log_prob("", g) == -math.inf


A_OR_B = {START: ((0.5, ("A",)), (0.5, ("B",)))}


@pytest.mark.parametrize(
    "rules, said",
    [
        (
            A_OR_B | {"A": ((1.0, ("x", "y")),), "B": ((1.0, ("x", "C")),), "C": ((0.5, ("y",)), (0.5, ("z",)))},
            "A and B",
        ),
        ({START: ((1.0, ("A",)),), "A": ((0.5, ("x", "x")), (0.5, ("x", "B"))), "B": ((1.0, ("x",)),)}, "apart"),
        ({START: ((1.0, ("A",)),), "A": ((0.6, ("x",)), (0.3, ("y",)))}, "sum to 1"),
        ({START: ((1.0, ("A",)),), "A": ((0.6, ("x",)), (0.4, ()))}, "empty"),
        ({START: ((1.0, ("A",)),), "A": ((1.0, ("x", START)),)}, "anew"),
        ({START: ((1.0, ("A",)),), "A": ((0.5, ("A", "y")), (0.5, ("x",)))}, "apart"),
        ({START: ((1.0, ("A",)),), "A": ((1.0, ("x", "A")),)}, "do not end"),
        ({START: ((1.0, ("A",)),), "A": ((0.6, ("f", "A", "A")), (0.4, ("x",)))}, "do not end"),
        ({START: ((1.0, ("A",)),), "A": ((0.5, ("f", "A", "A")), (0.5, ("x",)))}, "do not end"),
    ],
)
def test_rules_whose_formula_would_not_hold_are_refused(rules, said):
    with pytest.raises(ValueError, match=said):
        checked(rules)


def test_why_ambiguity_matters():
    """The formula is of derivations: with two for one sentence it is above the sentences' entropy."""
    rules = A_OR_B | {"A": ((1.0, ("x", "y")),), "B": ((0.5, ("x", "y")), (0.5, ("x", "z")))}
    found = derivations(rules)
    assert entropy_of_sentences(found) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert -sum(p * math.log(p) for p, _ in found) > entropy_of_sentences(found) + 0.4


def test_words_far_apart_agree(drawn):
    seen = set()
    for sentence in drawn[:3000]:
        words = sentence.split()
        name, number, tense = grammar.global_choice(sentence)
        seen.add((name, number, tense))
        topic, others = english.TOPICS[name], [t for other, t in english.TOPICS.items() if other != name]
        foreign = {
            x for t in others for x in (*sum(t.subjects, ()), *t.transitive, *t.intransitive, *t.objects, *t.places)
        }
        assert not foreign & set(words)
        assert any(subject[number == "plural"] in words for subject in topic.subjects)
        assert words[-1] == {"singular": "it", "plural": "they"}[number]
        assert (words[-2] == "did") == (tense == "past") and (words[-2] == "will") == (tense == "future")
        assert words.count("will") == (2 if tense == "future" else 0)
    assert len(seen) == len(grammar.english().rules[START]) == 36


@pytest.mark.parametrize(
    "broken",
    [
        "these quiet little sailors will mend the net slowly near the harbour tomorrow will it",
        "these quiet little sailors will mend the net slowly near the harbour yesterday will they",
        "these quiet little sailors will mend the net slowly near the harbour tomorrow did they",
        "these quiet little sailors will mend the net slowly near the barn tomorrow will they",
        "these quiet little sailors will mend the soup slowly near the harbour tomorrow will they",
        "these quiet little sailors will mends the net slowly near the harbour tomorrow will they",
        "these quiet little sailors will mend the net slowly near the harbour tomorrow will",
        "these quiet little sailors will mend the net slowly near the harbour tomorrow will they they",
        "these quiet little bright sailors will mend the net tomorrow will they",
        "this quiet little sailors will mend the net tomorrow will they",
        "sailors",
        "",
    ],
)
def test_outside_the_language(broken):
    whole = "these quiet little sailors will mend the net slowly near the harbour tomorrow will they"
    assert grammar.log_prob(whole) > -30 and grammar.global_choice(whole) == ("sea", "plural", "future")
    assert grammar.log_prob(broken) == -math.inf and grammar.global_choice(broken) is None


def test_global_entropy(drawn):
    parts = ([t.probability for t in english.TOPICS.values()], english.NUMBERS.values(), english.TENSES.values())
    assert grammar.global_entropy() == pytest.approx(-sum(p * math.log(p) for part in parts for p in part), abs=1e-12)
    surprise = {c: -math.log(p) for p, (c,) in grammar.english().rules[START]}
    found = [surprise[" ".join(("CLAUSE", *grammar.global_choice(sentence)))] for sentence in drawn]
    assert within_standard_errors(found, grammar.global_entropy(), 4)


def test_load_the_grammar():
    t = load_text("grammar")
    assert [x.shape for x in t[1:4]] == [(20_000, 20), (2_000, 20), (2_000, 20)] and t.train.dtype == np.uint16
    assert len(t.vocabulary) == 119 == len(set(t.vocabulary)) and t.entropy == grammar.entropy()
    assert not any((x == UNKNOWN).any() or (x == BOS).any() for x in t[1:4])
    assert text.decode(t.train[:1], t.vocabulary) == grammar.sample(np.random.RandomState(0), 1)
    own = -np.mean([grammar.log_prob(sentence) for sentence in text.decode(t.test, t.vocabulary)])
    assert f"entropy of {t.entropy:.4f} nats, {grammar.global_entropy():.4f} of them" in t.notes[0]
    assert t.notes[0].endswith(f"{own:.4f}") and "test: 0 of 18,669 words (0%) are unknown" in t.notes
    # The same for ever, on every machine.
    assert [zlib.crc32(x.astype("<u2").tobytes()) for x in t[1:4]] == [2432935912, 3977080542, 2010524158]
    assert "up to 20 tokens and 115 words" in refused("grammar", max_length=19)
    assert "--max_words of at least 115" in refused("grammar", max_words=114)


# ---- files ----


def lines(n, start=0):
    return "".join(f"word{i} common end\n" for i in range(start, start + n))


def test_vocabulary_by_frequency_then_alphabet(tmp_path):
    folder = write(tmp_path, train="b a\nc a B é\nb a c\n", valid="a d\n", test="B b <unk> e a\n")
    t = load_text(folder)
    assert t.vocabulary == (*SPECIAL, "a", "b", "c", "B", "é") and t.entropy is None
    np.testing.assert_array_equal(t.train, [[5, 4, EOS, 0, 0, 0], [6, 4, 7, 8, EOS, 0], [5, 4, 6, EOS, 0, 0]])
    np.testing.assert_array_equal(t.test, [[7, 5, UNKNOWN, UNKNOWN, 4, EOS]])
    assert t.notes == (
        "valid: 1 of 2 words (50%) are unknown",
        "test: 2 of 5 words (40%) are unknown, 1 of them written as <unk>",
    )
    t = load_text(folder, max_words=3)
    assert t.vocabulary == (*SPECIAL, "a", "b", "c")
    assert t.notes[0] == "the vocabulary is the 3 most frequent of the 5 words of train"
    assert t.notes[1] == "train: 2 of 9 words (22.2%) are unknown"


def test_names_of_special_tokens_in_a_text_are_unknown_words(tmp_path):
    t = load_text(write(tmp_path, train="<pad> a <eos> b\n<bos> a\n", valid="a\n", test="b <pad>\n"))
    np.testing.assert_array_equal(t.train, [[UNKNOWN, 4, UNKNOWN, 5, EOS], [UNKNOWN, 4, EOS, PAD, PAD]])
    assert t.vocabulary == (*SPECIAL, "a", "b") and text.words_of(t.train) == 8


def test_long_lines_are_cut_and_counted(tmp_path):
    folder = write(tmp_path, train="a b c d e\na b c\na b\n", valid="a b c d\n", test="a\n")
    t = load_text(folder, max_length=4)
    assert t.train.shape[1] == 4 and t.vocabulary == (*SPECIAL, "a", "b", "c")  # what was cut off is not in it
    np.testing.assert_array_equal(t.train[:, -1], [EOS, EOS, PAD])
    assert t.notes[:2] == (
        "train: 1 of 3 sentences (33.3%) were cut to 4 tokens with the end, which lost 2 of 10 words (20%)",
        "valid: 1 of 1 sentences (100%) were cut to 4 tokens with the end, which lost 1 of 4 words (25%)",
    )
    assert not any("cut" in note for note in load_text(folder, max_length=6).notes)
    assert "holds one word, again and again" in refused(folder, max_length=2)


def test_a_file_is_split_once_and_for_all(tmp_path):
    path = write(tmp_path, mine=lines(20)) + "/mine.txt"
    t = load_text(path)
    assert [len(x) for x in t[1:4]] == [16, 2, 2]
    first = [[s.split()[0] for s in text.decode(x, t.vocabulary)] for x in t[1:4]]
    held = sorted(np.random.RandomState(0).permutation(20)[:4])
    assert sorted(t.vocabulary[6:]) == sorted(f"word{i}" for i in range(20) if i not in held)
    assert first[0] == [f"word{i}" for i in range(20) if i not in held]
    assert held == [1, 8, 18, 19] and first[1] == first[2] == ["<unk>", "<unk>"]
    assert "split into 16 / 2 / 2 sentences for train / valid / test" in t.notes[0]
    again = load_text(path)
    assert all(np.array_equal(a, b) for a, b in zip(t[1:4], again[1:4])) and t[4:] == again[4:]
    assert [len(x) for x in load_text(write(tmp_path, three=lines(3)) + "/three.txt")[1:4]] == [1, 1, 1]


def test_a_folder_without_valid(tmp_path):
    t = load_text(write(tmp_path, train=lines(40), test=lines(3)))
    assert [len(x) for x in t[1:4]] == [36, 4, 3]
    assert f"{tmp_path}: no valid.txt, so 4 of 40 sentences (10%) of train serve as valid" in t.notes


def test_white_space_line_ends_and_byte_order_mark(tmp_path):
    plain = load_text(write(tmp_path / "a", train="a b\nc a\n", valid="a\n", test="b\n"))
    train = b"\xef\xbb\xbfa \t b  \r\n\r\n  \rc a"
    odd = load_text(write(tmp_path / "b", train=train, valid="a\n", test="b"))
    assert np.array_equal(plain.train, odd.train) and plain.vocabulary == odd.vocabulary
    assert odd.notes[0] == f"{tmp_path}/b/train.txt: 2 of 4 lines (50%) are empty and were skipped"


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "mine.txt: the file is empty"),
        (" \n\t\n", "mine.txt: no words, only white space"),
        (b"a b\nb \xe9t\xe9\n" + b"a b\n" * 9, "line 2 has the byte 0xe9 (byte 7 of the file)"),
        (b"\xef\xbb\xbfa b\n\xff", "line 2 has the byte 0xff (byte 8 of the file)"),
        ("a b\nb é\n".encode("utf-16"), "not UTF-8 text: line 1 has the byte 0xff (byte 1 of the file)"),
        ("a b\nb c\n".encode("utf-16-le"), "not UTF-8 text: line 1 has the byte 0x00 (byte 2 of the file)"),
        ("é\0", "byte 0x00 (byte 3 of the file)"),
        ("same same\n" * 10, "mine.txt: the training split holds one word, again and again"),
        ("<unk>\n" * 10, "mine.txt: the training split holds no word that is known"),
        ("a b\nb a\n", "2 sentences, a line each; train, valid and test need at least 3"),
    ],
)
def test_files_that_are_refused(tmp_path, content, said):
    assert said in refused(write(tmp_path, mine=content) + "/mine.txt")


@pytest.mark.parametrize(
    "files, said",
    [
        (dict(test="a b\n"), "no train.txt in this folder; it needs train.txt and test.txt (valid.txt is optional)"),
        (dict(train="a b\n"), "no test.txt in this folder"),
        ({}, "no train.txt and no test.txt in this folder"),
        (dict(train="a b\n", test="a\n"), "train.txt: only one sentence; without a valid.txt it needs at least 2"),
        (
            dict(train="a b\n", valid="a\n", test="c d\ne\n"),
            "no word of the test split is in the vocabulary",
        ),
        (
            dict(train="a b\n", valid="c\n", test="a\n"),
            "no word of the valid split is in the vocabulary of 2",
        ),
        (dict(train="a b\n", valid="", test="a\n"), "valid.txt: the file is empty"),
        (dict(train="a a\n", valid="b\n", test="a\n"), "holds one word"),
    ],
)
def test_folders_that_are_refused(tmp_path, files, said):
    assert said in refused(write(tmp_path, **files))


def test_names_and_numbers_that_are_refused(tmp_path):
    assert "there is no such file" in refused(f"{tmp_path}/none.txt")
    assert "there is no such folder" in refused(f"{tmp_path}/none")
    assert "--dataset=nonsense is no text: give grammar, ptb, FILE.txt" in refused("nonsense")
    assert "--max_length=1" in refused("grammar", max_length=1)
    assert "--max_words=1" in refused("grammar", max_words=1)


# ---- Penn Treebank: numbers only ----


def test_where_ptb_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("VAE_JAX_DATA_DIR", raising=False)
    monkeypatch.delenv("VAE_JAX_RAW_DIR", raising=False)
    assert "no ptb.train.txt (no folder was named)" in refused("ptb")
    monkeypatch.setenv("VAE_JAX_RAW_DIR", str(tmp_path / "raw"))
    assert f"looked in here/ptb, {tmp_path}/raw/ptb" in refused("ptb", data_dir="here")
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw" / "ptb", train="a b\n", valid="a\n", test="b\n")
    assert load_text("ptb").vocabulary[4:] == ("a", "b")
    write(tmp_path / "ptb", **{f"ptb.{split}": "c d\n" for split in text.SPLITS})
    assert load_text("ptb", data_dir=str(tmp_path)).vocabulary[4:] == ("c", "d")
    (tmp_path / "ptb" / "ptb.test.txt").unlink()
    assert "no ptb.test.txt in this folder; it needs ptb.train.txt" in refused("ptb", data_dir=str(tmp_path))


def test_counts_of_ptb(raw_dir):
    if not (raw_dir / "ptb").is_dir():
        pytest.skip(f"{raw_dir} has no folder ptb")
    t = load_text("ptb", data_dir=str(raw_dir))
    assert [len(x) for x in t[1:4]] == [42_068, 3_370, 3_761]
    assert [text.words_of(x) for x in t[1:4]] == [929_589, 73_760, 82_430]
    assert len(t.vocabulary) == 10_002  # the 10,000 of the literature, of which <unk> and the end, with <pad> and <bos>
    assert not any("cut" in note for note in t.notes)
    counts = [re.search(r": ([\d,]+) of .* are unknown, ([\d,]+) of them written", note).groups() for note in t.notes]
    assert all(unknown == written for unknown, written in counts)


# ---- ids and words ----


def test_encode_and_decode():
    vocabulary = (*SPECIAL, "a", "b")
    tokens = text.encode(["a b", "", "b c a"], vocabulary)
    np.testing.assert_array_equal(tokens, [[4, 5, EOS, PAD], [EOS, PAD, PAD, PAD], [5, UNKNOWN, 4, EOS]])
    assert text.decode(tokens, vocabulary) == ["a b", "", "b <unk> a"]
    np.testing.assert_array_equal(text.encode(["a b a"], vocabulary, 2), [[4, EOS]])
    assert text.encode(["a"], vocabulary, 5).shape == (1, 5) and tokens.dtype == np.uint16
    assert text.decode([[4, EOS, 5, EOS], [4, 5, 4, 5]], vocabulary) == ["a", "a b a b"]
    many = (*SPECIAL, *(f"w{i}" for i in range(70_000)))
    last = text.encode(["w69999"], many)
    assert last.dtype == np.uint32 and text.decode(last, many) == ["w69999"]


def test_the_vocabulary_is_saved_and_read():
    vocabulary = (*SPECIAL, "é", '"', "a")
    assert text.from_json(text.to_json(vocabulary)) == vocabulary
    for damaged in ("", "[", "{}", '["a"]', text.to_json((*SPECIAL, "a", "a")), text.to_json(SPECIAL)[:-1] + ", 3]"):
        with pytest.raises(UserError, match="the vocabulary is damaged"):
            text.from_json(damaged)


# ---- lengths and buckets ----


def of_lengths(counts, width=None):
    """Tokens with ``counts[l]`` sentences of l tokens, l from 1, in a shuffled order."""
    length = np.random.RandomState(1).permutation(np.repeat(np.arange(1, len(counts) + 1), counts))
    return np.where(np.arange(width or length.max()) < length[:, None], 9, PAD).astype(np.uint16)


def test_padding_by_hand():
    tokens = of_lengths([0, 4, 0, 1], width=5)  # four of 2 and one of 4 tokens: 12 in 25 places
    assert text.words_of(tokens) == 12 and sorted(text.lengths(tokens)) == [2, 2, 2, 2, 4]
    assert text.padding_share(tokens, (3, 5)) == pytest.approx((13 / 25, 1 - 12 / 17))
    assert text.padding_share(tokens, (2, 4)) == pytest.approx((13 / 25, 0))
    assert text.propose_widths(tokens, 1) == (4,) and text.propose_widths(tokens, 9) == (2, 4)


def test_buckets_hold_every_sentence_once():
    tokens = of_lengths([3, 0, 5, 2, 7, 0, 1])
    found = text.buckets(tokens, (5, 3, 6, 7))
    assert [b.tokens.shape for b in found] == [(8, 3), (9, 5), (1, 7)]  # none needs 6
    assert sorted(np.concatenate([b.index for b in found])) == list(range(18))
    for b in found:
        np.testing.assert_array_equal(b.tokens, tokens[b.index, : b.tokens.shape[1]])
        assert text.words_of(b.tokens) == text.words_of(tokens[b.index]) and (np.diff(b.index) > 0).all()
    with pytest.raises(ValueError, match="7 tokens and the widest bucket 6"):
        text.buckets(tokens, (3, 6))


@pytest.mark.parametrize("seed", range(20))
def test_proposed_widths_are_the_best(seed):
    rng = np.random.RandomState(seed)
    counts = rng.poisson(3, 8) * rng.randint(0, 2, 8)
    counts[rng.randint(8)] += 1
    tokens = of_lengths(counts)
    present = sorted(set(text.lengths(tokens)))
    for most in range(1, 6):
        proposed = text.propose_widths(tokens, most)
        assert len(proposed) == min(most, len(present)) and list(proposed) == sorted(proposed)
        ways = [(*some, present[-1]) for k in range(most) for some in itertools.combinations(present[:-1], k)]
        best = min(text.padding_share(tokens, widths)[1] for widths in ways)
        assert text.padding_share(tokens, proposed)[1] == pytest.approx(best, abs=1e-12)
