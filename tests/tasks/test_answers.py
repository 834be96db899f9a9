"""Answers are right: worked out again here from the question alone."""

import itertools
from collections import Counter

import pytest

from scaling.tasks import TASKS


def some(name, count=200, shots=0, split="test"):
    return [TASKS[name].episode(split, index, shots) for index in range(count)]


def queries(name, count=200):
    return [episode.query for episode in some(name, count)]


@pytest.mark.parametrize(
    "name", ["add2", "add3", "add4", "add5", "sub2", "sub3", "sub4", "sub5", "mul2", "composite1"]
)
def test_arithmetic(name):
    for query in queries(name):
        assert query.answer == str(eval(query.question))
        if name[-1] in "2345":
            assert all(
                0 <= int(n) < 10 ** int(name[-1])
                for n in query.question.replace("*", "+").replace("-", "+").split("+")
            )


def test_composites_write_the_bracket_first():
    for query in queries("composite1"):
        assert query.reasoning == str(eval(query.question[2:]))


@pytest.mark.parametrize("digits", [2, 3, 4, 5])
def test_addition_backwards(digits):
    for query in queries(f"add{digits}r"):
        a, b = query.question[1:].split("+")
        assert len(a) == len(b) == digits and len(query.answer) == digits + 1
        assert int(query.answer[::-1]) == int(a) + int(b)


def test_comparison():
    for query in queries("larger3"):
        a, b = query.question.split("<>")
        assert a != b and query.choices == (a, b) and int(query.answer) == max(int(a), int(b))


@pytest.mark.parametrize(("name", "sign"), [("modadd", "+"), ("modmul", "*"), ("moddiv", "/")])
def test_modular(name, sign):
    for query in queries(name):
        a, b = map(int, query.question.split("%")[0].split(sign))
        c = int(query.answer)
        assert 0 <= c < 97
        right = {"+": a + b - c, "*": a * b - c, "/": b * c - a}[sign]
        assert right % 97 == 0


@pytest.mark.parametrize("name", ["add2", "sub2", "mul2", "composite1", "modadd", "modmul", "moddiv"])
def test_chance_is_that_of_the_likeliest_answer(name):
    task = TASKS[name]
    sides = ("train", "test")
    answers = Counter(
        task.episode(split, i, 0).query.answer for split in sides for i in range(task.size(split))
    )
    assert task.chance == pytest.approx(answers.most_common(1)[0][1] / answers.total())


def test_scrambled_words():
    for query in queries("cycle"):
        turned = query.answer * 2
        assert query.question in turned and len(query.question) == len(query.answer)
    for name, kept in (("anagrams1", 1), ("anagrams2", 2)):
        for query in queries(name):
            q, a = query.question, query.answer
            assert sorted(q) == sorted(a) and q[:kept] == a[:kept] and q[-kept:] == a[-kept:]
    for query in queries("insertion"):
        assert query.question[::2] == query.answer and not any(c.isalnum() for c in query.question[1::2])
    for query in queries("reversed-words"):
        assert query.question[::-1] == query.answer
    assert all(5 <= len(query.answer) <= 14 for query in queries("cycle"))


def test_sequences():
    for query in queries("copy8"):
        assert query.question == f"c {query.answer}"
    for query in queries("reverse6"):
        assert query.question == f"b {query.answer[::-1]}"
    for query in queries("induction8"):
        text = query.question[2:]
        assert text[text.index(text[-1]) + 1] == query.answer and len(set(text[:-1])) == 8


@pytest.mark.parametrize("steps", [2, 4, 8])
def test_chains_and_their_intermediate_results(steps):
    for query in queries(f"chain{steps}"):
        question = query.question[2:]
        signs = [i for i, c in enumerate(question) if c in "+-"]
        prefixes = [question[:i] for i in (*signs[1:], len(question))]
        results = [str(eval(prefix) % 10) for prefix in prefixes]
        assert len(signs) == steps
        assert [*query.reasoning.split(","), query.answer] == results


