import subprocess
import sys

import pytest

from scaling.runtime.errors import BadInputError
from scaling.tasks import SUITES, TASKS, language, task_named
from scaling.tasks.demonstrations import CHAIN, PLAIN, demonstration
from scaling.tasks.task import CHOICE_METRICS, FREE_METRICS, Example


def test_every_task_says_what_it_is():
    for name, one in TASKS.items():
        assert one.name == name and name == name.lower() and " " not in name
        assert one.definition.endswith(".") and one.description
        assert set(one.metrics) <= {*FREE_METRICS, *CHOICE_METRICS} and one.metrics[0] in (
            "exact_match",
            "choice_accuracy",
        )
        assert one.chance is None or 0 <= one.chance <= 1


def test_suites_are_of_tasks_that_are_there():
    assert {name for names in SUITES.values() for name in names} == set(TASKS)
    assert len(SUITES["gpt3-arithmetic"]) == 10 and len(SUITES["gpt3-words"]) == 5
    assert all(len(set(names)) == len(names) for names in SUITES.values())


def test_a_name_that_is_none():
    with pytest.raises(
        BadInputError, match=r"^task 'add6r': unknown; did you mean add\dr, add\dr, add\dr or add\dr\?$"
    ):
        task_named("add6r")
    with pytest.raises(BadInputError, match=r"^task '???': unknown; known: add2, add3".replace("?", r"\?")):
        task_named("???")


def test_demonstrations_have_the_format_of_prompts():
    one = TASKS["add3r"]
    for index in range(20):
        lesson = one.lesson(index, 8, seed=3)
        text = demonstration(one, index, 8, seed=3)
        assert (
            text
            == PLAIN.prefix("", lesson[:-1])
            + PLAIN.unsolved(lesson[-1])
            + lesson[-1].answer
            + PLAIN.separator
        )
        assert text.count(PLAIN.stops[0]) == 9
    assert demonstration(one, 0, 8) != demonstration(one, 0, 8, seed=1) != demonstration(one, 1, 8, seed=1)


def test_reasoning_stands_between_question_and_answer():
    example = Example("m 7+5-3+8", "7", reasoning="2,9")
    assert PLAIN.solved(example) == "m 7+5-3+8=7\n" and CHAIN.solved(example) == "m 7+5-3+8=2,9:7\n"
    assert CHAIN.unsolved(example) == PLAIN.unsolved(example)
    lesson = TASKS["chain4"].lesson(5, 2)
    assert demonstration(TASKS["chain4"], 5, 2, template=CHAIN) == "".join(map(CHAIN.solved, lesson))


@pytest.fixture
def fresh_words():
    language.words.cache_clear()
    yield
    language.words.cache_clear()


def test_words_of_a_file_of_ones_own(tmp_path, monkeypatch, fresh_words):
    path = tmp_path / "words"
    letters = "abcdefghijklmnopqrst"
    path.write_text("\n".join(["Upper", "it's", "four", *(f"{a}{b}xyz" for a in letters for b in letters)]))
    monkeypatch.setenv("SCALING_WORDS", str(path))
    assert len(language.words()) == 400 and language.words()[0] == "aaxyz"
    answers = {TASKS["cycle"].episode("test", i, 0).query.answer for i in range(50)}
    assert answers <= set(language.words())


def test_too_few_words_or_none(tmp_path, monkeypatch, fresh_words):
    path = tmp_path / "words"
    path.write_text("about\nother\n")
    monkeypatch.setenv("SCALING_WORDS", str(path))
    with pytest.raises(
        BadInputError, match=r"words has 2 words of 5 to 14 lower-case letters.*SCALING_WORDS to a file"
    ):
        TASKS["cycle"].episode("test", 0, 0)
    monkeypatch.setenv("SCALING_WORDS", str(tmp_path / "none"))
    with pytest.raises(BadInputError, match=r"^SCALING_WORDS=.*none: cannot be read \(No such file"):
        TASKS["cycle"].episode("test", 0, 0)


def test_words_of_python_where_there_is_no_dictionary(tmp_path, monkeypatch, fresh_words):
    monkeypatch.delenv("SCALING_WORDS", raising=False)
    monkeypatch.setattr(language, "DICTIONARY", tmp_path / "none")
    words = language.words()
    assert len(set(words)) == len(words) >= 1_000 and {"about", "other", "should"} <= set(words)
    monkeypatch.setattr(language.sysconfig, "get_path", lambda name: str(tmp_path))
    language.words.cache_clear()
    with pytest.raises(BadInputError, match=r"library has 0 words .* set SCALING_WORDS"):
        language.words()


def test_tasks_stay_light():
    heavy = "{'jax', 'numpy', 'grain'}"
    imports = "import sys, scaling.tasks, scaling.tasks.demonstrations"
    code = f"{imports}; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
