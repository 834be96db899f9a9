"""Case 09: an item with an empty field is skipped and counted, with file and line; alike in every format."""

import json
from pathlib import Path
from typing import Any

import pytest

from scaling.evals.evaluator import EvalSettings, Evaluator
from scaling.evals.prompts import template_named
from scaling.evals.suites import load_suite
from scaling.runtime.errors import BadInputError
from tests.evals.test_evaluator import evaluator

FILE = Path(__file__).parent / "09-hellaswag-empty-ending" / "hs.jsonl"


def scores_of(suite: str) -> Any:
    (source,) = load_suite(suite).tasks
    one: Evaluator = evaluator(positions=10_000)[0]
    how = EvalSettings(template_named(source.template))
    return one.evaluate(source, how).scores(source, how)


def test_an_emptied_ending_is_skipped_and_named() -> None:
    scores = scores_of(f"hellaswag:{FILE}")
    assert (scores.n, scores.skipped) == (1, 1)
    assert scores.unusable == (
        f"{FILE}: line 2: endings: ending 2 is empty without the marks of WikiHow's texts",
    )


GOOD_ARC = {"question": {"stem": "s", "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]}}
FORMATS = {
    "hellaswag": (
        "v.jsonl", "\n".join(json.dumps(one) for one in (
            {"ctx": "x", "endings": ["a", "b"], "label": 0}, {"ctx": "x", "endings": ["a", " "], "label": 0},
            {"ctx": "[x]", "endings": ["a", "b"], "label": 0})), 1, 2,
    ),
    "arc": (
        "a.jsonl", "\n".join(json.dumps(one) for one in (
            GOOD_ARC | {"answerKey": "A"},
            {"question": GOOD_ARC["question"] | {"stem": " "}, "answerKey": "A"})), 1, 1,
    ),
    "mmlu": ("x_test.csv", "q,1,2,3,4,A\nq,1,,3,4,A\n,1,2,3,4,A\n", 1, 2),
    "lambada": ("t.txt", "one two three\nalone\n", 1, 1),
    "bigbench": ("t.json", json.dumps({"name": "x", "description": "d", "examples": [
        {"input": "a", "target_scores": {"b": 1, "c": 0}}, {"input": "a", "target_scores": {"": 1, "c": 0}},
        {"input": "", "target_scores": {"b": 1, "c": 0}}]}), 1, 2),
    "squad": ("s.json", json.dumps({"data": [{"paragraphs": [{"context": "c", "qas": [
        {"question": "q", "answers": [{"text": "a"}]}, {"question": " ", "answers": [{"text": "a"}]},
        {"question": "q", "answers": [{"text": ""}]}]}]}]}), 1, 2),
    "glue": ("RTE/dev.tsv", "sentence1\tsentence2\tlabel\na\tb\tentailment\n\tb\tentailment\n", 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_skips_alike(kind: str, tmp_path: Path) -> None:
    name, content, n, skipped = FORMATS[kind]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    scores = scores_of(f"{kind}:{path.parent if kind == 'glue' else path}")
    assert (scores.n, scores.skipped) == (n, skipped)
    assert len(scores.unusable) == skipped
    assert all(str(path.name) in reason for reason in scores.unusable)


def test_a_file_without_a_usable_item_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("alone\nalone\n")
    with pytest.raises(BadInputError, match=r"line 1: text: .*, and 1 more like it: there is no usable item"):
        load_suite(f"lambada:{tmp_path}/t.txt")


def test_skipped_items_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a b\nalone\nc d\n")
    (source,) = load_suite(f"lambada:{tmp_path}/t.txt").tasks
    for seed in range(10):
        (shown,) = source.item(0, 1, seed).shots
        assert shown.answer == "d"
    with pytest.raises(BadInputError, match="can show 1"):
        source.item(0, 2, 0)
