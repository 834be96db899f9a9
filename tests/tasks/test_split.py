"""No instance is on both sides: by enumeration where the space is small, by hypothesis elsewhere."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.tasks import TASKS
from scaling.tasks.task import TEST_SHARE, IndependentTask, Task, side

COUNTED = [name for name, task in TASKS.items() if task.size("test") is not None]
NAMES = st.sampled_from(list(TASKS))


def questions(task: Task, split) -> list[str]:
    size = task.size(split)
    assert size is not None
    return [task.episode(split, index, 0).query.question for index in range(size)]


@pytest.mark.parametrize("name", COUNTED)
def test_counted_tasks_split_all_their_questions(name):
    task = TASKS[name]
    train, test = questions(task, "train"), questions(task, "test")
    whole = {"composite1": 9_000, "moddiv": 97 * 96, "modadd": 97**2, "modmul": 97**2}.get(name, 10_000)
    assert len(set(train)) == len(train) and len(set(test)) == len(test)
    assert not set(train) & set(test)
    assert len(train) + len(test) == whole
    assert abs(len(test) / whole - TEST_SHARE) < 0.02


@pytest.mark.parametrize("name", ["add2", "mul2", "modadd", "modmul"])
def test_commuting_pairs_are_on_one_side(name):
    sign = "+" if "add" in name else "*"
    train = set(questions(TASKS[name], "train"))
    for question in train:
        pair, percent, prime = question.partition("%")
        a, b = pair.split(sign)
        assert f"{b}{sign}{a}{percent}{prime}" in train


def test_differences_that_differ_by_a_sign_are_on_one_side():
    train = set(questions(TASKS["sub2"], "train"))
    assert all("-".join(question.split("-")[::-1]) in train for question in train)


def test_composites_that_differ_by_order_alone_are_on_one_side():
    train = set(questions(TASKS["composite1"], "train"))
    for outer, inner in itertools.product("+-*", repeat=2):
        for a, b, c in itertools.product(range(10), repeat=3):
            if inner != "-":
                assert (f"{a}{outer}({b}{inner}{c})" in train) == (f"{a}{outer}({c}{inner}{b})" in train)
            if outer == inner != "-":
                assert (f"{a}{outer}({b}{inner}{c})" in train) == (f"{b}{outer}({a}{inner}{c})" in train)


def test_tasks_that_ask_the_same_thing_agree_on_its_side():
    plain, backwards = set(questions(TASKS["add2"], "test")), questions(TASKS["add2r"], "test")
    asked = {"+".join(str(int(n)) for n in question[1:].split("+")) for question in backwards}
    assert asked == plain
    # Small sums are asked among the larger ones too.
    for index in range(300):
        a, b = map(int, TASKS["add3"].episode("test", index, 0).query.question.split("+"))
        assert side(f"{min(a, b)}+{max(a, b)}") == "test"


def test_reversal_and_copying_agree_on_the_side_of_what_reads_the_same():
    for index in range(200):
        text = TASKS["reverse4"].episode("test", index, 0).query.question.split()[1]
        assert side(f"string {min(text, text[::-1])}") == "test"


@settings(max_examples=150, deadline=None)
@given(
    NAMES, st.integers(0, 10**9), st.integers(0, 2**32), st.integers(0, 9), st.sampled_from(["train", "test"])
)
def test_episodes(name, index, seed, shots, split):
    """Pure functions, shots never the query, questions of training never among the test's."""
    task = TASKS[name]
    episode = task.episode(split, index, shots, seed)
    assert episode == task.episode(split, index, shots, seed)
    assert len(episode.shots) == shots
    asked = [shot.question for shot in episode.shots]
    if name.startswith("lookup"):
        assert episode.query in episode.shots or not shots
    else:
        assert episode.query.question not in asked
    fewer = task.episode(split, index, shots // 2, seed)
    if not name.startswith("lookup"):
        assert fewer.query == episode.query and fewer.shots == episode.shots[: shots // 2]
    for example in (*episode.shots, episode.query):
        assert example.question and example.answer and "\n" not in example.question + example.answer
        assert "=" not in example.question
        if example.choices:
            assert example.choices.count(example.answer) == 1
    if task.size(split) is None:
        others = [task.episode(split, index, 0, seed + 1 + i) for i in range(8)]
        assert any(other != task.episode(split, index, 0, seed) for other in others)  # two may draw one word


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([n for n in TASKS if isinstance(TASKS[n], IndependentTask)]),
    st.integers(0, 10**9),
    st.integers(0, 99),
)
def test_shots_and_lessons_are_of_the_training_side(name, index, seed):
    """Held against the test side itself where it is counted, against the split's rule elsewhere."""
    task = TASKS[name]
    shown = (*task.lesson(index, 3, seed), *task.episode("test", index, 3, seed).shots)
    if task.size("test") is not None:
        assert not {example.question for example in shown} & set(questions(task, "test"))
        return
    for example in shown:
        for canonical in canonicals(name, example):
            assert side(canonical) == "train"


def canonicals(name, example):
    """The canonical forms, by a rule written here and not in the generators."""
    question, answer = example.question, example.answer
    if name.startswith("add"):
        a, b = sorted(map(int, question.lstrip("r").split("+")))
        yield f"{a}+{b}"
    elif name.startswith("sub"):
        b, a = sorted(map(int, question.split("-")))
        yield f"{a}-{b}"
    elif name in ("cycle", "anagrams1", "anagrams2", "insertion", "reversed-words"):
        yield f"word {answer}"
    elif name.startswith(("copy", "reverse")):
        text = question.split()[1]
        yield f"string {min(text, text[::-1]) if name.startswith('reverse') else text}"
    elif name.startswith("translate"):
        yield f"sentence {question if name == 'translate-to' else answer}"
