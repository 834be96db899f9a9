"""Files of the published formats, small ones made here; and what is said of those that are damaged."""

import json
from pathlib import Path
from typing import Any

import pytest

from scaling.evals.prompts import prompt_of, template_named
from scaling.evals.suites import load_suite
from scaling.runtime.errors import BadInputError

HELLASWAG = {"ctx": "He opens the door [title] and", "endings": ["sits.", "runs [x] out."], "label": 1}
ARC = {
    "question": {
        "stem": "What melts?",
        "choices": [{"text": "ice", "label": "A"}, {"text": "fire", "label": "B"}],
    },
    "answerKey": "A",
}
FREE = {"name": "sums", "description": "Add.", "examples": [{"input": "1+1", "target": ["2", "two"]}] * 3}
CHOICE = {
    "name": "odd",
    "description": "Choose.",
    "examples": [{"input": "Which?", "target_scores": {"a": 0, "b": 1, "c": 0.5}}] * 3,
}
SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": "The cat sat on the mat.",
                    "qas": [
                        {"question": "Who sat?", "answers": [{"text": "The cat"}, {"text": "cat"}]},
                        {"question": "Who ran?", "answers": [], "is_impossible": True},
                    ],
                }
            ]
        }
    ]
}


def write(path: Path, content: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        content = "\n".join(json.dumps(line) for line in content) + "\n"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def text_of(suite: str, index: int = 0, shots: int = 0) -> tuple[str, tuple[str, ...]]:
    source = load_suite(suite).tasks[0]
    prompt = prompt_of(template_named(source.template), source.description, source.item(index, shots, 0))
    return prompt.prefix + prompt.question, prompt.targets


def test_hellaswag(tmp_path: Path) -> None:
    suite = "hellaswag:" + write(tmp_path / "val.jsonl", [HELLASWAG, HELLASWAG | {"label": "0"}])
    assert text_of(suite) == ("He opens the door. and", (" sits.", " runs out."))
    text, _ = text_of(suite, 0, 1)
    assert text == "He opens the door. and sits.\n\nHe opens the door. and"
    (source,) = load_suite(suite).tasks
    assert source.size() == 2 and source.item(0, 0, 0).grades == (0.0, 1.0)


def test_arc_takes_its_examples_from_the_training_file(tmp_path: Path) -> None:
    write(tmp_path / "ARC-Easy-Test.jsonl", [ARC])
    write(tmp_path / "ARC-Easy-Train.jsonl", [ARC | {"answerKey": "B"}])
    suite = f"arc:{tmp_path}"
    assert load_suite(suite).tasks[0].name == "arc-easy"
    text, targets = text_of(suite, 0, 1)
    assert text == "Question: What melts?\nAnswer: fire\n\nQuestion: What melts?\nAnswer:"
    assert targets == (" ice", " fire")


def test_lambada_asks_for_the_last_word(tmp_path: Path) -> None:
    for name, content in (("t.jsonl", [{"text": "she said his name"}]), ("t.txt", "she said his name\n")):
        suite = "lambada:" + write(tmp_path / name, content)
        assert text_of(suite) == ("she said his", (" name",))


def test_bigbench_with_targets_and_with_choices(tmp_path: Path) -> None:
    free = "bigbench:" + write(tmp_path / "free/task.json", FREE)
    assert text_of(free) == ("Q: 1+1\nA:", (" 2",))
    (source,) = load_suite(free).tasks
    assert source.item(0, 0, 0).accepted == ("2", "two") and source.metrics[0] == "exact_match"
    choice = "bigbench:" + write(tmp_path / "choice/task.json", CHOICE)
    text, targets = text_of(choice)
    assert text == "Q: Which?\n  choice: a\n  choice: b\n  choice: c\nA:" and targets == (" a", " b", " c")
    (source,) = load_suite(choice).tasks
    assert source.item(0, 0, 0).grades == (0.0, 1.0, 0.5) and source.chance == pytest.approx(0.5)
    # Two files of one name are two suites on disk.
    assert load_suite(free).file_name != load_suite(choice).file_name


def test_mmlu_scores_letters_and_shows_dev(tmp_path: Path) -> None:
    write(tmp_path / "test/world_history_test.csv", '"When, exactly?",1,2,3,4,C\n')
    write(tmp_path / "dev/world_history_dev.csv", "Who?,w,x,y,z,D\n" * 5)
    suite = f"mmlu:{tmp_path}"
    assert load_suite(suite).tasks[0].name == "mmlu-world_history"
    text, targets = text_of(suite, 0, 1)
    assert text.startswith("Multiple choice questions (with answers) about world history.\n\nWho?\nA. w")
    assert text.endswith("D. z\nAnswer: D\n\nWhen, exactly?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:")
    assert targets == (" A", " B", " C", " D")


def test_squad_of_both_versions(tmp_path: Path) -> None:
    (source,) = load_suite("squad:" + write(tmp_path / "dev.json", SQUAD)).tasks
    assert source.size() == 2
    assert source.item(0, 0, 0).accepted == ("The cat", "cat")
    assert source.item(1, 0, 0).accepted == ("unanswerable",)


def test_glue_reads_labels_as_words(tmp_path: Path) -> None:
    rows = "index\tsentence1\tsentence2\tlabel\n0\tIt rains.\tIt is wet.\tentailment\n"
    write(tmp_path / "RTE/dev.tsv", rows)
    text, targets = text_of(f"glue:{tmp_path}/RTE")
    assert text.startswith("Question: It rains.\nIt is wet.\nDoes") and targets == (" yes", " no")
    write(tmp_path / "CoLA/dev.tsv", "gj04\t1\t\tThe cat sat.\n")
    assert load_suite(f"glue:{tmp_path}/CoLA").tasks[0].item(0, 0, 0).accepted == ("yes",)


def test_examples_are_never_the_item_and_are_the_same_for_all(tmp_path: Path) -> None:
    lines = [{"text": f"the number is n{i}"} for i in range(20)]
    (source,) = load_suite("lambada:" + write(tmp_path / "t.jsonl", lines)).tasks
    drawn = [source.item(i, 5, 1) for i in range(20)]
    assert all(len(item.shots) == 5 and item.query not in item.shots for item in drawn)
    most = max({item.shots for item in drawn}, key=[item.shots for item in drawn].count)
    assert sum(item.shots == most for item in drawn) == 15
    assert source.item(0, 5, 2).shots != source.item(0, 5, 1).shots
    with pytest.raises(BadInputError, match=r"--shots 20: task lambada can show 19"):
        source.item(0, 20, 0)


DAMAGED: list[tuple[str, str, Any, str]] = [
    ("hellaswag", "v.jsonl", [HELLASWAG, {"ctx": "x", "label": 0}], "v.jsonl: line 2: endings: missing"),
    ("hellaswag", "v.jsonl", [HELLASWAG | {"label": 2}], "line 1: label: '2' is not a choice: there are 2"),
    ("hellaswag", "v.jsonl", [HELLASWAG | {"endings": []}], "line 1: endings: is empty"),
    ("hellaswag", "v.jsonl", [HELLASWAG | {"endings": ["a", 3]}], "endings: holds '3', which is not a text"),
    ("hellaswag", "v.jsonl", '{"ctx": \n', "v.jsonl: line 1: not JSON"),
    ("hellaswag", "v.jsonl", "[1]\n", "line 1: expected an object with fields, found a list"),
    ("hellaswag", "v.jsonl", " \n", "v.jsonl: the file is empty"),
    ("arc", "a.jsonl", [ARC | {"answerKey": "E"}], "line 1: answerKey: 'E' is none of the labels A, B"),
    ("arc", "a.jsonl", [{"answerKey": "A"}], "line 1: question: missing; the fields are answerKey"),
    ("lambada", "t.txt", "one\n", "line 1: text: a passage needs a word before its last one"),
    ("lambada", "t.jsonl", [{"text": 7}], "line 1: text: expected a text, found a number"),
    ("bigbench", "t.json", {"name": "x", "description": "d"}, "t.json: examples: missing"),
    ("bigbench", "t.json", FREE | {"examples": []}, "t.json: examples: is empty"),
    ("bigbench", "t.json", FREE | {"examples": [{"input": "1"}]}, r"examples\[0\]: target: missing"),
    (
        "bigbench",
        "t.json",
        CHOICE | {"examples": [{"input": "1", "target_scores": {"a": 0}}]},
        r"examples\[0\]: target_scores: no choice has a score above 0",
    ),
    ("bigbench", "t.json", "{", "t.json: not JSON"),
    ("mmlu", "x_test.csv", "q,1,2,3,A\n", "line 1: 5 fields; expected 6"),
    ("mmlu", "x_test.csv", "q,1,2,3,4,E\n", "line 1: answer: 'E' is none of A, B, C, D"),
    ("squad", "s.json", {"data": []}, "s.json: data: has no question"),
    ("squad", "s.json", {"data": [{"paragraphs": [{"context": "x"}]}]}, r"paragraphs\[0\]: qas: missing"),
    ("glue", "RTE/dev.tsv", "sentence1\tsentence2\tlabel\na\tb\n", "line 2: 2 fields, and the header has 3"),
    ("glue", "RTE/dev.tsv", "sentence1\tsentence2\tlabel\na\tb\tx\n", "line 2: label: 'x' is none of"),
    ("glue", "WHAT/dev.tsv", "x\n", "the directory must be called CoLA, SST-2"),
]


@pytest.mark.parametrize(("kind", "name", "content", "said"), DAMAGED)
def test_a_damaged_file_is_named_by_line_and_field(
    tmp_path: Path, kind: str, name: str, content: Any, said: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(BadInputError, match=said) as error:
        load_suite(f"{kind}:{Path(path).parent if kind == 'glue' else path}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("suite", "tasks", "said"),
    [
        ("nothing", None, "--suite nothing: unknown; known: .*emergence.*hellaswag:PATH"),
        ("hellaswag:", None, "give the path of its files, as hellaswag:PATH"),
        ("hellaswag:none.jsonl", None, "none.jsonl: no such file"),
        ("mmlu:none", None, "none: no such file or directory"),
        ("emergence", ["add9"], "--tasks add9: not in the suite emergence; known: lookup2"),
    ],
)
def test_unknown_suites_and_tasks_are_refused(suite: str, tasks: list[str] | None, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        load_suite(suite, tasks)