@pytest.mark.parametrize("steps", [2, 3])
def test_hops(steps):
    for query in queries(f"hops{steps}"):
        *arrows, start = query.question.split()[1:]
        way = dict(arrows)
        assert len(way) == 2 * steps  # one arrow from each letter
        path = [start]
        for _ in range(steps):
            path.append(way[path[-1]])
        assert path[-1] == query.answer and query.reasoning == ",".join(path[1:-1])


def test_translation_goes_both_ways():
    for index in range(100):
        ours = TASKS["translate-to"].episode("train", index, 0).query
        assert len(ours.answer.split()) <= len(ours.question.split())
    there = {q.question: q.answer for q in queries("translate-to", 1500)}
    back = {q.question: q.answer for q in queries("translate-from", 1500)}
    met = [(ours, theirs) for ours, theirs in there.items() if theirs in back]
    assert len(met) > 30 and all(back[theirs] == ours for ours, theirs in met)


@pytest.mark.parametrize("name", ["lookup1", "lookup2", "lookup3"])
def test_lookups_are_of_one_mapping_and_ask_what_was_shown(name):
    mappings = set()
    for episode in some(name, 100, shots=8):
        pairs = {shot.question: shot.answer for shot in episode.shots}
        assert len(pairs) == 8 and pairs[episode.query.question] == episode.query.answer
        mappings.add(tuple(sorted(pairs.items())))
    assert len(mappings) == 100  # new in every episode


def test_each_of_the_shown_pairs_is_asked_as_often():
    at = Counter(episode.shots.index(episode.query) for episode in some("lookup3", 400, shots=8))
    assert sum((at[i] - 50) ** 2 / 50 for i in range(8)) < 24.4  # one in a thousand


def test_a_lesson_of_a_lookup_asks_each_pair_once_more():
    for index in range(50):
        lesson = TASKS["lookup2"].lesson(index, 8)
        half = len(lesson) // 2
        assert 1 <= half <= 8 and len(set(lesson[:half])) == half
        assert sorted(map(str, lesson[:half])) == sorted(map(str, lesson[half:]))


def test_ciphers_are_permutations():
    for episode in some("cipher8", 100, shots=8):
        table = {}
        for example in (*episode.shots, episode.query):
            for a, b in zip(example.question, example.answer, strict=True):
                assert table.setdefault(a, b) == b
        assert len(set(table.values())) == len(table)


def test_shifts_are_shifts_and_both_sides_have_some():
    by = {
        split: {
            (ord(q.answer[0]) - ord(q.question[0])) % 26
            for q in (e.query for e in some("shift", 300, 0, split))
        }
        for split in ("train", "test")
    }
    assert by["train"] and by["test"] and by["train"] | by["test"] <= set(range(1, 26))
    assert not by["train"] & by["test"]


def test_mappings_of_the_test_side_are_in_no_lesson():
    shown = set()
    for index in range(300):
        for example in TASKS["shift"].lesson(index, 4):
            shown.add((ord(example.answer[0]) - ord(example.question[0])) % 26)
    held = {(ord(e.query.answer[0]) - ord(e.query.question[0])) % 26 for e in some("shift", 300)}
    assert shown and not shown & held
    names = "abcdefgh"
    seen = {
        "".join(
            dict(
                itertools.chain(
                    *(zip(e.question, e.answer, strict=True) for e in TASKS["cipher8"].lesson(i, 16))
                )
            ).get(c, "?")
            for c in names
        )
        for i in range(300)
    }
    asked = set()
    for episode in some("cipher8", 300, 24):
        table = dict(itertools.chain(*(zip(e.question, e.answer, strict=True) for e in episode.shots)))
        asked.add("".join(table.get(c, "?") for c in names))
    assert not {m for m in seen if "?" not in m} & {m for m in asked if "?" not in m}
