"""Text as data: the toy language and its exact entropy, vocabularies, what is refused and how it is said."""

from __future__ import annotations

import itertools
import math
import re
import zlib

import numpy as np
import pytest
from conftest import within_standard_errors
from data_inputs import FEW, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_jax.data.text import BOS, EOS, PAD, SPECIAL, UNKNOWN, decode, english, grammar, is_text, load_text, words_of
from vae_jax.data.text.grammar import START, checked
from vae_jax.data.text.sources import SPLITS
from vae_jax.data.text.vocabulary import encode
from vae_jax.types import UserError


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


ONE_CLAUSE = grammar.rules(1, 1) | {START: ((1.0, ("CLAUSE garden plural past",)),)}
SHORT = {"no recursion": grammar.rules(0, 0), "one clause, recursion once": ONE_CLAUSE}


@pytest.fixture(scope="module")
def drawn():
    return grammar.sample(np.random.RandomState(7), 8_000)


@pytest.mark.parametrize("name", SHORT)
def test_all_sentences_of_a_short_language(name):
    """By enumeration: no two derivations have one sentence, and the closed forms are those of the list."""
    g, listed = checked(SHORT[name]), derivations(SHORT[name])
    assert len(listed) == len({words for _, words in listed}) > 10_000
    assert math.fsum(p for p, _ in listed) == pytest.approx(1, abs=1e-9)
    assert grammar.entropy(g) == pytest.approx(-math.fsum(p * math.log(p) for p, _ in listed), abs=1e-9)
    assert grammar.longest(g) == max(len(words) for _, words in listed)
    for p, words in listed[:: len(listed) // 500]:
        assert grammar.log_prob(" ".join(words), g) == pytest.approx(math.log(p), abs=1e-9)


def test_entropy_against_samples(drawn):
    log_probs = np.array([grammar.log_prob(sentence) for sentence in drawn])
    assert within_standard_errors(-log_probs, grammar.entropy(), 4)
    assert not within_standard_errors(-log_probs, grammar.entropy(checked(grammar.rules(2, 1))), 4)  # it would show
    words = [len(sentence.split()) for sentence in drawn]
    assert min(words) == 4 and max(words) <= grammar.longest() == 19


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
ONLY_A = {START: ((1.0, ("A",)),)}


@pytest.mark.parametrize(
    "rules, match",
    [
        (
            A_OR_B | {"A": ((1.0, ("x", "y")),), "B": ((1.0, ("x", "C")),), "C": ((0.5, ("y",)), (0.5, ("z",)))},
            "A and B",
        ),
        (ONLY_A | {"A": ((0.5, ("x", "x")), (0.5, ("x", "B"))), "B": ((1.0, ("x",)),)}, "apart"),
        (ONLY_A | {"A": ((0.6, ("x",)), (0.3, ("y",)))}, "sum to 1"),
        (ONLY_A | {"A": ((0.6, ("x",)), (0.4, ()))}, "empty"),
        (ONLY_A | {"A": ((1.0, ("x", START)),)}, "anew"),
        (ONLY_A | {"A": ((0.5, ("A", "y")), (0.5, ("x",)))}, "apart"),
        (ONLY_A | {"A": ((1.0, ("x", "A")),)}, "do not end"),
        (ONLY_A | {"A": ((0.6, ("f", "A", "A")), (0.4, ("x",)))}, "do not end"),
        (ONLY_A | {"A": ((0.5, ("f", "A", "A")), (0.5, ("x",)))}, "do not end"),
    ],
)
def test_rules_whose_formula_would_not_hold_are_refused(rules, match):
    with pytest.raises(ValueError, match=match):
        checked(rules)


def test_words_far_apart_agree(drawn):
    seen = set()
    for words in map(str.split, drawn[:3000]):
        number = {"it": "singular", "they": "plural"}[words[-1]]
        tense = {"did": "past", "will": "future", "do": "present", "does": "present"}[words[-2]]
        assert words.count("will") == (2 if tense == "future" else 0)
        topics = set()
        for name, t in english.TOPICS.items():
            parts = (
                *t.transitive,
                *t.intransitive,
                *t.objects,
                *t.places,
                *(x[number == "plural"] for x in t.subjects),
            )
            topics |= {name} if {*parts} & {*words} else set()
        assert len(topics) == 1
        seen.add((*topics, number, tense))
    assert len(seen) == len(grammar.english().rules[START]) == 36


def test_outside_the_language():
    whole = "these quiet little sailors will mend the net slowly near the harbour tomorrow will they"
    assert grammar.log_prob(whole) > -30
    changes = ("they it", "tomorrow yesterday", "tomorrow~will did", "harbour barn", "net soup", "mend mends")
    broken = ["sailors", "", whole.removesuffix(" they"), whole + " they"]
    broken += [whole.replace(*(x.replace("~", " ") for x in change.split())) for change in changes]
    broken += [whole.replace("little", "little bright"), whole.replace("these", "this")]
    assert [grammar.log_prob(sentence) for sentence in broken] == [-math.inf] * len(broken)


def test_load_the_grammar():
    t = load_text("grammar")
    splits = (t.train, t.validation, t.test)
    assert [x.shape for x in splits] == [(20_000, 20), (2_000, 20), (2_000, 20)] and t.train.dtype == np.uint16
    assert len(t.words) == t.levels == 119 == len(set(t.words)) and t.entropy == grammar.entropy()
    assert not any((x == UNKNOWN).any() or (x == BOS).any() for x in splits)
    assert decode(t.train[:1], t.words) == grammar.sample(np.random.RandomState(0), 1)
    choices = (
        [topic.probability for topic in english.TOPICS.values()],
        *map(dict.values, (english.NUMBERS, english.TENSES)),
    )
    assert grammar.global_entropy() == pytest.approx(-sum(p * math.log(p) for ps in choices for p in ps), abs=1e-12)
    own = -np.mean([grammar.log_prob(sentence) for sentence in decode(t.test, t.words)])
    assert f"entropy of {t.entropy:.4f} nats, {grammar.global_entropy():.4f} of them" in t.notes[0]
    assert t.notes[0].endswith(f"{own:.4f}") and "test: 0 of 18,669 words (0%) are unknown" in t.notes
    # The same for ever, on every machine.
    assert [zlib.crc32(x.astype("<u2").tobytes()) for x in splits] == [2432935912, 3977080542, 2010524158]
    assert "up to 20 tokens and 115 words" in refused(load_text, "grammar", max_length=19)
    assert "--max_words of at least 115" in refused(load_text, "grammar", max_words=114)


# ---- files ----


def lines(n):
    return "".join(f"word{i} common end\n" for i in range(n))


def test_vocabulary_by_frequency_then_alphabet(tmp_path):
    folder = write(tmp_path, train="b a\nc a B é\nb a c\n", valid="a d\n", test="B b <unk> e a\n")
    t = load_text(folder)
    assert is_text(folder) and t.words == (*SPECIAL, "a", "b", "c", "B", "é") and t.entropy is None
    np.testing.assert_array_equal(t.train, [[5, 4, EOS, 0, 0, 0], [6, 4, 7, 8, EOS, 0], [5, 4, 6, EOS, 0, 0]])
    np.testing.assert_array_equal(t.validation, [[4, UNKNOWN, EOS, 0, 0, 0]])
    np.testing.assert_array_equal(t.test, [[7, 5, UNKNOWN, UNKNOWN, 4, EOS]])
    assert t.notes == (
        "valid: 1 of 2 words (50%) are unknown",
        "test: 2 of 5 words (40%) are unknown, 1 of them written as <unk>",
    )
    write(tmp_path, valid="<pad> a <eos>\n")  # names of special tokens are unknown words
    np.testing.assert_array_equal(load_text(folder).validation, [[UNKNOWN, 4, UNKNOWN, EOS, PAD, PAD]])
    t = load_text(folder, max_words=3)
    assert t.words == (*SPECIAL, "a", "b", "c")
    assert t.notes[0] == "the vocabulary is the 3 most frequent of the 5 words of train"
    assert t.notes[1] == "train: 2 of 9 words (22.2%) are unknown"


def test_long_lines_are_cut_and_counted(tmp_path):
    folder = write(tmp_path, train="a b c d e\na b c\na b\n", valid="a b c d\n", test="a\n")
    t = load_text(folder, max_length=4)
    assert t.train.shape[1] == 4 and t.words == (*SPECIAL, "a", "b", "c")  # what was cut off is not in it
    np.testing.assert_array_equal(t.train[:, -1], [EOS, EOS, PAD])
    assert t.notes[:2] == (
        "train: 1 of 3 sentences (33.3%) were cut to 4 tokens with the end, which lost 2 of 10 words (20%)",
        "valid: 1 of 1 sentences (100%) were cut to 4 tokens with the end, which lost 1 of 4 words (25%)",
    )
    assert not any("cut" in note for note in load_text(folder, max_length=6).notes)
    assert "holds one word, again and again" in refused(load_text, folder, max_length=2)


def test_a_file_is_split_once_and_for_all(tmp_path):
    t = load_text(write(tmp_path, mine=lines(20)) + "/mine.txt")
    splits = (t.train, t.validation, t.test)
    assert [len(x) for x in splits] == [16, 2, 2]
    first = [[s.split()[0] for s in decode(x, t.words)] for x in splits]
    others = sorted(np.random.RandomState(0).permutation(20)[:4])
    assert sorted(t.words[6:]) == sorted(first[0])
    assert first[0] == [f"word{i}" for i in range(20) if i not in others]
    assert others == [1, 8, 18, 19] and first[1] == first[2] == ["<unk>", "<unk>"]
    assert "split into 16 / 2 / 2 sentences for train / valid / test" in t.notes[0]
    three = load_text(write(tmp_path, three=lines(3)) + "/three.txt")
    assert [len(x) for x in (three.train, three.validation, three.test)] == [1, 1, 1]


def test_rare_words_teach_what_an_unknown_one_is_where_a_text_has_none(tmp_path):
    folder = write(tmp_path, train="a b once\na b\n", valid="a x\n", test="b y\n")
    assert load_text(folder).words[4:] == ("a", "b", "once")  # runs of before have these words
    t = load_text(folder, rare_words=2)
    assert t.words[4:] == ("a", "b") and (t.train == UNKNOWN).sum() == 1
    assert "1 of 3 words (33.3%) are in train fewer than 2 times, and learned as one, <unk>" in t.notes
    assert load_text(folder, rare_words=9).words == load_text(folder).words  # or no words would be left
    write(tmp_path, train="a b once\na <unk>\n")
    assert load_text(folder, rare_words=2).words[4:] == ("a", "b", "once")


def test_files_of_splits_in_any_spelling_and_sentences_on_both_sides(tmp_path):
    folder = write(tmp_path, Train=lines(40), val="common\n", TESTING="end\n")
    t = load_text(folder)
    assert is_text(folder) and [len(x) for x in (t.train, t.validation, t.test)] == [40, 1, 1]
    write(tmp_path, valid="end\n")
    assert "val and valid both stand for the validation split" in refused(load_text, folder)
    t = load_text(write(tmp_path / "b", mine="a b\nb a\n" * 10) + "/mine.txt")
    assert "4 of valid and test are in train as well" in t.notes[0]


def test_a_folder_without_valid(tmp_path):
    t = load_text(write(tmp_path, train=lines(40), test=lines(3)))
    assert [len(x) for x in (t.train, t.validation, t.test)] == [36, 4, 3]
    assert f"{tmp_path}: no valid.txt, so 4 of 40 sentences (10%) of train serve as valid" in t.notes


def labels_of(dataset, split):
    """Returns the first word of each sentence of a split beside its label."""
    codes = getattr(dataset, f"{split}_factors")[:, 0].astype(int)
    return [(dataset.words[row[0]], dataset.class_names[code]) for row, code in zip(getattr(dataset, split), codes)]


def test_a_file_of_labels_goes_with_its_text_through_every_split(tmp_path):
    words = ["red", "blue", "green", "red", "blue", "green"] * 5
    write(tmp_path, mine="\n\n".join(f"{word} x" for word in words) + "\n")
    (tmp_path / "mine.labels").write_text("\n\n".join(f"kind of {word} " for word in words) + "\n")
    t = load_text(f"{tmp_path}/mine.txt")
    assert t.factor_names == ("label",) and t.class_names == ("kind of blue", "kind of green", "kind of red")
    for split in ("train", "validation", "test"):
        pairs = labels_of(t, split)
        assert pairs and all(label == f"kind of {word}" for word, label in pairs)
    folder = write(tmp_path / "b", train="a x\nb x\n" * 20, test="b x\na x\n")
    (tmp_path / "b" / "train.labels").write_text("of a\nof b\n" * 20)
    t = load_text(folder)
    assert all(label == f"of {word}" for split in ("train", "validation") for word, label in labels_of(t, split))
    assert t.test_factors is None and load_text("grammar").entropy is not None
    (tmp_path / "b" / "train.labels").write_text("a\n")
    assert "1 lines for the 40 of" in refused(load_text, folder)
    (tmp_path / "b" / "train.labels").write_text("a\n\n" + "a\n" * 38)
    assert "line 2 is empty" in refused(load_text, folder)


def test_the_label_of_a_sentence_of_the_grammar_is_its_global_choice():
    t = load_text("grammar")
    codes, sentences = t.test_factors[:200, 0].astype(int), decode(t.test[:200], t.words)
    assert len(t.class_names) == 36 and t.class_names[codes[0]].split()[0] in english.TOPICS
    for code, sentence in zip(codes, sentences):
        topic, number, tense = t.class_names[code].split()
        others = [other for name, other in english.TOPICS.items() if name != topic]
        assert not {word for other in others for pair in other.subjects for word in pair} & set(sentence.split())
        assert sentence.split()[-2:] == [english._auxiliary(number, tense), english.PRONOUN[number]]
    shares = np.bincount(t.train_factors[:, 0].astype(int)) / 20_000
    assert -np.sum(shares * np.log(shares)) == pytest.approx(grammar.global_entropy(), abs=0.01)


def test_white_space_line_ends_and_byte_order_mark(tmp_path):
    plain = load_text(write(tmp_path / "a", train="a b\nc a\n", valid="a\n", test="b\n"))
    train = b"\xef\xbb\xbfa \t b  \r\n\r\n  \rc a"
    odd = load_text(write(tmp_path / "b", train=train, valid="a\n", test="b"))
    assert np.array_equal(plain.train, odd.train) and plain.words == odd.words
    assert odd.notes[0] == f"{tmp_path}/b/train.txt: 2 of 4 lines (50%) are empty and were skipped"


@pytest.mark.parametrize(
    "content, match",
    [
        ("", "mine.txt: the file is empty"),
        (" \n\t\n", "mine.txt: no words, only white space"),
        (b"a b\nb \xe9t\xe9\n" + b"a b\n" * 9, "line 2 has the byte 0xe9 (byte 7 of the file)"),
        ("a b\nb c\n".encode("utf-16-le"), "not UTF-8 text: line 1 has the byte 0x00 (byte 2 of the file)"),
        ("é\0", "byte 0x00 (byte 3 of the file)"),
        ("same same\n" * 10, "mine.txt: the training split holds one word, again and again"),
        ("<unk>\n" * 10, "mine.txt: the training split holds no word that is known"),
        ("a b\nb a\n", "2 sentences, a line each; train, valid and test need at least 3"),
    ],
)
def test_files_that_are_refused(tmp_path, content, match):
    assert match in refused(load_text, write(tmp_path, mine=content) + "/mine.txt")


@pytest.mark.parametrize(
    "files, match",
    [
        (dict(test="a b\n"), "no train.txt in this folder; it needs train.txt and test.txt (valid.txt is optional)"),
        ({}, "no train.txt and no test.txt in this folder"),
        (dict(train="a b\n", test="a\n"), "train.txt: only one sentence; without a valid.txt it needs at least 2"),
        (dict(train="a b\n", valid="a\n", test="c d\ne\n"), "no word of the test split is in the vocabulary"),
        (dict(train="a b\n", valid="c\n", test="a\n"), "no word of the valid split is in the vocabulary of 2"),
    ],
)
def test_folders_that_are_refused(tmp_path, files, match):
    assert match in refused(load_text, write(tmp_path, **files))


def test_names_and_numbers_that_are_refused(tmp_path):
    assert "there is no such file" in refused(load_text, f"{tmp_path}/none.txt")
    assert "there is no such folder" in refused(load_text, f"{tmp_path}/none")
    assert "--dataset=nonsense is no text: give grammar, ptb, FILE.txt" in refused(load_text, "nonsense")
    assert "--max_length=1" in refused(load_text, "grammar", max_length=1)
    assert "--max_words=1" in refused(load_text, "grammar", max_words=1)


@settings(FEW, max_examples=30)
@given(
    st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | st.text("ab \n<unk>", max_size=80).map(str.encode)
)
def test_any_text_is_refused_or_read(tmp_path_factory, raw):
    path = write(tmp_path_factory.mktemp("text"), mine=raw) + "/mine.txt"
    try:
        t = load_text(path, 20, 100)
    except UserError:
        return
    assert len(t.train) >= 1 and t.levels == len(t.words)


# ---- Penn Treebank: numbers only ----


def test_where_ptb_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("VAE_JAX_DATA_DIR", raising=False)
    monkeypatch.delenv("VAE_JAX_RAW_DIR", raising=False)
    assert "no ptb.train.txt (no folder was named)" in refused(load_text, "ptb")
    monkeypatch.setenv("VAE_JAX_RAW_DIR", str(tmp_path / "raw"))
    assert f"looked in here/ptb, {tmp_path}/raw/ptb" in refused(load_text, "ptb", data_dir="here")
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw" / "ptb", train="a b\n", valid="a\n", test="b\n")
    assert load_text("ptb").words[4:] == ("a", "b")
    write(tmp_path / "ptb", **{f"ptb.{split}": "c d\n" for split in SPLITS})
    assert load_text("ptb", data_dir=str(tmp_path)).words[4:] == ("c", "d")
    (tmp_path / "ptb" / "ptb.test.txt").unlink()
    message = refused(load_text, "ptb", data_dir=str(tmp_path))
    assert "no ptb.test.txt in this folder; it needs ptb.train.txt" in message


def test_counts_of_ptb(raw_dir):
    if not (raw_dir / "ptb").is_dir():
        pytest.skip(f"{raw_dir} has no folder ptb")
    t = load_text("ptb", data_dir=str(raw_dir))
    splits = (t.train, t.validation, t.test)
    assert [len(x) for x in splits] == [42_068, 3_370, 3_761]
    assert [words_of(x) for x in splits] == [929_589, 73_760, 82_430]
    assert len(t.words) == 10_002  # the 10,000 of the literature, of which <unk> and the end, with <pad> and <bos>
    assert not any("cut" in note for note in t.notes)
    counts = [re.search(r": ([\d,]+) of .* are unknown, ([\d,]+) of them written", note).groups() for note in t.notes]
    assert all(unknown == written for unknown, written in counts)


def test_ids_and_words():
    vocabulary = (*SPECIAL, "a", "b")
    tokens = encode([["a", "b"], [], ["b", "c", "a"]], vocabulary, 4)
    np.testing.assert_array_equal(tokens, [[4, 5, EOS, PAD], [EOS, PAD, PAD, PAD], [5, UNKNOWN, 4, EOS]])
    assert decode(tokens, vocabulary) == ["a b", "", "b <unk> a"] and tokens.dtype == np.uint16
    assert decode([[4, EOS, 5, EOS], [4, 5, 4, 5]], vocabulary) == ["a", "a b a b"]
    many = (*SPECIAL, *(f"w{i}" for i in range(70_000)))
    last = encode([["w69999"]], many, 2)
    assert last.dtype == np.uint32 and decode(last, many) == ["w69999"]
